//! Real kernel, real packets: each kind of egress shows up once, with its process, its destination
//! and exactly the IP bytes that arrived on the other side. Needs root.

use harness::{Count, Lab, Side, Site, Truth, TruthFlow, number, text};
use serde_json::Value;

/// A lab and a daemon that watches the whole machine; both end with the test.
fn watched(test: impl FnOnce(&Lab, &Site)) {
    let lab = Lab::new();
    let site = Site::new(env!("CARGO_BIN_EXE_geofenced"));
    let daemon = site.start();
    test(&lab, &site);
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

/// The same, but the daemon sees the lab's generators and nothing else.
fn watched_alone(test: impl FnOnce(&Lab, &Site)) {
    let lab = Lab::new();
    let site = Site::new(env!("CARGO_BIN_EXE_geofenced"));
    site.watch_only(lab.cgroup.path());
    let daemon = site.start();
    test(&lab, &site);
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

/// Whether this is the event of that flow.
fn is_of(event: &Value, flow: &TruthFlow) -> bool {
    text(event, "/destination/ip") == flow.destination.to_string()
        && number(event, "/destination/port") == u64::from(flow.port)
        && text(event, "/network/transport") == flow.transport
}

fn sent(event: &Value) -> Count {
    Count { packets: number(event, "/source/packets"), bytes: number(event, "/source/bytes") }
}

/// Country and verdict of the lab's networks under the policy of the tests.
fn judged(flow: &TruthFlow) -> (&'static str, &'static str) {
    let address = flow.destination.to_string();
    match address.split(['.', ':']).next() {
        Some("203") => ("CN", "unapproved"),
        Some("198") => ("US", "approved"),
        Some("2001") => ("RU", "unapproved"),
        _ => panic!("{address} belongs to no network of the lab"),
    }
}

/// Every flow of the truth is told, with the bytes that arrived, and no other of this process.
fn assert_told(lab: &Lab, site: &Site, truth: &Truth) {
    for flow in &truth.flows {
        let arrived = || if flow.phase == "attempt" { Count::default() } else { lab.arrived(flow) };
        let settled = harness::eventually(|| {
            let events = site.events_of(truth.pid);
            let event = events.into_iter().find(|event| is_of(event, flow))?;
            (sent(&event) == arrived()).then_some(event)
        });
        let event = settled.unwrap_or_else(|| {
            let events = site.events_of(truth.pid);
            let shown: Vec<String> = events.iter().map(ToString::to_string).collect();
            panic!(
                "{}: {flow:?} arrived as {:?}; told of pid {}:\n{}\ndaemon: {}",
                truth.kind,
                arrived(),
                truth.pid,
                shown.join("\n"),
                site.log()
            )
        });
        assert_facts(&event, flow, truth);
    }
    let events = site.events_of(truth.pid);
    assert_eq!(events.len(), truth.flows.len(), "{}: {events:?}", truth.kind);
}

fn assert_facts(event: &Value, flow: &TruthFlow, truth: &Truth) {
    let (country, verdict) = judged(flow);
    let family = if flow.destination.is_ipv4() { "ipv4" } else { "ipv6" };
    let name = truth.executable.rsplit('/').next().unwrap_or_default();
    for (pointer, expected) in [
        ("/process/executable", truth.executable.as_str()),
        ("/process/name", name),
        ("/network/type", family),
        ("/network/direction", "egress"),
        ("/destination/geo/country_iso_code", country),
        ("/geofenced/verdict", verdict),
        ("/geofenced/phase", &flow.phase),
    ] {
        assert_eq!(text(event, pointer), expected, "{}: {pointer} of {event}", truth.kind);
    }
    if let (Some(port), "sent") = (flow.source_port, flow.phase.as_str()) {
        let told = number(event, "/source/port");
        assert_eq!(told, u64::from(port), "{}: source port of {event}", truth.kind);
    }
}

/// One run of the generator, told as it should be.
fn assert_shows_up(words: &str) {
    watched(|lab, site| assert_told(lab, site, &lab.egress(words)));
}

/// The same with a sink for its TCP connection.
fn assert_stream_shows_up(words: &str) {
    watched(|lab, site| assert_told(lab, site, &lab.egress_to_sink(words)));
}

#[test]
fn a_tcp_connection_is_told_with_every_byte_that_left() {
    assert_stream_shows_up("tcp-connect-send --to 203.0.113.5:{port} --bytes 1000");
}

#[test]
fn a_megabyte_over_tcp_is_told_with_the_headers_of_each_segment() {
    assert_stream_shows_up("tcp-connect-send --to 198.51.100.5:{port} --bytes 1000000");
}

#[test]
fn tcp_over_ipv6_is_told() {
    assert_stream_shows_up("tcp-connect-send --to [2001:db8:f::5]:{port} --bytes 1000");
}

#[test]
fn tcp_to_a_v4_mapped_address_is_told_as_ipv4() {
    assert_stream_shows_up("tcp-mapped --to 203.0.113.5:{port} --bytes 1000");
}

#[test]
fn tcp_fast_open_is_told() {
    assert_stream_shows_up("tcp-fastopen --to 203.0.113.5:{port} --bytes 1000");
}

#[test]
fn sendfile_is_told() {
    assert_stream_shows_up("sendfile --to 203.0.113.5:{port} --bytes 20000");
}

#[test]
fn splice_is_told() {
    assert_stream_shows_up("splice --to 203.0.113.5:{port} --bytes 20000");
}

#[test]
fn a_stream_through_io_uring_is_told() {
    assert_stream_shows_up("io-uring-tcp --to 203.0.113.5:{port} --bytes 1000");
}

#[test]
fn a_stream_through_the_kernels_io_uring_thread_is_told_with_its_program() {
    assert_stream_shows_up("io-uring-tcp --sqpoll --to 203.0.113.5:{port} --bytes 1000");
}

#[test]
fn a_datagram_to_an_unapproved_country_is_told() {
    assert_shows_up("udp-sendto --to 203.0.113.5:9 --bytes 100");
}

#[test]
fn a_datagram_to_an_approved_country_is_told() {
    assert_shows_up("udp-sendto --to 198.51.100.5:9 --bytes 100");
}

#[test]
fn datagrams_over_ipv6_are_told_as_one_flow() {
    assert_shows_up("udp-sendto --to [2001:db8:f::5]:9 --bytes 100 --count 5");
}

#[test]
fn connected_udp_is_told() {
    assert_shows_up("udp-connected --to 203.0.113.5:9 --bytes 100 --count 3");
}

#[test]
fn a_connected_socket_that_sends_elsewhere_is_told_of_both() {
    assert_shows_up("udp-elsewhere --to 203.0.113.5:9 --to 198.51.100.7:9");
}

#[test]
fn each_address_of_one_sendmmsg_is_told() {
    assert_shows_up("udp-sendmmsg --to 203.0.113.5:9 --to 198.51.100.7:10 --bytes 100");
}

#[test]
fn a_datagram_to_a_v4_mapped_address_is_told_as_ipv4() {
    assert_shows_up("udp-mapped --to 203.0.113.5:9");
}

#[test]
fn connected_udp_to_a_v4_mapped_address_is_told_as_ipv4() {
    assert_shows_up("udp-mapped-connected --to 203.0.113.5:9");
}

#[test]
fn corked_udp_is_told() {
    assert_shows_up("udp-cork --to 203.0.113.5:9 --count 3");
}

#[test]
fn segmented_udp_is_told_with_the_headers_of_each_segment() {
    assert_shows_up("udp-gso --to 203.0.113.5:9 --bytes 1000 --count 10");
}

#[test]
fn a_datagram_of_another_thread_is_told_with_its_process() {
    assert_shows_up("thread-send --to 203.0.113.5:9");
}

#[test]
fn a_datagram_through_io_uring_is_told() {
    assert_shows_up("io-uring-udp --to 203.0.113.5:9");
}

#[test]
fn a_datagram_through_the_kernels_io_uring_thread_is_told_with_its_program() {
    assert_shows_up("io-uring-udp --sqpoll --to 203.0.113.5:9");
}

#[test]
fn a_ping_is_told() {
    assert_shows_up("ping --to 203.0.113.5");
}

#[test]
fn a_ping_over_ipv6_is_told() {
    assert_shows_up("ping --to 2001:db8:f::5");
}

#[test]
fn a_raw_icmp_socket_is_told() {
    assert_shows_up("raw-icmp --to 203.0.113.5");
}

#[test]
fn a_raw_socket_of_an_unnamed_protocol_is_told_by_its_number() {
    assert_shows_up("raw-protocol --to 203.0.113.5");
}

#[test]
fn a_packet_with_a_header_of_its_own_is_told_by_that_header() {
    assert_shows_up("raw-hdrincl --to 203.0.113.5:9");
}

#[test]
fn a_program_that_exits_at_once_is_named() {
    watched(|lab, site| {
        for last in 1..=20 {
            let truth = lab.egress(&format!("one-shot --to 203.0.113.{last}:9"));
            assert_told(lab, site, &truth);
        }
    });
}

#[test]
fn a_forked_child_that_exits_at_once_is_named() {
    assert_shows_up("fork-send-exit --to 203.0.113.5:9");
}

/// Who sends is the process, and who made the socket its creator.
fn assert_both_are_told(words: &str) {
    watched(|lab, site| {
        let truth = lab.egress(words);
        assert_told(lab, site, &truth);
        let event = site.events_of(truth.pid).pop().expect("the event told above");
        let creator = u64::from(truth.creator.expect("the generator tells who made the socket"));
        assert_eq!(number(&event, "/geofenced/creator/pid"), creator, "{event}");
        let made_by = text(&event, "/geofenced/creator/executable");
        assert_eq!(made_by, truth.executable, "{event}");
        assert_eq!(text(&event, "/geofenced/attribution"), "socket", "{event}");
    });
}

#[test]
fn a_child_that_sends_on_its_parents_socket_is_the_sender() {
    assert_both_are_told("fork-inherited --to 203.0.113.5:9");
}

#[test]
fn who_sends_on_a_socket_that_was_passed_to_it_is_the_sender() {
    assert_both_are_told("scm-rights --to 203.0.113.5:9");
}

#[test]
fn a_child_that_sends_where_its_parent_connected_is_the_sender() {
    assert_both_are_told("fork-inherited --connected --to 203.0.113.5:9");
}

#[test]
fn who_sends_where_the_one_who_passed_the_socket_connected_it_is_the_sender() {
    assert_both_are_told("scm-rights --connected --to 203.0.113.5:9");
}

#[test]
fn a_child_that_answers_for_its_parent_is_the_sender_and_the_listeners_owner_the_creator() {
    watched(|lab, site| {
        let mut server = lab.start(Side::Host, "prefork-reply --listen [::]:0 --bytes 3000");
        let port = server.listening().port();
        let words = format!("connect-and-read --from 203.0.113.77 --to 10.77.0.2:{port}");
        assert_eq!(lab.start(Side::Internet, &words).finish().received_bytes, Some(3000));
        let truth = server.finish();
        let [flow] = &truth.flows[..] else { panic!("{truth:?}") };
        // Until it sends, the listener's owner stands for it.
        let told = harness::eventually(|| {
            let mut events = site.events(&["--destination", "203.0.113.77"]).into_iter();
            let is_its = |it: &Value| text(it, "/geofenced/attribution") == "socket";
            events.find(|it| is_its(it) && sent(it) == lab.arrived(flow))
        });
        let event = told.unwrap_or_else(|| panic!("{:?}", site.events(&[])));
        assert_eq!(text(&event, "/geofenced/origin"), "accepted", "{event}");
        assert_eq!(text(&event, "/process/executable"), truth.executable, "{event}");
        assert_ne!(number(&event, "/process/pid"), u64::from(truth.pid), "{event}");
        assert_eq!(number(&event, "/geofenced/creator/pid"), u64::from(truth.pid), "{event}");
    });
}

#[test]
fn a_process_is_named_by_the_last_program_it_became() {
    assert_shows_up("exec-chain --to 203.0.113.5:9");
}

#[test]
fn a_reply_on_an_accepted_connection_is_told_with_the_server() {
    watched(|lab, site| {
        let mut server = lab.start(Side::Host, "accept-reply --listen [::]:0 --bytes 3000");
        let port = server.listening().port();
        let words = format!("connect-and-read --from 203.0.113.77 --to 10.77.0.2:{port}");
        let client = lab.start(Side::Internet, &words);
        assert_eq!(client.finish().received_bytes, Some(3000));
        let truth = server.finish();
        assert_told(lab, site, &truth);
        let events = site.events_of(truth.pid);
        assert_eq!(text(&events[0], "/geofenced/origin"), "accepted", "{}", events[0]);
    });
}

#[test]
fn what_comes_back_is_told_as_bytes_of_the_destination() {
    watched(|lab, site| {
        let mut echo = lab.start(Side::Internet, "serve-udp --listen 203.0.113.5:0 --reply 500");
        let to = echo.listening();
        let truth = lab.egress(&format!("udp-connected --await-reply --to {to} --bytes 100"));
        echo.finish();
        assert_told(lab, site, &truth);
        let back = lab.came_back(&truth.flows[0]);
        assert_eq!(back.bytes, 528);
        let told = harness::eventually(|| {
            let events = site.events_of(truth.pid);
            events.into_iter().find(|event| number(event, "/destination/bytes") == back.bytes)
        });
        assert!(told.is_some(), "{:?}", site.events_of(truth.pid));
    });
}

#[test]
fn a_refused_connection_is_told_as_sent() {
    assert_shows_up("tcp-refused --to 203.0.113.5:81");
}

#[test]
fn a_bare_connect_is_an_attempt_and_no_violation() {
    watched_alone(|lab, site| {
        let violations = || site.metrics().sum("geofenced_violations_total", &[]);
        assert!(site.metrics().has("geofenced_violations_total"), "it starts at 0");
        let attempt = lab.egress("udp-connect-only --to 203.0.113.5:53");
        assert_told(lab, site, &attempt);
        assert!(violations() < 0.5, "{:?}", site.metrics().nonzero("geofenced_violations_total"));

        // The same destination, and one datagram: now it is one.
        assert_told(lab, site, &lab.egress("udp-sendto --to 203.0.113.5:53"));
        let counted = harness::eventually(|| (violations() > 0.5).then(violations));
        assert_eq!(counted, Some(1.0));
        let labels = [("country", "CN"), ("reason", "country")];
        let labelled = site.metrics().sum("geofenced_violations_total", &labels);
        assert!((labelled - 1.0).abs() < f64::EPSILON);
    });
}

#[test]
fn what_a_firewall_drops_is_an_attempt_and_no_violation() {
    watched_alone(|lab, site| {
        lab.drop_leaving("ip daddr 203.0.113.5");
        assert_told(lab, site, &lab.egress("udp-dropped --to 203.0.113.5:9"));
        // What came before this was counted before it.
        assert_told(lab, site, &lab.egress("udp-sendto --to 198.51.100.5:9"));
        assert!(site.metrics().sum("geofenced_violations_total", &[]) < 0.5);
    });
}

#[test]
fn unix_and_netlink_sockets_do_not_show_up() {
    watched_alone(|lab, site| {
        let silent = ["unix-stream", "unix-dgram", "netlink"].map(|words| lab.egress(words));
        // What came before this was seen before it.
        assert_told(lab, site, &lab.egress("udp-sendto --to 198.51.100.5:9"));
        for truth in silent {
            assert_eq!(site.events_of(truth.pid), Vec::<Value>::new(), "{}", truth.kind);
        }
        assert_eq!(site.events(&[]).len(), 1);
    });
}

#[test]
fn a_destination_that_this_host_translates_is_an_attempt_and_where_it_really_goes_is_sent() {
    watched(|lab, site| {
        lab.translate_leaving("203.0.113.60", "203.0.113.61");
        let truth = lab.egress_to_sink("tcp-connect-send --to 203.0.113.60:{port} --bytes 5000");
        let address = "203.0.113.61".parse().expect("an address");
        let told = harness::eventually(|| {
            let events = site.events_of(truth.pid);
            let arrived = lab.counts(Side::Internet).total(address, "tcp");
            let is_whole = |it: &Value| sent(it) == arrived && number(it, "/destination/bytes") > 0;
            // The attempt is told once its packet was waited for.
            (events.len() > 1 && events.iter().any(is_whole)).then_some(events)
        });
        let events = told.unwrap_or_else(|| panic!("{:?}", site.events_of(truth.pid)));
        assert_eq!(events.len(), 2, "{events:?}");
        for event in &events {
            let asked = text(event, "/geofenced/phase") == "attempt";
            let to = if asked { "203.0.113.60" } else { "203.0.113.61" };
            assert_eq!(text(event, "/destination/ip"), to, "{event}");
            assert!(!asked || number(event, "/destination/bytes") == 0, "{event}");
        }
    });
}

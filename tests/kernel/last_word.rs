//! What is told is what an interface was given, where it went, in the end: whatever a socket was told,
//! and whatever was counted on the way. Needs root.

use harness::{Count, Firewall, Gateway, Lab, Running, Side, Site, sum, text};
use serde_json::Value;

fn inside(lab: &Lab) -> Site {
    let site = Site::inside(&lab.host, env!("CARGO_BIN_EXE_geofenced"));
    site.watch_only(lab.cgroup.path());
    site
}

fn arrived_at(lab: &Lab, address: &str, transport: &str) -> Count {
    lab.arrived_at(&[address.parse().expect("an address")], transport)
}

/// Waits until this is all that is told as going there; gives back the records.
fn told(site: &Site, to: &str, expected: impl Fn() -> Count) -> Vec<Value> {
    let mut events = Vec::new();
    let is_told = harness::eventually(|| {
        events = site.events(&["--destination", to]);
        (!events.is_empty() && sum(&events) == expected()).then_some(())
    });
    assert!(is_told.is_some(), "to {to} {:?}, told {events:?}\n{}", expected(), site.log());
    events
}

/// Waits until something is told as going there that is as `is_it` wants it; gives back the records.
fn told_as(site: &Site, to: &str, is_it: impl Fn(&Value) -> bool) -> Vec<Value> {
    let mut events = Vec::new();
    let is_told = harness::eventually(|| {
        events = site.events(&["--destination", to]);
        events.iter().any(&is_it).then_some(())
    });
    assert!(is_told.is_some(), "to {to}, told {events:?}\n{}", site.log());
    events
}

fn assert_no_violation(site: &Site) {
    let words = ["--verdict", "unapproved", "--phase", "sent"];
    let violations = site.events(&words);
    assert!(violations.is_empty(), "{violations:?}\n{}", site.log());
}

#[test]
fn what_a_container_rewrites_behind_its_sockets_back_is_judged_by_where_it_went() {
    let gateway = Gateway::new();
    let lab = &gateway.lab;
    let site = inside(lab);
    let daemon = site.start();
    gateway.container.rewrite_leaving("eth0", "198.51.100.40", "203.0.113.40");
    let words = "udp-elsewhere --to 198.51.100.40:9 --to 203.0.113.40:9 --bytes 900";
    gateway.from_container(words);
    let arrived = || arrived_at(lab, "203.0.113.40", "udp");
    let events = told(&site, "203.0.113.40", arrived);
    assert_eq!(arrived(), Count { packets: 1, bytes: 928 });
    let sent: Vec<_> = events.iter().filter(|it| text(it, "/geofenced/phase") == "sent").collect();
    assert_eq!(sent.len(), 1, "{events:?}");
    assert_eq!(text(sent[0], "/geofenced/verdict"), "unapproved", "{events:?}");
    assert_eq!(text(sent[0], "/geofenced/origin"), "forwarded", "{events:?}");
    assert_eq!(text(sent[0], "/source/ip"), "172.30.0.2", "{events:?}");
    // Where the socket was told that it went, nothing was seen to go.
    let claimed = told_as(&site, "198.51.100.40", |it| {
        it.pointer("/geofenced/confirmed") == Some(&Value::Bool(false))
    });
    assert_eq!(claimed.len(), 1, "{claimed:?}");
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

#[test]
fn what_the_host_rewrites_behind_a_sockets_back_is_judged_by_where_it_went() {
    let lab = Lab::new();
    let site = inside(&lab);
    let daemon = site.start();
    lab.host.rewrite_leaving("wan", "198.51.100.41", "203.0.113.41");
    lab.egress("udp-elsewhere --to 198.51.100.41:9 --to 203.0.113.41:9 --bytes 900");
    let events = told(&site, "203.0.113.41", || arrived_at(&lab, "203.0.113.41", "udp"));
    let sent: Vec<_> = events.iter().filter(|it| text(it, "/geofenced/phase") == "sent").collect();
    assert_eq!(sent.len(), 1, "{events:?}");
    assert_eq!(text(sent[0], "/geofenced/verdict"), "unapproved", "{events:?}");
    // Nothing went to where the socket sent it.
    told_as(&site, "198.51.100.41", |it| text(it, "/geofenced/phase") == "attempt");
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

#[test]
fn what_another_program_of_the_cgroup_refuses_is_an_attempt() {
    let lab = Lab::new();
    let site = inside(&lab);
    let daemon = site.start();
    let firewall = Firewall::new(&lab.cgroup);
    lab.egress("udp-dropped --to 203.0.113.50:9");
    let events = told(&site, "203.0.113.50", Count::default);
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(text(&events[0], "/geofenced/phase"), "attempt", "{events:?}");
    drop(firewall);
    assert_no_violation(&site);
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

#[test]
fn what_waits_for_a_gateway_that_never_answers_is_an_attempt() {
    let lab = Lab::new();
    lab.host.ip("route add 203.0.113.51/32 via 10.77.0.99");
    let site = inside(&lab);
    let daemon = site.start();
    lab.egress("udp-sendto --to 203.0.113.51:9 --count 3");
    let events = told_as(&site, "203.0.113.51", |it| !text(it, "/event/end").is_empty());
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(text(&events[0], "/geofenced/phase"), "attempt", "{events:?}");
    assert_eq!(sum(&events), Count::default(), "{events:?}");
    assert_no_violation(&site);
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

#[test]
fn what_waited_for_a_gateway_counts_once_it_left() {
    let lab = Lab::new();
    lab.host.ip("route add 203.0.113.52/32 via 10.77.0.98");
    // Asked for until the test answers.
    lab.host.sysctl("ipv4/neigh/wan/mcast_solicit", "1000");
    let site = inside(&lab);
    let daemon = site.start();
    let mut sender = lab.start(Side::Host, "hold-udp --to 203.0.113.52:9 --bytes 300");
    sender.holding();
    sender.send();
    let is_attempt = |it: &Value| text(it, "/geofenced/phase") == "attempt";
    told_as(&site, "203.0.113.52", is_attempt);
    assert_eq!(arrived_at(&lab, "203.0.113.52", "udp"), Count::default());
    lab.internet.ip("address add 10.77.0.98/24 dev lan");
    let events = told(&site, "203.0.113.52", || Count { packets: 1, bytes: 328 });
    assert_eq!(arrived_at(&lab, "203.0.113.52", "udp"), Count { packets: 1, bytes: 328 });
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(text(&events[0], "/geofenced/phase"), "sent", "{events:?}");
    assert_eq!(events[0].pointer("/geofenced/confirmed"), None, "{events:?}");
    sender.finish();
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

#[test]
fn what_no_watched_interface_is_on_the_way_of_is_told_as_sent_and_not_confirmed() {
    let lab = Lab::new();
    // The daemon is elsewhere, and sees none of the lab's interfaces.
    let site = Site::new(env!("CARGO_BIN_EXE_geofenced"));
    site.watch_only(lab.cgroup.path());
    let daemon = site.start();
    lab.egress("udp-sendto --to 203.0.113.53:9");
    let events = told(&site, "203.0.113.53", || arrived_at(&lab, "203.0.113.53", "udp"));
    assert_eq!(events[0].pointer("/geofenced/confirmed"), Some(&Value::Bool(false)), "{events:?}");
    assert_eq!(text(&events[0], "/geofenced/verdict"), "unapproved", "{events:?}");
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

#[test]
fn what_goes_by_loopback_is_local_whatever_its_address() {
    let lab = Lab::new();
    lab.host.ip("address add 203.0.113.60/32 dev wan");
    let site = inside(&lab);
    let daemon = site.start();
    lab.egress("udp-sendto --to 203.0.113.60:9");
    let mut server = lab.start(Side::Host, "serve-tcp --listen 203.0.113.60:0 --count 1");
    let port = server.listening().port();
    lab.egress(&format!("tcp-connect-send --to 203.0.113.60:{port}"));
    Running::finish(server);
    for transport in ["udp", "tcp"] {
        let is_it = |it: &Value| {
            text(it, "/network/transport") == transport && text(it, "/geofenced/phase") == "sent"
        };
        let events = told_as(&site, "203.0.113.60", is_it);
        for event in &events {
            assert_eq!(text(event, "/geofenced/verdict"), "local", "{event}");
            assert_eq!(text(event, "/geofenced/reason"), "local-network", "{event}");
            assert_eq!(event.pointer("/geofenced/confirmed"), None, "{event}");
        }
    }
    assert_no_violation(&site);
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

#[test]
fn what_a_guest_leaves_to_this_host_to_cut_is_told_as_it_is_cut() {
    let gateway = Gateway::new();
    let lab = &gateway.lab;
    lab.host.sysctl("ipv4/conf/all/rp_filter", "0");
    let site = inside(lab);
    let daemon = site.start();
    lab.egress("tap-segments --to 203.0.113.70:9 --bytes 10500 --linger 3000");
    let arrived = || arrived_at(lab, "203.0.113.70", "tcp");
    let events = told(&site, "203.0.113.70", arrived);
    assert_eq!(arrived(), Count { packets: 11, bytes: 10_500 + 11 * 40 }, "{events:?}");
    assert_eq!(text(&events[0], "/geofenced/origin"), "forwarded", "{events:?}");
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

#[test]
fn fragments_made_by_hand_are_told_with_the_bytes_that_left() {
    let lab = Lab::new();
    let site = inside(&lab);
    let daemon = site.start();
    lab.egress("fragments-by-hand --to 203.0.113.71:9 --bytes 40");
    let arrived = || arrived_at(&lab, "203.0.113.71", "udp");
    let mut events = Vec::new();
    let is_over = harness::eventually(|| {
        events = site.events(&["--destination", "203.0.113.71"]);
        let over = |it: &Value| !text(it, "/event/end").is_empty();
        (events.len() == 2 && events.iter().all(over)).then_some(())
    });
    assert!(is_over.is_some(), "{events:?}\n{}", site.log());
    assert_eq!(arrived(), Count { packets: 2, bytes: 20 + 20 + 48 }, "{events:?}");
    assert_eq!(sum(&events), arrived(), "{events:?}");
    assert!(events.iter().all(|it| text(it, "/geofenced/phase") == "sent"), "{events:?}");
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

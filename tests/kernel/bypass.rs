//! What goes around every hook: the interface's own count gives it away, and the process is named
//! that can have sent it. Needs root.

use std::{thread, time::Duration};

use harness::{Count, Daemon, Lab, Side, Site, Truth, number, text};
use serde_json::Value;

/// An interface's first seconds are its baseline.
const SETTLED: Duration = Duration::from_secs(7);

fn watched(test: impl FnOnce(&Lab, &Site)) {
    let lab = Lab::new();
    let site = Site::inside(&lab.host, env!("CARGO_BIN_EXE_geofenced"));
    site.watch_only(lab.cgroup.path());
    let daemon: Daemon<'_> = site.start();
    // Neighbours are found, so that every later packet leaves at once.
    lab.egress("udp-sendto --to 203.0.113.251:9");
    thread::sleep(SETTLED);
    test(&lab, &site);
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

fn sent(event: &Value) -> Count {
    Count { packets: number(event, "/source/packets"), bytes: number(event, "/source/bytes") }
}

/// What is told as from packet sockets.
fn of_packet_sockets(site: &Site) -> Vec<Value> {
    site.events(&["--origin", "packet-socket"])
}

fn arrived(lab: &Lab, truth: &Truth) -> Count {
    let flow = &truth.flows[0];
    lab.counts(Side::Internet).total(flow.destination, &flow.transport)
}

fn unattributed(site: &Site) -> f64 {
    let labels = [("origin", "packet-socket")];
    site.metrics().sum("geofenced_unattributed_bytes_total", &labels)
}

#[test]
fn who_sent_around_the_queue_and_is_gone_is_named_with_every_byte() {
    watched(|lab, site| {
        let words = "packet-bypass --from 10.77.0.2 --to 203.0.113.5:9 --count 3 --bytes 1000";
        let truth = lab.egress(words);
        let told = harness::eventually(|| {
            let event = site.events_of(truth.pid).pop()?;
            (sent(&event) == arrived(lab, &truth)).then_some(event)
        });
        let event = told.unwrap_or_else(|| {
            let metrics = site.metrics().nonzero("geofenced_unattributed_bytes_total");
            panic!("{:?}\n{metrics:?}\n{}", site.events(&[]), site.log())
        });
        assert_eq!(sent(&event), Count { packets: 3, bytes: 3 * 1028 }, "{event}");
        for (pointer, expected) in [
            ("/geofenced/origin", "packet-socket"),
            ("/geofenced/phase", "sent"),
            ("/geofenced/verdict", "unapproved"),
            ("/geofenced/reason", "unlocated"),
            ("/geofenced/attribution", "socket"),
            ("/observer/egress/interface/name", "wan"),
            ("/process/executable", &truth.executable),
        ] {
            assert_eq!(text(&event, pointer), expected, "{pointer}: {event}");
        }
        for pointer in ["/destination/ip", "/network/transport", "/network/type"] {
            assert!(event.pointer(pointer).is_none(), "{pointer}: {event}");
        }
        assert!(unattributed(site) < 0.5);
    });
}

#[test]
fn where_two_can_have_sent_the_bytes_are_nobodys_and_both_are_told_as_attempts() {
    watched(|lab, site| {
        let words = |number: u8| {
            format!("packet-bypass --from 10.77.0.2 --to 203.0.113.{number}:9 --linger 5000")
        };
        let running = [lab.start(Side::Host, &words(6)), lab.start(Side::Host, &words(7))];
        let truths = running.map(harness::Running::finish);
        let mut bytes = 0;
        for truth in &truths {
            bytes += arrived(lab, truth).bytes;
        }
        let told = || -> u64 { of_packet_sockets(site).iter().map(|it| sent(it).bytes).sum() };
        // An attempt is told once its packet did not follow for a while.
        let all = harness::eventually(|| {
            let is_suspected = |truth: &Truth| !site.events_of(truth.pid).is_empty();
            (told() == bytes && truths.iter().all(is_suspected)).then_some(())
        });
        let events = of_packet_sockets(site);
        assert!(all.is_some(), "{bytes} bytes arrived; told: {events:?}");
        let of_nobody = events.iter().find(|event| event.get("process").is_none());
        let of_nobody = of_nobody.unwrap_or_else(|| panic!("{events:?}"));
        assert_eq!(text(of_nobody, "/geofenced/attribution"), "none", "{of_nobody}");
        assert!((unattributed(site) - sent(of_nobody).bytes as f64).abs() < 0.5, "{events:?}");
        for truth in &truths {
            let suspected = site.events_of(truth.pid).pop();
            let suspected = suspected.unwrap_or_else(|| panic!("{} in {events:?}", truth.pid));
            assert_eq!(text(&suspected, "/geofenced/phase"), "attempt", "{suspected}");
        }
    });
}

#[test]
fn an_xdp_socket_is_told_while_it_sends_nothing_and_with_every_byte_that_it_sends() {
    watched(|lab, site| {
        let words = "xdp-transmit --from 10.77.0.2 --to 203.0.113.8:9 --linger 5000";
        let truth = lab.egress(words);
        let told = harness::eventually(|| {
            let events = site.events_of(truth.pid);
            let is_attempt = |it: &Value| text(it, "/geofenced/phase") == "attempt";
            let sums: u64 = events.iter().map(|it| sent(it).bytes).sum();
            let is_whole = sums == arrived(lab, &truth).bytes && events.iter().any(is_attempt);
            is_whole.then_some(events)
        });
        let events = told.unwrap_or_else(|| {
            let (arrived, all) = (arrived(lab, &truth), of_packet_sockets(site));
            panic!("arrived {arrived:?}, told {all:?}")
        });
        assert_eq!(events.len(), 2, "{events:?}");
        for event in &events {
            assert_eq!(text(event, "/geofenced/origin"), "packet-socket", "{event}");
            assert_eq!(text(event, "/process/executable"), truth.executable, "{event}");
            assert!(event.pointer("/destination/ip").is_none(), "{event}");
        }
        assert!(unattributed(site) < 0.5);
    });
}

#[test]
fn a_packet_socket_that_waits_is_told_by_nothing() {
    watched(|lab, site| {
        let holder = lab.egress("packet-dgram --from 10.77.0.2 --to 203.0.113.9:9 --linger 2500");
        let event = harness::eventually(|| site.events_of(holder.pid).pop());
        // What it sent was seen where it was; that it could have sent elsewhere is no record.
        assert_eq!(
            event.map(|it| text(&it, "/destination/ip").to_owned()),
            Some("203.0.113.9".into())
        );
        let events = of_packet_sockets(site);
        assert_eq!(events.len(), 1, "{events:?}");
    });
}

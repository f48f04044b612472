//! What looks like a connection's and is not, and what is a connection's and does not look so.

use harness::{Count, Side, number, text};
use serde_json::Value;

use crate::ground::Ground;

fn sent(records: &[Value]) -> Count {
    let mut count = Count::default();
    for record in records {
        let packets = number(record, "/source/packets");
        count += Count { packets, bytes: number(record, "/source/bytes") };
    }
    count
}

#[test]
fn a_second_path_of_multipath_tcp_is_told_with_the_program_that_owns_the_connection() {
    const FIRST: &str = "203.0.113.30";
    const SECOND: &str = "203.0.113.31";
    let ground = Ground::new();
    let own = ground.programs.copy("own/multipath");
    ground.lab.host.ip("mptcp limits set add_addr_accepted 2 subflows 2");
    ground.lab.internet.ip("mptcp limits set add_addr_accepted 2 subflows 2");
    ground.lab.internet.ip(&format!("mptcp endpoint add {SECOND} id 5 signal"));
    ground.allow("multipath", &own);
    ground.watched(|| {
        let mut sink = ground.start_outside(&own, "mptcp-sink 0.0.0.0:0");
        let port = sink.listening().port();
        let words = format!("mptcp {FIRST}:{port} joined send 1000000 finish");
        let pid = ground.run(&own, &words);
        sink.end();
        let address = SECOND.parse().expect("an address");
        let arrived = || ground.lab.counts(Side::Internet).total(address, "tcp");
        let ask = || ground.site.events(&["--destination", SECOND]);
        let told = harness::eventually(|| Some(ask()).filter(|it| sent(it) == arrived()));
        let records = told.unwrap_or_else(|| panic!("{:?} arrived: {:?}", arrived(), ask()));
        for record in &records {
            let named = text(record, "/process/name");
            let by = text(record, "/geofenced/origin");
            println!("{} B by the second path, of {by} {named:?}", sent(&records).bytes);
            assert_eq!(text(record, "/process/executable"), own, "{record}");
            assert_eq!(number(record, "/process/pid"), pid, "{record}");
            assert_eq!(text(record, "/geofenced/reason"), "rule:multipath", "{record}");
        }
        assert!(arrived().bytes > 0, "the second path was not used");
    });
}

#[test]
fn segments_of_a_raw_socket_with_the_ports_of_a_closed_connection_are_told_as_its_owners() {
    const TO: &str = "203.0.113.32";
    const FROM_PORT: u16 = 45_678;
    const SEGMENTS: u64 = 30;
    const BYTES: u64 = 1_000;
    const HEADERS: u64 = 40;
    let ground = Ground::new();
    let allowed = ground.programs.copy("allowed/curl");
    let own = ground.programs.copy("own/forges");
    ground.allow("curl", &allowed);
    ground.watched(|| {
        let (sink, port) = ground.sink(1);
        let words = format!("tcp {FROM_PORT} {TO}:{port} send 200 finish");
        let of_curl = ground.run(&allowed, &words);
        sink.finish();
        let address = TO.parse().expect("an address");
        let before = ground.lab.counts(Side::Internet).total(address, "tcp");
        let words = format!("raw-tcp {FROM_PORT} {TO}:{port} {SEGMENTS} {BYTES}");
        let of_raw = ground.run(&own, &words);

        let all = Count {
            packets: before.packets + SEGMENTS,
            bytes: before.bytes + SEGMENTS * (HEADERS + BYTES),
        };
        let ask = || ground.site.events(&["--destination", TO]);
        let told = harness::eventually(|| Some(ask()).filter(|it| sent(it) == all));
        let records = told.unwrap_or_else(|| panic!("{all:?} arrived, told: {:?}", ask()));
        let of = |pid: u64| {
            let is_its = |it: &&Value| number(it, "/process/pid") == pid;
            records.iter().filter(is_its).cloned().collect::<Vec<_>>()
        };
        println!("as curl's {:?}, as the raw socket's {:?}", sent(&of(of_curl)), sent(&of(of_raw)));
        assert_eq!(sent(&of(of_raw)).packets, SEGMENTS, "{records:?}");
        assert_eq!(sent(&of(of_curl)), before, "{records:?}");
        for record in of(of_raw) {
            assert_eq!(text(&record, "/process/executable"), own, "{record}");
            assert_eq!(text(&record, "/geofenced/verdict"), "unapproved", "{record}");
        }
    });
}

//! More than a gigabyte and 100,000 flows of all origins at once: the bytes told are the bytes that
//! arrived, none twice and none unaccounted for. Needs root.

use std::net::IpAddr;

use harness::{CLIENT, Gateway, Running, Side, Site};

const MIB: u64 = 1 << 20;
const FLOWS: u64 = 100_000;
const BYTES: &str = "geofenced_egress_bytes_total";
const LOST: &str = "geofenced_events_lost_total";

#[test]
fn every_byte_of_a_mixed_gigabyte_is_told_once() {
    let gateway = Gateway::new();
    let lab = &gateway.lab;
    let site = Site::inside(&lab.host, env!("CARGO_BIN_EXE_geofenced"));
    site.watch_only(lab.cgroup.path());
    let daemon = site.start();
    let before = site.metrics().sum(BYTES, &[]);

    let serve = "serve-tcp --listen [::]:0 --count 1";
    let mut sinks = [(); 3].map(|()| lab.start(Side::Internet, serve));
    let mut words = |sink: usize, address: &str, mib: u64| {
        let port = sinks[sink].listening().port();
        format!("tcp-connect-send --to {address}:{port} --bytes {}", mib * MIB)
    };
    let host = lab.start(Side::Host, &words(0, "203.0.113.5", 350));
    let client = format!("{} --from {CLIENT}", words(1, "203.0.113.6", 350));
    let client = Running::start(&mut lab.command_in(&gateway.client, &client));
    let mut container = lab.command_in(&gateway.container, &words(2, "198.51.100.7", 350));
    let container = Running::start(lab.cgroup.admit(&mut container));
    let burst = format!(
        "burst-one-socket --to 203.0.113.8 --to 198.51.100.8 --ports 10000-59999 --sockets 4 --count {FLOWS}"
    );
    let burst = lab.start(Side::Host, &burst);
    for running in [host, client, container, burst] {
        running.finish();
    }
    for sink in sinks {
        sink.finish();
    }

    let addresses = ["203.0.113.5", "203.0.113.6", "198.51.100.7", "203.0.113.8", "198.51.100.8"];
    let addresses = addresses.map(|it| it.parse::<IpAddr>().expect("an address"));
    let mut arrived = 0;
    let mut told = 0.0;
    let settled = harness::eventually(|| {
        let (tcp, udp) = (lab.arrived_at(&addresses, "tcp"), lab.arrived_at(&addresses, "udp"));
        arrived = tcp.bytes + udp.bytes;
        told = site.metrics().sum(BYTES, &[]) - before;
        ((told - arrived as f64).abs() <= arrived as f64 / 1000.0).then_some(())
    });
    let metrics = site.metrics();
    println!("arrived {arrived}, told {told}, lost {:?}", metrics.nonzero(LOST));
    assert!(arrived > 1 << 30, "{arrived} bytes are no gigabyte");
    assert!(settled.is_some(), "arrived {arrived}, told {told}: {:?}", metrics.nonzero(BYTES));
    let flows = metrics.sum("geofenced_egress_flows_total", &[]);
    assert!(flows >= FLOWS as f64, "{flows} flows");
    for reason in ["ring-full-flow", "flow-table-full"] {
        assert!(metrics.sum(LOST, &[("reason", reason)]) < 0.5, "{:?}", metrics.nonzero(LOST));
    }
    let unattributed = metrics.nonzero("geofenced_unattributed_bytes_total");
    assert!(unattributed.is_empty(), "{unattributed:?}");
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

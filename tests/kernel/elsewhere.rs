//! What comes back from another address than was asked: it is in no record, and counted. Needs root.

use harness::{Lab, Side, Site, number};
use serde_json::Value;

const REPLY: usize = 50;
/// Of IPv4 and UDP.
const HEADERS: usize = 28;

/// Packets and bytes.
fn counted(site: &Site) -> (f64, f64) {
    let metrics = site.metrics();
    let of =
        |what: &str| metrics.sum(&format!("geofenced_received_without_flow_{what}_total"), &[]);
    (of("packets"), of("bytes"))
}

#[test]
fn answers_from_another_address_than_was_asked_are_counted() {
    let lab = Lab::new();
    let site = Site::inside(&lab.host, env!("CARGO_BIN_EXE_geofenced"));
    site.watch_only(lab.cgroup.path());
    let daemon = site.start();
    let whole = ((REPLY + HEADERS) as f64, 2.0 * (REPLY + HEADERS) as f64);
    for (to, is_elsewhere, expected) in [
        // The kernel answers from an address of its card, whatever was asked.
        ("203.0.113.5", true, (1.0, whole.0)),
        ("10.77.0.1", false, (1.0, whole.0)),
        ("198.51.100.5", true, (2.0, whole.1)),
    ] {
        let mut server =
            lab.start(Side::Internet, &format!("serve-udp --listen 0.0.0.0:0 --reply {REPLY}"));
        let port = server.listening().port();
        let words = format!("udp-sendto --to {to}:{port} --bytes 100 --await-reply");
        let truth = lab.egress(&words);
        server.finish();
        let received = if is_elsewhere { 0 } else { (REPLY + HEADERS) as u64 };
        let mut last = Vec::new();
        let told = harness::eventually(|| {
            last = site.events_of(truth.pid);
            let is_whole = |event: &Value| {
                number(event, "/source/packets") == 1
                    && number(event, "/destination/bytes") == received
            };
            (last.len() == 1 && is_whole(&last[0]) && counted(&site) == expected).then_some(())
        });
        assert!(told.is_some(), "{to}: {:?} {last:?}\n{}", counted(&site), site.log());
    }
    let status = site.ask(&["status", "-o", "table"]).stdout;
    let line = status.lines().find(|it| it.contains("bytes received without a flow"));
    assert!(line.is_some_and(|it| it.ends_with(&format!(" {}", whole.1))), "{status}");
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

//! A daemon that comes late to what it was told: stopped for some seconds while flows begin and end. Each
//! is told by its own sample, however old its counters are by then. Needs root.

use std::{thread, time::Duration};

use harness::{Lab, Side, Site};
use rustix::process::Signal;
use serde_json::Value;

/// Their samples take a third of the ring: more than half of it no user has alone.
const FLOWS: usize = 2_000;
/// How long the daemon stands still: longer than counters may wait for their sample.
const STALL: Duration = Duration::from_secs(5);

const SEEN: &str = "geofenced_egress_flows_total";
const LOST: &str = "geofenced_events_lost_total";

#[test]
fn flows_of_a_time_in_which_the_daemon_stood_still_are_told_with_their_process() {
    let lab = Lab::new();
    let site = Site::new(env!("CARGO_BIN_EXE_geofenced"));
    site.watch_only(lab.cgroup.path());
    let daemon = site.start();

    daemon.signal(Signal::STOP);
    let words = format!("burst-new-socket --to 203.0.113.1 --ports 10000-59999 --count {FLOWS}");
    let burst = lab.start(Side::Host, &words);
    let pid = burst.pid();
    let truth = burst.finish();
    assert_eq!(truth.flows_made, FLOWS as u64);
    // Not a wait for anything: the stall itself.
    thread::sleep(STALL);
    daemon.signal(Signal::CONT);

    let seen = || site.metrics().sum(SEEN, &[]);
    let all = harness::eventually(|| (seen() >= FLOWS as f64).then_some(()));
    let lost = || site.metrics().nonzero(LOST);
    assert!(all.is_some(), "{} of {FLOWS} seen; lost: {:?}", seen(), lost());
    let text = |event: &Value, at: &str| {
        event.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let events = harness::eventually(|| {
        let events = site.events_of(pid);
        (events.len() >= FLOWS).then_some(events)
    });
    let others = || site.events(&["--origin", "pre-existing", "--limit", "3"]);
    let events = events.unwrap_or_else(|| {
        panic!("{} of {FLOWS} have their process: {:?}", site.events_of(pid).len(), others())
    });
    assert_eq!(events.len(), FLOWS);
    for event in &events {
        assert_eq!(text(event, "/process/executable"), truth.executable, "{event}");
        assert_eq!(text(event, "/geofenced/origin"), "process", "{event}");
        assert_eq!(text(event, "/geofenced/phase"), "sent", "{event}");
    }
    assert_eq!(others(), Vec::<Value>::new());
    assert_eq!(lost(), Vec::<String>::new());
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

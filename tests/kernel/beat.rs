//! What beats on a socket that stays open is seen as a beat, by the kernel's counters of a real daemon. Needs root.

use std::{thread, time::Duration};

use harness::{Lab, Side, Site};
use serde_json::Value;

/// Long enough to be no one burst, short enough to wait for.
const PERIOD: Duration = Duration::from_secs(2);
const BEATS: u64 = 15;

#[test]
fn a_beat_on_one_socket_is_told_with_its_period_and_a_single_datagram_has_none() {
    let lab = Lab::new();
    let site = Site::new(env!("CARGO_BIN_EXE_geofenced"));
    site.watch_only(lab.cgroup.path());
    let daemon = site.start();
    let mut beating = lab.start(Side::Host, "steps-udp --to 203.0.113.7:9 --bytes 64");
    beating.holding();
    for beat in 0..BEATS {
        if beat > 0 {
            // The beat is what is tested, not what is waited for.
            thread::sleep(PERIOD);
        }
        beating.send();
        beating.holding();
    }
    beating.finish();
    lab.egress("udp-sendto --to 203.0.113.8:53 --bytes 64");
    let is_told = || (site.events(&["--destination", "203.0.113.8"]).len() == 1).then_some(());
    assert!(harness::eventually(is_told).is_some(), "{}", site.log());
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());

    let outcome = site.ask(&["patterns", "--since", "1h", "-o", "json"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let rows = outcome.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON"));
    let rows: Vec<Value> = rows.collect();
    let to_port = |port: u16| {
        let found = rows.iter().find(|row| row["destination"]["port"] == port);
        found.unwrap_or_else(|| panic!("port {port}: {rows:?}\n{}", site.log()))
    };
    let row = to_port(9);
    let beat = &row["beat"];
    let median = beat["median_seconds"].as_f64().unwrap_or_default();
    // On a loaded machine it is later, not sooner.
    assert!((1.5..3.4).contains(&median), "{row}");
    assert!(beat["share"].as_f64().unwrap_or_default() > 0.8, "{row}");
    assert!((12..BEATS).contains(&beat["spans"].as_u64().unwrap_or_default()), "{row}");
    assert_eq!((&row["flows"], &row["contacts"]), (&1.into(), &1.into()), "{row}");
    assert_eq!(to_port(53).get("beat"), None, "{rows:?}");
}

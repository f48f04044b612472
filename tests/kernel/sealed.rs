//! What a real daemon signs, when it is asked, reloaded, killed and put back, and that a check of its files
//! says what happened. Needs root.

use std::fs;

use harness::{Lab, Site};
use rustix::process::Signal;
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_geofenced");

/// What the daemon says of the last checkpoint.
fn signed(site: &Site) -> Option<Value> {
    let said = site.ask(&["status", "-o", "json"]);
    let status: Value = serde_json::from_str(&said.stdout).ok()?;
    status.get("evidence").cloned()
}

fn size(site: &Site) -> u64 {
    signed(site).and_then(|it| it["size"].as_u64()).unwrap_or(0)
}

/// Exit code, and all that is said.
fn verify(site: &Site) -> (Option<i32>, String) {
    let key = site.store().join("key.pub").display().to_string();
    let said = site.ask(&["verify", "--key", &key]);
    (said.code, said.stdout + &said.stderr)
}

fn seen(site: &Site, lab: &Lab, address: &str) {
    lab.egress(&format!("udp-sendto --to {address}:9"));
    let there = harness::eventually(|| {
        (!site.events_in_ledger(&["--destination", address]).is_empty()).then_some(())
    });
    assert!(there.is_some(), "{}", site.log());
}

#[test]
fn what_is_stored_is_signed_when_somebody_asks_and_after_a_reload_and_outlives_a_kill() {
    let lab = Lab::new();
    let site = Site::new(BINARY);
    site.watch_only(lab.cgroup.path());
    let daemon = site.start();
    let first = harness::eventually(|| (size(&site) > 0).then(|| size(&site)));
    let first = first.unwrap_or_else(|| panic!("nothing is signed: {}", site.log()));

    seen(&site, &lab, "203.0.113.1");
    let request = site.ask(&["witness", "request"]);
    assert_eq!(request.code, Some(0), "{request:?}");
    let asked = size(&site);
    assert!(asked > first, "{asked} {first}");
    let lines: Vec<&str> = request.stdout.lines().collect();
    assert_eq!((lines[0], lines[3]), ("old 0", &*asked.to_string()), "{request:?}");
    let metric = harness::eventually(|| {
        let metrics = site.metrics();
        let at = metrics.sum("geofenced_checkpoint_timestamp_seconds", &[]);
        (metrics.sum("geofenced_checkpoint_size", &[]) >= asked as f64 && at > 1e9).then_some(())
    });
    assert!(metric.is_some(), "{:?}", site.metrics().nonzero("geofenced_checkpoint_size"));
    // A record that was signed for is proven beside the daemon.
    let events = site.events(&["--destination", "203.0.113.1"]);
    let id = events[0]["event"]["id"].as_str().unwrap_or_default().to_owned();
    let case = site.path().join("case").display().to_string();
    assert_eq!(site.ask(&["prove", &id, "--write", &case]).code, Some(0));
    let (exit, said) = verify(&site);
    assert_eq!(exit, Some(0), "beside the daemon: {said}");

    seen(&site, &lab, "203.0.113.2");
    daemon.signal(Signal::HUP);
    let reloaded = harness::eventually(|| (size(&site) > asked).then_some(()));
    assert!(reloaded.is_some(), "{}", site.log());

    seen(&site, &lab, "203.0.113.3");
    let origin = signed(&site).map(|it| it["origin"].clone());
    daemon.kill9();
    let (exit, said) = verify(&site);
    assert_eq!(exit, Some(0), "{said}");
    let daemon = site.start();
    assert_eq!(signed(&site).map(|it| it["origin"].clone()), origin);
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
    let (exit, said) = verify(&site);
    assert!(exit == Some(0) && !said.contains("not signed yet"), "{said}");
}

#[test]
fn a_ledger_that_was_put_back_under_a_daemon_is_told_by_log_status_metric_and_verify() {
    let lab = Lab::new();
    let site = Site::new(BINARY);
    site.watch_only(lab.cgroup.path());
    assert_eq!(site.start().stop(), Some(0), "{}", site.log());
    let ledger = site.store().join("ledger/00000001.seg");
    let before = fs::read(&ledger).expect("a ledger");
    let daemon = site.start();
    seen(&site, &lab, "203.0.113.1");
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
    fs::write(&ledger, before).expect("it is put back");
    let daemon = site.start();
    let told =
        harness::eventually(|| signed(&site).filter(|it| it["rolled_back_from"].is_string()));
    let told = told.unwrap_or_else(|| panic!("not told: {}", site.log()));
    assert!(told["origin"].as_str().is_some_and(|it| it.ends_with("/2")), "{told}");
    let counted = harness::eventually(|| {
        let rollbacks = site.metrics();
        let labels = [("event", "rollback")];
        (rollbacks.sum("geofenced_store_events_total", &labels) > 0.5).then_some(())
    });
    assert!(counted.is_some(), "{}", site.log());
    assert!(site.log().contains("is not what was signed"), "{}", site.log());
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
    let (exit, said) = verify(&site);
    assert!(exit == Some(4) && said.contains("rolled-back"), "{said}");
}

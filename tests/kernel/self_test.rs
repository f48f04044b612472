//! That the daemon sees its own packet, tells nobody of it, and says so when it does not. Needs root.

use std::{fs, path::Path};

use harness::{Daemon, Lab, Site, text};
use serde_json::Value;

const TESTS: &str = "geofenced_self_tests_total";

/// A daemon that is in the cgroup that it watches, as it is on a host.
fn start<'s>(lab: &Lab, site: &'s Site) -> Daemon<'s> {
    site.watch_only(lab.cgroup.path());
    site.drop_in("self-test", "[capture]\nself_test = \"4s\"\n[store]\nrecord = \"all\"\n");
    let mut command = site.command(&["run"]);
    site.start_as(lab.cgroup.admit(&mut command))
}

fn wait_for(site: &Site, result: &str, more_than: f64) {
    let count = || site.metrics().sum(TESTS, &[("result", result)]);
    let is_there = harness::eventually(|| (count() > more_than + 0.5).then_some(()));
    assert!(is_there.is_some(), "{result}: {} of {more_than}\n{}", count(), site.log());
}

fn gaps(site: &Site) -> Vec<Value> {
    let outcome = site.ask(&["coverage", "--since", "1h", "-o", "json"]);
    let lines = outcome.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON"));
    let gaps = lines.filter_map(|line: Value| line.pointer("/geofenced/gap").cloned());
    gaps.filter(|gap| text(gap, "/stage") == "self-test").collect()
}

fn status(site: &Site) -> String {
    site.ask(&["status"]).stdout
}

fn move_to(cgroup: &Path, daemon: &Daemon<'_>) {
    fs::write(cgroup.join("cgroup.procs"), daemon.pid().to_string()).expect("move the daemon");
}

#[test]
fn a_packet_of_its_own_is_seen_again_and_again_and_nobody_is_told_of_it() {
    let lab = Lab::new();
    let site = Site::new(env!("CARGO_BIN_EXE_geofenced"));
    let daemon = start(&lab, &site);
    wait_for(&site, "passed", 2.0);
    let metrics = site.metrics();
    assert!(metrics.sum(TESTS, &[("result", "failed")]) < 0.5, "{}", site.log());
    assert!(metrics.sum("geofenced_self_test_last_success_timestamp_seconds", &[]) > 1e9);
    // TCP is of whoever asks for these metrics.
    let told = metrics.sum("geofenced_egress_flows_total", &[("transport", "udp")]);
    assert!(told < 0.5, "{}", site.log());
    assert!(metrics.sum("geofenced_events_lost_total", &[]) < 0.5, "{}", site.log());
    let udp = ["--transport", "udp"];
    assert!(site.events(&udp).is_empty(), "{:?}", site.events(&udp));
    assert!(gaps(&site).is_empty());
    assert!(status(&site).contains("passed, last seen"), "{}", status(&site));
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
    assert!(site.events_in_ledger(&udp).is_empty());
}

#[test]
fn what_the_probes_do_not_see_is_blindness_until_they_see_it_again() {
    let lab = Lab::new();
    let aside = harness::Cgroup::new();
    let site = Site::new(env!("CARGO_BIN_EXE_geofenced"));
    let daemon = start(&lab, &site);
    wait_for(&site, "passed", 0.0);
    // Its next sockets are where no probe is attached.
    move_to(aside.path(), &daemon);
    wait_for(&site, "failed", 0.0);
    assert!(status(&site).contains("failing, last seen"), "{}", status(&site));
    let is_told = harness::eventually(|| (!gaps(&site).is_empty()).then_some(()));
    assert!(is_told.is_some(), "{}", site.log());
    assert_eq!(text(&gaps(&site)[0], "/extent"), "blind");
    let asked = site.ask(&["coverage", "--since", "1h", "--fail-on-gap"]);
    assert_eq!(asked.code, Some(4), "{}", asked.stdout);

    let passed = site.metrics().sum(TESTS, &[("result", "passed")]);
    move_to(lab.cgroup.path(), &daemon);
    wait_for(&site, "passed", passed);
    let ended = || gaps(&site)[0]["to"].clone();
    let is_over = harness::eventually(|| {
        let before = ended();
        std::thread::sleep(std::time::Duration::from_millis(50));
        (ended() == before).then_some(())
    });
    assert!(is_over.is_some(), "the gap goes on: {:?}\n{}", gaps(&site), site.log());
    assert!(status(&site).contains("passed, last seen"), "{}", status(&site));
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
    // The ledger alone says so, too.
    assert_eq!(gaps(&site).len(), 1, "{:?}", gaps(&site));
}

#[test]
fn where_none_can_be_made_the_status_says_why() {
    let lab = Lab::new();
    let site = Site::new(env!("CARGO_BIN_EXE_geofenced"));
    site.watch_only(lab.cgroup.path());
    let daemon = site.start();
    let off = "off; this daemon is outside of [capture] cgroup";
    assert!(status(&site).contains(off), "{}", status(&site));
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());

    let site = Site::new(env!("CARGO_BIN_EXE_geofenced"));
    site.watch_only(lab.cgroup.path());
    site.drop_in("self-test", "[capture]\nself_test = \"\"\n");
    let daemon = site.start();
    let off = "off; switched off by [capture] self_test";
    assert!(status(&site).contains(off), "{}", status(&site));
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

//! Marks in the ledger of a running daemon: what left in a named stretch of time, by real packets, and what of
//! it was said to be shared. Needs root.

use harness::{Disk, Lab, Outcome, Site, text};
use rustix::process::Signal;
use serde_json::Value;

fn ask(site: &Site, words: &[&str]) -> Outcome {
    let outcome = site.ask(words);
    assert_eq!(outcome.code, Some(0), "{words:?}: {outcome:?}\n{}", site.log());
    outcome
}

fn lines(site: &Site, words: &[&str]) -> Vec<Value> {
    let said = ask(site, &[words, &["-o", "json"]].concat()).stdout;
    said.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Sends one datagram there, and waits until it is told.
fn send(lab: &Lab, site: &Site, to: &str) {
    lab.egress(&format!("udp-sendto --to {to}:9"));
    let told =
        harness::eventually(|| (!site.events(&["--destination", to]).is_empty()).then_some(()));
    assert!(told.is_some(), "nothing to {to}\n{}", site.log());
}

fn destinations(events: &[Value]) -> Vec<&str> {
    let mut all: Vec<&str> = events.iter().map(|it| text(it, "/destination/ip")).collect();
    all.sort_unstable();
    all
}

#[test]
fn what_left_in_an_interval_is_told_by_its_name_also_after_a_kill_and_from_the_ledger_alone() {
    let lab = Lab::new();
    let site = Site::new(env!("CARGO_BIN_EXE_geofenced"));
    site.watch_only(lab.cgroup.path());
    let daemon = site.start();
    send(&lab, &site, "203.0.113.11");
    let share = ["--share", "203.0.113.12", "--purpose", "maps", "--share", "203.0.113.99"];
    let words = [&["mark", "start", "LDM on", "--note", "flight 12"], &share[..]].concat();
    ask(&site, &[&words[..], &["--purpose", "logs", "--until", "1h"]].concat());
    send(&lab, &site, "203.0.113.12");
    send(&lab, &site, "203.0.113.13");
    // A mark that was answered is there, whatever happens next.
    daemon.signal(Signal::KILL);
    drop(daemon);

    let daemon = site.start();
    assert_eq!(site.ask(&["mark", "start", "LDM on"]).code, Some(1), "it runs on");
    ask(&site, &["mark", "stop", "LDM on"]);
    send(&lab, &site, "203.0.113.14");

    let of = |interval: &str| site.events(&["--interval", interval]);
    let inside = of("LDM on");
    assert_eq!(destinations(&inside), ["203.0.113.12", "203.0.113.13"], "{inside:?}");
    for event in site.events(&[]) {
        let to = text(&event, "/destination/ip");
        let is_inside = ["203.0.113.12", "203.0.113.13"].contains(&to);
        let names = event["geofenced"]["interval"].as_array().map_or(0, Vec::len);
        assert_eq!(names, usize::from(is_inside), "{event}");
        let declared = &event["geofenced"]["declared"];
        let expected = if to == "203.0.113.12" { Some("maps") } else { None };
        assert_eq!(declared[0]["purpose"].as_str(), expected, "{event}");
        assert_eq!(
            event["geofenced"]["verdict"], "unapproved",
            "a declaration is a claim: {event}"
        );
    }
    let rows = lines(&site, &["summary", "--by", "destination", "--interval", "LDM on#1"]);
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert_eq!(site.ask(&["events", "--interval", "LDM on#2"]).code, Some(2));

    let listed = lines(&site, &["mark", "list"]);
    let interval = &listed[0]["geofenced"]["interval"];
    assert_eq!((listed.len(), text(interval, "/name")), (1, "LDM on"), "{listed:?}");
    assert_eq!(interval["declared"][1]["purpose"], "logs", "{interval}");
    assert!(interval["to"].as_str() > interval["from"].as_str(), "{interval}");

    let covered = lines(&site, &["coverage", "--interval", "LDM on"]);
    let actions: Vec<&str> =
        covered.iter().filter_map(|it| it["event"]["action"].as_str()).collect();
    assert!(actions.contains(&"gap"), "the daemon was killed in it: {covered:?}");
    // The end of it is where the window ends.
    assert!(actions.contains(&"mark"), "{covered:?}");

    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
    assert_eq!(destinations(&of("LDM on")), ["203.0.113.12", "203.0.113.13"], "by the ledger");
    assert_eq!(lines(&site, &["mark", "list"]), listed);
    assert!(site.ask(&["mark", "stop", "LDM on"]).stderr.contains("no daemon answers"));
}

#[test]
fn marks_of_a_ledger_that_takes_nothing_are_refused_and_not_there() {
    let lab = Lab::new();
    let site = Site::new(env!("CARGO_BIN_EXE_geofenced"));
    site.watch_only(lab.cgroup.path());
    let disk = Disk::tmpfs(&site.store(), "size=4M");
    let daemon = site.start();
    ask(&site, &["mark", "start", "before"]);
    disk.remount("ro");
    let refused = site.ask(&["mark", "start", "meanwhile"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("takes nothing now"), "{refused:?}");
    disk.remount("rw");
    let marked = harness::eventually(|| {
        (site.ask(&["mark", "start", "after"]).code == Some(0)).then_some(())
    });
    assert!(marked.is_some(), "{}", site.log());
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

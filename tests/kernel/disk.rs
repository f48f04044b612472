//! A disk that takes nothing more: full of the store, full of other people's files, over a quota, read-only.
//! Whatever flows are made meanwhile, as many are stored and counted as lost, neither more nor less; the daemon
//! answers throughout, and it recovers by itself. Needs root.

use std::{fs, io::Write, thread};

use harness::{Disk, Lab, Metrics, Side, Site};

const FLOWS: u64 = 100_000;
const SEEN: &str = "geofenced_egress_flows_total";
const LOST: &str = "geofenced_events_lost_total";
const FLOWS_LOST: &str = "geofenced_store_flows_lost_total";

fn lost(metrics: &Metrics, stage: &str, reason: &str) -> f64 {
    metrics.sum(LOST, &[("stage", stage), ("reason", reason)])
}

/// Makes so many flows, while the metrics answer; gives these once every flow was told somewhere.
fn make_flows(lab: &Lab, site: &Site, before: f64) -> (harness::Running, Metrics) {
    let words = format!(
        "burst-one-socket --to 203.0.113.1 --to 203.0.113.2 --ports 10000-59999 --count {FLOWS} --keep"
    );
    let mut burst = lab.start(Side::Host, &words);
    thread::scope(|scope| {
        let holding = scope.spawn(|| burst.holding());
        while !holding.is_finished() {
            site.metrics();
        }
    });
    let all = harness::eventually(|| {
        let metrics = site.metrics();
        let told = metrics.sum(SEEN, &[]) - before + metrics.sum(LOST, &[("stage", "probe")]);
        let waiting = metrics.sum("geofenced_queue_depth", &[]);
        (told > FLOWS as f64 - 0.5 && waiting < 0.5).then_some(metrics)
    });
    let all = all.unwrap_or_else(|| panic!("{:?}\n{}", site.metrics().nonzero(SEEN), site.log()));
    (burst, all)
}

/// `reasons`: of what must have been lost. `recover`: makes the disk one that takes what it is given.
fn survives(
    disk: impl FnOnce(&Site) -> Disk,
    begin: impl FnOnce(&Disk, &Site, &Lab),
    reasons: &[&str],
    recover: impl FnOnce(&Disk, &Site),
) {
    let lab = Lab::new();
    let site = Site::new(env!("CARGO_BIN_EXE_geofenced"));
    site.watch_only(lab.cgroup.path());
    let disk = disk(&site);
    let daemon = site.start();
    begin(&disk, &site, &lab);
    let before = site.metrics();
    let (burst, metrics) = make_flows(&lab, &site, before.sum(SEEN, &[]));
    let details =
        format!("{:?} {:?}\n{}", metrics.nonzero(SEEN), metrics.nonzero(LOST), site.log());
    assert!(reasons.iter().any(|it| lost(&metrics, "store", it) > 0.5), "{details}");
    // Flows whose sockets are closed end, whatever the disk takes. The gauge may be two seconds old.
    let live = || site.metrics().sum("geofenced_map_entries", &[("map", "flows")]);
    let are_live = harness::eventually(|| (live() > FLOWS as f64 / 2.0).then_some(()));
    assert!(are_live.is_some(), "{} live", live());
    burst.finish();
    let retired = harness::eventually(|| (live() < 100.0).then_some(()));
    assert!(retired.is_some(), "{:?}", site.metrics().nonzero("geofenced_map_entries"));

    recover(&disk, &site);
    lab.egress("udp-sendto --to 203.0.113.77:9");
    let again = harness::eventually(|| {
        let is_ready = site.get("/readyz").is_some_and(|(status, _)| status == 200);
        let is_there = !site.events_in_ledger(&["--destination", "203.0.113.77"]).is_empty();
        (is_ready && is_there).then_some(())
    });
    if again.is_none() {
        let (ready, there) = (site.get("/readyz"), site.events(&["--destination", "203.0.113.77"]));
        let numbers: Vec<_> = ["geofenced_store_records", "geofenced_queue_depth", LOST, SEEN]
            .map(|name| site.metrics().nonzero(name))
            .into_iter()
            .collect();
        panic!("it does not write again: {ready:?} {there:?} {numbers:?}\n{}", site.log());
    }
    // Each flow has one first state: it is stored, or counted once.
    let mut accounts = (0.0, 0.0, 0.0);
    let is_whole = harness::eventually(|| {
        let metrics = site.metrics();
        let sum = |name| metrics.sum(name, &[]);
        accounts = (sum(SEEN), sum("geofenced_store_flows"), sum(FLOWS_LOST));
        is_equal(accounts.0, accounts.1 + accounts.2).then_some(())
    });
    assert!(is_whole.is_some(), "{accounts:?} {:?}", site.metrics().nonzero(LOST));
    assert!(accounts.0 > FLOWS as f64, "{accounts:?}");
    let said = site.ask(&["events", "--since", "1h", "--limit", "1", "--fail-on-gap"]);
    assert_eq!(said.code, Some(4), "{said:?}");
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());

    // What went for want of room was told, and all that is there was signed.
    let key = site.store().join("key.pub").display().to_string();
    let verified = site.ask(&["verify", "--key", &key]);
    assert_eq!(verified.code, Some(0), "{}\n{}", verified.stdout, site.log());

    let all = site.ask(&["events", "--since", "1h", "-o", "csv"]);
    let there = all.stdout.lines().skip(1).count() as f64;
    println!("{there} are there: {details} {accounts:?}\n{}", said.stderr);
    // The ledger itself says so: of flows that are there without their first state a later one is.
    let (made, firsts, lost) = accounts;
    assert!(there > firsts - 0.5 && there < made + 0.5, "{there} {accounts:?} {details}");
    assert!(lost > made - there - 0.5, "{there} {accounts:?} {details}");
    assert!(there > 5_000.0, "{there} {accounts:?} {details}");
}

fn is_equal(a: f64, b: f64) -> bool {
    (a - b).abs() < 0.5
}

/// A tmpfs with these options.
fn tmpfs(options: &'static str) -> impl FnOnce(&Site) -> Disk {
    move |site| Disk::tmpfs(&site.store(), options)
}

#[test]
fn on_a_disk_that_the_store_fills_the_oldest_goes_first() {
    let recover = |disk: &Disk, _: &Site| disk.remount("size=64M");
    survives(tmpfs("size=1M"), |_, _, _| {}, &["gave-way"], recover);
}

#[test]
fn on_a_disk_that_others_fill_the_oldest_goes_first_and_all_goes_on() {
    let fill = |_: &Disk, site: &Site, lab: &Lab| {
        // About a megabyte is the store's own.
        lab.egress("burst-one-socket --to 203.0.113.9 --ports 10000-39999 --count 30000");
        // Each has a first state and a last one.
        let stored = harness::eventually(|| {
            let records = site.metrics().sum("geofenced_store_records", &[]);
            (records > 59_999.5).then_some(())
        });
        assert!(stored.is_some(), "{}", site.log());
        let mut other = fs::File::create(site.store().join("other")).expect("make a file");
        let some = vec![7; 64 << 10];
        while other.write_all(&some).is_ok() {}
    };
    let recover = |_: &Disk, site: &Site| {
        fs::remove_file(site.store().join("other")).expect("remove a file");
    };
    survives(tmpfs("size=64M"), fill, &["gave-way"], recover);
}

#[test]
fn on_a_disk_that_became_read_only_all_goes_on_and_is_written_later_or_counted() {
    let begin = |disk: &Disk, _: &Site, _: &Lab| disk.remount("ro");
    survives(tmpfs("size=64M"), begin, &["read-only"], |disk, _| disk.remount("rw"));
}

#[test]
fn on_a_disk_whose_quota_is_used_up_the_oldest_goes_first_and_a_larger_quota_is_enough() {
    let disk = |site: &Site| Disk::with_quota(&site.store(), "1M");
    survives(disk, |_, _, _| {}, &["gave-way", "disk-full"], |disk, _| disk.allow("128M"));
}

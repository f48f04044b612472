//! Whatever makes the daemon miss something is a gap in the ledger with stage, reason, count and times that fit
//! what was made; `coverage` tells it, and `report` claims nothing over it, and does beside it. Needs root.

#[path = "gaps/rig.rs"]
mod rig;

use std::{
    fs,
    io::Write as _,
    thread,
    time::{Duration, Instant},
};

use harness::{Daemon, Disk, Gateway, Running, Side, Site, links, number, text};
use rig::{Gap, RING_FULL, Rig, SEEN, Window, now, of, span, whole};
use rustix::process::Signal;
use serde_json::Value;

/// Users who each tell less than a share of a ring, and together more than it holds.
const USERS: u64 = 24;
const EACH: u64 = 125;
const FLOWS: u64 = USERS * EACH;
/// Twice what the daemon calls a stall.
const STALL: Duration = Duration::from_secs(10);

/// New flows of users each of whom has a share of the ring; when that was.
fn flood(rig: &Rig, to: &str) -> Window {
    let from = now();
    let floods = (0..USERS).map(|user| {
        let words = format!("flood-udp --uid {} --to {to} --count {EACH}", 2_000 + user);
        rig.lab.start(Side::Host, &words)
    });
    let floods: Vec<Running> = floods.collect();
    let finish = |mut flood: Running| {
        flood.holding();
        flood.finish().flows_made
    };
    let made: u64 = floods.into_iter().map(finish).sum();
    assert_eq!(made, FLOWS);
    (from, now())
}

#[test]
fn a_flood_that_a_ring_of_4_kib_does_not_hold_is_a_gap_with_as_many_as_were_lost() {
    let mut rig = Rig::new();
    // With a ring as it is by default: one of 4 KiB does not even hold what other programs of the machine do.
    let daemon = rig.start();
    let window = (now(), now());
    rig.claims(window);
    assert_eq!(daemon.stop(), Some(0), "{}", rig.site.log());
    rig.environment.push(("GEOFENCED_RING_BYTES", "4096".into()));
    let daemon = rig.start();
    let begun = now();
    let mut made: Window = (begun, begun);
    let (to, mut floods) = ("203.0.113.1", 0);
    // At most as often as there are addresses of each user's.
    while rig.lost("probe", RING_FULL) == 0 && floods < 10 {
        let (from, until) = flood(&rig, to);
        made = (if floods == 0 { from } else { made.0 }, until);
        floods += 1;
        rig.await_flood(to, floods * FLOWS);
    }
    let window = || (begun, now());
    let gaps = rig.await_gaps(window, "probe", RING_FULL);
    let (own, count) = of(&gaps, "probe", RING_FULL);
    // Each flow asks once to be told.
    let lost = rig.lost("probe", RING_FULL);
    assert!(count > 0 && count <= floods * FLOWS && count == lost, "{count}: {gaps:?}");
    assert!(own.iter().all(|gap| gap.extent == "degraded"), "{gaps:?}");
    assert!(own.iter().all(|gap| gap.from <= made.1 && made.0 <= gap.to), "{made:?}: {gaps:?}");
    rig.refuses(window(), RING_FULL);
    // What was only added up is of all the hour, so that nothing is claimed of what is after that.
    let last = own.iter().map(|gap| gap.to).max().expect("a gap");
    let after = rig.gaps((last + 1, now()));
    assert!(of(&after, "probe", RING_FULL).0.is_empty(), "{after:?}");
    assert_eq!(daemon.stop(), Some(0), "{}", rig.site.log());
    let again = rig.gaps((begun, last));
    assert_eq!(of(&again, "probe", RING_FULL).1, count, "the ledger alone: {again:?}");
}

/// Stops it, and has made meanwhile what is made so; when that was.
fn stall(daemon: &Daemon<'_>, made: impl FnOnce()) -> Window {
    let (stopped, begun) = (now(), Instant::now());
    daemon.signal(Signal::STOP);
    made();
    // Not a wait for anything: the stall itself.
    thread::sleep(STALL.saturating_sub(begun.elapsed()));
    let ended = now();
    daemon.signal(Signal::CONT);
    (stopped, ended)
}

#[test]
fn a_daemon_that_is_stopped_for_ten_seconds_leaves_a_gap_whether_or_not_anything_was_lost() {
    let rig = Rig::new();
    let daemon = rig.start();
    let begun = now();
    let (few, many) = ("203.0.113.1", "203.0.113.2");
    let stalled = stall(&daemon, || {
        rig.lab.egress(&format!("udp-sendto --to {few}:9"));
    });
    let gaps = rig.await_gaps(|| (begun, now()), "daemon", "stood-still");
    rig.await_whole(few, 1, |_| 0);
    let (own, _) = of(&gaps, "daemon", "stood-still");
    assert!(own.len() == 1 && own[0].holds(stalled.0, stalled.1), "{stalled:?}: {gaps:?}");
    assert_eq!((own[0].extent.as_str(), gaps.len()), ("degraded", 1), "nothing was lost: {gaps:?}");
    rig.refuses((begun, now()), "stood-still");
    rig.claims((span(&gaps).1 + 1, now()));
    assert_eq!(daemon.stop(), Some(0), "{}", rig.site.log());

    rig.site.drop_in("ring", "[capture]\nring_buffer = \"64KiB\"\n");
    let daemon = rig.start();
    let begun = now();
    let stalled = stall(&daemon, || {
        flood(&rig, many);
    });
    rig.await_flood(many, FLOWS);
    let gaps = rig.await_gaps(|| (begun, now()), "probe", RING_FULL);
    let (own, count) = of(&gaps, "probe", RING_FULL);
    let lost = rig.lost("probe", RING_FULL);
    assert!(count > 0 && count <= FLOWS && count == lost, "{count} {lost}: {gaps:?}");
    assert!(own.iter().any(|gap| gap.holds(stalled.0, stalled.1)), "{stalled:?}: {gaps:?}");
    let (own, _) = of(&gaps, "daemon", "stood-still");
    assert!(own.iter().any(|gap| gap.holds(stalled.0, stalled.1)), "{stalled:?}: {gaps:?}");
    rig.refuses((begun, now()), RING_FULL);
    assert_eq!(daemon.stop(), Some(0), "{}", rig.site.log());
}

#[test]
fn a_disk_that_is_full_is_a_gap_while_it_is_and_with_as_many_as_were_lost_after() {
    const MADE: u64 = 40_000;
    let rig = Rig::new();
    let disk = Disk::tmpfs(&rig.site.store(), "size=64M");
    let daemon = rig.start();
    let begun = now();
    let to = "203.0.113.1";
    rig.claims((begun, now()));
    let filler = rig.site.store().join("other");
    let mut other = fs::File::create(&filler).expect("make a file");
    while other.write_all(&[7; 4096]).is_ok() {}
    let full = now();
    let words = format!("burst-one-socket --to {to} --ports 10000-59999 --count {MADE} --keep");
    let mut burst = rig.lab.start(Side::Host, &words);
    burst.holding();
    let made = (full, now());
    let lost = |rig: &Rig| rig.lost("store", "disk-full");
    let is_lost = harness::eventually(|| (lost(&rig) > 0).then_some(()));
    assert!(
        is_lost.is_some(),
        "{:?}\n{}",
        rig.site.metrics().nonzero("geofenced_events_lost_total"),
        rig.site.log()
    );
    // What is lost can't be told yet: nothing is claimed of that time.
    let told = rig.gaps((begun, now()));
    assert!(told.iter().any(|gap| gap.is("daemon", "no-word-since")), "{told:?}");
    rig.refuses((begun, now()), "no-word-since");

    let seen = || whole(rig.site.metrics().sum(SEEN, &[]));
    let all = harness::eventually(|| (seen() >= MADE).then_some(()));
    assert!(all.is_some(), "{} of {MADE}\n{}", seen(), rig.site.log());
    drop(other);
    fs::remove_file(&filler).expect("remove a file");
    let gaps = rig.await_gaps(|| (begun, now()), "store", "disk-full");
    let stored = rig.await_whole(to, MADE, lost);
    let (own, count) = of(&gaps, "store", "disk-full");
    // Of a flow a later state may be there, and the first one lost.
    assert!(stored <= MADE && MADE <= stored + count, "{stored} {count}: {gaps:?}");
    assert_eq!(count, lost(&rig), "{gaps:?}");
    let (first, last) = (own[0].from, own.iter().map(|gap| gap.to).max());
    assert!(made.0 <= first && first <= made.1, "{made:?}: {gaps:?}");
    assert!(last.is_some_and(|last| made.1 <= last), "{made:?}: {gaps:?}");
    rig.refuses((begun, now()), "disk-full");
    let all = span(&gaps);
    rig.claims((begun, all.0));
    burst.finish();
    rig.claims((all.1 + 1, now()));
    assert_eq!(daemon.stop(), Some(0), "{}", rig.site.log());
    drop(disk);
}

#[test]
fn a_probe_that_is_taken_off_is_a_gap_in_which_whatever_was_not_seen_was_sent() {
    /// `BPF_CGROUP_INET_EGRESS`.
    const PACKETS: u32 = 1;
    let rig = Rig::new();
    let daemon = rig.start();
    let begun = now();
    let to = "203.0.113.1";
    let holes = || {
        let labels = [("probe", "packet_egress")];
        whole(rig.site.metrics().sum("geofenced_probe_detachments_total", &labels))
    };
    let mut made: Vec<(u64, Window)> = Vec::new();
    let mut send = || {
        let port = 10_000 + made.len() as u64;
        let from = now();
        rig.lab.egress(&format!("udp-sendto --to {to}:{port}"));
        made.push((port, (from, now())));
    };
    send();
    // So that it is looked after in between.
    thread::sleep(Duration::from_secs(2));
    links::detach(&links::at_cgroup(daemon.pid(), rig.lab.cgroup.path(), PACKETS));
    let is_mended = harness::eventually(|| {
        send();
        (holes() > 0).then_some(())
    });
    assert!(is_mended.is_some(), "{}", rig.site.log());
    send();
    let gaps = rig.await_gaps(|| (begun, now()), "probe", "packet_egress");
    let last = made.last().expect("the last one").0;
    let seen = harness::eventually(|| {
        let stored = rig.stored(to);
        let ports: Vec<u64> =
            stored.iter().map(|(_, it)| number(it, "/destination/port")).collect();
        ports.contains(&last).then_some(ports)
    });
    let seen = seen.unwrap_or_else(|| panic!("{}", rig.site.log()));
    let unseen: Vec<_> = made.iter().filter(|(port, _)| !seen.contains(port)).collect();
    assert!(!unseen.is_empty() && seen.len() >= 2, "{} of {}: {gaps:?}", seen.len(), made.len());
    for (port, (from, until)) in unseen {
        let is_told = gaps.iter().any(|gap| gap.holds(*from, *until));
        assert!(is_told, "{port} was sent from {from} until {until}: {gaps:?}");
    }
    let (_, count) = of(&gaps, "probe", "detached");
    assert_eq!(count, holes(), "{gaps:?}");
    rig.refuses((begun, now()), "packet_egress");
    let all = span(&gaps);
    if begun < all.0 {
        rig.claims((begun, all.0));
    }
    rig.claims((all.1 + 1, now()));
    assert_eq!(daemon.stop(), Some(0), "{}", rig.site.log());
}

/// The machine's own clock is never touched: the daemon and its command line are shown another.
#[test]
fn a_clock_that_is_set_is_a_gap_from_what_it_was_to_what_it_became() {
    const HOUR: u64 = 3_600_000_000_000;
    let mut rig = Rig::new();
    let file = rig.site.path().join("shift");
    let set = |seconds: i64| {
        // In one step: it is read at any time.
        let new = file.with_extension("new");
        fs::write(&new, format!("{seconds} trusted\n")).expect("write the shift");
        fs::rename(new, &file).expect("set the shift");
    };
    set(0);
    rig.environment.push(("GEOFENCED_CLOCK_SHIFT", file.clone()));
    let daemon = rig.start();
    let begun = now();
    let flow = |to: &str| {
        rig.lab.egress(&format!("udp-sendto --to {to}:9"));
        assert_eq!(rig.await_whole(to, 1, |_| 0), 1);
    };
    flow("203.0.113.1");
    rig.claims((begun, now()));
    let before = now();
    set(3_600);
    let after = |gaps: &[Gap]| of(gaps, "clock", "stepped").0.last().map(|it| (*it).clone());
    let gaps = rig.await_gaps(|| (begun, now() + HOUR), "clock", "stepped");
    let step = after(&gaps).expect("a step");
    assert_eq!((step.extent.as_str(), gaps.len()), ("blind", 1), "{gaps:?}");
    assert!(before <= step.from && step.from <= now(), "{before}: {gaps:?}");
    // The clocks are read one after the other.
    assert!((step.to - step.from).abs_diff(HOUR) < 100_000_000, "{gaps:?}");
    rig.refuses((begun, now() + HOUR), "stepped");
    flow("203.0.113.2");
    rig.claims((begun, step.from));
    rig.claims((step.to, now() + HOUR));

    // And back: an hour is there twice.
    set(0);
    let back = harness::eventually(|| {
        let (window, degraded) = ((begun, now()), |gap: &Gap| gap.extent == "degraded");
        let gaps = rig.gaps(window);
        gaps.into_iter().find(|gap| gap.is("clock", "stepped") && degraded(gap))
    });
    let back = back.unwrap_or_else(|| panic!("{}", rig.site.log()));
    assert!(step.from < back.from && back.from <= now(), "{step:?} {back:?}");
    flow("203.0.113.3");
    rig.refuses((begun, now()), "stepped");
    assert_eq!(daemon.stop(), Some(0), "{}", rig.site.log());
}

#[test]
fn a_daemon_that_is_killed_leaves_a_gap_from_its_last_word_to_the_next_ones_first() {
    let rig = Rig::new();
    let begun = now();
    let daemon = rig.start();
    let to = "203.0.113.1";
    let mut held = rig.lab.start(Side::Host, "hold-udp --to 203.0.113.7:9 --count 7");
    held.holding();
    held.send();
    let are_stored = harness::eventually(|| (rig.stored("203.0.113.7").len() == 7).then_some(()));
    assert!(are_stored.is_some(), "{}", rig.site.log());
    let made = flood(&rig, to);
    daemon.kill9();
    let killed = now();
    flood(&rig, "203.0.113.2");
    let daemon = rig.start();
    let begun_again = now();
    let gaps = rig.await_gaps(|| (begun, now()), "daemon", "ended-without-a-word");
    let (own, _) = of(&gaps, "daemon", "ended-without-a-word");
    assert!(own[0].holds(killed, killed) && own[0].to <= begun_again, "{gaps:?}");
    assert_eq!(own[0].extent, "blind");
    // What was made and is not stored was made within.
    let there = rig.stored(to).len() as u64 + rig.stored("203.0.113.2").len() as u64;
    assert!(there <= FLOWS && own[0].holds(made.0, killed), "{there}: {gaps:?}");
    let (open, count) = of(&gaps, "daemon", "open-flows");
    assert!(open.len() == 1 && count >= 7 && count <= there + 7, "{there}: {gaps:?}");
    rig.refuses((begun, now()), "ended-without-a-word");
    rig.claims((span(&gaps).1 + 1, now()));
    held.finish();
    assert_eq!(daemon.stop(), Some(0), "{}", rig.site.log());
}

#[test]
fn who_watched_and_by_what_is_in_the_ledger_and_in_each_answer_about_it() {
    let gateway = Gateway::new();
    let site = Site::inside(&gateway.lab.host, env!("CARGO_BIN_EXE_geofenced"));
    site.watch_only(gateway.lab.cgroup.path());
    let watching = || {
        let told = site.ask(&["coverage", "--since", "1h", "-o", "json"]);
        let lines = told.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON"));
        let own = lines.filter_map(|line: Value| line.pointer("/geofenced/watching").cloned());
        own.collect::<Vec<Value>>()
    };
    let begun = now();
    let daemon = site.start();
    let first = harness::eventually(|| watching().pop().filter(|it| it["kernel"].is_string()));
    let first = first.unwrap_or_else(|| panic!("{:?}\n{}", watching(), site.log()));
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    assert_eq!(text(&first, "/kernel"), kernel);
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("a boot id");
    assert_eq!(text(&first, "/clock/boot_id"), boot.trim());
    assert!(number(&first, "/clock/boot_ns") > 0 && first["clock"]["trusted"].is_boolean());
    assert!(rig::parse(text(&first, "/noted_at")) >= begun, "{first}");
    let probes = first["probes"].as_array().expect("probes");
    let is_there = |name: &str| {
        probes.iter().any(|it| it["name"] == name && it["attached"] == Value::Bool(true))
    };
    assert!(is_there("packet_egress") && is_there("uplink_egress"), "{first}");
    let interfaces = first["interfaces"].as_array().expect("interfaces");
    assert!(interfaces.iter().any(|it| it == "wan"), "{first}");
    let hashes = || {
        let status = site.ask(&["status", "-o", "json"]);
        let status: Value = serde_json::from_str(&status.stdout).expect("JSON");
        let all = status["databases"].as_array().expect("databases").clone();
        let all = all.iter().map(|it| it["sha256"].clone()).collect::<Vec<_>>();
        (status["policy"]["sha256"].clone(), all)
    };
    let told = |it: &Value| {
        let all = it["databases"].as_array().expect("databases").iter();
        (it["policy_sha256"].clone(), all.map(|it| it["sha256"].clone()).collect::<Vec<_>>())
    };
    assert_eq!(told(&first), hashes());

    // Another policy: from then on that.
    site.drop_in("policy", "[policy]\napproved_countries = [\"US\", \"DE\"]\n");
    daemon.signal(Signal::HUP);
    let all = harness::eventually(|| Some(watching()).filter(|all| all.len() == 2));
    let all = all.unwrap_or_else(|| panic!("{:?}\n{}", watching(), site.log()));
    assert_eq!((told(&all[0]), told(&all[1])), (told(&first), hashes()));
    let page = site.ask(&["report", "--since", "1h"]);
    assert!(page.stdout.contains(&format!("on Linux {kernel}")), "{}", page.stderr);
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
    // The ledger alone says the same.
    assert_eq!(watching(), all);
    let table = site.ask(&["coverage", "--since", "1h"]);
    assert!(table.stdout.contains(&format!("on Linux {kernel}")), "{}", table.stdout);
}

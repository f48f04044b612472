//! The daemon's bounds at its default sizes. Short flows as fast as the machine can make them: seen
//! plus counted lost is what was made, nothing is lost, and memory is bounded. `GEOFENCED_BURST_FLOWS` makes
//! the burst of sockets last. Idle, it is small. Needs root.

use std::{fs, thread, time::Duration};

use harness::{Lab, Metrics, Side, Site};

const SEEN: &str = "geofenced_egress_flows_total";
const LOST: &str = "geofenced_events_lost_total";
const RESIDENT_MAX_KB: u64 = 200 << 10;

/// Losses of flows themselves; the other reasons are of what is told besides.
const FLOW_LOSSES: [&str; 2] = ["ring-full-flow", "flow-table-full"];

/// What the daemon told of a burst.
struct Told {
    seen: f64,
    lost_flows: f64,
    lost: f64,
    details: String,
    /// The most that was resident, but for the program itself.
    resident_kb: u64,
}

/// A burst with its daemon; `run` says how many flows it made.
fn burst(flows: u64, configure: impl FnOnce(&Site), run: impl FnOnce(&Lab) -> u64 + Send) -> Told {
    let lab = Lab::new();
    let site = Site::new(env!("CARGO_BIN_EXE_geofenced"));
    site.watch_only(lab.cgroup.path());
    configure(&site);
    let daemon = site.start();
    let before = site.metrics();
    let resident_kb = thread::scope(|scope| {
        let run = scope.spawn(|| run(&lab));
        let mut most = 0;
        while !run.is_finished() {
            let (all, own) = resident_kb(daemon.pid());
            most = most.max(all - own);
            thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(run.join().expect("the generator"), flows);
        most
    });

    let after = settled(&site);
    // Each of them is in the ledger, as far as it was not added up.
    let stored = || site.metrics().sum("geofenced_store_flows", &[]);
    let itemised = after.sum(SEEN, &[]) - after.sum(LOST, &[("reason", "share")]);
    let are_stored = harness::eventually(|| (stored() > itemised - 0.5).then_some(()));
    assert!(are_stored.is_some(), "{} of {itemised} are stored\n{}", stored(), site.log());
    let growth =
        |name: &str, labels: &[(&str, &str)]| after.sum(name, labels) - before.sum(name, labels);
    let told = Told {
        seen: growth(SEEN, &[]),
        lost_flows: FLOW_LOSSES.iter().map(|reason| growth(LOST, &[("reason", reason)])).sum(),
        lost: growth(LOST, &[]),
        details: format!("{:?} {:?}", after.nonzero(SEEN), after.nonzero(LOST)),
        resident_kb,
    };
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
    told
}

/// At the default sizes, but that the one user who sends it all may fill the store.
fn assert_nothing_is_lost(flows: u64, run: impl FnOnce(&Lab) -> u64 + Send) {
    let large = |site: &Site| site.drop_in("store", "[store]\nmax_size = \"64GiB\"\n");
    let told = burst(flows, large, run);
    println!("{flows} flows, {} kB resident", told.resident_kb);
    assert!(told.resident_kb < RESIDENT_MAX_KB, "{} kB", told.resident_kb);
    assert!(told.lost < 0.5, "{}", told.details);
    assert!((told.seen - flows as f64).abs() < 0.5, "of {flows}: {}", told.details);
}

/// The numbers once they stand still: the same in three scrapes, a second apart.
fn settled(site: &Site) -> Metrics {
    let mut last = (site.metrics(), 0);
    for _ in 0..120 {
        thread::sleep(Duration::from_secs(1));
        let now = site.metrics();
        let same = [SEEN, LOST].iter().all(|name| now.nonzero(name) == last.0.nonzero(name));
        last = (now, if same { last.1 + 1 } else { 0 });
        if last.1 == 2 {
            return last.0;
        }
    }
    panic!("the daemon still counts after two minutes: {:?}", last.0.nonzero(SEEN));
}

const TO: &str = "--to 203.0.113.1 --to 203.0.113.2 --to 198.51.100.1 --to 198.51.100.2";

#[test]
fn two_hundred_thousand_flows_of_a_few_sockets_are_all_seen() {
    assert_nothing_is_lost(200_000, |lab| {
        let words = format!("burst-one-socket {TO} --ports 10000-59999 --sockets 8 --count 200000");
        lab.egress(&words).flows_made
    });
}

#[test]
fn two_hundred_thousand_flows_of_a_socket_each_are_all_seen() {
    let flows = std::env::var("GEOFENCED_BURST_FLOWS");
    let flows = flows.map_or(200_000, |it| it.parse().expect("a number of flows"));
    assert_nothing_is_lost(flows, |lab| {
        let words = format!("burst-new-socket {TO} --ports 10000-59999 --count {flows}");
        lab.egress(&words).flows_made
    });
}

#[test]
fn twenty_thousand_tcp_connections_are_all_seen() {
    assert_nothing_is_lost(20_000, |lab| {
        let mut sink = lab.start(Side::Internet, "serve-tcp --listen 0.0.0.0:0 --count 20000");
        let port = sink.listening().port();
        let to = TO
            .replace("--to ", "")
            .split(' ')
            .fold(String::new(), |words, address| format!("{words} --to {address}:{port}"));
        let made = lab.egress(&format!("burst-tcp {to} --bytes 20 --count 20000")).flows_made;
        assert_eq!(sink.finish().received_bytes, Some(20 * 20_000));
        made
    });
}

#[test]
fn what_a_ring_too_small_loses_is_counted() {
    const FLOWS: u64 = 50_000;
    let small = |site: &Site| site.drop_in("ring", "[capture]\nring_buffer = \"64KiB\"\n");
    let told = burst(FLOWS, small, |lab| {
        let words = format!("burst-one-socket {TO} --ports 10000-59999 --count {FLOWS}");
        lab.egress(&words).flows_made
    });
    assert!(told.lost > 0.5, "nothing was lost, so this tests nothing: {}", told.details);
    // A flow whose telling was lost may still be found in the flow table, and is then both.
    assert!(told.seen + told.lost_flows > FLOWS as f64 - 0.5, "of {FLOWS}: {}", told.details);
    assert!(told.seen < FLOWS as f64 + 0.5, "of {FLOWS}: {}", told.details);
}

/// Of the 30 MiB that an idle daemon may take, the pages of the program itself: the release has 9
/// (docs/performance.md), and what is built for tests some more, which nobody installs.
const PROGRAM_MIB: u64 = 10;

/// Resident kilobytes of a process in all, and those of the file that it runs.
fn resident_kb(pid: u32) -> (u64, u64) {
    let program = fs::read_link(format!("/proc/{pid}/exe")).expect("its program");
    let maps = fs::read_to_string(format!("/proc/{pid}/smaps")).expect("its memory");
    let (mut all, mut own, mut is_own) = (0, 0, false);
    for line in maps.lines() {
        if let Some(kb) = line.strip_prefix("Rss:") {
            let kb: u64 = kb.trim().trim_end_matches(" kB").parse().expect("a number of kB");
            all += kb;
            own += if is_own { kb } else { 0 };
        } else if line.split_once(' ').is_some_and(|(range, _)| range.contains('-')) {
            is_own = line.ends_with(program.to_str().expect("a path in UTF-8"));
        }
    }
    (all, own)
}

#[test]
fn an_idle_daemon_is_resident_in_less_than_thirty_mebibytes() {
    let lab = Lab::new();
    let site = Site::new(env!("CARGO_BIN_EXE_geofenced"));
    site.watch_only(lab.cgroup.path());
    let daemon = site.start();
    // What a start needs besides is given back; what a sweep needs is there.
    for _ in 0..5 {
        thread::sleep(Duration::from_secs(1));
        let (all, own) = resident_kb(daemon.pid());
        println!("{all} kB resident, {own} of them the program");
        let maps = || fs::read_to_string(format!("/proc/{}/smaps", daemon.pid()));
        assert!(all - own < (30 - PROGRAM_MIB) << 10, "{all} - {own} kB\n{:?}", maps());
    }
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

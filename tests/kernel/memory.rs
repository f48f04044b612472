//! Memory that is bounded from outside, once the daemon has begun, and a million destinations: the daemon lives, and each flow is
//! stored, added up or counted as lost. Needs root and the memory controller.

use std::fs;

use geofenced::inside::{
    config::{Capture, NamesConfig},
    probe::Kernel,
};
use harness::{Lab, Memory, Metrics, Running, Side, Site};
use monitor_ebpf::settings;
use serde_json::Value;

const FLOWS: u64 = 1_000_000;
const SEEN: &str = "geofenced_egress_flows_total";
const LOST: &str = "geofenced_events_lost_total";

fn lost(metrics: &Metrics, stage: &str) -> f64 {
    metrics.sum(LOST, &[("stage", stage)])
}

/// Flows of all that is stored, one by one or added up.
fn stored(site: &Site) -> f64 {
    let said = site.ask(&["summary", "--by", "country", "--since", "1h", "-o", "json"]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let rows = said.stdout.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    rows.filter_map(|row| row["flows"].as_f64()).sum()
}

/// What the kernel charges for the maps of this process.
fn maps() -> u64 {
    let all = fs::read_dir("/proc/self/fdinfo").expect("descriptors of this process");
    let infos = all.filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok());
    let memlock = |info: String| -> Option<u64> {
        let line = info.lines().find_map(|line| line.strip_prefix("memlock:"))?;
        info.contains("map_type:").then(|| line.trim().parse().ok())?
    };
    infos.filter_map(memlock).sum()
}

#[test]
fn where_few_flows_are_counted_the_tables_beside_them_are_small_too() {
    let lab = Lab::new();
    let of = |max_flows| {
        let cgroup = Some(lab.cgroup.path().to_owned());
        let ring_bytes = settings::RING_BYTES;
        let capture = Capture { interfaces: None, cgroup, ring_bytes, max_flows, self_test: None };
        let kernel = Kernel::attach(&capture, &NamesConfig::default()).expect("attach the probes");
        let bytes = maps();
        drop(kernel);
        bytes
    };
    let (small, default) = (of(1024), of(settings::FLOWS));
    assert!(small < 40 << 20 && small + (12 << 20) < default, "{small} {default}");
}

fn bounded(floods: &[String], check: impl FnOnce(&Site, &Metrics, &str)) {
    let lab = Lab::new();
    let memory = Memory::at_most(64 << 20);
    let site = Site::new(env!("CARGO_BIN_EXE_geofenced"));
    site.watch_only(lab.cgroup.path());
    site.drop_in("table", "[capture]\nmax_flows = 1024\n");
    let daemon = site.start();
    // The tables in the kernel, which take nearly as much by themselves, and never more, are there.
    memory.take(daemon.pid());
    let count = FLOWS / floods.len() as u64;
    let words = floods.iter().map(|flood| format!("{flood} --count {count}"));
    let mut floods: Vec<Running> = words.map(|words| lab.start(Side::Host, &words)).collect();
    for flood in &mut floods {
        flood.holding();
    }
    for flood in floods {
        assert_eq!(flood.finish().flows_made, count);
    }
    let after = site.settled(&[SEEN, LOST]);
    let details =
        format!("{:?} {:?} {}", after.nonzero(SEEN), after.nonzero(LOST), memory.account());
    println!("{details}");
    check(&site, &after, &details);
    assert_eq!(daemon.stop(), Some(0), "{details} {}", site.log());
}

#[test]
fn a_million_destinations_in_64_mib_are_all_stored_or_added_up_or_counted() {
    bounded(&["flood-udp --to 203.0.113.1 --bytes 20".to_owned()], |site, after, details| {
        let seen = after.sum(SEEN, &[]);
        let uncounted = ["ring-full-flow", "flow-table-full"]
            .map(|reason| after.sum(LOST, &[("stage", "probe"), ("reason", reason)]));
        let uncounted: f64 = uncounted.iter().sum();
        let made = FLOWS as f64;
        assert!(seen < made + 0.5 && seen + uncounted > made - 0.5, "{details}");
        let kept = harness::eventually(|| {
            let kept = stored(site) + lost(&site.metrics(), "store");
            // Roll-ups come once a minute.
            (kept > seen - 0.5).then_some(kept)
        });
        assert!(kept.is_some(), "{} stored: {details}", stored(site));
    });
}

#[test]
fn a_million_attempts_in_64_mib_leave_the_daemon_alive_and_are_told_or_counted() {
    let of = |user| format!("flood-attempts --uid 100{user} --to 239.1.0.0 --keep");
    bounded(&[1, 2, 3, 4, 5].map(of), |site, after, details| {
        // Each is a record, or a loss with its reason; added up, the latter too.
        let mut all = 0.0;
        let is_all = harness::eventually(|| {
            let metrics = site.metrics();
            all = metrics.sum("geofenced_store_records", &[]) + metrics.sum(LOST, &[]);
            (all > FLOWS as f64 - 0.5).then_some(())
        });
        assert!(is_all.is_some(), "{all}: {details}");
        assert!(after.sum(LOST, &[]) > 0.5, "{details}");
        assert!(site.get("/readyz").is_some_and(|(status, _)| status == 200), "{}", site.log());
    });
}

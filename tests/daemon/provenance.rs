//! Every stored record carries the policy and the databases that were in force when it was judged.

use std::{collections::BTreeMap, fs, ops::ControlFlow, path::Path, sync::Arc};

use geofenced::{
    attribute::{Clock, PROCESSES_MAX, Processes, Procfs},
    config::{Config, RecordMode},
    event::{Provenance, Record, Rollup, Timestamp},
    filter::{Filter, Query},
    locate::Locator,
    metrics::{KnownLabels, Metrics},
    outputs::{self, Outputs, live},
    pipeline::{Pipeline, Rules},
    store::{Reader, Store},
};
use monitor_ebpf::sample::{EgressSample, FlowKey, kind, ownership, phase};
use zerocopy::IntoBytes as _;

fn rules(folder: &Path, approved: &str) -> Arc<Rules> {
    let path = folder.join("config.toml");
    let text = format!(
        "[policy]\napproved_countries = [\"{approved}\"]\n\
         [[geo.override]]\nnetwork = \"203.0.113.0/24\"\ncountry = \"CN\"\n"
    );
    fs::write(&path, text).unwrap();
    let config = Config::load(&path).unwrap();
    let locator = Locator::open(&config.geo, &[]).unwrap();
    Arc::new(Rules::new(config.policy, locator))
}

/// A datagram by the socket `cookie` to 203.0.113.7.
fn datagram(cookie: u64) -> EgressSample {
    let mut remote = [0; 16];
    remote[10..].copy_from_slice(&[0xff, 0xff, 203, 0, 113, 7]);
    let flow = FlowKey { cookie, remote, remote_port: 5000, transport: 17, ..FlowKey::default() };
    EgressSample {
        kind: kind::EGRESS,
        phase: phase::SENT,
        ownership: ownership::USER,
        at_ns: cookie,
        sent_bytes: 128,
        sent_packets: 1,
        flow,
        ..EgressSample::default()
    }
}

/// A datagram before a reload, one after it; by the port-independent key of their start.
fn before_and_after(mode: RecordMode) -> ([Arc<Rules>; 2], Vec<Record>, Vec<Rollup>) {
    let folder = tempfile::tempdir().unwrap();
    let rules = ["CN", "US"].map(|approved| rules(folder.path(), approved));
    let mut config = Config::builtin().store;
    config.path = folder.path().join("store");
    let metrics = Arc::new(Metrics::new(&KnownLabels::default()).unwrap());
    let store = Store::open(&config).unwrap();
    let (queue, writer) = outputs::store::spawn(store, Arc::clone(&metrics), 262_144).unwrap();
    config.record = mode;
    let outputs = Outputs::new(Arc::clone(&metrics), &config, queue, live::channel());
    let clock = Clock { wall_at_boot_ns: 0 };
    let processes =
        Processes::with(Procfs::at("/nonexistent"), "/etc/passwd", clock, PROCESSES_MAX);
    let mut pipeline = Pipeline::new(processes, Arc::clone(&rules[0]), outputs, metrics, 1024, 0);
    pipeline.accept(datagram(1_000_000_000).as_bytes());
    pipeline.adopt(Arc::clone(&rules[1]), mode);
    pipeline.accept(datagram(2_000_000_000).as_bytes());
    drop(pipeline.finish(3_000_000_000, Timestamp::from_secs(3)));
    assert!(writer.join());
    let reader = Reader::open(&config.path).unwrap();
    let (mut records, mut rollups) = (Vec::new(), Vec::new());
    let query = Query::default();
    reader
        .query(&query, |record| {
            records.push(record);
            ControlFlow::Continue(())
        })
        .unwrap();
    reader
        .rollups(&Filter::default(), |rollup| {
            rollups.push(rollup);
            ControlFlow::Continue(())
        })
        .unwrap();
    (rules, records, rollups)
}

#[test]
fn records_before_and_after_a_reload_carry_the_rules_of_their_own_time() {
    let (rules, records, _) = before_and_after(RecordMode::All);
    assert_eq!(records.len(), 2);
    for (rules, record) in rules.iter().zip(&records) {
        let provenance: &Provenance = record.provenance.as_deref().unwrap();
        assert_eq!(provenance.policy_sha256, rules.policy.sha256);
        let told: Vec<_> = provenance.databases.iter().map(|it| (it.dated, it.sha256)).collect();
        let in_force: Vec<_> =
            rules.locator.databases().iter().map(|it| (it.built_at, it.sha256)).collect();
        assert_eq!(told, in_force);
        assert!(!told.is_empty());
    }
    assert_ne!(records[0].provenance, records[1].provenance);
    assert_ne!(records[0].judgement.verdict, records[1].judgement.verdict);
}

#[test]
fn what_is_added_up_by_hour_is_added_up_by_the_rules_of_its_time() {
    let (rules, _, rollups) = before_and_after(RecordMode::Unapproved);
    // The datagram after the reload is unapproved, and so no roll-up.
    let by_policy: BTreeMap<_, _> = rollups
        .iter()
        .map(|it| (it.provenance.as_ref().unwrap().policy_sha256, it.flows))
        .collect();
    assert_eq!(by_policy, BTreeMap::from([(rules[0].policy.sha256, 1)]));
}

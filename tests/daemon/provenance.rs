//! Every stored record carries the policy and the databases that were in force when it was judged.

use std::{collections::BTreeMap, fs, ops::ControlFlow, path::Path, sync::Arc, time::Duration};

use geofenced::inside::{
    attribute::{BootOffset, PROCESSES_MAX, Processes, Procfs},
    config::{Config, RecordMode, StoreConfig},
    ecs::hex,
    event::{Host, Notice, Provenance, Record, Rollup, Timestamp, Verdict},
    filter::{Filter, Query},
    locate::Locator,
    metrics::{KnownLabels, Metrics},
    outputs::{self, Outputs, live, writer::StoreWriter},
    pipeline::{Pipeline, Rules},
    probe::{ProbeError, Source},
    store::{Reader, Store},
};
use monitor_ebpf::{
    loss::Loss,
    sample::{EgressSample, FlowCounters, FlowKey, kind, ownership, phase},
};
use zerocopy::IntoBytes as _;

use crate::rig::geofenced;

fn rules(folder: &Path, approved: &str) -> Arc<Rules> {
    rules_of(folder, approved, "CN")
}

/// `country`: where 203.0.113.0/24 is.
fn rules_of(folder: &Path, approved: &str, country: &str) -> Arc<Rules> {
    let path = folder.join("config.toml");
    let text = format!(
        "[policy]\napproved_countries = [\"{approved}\"]\n\
         [[geo.override]]\nnetwork = \"203.0.113.0/24\"\ncountry = \"{country}\"\n"
    );
    fs::write(&path, text).unwrap();
    let config = Config::load(&path).unwrap();
    let locator = Locator::open(&config.geo, &[]).unwrap();
    Arc::new(Rules::new(config.policy, locator))
}

/// A datagram by the socket `cookie` to 203.0.113.7.
pub(crate) fn datagram(cookie: u64) -> EgressSample {
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

pub(crate) fn watching(config: &StoreConfig, rules: &Arc<Rules>) -> (Pipeline, StoreWriter) {
    let metrics = Arc::new(Metrics::new(&KnownLabels::default()).unwrap());
    let store = Store::open(config).unwrap();
    let (queue, writer) =
        outputs::writer::spawn(store, Arc::clone(&metrics), 262_144, config.sync).unwrap();
    let outputs = Outputs::new(Arc::clone(&metrics), config, queue, live::channel());
    let clock = BootOffset { wall_at_boot_ns: 0 };
    let processes =
        Processes::with(Procfs::at("/nonexistent"), "/etc/passwd", clock, PROCESSES_MAX);
    (Pipeline::new(processes, Arc::clone(rules), outputs, metrics, 1024, 0), writer)
}

pub(crate) fn records(reader: &Reader) -> Vec<Record> {
    let mut records = Vec::new();
    reader
        .query(&Query::default(), |record| {
            records.push(record);
            ControlFlow::Continue(())
        })
        .unwrap();
    records
}

/// Counters of one flow, at one time.
pub(crate) struct Counted(pub(crate) FlowKey, pub(crate) FlowCounters);

impl Source for Counted {
    fn wait(&mut self, _timeout: Duration) -> Result<bool, ProbeError> {
        Ok(false)
    }
    fn drain(&mut self, _most: usize, _each: &mut dyn FnMut(&[u8])) -> usize {
        0
    }
    fn sweep(&mut self, each: &mut dyn FnMut(FlowKey, FlowCounters)) -> Result<(), ProbeError> {
        each(self.0, self.1);
        Ok(())
    }
    fn forget(&mut self, _flows: &[FlowKey]) -> Result<(), ProbeError> {
        Ok(())
    }
    fn losses(&self) -> Result<[u64; Loss::ALL.len()], ProbeError> {
        Ok([0; Loss::ALL.len()])
    }
    fn now_ns(&self) -> u64 {
        self.1.last_ns
    }
}

/// A datagram before a reload, one after it; by the port-independent key of their start.
fn before_and_after(mode: RecordMode) -> ([Arc<Rules>; 2], Vec<Record>, Vec<Rollup>) {
    let folder = tempfile::tempdir().unwrap();
    let rules = ["CN", "US"].map(|approved| rules(folder.path(), approved));
    let mut config = Config::builtin().store;
    config.path = folder.path().join("store");
    config.record = mode;
    let (mut pipeline, writer) = watching(&config, &rules[0]);
    pipeline.accept(datagram(1_000_000_000).as_bytes());
    pipeline.adopt(Arc::clone(&rules[1]), mode);
    pipeline.accept(datagram(2_000_000_000).as_bytes());
    drop(pipeline.finish(3_000_000_000, Timestamp::from_secs(3)));
    assert!(writer.join());
    let reader = Reader::open(&config.path).unwrap();
    let (records, mut rollups) = (records(&reader), Vec::new());
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
fn a_destination_that_was_located_before_a_reload_is_where_the_new_rules_say() {
    let folder = tempfile::tempdir().unwrap();
    let rules = ["CN", "RU"].map(|country| rules_of(folder.path(), "US", country));
    let mut config = Config::builtin().store;
    config.path = folder.path().join("store");
    let (mut pipeline, writer) = watching(&config, &rules[0]);
    pipeline.accept(datagram(1_000_000_000).as_bytes());
    pipeline.adopt(Arc::clone(&rules[1]), RecordMode::All);
    pipeline.accept(datagram(2_000_000_000).as_bytes());
    drop(pipeline.finish(3_000_000_000, Timestamp::from_secs(3)));
    assert!(writer.join());
    let records = records(&Reader::open(&config.path).unwrap());
    let countries: BTreeMap<_, _> = records
        .iter()
        .map(|it| (it.egress.started_at, it.place.country.code().unwrap().to_string()))
        .collect();
    let countries: Vec<&str> = countries.values().map(String::as_str).collect();
    assert_eq!(countries, ["CN", "RU"]);
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

/// The last state of a flow that began by the policy that approves of the first country, and grew by that
/// which approves of the second.
fn grown_over_a_reload(approved: [&str; 2]) -> ([Arc<Rules>; 2], Record) {
    let folder = tempfile::tempdir().unwrap();
    let rules = approved.map(|approved| rules(folder.path(), approved));
    let mut config = Config::builtin().store;
    config.path = folder.path().join("store");
    config.record = RecordMode::All;
    let (mut pipeline, writer) = watching(&config, &rules[0]);
    let sample = datagram(1_000_000_000);
    pipeline.accept(sample.as_bytes());
    pipeline.adopt(Arc::clone(&rules[1]), RecordMode::All);
    let counters = FlowCounters {
        sent_bytes: 1_000,
        sent_packets: 2,
        last_ns: 10_000_000_000,
        ..FlowCounters::default()
    };
    pipeline.sweep(&mut Counted(sample.flow, counters), 0).unwrap();
    drop(pipeline.finish(11_000_000_000, Timestamp::from_secs(11)));
    assert!(writer.join());
    let mut records = records(&Reader::open(&config.path).unwrap());
    assert_eq!((records.len(), records[0].egress.traffic.sent_bytes), (1, 1_000));
    (rules, records.remove(0))
}

#[test]
fn a_reload_takes_no_violation_back_and_what_it_says_stands_beside() {
    let (rules, record) = grown_over_a_reload(["US", "CN"]);
    assert!(record.is_violation(), "{record:?}");
    assert_eq!(record.verdict_now, Some(Verdict::Approved));
    assert_eq!(record.provenance.as_ref().unwrap().policy_sha256, rules[0].policy.sha256);
}

#[test]
fn what_a_reload_no_longer_approves_is_in_violation_from_then_on() {
    let (rules, record) = grown_over_a_reload(["CN", "US"]);
    assert!(record.is_violation(), "{record:?}");
    assert_eq!(record.verdict_now, None);
    assert_eq!(record.provenance.as_ref().unwrap().policy_sha256, rules[1].policy.sha256);
}

#[test]
fn a_host_that_gets_another_name_has_it_on_what_is_written_from_then_on() {
    let folder = tempfile::tempdir().unwrap();
    let host = |name: &str| Host { name: name.into(), id: Some([7; 32]) };
    let of = |name: &str| {
        let plain = Arc::try_unwrap(rules(folder.path(), "US")).unwrap();
        Arc::new(plain.on(host(name)))
    };
    let mut config = Config::builtin().store;
    config.path = folder.path().join("store");
    let (mut pipeline, writer) = watching(&config, &of("uav-7"));
    pipeline.note_host(Timestamp::from_secs(1));
    pipeline.accept(datagram(1).as_bytes());
    pipeline.adopt(of("uav-8"), RecordMode::All);
    pipeline.note_host(Timestamp::from_secs(2));
    pipeline.accept(datagram(2).as_bytes());
    drop(pipeline.finish(3_000_000_000, Timestamp::from_secs(3)));
    assert!(writer.join());
    let reader = Reader::open(&config.path).unwrap();
    let name = |record: &Record| record.provenance.as_ref()?.host.as_ref()?.name.to_string().into();
    let names: Vec<Option<String>> = records(&reader).iter().map(name).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    // The first is still open at the reload: its violation stays under what held then.
    assert_eq!(names[1].as_deref(), Some("uav-8"));
    assert_eq!(names[0].as_deref(), Some("uav-7"));
    let mut told = Vec::new();
    let noted = reader.notices(None, None, |_, notice| {
        told.extend(if let Notice::Host(host) = notice {
            Some(host.name.to_string())
        } else {
            None
        });
        ControlFlow::Continue(())
    });
    noted.unwrap();
    assert_eq!(told, ["uav-7", "uav-8"]);
}

#[test]
fn what_a_policy_said_is_found_by_the_first_digits_of_its_hash() {
    let folder = tempfile::tempdir().unwrap();
    let rules = ["US", "CN"].map(|approved| rules(folder.path(), approved));
    let mut config = Config::builtin().store;
    config.path = folder.path().join("store");
    let (mut pipeline, writer) = watching(&config, &rules[0]);
    pipeline.note_policy(Timestamp::from_secs(1));
    pipeline.adopt(Arc::clone(&rules[1]), RecordMode::All);
    pipeline.note_policy(Timestamp::from_secs(2));
    drop(pipeline.finish(3_000_000_000, Timestamp::from_secs(3)));
    assert!(writer.join());

    let file = folder.path().join("config.toml");
    let missing = folder.path().join("nobody.sock");
    fs::write(&file, format!("[store]\npath = {:?}\n", config.path.display().to_string())).unwrap();
    let show = |hash: &str| {
        let mut command = geofenced(&["policy", "show", hash, "--config"]);
        command.arg(&file).arg("--socket").arg(&missing).output().unwrap()
    };
    for rules in &rules {
        let hash: String = hex(&rules.policy.sha256)[..12].to_owned();
        let shown = show(&hash);
        assert_eq!(String::from_utf8_lossy(&shown.stdout), *rules.policy.text, "{shown:?}");
        assert!(rules.policy.text.contains("override 203.0.113.0/24 country=CN\n"));
    }
    let unknown = show("00000000");
    assert_eq!((unknown.status.code(), unknown.stdout.len()), (Some(1), 0), "{unknown:?}");
    assert_eq!(show("xyz").status.code(), Some(2));
}

#[test]
fn which_policies_were_in_force_in_a_window_is_told_in_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let rules = ["US", "CN", "DE"].map(|approved| rules(folder.path(), approved));
    let mut config = Config::builtin().store;
    config.path = folder.path().join("store");
    let (mut pipeline, writer) = watching(&config, &rules[0]);
    let at = Timestamp::from_secs;
    pipeline.note_policy(at(10));
    pipeline.adopt(Arc::clone(&rules[1]), RecordMode::All);
    pipeline.note_policy(at(20));
    pipeline.note_policy(at(30));
    pipeline.adopt(Arc::clone(&rules[2]), RecordMode::All);
    pipeline.note_policy(at(40));
    drop(pipeline.finish(50_000_000_000, at(50)));
    assert!(writer.join());

    let reader = Reader::open(&config.path).unwrap();
    let told = |since: Option<u64>, until: u64| {
        let (found, untold) = reader.policies((since.map(at), at(until))).unwrap();
        assert_eq!(untold, 0);
        for policy in &found {
            let known = rules.iter().find(|it| it.policy.sha256 == policy.sha256).unwrap();
            assert_eq!(policy.text.as_deref(), Some(known.policy.text.as_ref()));
        }
        let approves = |text: &str| text.lines().nth(1).unwrap().replace("approved ", "");
        found.into_iter().map(|it| approves(&it.text.unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(told(None, 60), ["US", "CN", "DE"]);
    assert_eq!(told(Some(15), 35), ["US", "CN"]);
    assert_eq!(told(Some(25), 45), ["CN", "DE"]);
    assert_eq!(told(Some(40), 45), ["DE"]);
    assert_eq!(told(None, 15), ["US"]);
}

//! A policy that only learns: what it records, what it raises, and what cannot be hidden by it.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
    sync::Arc,
};

use geofenced::inside::{
    config::{Config, RecordMode},
    event::{Record, Timestamp, Verdict},
    locate::Locator,
    pipeline::Rules,
    store::Reader,
};
use monitor_ebpf::sample::FlowCounters;
use serde_json::Value;
use zerocopy::IntoBytes as _;

use crate::{
    provenance::{Counted, datagram, records, watching},
    replay::{one_datagram, replay},
};

fn asked(folder: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_geofenced"));
    command.arg("--config").arg(folder.join("config.toml")).args(words).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{}", text(&output.stdout), text(&output.stderr)))
}

#[test]
fn what_a_policy_that_learns_does_not_approve_is_recorded_as_it_is_and_raised_as_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path();
    fs::create_dir(folder.join("config.d")).unwrap();
    fs::write(folder.join("config.d/learn.toml"), "[policy]\nmode = \"learn\"\n").unwrap();
    let log = replay(&directory, &one_datagram(), "", "");
    assert!(log.contains("the policy only learns"), "{log}");

    let check = asked(folder, &["check"]);
    assert!(text(&check.stdout).starts_with("The policy only learns"), "{check:?}");
    let events = asked(folder, &["events", "-o", "json", "--fail-on-violation"]);
    assert_eq!(events.status.code(), Some(0), "{events:?}");
    let event = json(&events);
    assert_eq!(event["geofenced"]["verdict"], "unapproved");
    assert_eq!(event["geofenced"]["learning"], true);
    let said = text(&events.stderr);
    assert!(said.contains("the policy only learns"), "{said}");
    assert!(said.contains("1 of these flows are unapproved and no violation"), "{said}");
    // Sums of the index, and records one by one.
    for by in ["verdict", "port"] {
        let summary = ["summary", "--by", by, "-o", "json", "--fail-on-violation"];
        let summary = asked(folder, &summary);
        assert_eq!(summary.status.code(), Some(0), "{summary:?}");
        assert!(text(&summary.stderr).contains("the policy only learns"), "{summary:?}");
        let row = json(&summary);
        assert_eq!((&row["violations"], &row["unraised"]), (&0.into(), &1.into()), "{row}");
    }
    let all = ["--since", "2020-01-01T00:00:00Z", "--fail-on-violation"];
    let report = asked(folder, &[&["report", "-o", "json"], &all[..]].concat());
    let told = json(&report);
    assert_eq!(report.status.code(), Some(0), "{report:?}");
    assert_eq!((&told["learning"], &told["totals"]["unraised"]), (&true.into(), &1.into()));
    assert!(text(&report.stderr).contains("only learned"), "{report:?}");
    // What it would be is not hidden from who asks for it.
    let hash = event["geofenced"]["policy"]["sha256"].as_str().unwrap();
    let policy = asked(folder, &["policy", "show", hash]);
    assert!(text(&policy.stdout).contains("\nmode learn\n"), "{policy:?}");
}

#[test]
fn a_policy_that_judges_raises_again_what_was_only_learned() {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path();
    fs::create_dir(folder.join("config.d")).unwrap();
    let learn = folder.join("config.d/learn.toml");
    fs::write(&learn, "[policy]\nmode = \"learn\"\n").unwrap();
    replay(&directory, &one_datagram(), "", "");
    fs::remove_file(&learn).unwrap();
    let again = asked(folder, &["replay", "--fail-on-violation"]);
    assert_eq!(again.status.code(), Some(3), "{again:?}");
    let said = text(&again.stdout);
    assert!(said.contains("1 new violations, 0 violations less."), "{said}");
    assert!(said.contains("In violation of it are 1."), "{said}");
}

fn rules(folder: &Path, policy: &str) -> Arc<Rules> {
    let path = folder.join("config.toml");
    let place = "[[geo.override]]\nnetwork = \"203.0.113.0/24\"\ncountry = \"CN\"\n";
    fs::write(&path, format!("[policy]\n{policy}\n{place}")).unwrap();
    let config = Config::load(&path).unwrap();
    let locator = Locator::open(&config.geo, &[]).unwrap();
    Arc::new(Rules::new(config.policy, locator))
}

const JUDGE: &str = "approved_countries = [\"US\"]";
const LEARN: &str = "mode = \"learn\"\napproved_countries = [\"US\"]";

/// A flow that begins under one policy and goes on under another, and what the ledger says of both.
fn over_a_reload(policies: [&str; 2]) -> (Record, Reader) {
    let folder = tempfile::tempdir().unwrap();
    let rules = policies.map(|policy| rules(folder.path(), policy));
    let mut config = Config::builtin().store;
    // Kept for as long as the test runs.
    config.path = folder.keep().join("store");
    let (mut pipeline, writer) = watching(&config, &rules[0]);
    let at = Timestamp::from_secs;
    pipeline.note_policy(at(1));
    let sample = datagram(1_000_000_000);
    pipeline.accept(sample.as_bytes());
    pipeline.adopt(Arc::clone(&rules[1]), RecordMode::All);
    pipeline.note_policy(at(2));
    let counters = FlowCounters {
        sent_bytes: 1_000,
        sent_packets: 2,
        last_ns: 10_000_000_000,
        ..FlowCounters::default()
    };
    pipeline.sweep(&mut Counted(sample.flow, counters), 0).unwrap();
    drop(pipeline.finish(11_000_000_000, at(11)));
    assert!(writer.join());
    let reader = Reader::open(&config.path).unwrap();
    let mut records = records(&reader);
    assert_eq!((records.len(), records[0].egress.traffic.sent_bytes), (1, 1_000));
    (records.remove(0), reader)
}

#[test]
fn who_makes_the_policy_learn_takes_no_violation_back_and_is_told_of_in_the_ledger() {
    let (record, reader) = over_a_reload([JUDGE, LEARN]);
    assert!(record.is_violation() && !record.is_unraised(), "{record:?}");
    assert_eq!((record.judgement.verdict, record.verdict_now), (Verdict::Unapproved, None));
    let (policies, _) = reader.policies((None, Timestamp::from_secs(60))).unwrap();
    let told: Vec<bool> =
        policies.iter().map(|it| it.text.as_deref().unwrap().contains("mode learn\n")).collect();
    assert_eq!(told, [false, true]);
}

#[test]
fn what_goes_on_when_learning_ends_is_a_violation_from_then_on() {
    let (record, _) = over_a_reload([LEARN, JUDGE]);
    assert!(record.is_violation(), "{record:?}");
    let (record, _) = over_a_reload([LEARN, LEARN]);
    assert!(record.is_unraised(), "{record:?}");
}

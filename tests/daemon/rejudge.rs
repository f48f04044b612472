//! `geofenced replay`: stored records judged again, as a person and a script see it.

use std::{fs, os::unix::fs::symlink, path::Path, process::Output, sync::Arc};

use geofenced::inside::{
    config::Config,
    event::{
        Country, CountryCode, Entry, Phase, Process, Record, Rollup, Sender, Traffic, Verdict,
    },
    store::Store,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    approved::approved,
    records::{START, violation},
    rig::geofenced,
};

/// A store with a flow to CN, which was a violation, two to US, one of them only tried, and a
/// roll-up; and the configuration that leads to it.
fn stored() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::builtin();
    config.store.path = folder.path().join("store");
    let mut store = Store::open(&config.store).unwrap();
    let mut attempt = approved(2);
    attempt.egress.phase = Phase::Attempt;
    for record in [violation(0), approved(1), attempt] {
        store.append(&Entry::Flow(record)).unwrap();
    }
    let rollup = Rollup {
        hour: START,
        program: "/usr/bin/curl".into(),
        user: None,
        country: Country::Known(CountryCode::new("US").unwrap()),
        verdict: Verdict::Approved,
        provenance: None,
        flows: 5,
        traffic: Traffic::default(),
    };
    store.append(&Entry::Rollup(rollup)).unwrap();
    store.close().unwrap();
    let text = format!(
        "[policy]\napproved_countries = [\"US\"]\n[store]\npath = \"{}\"\n",
        config.store.path.display()
    );
    fs::write(folder.path().join("config.toml"), text).unwrap();
    fs::write(folder.path().join("cn.toml"), "[policy]\napproved_countries = [\"CN\"]\n").unwrap();
    folder
}

fn replay(folder: &Path, arguments: &[&str]) -> Output {
    let config = folder.join("config.toml");
    let mut command = geofenced(&["replay"]);
    command.current_dir(folder).arg("--config").arg(config).args(arguments).output().unwrap()
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

#[test]
fn another_policy_turns_verdicts_round_and_the_table_says_which() {
    let folder = stored();
    let output = replay(folder.path(), &["--policy", "cn.toml", "--utc"]);
    // Columns are as wide as what they hold.
    let words: Vec<&str> = stdout(&output).split_whitespace().collect();
    let said = words.join(" ");
    assert_eq!(output.status.code(), Some(0));
    for line in [
        "FLOWS",
        "1 1.5 KiB unapproved approved country CN Example Cloud (AS64500)",
        "2 3.0 KiB approved unapproved country US Example Cloud (AS64500)",
        "203.0.113.7:443",
        "Of 3 flows 3 would be judged otherwise: 1 new violations, 1 violations less.",
    ] {
        assert!(said.contains(line), "{line} is not in\n{said}");
    }
    let message = std::str::from_utf8(&output.stderr).unwrap();
    assert!(message.contains("5 more flows were added up by hour"), "{message}");
    assert!(message.contains("the country of 5 of them"), "{message}");
}

/// `record`, by another process.
fn sent_by(record: Record, change: impl FnOnce(&mut Process)) -> Record {
    let mut record = record;
    let Sender::Process { process, .. } = &mut record.sender else {
        panic!("records have a process")
    };
    change(Arc::make_mut(process));
    record
}

#[test]
fn a_rule_for_a_program_means_the_hosts_file_of_stored_records_too_even_by_a_link() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let (file, link) = (root.join("program-1.2"), root.join("program"));
    fs::write(&file, "").unwrap();
    symlink(&file, &link).unwrap();
    let path: Arc<str> = file.to_str().unwrap().into();
    let mut config = Config::builtin();
    config.store.path = root.join("store");
    let mut store = Store::open(&config.store).unwrap();
    let hosts = sent_by(violation(0), |it| {
        (it.executable, it.file.is_hosts) = (Some(Arc::clone(&path)), true);
    });
    let elsewhere = sent_by(violation(1), |it| it.executable = Some(Arc::clone(&path)));
    let claimed = sent_by(violation(2), |it| {
        (it.executable, it.executable_claimed) = (None, link.to_str().map(Into::into));
    });
    for record in [hosts, elsewhere, claimed] {
        store.append(&Entry::Flow(record)).unwrap();
    }
    store.close().unwrap();
    let text = format!(
        "[store]\npath = \"{}\"\n[[policy.rule]]\nname = \"p\"\nallow = true\nprocess = \"{}\"\n",
        config.store.path.display(),
        link.display()
    );
    fs::write(root.join("config.toml"), &text).unwrap();
    let changed = |output: Output| -> Vec<i64> {
        let starts = stdout(&output).lines().map(|line| {
            let event: Value = serde_json::from_str(line).unwrap();
            assert_eq!(event["geofenced"]["reason"], "rule:p");
            let second = &event["@timestamp"].as_str().unwrap()[18..19];
            second.parse().unwrap()
        });
        starts.collect()
    };
    assert_eq!(changed(replay(&root, &["-o", "json"])), [0]);
    let trusting = format!("[policy]\ntrust_claims = true\n{text}");
    fs::write(root.join("config.toml"), trusting).unwrap();
    assert_eq!(changed(replay(&root, &["-o", "json"])), [0, 2]);
}

#[test]
fn what_was_stored_is_as_it_was() {
    let folder = stored();
    let files = || {
        let ledger = fs::read_dir(folder.path().join("store/ledger")).unwrap();
        let mut files: Vec<_> =
            ledger.map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect();
        files.sort();
        files
    };
    let before = files();
    replay(folder.path(), &["--policy", "cn.toml"]);
    assert_eq!(before, files());
    let same = replay(folder.path(), &[]);
    assert!(stdout(&same).starts_with("Of 3 flows 0 would be judged otherwise"), "{same:?}");
}

#[test]
fn as_json_each_change_is_the_event_as_it_would_be_and_what_it_was() {
    let folder = stored();
    let output = replay(folder.path(), &["--policy", "cn.toml", "-o", "json"]);
    let changes: Vec<Value> =
        stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(changes.len(), 3);
    assert_eq!(changes[0]["geofenced"]["verdict"], "approved");
    assert_eq!(changes[0]["geofenced"]["was"]["verdict"], "unapproved");
    assert_eq!(changes[0]["geofenced"]["was"]["country_iso_code"], "CN");
    assert_eq!(changes[0]["geofenced"]["policy"]["sha256"].as_str().unwrap().len(), 64);
    let newest = replay(folder.path(), &["--policy", "cn.toml", "-o", "json", "--limit", "1"]);
    assert_eq!(stdout(&newest).lines().next(), stdout(&output).lines().last());
    let csv = replay(folder.path(), &["--policy", "cn.toml", "-o", "csv", "--reverse"]);
    assert_eq!(stdout(&csv).lines().count(), 4);
    assert!(stdout(&csv).lines().nth(3).unwrap().contains(",unapproved,approved,"), "{csv:?}");
}

#[test]
fn new_violations_are_an_exit_code_where_that_is_asked() {
    let folder = stored();
    let code = |arguments: &[&str]| replay(folder.path(), arguments).status.code();
    assert_eq!(code(&["--policy", "cn.toml", "--fail-on-violation"]), Some(3));
    assert_eq!(code(&["--fail-on-violation"]), Some(0));
    // To be fewer is no new one, and an attempt is none.
    let fewer = ["--policy", "cn.toml", "--fail-on-violation", "--country", "CN"];
    assert_eq!(code(&fewer), Some(0));
    let tried = ["--policy", "cn.toml", "--fail-on-violation", "--phase", "attempt"];
    assert_eq!(code(&tried), Some(0));
    assert_eq!(code(&["--policy", "none.toml"]), Some(2));
    assert_eq!(code(&["--database", "none.mmdb"]), Some(2));
}

#[test]
fn with_another_database_every_place_is_looked_up_again() {
    let folder = stored();
    let output = replay(folder.path(), &["--database", "embedded", "-o", "json"]);
    let changes: Vec<Value> =
        stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    // Documentation addresses are nowhere: what was approved would not be.
    assert_eq!(changes.len(), 2);
    assert_eq!(changes[0]["geofenced"]["reason"], "unlocated");
    assert_eq!(changes[0]["destination"].get("geo"), None);
    assert_eq!(changes[0]["geofenced"]["was"]["country_iso_code"], "US");
}

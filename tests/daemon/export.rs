//! Exports, as other programs read them: DuckDB adds them up and gets what `summary` says, and the published
//! schema of OCSF has nothing to object to.

#[path = "../../monitor/benches/store/generator.rs"]
mod generator;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Arc,
    time::Instant,
};

use generator::{Generator, HOUR, START};
use geofenced::inside::{
    config::Config,
    ecs::hex,
    event::{Country, CountryCode, Entry, Host, Record, Rollup, Timestamp, Traffic, Verdict},
    store::Store,
};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::{approved::approved, records::violation, rig::geofenced};

const MISSING: &str = "`cargo xtask test` installs it into target/tools/python";

pub(crate) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What a script of this test's prints.
fn python(script: &str, words: &[&str]) -> Value {
    let binary = Path::new(env!("CARGO_BIN_EXE_geofenced"));
    let packages = binary.ancestors().nth(2).unwrap().join("tools/python");
    let output = Command::new("python3")
        .args(["-c", script])
        .args(words)
        .env("PYTHONPATH", &packages)
        .output()
        .expect("python3");
    assert!(output.status.success(), "{} ({MISSING})", said(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A store without a daemon.
pub(crate) struct Stored {
    directory: TempDir,
    config: String,
}

impl Stored {
    fn new(fill: impl FnOnce(&mut Store)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path().display();
        let text = format!(
            "[store]\npath = '{at}/store'\nmax_size = '64GiB'\nretention = '3650d'\n\
             [api]\nsocket = '{at}/socket'\n[host]\nname = 'reader'\n"
        );
        let path = directory.path().join("config.toml");
        fs::write(&path, text).unwrap();
        let mut store = Store::open(&Config::load(&path).unwrap().store).unwrap();
        fill(&mut store);
        store.close().unwrap();
        Self { config: path.display().to_string(), directory }
    }

    pub(crate) fn of(entries: impl IntoIterator<Item = Entry>) -> Self {
        Self::new(|store| entries.into_iter().for_each(|entry| store.append(&entry).unwrap()))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn run(&self, words: &[&str]) -> Output {
        geofenced(words).args(["--config", &self.config]).output().unwrap()
    }

    /// Where it is, after it succeeded.
    pub(crate) fn export(&self, format: &str, more: &[&str]) -> PathBuf {
        let folder = self.path(format);
        let words = ["export", "--format", format, folder.to_str().unwrap()];
        let output = self.run(&[&words, more].concat());
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        folder
    }

    /// Flows, bytes and packets that left, bytes that came back, by country.
    fn summary(&self) -> BTreeMap<String, [u64; 4]> {
        let output = self.run(&["summary", "--by", "country", "-o", "json"]);
        let lines = String::from_utf8(output.stdout).unwrap();
        let row = |line| {
            let row: Value = serde_json::from_str(line).unwrap();
            let number = |at| row.pointer(at).and_then(Value::as_u64).unwrap();
            let paths = ["/flows", "/source/bytes", "/source/packets", "/destination/bytes"];
            (row["key"].as_str().unwrap().to_owned(), paths.map(number))
        };
        lines.lines().map(row).collect()
    }
}

fn by_host(mut record: Record, name: &str) -> Record {
    let findings = Arc::make_mut(&mut record.findings);
    let mut provenance = findings.provenance.as_deref().cloned().unwrap_or_else(some_provenance);
    provenance.host = Some(Arc::new(Host { name: name.into(), id: None }));
    findings.provenance = Some(Arc::new(provenance));
    record
}

fn some_provenance() -> geofenced::inside::event::Provenance {
    geofenced::inside::event::Provenance {
        policy_sha256: [1; 32],
        is_learning: false,
        databases: vec![],
        host: None,
    }
}

pub(crate) fn rollup(hour: u64, code: &str, provenance: &Record) -> Rollup {
    Rollup {
        hour: Timestamp(START + hour * HOUR).hour(),
        program: "/usr/bin/updater".into(),
        user: None,
        country: CountryCode::new(code).map_or(Country::Unlocated, Country::Known),
        verdict: Verdict::Approved,
        provenance: provenance.provenance.clone(),
        flows: 3,
        traffic: Traffic {
            sent_bytes: 1_000 + hour,
            sent_packets: 7,
            received_bytes: 11,
            received_packets: 1,
        },
    }
}

pub(crate) fn paths(folder: &Path) -> Vec<String> {
    let mut all = Vec::new();
    let mut todo = vec![folder.to_owned()];
    while let Some(next) = todo.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { todo.push(path) } else { all.push(path) }
        }
    }
    let within = |path: PathBuf| path.strip_prefix(folder).unwrap().display().to_string();
    let mut all: Vec<String> = all.into_iter().map(within).collect();
    all.sort();
    all
}

/// Flows of a month and sums of each of its hours.
fn month(records: usize) -> Stored {
    Stored::new(|store| {
        let mut generator = Generator::new(records, 30);
        for number in 0..records {
            let record = generator.next_state();
            if number.is_multiple_of(records / 600) {
                let hour = (number * 720 / records) as u64;
                let code = if hour.is_multiple_of(2) { "US" } else { "CA" };
                store.append(&Entry::Rollup(rollup(hour, code, &record))).unwrap();
            }
            store.append(&Entry::Flow(record)).unwrap();
        }
    })
}

/// Exports so many records, and has DuckDB add them up; gives back where they are, and what else it read.
fn adds_up_as_summary_says(format: &str, records: usize) -> (Stored, PathBuf, Value) {
    let begun = Instant::now();
    let stored = month(records);
    let summary = stored.summary();
    assert!(summary.len() > 30, "{summary:?}");
    let folder = stored.path(format);
    let binary = env!("CARGO_BIN_EXE_geofenced");
    let words = [binary, "export", "--format", format, folder.to_str().unwrap()];
    let words = [&words[..], &["--config", &stored.config]].concat();
    let stored_after = begun.elapsed();
    let measured = python(include_str!("export/measured.py"), &words);
    assert_eq!(measured["code"], 0);
    let most = measured["bytes"].as_u64().unwrap();
    let after = begun.elapsed().saturating_sub(stored_after);
    eprintln!(
        "{format}: {records} records stored in {stored_after:?}, exported in {after:?}, {} MiB at most",
        most >> 20
    );
    assert!(most >> 20 < 100, "of {records} records {} MiB", most >> 20);

    let read = python(include_str!("export/sums.py"), &[format, folder.to_str().unwrap()]);
    let sums: BTreeMap<String, [u64; 4]> = serde_json::from_value(read["sums"].clone()).unwrap();
    assert_eq!(sums, summary, "{format}");
    assert_eq!(read["strayed"], 0, "{format}");
    (stored, folder, read)
}

#[test]
fn duckdb_adds_up_by_country_what_summary_says_of_ndjson() {
    adds_up_as_summary_says("ndjson", 100_000);
}

#[test]
fn duckdb_adds_up_by_country_what_summary_says_of_a_million_records_of_parquet() {
    let (_stored, folder, read) = adds_up_as_summary_says("parquet", 1_000_000);
    let of = |name: &str| read["types"][name].as_str().unwrap_or_default().to_owned();
    assert!(of("timestamp").starts_with("TIMESTAMP"), "{}", of("timestamp"));
    assert_eq!(of("source_bytes"), "BIGINT");
    assert_eq!(of("geofenced_violation"), "BOOLEAN");
    assert_eq!(of("geofenced_database"), "JSON");
    let order = python(include_str!("export/order.py"), &[folder.to_str().unwrap()]);
    assert_eq!(order["unordered"], 0, "{order}");
    assert!(order["groups"].as_u64() >= order["files"].as_u64(), "{order}");
    assert_eq!(order["groups"], order["bounds"], "{order}");
}

#[test]
fn ocsf_is_valid_by_its_published_schema() {
    let mut generator = Generator::new(500, 2);
    let mut records: Vec<Record> = (0..500).map(|_| generator.next_state()).collect();
    records.extend([violation(0), approved(1), by_host(violation(2), "uav-7")]);
    let rollups = [rollup(1, "US", &records[0]), rollup(2, "DE", &violation(3))];
    let entries = records.into_iter().map(Entry::Flow).chain(rollups.map(Entry::Rollup));
    let stored = Stored::of(entries);
    let folder = stored.export("ocsf", &[]);
    let checked = python(include_str!("export/ocsf.py"), &["1.8.0", folder.to_str().unwrap()]);
    assert_eq!(checked["wrong"], serde_json::json!([]), "{checked}");
    assert!(checked["lines"].as_u64() > Some(300), "{checked}");
}

#[test]
fn the_manifest_says_who_why_and_of_what_and_the_hash_of_each_file() {
    let far = by_host(violation(0), "a b/..+c");
    let stored = Stored::of([violation(1), by_host(approved(2), "uav-7"), far].map(Entry::Flow));
    let reason = "request 12 of the regulator";
    let folder = stored.export("ndjson", &["--reason", reason, "--country", "CN"]);
    let text = fs::read(folder.join("manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(manifest["made"]["reason"], reason, "{manifest}");
    assert_eq!(manifest["made"]["by"]["uid"], 0);
    assert_eq!(manifest["made"]["host"]["name"], "reader", "where it was made");
    assert_eq!(manifest["selection"]["filters"]["country"], "CN");
    assert!(manifest["coverage"]["gaps"].is_array(), "{manifest}");
    assert_eq!((&manifest["records"], &manifest["rollups"]), (&2.into(), &0.into()), "{manifest}");
    let files = manifest["files"].as_array().unwrap();
    let mut listed: Vec<String> =
        files.iter().map(|it| it["path"].as_str().unwrap().to_owned()).collect();
    for file in files {
        let bytes = fs::read(folder.join(file["path"].as_str().unwrap())).unwrap();
        assert_eq!(file["sha256"], hex(&Sha256::digest(&bytes)), "{file}");
        assert_eq!(file["bytes"], bytes.len());
        // What is beside the records has none.
        if let Some(records) = file["records"].as_u64() {
            let text = String::from_utf8(bytes).unwrap();
            assert_eq!(records, text.lines().count() as u64, "{file}");
        }
    }
    listed.push("manifest.json".to_owned());
    listed.sort();
    assert_eq!(paths(&folder), listed, "and nothing else");
    for evidence in ["evidence/leaves", "evidence/checkpoints", "key.pub"] {
        assert!(listed.iter().any(|it| it == evidence), "{listed:?}");
    }
    assert!(listed.iter().any(|it| it.contains("host_name=a%20b%2F..%2Bc/")), "{listed:?}");
    assert!(
        listed.iter().any(|it| it.contains("host_name=__HIVE_DEFAULT_PARTITION__/")),
        "{listed:?}"
    );
}

#[test]
fn a_directory_with_something_in_it_is_left_alone() {
    let stored = Stored::of([Entry::Flow(violation(0))]);
    let folder = stored.export("parquet", &[]);
    let before = paths(&folder);
    let words = ["export", "--format", "parquet", folder.to_str().unwrap()];
    let again = stored.run(&words);
    assert_eq!(again.status.code(), Some(1));
    assert!(said(&again).contains("is not empty"), "{}", said(&again));
    assert_eq!(said(&again).lines().count(), 1);
    assert_eq!(paths(&folder), before);
    let limited = stored.run(&[&words[..], &["--limit", "3"]].concat());
    assert_eq!(limited.status.code(), Some(2), "{}", said(&limited));
}

#[test]
fn a_disk_that_takes_no_more_leaves_nothing_that_looks_whole() {
    let mut generator = Generator::new(20_000, 2);
    let stored = Stored::of((0..20_000).map(|_| Entry::Flow(generator.next_state())));
    for format in ["ndjson", "ocsf", "parquet"] {
        let folder = stored.path(format);
        // Files of 64 KiB at most, as on a disk with no more room.
        let line = "trap '' XFSZ; ulimit -f 64; exec \"$0\" \"$@\"";
        let output = Command::new("bash")
            .args(["-c", line, env!("CARGO_BIN_EXE_geofenced"), "export", "--format", format])
            .arg(&folder)
            .args(["--config", &stored.config])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{format}: {}", said(&output));
        assert!(said(&output).contains("nothing of the export stays"), "{}", said(&output));
        assert!(!folder.exists(), "{format}: {:?}", paths(&folder));
    }
}

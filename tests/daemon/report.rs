//! `report` as a process: from a daemon, and from a ledger that nobody else reads; its numbers are those of
//! `summary`, and its exit codes those of the contract.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
    sync::Arc,
};

use geofenced::inside::{
    config::Config,
    coverage::{Extent, Gap},
    ecs::Time,
    event::{
        Country, CountryCode, Entry, FlowId, Notice, Operator, Origin, Record, Rollup, Sender,
        Timestamp, Traffic, Verdict,
    },
    store::Store,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    approved::approved,
    records::{START, violation},
    replay::{one_datagram, replay},
    rig::{Daemon, Events, geofenced},
};

const HOUR: u64 = 3_600_000_000_000;
/// An hour from [`START`] on.
pub(crate) const WINDOW: [&str; 4] =
    ["--since", "2027-01-15T08:00:00Z", "--until", "2027-01-15T09:00:00Z"];

pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

pub(crate) fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{}", text(&output.stdout), text(&output.stderr)))
}

/// A flow within the hour: where to, whose that is, and who says so.
pub(crate) fn flow(
    number: u64,
    (address, country): (&str, &str),
    (operator, led_from): (&str, &str),
    verdict: Verdict,
) -> Record {
    let mut record = violation(number);
    record.egress.flow = FlowId((u128::from(record.egress.started_at.0) << 64) | 0xf00);
    record.egress.remote = Some(address.parse().unwrap());
    record.egress.traffic = Traffic {
        sent_bytes: 1_700 * (number + 1) * (number + 1),
        sent_packets: 3,
        received_bytes: 900 * (number + 1),
        received_packets: 2,
    };
    record.judgement.verdict = verdict;
    record.place.country = CountryCode::new(country).map_or(Country::Unlocated, Country::Known);
    record.place.operator = Some(Arc::new(Operator {
        asn: Some(64_500 + u32::try_from(number).unwrap()),
        name: Some(operator.into()),
        country: CountryCode::new(led_from),
        is_anycast: false,
    }));
    record
}

/// A ledger of one that watched for three hours, and the configuration that leads to it.
pub(crate) struct Ledger {
    pub(crate) directory: TempDir,
}

impl Ledger {
    pub(crate) fn of(records: &[Record], rollups: &[Rollup]) -> Self {
        Self::told(records, rollups, &[])
    }

    /// The same where more was told meanwhile, in its order.
    pub(crate) fn told(
        records: &[Record],
        rollups: &[Rollup],
        told: &[(Timestamp, Notice)],
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path().display();
        let config = format!(
            "[policy]\napproved_countries = [\"US\", \"CA\", \"DE\"]\n[[policy.rule]]\nname = \"no-telemetry\"\n\
             allow = false\ndestination = \"telemetry.example\"\n\
             [store]\npath = '{at}/store'\n[api]\nsocket = '{at}/socket'\n"
        );
        fs::write(directory.path().join("config.toml"), config).unwrap();
        let Config { policy, store, .. } =
            Config::load(&directory.path().join("config.toml")).unwrap();
        let (began, ended) = (Timestamp(START.0 - HOUR / 60), Timestamp(START.0 + 2 * HOUR));
        let policy_sha256 = policy.sha256;
        let started = Notice::Started { version: "0.1.0".into(), probes: vec![], policy_sha256 };
        let lines = policy.text.lines().map(Into::into).collect();
        let says = Notice::Policy { sha256: policy_sha256, lines };
        let notice = |at, notice| Entry::Notice { at, notice };
        let mut ledger = Store::open(&store).unwrap();
        let entries = [notice(began, started), notice(began, says)].into_iter();
        let entries = entries
            .chain(told.iter().map(|(at, told)| notice(*at, told.clone())))
            .chain(records.iter().cloned().map(Entry::Flow))
            .chain(rollups.iter().cloned().map(Entry::Rollup))
            .chain([notice(ended, Notice::Stopped)]);
        entries.for_each(|entry| ledger.append(&entry).map(drop).unwrap());
        ledger.close().unwrap();
        Self { directory }
    }

    /// The command line over it.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = geofenced(arguments);
        command.arg("--config").arg(self.directory.path().join("config.toml"));
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }
}

fn some_flows() -> Vec<Record> {
    vec![
        approved(0),
        flow(1, ("203.0.113.7:80", "CN"), ("Example Telemetry", "CN"), Verdict::Unapproved),
        flow(2, ("203.0.113.8:443", "US"), ("Example Cloud", "CN"), Verdict::Unapproved),
        flow(3, ("198.51.100.2:443", "DE"), ("Example Hosting", "DE"), Verdict::Approved),
    ]
}

pub(crate) fn added_up(flows: u64) -> Rollup {
    Rollup {
        hour: START,
        country: Country::Known(CountryCode::new("CA").unwrap()),
        verdict: Verdict::Approved,
        program: "/usr/bin/curl".into(),
        user: None,
        flows,
        traffic: Traffic { sent_bytes: 64_000, sent_packets: 90, ..Traffic::default() },
        provenance: None,
    }
}

/// The rows of the report are those that `summary` prints, number by number, and all are in the page.
pub(crate) fn agrees_with_summary(run: &dyn Fn(&[&str]) -> Output, window: &[&str]) {
    let with = |words: &[&str]| run(&[words, window].concat());
    let report = json(&with(&["report", "-o", "json"]));
    let page = with(&["report"]);
    let page = text(&page.stdout);
    for (by, list) in [("country", "countries"), ("operator", "operators"), ("process", "programs")]
    {
        let summary = with(&["summary", "--by", by, "-o", "json"]);
        let rows: Vec<Value> =
            text(&summary.stdout).lines().map(|it| serde_json::from_str(it).unwrap()).collect();
        assert!(!rows.is_empty(), "{}", text(&summary.stderr));
        assert_eq!(report[list], Value::from(rows.clone()), "{by}");
        let sum = |pointer: &str| -> u64 {
            rows.iter().map(|row| row.pointer(pointer).unwrap().as_u64().unwrap()).sum()
        };
        let total = |pointer: &str| report.pointer(pointer).unwrap().as_u64().unwrap();
        assert_eq!(sum("/flows"), total("/totals/flows"), "{by}");
        assert_eq!(sum("/violations"), total("/totals/violations"), "{by}");
        assert_eq!(sum("/source/bytes"), total("/totals/sent/bytes"), "{by}");
        assert_eq!(sum("/destination/bytes"), total("/totals/received/bytes"), "{by}");
        for row in &rows {
            let sent = with_commas(row["source"]["bytes"].as_u64().unwrap());
            assert!(page.contains(&format!(">{sent}<")), "{by}: {sent}");
        }
    }
}

fn with_commas(count: u64) -> String {
    let digits = count.to_string().into_bytes();
    let groups: Vec<&str> = digits.rchunks(3).rev().map(text).collect();
    groups.join(",")
}

#[test]
fn the_numbers_of_a_report_from_a_ledger_are_those_of_summary() {
    let ledger = Ledger::of(&some_flows(), &[added_up(7)]);
    agrees_with_summary(&|words| ledger.run(words), &WINDOW);
    let report = json(&ledger.run(&[&["report", "-o", "json"][..], &WINDOW].concat()));
    assert_eq!(report["totals"]["flows"], 11);
    assert_eq!(report["added_up"]["flows"], 7);
    assert_eq!(report["violations"]["total"]["flows"], 2);
    assert_eq!(report["coverage"]["gaps"], Value::from(Vec::<Value>::new()));
    assert_eq!(report["policies"].as_array().unwrap().len(), 1);
}

#[test]
fn the_numbers_of_a_report_from_a_daemon_are_those_of_summary() {
    let records = some_flows();
    let daemon = Daemon::with(Events { records, rollups: vec![added_up(3)], ..Events::default() });
    agrees_with_summary(&|words| daemon.run(words), &WINDOW);
}

#[test]
fn the_report_of_a_recording_tells_what_was_sent_and_that_before_it_nobody_looked() {
    let directory = TempDir::new().unwrap();
    replay(&directory, &one_datagram(), "record = \"unapproved\"", "");
    let config = directory.path().join("config.toml");
    let run = |words: &[&str]| geofenced(words).arg("--config").arg(&config).output().unwrap();
    // From the beginning of time on.
    let window = ["--since", "1970-01-01T00:00:00Z"];
    agrees_with_summary(&run, &window);
    let asked = [&["report", "-o", "json", "--claim", "nothing to RU"][..], &window].concat();
    let output = run(&asked);
    let report = json(&output);
    assert_eq!(report["totals"]["sent"]["bytes"], 128);
    let group = &report["violations"]["groups"][0];
    assert_eq!(group["program"]["executable"], "/opt/uplink");
    assert_eq!(group["destination"]["address"], "203.0.113.7");
    assert_eq!(group["destination"]["country"], "CN");
    assert_eq!(group["by_port"]["encrypted"], "unknown");
    assert_eq!(report["claims"][0]["standing"], "not-shown");
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    let policy = report["policies"][0]["text"].as_str().unwrap();
    assert!(policy.starts_with("geofenced policy 2\napproved US\n"), "{policy}");
}

#[test]
fn a_claim_over_full_coverage_holds_and_one_that_flows_refute_is_an_exit_code() {
    let ledger = Ledger::of(&some_flows(), &[added_up(7)]);
    let ask = |claims: &[&str], more: &[&str]| {
        let claims = claims.iter().flat_map(|claim| ["--claim", claim]);
        let words: Vec<&str> = ["report"]
            .into_iter()
            .chain(WINDOW)
            .chain(claims)
            .chain(more.iter().copied())
            .collect();
        ledger.run(&words)
    };
    let held = ask(&["nothing to RU"], &[]);
    assert_eq!(held.status.code(), Some(0), "{}", text(&held.stderr));
    assert!(text(&held.stdout).contains("Nothing left to RU (Russia)"));
    // By its operator alone as well, and the worse of two counts.
    let both = ask(&["nothing to RU", "nothing to CN"], &[]);
    assert_eq!(both.status.code(), Some(3), "{}", text(&both.stderr));
    assert!(text(&both.stdout).contains("It is not so: 2 flows"));
    assert_eq!(ask(&[], &["--fail-on-violation"]).status.code(), Some(3));
    assert_eq!(ask(&[], &["--fail-on-gap"]).status.code(), Some(0));
    assert_eq!(ask(&[], &[]).status.code(), Some(0));
    // What is added up may be run from anywhere, if a rule may have allowed it.
    assert_eq!(ask(&["nothing to DE"], &[]).status.code(), Some(3));
    assert_eq!(ask(&["nothing", "nothing to RU"], &[]).status.code(), Some(3));
    let wrong = ask(&["nothing to China"], &[]);
    assert_eq!(wrong.status.code(), Some(2), "{}", text(&wrong.stderr));
}

#[test]
fn over_a_gap_nothing_is_said_to_have_left_nowhere() {
    let gap = Gap {
        from: Time(START),
        to: Time(Timestamp(START.0 + HOUR / 60)),
        extent: Extent::Blind,
        stage: "daemon".into(),
        reason: "stopped".into(),
        count: None,
    };
    let records = vec![flow(0, ("192.0.2.4:443", "US"), ("Example", "US"), Verdict::Approved)];
    let daemon = Daemon::with(Events { records, gaps: vec![gap], ..Events::default() });
    let claim = [&["report", "--claim", "nothing to RU"][..], &WINDOW].concat();
    let output = daemon.run(&claim);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    let page = text(&output.stdout);
    assert!(!page.to_lowercase().contains("nothing left"), "{page}");
    assert!(page.contains("It can't be said") && page.contains("daemon: stopped"));
    let plain = [&["report"][..], &WINDOW].concat();
    assert_eq!(daemon.run(&plain).status.code(), Some(0));
    let strict = [&["report", "--fail-on-gap"][..], &WINDOW].concat();
    assert_eq!(daemon.run(&strict).status.code(), Some(4));
}

#[test]
fn many_drones_behind_one_gateway_are_told_by_device() {
    // FlightHub on Ubuntu, as FTI tried it.
    let from = |number: u64, address: &str| {
        let to = ("203.0.113.7:443", "CN");
        let mut record = flow(number, to, ("Example", "CN"), Verdict::Unapproved);
        record.egress.origin = Origin::Forwarded;
        record.egress.local = Some(address.parse().unwrap());
        record.sender = Sender::Nobody;
        record
    };
    let records = vec![from(1, "192.168.7.2:4000"), from(2, "192.168.7.3:4000")];
    let ledger = Ledger::of(&records, &[]);
    let report = json(&ledger.run(&[&["report", "-o", "json"][..], &WINDOW].concat()));
    let devices: Vec<&str> =
        report["devices"].as_array().unwrap().iter().filter_map(|it| it["key"].as_str()).collect();
    assert_eq!(devices, ["192.168.7.3", "192.168.7.2"]);
    let groups = report["violations"]["groups"].as_array().unwrap();
    assert_eq!(groups[0]["program"]["device"], "192.168.7.3");
    assert_eq!(groups.len(), 2);
}

#[test]
fn a_report_is_a_page_or_an_object_and_nothing_else() {
    let ledger = Ledger::of(&[], &[]);
    let csv = ledger.run(&["report", "-o", "csv"]);
    assert_eq!((csv.status.code(), csv.stdout.len()), (Some(2), 0));
    let page = ledger.run(&[&["report"][..], &WINDOW].concat());
    assert!(text(&page.stdout).starts_with("<!DOCTYPE html><html lang=\"en\">"));
    assert_eq!(text(&page.stdout).matches("<html").count(), 1);
    let nowhere = geofenced(&["report", "--config"])
        .arg(Path::new("/nonexistent/config.toml"))
        .output()
        .unwrap();
    assert_eq!(nowhere.status.code(), Some(2));
}

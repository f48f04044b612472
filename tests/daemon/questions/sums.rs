//! Totals of the incident's ledger, added up here from what its generator planned: `summary` must say the same.

use std::collections::BTreeMap;

use geofenced::inside::event::{Country, Entry, FlowId, Process, Record};
use serde_json::Value;

use super::{Case, plan, text, write};

/// The last state of each flow.
fn flows() -> Vec<Record> {
    let mut last: BTreeMap<FlowId, Record> = BTreeMap::new();
    for entry in write::planned() {
        if let Entry::Flow(record) = entry {
            last.insert(record.egress.flow, record);
        }
    }
    last.into_values().collect()
}

/// Flows, attempts, violations, bytes that left.
type Sums = [u64; 4];

fn added_up(flows: &[Record], key: &dyn Fn(&Record) -> String) -> BTreeMap<String, Sums> {
    let mut sums: BTreeMap<String, Sums> = BTreeMap::new();
    for flow in flows {
        let sent = flow.egress.traffic.sent_packets > 0;
        // By the plan itself: where it goes, and not what was found of it.
        let is_foreign = flow.place.country.code().is_some_and(|it| it.as_str() == "CN");
        let is_disputed = flow.place.second.is_some();
        let is_unlocated = flow.place.country == Country::Unlocated && is_of_the_last_day(flow);
        let is_violation = sent && (is_foreign || is_disputed || is_unlocated);
        let sum = sums.entry(key(flow)).or_default();
        let add =
            [sent.into(), (!sent).into(), is_violation.into(), flow.egress.traffic.sent_bytes];
        sum.iter_mut().zip(add).for_each(|(sum, add)| *sum += add);
    }
    sums
}

/// How a key is called, and what it is of a flow.
type Key<'a> = (&'a str, &'a dyn Fn(&Record) -> String);

/// After the second policy came into force, which approves nothing that is not located.
fn is_of_the_last_day(flow: &Record) -> bool {
    flow.egress.started_at.secs() >= 1_795_046_400
}

fn told(case: &Case, words: &[&str]) -> BTreeMap<String, Sums> {
    let window = ["--since", "2026-11-17", "--until", "2026-11-20", "-o", "json"];
    let output = case.run(&[&["summary"], words, &window].concat());
    let row = |line| {
        let row: Value = serde_json::from_str(line).unwrap();
        let number = |at: &str| row.pointer(at).and_then(Value::as_u64).unwrap();
        let paths = ["/flows", "/attempts", "/violations", "/source/bytes"];
        (row["key"].as_str().unwrap().to_owned(), paths.map(number))
    };
    text(&output.stdout).lines().map(row).collect()
}

fn by_process(flow: &Record, key: &dyn Fn(&Process) -> Option<String>) -> String {
    let process = flow.sender.process();
    process
        .map_or_else(|| "(no process)".to_owned(), |it| key(it).unwrap_or_else(|| "-".to_owned()))
}

#[test]
fn the_totals_of_the_ledger_are_those_of_the_plan() {
    let (flows, case) = (flows(), Case::recorded());
    assert!((300..600).contains(&flows.len()), "{}", flows.len());
    let script = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let script = words.iter().find(|it| it.starts_with("/opt/gs/"));
        script.map(|it| (*it).to_owned())
    };
    let keys: [Key<'_>; 8] = [
        ("country", &|it| match it.place.country {
            Country::Known(code) => code.to_string(),
            Country::Local => "local".to_owned(),
            Country::Unlocated => "unlocated".to_owned(),
        }),
        ("script", &|it| by_process(it, &|it| script(it.command_line.as_deref()?))),
        ("user", &|it| by_process(it, &|it| it.user.name.as_deref().map(Into::into))),
        ("unit", &|it| by_process(it, &|it| it.unit.as_deref().map(Into::into))),
        ("container", &|it| by_process(it, &|it| it.container.as_deref().map(Into::into))),
        ("port", &|it| it.egress.remote.unwrap().port().to_string()),
        ("domain", &|it| {
            let domain = it.place.domain.as_ref();
            domain.map_or_else(|| "-".to_owned(), |it| it.name.to_string())
        }),
        ("verdict", &|it| it.judgement.verdict.to_string()),
    ];
    for (by, key) in keys {
        assert_eq!(told(&case, &["--by", by]), added_up(&flows, key), "{by}");
    }
}

#[test]
fn the_program_from_tmp_is_told_with_each_beat_and_each_byte_of_its_upload() {
    let case = Case::recorded();
    let of_it = ["--process", "/tmp/.fwcheck", "--by", "port,country"];
    let told = told(&case, &of_it);
    let beats = plan::BEATS + 3;
    assert_eq!(told["443, CN"], [beats, 0, beats, beats * 412], "{told:?}");
    assert_eq!(told["8443, CN"], [1, 0, 1, plan::UPLOADED], "{told:?}");
    assert_eq!(told["22, CN"], [0, 1, 0, 0], "{told:?}");
    assert_eq!(told.len(), 4, "and what it asked its resolver: {told:?}");
}

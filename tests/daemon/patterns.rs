//! `geofenced patterns` as a process: over a ledger that the store wrote, and over what the daemon made of counters.

use std::{
    collections::BTreeMap,
    fs,
    process::{Command, Output},
    sync::Arc,
};

use geofenced::inside::{
    config::Config,
    event::{
        Activity, Domain, DomainSource, Entry, FlowId, Operator, Phase, Process, Record, Sender,
        Timestamp, Traffic,
    },
    store::Store,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    records::violation,
    replay::{beating, replay},
    rig::geofenced,
};

const SECOND: u64 = 1_000_000_000;
const HOUR: u64 = 3_600 * SECOND;
const DAY: u64 = 24 * HOUR;
/// 2026-06-01T00:00:00Z.
const START: u64 = 1_780_272_000 * SECOND;

/// The same on each run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) % limit
    }
}

/// A flow of a program, from its only state.
fn flow(program: &str, (pid, asn): (u32, u32), at: u64, traffic: [u64; 2]) -> Record {
    let mut record = violation(0);
    let at = Timestamp(START + at);
    record.egress.flow = FlowId(u128::from(at.0) << 64 | u128::from(pid));
    (record.egress.started_at, record.egress.last_at) = (at, at);
    record.egress.ended_at = Some(at);
    let [sent_bytes, received_bytes] = traffic;
    record.egress.traffic =
        Traffic { sent_bytes, sent_packets: 9, received_bytes, received_packets: 9 };
    record.place.operator = Some(Arc::new(Operator {
        asn: Some(asn),
        name: Some(format!("Operator {asn}").into()),
        country: None,
        is_anycast: false,
    }));
    if let Sender::Process { process, .. } = &mut record.sender {
        let executable = Some(format!("/opt/{program}").into());
        *process = Arc::new(Process { pid, executable, ..Process::clone(process) });
    }
    record
}

/// A hundred days: what beats, what drips, and somebody who browses.
fn hundred_days() -> Vec<Record> {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mut records = Vec::new();
    // Another process each time.
    for hour in 0..30 * 24 {
        let at = hour * HOUR + random.below(240) * SECOND;
        records.push(flow("hourly", (hour as u32 + 100, 1), at, [1024, 400]));
    }
    for beat in 0..480 {
        let at = DAY + beat * 15 * SECOND + random.below(SECOND);
        records.push(flow("curl", (7, 2), at, [600, 4_000]));
    }
    for week in 0..14 {
        let at = week * 7 * DAY + random.below(2 * HOUR);
        records.push(flow("drip", (8, 3), at, [200_000, 2_000]));
    }
    let mut at = 8 * HOUR;
    while at < 30 * DAY {
        // Pages, each with some connections; then somebody reads, or goes home.
        let of_page = 1 + random.below(6);
        for number in 0..of_page {
            let at = at + number * 100_000_000;
            records.push(flow("browser", (9, 4), at, [2_000, 90_000]));
        }
        at += match random.below(12) {
            0 => HOUR + random.below(15 * HOUR),
            1..=4 => 60 * SECOND + random.below(1_200 * SECOND),
            _ => 3 * SECOND + random.below(60 * SECOND),
        };
    }
    let mut beat = flow("beat", (10, 5), 2 * DAY, [90_000, 80_000]);
    let mut activity = Activity::default();
    (0..720).for_each(|_| _ = activity.add(5 * SECOND + random.below(SECOND / 5)));
    beat.egress.activity = Some(Box::new(activity));
    beat.egress.last_at = Timestamp(beat.egress.started_at.0 + HOUR);
    records.push(beat);
    let mut attempt = flow("knocks", (11, 6), 3 * DAY, [0, 0]);
    attempt.egress.phase = Phase::Attempt;
    records.push(attempt);
    records.sort_by_key(|record| record.egress.started_at);
    records
}

fn stored(records: &[Record]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::builtin();
    config.store.path = folder.path().join("store");
    let mut store = Store::open(&config.store).unwrap();
    for record in records {
        store.append(&Entry::Flow(record.clone())).unwrap();
    }
    store.close().unwrap();
    let text = format!("[store]\npath = \"{}\"\n", config.store.path.display());
    fs::write(folder.path().join("config.toml"), text).unwrap();
    folder
}

fn run(folder: &TempDir, words: &[&str]) -> Output {
    let mut command: Command = geofenced(&["patterns"]);
    let output =
        command.arg("--config").arg(folder.path().join("config.toml")).args(words).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    output
}

fn rows(output: &Output) -> Vec<Value> {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

const ALL: [&str; 4] = ["--since", "2026-01-01T00:00:00Z", "-o", "json"];

#[test]
fn what_beats_and_what_drips_is_told_by_its_facts_and_who_browses_is_none_of_it() {
    let folder = stored(&hundred_days());
    let told = rows(&run(&folder, &ALL));
    let by_program: BTreeMap<&str, &Value> = told
        .iter()
        .map(|row| (row["program"].as_str().unwrap().rsplit('/').next().unwrap(), row))
        .collect();
    assert_eq!(
        by_program.keys().copied().collect::<Vec<_>>(),
        ["beat", "browser", "curl", "drip", "hourly"]
    );
    let gaps = |program: &str| {
        let gaps = &by_program[program]["gaps"];
        (gaps["median_seconds"].as_f64().unwrap(), gaps["share"].as_f64().unwrap())
    };
    let is_regular = |program: &str, seconds: f64| {
        let (median, share) = gaps(program);
        assert!(
            (median / seconds - 1.0).abs() < 0.1 && share > 0.95,
            "{program}: {median} {share}"
        );
    };
    is_regular("hourly", 3_600.0);
    is_regular("curl", 15.0);
    is_regular("drip", 7.0 * 86_400.0);
    let (_, share) = gaps("browser");
    assert!(share < 0.5, "{share}");
    let whole = |program: &str, what: &str| by_program[program][what].as_u64().unwrap();
    assert_eq!((whole("hourly", "contacts"), whole("hourly", "days")), (720, 30));
    assert!(whole("hourly", "hours") >= 700);
    assert_eq!((whole("drip", "contacts"), whole("drip", "days")), (14, 14));
    assert_eq!(by_program["hourly"]["source"]["bytes"], 720 * 1024);
    assert_eq!(by_program["drip"]["source"]["bytes"], 14 * 200_000);
    assert!(by_program["drip"]["out_per_in"].as_f64().unwrap() > 50.0);
    assert!(whole("browser", "flows") > whole("browser", "contacts"));
    let beat = &by_program["beat"]["beat"];
    let (median, share) = (beat["median_seconds"].as_f64(), beat["share"].as_f64());
    assert!((3.8..6.5).contains(&median.unwrap()) && share.unwrap() > 0.95, "{beat}");
    assert!(by_program["browser"].get("beat").is_none());
    // Whoever is regular stands before who is not.
    assert_eq!(told.last().unwrap()["program"], "/opt/browser");
}

#[test]
fn of_a_window_only_what_is_in_it_is_told_and_the_table_says_what_is_not_shown() {
    let folder = stored(&hundred_days());
    let window = ["--since", "2026-06-02T00:00:00Z", "--until", "2026-06-02T06:00:00Z"];
    let told = rows(&run(&folder, &[&window[..], &["-o", "json"]].concat()));
    let hourly = told.iter().find(|row| row["program"] == "/opt/hourly").unwrap();
    assert_eq!((&hourly["contacts"], hourly.get("gaps")), (&6.into(), None));
    let table = run(&folder, &["--since", "2026-01-01T00:00:00Z", "--limit", "2", "--utc"]);
    let text = String::from_utf8_lossy(&table.stdout);
    assert!(text.contains("PROGRAM") && text.contains("CONTACTS"), "{text}");
    assert!(String::from_utf8_lossy(&table.stderr).contains("3 rows more"), "{table:?}");
    let csv = run(&folder, &["--since", "2026-01-01T00:00:00Z", "-o", "csv"]);
    assert_eq!(String::from_utf8_lossy(&csv.stdout).lines().count(), 6, "{csv:?}");
}

#[test]
fn names_are_counted_by_the_domain_that_was_registered() {
    let named = |number: u64, name: String| {
        let mut record = flow("curl", (7, 2), number * SECOND, [600, 4_000]);
        let source = DomainSource::Dns;
        record.place.domain = Some(Domain { name: name.into(), source, is_trusted: true });
        record
    };
    let mut records: Vec<Record> =
        (0..200).map(|number| named(number, format!("{number:x}.t.tunnel.co.uk"))).collect();
    records.push(named(300, "www.shop.example".into()));
    let folder = stored(&records);
    let told = rows(&run(&folder, &[&ALL[..], &["--names"]].concat()));
    let names: Vec<(&str, u64)> = told
        .iter()
        .map(|row| (row["domain"].as_str().unwrap(), row["names"].as_u64().unwrap()))
        .collect();
    assert_eq!(names, [("tunnel.co.uk", 200), ("shop.example", 1)]);
}

#[test]
fn the_daemon_sees_the_beat_of_a_socket_that_stays_open() {
    let directory = tempfile::tempdir().unwrap();
    replay(&directory, &beating(5 * SECOND, 40), "record = \"all\"", "");
    let told = rows(&run(&directory, &["--since", "1970-01-01T00:00:01Z", "-o", "json"]));
    assert_eq!(told.len(), 1, "{told:?}");
    let beat = &told[0]["beat"];
    assert!((3.8..6.5).contains(&beat["median_seconds"].as_f64().unwrap()), "{beat}");
    assert_eq!((beat["share"].as_f64(), beat["spans"].as_u64()), (Some(1.0), Some(40)), "{beat}");
    assert_eq!(told[0]["contacts"], 1);
    // What sends on and on has no beat.
    let directory = tempfile::tempdir().unwrap();
    replay(&directory, &beating(SECOND, 40), "record = \"all\"", "");
    let told = rows(&run(&directory, &["--since", "1970-01-01T00:00:01Z", "-o", "json"]));
    assert_eq!((told.len(), told[0].get("beat")), (1, None), "{told:?}");
}

//! A report of a marked interval, and of two beside each other: with local data mode, and without. The names of
//! intervals are somebody's choice, too.

use std::sync::Arc;

use geofenced::inside::event::{
    BootId, Mark, MarkKind, Moment, Notice, Record, Rollup, Timeline, Timestamp, Verdict,
};
use harness::Page;
use serde_json::Value;

use crate::{
    records::START,
    report::{Ledger, added_up, agrees_with_summary, flow, json, text},
};

const SECOND: u64 = 1_000_000_000;
const HOSTILE: &str = "LDM \"off\" <script>alert(1)</script>";

fn at(seconds: u64) -> Timestamp {
    Timestamp(START.0 + seconds * SECOND)
}

/// From and to in seconds after [`START`].
fn interval(name: &str, from: u64, to: u64) -> [(Timestamp, Notice); 2] {
    let wall_at_boot_ns = i64::try_from(START.0).unwrap();
    let timeline = Timeline { boot: BootId([7; 16]), wall_at_boot_ns, is_trusted: true };
    [(MarkKind::Start, from), (MarkKind::Stop, to)].map(|(kind, seconds)| {
        let moment = Moment { boot_ns: seconds * SECOND, timeline };
        let mark = Mark { kind, name: name.into(), note: None, shares: vec![], moment };
        (at(seconds), Notice::Mark(Arc::new(mark)))
    })
}

fn us(number: u64) -> Record {
    flow(number, ("192.0.2.4:443", "US"), ("Example Cloud", "US"), Verdict::Approved)
}

fn cn(number: u64) -> Record {
    let mut record =
        flow(number, ("203.0.113.7:80", "CN"), ("Example Telemetry", "CN"), Verdict::Unapproved);
    let operator = us(0).place.operator.clone();
    record.place.operator = operator.map(|it| {
        let mut operator = (*it).clone();
        (operator.asn, operator.name) = (Some(64_999), Some("Example Telemetry".into()));
        Arc::new(operator)
    });
    record
}

/// Two minutes without local data mode, two with it, and two in which the daemon was restarted.
fn drone(in_ldm: &[Record], rollups: &[Rollup]) -> Ledger {
    let ldm = interval("LDM on", 200, 320);
    let started =
        Notice::Started { version: "0.1.0".into(), probes: vec![], policy_sha256: [0; 32] };
    let [late_begins, late_ends] = interval("late", 7_000, 7_120);
    let restart = [(at(7_020), Notice::Stopped), (at(7_060), started)];
    let told: Vec<_> = interval(HOSTILE, 0, 120)
        .into_iter()
        .chain(ldm)
        .chain([late_begins])
        .chain(restart)
        .chain([late_ends])
        .collect();
    let records = [&[us(1), cn(2), cn(3)], in_ldm].concat();
    Ledger::told(&records, rollups, &told)
}

fn ask(ledger: &Ledger, words: &[&str]) -> (Option<i32>, Value) {
    let output = ledger.run(&[&["report", "-o", "json"], words].concat());
    (output.status.code(), json(&output))
}

const COMPARED: [&str; 4] = ["--interval", "LDM on", "--compare", HOSTILE];

#[test]
fn the_report_of_an_interval_is_of_its_flows_alone() {
    let ledger = drone(&[us(250)], &[]);
    for name in ["LDM on", HOSTILE, "LDM on#1"] {
        agrees_with_summary(&|words| ledger.run(words), &["--interval", name]);
    }
    let (_, report) = ask(&ledger, &["--interval", "LDM on"]);
    assert_eq!(report["interval"], "LDM on#1");
    assert_eq!(report["totals"]["flows"], 1);
    assert_eq!(report["from"], "2027-01-15T08:03:20.000000000Z");
    assert_eq!(report["to"], "2027-01-15T08:05:20.000000000Z");
    let (_, report) = ask(&ledger, &["--interval", HOSTILE]);
    assert_eq!(
        (&report["totals"]["flows"], &report["totals"]["violations"]),
        (&3.into(), &2.into())
    );
    // Its bounds and those that are typed both hold.
    let (_, report) = ask(&ledger, &["--interval", HOSTILE, "--since", "2027-01-15T08:00:03Z"]);
    assert_eq!(report["totals"]["flows"], 1);
    let unknown = ledger.run(&["report", "--interval", "LDM"]);
    assert_eq!(unknown.status.code(), Some(2), "{}", text(&unknown.stderr));
    assert!(text(&unknown.stderr).contains("no interval `LDM`"), "{}", text(&unknown.stderr));
}

/// R6: nothing leaves with local data mode on, and one question of DNS fails the claim.
#[test]
fn nothing_left_is_said_of_an_interval_that_was_watched_and_in_which_nothing_left() {
    let claimed = ["--interval", "LDM on", "--claim", "nothing"];
    let (code, report) = ask(&drone(&[], &[]), &claimed);
    assert_eq!((code, &report["claims"][0]["standing"]), (Some(0), &"holds".into()), "{report}");
    let dns = flow(250, ("192.0.2.53:53", "US"), ("Example", "US"), Verdict::Approved);
    let (code, report) = ask(&drone(&[dns], &[]), &claimed);
    assert_eq!((code, &report["claims"][0]["standing"]), (Some(3), &"refuted".into()));
    let (code, report) = ask(&drone(&[], &[]), &["--interval", "late", "--claim", "nothing"]);
    assert_eq!((code, &report["claims"][0]["standing"]), (Some(4), &"not-shown".into()));
    // Within the same hour, but nobody knows whether within the interval.
    let (code, report) = ask(&drone(&[], &[added_up(7)]), &claimed);
    assert_eq!((code, &report["claims"][0]["standing"]), (Some(4), &"not-shown".into()));
    let because = report["claims"][0]["because"].to_string();
    assert!(because.contains("a part is outside of the period: 7 flows"), "{because}");
}

#[test]
fn two_intervals_are_told_beside_each_other_number_by_number_in_json_and_page() {
    let ledger = drone(&[us(250)], &[]);
    let (code, report) = ask(&ledger, &COMPARED);
    assert_eq!(code, Some(0));
    let found = &report["comparison"];
    assert_eq!(found["periods"][1]["name"], format!("{HOSTILE}#1"));
    let page = ledger.run(&[&["report"][..], &COMPARED].concat());
    let page = Page(text(&page.stdout));
    for (by, list, caption) in [
        ("country", "countries", "Both periods by country"),
        ("operator", "operators", "Both periods by operator"),
        ("destination", "destinations", "Both periods by destination"),
        ("process", "programs", "Both periods by program"),
    ] {
        let rows = found[list]["rows"].as_array().unwrap();
        let shown = page.table(caption);
        assert_eq!(shown.len(), rows.len(), "{list}");
        for (side, name) in [("first", "LDM on"), ("second", HOSTILE)] {
            let summary = ["summary", "--by", by, "-o", "json", "--interval", name];
            let summary = ledger.run(&summary);
            for line in text(&summary.stdout).lines() {
                let row: Value = serde_json::from_str(line).unwrap();
                let pair = rows.iter().find(|it| it["key"] == row["key"]).unwrap();
                for (ours, theirs) in [
                    ("/flows", "/flows"),
                    ("/violations", "/violations"),
                    ("/sent/bytes", "/source/bytes"),
                    ("/received/bytes", "/destination/bytes"),
                ] {
                    assert_eq!(pair[side].pointer(ours), row.pointer(theirs), "{list}: {row}");
                }
            }
        }
        for (cells, pair) in shown.iter().zip(rows) {
            let numbers = ["first", "second"].into_iter().flat_map(|side| {
                let of = &pair[side];
                [&of["flows"], &of["violations"], &of["sent"]["bytes"], &of["received"]["bytes"]]
            });
            let numbers: Vec<String> = numbers.map(Value::to_string).collect();
            assert_eq!(cells[1..9], numbers, "{list}: {pair}");
        }
    }
    let row = |list: &str, key: &str| {
        let rows = found[list]["rows"].as_array().unwrap();
        rows.iter().find(|it| it["key"] == key).unwrap_or_else(|| panic!("{found}")).clone()
    };
    for (list, key) in [
        ("countries", "CN"),
        ("operators", "AS64999 Example Telemetry"),
        ("destinations", "203.0.113.7"),
    ] {
        let row = row(list, key);
        assert_eq!((&row["second"]["flows"], &row["only_in"]), (&2.into(), &"second".into()));
        assert_eq!(row["absence_shown"], true, "both were watched: {row}");
    }
    assert!(row("countries", "US")["only_in"].is_null());
    assert!(!page.0.contains("<script"), "a name is text");
    assert!(
        page.0.contains("LDM &quot;off&quot; &lt;script&gt;alert(1)&lt;/script&gt;#1</q> alone")
    );
}

#[test]
fn what_is_not_seen_over_a_gap_or_only_added_up_is_not_said_to_have_stayed() {
    let over_a_gap = ["--interval", "late", "--compare", HOSTILE];
    let ledger = drone(&[], &[]);
    let (code, report) = ask(&ledger, &over_a_gap);
    assert_eq!(code, Some(0));
    let countries = &report["comparison"]["countries"];
    assert!(countries["rows"].as_array().unwrap().iter().all(|it| it["absence_shown"] == false));
    assert!(countries["unsure"][0][0].as_str().unwrap().starts_with("Not all of it was watched"));
    let page = ledger.run(&[&["report"][..], &over_a_gap].concat());
    let page = text(&page.stdout);
    assert!(page.contains("; not known of <q>late#1</q>"), "{page}");
    assert!(!page.to_lowercase().contains("nothing left"));
    // The gap is of the second, too, where the two are the other way round.
    let turned = ["--interval", HOSTILE, "--compare", "late", "--fail-on-gap"];
    assert_eq!(ask(&ledger, &turned).0, Some(4));
    assert_eq!(ask(&ledger, &[&COMPARED[..], &["--fail-on-gap"]].concat()).0, Some(0));
    // The operators of what is added up are not kept.
    let (_, report) = ask(&drone(&[], &[added_up(7)]), &COMPARED);
    let operators = &report["comparison"]["operators"];
    let telemetry = operators["rows"].as_array().unwrap();
    let telemetry = telemetry.iter().find(|it| it["key"] == "AS64999 Example Telemetry").unwrap();
    assert_eq!(telemetry["absence_shown"], false, "{telemetry}");
}

#[test]
fn an_interval_that_goes_on_ends_now_and_one_beside_a_span_is_told_so() {
    let mut marks = interval("long", 10, 60).to_vec();
    marks.truncate(1);
    marks.extend(interval("short", 0, 30));
    let ledger = Ledger::told(&[us(20)], &[], &marks);
    let until = ["--until", "2027-01-15T08:01:40Z"];
    let (_, report) =
        ask(&ledger, &[&["--interval", "long", "--compare", "short"], &until[..]].concat());
    assert_eq!(report["to"], "2027-01-15T08:01:40.000000000Z");
    let overlap = &report["comparison"]["overlap"];
    assert_eq!(overlap["from"], "2027-01-15T08:00:10.000000000Z", "{report}");
    assert_eq!(overlap["to"], "2027-01-15T08:00:30.000000000Z");
    let span = ["--since", "2027-01-15T08:00:00Z", "--compare", "short"];
    let (_, report) = ask(&ledger, &[&span[..], &until].concat());
    assert_eq!(report["comparison"]["periods"][0]["name"], "this period");
    assert!(report["interval"].is_null());
}

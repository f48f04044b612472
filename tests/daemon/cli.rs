//! The command line as a person and a script see it: the built binary, its output, its exit code.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Output, Stdio},
    sync::Arc,
    time::Duration,
};

use geofenced::inside::{
    config::Config,
    coverage::{Extent, Gap, Integrity},
    ecs::Time,
    event::{Country, Entry, Rollup, Timestamp, Traffic, Verdict},
    store::Store,
};
use serde_json::Value;

use crate::{
    approved::approved,
    records::{START, violation},
    rig::{Daemon, Events, geofenced},
};

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn stdout(output: &Output) -> &str {
    text(&output.stdout)
}

fn stderr(output: &Output) -> &str {
    text(&output.stderr)
}

/// What ends an answer about a window without a gap.
const WATCHED: &str = "watched: all of 1s; the ledger is whole\n";

fn two_flows() -> Daemon {
    Daemon::with(Events { records: vec![violation(0), approved(1)], ..Events::default() })
}

#[test]
fn events_as_json_are_the_objects_of_the_daemon() {
    let output = two_flows().run(&["events", "-o", "json"]);
    let events: Vec<Value> =
        stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(stderr(&output), WATCHED);
    assert_eq!(events.len(), 2);
    assert_eq!(events[0]["process"]["executable"], "/usr/bin/curl");
    assert_eq!(events[0]["geofenced"]["verdict"], "unapproved");
    assert_eq!(events[0]["source"]["bytes"], 1536);
}

#[test]
fn events_as_csv_have_a_head_and_a_line_each() {
    let output = two_flows().run(&["events", "-o", "csv"]);
    let lines: Vec<&str> = stdout(&output).lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[0].starts_with("@timestamp,event.id,"));
    assert!(lines[1].contains(",/usr/bin/curl,curl https://example.org,"));
}

#[test]
fn events_as_a_table_show_who_sent_what_where_without_colour_in_a_pipe() {
    let output = two_flows().run(&["events", "--utc"]);
    let lines: Vec<&str> = stdout(&output).lines().collect();
    assert!(lines[0].starts_with("TIME"));
    for part in [
        "2027-01-15 08:00:00Z",
        "unapproved",
        "CN",
        "curl[42]",
        "203.0.113.7:443",
        "tcp",
        "1.5 KiB",
    ] {
        assert!(lines[1].contains(part), "{part} is not in {}", lines[1]);
    }
    assert!(!stdout(&output).contains('\u{1b}'));
}

#[test]
fn filters_reach_the_daemon_and_nothing_found_is_said_on_stderr() {
    let daemon = two_flows();
    let found = daemon.run(&["events", "-o", "json", "--country", "US", "--process", "curl"]);
    assert_eq!(stdout(&found).lines().count(), 1);
    let none = daemon.run(&["events", "--country", "RU"]);
    let hint = "--country RU finds nothing; countries there: CN, US\n";
    let said = format!("no events match\n{hint}{WATCHED}");
    assert_eq!((stdout(&none), stderr(&none)), ("", &*said));
    assert_eq!(none.status.code(), Some(0));
}

#[test]
fn violations_are_an_exit_code_only_where_that_is_asked() {
    let daemon = two_flows();
    for (arguments, code) in [
        (&["events"][..], 0),
        (&["events", "--fail-on-violation"], 3),
        (&["events", "--fail-on-violation", "--country", "US"], 0),
        (&["summary", "--fail-on-violation"], 3),
        (&["summary", "--fail-on-violation", "--verdict", "approved"], 0),
    ] {
        assert_eq!(daemon.run(arguments).status.code(), Some(code), "{arguments:?}");
    }
}

/// A minute in which nobody looked.
fn blind() -> Gap {
    let (from, to) = (Time(START), Time(Timestamp(START.0 + 60_000_000_000)));
    let (stage, reason) = ("daemon".to_owned(), "stopped".to_owned());
    Gap { from, to, extent: Extent::Blind, stage, reason, count: None }
}

#[test]
fn a_gap_ends_each_answer_and_is_an_exit_code_only_where_that_is_asked() {
    let daemon = Daemon::with(Events { gaps: vec![blind()], ..Events::default() });
    for command in ["events", "summary"] {
        let output = daemon.run(&[command]);
        assert_eq!(output.status.code(), Some(0), "{command}");
        assert!(stderr(&output).contains("blind 1m: daemon stopped"), "{}", stderr(&output));
        assert_eq!(daemon.run(&[command, "--fail-on-gap"]).status.code(), Some(4), "{command}");
        assert_eq!(stderr(&daemon.run(&["-q", command])).lines().count(), 1, "{command}");
    }
    let output = daemon.run(&["coverage", "--fail-on-gap"]);
    assert_eq!(output.status.code(), Some(4));
    assert!(stdout(&output).contains("daemon stopped"), "{}", stdout(&output));
}

#[test]
fn a_violation_counts_more_than_a_gap() {
    let records = vec![violation(0)];
    let daemon = Daemon::with(Events { records, gaps: vec![blind()], ..Events::default() });
    let asked = ["events", "--fail-on-violation", "--fail-on-gap"];
    assert_eq!(daemon.run(&asked).status.code(), Some(3));
}

#[test]
fn damage_to_the_ledger_is_told_and_an_exit_code_where_that_is_asked() {
    let integrity = Integrity { damaged: 2, missing_blocks: 0, missing_segments: 1 };
    let daemon = Daemon::with(Events { integrity, ..Events::default() });
    for command in ["events", "summary", "coverage"] {
        let output = daemon.run(&[command, "--fail-on-gap"]);
        assert_eq!(output.status.code(), Some(4), "{command}");
        let said = format!("{}{}", stdout(&output), stderr(&output));
        assert!(said.contains("2 damaged stretches, 1 segment missing"), "{command}: {said}");
    }
}

#[test]
fn as_json_the_coverage_is_a_last_object_where_that_is_asked() {
    let daemon = Daemon::with(Events { gaps: vec![blind()], ..Events::default() });
    for command in ["events", "summary"] {
        let output = daemon.run(&[command, "-o", "json", "--coverage"]);
        let last: Value = serde_json::from_str(stdout(&output).lines().last().unwrap()).unwrap();
        assert_eq!(last["geofenced"]["coverage"]["gaps"], 1, "{last}");
        assert_eq!(last["geofenced"]["coverage"]["ledger"]["damaged"], 0, "{last}");
    }
    let output = daemon.run(&["coverage", "-o", "json"]);
    let first: Value = serde_json::from_str(stdout(&output).lines().next().unwrap()).unwrap();
    assert_eq!(first["event"]["action"], "gap");
    assert_eq!(first["geofenced"]["gap"]["reason"], "stopped");
}

#[test]
fn violations_that_were_only_added_up_are_an_exit_code_too() {
    let rollup = Rollup {
        hour: START,
        program: "/usr/bin/curl".into(),
        user: None,
        country: Country::Unlocated,
        verdict: Verdict::Unapproved,
        provenance: None,
        flows: 7,
        traffic: Traffic::default(),
    };
    let daemon = Daemon::with(Events { rollups: vec![rollup], ..Events::default() });
    for arguments in [&["events", "--fail-on-violation"][..], &["summary", "--fail-on-violation"]] {
        assert_eq!(daemon.run(arguments).status.code(), Some(3), "{arguments:?}");
    }
    let said = daemon.run(&["events", "--fail-on-violation"]).stderr;
    assert!(String::from_utf8(said).unwrap().contains("7 violations were only added up"));
    assert_eq!(daemon.run(&["events"]).status.code(), Some(0));
}

#[test]
fn bad_usage_is_one_thing_wrong_and_exit_code_2() {
    let daemon = two_flows();
    for (arguments, part) in [
        (&["events", "--colour"][..], "--colour"),
        (&["events", "--country", "China"], "--country: `China`"),
        (&["events", "--lookups", "--limit", "100001"], "--limit: `100001`"),
        (&["events", "--since", "soon"], "--since: `soon`"),
        (&["events", "--limit", "0"], "--limit: `0`"),
        (&["summary", "--by", "hat"], "hat"),
        (&["summary", "--since", "1h", "--until", "2h"], "--until"),
        (&["locate", "nowhere"], "nowhere"),
        (&[], "Usage"),
    ] {
        let output = daemon.run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(stderr(&output).contains(part), "{arguments:?}: {}", stderr(&output));
        assert_eq!(stdout(&output), "");
    }
}

#[test]
fn without_a_daemon_status_says_what_to_do_in_one_line() {
    let output = geofenced(&["status", "--socket", "/nonexistent/socket"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message = stderr(&output);
    assert!(message.contains("no daemon answers at /nonexistent/socket"), "{message}");
    assert!(message.contains("systemctl status geofenced"));
    assert_eq!(message.lines().count(), 1);
}

#[test]
fn status_tells_the_tier_and_the_coverage() {
    let daemon = two_flows();
    let table = daemon.run(&["status"]);
    assert!(stdout(&table).contains("capture tier full"));
    let json: Value =
        serde_json::from_slice(&daemon.run(&["status", "-o", "json"]).stdout).unwrap();
    assert_eq!(json["coverage_since"], "2027-01-15T08:00:00.000000000Z");
}

#[test]
fn a_reader_that_has_enough_ends_the_command_in_silence() {
    let records = (0..20_000).map(violation).collect();
    let daemon = Daemon::with(Events { records, ..Events::default() });
    let mut command = daemon.command(&["events", "-o", "json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    reader.read_line(&mut first).unwrap();
    drop(reader);
    let output = child.wait_with_output().unwrap();
    assert!(first.starts_with('{'));
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), ""));
}

#[test]
fn an_answer_that_breaks_off_is_an_error_after_what_came() {
    let records = (0..3_000).map(violation).collect();
    let daemon = Daemon::with(Events { records, fails_after: Some(2_000), ..Events::default() });
    let output = daemon.run(&["events", "-o", "json"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stderr(&output), "geofenced: the daemon's answer broke off: the disk is gone\n");
}

#[test]
fn following_shows_what_comes_as_it_comes() {
    let daemon = two_flows();
    let mut command = daemon.command(&["events", "--follow", "-o", "json"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    await_listener(&daemon);
    daemon.live.send(Arc::new(violation(7))).unwrap();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let event: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(event["@timestamp"], "2027-01-15T08:00:07.000000000Z");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn following_with_fail_on_violation_ends_at_the_first() {
    let daemon = two_flows();
    let mut command = daemon.command(&["events", "--follow", "--fail-on-violation", "-o", "json"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    await_listener(&daemon);
    daemon.live.send(Arc::new(approved(6))).unwrap();
    daemon.live.send(Arc::new(violation(7))).unwrap();
    let mut shown = String::new();
    child.stdout.take().unwrap().read_to_string(&mut shown).unwrap();
    assert_eq!(shown.lines().count(), 2);
    assert_eq!(child.wait().unwrap().code(), Some(3));
}

pub(crate) fn await_listener(daemon: &Daemon) {
    for _ in 0..600 {
        if daemon.live.receiver_count() == 1 {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("the stream was never opened");
}

#[test]
fn a_summary_adds_flows_and_rollups_and_ends_with_a_total() {
    let rollup = Rollup {
        hour: START,
        program: "/usr/bin/curl".into(),
        user: None,
        country: Country::Local,
        verdict: Verdict::Approved,
        provenance: None,
        flows: 5,
        traffic: Traffic { sent_bytes: 1024, ..Traffic::default() },
    };
    let records = vec![violation(0), violation(1)];
    let daemon = Daemon::with(Events { records, rollups: vec![rollup], ..Events::default() });
    let table = daemon.run(&["summary", "--by", "process"]);
    let row = |start: &str| {
        let line =
            stdout(&table).lines().find(|line| line.trim_start().starts_with(start)).unwrap();
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(row("/usr/bin/curl")[1..6], ["7", "0", "2", "4.0", "KiB"]);
    assert_eq!(row("total")[1..6], ["7", "0", "2", "4.0", "KiB"]);
    let json = daemon.run(&["summary", "--by", "country", "--limit", "1", "-o", "json"]);
    let rows: Vec<Value> =
        stdout(&json).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((rows.len(), rows[0]["key"].as_str()), (1, Some("CN")));
    assert_eq!(rows[0]["source"]["bytes"], 3072);
}

#[test]
fn completions_and_manual_pages_are_generated() {
    let completions = geofenced(&["completions", "bash"]).output().unwrap();
    assert!(stdout(&completions).contains("fail-on-violation"));
    let page = geofenced(&["man"]).output().unwrap();
    assert!(stdout(&page).contains(".TH geofenced"));
    let directory = tempfile::tempdir().unwrap();
    let written = geofenced(&["man"]).arg(directory.path()).output().unwrap();
    assert_eq!(written.status.code(), Some(0));
    assert!(directory.path().join("man1/geofenced-events.1").exists());
}

#[test]
fn the_version_tells_the_commit_and_the_licence_of_the_database() {
    let output = geofenced(&["--version"]).output().unwrap();
    assert!(stdout(&output).contains("(commit "));
    for notice in geofenced::inside::locate::NOTICES {
        assert!(stdout(&output).contains(notice), "{}", stdout(&output));
    }
}

/// A configuration of its own, in a directory without a daemon.
fn site(directory: &Path, more: &str) -> String {
    let at = directory.display();
    let text = format!("{more}\n[store]\npath = '{at}/store'\n[api]\nsocket = '{at}/socket'\n");
    let path = directory.join("config.toml");
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn without_a_daemon_events_and_summary_read_the_ledger_and_say_so() {
    let directory = tempfile::tempdir().unwrap();
    let config = site(directory.path(), "");
    let store = Config::load(Path::new(&config)).unwrap().store;
    let mut ledger = Store::open(&store).unwrap();
    for record in [violation(0), approved(1), violation(2)] {
        ledger.append(&Entry::Flow(record)).unwrap();
    }
    ledger.close().unwrap();
    let events = geofenced(&["events", "-o", "json", "--country", "CN", "--config", &config]);
    let events = { events }.output().unwrap();
    assert_eq!(stdout(&events).lines().count(), 2, "{}", stderr(&events));
    let said = format!("no daemon answers: reading the ledger at {}\n", store.path.display());
    assert!(stderr(&events).starts_with(&*said), "{}", stderr(&events));
    let arguments = ["summary", "--by", "verdict", "-o", "csv", "--config", &config];
    let summary = geofenced(&arguments).output().unwrap();
    assert!(
        stdout(&summary).contains("\nverdict,unapproved,2,0,2,3072,6,"),
        "{}",
        stdout(&summary)
    );
}

#[test]
fn without_daemon_and_ledger_the_one_line_names_both() {
    let directory = tempfile::tempdir().unwrap();
    let config = site(directory.path(), "");
    let output = geofenced(&["events", "--config", &config]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("no daemon answers") && stderr(&output).contains("/store"));
    assert_eq!(stderr(&output).lines().count(), 1);
}

#[test]
fn following_needs_a_daemon() {
    let directory = tempfile::tempdir().unwrap();
    let config = site(directory.path(), "");
    let output = geofenced(&["events", "--follow", "--config", &config]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("systemctl status geofenced"));
}

#[test]
fn check_says_what_the_configuration_means() {
    let directory = tempfile::tempdir().unwrap();
    let config = site(directory.path(), "[policy]\napproved_countries = ['US', 'CA']");
    let output = geofenced(&["check", "--config", &config]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains("Canada"), "{}", stdout(&output));
    assert!(stdout(&output).contains("country database"));
}

#[test]
fn check_warns_of_what_can_never_match_and_finds_nothing_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let rule = "[[policy.rule]]\nname = 'as'\nallow = true\noperator = '15169'";
    let config = site(directory.path(), rule);
    let output = geofenced(&["check", "-o", "json", "--config", &config]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let lines = stdout(&output).lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let warnings: Vec<String> = lines
        .filter(|line| line["kind"] == "warning")
        .map(|line| line["text"].as_str().unwrap().to_owned())
        .collect();
    let is_told = |part: &str| warnings.iter().any(|it| it.contains(part));
    assert!(is_told("policy.rule.operator: \"15169\"") && is_told(".toml:"), "{warnings:?}");
    assert!(is_told("multicast is local"), "{warnings:?}");

    // A reload by the service leaves no more than that in the journal.
    let output = geofenced(&["check", "-q", "-o", "json", "--config", &config]).output().unwrap();
    assert_eq!(stdout(&output).lines().count(), warnings.len(), "{}", stdout(&output));
}

#[test]
fn a_bad_configuration_is_one_line_and_exit_code_2_for_every_command() {
    let directory = tempfile::tempdir().unwrap();
    let config = site(directory.path(), "[policy]\napproved_countries = ['USA']");
    for command in [&["check"][..], &["events"], &["status"], &["locate", "203.0.113.1"]] {
        let output = geofenced(command).args(["--config", &config]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{command:?}");
        assert!(stderr(&output).contains("USA"), "{}", stderr(&output));
        assert_eq!(stderr(&output).lines().count(), 1);
    }
}

#[test]
fn locate_answers_without_a_daemon_by_database_override_and_policy() {
    let directory = tempfile::tempdir().unwrap();
    let config = site(
        directory.path(),
        "[policy]\napproved_countries = ['US']\n\
         [[geo.override]]\nnetwork = '203.0.113.0/24'\ncountry = 'CN'\noperator = 'Example'\nasn = 64500",
    );
    let addresses = ["locate", "::ffff:203.0.113.7", "10.0.0.1"];
    let json = geofenced(&addresses).args(["-o", "json", "-c", &config]).output().unwrap();
    let lines: Vec<Value> =
        stdout(&json).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["destination"]["ip"], "203.0.113.7");
    assert_eq!(lines[0]["destination"]["geo"]["country_iso_code"], "CN");
    assert_eq!(lines[0]["geofenced"]["verdict"], "unapproved");
    assert_eq!(lines[1]["geofenced"]["reason"], "local-network");
    let table = geofenced(&addresses).args(["-c", &config]).output().unwrap();
    assert!(stdout(&table).contains("CN China") && stdout(&table).contains("AS64500 Example"));
    assert!(stderr(&table).contains("DB-IP"), "the licence asks for its notice");
}

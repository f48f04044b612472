//! Scripts, trees and courses: what an investigator asks of programs that run others, and how a long answer is
//! read. Over a daemon without a kernel, and over a ledger alone.

use std::{
    process::{Command, Output, Stdio},
    sync::Arc,
};

use geofenced::inside::event::{Ancestor, Entry, Process, Record, Sender};
use serde_json::Value;

use crate::{
    export::Stored,
    records::violation,
    rig::{Daemon, Events, geofenced},
};

fn out(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn said(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

/// The `number`th flow, of a process of this number that these were started by.
fn sent_by(number: u64, pid: u32, line: &str, parents: &[(u32, &str)]) -> Record {
    let mut record = violation(number);
    let process = |process: &mut Process| {
        process.pid = pid;
        process.executable = Some("/usr/bin/python3.11".into());
        process.name = "python3".into();
        process.command_line = Some(line.into());
        let ancestor = |(pid, name): &(u32, &str)| Ancestor {
            pid: *pid,
            name: (*name).into(),
            executable: None,
            command_line: None,
            started_at: None,
        };
        process.parents = parents.iter().map(ancestor).collect();
    };
    if let Sender::Process { process: it, .. } = &mut record.sender {
        process(Arc::make_mut(it));
    }
    record
}

fn scripts() -> Daemon {
    let init: &[_] = &[(1, "systemd")];
    let records = vec![
        sent_by(0, 10, "python3 /opt/live.py --fast", init),
        sent_by(1, 11, "python3 /opt/beacon.py 60", &[(10, "python3"), (1, "systemd")]),
        sent_by(2, 11, "python3 /opt/beacon.py 60", &[(10, "python3"), (1, "systemd")]),
        sent_by(3700, 12, "python3 -c pass", init),
    ];
    Daemon::with(Events { records, ..Events::default() })
}

#[test]
fn scripts_of_one_interpreter_are_told_apart_and_found() {
    let daemon = scripts();
    let by = |key: &str| {
        let told = daemon.run(&["summary", "--by", key, "-o", "json"]);
        let row = |line| serde_json::from_str::<Value>(line).unwrap();
        let rows: Vec<Value> = out(&told).lines().map(row).collect();
        let mut rows: Vec<_> = rows
            .iter()
            .map(|it| (it["key"].as_str().unwrap().to_owned(), it["flows"].as_u64().unwrap()))
            .collect();
        rows.sort();
        rows
    };
    let of = |rows: &[(&str, u64)]| -> Vec<(String, u64)> {
        rows.iter().map(|(key, flows)| ((*key).to_owned(), *flows)).collect()
    };
    assert_eq!(by("script"), of(&[("-", 1), ("/opt/beacon.py", 2), ("/opt/live.py", 1)]));
    assert_eq!(
        by("process"),
        of(&[
            ("/opt/beacon.py (/usr/bin/python3.11)", 2),
            ("/opt/live.py (/usr/bin/python3.11)", 1),
            ("/usr/bin/python3.11", 1),
        ])
    );
    let table = daemon.run(&["events", "--script", "beacon.py"]);
    assert_eq!(out(&table).matches("beacon.py (python3.11)[11]").count(), 2, "{}", out(&table));
    let printed = daemon.run(&["events", "--process", "live.py (python3.11)[10]", "-o", "json"]);
    let event: Value = serde_json::from_str(out(&printed)).unwrap();
    assert_eq!(event["geofenced"]["script"], "/opt/live.py");
    let none = daemon.run(&["events", "--script", "nosuch.py"]);
    assert!(
        said(&none).contains("--script nosuch.py finds nothing; scripts there: "),
        "{}",
        said(&none)
    );
}

#[test]
fn a_tree_has_who_started_what_and_what_each_of_them_sent() {
    let daemon = scripts();
    let told = daemon.run(&["events", "--tree", "10"]);
    let lines: Vec<&str> = out(&told).lines().collect();
    let at = |part: &str| {
        let found = lines.iter().position(|it| it.contains(part));
        found.unwrap_or_else(|| panic!("no {part}:\n{}", out(&told)))
    };
    assert!(at("systemd[1]") < at("└ live.py (python3.11)[10]"));
    assert!(at("[10]") < at("└ beacon.py (python3.11)[11]"));
    assert!(!out(&told).contains("[12]"), "{}", out(&told));
    let json = daemon.run(&["events", "--tree", "11", "-o", "json"]);
    let last: Value = serde_json::from_str(out(&json).lines().last().unwrap()).unwrap();
    assert_eq!(
        (&last["flows"], &last["sent_bytes"], &last["depth"]),
        (&2.into(), &3072.into(), &2.into())
    );
    let csv = daemon.run(&["events", "--tree", "11", "-o", "csv"]);
    assert_eq!(csv.status.code(), Some(2), "{}", said(&csv));
    assert!(said(&daemon.run(&["events", "--tree", "4711"])).contains("no events match"));
}

#[test]
fn the_course_of_a_row_is_its_bytes_stretch_by_stretch() {
    let daemon = scripts();
    let window =
        ["--since", "2027-01-15T08:00:00Z", "--until", "2027-01-15T10:00:00Z", "--per", "30m"];
    let asked = [&["summary", "--by", "country"], &window[..]].concat();
    let json = daemon.run(&[&asked[..], &["-o", "json"]].concat());
    let row: Value = serde_json::from_str(out(&json)).unwrap();
    assert_eq!(row["course"]["sent"], serde_json::json!([4608, 0, 1536, 0]), "{row}");
    assert_eq!(row["source"]["bytes"], 6144, "the sum is that of the stretches");
    let table = daemon.run(&asked);
    assert!(out(&table).contains("█ ▃"), "{}", out(&table));
    for (words, part) in [
        (&["--per", "30m"][..], "--since"),
        (&["--since", "1970-01-02", "--per", "1m"], "400 are the most"),
        (&["--since", "1h", "--per", "soon"], "1h or 1d"),
    ] {
        let refused = daemon.run(&[&["summary"], words].concat());
        assert_eq!(refused.status.code(), Some(2), "{words:?}");
        assert!(said(&refused).contains(part), "{words:?}: {}", said(&refused));
    }
}

#[test]
fn a_copy_of_another_hosts_store_is_read_where_it_lies_and_no_daemon_is_asked() {
    let stored = Stored::of([Entry::Flow(violation(0))]);
    let path = stored.path("store").display().to_string();
    for words in [&["events", "--since", "2027-01-15"][..], &["summary", "--by", "process"]] {
        let told = geofenced(&[words, &["--store", &path]].concat()).output().unwrap();
        assert!(out(&told).contains("curl"), "{}{}", out(&told), said(&told));
        assert!(!said(&told).contains("no daemon"), "{}", said(&told));
    }
    let nowhere = geofenced(&["events", "--store", "/nonexistent"]).output().unwrap();
    assert_eq!(nowhere.status.code(), Some(2));
    assert!(said(&nowhere).contains("no store at /nonexistent"), "{}", said(&nowhere));
}

/// What a terminal shows of a command.
fn on_a_terminal(daemon: &Daemon, words: &str, pager: &str) -> String {
    let line = format!(
        "{} {words} --utc --socket {}",
        env!("CARGO_BIN_EXE_geofenced"),
        daemon.socket().display()
    );
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &line, "/dev/null"]).stdin(Stdio::null());
    script.env("GEOFENCED_PAGER", pager).env_remove("NO_COLOR").env("TERM", "xterm");
    let shown = script.output().expect("script(1) gives a terminal");
    String::from_utf8_lossy(&shown.stdout).replace('\r', "")
}

#[test]
fn a_table_on_a_terminal_goes_to_the_pager_and_nothing_else_does() {
    let daemon = scripts();
    let pager = "sed s/^/paged:/";
    let shown = on_a_terminal(&daemon, "events", pager);
    assert!(shown.contains("paged:TIME") && shown.contains("paged:08:00:01"), "{shown}");
    for (words, pager) in [
        ("events -o json", pager),
        ("events --no-pager", pager),
        ("events", ""),
        ("events", "nosuchpager"),
    ] {
        let shown = on_a_terminal(&daemon, words, pager);
        assert!(!shown.contains("paged:") && shown.contains("203.0.113.7"), "{words}: {shown}");
    }
    let piped = daemon.command(&["events"]).env("GEOFENCED_PAGER", pager).output().unwrap();
    assert!(out(&piped).starts_with("TIME"), "{}", out(&piped));
}

#[test]
fn a_shell_is_offered_the_words_of_a_list_and_no_files_for_what_is_none() {
    let zsh = geofenced(&["completions", "zsh"]).output().unwrap();
    let of = |option: &str| {
        let start = format!("'--{option}=[");
        let line = out(&zsh).lines().find(|line| line.contains(&start));
        line.unwrap_or_else(|| panic!("no {option}")).to_owned()
    };
    assert!(of("verdict").contains("(unapproved unknown approved local)"), "{}", of("verdict"));
    assert!(of("user").contains("_users"), "{}", of("user"));
    assert!(!of("country").contains("_files") && !of("country").contains("_default"));
    // A list of them is taken all the same.
    let daemon = scripts();
    let told = daemon.run(&["events", "--verdict", "unapproved,unknown"]);
    assert_eq!(told.status.code(), Some(0), "{}", said(&told));
    let wrong = daemon.run(&["events", "--verdict", "bad"]);
    assert!(
        said(&wrong).contains("none of unapproved, unknown, approved, local"),
        "{}",
        said(&wrong)
    );
}

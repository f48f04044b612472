//! What an investigator asks in one command: one record whole, totals by several keys, what is typed as it is
//! printed. Over a daemon without a kernel.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Output, Stdio},
    sync::Arc,
};

use serde_json::Value;

use crate::{
    approved::approved,
    cli::await_listener,
    records::violation,
    rig::{Daemon, Events},
};

fn out(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn said(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

fn three_flows() -> Daemon {
    let records = vec![violation(0), approved(1), approved(2)];
    Daemon::with(Events { records, ..Events::default() })
}

#[test]
fn show_tells_all_of_one_record_and_why_in_a_page_and_as_json() {
    let daemon = three_flows();
    let id = violation(0).egress.flow.to_string();
    let page = daemon.run(&["show", &id]);
    assert_eq!(page.status.code(), Some(0), "{}", said(&page));
    for part in [
        id.as_str(),
        "unapproved",
        "203.0.113.7:443",
        "curl[42] /usr/bin/curl",
        "ana (1000)",
        "WHY",
        "CN (China) is not approved",
        "That is a violation.",
        "CLAIMED, NOT PROVEN",
        "WHAT COULD BE WRONG",
    ] {
        assert!(out(&page).contains(part), "{part}\n---\n{}", out(&page));
    }
    // The start alone is a beginning that no other has.
    let json = daemon.run(&["show", &id[..16], "-o", "json"]);
    let shown: Value = serde_json::from_str(out(&json)).unwrap();
    assert_eq!(shown["record"]["event"]["id"], id.as_str());
    assert_eq!(shown["states"][0]["verdict"], "unapproved");
    assert!(shown["why"].as_array().is_some_and(|it| it.len() > 2), "{shown}");
}

#[test]
fn an_id_that_is_unknown_or_of_several_is_an_error_that_says_what_to_do() {
    let daemon = three_flows();
    let id = violation(0).egress.flow.to_string();
    let unknown = daemon.run(&["show", "00000000000000000000000000000001"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(said(&unknown).contains("no record has this id"), "{}", said(&unknown));
    assert_eq!(said(&unknown).lines().count(), 1);
    let several = daemon.run(&["show", &id[..8]]);
    assert_eq!(several.status.code(), Some(1));
    assert!(said(&several).contains("write more digits"), "{}", said(&several));
    assert!(said(&several).contains(&id), "{}", said(&several));
    assert_eq!(daemon.run(&["show", "187d"]).status.code(), Some(2));
    assert_eq!(daemon.run(&["show", "nonsense-of-an-id"]).status.code(), Some(2));
}

#[test]
fn totals_are_by_up_to_three_keys_and_the_total_is_of_the_rows_left_out_too() {
    let daemon = three_flows();
    let output = daemon.run(&["summary", "--by", "process,country", "--limit", "1", "--utc"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let lines: Vec<&str> = out(&output).lines().collect();
    assert!(lines[0].contains("PROCESS") && lines[0].contains("COUNTRY"), "{}", out(&output));
    assert!(lines[2].contains("/usr/bin/curl") && lines[2].contains("US"), "{}", out(&output));
    let total: Vec<&str> = lines.last().unwrap().split_whitespace().collect();
    assert_eq!(&total[..3], ["total", "3", "0"], "{}", out(&output));
    assert!(said(&output).contains("1 row is left out by --limit"), "{}", said(&output));
    let first = daemon.run(&["summary", "--by", "country", "--sort", "first", "-o", "json"]);
    let row: Value = serde_json::from_str(out(&first).lines().next().unwrap()).unwrap();
    assert_eq!((&row["by"], &row["key"]), (&"country".into(), &"CN".into()), "{row}");
    assert!(row["keys"].is_null(), "a single key is told as ever: {row}");
    for wrong in [&["--by", "process,hat"][..], &["--by", "user,user"], &["--sort", "hat"]] {
        let output = daemon.run(&[&["summary"], wrong].concat());
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn csv_of_totals_has_first_and_last_seen_and_a_column_for_each_key() {
    let daemon = three_flows();
    let output = daemon.run(&["summary", "--by", "country,user", "-o", "csv"]);
    let mut rows = csv::Reader::from_reader(out(&output).as_bytes());
    let head = rows.headers().unwrap().clone();
    let at = |name: &str| head.iter().position(|it| it == name).unwrap();
    let row = rows.records().next().unwrap().unwrap();
    assert_eq!((&row[at("country")], &row[at("user")]), ("US", "ana"));
    assert!(row[at("first_seen")].ends_with("08:00:01.000000000Z"), "{row:?}");
    assert!(row[at("last_seen")].ends_with("08:00:02.000000000Z"), "{row:?}");
}

#[test]
fn an_empty_csv_has_its_head() {
    let daemon = Daemon::with(Events::default());
    for words in [&["events"][..], &["events", "--lookups"], &["summary"]] {
        let output = daemon.run(&[words, &["-o", "csv"]].concat());
        assert_eq!(out(&output).lines().count(), 1, "{words:?}: {}", out(&output));
    }
}

#[test]
fn a_filter_that_finds_nothing_is_named_with_what_there_is_instead() {
    let daemon = three_flows();
    let hint = |words: &[&str]| said(&daemon.run(&[&["events"], words].concat())).to_owned();
    let user = hint(&["--user", "nosuch", "--process", "curl,wget"]);
    assert!(user.contains("--user nosuch finds nothing; users there: ana"), "{user}");
    assert!(!user.contains("--process"), "{user}");
    let port = hint(&["--port", "80,8080"]);
    assert!(port.contains("ports there: 443"), "{port}");
    let both = hint(&["--country", "CN", "--verdict", "approved"]);
    assert!(both.contains("nothing is found by all"), "{both}");
    let silent = daemon.run(&["events", "--user", "nosuch", "-o", "json"]);
    assert!(!said(&silent).contains("users there"), "{}", said(&silent));
    for words in [
        &["--destination", "203.0.113.7:443"][..],
        &["--operator", "64500"],
        &["--process", "curl[42]"],
    ] {
        let output = daemon.run(&[&["events", "-o", "json"], words].concat());
        assert_eq!(out(&output).lines().count(), 3, "{words:?}: {}", said(&output));
    }
}

#[test]
fn a_time_that_says_not_what_it_is_is_refused_with_what_could_be_meant() {
    let daemon = three_flows();
    for (time, part) in [("2026", "20:26"), ("08:00[Nowhere/Atall]", "no time zone")] {
        let output = daemon.run(&["events", "--since", time]);
        assert_eq!(output.status.code(), Some(2), "{time}");
        assert!(said(&output).contains(part), "{time}: {}", said(&output));
    }
    assert_eq!(daemon.run(&["events", "--since", "2027-01-15T08:00[UTC]"]).status.code(), Some(0));
}

#[test]
fn following_goes_on_after_a_daemon_that_came_back_with_no_hole_and_nothing_twice() {
    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("geofenced.sock");
    let daemon = |events| Daemon::at(tempfile::tempdir().unwrap(), socket.clone(), events);
    let first = daemon(Events::default());
    let mut command = first.command(&["events", "--follow", "-o", "json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    await_listener(&first);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || {
        let event: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        event["@timestamp"].as_str().unwrap()[17..19].to_owned()
    };
    first.live.send(Arc::new(violation(7))).unwrap();
    assert_eq!(next(), "07");
    drop(first);
    let records = vec![violation(7), approved(8)];
    let second = daemon(Events { records, ..Events::default() });
    await_listener(&second);
    second.live.send(Arc::new(approved(8))).unwrap();
    second.live.send(Arc::new(violation(9))).unwrap();
    assert_eq!((next(), next()), ("08".to_owned(), "09".to_owned()));
    child.kill().unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    child.wait().unwrap();
    assert!(said.contains("waiting until it is back"), "{said}");
    assert!(said.contains("the daemon is back"), "{said}");
}

#[test]
fn what_is_followed_says_whether_it_is_new_more_or_the_end_and_may_be_that_alone() {
    let daemon = three_flows();
    let follow = |words: &[&str]| {
        let words = [&["events", "--follow", "--fail-on-violation"], words].concat();
        let mut command = daemon.command(&words);
        let child = command.stdout(Stdio::piped()).spawn().unwrap();
        await_listener(&daemon);
        let mut more = approved(7);
        more.egress.revision = 1;
        let mut end = violation(8);
        end.egress.revision = 1;
        end.egress.ended_at = Some(end.egress.last_at);
        for record in [approved(6), more, end] {
            daemon.live.send(Arc::new(record)).unwrap();
        }
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(3));
        while daemon.live.receiver_count() > 0 {
            std::thread::yield_now();
        }
        out(&output).to_owned()
    };
    let all = follow(&[]);
    let marks: Vec<&str> = all.lines().map(|it| it.split_whitespace().nth(2).unwrap()).collect();
    assert_eq!(marks[1..], ["new", "more", "end"], "{all}");
    assert!(all.lines().next().unwrap().contains("NOW"), "{all}");
    let ends = follow(&["--only", "end", "-o", "json"]);
    assert_eq!(ends.lines().count(), 1, "{ends}");
    let alone = daemon.run(&["events", "--only", "new"]);
    assert_eq!(alone.status.code(), Some(2), "without --follow");
}

#[test]
fn following_after_a_record_tells_first_what_was_stored_since_it_began() {
    let daemon = three_flows();
    let id = approved(1).egress.flow.to_string();
    let words = ["events", "--follow", "--after", &id, "--fail-on-violation", "-o", "json"];
    let child = daemon.command(&words).stdout(Stdio::piped()).spawn().unwrap();
    await_listener(&daemon);
    daemon.live.send(Arc::new(violation(9))).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(out(&output).lines().count(), 3, "{}", out(&output));
}

#[test]
fn first_contacts_are_those_of_which_nothing_was_seen_before() {
    let mut new = approved(100);
    new.egress.remote = "203.0.113.99:443".parse().ok();
    let records = vec![violation(0), approved(99), new];
    let daemon = Daemon::with(Events { records, ..Events::default() });
    let since = "2027-01-15T08:00:50Z";
    let rows = |words: &[&str]| -> Vec<Value> {
        let words = [&["summary", "-o", "json", "--new-since", since], words].concat();
        let output = daemon.run(&words);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        out(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let contacts = rows(&[]);
    assert_eq!(contacts.len(), 1, "{contacts:?}");
    assert_eq!(contacts[0]["keys"], serde_json::json!(["/usr/bin/curl", "203.0.113.99"]));
    let countries = rows(&["--by", "country"]);
    assert_eq!((countries.len(), &countries[0]["key"]), (1, &"US".into()));
    let wrong = daemon.run(&["summary", "--since", since, "--new-since", since]);
    assert_eq!(wrong.status.code(), Some(2), "{}", said(&wrong));
}

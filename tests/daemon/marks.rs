//! `mark` and `--interval` as a user types them, over a daemon without a kernel.

use std::{
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    sync::Arc,
    time::Duration,
};

use serde_json::Value;

use crate::{
    approved::approved,
    records::violation,
    rig::{Daemon, Events, geofenced},
};

fn said(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Status code and body of a request with this body.
fn post(daemon: &Daemon, body: &str) -> (u16, Value) {
    announced(daemon, body.len(), body)
}

/// The same with a body that is said to be so long.
fn announced(daemon: &Daemon, length: usize, body: &str) -> (u16, Value) {
    let mut stream = UnixStream::connect(daemon.socket()).unwrap();
    let head = format!("host: x\r\nconnection: close\r\ncontent-length: {length}\r\n");
    write!(stream, "POST /v1/marks HTTP/1.1\r\n{head}\r\n{body}").unwrap();
    stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let code = head.split(' ').nth(1).unwrap().parse().unwrap();
    (code, serde_json::from_str(body.trim()).unwrap_or(Value::Null))
}

#[test]
fn what_does_not_fit_to_what_runs_is_one_line_and_changes_nothing() {
    let daemon = Daemon::with(Events::default());
    let mark = |words: &[&str]| daemon.run(&[&["mark"], words].concat());
    let stop = mark(&["stop", "LDM on"]);
    assert_eq!(stop.status.code(), Some(1), "{}", said(&stop));
    assert!(said(&stop).contains("\"LDM on\" does not run"), "{}", said(&stop));
    let start = mark(&["start", "LDM on", "--note", "flight 12"]);
    assert_eq!(start.status.code(), Some(0), "{}", said(&start));
    let again = mark(&["start", "LDM on"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(said(&again).contains("runs already, since 20"), "{}", said(&again));
    assert_eq!(said(&again).lines().count(), 1);
    assert_eq!(mark(&["stop", "LDM on"]).status.code(), Some(0));
    assert_eq!(mark(&["stop", "LDM on"]).status.code(), Some(1));
}

#[test]
fn a_name_that_is_none_is_refused_before_anybody_is_asked() {
    let missing = ["--socket", "/nowhere/geofenced.sock"];
    let long = "x".repeat(129);
    for name in ["", "a\nb", "a\u{1b}[2Jb", " a", "a#2", &long] {
        let output = geofenced(&["mark", "start", name]).args(missing).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{name:?}: {}", said(&output));
        assert!(said(&output).starts_with("geofenced: the name "), "{}", said(&output));
        assert!(!said(&output).contains('\u{1b}') && said(&output).lines().count() == 1);
    }
    for words in [
        &["--share", "tiles.example.org"][..],
        &["--purpose", "maps"],
        &["--share", "192.0.2.300", "--purpose", "maps"],
        &["--share", "192.0.2.3", "--purpose", "maps", "--until", "soon"],
    ] {
        let output = geofenced(&["mark", "start", "a"]).args(words).args(missing).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{words:?}: {}", said(&output));
    }
    let nobody = geofenced(&["mark", "start", "a"]).args(missing).output().unwrap();
    assert_eq!(nobody.status.code(), Some(1));
    assert!(said(&nobody).contains("no daemon answers"), "{}", said(&nobody));
}

#[test]
fn the_socket_takes_marks_as_json_and_says_what_is_wrong_with_them() {
    let daemon = Daemon::with(Events::default());
    let share = r#"[{"destination":"203.0.113.0/24","purpose":"maps"}]"#;
    let start = format!(r#"{{"name":"a","action":"start","share":{share}}}"#);
    let (code, mark) = post(&daemon, &start);
    assert_eq!((code, &mark["event"]["action"]), (200, &Value::from("mark")), "{mark}");
    assert_eq!(mark["geofenced"]["mark"]["share"][0]["purpose"], "maps", "{mark}");
    assert_eq!(mark["event"]["category"], serde_json::json!(["host"]));
    for (body, expected) in [
        (start.as_str(), 409),
        (r#"{"name":"b","action":"stop"}"#, 409),
        (r#"{"name":"b","action":"begin"}"#, 400),
        (r#"{"name":"b\u0000","action":"start"}"#, 400),
        (r#"{"name":"b","action":"start","colour":"red"}"#, 400),
        ("{", 400),
        ("", 400),
    ] {
        let (code, error) = post(&daemon, body);
        assert_eq!(code, expected, "{body}: {error}");
        assert!(error["error"].is_string(), "{body}: {error}");
    }
    assert_eq!(announced(&daemon, 1 << 20, "").0, 413);
}

#[test]
fn events_and_summary_of_an_interval_are_those_of_its_time() {
    let records = vec![violation(0), approved(1)];
    let daemon = Daemon::with(Events { records, ..Events::default() });
    for words in [&["events"][..], &["summary"], &["coverage"], &["events", "--lookups"]] {
        let unknown = daemon.run(&[words, &["--interval", "LDM on"]].concat());
        assert_eq!(unknown.status.code(), Some(2), "{words:?}: {}", said(&unknown));
        assert!(said(&unknown).contains("no interval `LDM on`"), "{}", said(&unknown));
    }
    let follow = daemon.run(&["events", "--follow", "--interval", "LDM on"]);
    assert_eq!(follow.status.code(), Some(2));
}

/// The JSON lines of an answer; of one that goes on the first.
fn lines(daemon: &Daemon, path: &str, begin: impl FnOnce()) -> Vec<Value> {
    let mut stream = UnixStream::connect(daemon.socket()).unwrap();
    stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    begin();
    let goes_on = path.contains("stream");
    let lines = BufReader::new(stream).lines().map(Result::unwrap);
    let lines = lines.filter(|it| it.starts_with('{')).take(if goes_on { 1 } else { usize::MAX });
    lines.map(|it| serde_json::from_str(&it).unwrap()).collect()
}

#[test]
fn a_record_says_in_which_interval_it_was_stored_or_live() {
    // Of the year 2106: after every mark that is put today.
    let late = violation(2_500_000_000);
    let records = vec![late.clone(), violation(0)];
    let daemon = Daemon::with(Events { records, ..Events::default() });
    let all = || lines(&daemon, "/v1/events", || {});
    assert!(all().iter().all(|it| it["geofenced"]["interval"].is_null()), "{:?}", all());
    let share = r#"[{"destination":"203.0.113.7","purpose":"maps"}]"#;
    let start = format!(r#"{{"name":"LDM on","action":"start","share":{share}}}"#);
    assert_eq!(post(&daemon, &start).0, 200);
    let is_marked = |event: &Value| {
        let told = &event["geofenced"];
        told["interval"][0] == "LDM on"
            && told["declared"][0]["purpose"] == "maps"
            && told["verdict"] == "unapproved"
    };
    assert!(is_marked(&all()[0]), "{:?}", all());
    assert!(!lines(&daemon, "/v1/events?interval=LDM%20on%231", || {}).is_empty());
    let live = lines(&daemon, "/v1/events/stream", || {
        while daemon.live.receiver_count() == 0 {
            std::thread::yield_now();
        }
        daemon.live.send(Arc::new(late)).unwrap();
    });
    assert!(is_marked(&live[0]), "{live:?}");
    assert_eq!(post(&daemon, r#"{"name":"LDM on","action":"stop"}"#).0, 200);
    assert!(all()[0]["geofenced"]["interval"].is_null(), "it is over by then: {:?}", all());
}

//! The API as another program sees it: bytes on the Unix socket.

use std::{
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use serde_json::Value;

use crate::{
    approved::approved,
    records::violation,
    rig::{Daemon, Events},
};

/// More than every buffer between source and client holds.
const MANY: u64 = 50_000;
const PATIENCE: Duration = Duration::from_mins(1);

fn connect(daemon: &Daemon, path: &str) -> UnixStream {
    let mut stream = UnixStream::connect(daemon.socket()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    stream
}

/// Status code and body, chunked or not.
fn get(daemon: &Daemon, path: &str) -> (u16, String) {
    let mut answer = String::new();
    connect(daemon, path).read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// The JSON lines in a body, whatever the chunks.
fn lines(body: &str) -> Vec<Value> {
    body.lines()
        .filter(|it| it.starts_with('{'))
        .map(|it| serde_json::from_str(it).unwrap())
        .collect()
}

#[test]
fn events_are_one_json_object_a_line_and_filters_are_parameters() {
    let daemon =
        Daemon::with(Events { records: vec![violation(0), approved(1)], ..Events::default() });
    let (status, body) = get(&daemon, "/v1/events?country=CN&verdict=unapproved&reverse=true");
    let events = lines(&body);
    assert_eq!((status, events.len()), (200, 1));
    assert_eq!(events[0]["destination"]["geo"]["country_iso_code"], "CN");
    assert_eq!(lines(&get(&daemon, "/v1/events").1).len(), 2);
}

#[test]
fn a_wrong_question_is_refused_in_json_that_says_what_is_wrong() {
    let daemon = Daemon::with(Events::default());
    for (path, part) in [
        ("/v1/events?country=China", "--country"),
        ("/v1/events?colour=red", "colour"),
        ("/v1/lookups?limit=100001", "100000 lookups"),
        ("/v1/summary?by=hat", "hat"),
        ("/v1/locate?ip=somewhere", "somewhere"),
        ("/v1/locate", "?ip="),
    ] {
        let (status, body) = get(&daemon, path);
        let error = lines(&body)[0]["error"].as_str().unwrap().to_owned();
        assert!(status == 400 && error.contains(part), "{path}: {status} {error}");
    }
    assert_eq!(get(&daemon, "/v2/events").0, 404);
}

#[test]
fn a_store_that_fails_is_a_503_before_the_first_line_and_a_last_line_after_it() {
    let failing = |fails_after| {
        let records = (0..3_000).map(violation).collect();
        Daemon::with(Events { records, fails_after: Some(fails_after), ..Events::default() })
    };
    let (status, body) = get(&failing(0), "/v1/events");
    assert_eq!((status, lines(&body)[0]["error"].as_str()), (503, Some("the disk is gone")));
    let (status, body) = get(&failing(2_000), "/v1/events");
    assert_eq!(status, 200);
    assert!(body.contains("{\"error\":\"the disk is gone\"}"));
}

#[test]
fn a_client_that_goes_away_ends_its_query() {
    let records = (0..MANY).map(violation).collect();
    let daemon = Daemon::with(Events { records, ..Events::default() });
    let mut stream = connect(&daemon, "/v1/events");
    stream.read_exact(&mut [0; 64]).unwrap();
    drop(stream);
    let events = Arc::clone(&daemon.events);
    // Waits for the query: ending with it is the server's duty.
    drop(daemon);
    let handed_out = events.handed_out.load(Ordering::Relaxed);
    assert!(handed_out > 0 && handed_out < MANY, "{handed_out}");
}

#[test]
fn a_client_that_goes_away_ends_also_the_query_that_matches_nothing() {
    for path in ["/v1/events", "/v1/summary"] {
        let daemon = Daemon::with(Events { is_endless: true, ..Events::default() });
        drop(connect(&daemon, path));
        let given_up = || daemon.events.given_up.load(Ordering::Relaxed) == 1;
        let ended = harness::eventually(|| given_up().then_some(()));
        assert!(ended.is_some(), "{path} goes on");
    }
}

#[test]
fn the_live_stream_gives_what_matches_from_now_on() {
    let daemon = Daemon::with(Events { records: vec![violation(0)], ..Events::default() });
    let stream = connect(&daemon, "/v1/events/stream?country=CN");
    await_listeners(&daemon, 1);
    for record in [approved(1), violation(2)] {
        daemon.live.send(Arc::new(record)).unwrap();
    }
    let line = BufReader::new(stream)
        .lines()
        .map(Result::unwrap)
        .find(|line| line.starts_with('{'))
        .unwrap();
    let event: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(event["@timestamp"], "2027-01-15T08:00:02.000000000Z");
}

#[test]
fn a_slow_client_of_the_live_stream_is_told_what_it_lost_and_it_is_counted() {
    let daemon = Daemon::with(Events::default());
    let stream = connect(&daemon, "/v1/events/stream");
    await_listeners(&daemon, 1);
    for number in 0..MANY {
        daemon.live.send(Arc::new(violation(number))).unwrap();
    }
    let (mut events, mut told) = (0, 0);
    for line in BufReader::new(stream).lines().map(Result::unwrap).filter(|it| it.starts_with('{'))
    {
        let value: Value = serde_json::from_str(&line).unwrap();
        match value["geofenced"]["lost"].as_u64() {
            Some(lost) => told += lost,
            None => events += 1,
        }
        if events + told == MANY {
            break;
        }
    }
    assert!(told > 0 && events > 0);
    let counted = daemon.metrics.events_lost_total.with_label_values(&["live", "client-slow"]);
    assert_eq!(counted.get(), told);
}

fn await_listeners(daemon: &Daemon, count: usize) {
    for _ in 0..600 {
        if daemon.live.receiver_count() == count {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("the stream was never opened");
}

#[test]
fn a_client_that_stops_in_its_request_does_not_keep_the_daemon_from_ending() {
    let daemon = Daemon::with(Events::default());
    let mut halted = UnixStream::connect(daemon.socket()).unwrap();
    halted.set_read_timeout(Some(PATIENCE)).unwrap();
    halted.write_all(b"GET /v1/status HTT").unwrap();
    // Once it answers somebody else, it has taken the halted one in.
    get(&daemon, "/v1/status");
    drop(daemon);
    assert_eq!(halted.read(&mut [0]).unwrap(), 0, "the connection is closed");
}

#[test]
fn status_and_locate_are_one_document_each() {
    let daemon = Daemon::with(Events::default());
    let (status, body) = get(&daemon, "/v1/status");
    assert_eq!((status, lines(&body)[0]["tier"].as_str()), (200, Some("full")));
    let (_, body) = get(&daemon, "/v1/locate?ip=203.0.113.9");
    assert_eq!(lines(&body)[0]["destination"]["ip"], "203.0.113.9");
}

//! A socket outlives what opened it: who sends on it is who does so now, whatever program, user or
//! cgroup it was opened by, and whoever handed it over.

use harness::{number, text};
use serde_json::Value;

use crate::ground::Ground;

/// Who sent, as the record of a destination tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sender {
    pid: u64,
    executable: String,
    user: String,
    cgroup: String,
}

fn sender(record: &Value) -> Sender {
    Sender {
        pid: number(record, "/process/pid"),
        executable: text(record, "/process/executable").to_owned(),
        user: text(record, "/user/id").to_owned(),
        cgroup: text(record, "/geofenced/cgroup").to_owned(),
    }
}

/// How one process changes between what it sends on one socket: the words, and what it is then.
struct Change<'c> {
    words: String,
    then: &'c dyn Fn(Sender) -> Sender,
}

/// Sends before and after a change: to a new place, and where it had connected the socket before.
fn assert_told_apart(ground: &Ground, program: &str, change: &Change<'_>) {
    let Change { words, then } = change;
    let (user, cgroup) = ("0".to_owned(), ground.lab.cgroup.name());
    let began = Sender { pid: 0, executable: program.into(), user, cgroup };
    let elsewhere = format!("udp sendto 203.0.113.20:1 {words} sendto 203.0.113.20:2");
    let connected = format!("udp connect 203.0.113.20:3 {words} send 100");
    let and_before = format!("udp connect 203.0.113.20:4 send 100 {words} sendto 203.0.113.20:5");
    let mut wrong = Vec::new();
    for (words, told) in [
        (elsewhere, vec![(1, false), (2, true)]),
        (connected, vec![(3, true)]),
        (and_before, vec![(4, false), (5, true)]),
    ] {
        let mut running = ground.start(program, &format!("{words} hold"));
        running.holding();
        let pid = u64::from(running.pid());
        for (port, changed) in told {
            let before = Sender { pid, ..began.clone() };
            let right = if changed { then(before) } else { before };
            let told = sender(&ground.told(&format!("203.0.113.20:{port}")));
            if told != right {
                wrong.push(format!("port {port}: {told:?}\n    for {right:?}"));
            }
        }
        running.send();
        running.end();
    }
    println!("{words}: {} of 5 wrong", wrong.len());
    assert!(wrong.is_empty(), "{words}:\n{}", wrong.join("\n"));
}

#[test]
fn who_sends_on_a_socket_that_an_exec_kept_is_the_new_program() {
    let ground = Ground::new();
    let before = ground.programs.copy("allowed/before");
    let after = ground.programs.copy("own/after");
    ground.allow("before", &before);
    ground.watched(|| {
        let then = |it: Sender| Sender { executable: after.clone(), ..it };
        let change = Change { words: format!("exec {after} take"), then: &then };
        assert_told_apart(&ground, &before, &change);
        for port in [2, 3, 5] {
            let record = ground.told(&format!("203.0.113.20:{port}"));
            assert_eq!(text(&record, "/geofenced/verdict"), "unapproved", "{record}");
        }
    });
}

#[test]
fn who_sends_on_a_socket_that_an_exec_of_the_same_file_kept_is_the_new_program() {
    let ground = Ground::new();
    let same = ground.programs.copy("own/same");
    ground.watched(|| {
        let change = Change { words: format!("exec {same} take"), then: &|it| it };
        assert_told_apart(&ground, &same, &change);
        let record = ground.told("203.0.113.20:2");
        let words = text(&record, "/process/command_line");
        let began = format!("{same} take sendto");
        assert!(words.starts_with(&began), "of the program before: {words:?}");
    });
}

#[test]
fn who_sends_after_setuid_on_a_socket_of_before_is_the_new_user() {
    let ground = Ground::new();
    let own = ground.programs.copy("own/sends");
    ground.watched(|| {
        let then = |it: Sender| Sender { user: "1001".into(), ..it };
        assert_told_apart(&ground, &own, &Change { words: "uid 1001".into(), then: &then });
    });
}

#[test]
fn who_sends_from_another_cgroup_on_a_socket_of_before_is_told_there() {
    let ground = Ground::new();
    let own = ground.programs.copy("own/sends");
    let other = ground.lab.cgroup.inside("other");
    ground.watched(|| {
        let then = |it: Sender| Sender { cgroup: other.name(), ..it };
        let words = format!("cgroup {}", other.path().display());
        assert_told_apart(&ground, &own, &Change { words, then: &then });
    });
    drop(other);
}

/// The record names the worker, or says that it does not know and who made the socket.
fn assert_not_the_supervisor(record: &Value, supervisor: &str, worker: &str) {
    let told = text(record, "/process/executable");
    let attribution = text(record, "/geofenced/attribution");
    let creator = text(record, "/geofenced/creator/executable");
    println!("told {told:?} by {attribution:?}, made by {creator:?}");
    match attribution {
        "creator" => assert_eq!(told, supervisor, "{record}"),
        "none" => assert_eq!(creator, supervisor, "{record}"),
        _ => assert_eq!(told, worker, "taken for a fact: {record}"),
    }
}

/// A supervisor gets itself a connection by these words and hands it to a worker by `by`.
fn assert_handed_over(connects: bool, by: &dyn Fn(&Ground, &str, &str, &str)) {
    let ground = Ground::new();
    let supervisor = ground.programs.copy("allowed/supervisor");
    let worker = ground.programs.copy("own/worker");
    ground.allow("supervisor", &supervisor);
    ground.watched(|| {
        let (remote, connection) = if connects {
            let (sink, port) = ground.sink(1);
            by(&ground, &supervisor, &worker, &format!("tcp 0 203.0.113.20:{port}"));
            sink.finish();
            ("203.0.113.20", "connected")
        } else {
            by(&ground, &supervisor, &worker, "accept 10.77.0.2:7000");
            ("203.0.113.77", "accepted")
        };
        let record = ground.told_at(remote, 1).remove(0);
        println!("{connection}:");
        assert_not_the_supervisor(&record, &supervisor, &worker);
    });
}

/// Whoever reads what the other side of an accepted connection sends.
fn reader(ground: &Ground) -> harness::Running {
    let words = "connect-and-read --from 203.0.113.77 --to 10.77.0.2:7000";
    ground.lab.start(harness::Side::Internet, words)
}

fn by_message(ground: &Ground, supervisor: &str, worker: &str, connection: &str) {
    let at = ground.programs.path("socket");
    let mut worker = ground.start(worker, &format!("receive {at} send 5000 finish"));
    worker.holding();
    let mut supervisor = ground.start(supervisor, &format!("{connection} give {at} hold"));
    let reader = connection.starts_with("accept").then(|| {
        supervisor.listening();
        reader(ground)
    });
    worker.end();
    drop(supervisor);
    if let Some(reader) = reader {
        assert_eq!(reader.finish().received_bytes, Some(5000));
    }
}

fn by_inheritance(ground: &Ground, supervisor: &str, worker: &str, connection: &str) {
    let words = format!("{connection} fork exec {worker} take send 5000 finish");
    let mut supervisor = ground.start(supervisor, &words);
    let reader = connection.starts_with("accept").then(|| {
        supervisor.listening();
        reader(ground)
    });
    supervisor.end();
    if let Some(reader) = reader {
        assert_eq!(reader.finish().received_bytes, Some(5000));
    }
}

#[test]
fn who_connected_and_handed_the_connection_over_is_not_told_as_the_sender() {
    assert_handed_over(true, &by_message);
}

#[test]
fn who_accepted_and_handed_the_connection_over_is_not_told_as_the_sender() {
    assert_handed_over(false, &by_message);
}

#[test]
fn who_connected_and_left_the_connection_to_a_child_is_not_told_as_the_sender() {
    assert_handed_over(true, &by_inheritance);
}

#[test]
fn who_accepted_and_left_the_connection_to_a_child_is_not_told_as_the_sender() {
    assert_handed_over(false, &by_inheritance);
}

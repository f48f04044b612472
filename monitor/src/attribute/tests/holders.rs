//! Sockets older than the probes: their holders, over a fabricated `/proc`.

use monitor_ebpf::sample::SocketEndSample;

use super::*;
use crate::attribute::older::UNHELD_KEPT_NS;

/// curl, pid 77, holds a UDP socket bound to port 8080.
fn host_with_an_older_socket() -> (FakeProc, Processes) {
    let (proc, processes) = host();
    proc.put(&Fields { sockets: &[4711], ..curl(77) });
    let row = "0: 00000000:1F90 00000000:0000 07 0:0 0:0 0 1000 0 4711 2 0 0";
    // Of the processes of one network namespace, the first is asked for its sockets.
    proc.net(1, "udp", &[row.into()]);
    (proc, processes)
}

/// From that port, of a socket without an owner.
fn datagram(at_ns: u64) -> EgressSample {
    let mut sample = EgressSample { socket_type: 2, at_ns, ..EgressSample::default() };
    sample.flow.transport = 17;
    sample.flow.cookie = 5;
    sample.local_port = 0x1F90;
    sample
}

/// The last holder of the socket closed it.
fn closed_by(tgid: u32) -> SocketEndSample {
    SocketEndSample { tgid, cookie: 5, at_ns: 20 * SEC + 5, ..SocketEndSample::default() }
}

#[test]
fn the_holder_of_an_older_socket_is_found_once_and_looked_at_each_time() {
    let (proc, mut processes) = host_with_an_older_socket();
    let mut sample = datagram(20 * SEC);
    let (origin, sender) = processes.attribute(&sample);
    assert_eq!((origin, sender.attribution()), (Origin::PreExisting, Attribution::Procfs));
    assert_eq!(sender.process().unwrap().executable.as_deref(), Some("/usr/bin/curl"));
    assert_eq!(sender.process().unwrap().parents.len(), 2);
    assert_eq!(processes.attribute(&sample), (origin, sender.clone()));
    assert_eq!(processes.counters().socket_searches, 1);
    // It gives up root, and no hook tells of that.
    proc.put(&Fields { sockets: &[4711], uid: 107, ..curl(77) });
    sample.at_ns += 2 * SEC;
    let user = |sender: &Sender| sender.process().unwrap().user.id;
    assert_eq!(user(&processes.attribute(&sample).1), 107);
    assert_eq!(processes.counters().socket_searches, 1);
}

#[test]
fn who_held_a_socket_until_it_was_closed_is_told_when_its_end_is() {
    for (closed, expected) in [(77, Some(77)), (78, None), (2, None)] {
        let (proc, mut processes) = host_with_an_older_socket();
        processes.scan().unwrap();
        proc.remove(77);
        proc.net(1, "udp", &[]);
        let sample = datagram(clock::boot_ns());
        assert_eq!(processes.attribute(&sample), (Origin::PreExisting, Sender::Nobody));
        let told = processes.closed(&closed_by(closed));
        let process = told.first().and_then(|(_, sender)| sender.process());
        assert_eq!(process.map(|it| it.pid), expected, "closed by {closed}");
        assert!(told.iter().all(|(flow, _)| *flow == sample.flow));
        assert!(processes.closed(&closed_by(closed)).is_empty(), "told twice");
    }
}

#[test]
fn a_socket_that_is_closed_before_a_search_is_due_is_told_after_it() {
    let (proc, mut processes) = host_with_an_older_socket();
    processes.scan().unwrap();
    let now = clock::boot_ns();
    // The search for this one is too early for what comes then.
    processes.attribute(&EgressSample { local_port: 9, ..datagram(now) });
    proc.remove(77);
    proc.net(1, "udp", &[]);
    let mut sample = datagram(now + 1);
    sample.flow.cookie = 6;
    assert_eq!(processes.attribute(&sample).1, Sender::Nobody);
    assert!(processes.closed(&SocketEndSample { cookie: 6, ..closed_by(77) }).is_empty());
    let found = processes.ask_again(now + 2 * SEC);
    let [(flow, sender)] = &found[..] else { panic!("{found:?}") };
    assert_eq!((*flow, sender.process().unwrap().pid), (sample.flow, 77));
}

#[test]
fn what_a_shared_listener_accepted_is_told_at_its_end_as_the_one_of_them_that_closed_it() {
    for (closed, expected) in [(78, Some(78)), (77, Some(77)), (10, None)] {
        let (proc, mut processes) = host();
        proc.put(&Fields { uid: 0, sockets: &[4711], ..curl(77) });
        proc.put(&Fields { uid: 33, parent: 77, sockets: &[4711], ..curl(78) });
        let listens = "0: 00000000:1F90 00000000:0000 0A 0:0 0:0 0 1000 0 4711 2 0 0";
        proc.net(1, "tcp", &[listens.into()]);
        processes.scan().unwrap();
        let mut sample = datagram(clock::boot_ns());
        (sample.flow.transport, sample.socket_type, sample.flow.remote_port) = (6, 1, 0x1001);
        sample.flow.remote[10..].copy_from_slice(&[0xff, 0xff, 127, 0, 0, 2]);
        sample.flow.cookie = 4;
        assert_eq!(processes.attribute(&sample), (Origin::Accepted, Sender::Nobody));
        (sample.listener_cookie, sample.flow.cookie) = (4, 5);
        processes.accepted(&sample);
        sample.at_ns += 2 * SEC;
        assert_eq!(processes.attribute(&sample), (Origin::Accepted, Sender::Nobody));
        let told = processes.closed(&closed_by(closed));
        let process = told.first().and_then(|(_, sender)| sender.process());
        assert_eq!(process.map(|it| it.pid), expected, "closed by {closed}");
        assert!(processes.closed(&SocketEndSample { cookie: 4, ..closed_by(77) }).is_empty());
    }
}

#[test]
fn a_socket_that_was_passed_on_is_told_as_who_has_it_now() {
    let (proc, mut processes) = host_with_an_older_socket();
    processes.scan().unwrap();
    proc.put(&curl(77));
    proc.put(&Fields { pid: 78, comm: "other", sockets: &[4711], ..curl(78) });
    let (_, sender) = processes.attribute(&datagram(clock::boot_ns()));
    assert_eq!(sender.process().unwrap().pid, 78);
}

#[test]
fn of_several_who_hold_a_socket_the_one_that_ran_has_sent() {
    let (proc, mut processes) = host_with_an_older_socket();
    proc.put(&Fields { comm: "other", executable: None, sockets: &[4711], ..curl(78) });
    let mut sample = datagram(20 * SEC);
    for (ran, expected) in [(0, None), (78, Some(78)), (77, Some(77))] {
        sample.runner.tgid = ran;
        let (_, sender) = processes.attribute(&sample);
        assert_eq!(sender.process().map(|it| it.pid), expected, "{ran} ran");
    }
}

#[test]
fn who_ran_is_not_named_where_another_alone_holds_the_socket_unless_it_is_its_child() {
    let (_proc, mut processes) = host_with_an_older_socket();
    let mut sample = datagram(20 * SEC);
    // A tunnel's socket, on which the packet of whoever runs is wrapped.
    sample.runner.tgid = 10;
    assert_eq!(processes.attribute(&sample).1.process().unwrap().pid, 77);
    (sample.runner.tgid, sample.at_ns) = (79, 22 * SEC);
    processes.read_into_table(77, |_| true);
    processes.learn_fork(&fork(77, 79, 21 * SEC));
    assert_eq!(processes.attribute(&sample).1.process().unwrap().pid, 79);
}

#[test]
fn what_an_older_listener_accepts_later_is_accepted_and_what_it_had_is_older() {
    let (proc, mut processes) = host();
    proc.put(&Fields { sockets: &[4711, 4712], ..curl(77) });
    let listens = "0: 00000000:1F90 00000000:0000 0A 0:0 0:0 0 1000 0 4711 2 0 0";
    let had = "1: 0100007F:1F90 0200007F:1000 01 0:0 0:0 0 1000 0 4712 2 0 0";
    proc.net(1, "tcp", &[listens.into(), had.into()]);
    processes.scan().unwrap();
    let mut sample = datagram(clock::boot_ns());
    sample.flow.transport = 6;
    sample.socket_type = 1;
    sample.local[10..].copy_from_slice(&[0xff, 0xff, 127, 0, 0, 1]);
    sample.flow.remote[10..].copy_from_slice(&[0xff, 0xff, 127, 0, 0, 2]);
    for (cookie, port, expected) in
        [(5, 0x1000, Origin::PreExisting), (6, 0x1001, Origin::Accepted)]
    {
        sample.flow.cookie = cookie;
        sample.flow.remote_port = port;
        let (origin, sender) = processes.attribute(&sample);
        assert_eq!((origin, sender.attribution()), (expected, Attribution::Procfs));
        assert_eq!(sender.process().unwrap().pid, 77);
    }
}

#[test]
fn what_is_sent_while_no_search_is_due_gets_its_process_when_one_is() {
    let (proc, mut processes) = host();
    // The search for this one is too early for what comes then.
    let other = EgressSample { local_port: 9, ..datagram(20 * SEC) };
    assert_eq!(processes.attribute(&other).1, Sender::Nobody);
    proc.put(&Fields { sockets: &[4711], ..curl(77) });
    let row = "0: 00000000:1F90 00000000:0000 07 0:0 0:0 0 1000 0 4711 2 0 0";
    proc.net(1, "udp", &[row.into()]);
    let mut sample = datagram(20 * SEC + 1);
    sample.flow.cookie = 6;
    assert_eq!(processes.attribute(&sample), (Origin::PreExisting, Sender::Nobody));
    assert!(processes.ask_again(20 * SEC + 2).is_empty());
    let found = processes.ask_again(22 * SEC);
    let [(flow, sender)] = &found[..] else { panic!("{found:?}") };
    assert_eq!((*flow, sender.attribution()), (sample.flow, Attribution::Procfs));
    assert_eq!(sender.process().unwrap().pid, 77);
    assert!(processes.ask_again(40 * SEC).is_empty(), "asked more than once");
}

#[test]
fn who_runs_is_asked_where_no_search_can_tell_but_never_for_tcp() {
    let (_proc, mut processes) = host();
    let mut ping = EgressSample { runner: ran(1), at_ns: 20 * SEC, ..EgressSample::default() };
    for (cookie, transport, expected) in
        [(5, 1, Attribution::Procfs), (6, 17, Attribution::Procfs), (7, 6, Attribution::None)]
    {
        (ping.flow.cookie, ping.flow.transport) = (cookie, transport);
        assert_eq!(processes.attribute(&ping).1.attribution(), expected, "{transport}");
    }
}

#[test]
fn a_socket_nobody_holds_is_not_searched_for_with_every_sample() {
    let (_proc, mut processes) = host();
    let mut sample = datagram(20 * SEC);
    for _ in 0..50 {
        assert_eq!(processes.attribute(&sample), (Origin::PreExisting, Sender::Nobody));
        sample.at_ns += SEC;
    }
    assert_eq!(processes.counters().socket_searches, 1);
    sample.at_ns += UNHELD_KEPT_NS;
    processes.attribute(&sample);
    assert_eq!(processes.counters().socket_searches, 2);
}

#[test]
fn the_holder_that_is_ending_is_told_as_it_was() {
    let (proc, mut processes) = host_with_an_older_socket();
    processes.scan().unwrap();
    let ending = Fields { executable: None, command_line: b"", ..curl(77) };
    proc.put(&Fields { sockets: &[4711], ..ending });
    let (_, sender) = processes.attribute(&datagram(clock::boot_ns()));
    assert_eq!(sender.process().unwrap().executable.as_deref(), Some("/usr/bin/curl"));
}

//! Searches, over a fabricated `/proc` and the real one.

use std::net::IpAddr;

use super::{
    listed::{Kind, parse},
    *,
};
use crate::attribute::fake::{FakeProc, Fields, SEC};

/// One line of the table, in this host's byte order.
fn line(local: &str, remote: &str, inode: u64) -> String {
    format!(
        "   0: {local} {remote} 01 00000000:00000000 00:00000000 00000000     0        0 {inode} 1 0 20"
    )
}

fn hex(address: &str, port: u16) -> String {
    let words = match address.parse::<IpAddr>().unwrap() {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let words: Vec<String> = words
        .chunks(4)
        .map(|word| format!("{:08X}", u32::from_ne_bytes(word.try_into().unwrap())))
        .collect();
    format!("{}:{port:04X}", words.concat())
}

fn mapped(address: &str) -> [u8; 16] {
    match address.parse::<IpAddr>().unwrap() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

fn sample(
    socket_type: u8,
    transport: u8,
    (local, local_port): (&str, u16),
    (remote, remote_port): (&str, u16),
) -> EgressSample {
    let mut sample = EgressSample { socket_type, at_ns: 100 * SEC, ..EgressSample::default() };
    sample.flow.transport = transport;
    sample.flow.remote = mapped(remote);
    sample.flow.remote_port = remote_port;
    sample.local = mapped(local);
    sample.local_port = local_port;
    sample
}

/// Who holds the socket.
fn held(answer: &Searched) -> Option<u32> {
    match answer {
        Searched::Held(place) => Some(place.tgid),
        _ => None,
    }
}

#[test]
fn each_kind_of_socket_is_found_by_what_its_packets_show() {
    let proc = FakeProc::new();
    proc.put(&Fields { pid: 1, sockets: &[11, 12, 13, 14, 15, 16], ..Fields::default() });
    for (pid, inode) in [(101, 11), (102, 12), (103, 13), (104, 14), (105, 15), (106, 16)] {
        proc.put(&Fields { pid, parent: 1, sockets: &[inode], ..Fields::default() });
    }
    let (any, any6) = (hex("0.0.0.0", 0), hex("::", 0));
    proc.net(1, "tcp", &[line(&hex("10.0.0.1", 4000), &hex("203.0.113.9", 443), 11)]);
    proc.net(1, "tcp6", &[line(&hex("2001:db8::1", 4000), &hex("2001:db8::9", 443), 12)]);
    proc.net(1, "udp6", &[line(&hex("::", 5353), &any6, 13)]);
    proc.net(1, "raw", &[line(&hex("0.0.0.0", 253), &any, 14)]);
    proc.net(1, "raw6", &[line(&hex("::", 255), &any6, 15)]);
    proc.net(1, "icmp", &[line(&hex("0.0.0.0", 77), &any, 16)]);

    let mut sockets = Sockets::default();
    let (here, there) = (("10.0.0.1", 4000), ("203.0.113.9", 443));
    for (sample, tgid) in [
        (sample(1, 6, here, there), 101),
        (sample(1, 6, ("2001:db8::1", 4000), ("2001:db8::9", 443)), 102),
        // A dual-stack socket, unconnected, sending IPv4.
        (sample(2, 17, ("10.0.0.1", 5353), ("203.0.113.9", 53)), 103),
        (sample(3, 253, ("10.0.0.1", 0), ("203.0.113.9", 0)), 104),
        (sample(3, 89, ("2001:db8::1", 0), ("2001:db8::9", 0)), 105),
        (sample(2, 1, ("10.0.0.1", 0), ("203.0.113.9", 0)), 106),
    ] {
        assert_eq!(held(&sockets.holder(&proc.procfs(), &sample)), Some(tgid));
    }
    assert_eq!(sockets.searches, 1);
}

#[test]
fn sockets_that_look_alike_are_not_told_apart() {
    let proc = FakeProc::new();
    // Forks of one program: who runs says which it is.
    let executable = Some("/proc/self/exe");
    proc.put(&Fields { pid: 101, executable, sockets: &[11], ..Fields::default() });
    proc.put(&Fields { pid: 102, executable, sockets: &[12], ..Fields::default() });
    let ping = |ident, inode| line(&hex("0.0.0.0", ident), &hex("0.0.0.0", 0), inode);
    proc.net(101, "icmp", &[ping(7, 11), ping(8, 12)]);
    let sample = sample(2, 1, ("10.0.0.1", 0), ("203.0.113.9", 0));
    assert_eq!(Sockets::default().holder(&proc.procfs(), &sample), Searched::Several);
}

#[test]
fn every_network_namespace_is_searched_once() {
    let proc = FakeProc::new();
    proc.put(&Fields { pid: 101, netns: 1, ..Fields::default() });
    proc.put(&Fields { pid: 102, netns: 2, sockets: &[12], ..Fields::default() });
    proc.net(102, "udp", &[line(&hex("0.0.0.0", 99), &hex("0.0.0.0", 0), 12)]);
    let sample = sample(2, 17, ("10.0.0.1", 99), ("203.0.113.9", 53));
    assert_eq!(held(&Sockets::default().holder(&proc.procfs(), &sample)), Some(102));
}

#[test]
fn searches_are_rationed_and_counted() {
    let proc = FakeProc::new();
    proc.put(&Fields { pid: 101, ..Fields::default() });
    let mut sockets = Sockets::default();
    let mut sample = sample(2, 17, ("10.0.0.1", 99), ("203.0.113.9", 53));
    assert_eq!(sockets.holder(&proc.procfs(), &sample), Searched::Nobody);
    sample.at_ns += SEARCH_INTERVAL_NS - 1;
    assert_eq!(sockets.holder(&proc.procfs(), &sample), Searched::Later);
    sample.at_ns += 100 * SEARCH_INTERVAL_NS;
    assert_eq!(sockets.holder(&proc.procfs(), &sample), Searched::Nobody);
    assert_eq!((sockets.searches, sockets.postponed, sockets.cut), (2, 1, 0));
    sockets.expire(sample.at_ns + SEARCH_KEPT_NS + 1);
    assert!(sockets.latest.is_none());
}

#[test]
fn malformed_lines_list_no_socket() {
    for text in ["", "0:", "0: xyz 1:2", &line("0A000001", "0A000001:1", 3), &line("0:0", "0:0", 3)]
    {
        assert_eq!(parse(text, Kind::Ports(6)), None, "{text:?}");
    }
    let waiting = line(&hex("10.0.0.1", 1), &hex("10.0.0.2", 2), 0);
    assert_eq!(parse(&waiting, Kind::Ports(6)), None, "TIME_WAIT has no inode");
}

#[test]
fn a_real_socket_of_this_process_is_found() {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    let sample = sample(2, 17, ("127.0.0.1", port), ("127.0.0.1", 9));
    let answer = Sockets::default().holder(&Procfs::host(), &sample);
    assert_eq!(held(&answer), Some(std::process::id()));
}

const HERE: (&str, u16) = ("10.0.0.1", 8080);
const THERE: (&str, u16) = ("203.0.113.9", 50_000);

/// Two namespaces in each of which one process listens on port 8080.
fn two_listeners() -> FakeProc {
    let proc = FakeProc::new();
    for (pid, netns, inode) in [(101, 7, 11), (102, 8, 12)] {
        proc.put(&Fields { pid, netns, sockets: &[inode], ..Fields::default() });
        proc.net(pid, "tcp", &[line(&hex("0.0.0.0", 8080), &hex("0.0.0.0", 0), inode)]);
    }
    proc
}

fn accepted(netns_inode: u32) -> EgressSample {
    EgressSample { netns_inode, ..sample(1, 6, HERE, THERE) }
}

#[test]
fn what_two_namespaces_listen_for_on_one_port_is_accepted_by_each_in_its_own() {
    let proc = two_listeners();
    let mut sockets = Sockets::default();
    sockets.begin(&proc.procfs(), 99 * SEC);
    for (netns, expected) in [(7, Some(101)), (8, Some(102)), (9, None)] {
        assert!(sockets.is_accepted(&accepted(netns)) == expected.is_some());
        let answer = sockets.holder(&proc.procfs(), &accepted(netns));
        assert_eq!(held(&answer), expected, "{netns}");
    }
}

#[test]
fn in_a_namespace_that_is_not_told_the_connection_itself_decides_or_nothing() {
    let proc = two_listeners();
    let mut sockets = Sockets::default();
    sockets.begin(&proc.procfs(), 99 * SEC);
    assert!(sockets.is_accepted(&accepted(0)));
    let answer = sockets.holder(&proc.procfs(), &accepted(0));
    let Searched::AtItsEnd(among) = answer else { panic!("{answer:?}") };
    assert!(among.len() == 2 && among.contains(&101) && among.contains(&102));
    // A worker of the second has accepted it.
    let worker = Fields { pid: 103, netns: 8, sockets: &[13], ..Fields::default() };
    proc.put(&worker);
    let listener = line(&hex("0.0.0.0", 8080), &hex("0.0.0.0", 0), 12);
    let connection = line(&hex("10.0.0.1", 8080), &hex("203.0.113.9", 50_000), 13);
    proc.net(102, "tcp", &[listener, connection]);
    let later = EgressSample { at_ns: 102 * SEC, ..accepted(0) };
    assert_eq!(held(&sockets.holder(&proc.procfs(), &later)), Some(103));
}

/// A datagram from port 99, of a socket with this inode that these processes hold.
fn one_socket(inode: u64, holders: &[u32]) -> (FakeProc, EgressSample) {
    let proc = FakeProc::new();
    proc.put(&Fields { pid: 2, ..Fields::default() });
    for &pid in holders {
        proc.put(&Fields { pid, sockets: &[inode], ..Fields::default() });
    }
    proc.net(2, "udp", &[line(&hex("0.0.0.0", 99), &hex("0.0.0.0", 0), inode)]);
    (proc, sample(2, 17, ("10.0.0.1", 99), ("203.0.113.9", 53)))
}

#[test]
fn a_socket_that_was_passed_on_belongs_to_who_holds_it_now() {
    let (proc, mut sample) = one_socket(11, &[101]);
    let mut sockets = Sockets::default();
    sockets.begin(&proc.procfs(), 99 * SEC);
    assert_eq!(held(&sockets.holder(&proc.procfs(), &sample)), Some(101));
    proc.put(&Fields { pid: 101, ..Fields::default() });
    proc.put(&Fields { pid: 102, sockets: &[11], ..Fields::default() });
    assert_eq!(held(&sockets.holder(&proc.procfs(), &sample)), Some(102));
    // Again, before the next search is due.
    proc.put(&Fields { pid: 102, ..Fields::default() });
    proc.put(&Fields { pid: 103, sockets: &[11], ..Fields::default() });
    assert_eq!(sockets.holder(&proc.procfs(), &sample), Searched::Later);
    sample.at_ns += 2 * SEC;
    assert_eq!(held(&sockets.holder(&proc.procfs(), &sample)), Some(103));
}

#[test]
fn a_holder_that_moved_the_socket_to_another_descriptor_holds_it_still() {
    let (proc, sample) = one_socket(11, &[101]);
    let mut sockets = Sockets::default();
    sockets.begin(&proc.procfs(), 99 * SEC);
    proc.put(&Fields { pid: 101, sockets: &[8, 9, 11], ..Fields::default() });
    assert_eq!(held(&sockets.holder(&proc.procfs(), &sample)), Some(101));
    assert_eq!(sockets.searches, 0);
}

#[test]
fn a_socket_that_nobody_holds_any_more_is_its_last_holders_only_if_that_one_closed_it() {
    let (proc, sample) = one_socket(11, &[101]);
    let mut sockets = Sockets::default();
    sockets.begin(&proc.procfs(), 99 * SEC);
    proc.put(&Fields { pid: 101, ..Fields::default() });
    proc.net(2, "udp", &[]);
    assert_eq!(sockets.holder(&proc.procfs(), &sample), Searched::AtItsEnd([101].into()));
}

#[test]
fn another_socket_that_looks_like_a_closed_one_does_not_take_its_place() {
    let proc = FakeProc::new();
    proc.put(&Fields { pid: 101, sockets: &[11], ..Fields::default() });
    proc.put(&Fields { pid: 102, sockets: &[12], ..Fields::default() });
    let listener = line(&hex("0.0.0.0", 8080), &hex("0.0.0.0", 0), 12);
    let connection = line(&hex("10.0.0.1", 8080), &hex("203.0.113.9", 50_000), 11);
    proc.net(101, "tcp", &[listener.clone(), connection]);
    let mut sockets = Sockets::default();
    sockets.begin(&proc.procfs(), 99 * SEC);
    proc.put(&Fields { pid: 101, ..Fields::default() });
    proc.net(101, "tcp", &[listener]);
    assert_eq!(sockets.holder(&proc.procfs(), &accepted(0)), Searched::AtItsEnd([101].into()));
}

#[test]
fn who_held_a_socket_long_ago_is_searched_for_anew_unless_it_ran() {
    let (proc, mut sample) = one_socket(11, &[101]);
    let mut sockets = Sockets::default();
    sockets.begin(&proc.procfs(), 99 * SEC);
    sample.at_ns = 99 * SEC + SEARCH_KEPT_NS;
    sample.runner.tgid = 101;
    assert_eq!(held(&sockets.holder(&proc.procfs(), &sample)), Some(101));
    assert_eq!(sockets.searches, 0);
    // Another shares it by now.
    let other = Some(proc.path().join("other"));
    let executable = other.as_ref().and_then(|it| it.to_str());
    std::fs::write(proc.path().join("other"), "").unwrap();
    proc.put(&Fields { pid: 102, executable, sockets: &[11], ..Fields::default() });
    sample.runner.tgid = 0;
    assert_eq!(sockets.holder(&proc.procfs(), &sample), Searched::Several);
}

#[test]
fn what_several_hold_is_nobodys_unless_they_are_one_program_of_one_user_in_one_cgroup() {
    let (proc, sample) = one_socket(11, &[]);
    for name in ["server", "helper"] {
        std::fs::write(proc.path().join(name), "").unwrap();
    }
    let path = |name: &str| proc.path().join(name).to_str().unwrap().to_owned();
    let (server, helper) = (path("server"), path("helper"));
    let unit = "0::/system.slice/server.service\n";
    let first = Fields {
        pid: 101,
        uid: 33,
        executable: Some(&server),
        cgroup: unit,
        sockets: &[11],
        ..Fields::default()
    };
    let other = || Fields { pid: 102, ..Fields { sockets: &[11], ..first } };
    proc.put(&first);
    let row = line(&hex("0.0.0.0", 99), &hex("0.0.0.0", 0), 11);
    for (fields, expected) in [
        (other(), Some(101)),
        (Fields { executable: Some(&helper), ..other() }, None),
        (Fields { uid: 0, ..other() }, None),
        (Fields { cgroup: "0::/system.slice/helper.service\n", ..other() }, None),
        (Fields { executable: None, ..other() }, None),
        // Init keeps the sockets of others.
        (Fields { pid: 1, executable: Some(&helper), ..other() }, Some(101)),
    ] {
        proc.put(&fields);
        proc.net(fields.pid, "udp", std::slice::from_ref(&row));
        let answer = Sockets::default().holder(&proc.procfs(), &sample);
        assert_eq!(held(&answer), expected, "{:?}", (fields.pid, fields.executable));
        assert!(expected.is_some() || answer == Searched::Several);
        proc.remove(fields.pid);
    }
}

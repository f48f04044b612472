//! Who holds a socket that is older than the probes: `/proc/*/net/*` gives its inode,
//! `/proc/*/fd` the holder. A search is dear, so searches are rationed and answers kept.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Instant,
};

use monitor_ebpf::sample::EgressSample;
use rustc_hash::{FxHashMap, FxHashSet};

use super::procfs::Procfs;

/// At most one search in this time, and never more than a tenth of the time.
const SEARCH_INTERVAL_NS: u64 = 1_000_000_000;
const SEARCH_SHARE: u64 = 10;
/// A finished search is of use for so long.
const SEARCH_KEPT_NS: u64 = 10_000_000_000;
/// Bounds of one search; what lies beyond is not found, and the search counted as cut.
const NAMESPACES_MAX: usize = 256;
const SOCKETS_MAX: usize = 262_144;
const DESCRIPTORS_MAX: usize = 1_048_576;

/// `SOCK_RAW`.
pub(super) const RAW: u8 = 3;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
/// `IPPROTO_RAW`: the packet brings its own header, and with it any protocol.
const ANY_PROTOCOL: u8 = 255;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    /// By transport.
    Ports(u8),
    /// By protocol. What the packet leaves by tells one family from the other, as no address does.
    Raw(u8, Family),
    Ping(Family),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Family {
    V4,
    V6,
}

/// Files below `/proc/PID/net` and the sockets they list.
const FILES: [(&str, Kind); 10] = [
    ("tcp", Kind::Ports(6)),
    ("tcp6", Kind::Ports(6)),
    ("udp", Kind::Ports(17)),
    ("udp6", Kind::Ports(17)),
    ("udplite", Kind::Ports(136)),
    ("udplite6", Kind::Ports(136)),
    // The protocol stands where the others have the port.
    ("raw", Kind::Raw(0, Family::V4)),
    ("raw6", Kind::Raw(0, Family::V6)),
    ("icmp", Kind::Ping(Family::V4)),
    ("icmp6", Kind::Ping(Family::V6)),
];

/// Every unspecified address is `0.0.0.0` here: a dual-stack socket sends IPv4 from `::`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    kind: Kind,
    local: (IpAddr, u16),
    remote: (IpAddr, u16),
}

const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const NONE: (IpAddr, u16) = (ANY, 0);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    One(u32),
    /// Told apart by nothing that a packet shows.
    Several,
}

/// What a search can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// This process held the socket at that time of the boot clock.
    Held {
        tgid: u32,
        at_ns: u64,
    },
    Nobody,
    /// Several processes, told apart by nothing that a packet shows.
    Several,
    /// The next search is not due yet.
    Later,
}

/// When the next search may be.
#[derive(Debug, Default)]
pub(super) struct Ration {
    due_ns: u64,
}

impl Ration {
    pub(super) fn is_due(&self, now_ns: u64) -> bool {
        now_ns >= self.due_ns
    }

    /// After a search that began then.
    pub(super) fn spend(&mut self, began: Instant, now_ns: u64) {
        let cost_ns = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let pause_ns = SEARCH_INTERVAL_NS.max(cost_ns.saturating_mul(SEARCH_SHARE));
        self.due_ns = now_ns.saturating_add(pause_ns);
    }
}

#[derive(Debug, Default)]
pub(super) struct Sockets {
    /// Of the sockets that were there when the probes were attached, which may be closed as soon as
    /// they have spoken. Kept: every later socket has its owner with it, so nothing here gets old.
    initial: FxHashMap<Key, Holder>,
    initial_ns: u64,
    found: FxHashMap<Key, Holder>,
    searched_ns: Option<u64>,
    ration: Ration,
    pub(super) searches: u64,
    pub(super) postponed: u64,
    pub(super) cut: u64,
}

impl Sockets {
    /// Looks at all sockets once, at this time of the boot clock.
    pub(super) fn begin(&mut self, procfs: &Procfs, now_ns: u64) {
        self.search(procfs);
        self.initial = std::mem::take(&mut self.found);
        self.initial.shrink_to_fit();
        self.initial_ns = now_ns;
    }

    pub(super) fn holder(&mut self, procfs: &Procfs, sample: &EgressSample) -> Answer {
        if let Some(answer) = self.look(sample) {
            return answer;
        }
        if !self.ration.is_due(sample.at_ns) {
            self.postponed += 1;
            return Answer::Later;
        }
        self.search_at(procfs, sample.at_ns);
        self.look(sample).unwrap_or(Answer::Nobody)
    }

    pub(super) fn is_search_due(&self, now_ns: u64) -> bool {
        self.ration.is_due(now_ns)
    }

    pub(super) fn search_at(&mut self, procfs: &Procfs, now_ns: u64) {
        let began = Instant::now();
        self.searches += 1;
        self.search(procfs);
        self.ration.spend(began, now_ns);
        self.searched_ns = Some(now_ns);
    }

    /// Whether an older listener accepted this connection after the probes were attached: it was not
    /// there then, and whoever connects from this host has its owner with it.
    pub(super) fn is_accepted(&self, sample: &EgressSample) -> bool {
        const TCP: u8 = 6;
        let is_known = |key: &Key| self.initial.contains_key(key);
        match keys(sample).split_first() {
            Some((connection, listeners)) if sample.flow.transport == TCP => {
                !is_known(connection) && listeners.iter().any(is_known)
            }
            _ => false,
        }
    }

    /// Gives the memory of an old search back.
    pub(super) fn expire(&mut self, now_ns: u64) {
        if self.searched_ns.is_some_and(|at_ns| at_ns.saturating_add(SEARCH_KEPT_NS) < now_ns) {
            self.found = FxHashMap::default();
            self.searched_ns = None;
        }
    }

    /// What the searches so far say.
    pub(super) fn look(&self, sample: &EgressSample) -> Option<Answer> {
        let keys = keys(sample);
        let found =
            |among: &FxHashMap<Key, Holder>| keys.iter().find_map(|key| among.get(key).copied());
        let recent = self.searched_ns.and_then(|at_ns| Some((found(&self.found)?, at_ns)));
        let (holder, at_ns) = recent.or_else(|| Some((found(&self.initial)?, self.initial_ns)))?;
        Some(match holder {
            Holder::One(tgid) => Answer::Held { tgid, at_ns },
            Holder::Several => Answer::Several,
        })
    }

    fn search(&mut self, procfs: &Procfs) {
        let mut pids = procfs.pids().unwrap_or_default();
        pids.sort_unstable();
        let (listed, mut whole) = list(procfs, &pids);
        let mut holders: FxHashMap<u64, Option<u32>> =
            listed.iter().map(|(_, inode)| (*inode, None)).collect();
        let mut descriptors = 0;
        for &pid in &pids {
            if descriptors >= DESCRIPTORS_MAX {
                whole = false;
                break;
            }
            descriptors += procfs.sockets(pid, |inode, _| {
                if let Some(holder) = holders.get_mut(&inode) {
                    // The lowest pid is the parent as a rule; but init only keeps the sockets that
                    // it made for others.
                    let takes = holder.is_none_or(|known| known == 1);
                    *holder = if takes { Some(pid) } else { *holder };
                }
            });
        }
        self.cut += u64::from(!whole);
        self.found.clear();
        for (key, inode) in listed {
            let Some(pid) = holders.get(&inode).copied().flatten() else { continue };
            self.found
                .entry(key)
                .and_modify(|holder| {
                    if *holder != Holder::One(pid) {
                        *holder = Holder::Several;
                    }
                })
                .or_insert(Holder::One(pid));
        }
    }
}

/// Every socket of every network namespace that a process lives in, and whether none was left out.
fn list(procfs: &Procfs, pids: &[u32]) -> (Vec<(Key, u64)>, bool) {
    let mut namespaces = FxHashSet::default();
    let mut listed = Vec::new();
    for &pid in pids {
        let Some(netns) = procfs.netns(pid) else { continue };
        if namespaces.contains(&netns) {
            continue;
        }
        if namespaces.len() >= NAMESPACES_MAX {
            return (listed, false);
        }
        namespaces.insert(netns);
        for (name, kind) in FILES {
            for line in procfs.net_lines(pid, name) {
                if listed.len() >= SOCKETS_MAX {
                    return (listed, false);
                }
                listed.extend(parse(&line, kind));
            }
        }
    }
    (listed, true)
}

/// The keys under which the sample's socket may be listed, the most telling first.
fn keys(sample: &EgressSample) -> Vec<Key> {
    let transport = sample.flow.transport;
    let local = (normal(sample.local.into()), sample.local_port);
    let remote = (normal(sample.flow.remote.into()), sample.flow.remote_port);
    let is_ping = matches!(transport, ICMP | ICMPV6);
    if sample.socket_type != RAW && !is_ping {
        let kind = Kind::Ports(transport);
        let key = |local, remote| Key { kind, local, remote };
        return vec![key(local, remote), key(local, NONE), key((ANY, local.1), NONE)];
    }
    let family = if remote.0.is_ipv4() { Family::V4 } else { Family::V6 };
    let raw = [Kind::Raw(transport, family), Kind::Raw(ANY_PROTOCOL, family)];
    let kinds = match (sample.socket_type, is_ping) {
        (RAW, _) => raw.to_vec(),
        (0, true) => [&[Kind::Ping(family)], &raw[..]].concat(),
        _ => vec![Kind::Ping(family)],
    };
    let (local, remote) = ((local.0, 0), (remote.0, 0));
    let ends = [(local, remote), (NONE, remote), (local, NONE), (NONE, NONE)];
    kinds
        .into_iter()
        .flat_map(|kind| ends.map(|(local, remote)| Key { kind, local, remote }))
        .collect()
}

/// A line of `/proc/net/{tcp,udp,raw,icmp}{,6}` (proc(5)): `sl local remote st queues timer retrnsmt
/// uid timeout inode ...`, addresses in hexadecimal words of the host's byte order.
fn parse(line: &str, kind: Kind) -> Option<(Key, u64)> {
    let mut fields = line.split_ascii_whitespace();
    let local = end(fields.nth(1)?)?;
    let remote = end(fields.next()?)?;
    let inode = fields.nth(6)?.parse().ok().filter(|&inode| inode != 0)?;
    let key = match kind {
        Kind::Ports(_) => Key { kind, local, remote },
        Kind::Raw(_, family) => {
            let kind = Kind::Raw(u8::try_from(local.1).ok()?, family);
            Key { kind, local: (local.0, 0), remote: (remote.0, 0) }
        }
        Kind::Ping(_) => Key { kind, local: (local.0, 0), remote: (remote.0, 0) },
    };
    Some((key, inode))
}

fn end(text: &str) -> Option<(IpAddr, u16)> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| -> Option<[u8; 4]> {
        Some(u32::from_str_radix(address.get(at * 8..at * 8 + 8)?, 16).ok()?.to_ne_bytes())
    };
    let address = match address.len() {
        8 => IpAddr::from(word(0)?),
        32 => {
            let mut bytes = [0; 16];
            for (at, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(at)?);
            }
            normal(bytes.into())
        }
        _ => return None,
    };
    Some((address, port))
}

fn normal(address: Ipv6Addr) -> IpAddr {
    if address.is_unspecified() { ANY } else { address.to_canonical() }
}

#[cfg(test)]
mod tests {
    use super::*;
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
            let held = Answer::Held { tgid, at_ns: 100 * SEC };
            assert_eq!(sockets.holder(&proc.procfs(), &sample), held);
        }
        assert_eq!(sockets.searches, 1);
    }

    #[test]
    fn sockets_that_look_alike_are_not_told_apart() {
        let proc = FakeProc::new();
        proc.put(&Fields { pid: 101, sockets: &[11], ..Fields::default() });
        proc.put(&Fields { pid: 102, sockets: &[12], ..Fields::default() });
        let ping = |ident, inode| line(&hex("0.0.0.0", ident), &hex("0.0.0.0", 0), inode);
        proc.net(101, "icmp", &[ping(7, 11), ping(8, 12)]);
        let sample = sample(2, 1, ("10.0.0.1", 0), ("203.0.113.9", 0));
        assert_eq!(Sockets::default().holder(&proc.procfs(), &sample), Answer::Several);
    }

    #[test]
    fn every_network_namespace_is_searched_once() {
        let proc = FakeProc::new();
        proc.put(&Fields { pid: 101, netns: 1, ..Fields::default() });
        proc.put(&Fields { pid: 102, netns: 2, sockets: &[12], ..Fields::default() });
        proc.net(102, "udp", &[line(&hex("0.0.0.0", 99), &hex("0.0.0.0", 0), 12)]);
        let sample = sample(2, 17, ("10.0.0.1", 99), ("203.0.113.9", 53));
        let held = Answer::Held { tgid: 102, at_ns: 100 * SEC };
        assert_eq!(Sockets::default().holder(&proc.procfs(), &sample), held);
    }

    #[test]
    fn searches_are_rationed_and_counted() {
        let proc = FakeProc::new();
        proc.put(&Fields { pid: 101, ..Fields::default() });
        let mut sockets = Sockets::default();
        let mut sample = sample(2, 17, ("10.0.0.1", 99), ("203.0.113.9", 53));
        assert_eq!(sockets.holder(&proc.procfs(), &sample), Answer::Nobody);
        sample.at_ns += SEARCH_INTERVAL_NS - 1;
        assert_eq!(sockets.holder(&proc.procfs(), &sample), Answer::Later);
        sample.at_ns += 100 * SEARCH_INTERVAL_NS;
        assert_eq!(sockets.holder(&proc.procfs(), &sample), Answer::Nobody);
        assert_eq!((sockets.searches, sockets.postponed, sockets.cut), (2, 1, 0));
        sockets.expire(sample.at_ns + SEARCH_KEPT_NS + 1);
        assert_eq!(sockets.searched_ns, None);
    }

    #[test]
    fn malformed_lines_list_no_socket() {
        for text in
            ["", "0:", "0: xyz 1:2", &line("0A000001", "0A000001:1", 3), &line("0:0", "0:0", 3)]
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
        assert_eq!(answer, Answer::Held { tgid: std::process::id(), at_ns: 100 * SEC });
    }
}

//! The sockets that `/proc/PID/net` lists, by what a packet shows of them and by network namespace. Knows
//! nobody who holds them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use monitor_ebpf::sample::EgressSample;
use rustc_hash::FxHashSet;

use super::super::procfs::Procfs;

/// Bounds of one search; what lies beyond is not found, and the search counted as cut.
const NAMESPACES_MAX: usize = 256;
const SOCKETS_MAX: usize = 262_144;

/// `SOCK_RAW`.
pub(in super::super) const RAW: u8 = 3;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
/// `IPPROTO_RAW`: the packet brings its own header, and with it any protocol.
const ANY_PROTOCOL: u8 = 255;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// By transport.
    Ports(u8),
    /// By protocol. What the packet leaves by tells one family from the other, as no address does.
    Raw(u8, IpVersion),
    Ping(IpVersion),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum IpVersion {
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
    ("raw", Kind::Raw(0, IpVersion::V4)),
    ("raw6", Kind::Raw(0, IpVersion::V6)),
    ("icmp", Kind::Ping(IpVersion::V4)),
    ("icmp6", Kind::Ping(IpVersion::V6)),
];

/// Every unspecified address is `0.0.0.0` here: a dual-stack socket sends IPv4 from `::`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ends {
    pub(super) kind: Kind,
    local: (IpAddr, u16),
    remote: (IpAddr, u16),
}

/// Two namespaces can each have a socket with the same ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// Inode of the network namespace, of which the kernel has 32 bits.
    pub(super) netns: u32,
    pub(super) ends: Ends,
}

const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const NONE: (IpAddr, u16) = (ANY, 0);

/// What was listed.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// With the inode of each.
    pub(super) sockets: Vec<(Key, u64)>,
    pub(super) namespaces: Vec<u32>,
    /// Something was left out.
    pub(super) is_cut: bool,
}

/// Every socket of every network namespace that a process lives in.
pub(super) fn list(procfs: &Procfs, pids: &[u32]) -> Listing {
    let mut seen = FxHashSet::default();
    let mut listing = Listing::default();
    for &pid in pids {
        let netns = procfs.netns(pid).and_then(|netns| u32::try_from(netns).ok());
        let Some(netns) = netns.filter(|netns| !seen.contains(netns)) else { continue };
        if seen.len() >= NAMESPACES_MAX {
            listing.is_cut = true;
            break;
        }
        seen.insert(netns);
        for (name, kind) in FILES {
            for line in procfs.net_lines(pid, name) {
                if listing.sockets.len() >= SOCKETS_MAX {
                    listing.is_cut = true;
                    break;
                }
                let listed = parse(&line, kind);
                listing.sockets.extend(listed.map(|(ends, inode)| (Key { netns, ends }, inode)));
            }
        }
    }
    listing.namespaces.extend(seen);
    listing
}

/// The ends under which the sample's socket may be listed, the most telling first.
pub(super) fn ends(sample: &EgressSample) -> Vec<Ends> {
    let transport = sample.flow.transport;
    let local = (normal(sample.local.into()), sample.local_port);
    let remote = (normal(sample.flow.remote.into()), sample.flow.remote_port);
    let is_ping = matches!(transport, ICMP | ICMPV6);
    if sample.socket_type != RAW && !is_ping {
        let kind = Kind::Ports(transport);
        let key = |local, remote| Ends { kind, local, remote };
        return vec![key(local, remote), key(local, NONE), key((ANY, local.1), NONE)];
    }
    let family = if remote.0.is_ipv4() { IpVersion::V4 } else { IpVersion::V6 };
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
        .flat_map(|kind| ends.map(|(local, remote)| Ends { kind, local, remote }))
        .collect()
}

/// A line of `/proc/net/{tcp,udp,raw,icmp}{,6}` (proc(5)): `sl local remote st queues timer retrnsmt
/// uid timeout inode ...`, addresses in hexadecimal words of the host's byte order.
pub(super) fn parse(line: &str, kind: Kind) -> Option<(Ends, u64)> {
    let mut fields = line.split_ascii_whitespace();
    let local = end(fields.nth(1)?)?;
    let remote = end(fields.next()?)?;
    let inode = fields.nth(6)?.parse().ok().filter(|&inode| inode != 0)?;
    let ends = match kind {
        Kind::Ports(_) => Ends { kind, local, remote },
        Kind::Raw(_, family) => {
            let kind = Kind::Raw(u8::try_from(local.1).ok()?, family);
            Ends { kind, local: (local.0, 0), remote: (remote.0, 0) }
        }
        Kind::Ping(_) => Ends { kind, local: (local.0, 0), remote: (remote.0, 0) },
    };
    Some((ends, inode))
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

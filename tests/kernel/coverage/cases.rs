//! The table of ways out: what makes each, from where, and as what it must be seen.

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    Host,
    /// Another machine on the LAN, behind NAT (over IPv6, routed).
    Client,
    /// The same with an address that is not translated.
    Routed,
    /// Another network namespace of this host.
    Container,
}

impl From {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Client | Self::Routed => "LAN client",
            Self::Container => "container",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// With this origin and every byte.
    As(&'static str),
    /// With this origin; it does not reach the internet as such.
    Locally(&'static str),
    /// The packet that carries it is seen with this origin, at this address.
    Around(&'static str, &'static str),
    /// Around every hook: told with its process and every byte, but not where to.
    Unaddressed,
    /// With this origin and every byte; it does not reach the internet as IP, or not the internet.
    Within(&'static str),
    /// The same by way of a hop, with headers of so many bytes in each packet.
    ByHop(&'static str, u64),
    /// A frame in which there is no IP: with its process, every byte and this ethertype.
    Frame(&'static str),
    /// As an attempt with this origin: nothing leaves, whatever the program was told.
    Unsent(&'static str),
    /// With this origin and every byte, where it went in the end; its socket's own record is an attempt.
    Rewritten(&'static str),
}

/// What is on the way, beside the gateway of every case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    None,
    /// The container's own firewall writes `{v4}` where it says `{other}`, behind its sockets.
    Rewriting,
    /// A program at the sender's cgroup refuses whatever leaves.
    Firewall,
    /// The next hop of `{v4}` never answers.
    SilentHop,
}

#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// For the generator. `{v4}`, `{other}` and `{v6}` are the case's own addresses, in CN, US and RU;
    /// `{hop}` and `{hop6}` the digits of `{other}` and of a neighbour of `{v6}`;
    /// `{client}` is the client's, `{port}` that of a server in the internet.
    pub(crate) words: &'static str,
    pub(crate) what: &'static str,
    pub(crate) from: From,
    pub(crate) seen: Seen,
    pub(crate) has_process: bool,
    pub(crate) obstacle: Obstacle,
}

impl Case {
    const fn past(self, obstacle: Obstacle) -> Self {
        Self { obstacle, ..self }
    }
}

const fn case(
    name: &'static str,
    words: &'static str,
    what: &'static str,
    from: From,
    seen: Seen,
    has_process: bool,
) -> Case {
    Case { name, words, what, from, seen, has_process, obstacle: Obstacle::None }
}

use self::{
    From::{Client, Container, Host, Routed},
    Seen::{Around, As, ByHop, Frame, Locally, Rewritten, Unaddressed, Unsent, Within},
};

#[rustfmt::skip]
pub(crate) const CASES: &[Case] = &[
    case("tcp", "tcp-connect-send --to {v4}:{port} --bytes 20000", "TCP, connect and send", Host, As("process"), true),
    case("tcp-ipv6", "tcp-connect-send --to [{v6}]:{port} --bytes 20000", "TCP over IPv6", Host, As("process"), true),
    case("tcp-mapped", "tcp-mapped --to {v4}:{port} --bytes 20000", "TCP, an IPv6 socket to a v4-mapped address", Host, As("process"), true),
    case("tcp-abandoned", "tcp-close --to {v4}:{port} --bytes 3000", "TCP, process exits with data queued", Host, As("process"), true),
    case("tcp-refused", "tcp-refused --to {v4}:81", "TCP, nobody listens", Host, As("process"), true),
    case("tcp-fastopen", "tcp-fastopen --to {v4}:{port} --bytes 20000", "TCP Fast Open (`MSG_FASTOPEN`)", Host, As("process"), true),
    case("tcp-zerocopy", "tcp-zerocopy --to {v4}:{port} --bytes 20000", "`MSG_ZEROCOPY`", Host, As("process"), true),
    case("tcp-urgent", "tcp-urgent --to {v4}:{port} --bytes 100", "`MSG_OOB`", Host, As("process"), true),
    case("mptcp", "mptcp --to {v4}:{port} --bytes 20000", "Multipath TCP, fallen back", Host, As("process"), true),
    case("sendfile", "sendfile --to {v4}:{port} --bytes 20000", "sendfile(2)", Host, As("process"), true),
    case("splice", "splice --to {v4}:{port} --bytes 20000", "splice(2) from a pipe", Host, As("process"), true),
    case("sendfile-ipv6", "sendfile --to [{v6}]:{port} --bytes 20000", "sendfile(2) over IPv6", Host, As("process"), true),
    case("io-uring-tcp", "io-uring-tcp --to {v4}:{port} --bytes 20000", "`io_uring` connect and send", Host, As("process"), true),
    case("io-uring-tcp-sqpoll", "io-uring-tcp --sqpoll --to {v4}:{port} --bytes 20000", "`io_uring`, submitted by a kernel thread", Host, As("process"), true),
    case("accept-reply", "accept-reply --listen 10.77.0.2:0 --bytes 3000", "reply on an accepted connection", Host, As("accepted"), true),
    case("udp-sendto", "udp-sendto --to {v4}:9", "sendto(2)", Host, As("process"), true),
    case("udp-sendto-ipv6", "udp-sendto --to [{v6}]:9", "sendto(2) over IPv6", Host, As("process"), true),
    case("udp-connected", "udp-connected --to {v4}:9 --count 3", "connect(2) and send(2)", Host, As("process"), true),
    case("udp-connected-ipv6", "udp-connected --to [{v6}]:9 --count 3", "connect(2) and send(2) over IPv6", Host, As("process"), true),
    case("udp-attempt", "udp-connect-only --to {v4}:9", "connect(2) alone: an attempt", Host, As("process"), true),
    case("udp-elsewhere", "udp-elsewhere --to {v4}:9 --to {other}:9", "connected to one address, sendto(2) another", Host, As("process"), true),
    case("udp-sendmmsg", "udp-sendmmsg --to {v4}:9", "sendmmsg(2)", Host, As("process"), true),
    case("udp-sendmmsg-ipv6", "udp-sendmmsg --to [{v6}]:9", "sendmmsg(2) over IPv6", Host, As("process"), true),
    case("udp-mapped", "udp-mapped --to {v4}:9", "IPv6 socket, sendto(2) a v4-mapped address", Host, As("process"), true),
    case("udp-mapped-connected", "udp-mapped-connected --to {v4}:9", "IPv6 socket, connected to a v4-mapped address", Host, As("process"), true),
    case("udp-write", "udp-write --to {v4}:9", "write(2) on a socket", Host, As("process"), true),
    case("udp-writev", "udp-writev --to {v4}:9", "writev(2) on a socket", Host, As("process"), true),
    case("udp-cork", "udp-cork --to {v4}:9 --count 3", "`MSG_MORE`", Host, As("process"), true),
    case("udp-gso", "udp-gso --to {v4}:9 --bytes 1000 --count 10", "UDP segmentation (`UDP_SEGMENT`)", Host, As("process"), true),
    case("udp-fragments", "udp-sendto --to {v4}:9 --bytes 4000", "IPv4 fragments", Host, As("process"), true),
    case("udp-fragments-ipv6", "udp-sendto --to [{v6}]:9 --bytes 4000", "IPv6 fragments", Host, As("process"), true),
    case("udp-reconnect", "udp-reconnect --to {v4}:9 --to {v4}:10", "disconnected and connected again (`AF_UNSPEC`)", Host, As("process"), true),
    case("udp-at-device", "udp-at-device --to {v4}:9 --device wan", "`SO_BINDTODEVICE`", Host, As("process"), true),
    case("udp-ip-options", "udp-ip-options --to {v4}:9", "IPv4 options", Host, As("process"), true),
    case("udp-by-hop", "udp-ip-options --to {v4}:9 --given 830704{hop}", "IPv4 source route (LSRR) by way of an approved country", Host, ByHop("process", 36), true),
    case("udp-by-hop-ipv6", "udp-ip-options --uid 1001 --to [{v6}]:9 --given 0004040101000000{none}{hop6}", "IPv6 segments (SRv6), by a user without a capability", Host, ByHop("process", 88), true),
    case("udp-own-address", "udp-sendto --to 203.0.113.252:9", "a public address of this host, over loopback", Host, Locally("process"), true),
    case("udp-refused", "udp-dropped --to {v4}:9", "refused by a firewall's program at the cgroup: an attempt", Host, Unsent("process"), true).past(Obstacle::Firewall),
    case("udp-silent-gateway", "udp-sendto --to {v4}:9", "to a gateway that never answers ARP: an attempt", Host, Unsent("process"), true).past(Obstacle::SilentHop),
    case("udp-multicast", "udp-multicast --from 10.77.0.2 --to {v4}:9", "multicast", Host, Locally("process"), true),
    case("udp-thread", "thread-send --to {v4}:9", "socket of one thread, send of another", Host, As("process"), true),
    case("io-uring-udp", "io-uring-udp --to {v4}:9", "`io_uring` sendmsg", Host, As("process"), true),
    case("io-uring-udp-sqpoll", "io-uring-udp --sqpoll --to {v4}:9", "`io_uring` sendmsg by a kernel thread", Host, As("process"), true),
    case("io-uring-udp-worker", "io-uring-udp --by-worker --to {v4}:9", "`io_uring` sendmsg by a worker", Host, As("process"), true),
    case("ping", "ping --to {v4}", "ICMP, ping socket", Host, As("process"), true),
    case("ping-ipv6", "ping --to {v6}", "ICMPv6, ping socket", Host, As("process"), true),
    case("raw-icmp", "raw-icmp --to {v4}", "ICMP, raw socket", Host, As("process"), true),
    case("raw-icmp-ipv6", "raw-icmp --to {v6}", "ICMPv6, raw socket", Host, As("process"), true),
    case("raw-protocol", "raw-protocol --to {v4}", "raw socket, protocol 253", Host, As("process"), true),
    case("raw-protocol-ipv6", "raw-protocol --to {v6}", "raw socket, protocol 253 over IPv6", Host, As("process"), true),
    case("raw-connected", "raw-connected --to {v4}", "raw socket, connected", Host, As("process"), true),
    case("raw-hdrincl", "raw-hdrincl --to {v4}:9", "`IP_HDRINCL`", Host, As("process"), true),
    case("raw-hdrincl-lying", "raw-hdrincl-lying --to {v4}:9 --to {other}:9", "`IP_HDRINCL`, the sockaddr names another address", Host, As("process"), true),
    case("raw-fragments", "fragments-by-hand --to {v4}:9 --bytes 40", "`IP_HDRINCL`, fragments made by hand", Host, As("process"), true),
    case("raw-malformed", "raw-malformed --from 10.77.0.2 --to {v4}", "`IP_HDRINCL`, of IP version 5", Host, Within("process"), true),
    case("raw-malformed-ipv6", "raw-malformed --from fd77::2 --to {v6}", "raw socket over IPv6, options longer than the packet", Host, Within("process"), true),
    case("one-shot", "one-shot --to {v4}:9", "one datagram, then exit at once", Host, As("process"), true),
    case("fork-send-exit", "fork-send-exit --to {v4}:9", "a forked child sends and is gone", Host, As("process"), true),
    case("fork-inherited", "fork-inherited --to {v4}:9", "a child sends on its parent's socket", Host, As("process"), true),
    case("scm-rights", "scm-rights --to {v4}:9", "a child sends on a socket passed to it (`SCM_RIGHTS`)", Host, As("process"), true),
    case("daemonized", "daemonized --to {v4}:9", "forked twice, own session", Host, As("process"), true),
    case("unprivileged", "unprivileged --to {v4}:9", "after giving up root", Host, As("process"), true),
    case("exec-chain", "exec-chain --to {v4}:9", "three programs with one pid", Host, As("process"), true),
    case("packet-dgram", "packet-dgram --from 10.77.0.2 --to {v4}:9", "`AF_PACKET`, `SOCK_DGRAM`", Host, As("packet-socket"), true),
    case("packet-raw", "packet-raw --from 10.77.0.2 --to {v4}:9", "`AF_PACKET`, `SOCK_RAW`", Host, As("packet-socket"), true),
    case("packet-ring", "packet-ring --from 10.77.0.2 --to {v4}:9", "`AF_PACKET`, `PACKET_TX_RING`", Host, As("packet-socket"), true),
    case("packet-bypass", "packet-bypass --from 10.77.0.2 --to {v4}:9", "`AF_PACKET`, `PACKET_QDISC_BYPASS`: around tc", Host, Unaddressed, true),
    case("packet-vlan", "packet-raw --from 10.77.0.2 --to {v4}:9 --layers 88a8000191000002810000070800", "`AF_PACKET`, three VLAN tags", Host, Within("packet-socket"), true),
    case("packet-pppoe", "packet-raw --from 10.77.0.2 --to {v4}:9 --layers 88641100000100820021", "`AF_PACKET`, a session of PPPoE", Host, Within("packet-socket"), true),
    case("packet-mpls", "packet-raw --from 10.77.0.2 --to {v4}:9 --layers 8847000100ff000201ff", "`AF_PACKET`, labels of MPLS", Host, Within("packet-socket"), true),
    case("packet-snap", "packet-raw --from 10.77.0.2 --to {v4}:9 --layers 0088aaaa030000000800", "`AF_PACKET`, LLC and SNAP", Host, Within("packet-socket"), true),
    case("packet-frame", "packet-raw --from 10.77.0.2 --to {v4}:9 --bare --layers 88b5", "`AF_PACKET`, an ethertype of its own", Host, Frame("0x88b5"), true),
    case("packet-side", "packet-dgram --device lan0 --from 192.168.77.1 --to {v4}:9", "`AF_PACKET`, by an interface without a gateway", Host, Within("packet-socket"), true),
    case("packet-bridge", "packet-dgram --device br0 --from 172.30.0.1 --to {v4}:9", "`AF_PACKET`, by a bridge and its port", Host, Within("packet-socket"), true),
    case("xdp-transmit", "xdp-transmit --from 10.77.0.2 --to {v4}:9 --linger 4000", "`AF_XDP`: around everything", Host, Unaddressed, true),
    case("tun-inject", "tun-inject --to {v4}:9 --linger 3000", "packet written into a TUN device, forwarded", Host, As("forwarded"), false),
    case("tap-segments", "tap-segments --to {v4}:9 --bytes 10500 --linger 3000", "a guest's TCP packet for this host to cut (TAP, `VIRTIO_NET_HDR_GSO`), forwarded", Host, As("forwarded"), false),
    case("vxlan-inner", "udp-sendto --to 10.98.77.2:9", "VXLAN, the inner packet", Host, Locally("process"), true),
    case("vxlan-outer", "udp-sendto --to 10.98.77.2:10", "VXLAN, the outer packet", Host, Around("tunnel", "203.0.113.240"), false),
    case("container-udp", "udp-sendto --to {v4}:9", "container behind bridge and NAT, UDP", Container, As("process"), true),
    case("container-tcp", "tcp-connect-send --to {v4}:{port} --bytes 20000", "container behind bridge and NAT, TCP", Container, As("process"), true),
    case("container-ping", "ping --to {v4}", "container behind bridge and NAT, ICMP", Container, As("process"), true),
    case("container-rewritten", "udp-elsewhere --to {other}:9 --to {v4}:9", "container whose own nft egress rule writes another destination", Container, Rewritten("forwarded"), false).past(Obstacle::Rewriting),
    case("forwarded-udp", "udp-sendto --from {client} --to {v4}:9", "LAN client behind NAT, UDP", Client, As("forwarded"), false),
    case("forwarded-tcp", "tcp-connect-send --from {client} --to {v4}:{port} --bytes 20000", "LAN client behind NAT, TCP", Client, As("forwarded"), false),
    case("forwarded-ping", "ping --from {client} --to {v4}", "LAN client behind NAT, ICMP", Client, As("forwarded"), false),
    case("forwarded-fragments", "udp-sendto --from {client} --to {v4}:9 --bytes 4000", "LAN client behind NAT, IPv4 fragments", Client, As("forwarded"), false),
    case("forwarded-protocol", "raw-protocol --to {v4}", "LAN client behind NAT, protocol 253", Client, As("forwarded"), false),
    case("routed-udp", "udp-sendto --from {client} --to {v4}:9", "LAN client without NAT, UDP", Routed, As("forwarded"), false),
    case("routed-tcp", "tcp-connect-send --from {client} --to {v4}:{port} --bytes 20000", "LAN client without NAT, TCP", Routed, As("forwarded"), false),
    case("routed-udp-ipv6", "udp-sendto --to [{v6}]:9", "LAN client, UDP over IPv6", Client, As("forwarded"), false),
    case("routed-tcp-ipv6", "tcp-connect-send --to [{v6}]:{port} --bytes 20000", "LAN client, TCP over IPv6", Client, As("forwarded"), false),
    case("routed-malformed-ipv6", "raw-malformed --from fd77:1::5 --to {v6}", "LAN client, IPv6 options longer than the packet", Client, Within("forwarded"), false),
    case("routed-fragments-ipv6", "udp-sendto --to [{v6}]:9 --bytes 4000", "LAN client, IPv6 fragments", Client, As("forwarded"), false),
];

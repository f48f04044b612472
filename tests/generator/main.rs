//! `egress`: makes exactly one kind of egress, from its own process, and prints what it did as one
//! line of JSON. It sends only where `--to` tells it to, and knows nothing of geofenced.

mod burst;
mod calls;
mod child;
mod flood;
mod frame;
mod given;
mod hello;
mod hellos;
mod hold;
mod initial;
mod last_word;
mod link;
mod names;
mod packet;
mod quiet;
mod ring;
mod serve;
mod socket;
mod steps;
mod tcp;
mod truth;
mod udp;
mod xdp;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    process::ExitCode,
};

use clap::{Parser, ValueEnum};

use crate::truth::Truth;

const EXAMPLES: &str = "\
Examples:
  egress udp-sendto --to 203.0.113.5:9 --bytes 100
  egress udp-sendmmsg --to 203.0.113.5:9 --to 198.51.100.7:9
  egress serve-tcp --listen '[::]:8080' --count 1    (in the other namespace)
  egress tcp-connect-send --to 203.0.113.5:8080 --bytes 100000
  egress burst-new-socket --to 203.0.113.1 --to 203.0.113.2 --ports 10000-59999 --count 100000

Output: {\"kind\":..,\"pid\":..,\"executable\":..,\"flows_made\":..,\"flows\":[{\"destination\":..,
\"port\":..,\"transport\":..,\"phase\":..,\"payload_bytes\":..,\"source_port\":..}]}";

/// Make one kind of egress and print the ground truth
#[derive(Parser)]
#[command(name = "egress", after_help = EXAMPLES)]
struct Cli {
    kind: Kind,
    #[command(flatten)]
    options: Options,
}

/// What to send, and where to.
#[derive(Clone, Debug, clap::Args)]
struct Options {
    /// Destination: ADDR, ADDR:PORT or [ADDR6]:PORT; may be repeated
    #[arg(long, value_name = "ADDR[:PORT]", value_parser = parse_endpoint)]
    to: Vec<SocketAddr>,
    /// Source address to bind to
    #[arg(long, value_name = "ADDR")]
    from: Option<IpAddr>,
    /// Where servers listen
    #[arg(long, value_name = "ADDR:PORT", default_value = "[::]:0")]
    listen: SocketAddr,
    /// Payload of each message, or of the whole stream
    #[arg(long, default_value_t = 100)]
    bytes: usize,
    /// Messages of a kind that sends some, connections of a server, flows of a burst
    #[arg(long, default_value_t = 1)]
    count: u64,
    /// Destination ports of a burst, FIRST-LAST
    #[arg(long, value_parser = parse_ports, default_value = "9-9")]
    ports: RangeInclusive<u16>,
    /// Sockets that a burst uses by turns
    #[arg(long, default_value_t = 1)]
    sockets: usize,
    /// Bytes that a UDP server answers each datagram with
    #[arg(long, default_value_t = 0)]
    reply: usize,
    /// Wait for an answer before the socket of `udp-sendto` or `udp-connected` is closed
    #[arg(long)]
    await_reply: bool,
    /// Milliseconds that a TCP server keeps a connection open after its peer has closed, and that
    /// others wait before or after they send
    #[arg(long, default_value_t = 0)]
    linger: u64,
    /// Interface that packet sockets and bound sockets send by
    #[arg(long, default_value = "wan")]
    device: String,
    /// Connect the socket that a child inherits or is passed, so that the child names no address
    #[arg(long)]
    connected: bool,
    /// Keep connections open that were held and used, until standard input ends
    #[arg(long)]
    keep: bool,
    /// Hold one connection, and let a child use it that it is passed to when a line comes in
    /// (`SCM_RIGHTS`)
    #[arg(long)]
    pass: bool,
    /// Let a worker thread of `io_uring` send (`IOSQE_ASYNC`)
    #[arg(long)]
    by_worker: bool,
    /// Name to ask for, or to say hello to
    #[arg(long, default_value = "")]
    name: String,
    /// What a name server answers: NAME=ADDRESS, or NAME=NAME of an alias; may be repeated
    #[arg(long, value_parser = names::parse_entry)]
    answer: Vec<names::Entry>,
    /// Ask over TCP
    #[arg(long)]
    over_tcp: bool,
    /// Ask for an IPv6 address
    #[arg(long)]
    ipv6: bool,
    /// Answer nonsense before each answer over UDP
    #[arg(long)]
    hostile: bool,
    /// Before each answer over UDP, one that nobody asked for: to another question, or with another id
    #[arg(long, value_parser = names::parse_entry)]
    spoof: Option<names::Entry>,
    /// The same with this many ids, none of them the right one
    #[arg(long, default_value_t = 1)]
    spoofs: u16,
    /// Sizes of what is written, or of parts of a hello, at once; the last one counts for the rest
    #[arg(long, value_delimiter = ',')]
    parts: Vec<usize>,
    /// What comes before a hello
    #[arg(long)]
    preamble: Option<hellos::Preamble>,
    /// Spread a hello over records of this many bytes each
    #[arg(long)]
    records: Option<usize>,
    /// Write no more of a hello than this
    #[arg(long)]
    until: Option<usize>,
    /// Ask the second --to for this before a hello
    #[arg(long)]
    ask: Option<String>,
    /// Before the QUIC packets of a hello: the first one again, or in an unknown version, or as before
    /// a Retry; may be repeated
    #[arg(long)]
    before: Vec<hellos::Before>,
    /// What a frame of a packet socket has behind its addresses, as hexadecimal digits: its ethertype at least
    #[arg(long, default_value = "0800")]
    layers: String,
    /// No datagram in such a frame, but its payload alone
    #[arg(long)]
    bare: bool,
    /// Send as this user, without a capability
    #[arg(long)]
    uid: Option<u32>,
    /// Go on with a flood for so many seconds, whatever --count says
    #[arg(long, default_value_t = 0)]
    seconds: u64,
    /// A packet or frame as hexadecimal digits
    #[arg(long, default_value = "")]
    given: String,
    /// Let the kernel's `io_uring` thread submit
    #[arg(long)]
    sqpoll: bool,
}

impl Options {
    fn target(&self) -> io::Result<SocketAddr> {
        self.to.first().copied().ok_or_else(|| io::Error::other("this kind needs --to"))
    }

    fn payload(&self) -> Vec<u8> {
        vec![b'x'; self.bytes]
    }

    /// What to bind to for `target`: `--from` or any address of its family.
    fn source(&self, target: SocketAddr) -> SocketAddr {
        SocketAddr::new(self.from.unwrap_or_else(|| calls::unspecified(target)), 0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Connect, send, half-close, wait for the peer to close
    TcpConnectSend,
    /// Connect, send and exit at once: the kernel finishes alone
    TcpClose,
    /// Connect an IPv6 socket to `::ffff:a.b.c.d`
    TcpMapped,
    /// Connect where nobody listens
    TcpRefused,
    /// Data in the SYN, as far as the kernel lets it (`MSG_FASTOPEN`)
    TcpFastopen,
    /// sendfile(2) into a TCP socket
    Sendfile,
    /// splice(2) from a pipe into a TCP socket
    Splice,
    /// sendto(2) on an unconnected socket
    UdpSendto,
    /// connect(2) and send(2)
    UdpConnected,
    /// connect(2) alone, as getaddrinfo(3) does
    UdpConnectOnly,
    /// Connected to the second --to, sendto(2) to the first
    UdpElsewhere,
    /// sendto(2) that a firewall of this host drops
    UdpDropped,
    /// One sendmmsg(2) to each --to
    UdpSendmmsg,
    /// An IPv6 socket and sendto `::ffff:a.b.c.d`
    UdpMapped,
    /// An IPv6 socket connected to `::ffff:a.b.c.d`
    UdpMappedConnected,
    /// --count messages made one datagram (`MSG_MORE`)
    UdpCork,
    /// --count segments of --bytes each in one sendmsg (`UDP_SEGMENT`)
    UdpGso,
    /// write(2) on a connected socket
    UdpWrite,
    /// writev(2) on a connected socket
    UdpWritev,
    /// Connected to the second --to, disconnected, connected to the first
    UdpReconnect,
    /// From a socket bound to --device
    UdpAtDevice,
    /// With IPv4 options, or --given as those or as an IPv6 routing header
    UdpIpOptions,
    /// To a multicast group
    UdpMulticast,
    /// Zero-copy from user memory (`MSG_ZEROCOPY`)
    TcpZerocopy,
    /// Urgent data (`MSG_OOB`)
    TcpUrgent,
    /// Multipath TCP
    Mptcp,
    /// Socket of the main thread, send of another
    ThreadSend,
    /// A UDP message through `io_uring`
    IoUringUdp,
    /// A TCP connection and its data through `io_uring`
    IoUringTcp,
    /// Echo request of an unprivileged ping socket, v4 or v6
    Ping,
    /// Echo request of a raw socket, v4 or v6
    RawIcmp,
    /// A raw packet of protocol 253 (RFC 3692), v4 or v6
    RawProtocol,
    /// A UDP packet with an IP header of its own making
    RawHdrincl,
    /// The same, but the sockaddr names the second --to
    RawHdrinclLying,
    /// A packet whose IP headers nobody can read, v4 or v6
    RawMalformed,
    /// A raw socket that is connected
    RawConnected,
    /// A packet socket, without link header
    PacketDgram,
    /// A packet socket, with a link header of --layers
    PacketRaw,
    /// A packet socket that sends past the queues
    PacketBypass,
    /// A packet socket's transmit ring
    PacketRing,
    /// The transmit ring of an `AF_XDP` socket
    XdpTransmit,
    /// A packet written into a TUN device
    TunInject,
    /// The IP packet --given, routed by --to
    GivenPacket,
    /// The frame --given
    GivenFrame,
    /// Packets and frames of files, whose names come in: `frame HEX` or `ADDRESS HEX` a line
    GivenLines,
    /// Listen, accept one connection, answer --bytes
    AcceptReply,
    /// Listen, fork; the child accepts and answers
    PreforkReply,
    /// Truth first, then one datagram and `_exit` in the same breath
    OneShot,
    /// A forked child sends one datagram and is gone
    ForkSendExit,
    /// A forked child sends on the socket of its parent
    ForkInherited,
    /// Forked twice, in a session of its own
    Daemonized,
    /// As nobody, after giving up root
    Unprivileged,
    /// A child sends on a socket that was passed to it (`SCM_RIGHTS`)
    ScmRights,
    /// exec a shell that execs this program, which sends
    ExecChain,
    /// Unix stream pair: not egress
    UnixStream,
    /// Unix datagram pair: not egress
    UnixDgram,
    /// A netlink request: not egress
    Netlink,
    /// --count datagrams, each to another address or port, from --sockets sockets, which --keep leaves
    /// open until a line comes in
    BurstOneSocket,
    /// --count datagrams, a new socket each
    BurstNewSocket,
    /// --count TCP connections with --bytes each, spread over --to
    BurstTcp,
    /// --count connects of one TCP socket, each to another address or port from --to on, which must be
    /// a group: no packet leaves
    FloodAttempts,
    /// --count datagrams of one socket, each to another address or port from --to on; says when a tenth
    /// is sent; with --keep the last 2000 again and again
    FloodUdp,
    /// --count TCP connections that say nothing, each that is closed made again with --seconds
    FloodConnections,
    /// --count connections, used when a line comes in
    HoldTcp,
    /// --count connected sockets, used when a line comes in
    HoldUdp,
    /// One connection, --bytes on it each time that a line comes in, until standard input ends
    StepsTcp,
    /// The same with datagrams
    StepsUdp,
    /// Accept --count connections, answer when a line comes in
    HoldAccepted,
    /// --count ping sockets, used when a line comes in
    HoldPing,
    /// --count raw sockets of protocol 253, used when a line comes in
    HoldRaw,
    /// Peer: --count connections, read to their ends
    HoldReaders,
    /// Peer: take --count connections and read them to their end
    ServeTcp,
    /// Peer: take --count datagrams
    ServeUdp,
    /// Peer: connect and read to the end
    ConnectAndRead,
    /// Peer: a name server, over UDP and TCP
    ServeDns,
    /// Ask a name server for --name and send a datagram to what it answers
    ResolveSend,
    /// A TLS `ClientHello` for --name
    TlsHello,
    /// QUIC Initial packets for --name
    QuicInitial,
    /// A datagram in two fragments that a raw socket makes
    FragmentsByHand,
    /// A TCP packet of --bytes from a guest behind a TAP device, for this host to cut
    TapSegments,
}

fn make(kind: Kind, options: &Options) -> io::Result<Truth> {
    match kind {
        Kind::TcpConnectSend => tcp::connect_send(options, tcp::Ending::Waited),
        Kind::TcpClose => tcp::connect_send(options, tcp::Ending::Abandoned),
        Kind::TcpMapped => tcp::mapped(options),
        Kind::TcpRefused => tcp::refused(options),
        Kind::TcpFastopen => tcp::fastopen(options),
        Kind::Sendfile => tcp::sendfile(options),
        Kind::Splice => tcp::splice(options),
        Kind::UdpSendto => udp::sendto(options),
        Kind::UdpConnected => udp::connected(options),
        Kind::UdpConnectOnly => udp::connect_only(options),
        Kind::UdpElsewhere => udp::elsewhere(options),
        Kind::UdpDropped => udp::dropped(options),
        Kind::UdpSendmmsg => udp::sendmmsg(options),
        Kind::UdpMapped => udp::mapped(options),
        Kind::UdpMappedConnected => udp::mapped_connected(options),
        Kind::UdpCork => udp::cork(options),
        Kind::UdpGso => udp::gso(options),
        Kind::UdpWrite | Kind::UdpWritev => udp::written(options, kind == Kind::UdpWritev),
        Kind::UdpReconnect => udp::reconnected(options),
        Kind::UdpAtDevice => udp::at_device(options),
        Kind::UdpIpOptions => udp::with_options(options),
        Kind::UdpMulticast => link::multicast(options),
        Kind::TcpZerocopy => tcp::flagged(options, Some(libc::SO_ZEROCOPY), libc::MSG_ZEROCOPY),
        Kind::TcpUrgent => tcp::flagged(options, None, libc::MSG_OOB),
        Kind::Mptcp => tcp::multipath(options),
        Kind::RawConnected => packet::connected(options),
        Kind::PacketDgram | Kind::PacketRaw | Kind::PacketBypass => link::packet(options, kind),
        Kind::PacketRing => link::transmit_ring(options),
        Kind::XdpTransmit => xdp::transmit(options),
        Kind::TunInject => link::tun_inject(options),
        Kind::GivenPacket | Kind::GivenFrame | Kind::GivenLines => given::send(options, kind),
        Kind::PreforkReply => serve::prefork_reply(options),
        Kind::Daemonized => child::daemonized(options),
        Kind::Unprivileged => child::unprivileged(options),
        Kind::ThreadSend => udp::from_thread(options),
        Kind::IoUringUdp => ring::udp(options),
        Kind::IoUringTcp => ring::tcp(options),
        Kind::Ping => packet::ping(options),
        Kind::RawIcmp => packet::icmp(options),
        Kind::RawProtocol => packet::protocol(options),
        Kind::RawHdrincl | Kind::RawHdrinclLying => packet::own_header(options),
        Kind::RawMalformed => packet::malformed(options),
        Kind::AcceptReply => serve::accept_reply(options),
        Kind::OneShot => child::one_shot(options),
        Kind::ForkSendExit => child::fork_send_exit(options),
        Kind::ForkInherited => child::fork_inherited(options),
        Kind::ScmRights => child::scm_rights(options),
        Kind::ExecChain => child::exec_chain(options),
        Kind::UnixStream | Kind::UnixDgram => quiet::unix(options, kind == Kind::UnixStream),
        Kind::Netlink => quiet::netlink(),
        Kind::BurstOneSocket => burst::shared_sockets(options),
        Kind::BurstNewSocket => burst::new_socket(options),
        Kind::BurstTcp => burst::tcp(options),
        Kind::FloodAttempts | Kind::FloodConnections | Kind::FloodUdp => flood::make(kind, options),
        Kind::HoldTcp | Kind::HoldUdp => hold::make(options, kind == Kind::HoldTcp),
        Kind::StepsTcp | Kind::StepsUdp => steps::make(options, kind == Kind::StepsTcp),
        Kind::HoldAccepted => hold::accepted(options),
        Kind::HoldPing | Kind::HoldRaw => packet::held(options, kind == Kind::HoldPing),
        Kind::HoldReaders => hold::readers(options),
        Kind::ServeTcp => serve::tcp(options),
        Kind::ServeUdp => serve::udp(options),
        Kind::ConnectAndRead => serve::connect_and_read(options),
        Kind::ServeDns => names::serve(options),
        Kind::ResolveSend => names::resolve_send(options),
        Kind::FragmentsByHand | Kind::TapSegments => last_word::make(kind, options),
        Kind::TlsHello | Kind::QuicInitial => hellos::make(kind, options),
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let user = cli.options.uid.map_or(Ok(()), child::become_user);
    match user.and_then(|()| make(cli.kind, &cli.options)) {
        Ok(truth) => {
            truth.print(cli.kind);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("egress: {}: {error}", truth::name(cli.kind));
            ExitCode::FAILURE
        }
    }
}

fn parse_endpoint(text: &str) -> Result<SocketAddr, String> {
    let with_port = text.parse::<SocketAddr>().ok();
    let bare = || text.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, 0));
    with_port.or_else(bare).ok_or_else(|| format!("`{text}` is no address with or without a port"))
}

fn parse_ports(text: &str) -> Result<RangeInclusive<u16>, String> {
    let range = text.split_once('-').and_then(|(first, last)| {
        let range = first.parse::<u16>().ok()?..=last.parse::<u16>().ok()?;
        (!range.is_empty()).then_some(range)
    });
    range.ok_or_else(|| format!("`{text}` is no range of ports such as 1000-1999"))
}

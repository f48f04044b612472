//! What leaves without TCP or UDP: ping sockets and raw sockets.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use crate::{
    Options, calls, hold,
    socket::Socket,
    truth::{Flow, Truth},
};

/// For experiments (RFC 3692).
const EXPERIMENTAL: i32 = 253;
const UDP_HEADER_BYTES: usize = 8;
const IPV4_HEADER_BYTES: usize = 20;

/// Protocol, its name, and the type of an echo request.
fn echo(to: SocketAddr) -> (i32, &'static str, u8) {
    if to.is_ipv4() {
        (libc::IPPROTO_ICMP, "icmp", 8)
    } else {
        (libc::IPPROTO_ICMPV6, "ipv6-icmp", 128)
    }
}

/// An echo request with the payload; 8 bytes of header come before it.
fn echo_request(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0, 0x12, 0x34, 0, 1];
    message.extend_from_slice(payload);
    let sum = checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

/// The Internet checksum (RFC 1071).
pub(crate) fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |b| u32::from(*b)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn without_port(to: SocketAddr) -> SocketAddr {
    SocketAddr::new(to.ip(), 0)
}

fn send_echo(options: &Options, socket_kind: i32) -> io::Result<Truth> {
    let to = without_port(options.target()?);
    let (protocol, name, request) = echo(to);
    let socket = Socket::open(calls::domain(to), socket_kind, protocol)?;
    if let Some(from) = options.from {
        socket.bind(SocketAddr::new(from, 0))?;
    }
    socket.send_to(&echo_request(request, &options.payload()), 0, to)?;
    Ok(Truth::of(vec![Flow::sent(to, name, options.bytes)]))
}

pub(crate) fn ping(options: &Options) -> io::Result<Truth> {
    send_echo(options, libc::SOCK_DGRAM)
}

pub(crate) fn icmp(options: &Options) -> io::Result<Truth> {
    send_echo(options, libc::SOCK_RAW)
}

pub(crate) fn protocol(options: &Options) -> io::Result<Truth> {
    let to = without_port(options.target()?);
    let socket = Socket::open(calls::domain(to), libc::SOCK_RAW, EXPERIMENTAL)?;
    socket.send_to(&options.payload(), 0, to)?;
    Ok(Truth::of(vec![Flow::sent(to, "253", options.bytes)]))
}

/// Opens `--count` sockets, waits for a word, sends on each, and keeps them.
pub(crate) fn held(options: &Options, is_ping: bool) -> io::Result<Truth> {
    let to = without_port(options.target()?);
    let (protocol, name, request) = echo(to);
    let (kind, protocol, name, message) = if is_ping {
        (libc::SOCK_DGRAM, protocol, name, echo_request(request, &options.payload()))
    } else {
        (libc::SOCK_RAW, EXPERIMENTAL, "253", options.payload())
    };
    let open = |_| Socket::open(calls::domain(to), kind, protocol);
    let sockets: Vec<Socket> = (0..options.count).map(open).collect::<io::Result<_>>()?;
    hold::wait_to_send()?;
    let mut flows = Vec::new();
    for socket in &sockets {
        socket.send_to(&message, 0, to)?;
        flows.push(Flow::sent(to, name, options.bytes));
    }
    hold::wait_for_the_end()?;
    Ok(Truth::of(flows))
}

/// connect(2) on a raw socket, which no address hook sees.
pub(crate) fn connected(options: &Options) -> io::Result<Truth> {
    let to = without_port(options.target()?);
    let socket = Socket::open(calls::domain(to), libc::SOCK_RAW, EXPERIMENTAL)?;
    socket.connect(to)?;
    socket.send(&options.payload(), 0)?;
    Ok(Truth::of(vec![Flow::sent(to, "253", options.bytes)]))
}

/// `lying`: the sockaddr, by which the packet is routed, names another address than the header.
pub(crate) fn own_header(options: &Options) -> io::Result<Truth> {
    let to = options.target()?;
    let IpAddr::V4(address) = to.ip() else {
        return Err(io::Error::other("only IPv4 headers are made here"));
    };
    // The sockaddr lies where there is a second address.
    let routed = *options.to.get(1).unwrap_or(&to);
    let payload = options.payload();
    let udp_bytes = UDP_HEADER_BYTES + payload.len();
    let source_port: u16 = 40_000;
    // The kernel fills in length, id, checksum and, being zero, the source (raw(7)).
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, libc::IPPROTO_UDP as u8, 0, 0, 0, 0, 0, 0];
    packet.extend_from_slice(&address.octets());
    debug_assert_eq!(packet.len(), IPV4_HEADER_BYTES);
    packet.extend_from_slice(&source_port.to_be_bytes());
    packet.extend_from_slice(&to.port().to_be_bytes());
    packet.extend_from_slice(&(udp_bytes as u16).to_be_bytes());
    // No checksum (RFC 768).
    packet.extend_from_slice(&[0, 0]);
    packet.extend_from_slice(&payload);
    let socket = Socket::open(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_RAW)?;
    socket.send_to(&packet, 0, without_port(routed))?;
    let flow = Flow::sent(to, "udp", options.bytes);
    Ok(Truth::of(vec![Flow { source_port: Some(source_port), ..flow }]))
}

/// A packet whose headers nobody can read, from --from: IPv4 of version 5, IPv6 with destination options that
/// are longer than the packet. What is not an IPv4 and a UDP header counts as payload.
pub(crate) fn malformed(options: &Options) -> io::Result<Truth> {
    const DESTINATION_OPTIONS: u8 = 60;
    let to = without_port(options.target()?);
    let (mut packet, transport) = match (options.from, to.ip()) {
        (Some(IpAddr::V4(from)), IpAddr::V4(to)) => {
            let mut packet = vec![0x55, 0, 0, 0, 0, 0, 0, 0, 64, libc::IPPROTO_UDP as u8, 0, 0];
            packet.extend_from_slice(&from.octets());
            packet.extend_from_slice(&to.octets());
            (packet, "udp")
        }
        (Some(IpAddr::V6(from)), IpAddr::V6(to)) => {
            let bytes = options.bytes as u16 + UDP_HEADER_BYTES as u16;
            let mut packet = vec![0x60, 0, 0, 0];
            packet.extend_from_slice(&bytes.to_be_bytes());
            packet.extend_from_slice(&[DESTINATION_OPTIONS, 64]);
            packet.extend_from_slice(&from.octets());
            packet.extend_from_slice(&to.octets());
            (packet, "60")
        }
        _ => return Err(io::Error::other("this kind needs --from, an address like that of --to")),
    };
    // As an extension header: UDP follows, after 2048 bytes.
    packet.extend_from_slice(&[libc::IPPROTO_UDP as u8, 255, 0, 0, 0, 0, 0, 0]);
    packet.extend_from_slice(&options.payload());
    let socket = Socket::open(calls::domain(to), libc::SOCK_RAW, libc::IPPROTO_RAW)?;
    socket.send_to(&packet, 0, to)?;
    let payload_bytes = packet.len() - IPV4_HEADER_BYTES - UDP_HEADER_BYTES;
    Ok(Truth::of(vec![Flow::sent(to, transport, payload_bytes)]))
}

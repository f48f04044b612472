//! Packets and frames byte for byte as they were given, by the raw or packet socket that takes them.
//! Knows nothing of what they are.

use std::{
    fs,
    io::{self, BufRead},
    net::SocketAddr,
};

use crate::{Kind, Options, calls, link, socket::Socket, truth::Truth};

/// Bytes of hexadecimal digits.
pub(crate) fn bytes(digits: &str) -> io::Result<Vec<u8>> {
    let byte = |two: &[u8]| {
        let two = std::str::from_utf8(two).map_err(io::Error::other)?;
        u8::from_str_radix(two, 16).map_err(io::Error::other)
    };
    digits.as_bytes().chunks(2).map(byte).collect()
}

pub(crate) fn send(options: &Options, kind: Kind) -> io::Result<Truth> {
    match kind {
        Kind::GivenPacket => packet(options),
        Kind::GivenFrame => frame(options),
        _ => lines(options),
    }
}

/// One IP packet to --to, by which the kernel routes it, with its header.
fn packet(options: &Options) -> io::Result<Truth> {
    let to = options.target()?;
    let packet = bytes(&options.given)?;
    let socket = raw(to)?;
    for _ in 0..options.count {
        socket.send_to(&packet, 0, SocketAddr::new(to.ip(), 0))?;
    }
    Ok(Truth::made(options.count))
}

/// A socket whose packets come with their headers: `IPPROTO_RAW` says so for both families.
fn raw(to: SocketAddr) -> io::Result<Socket> {
    Socket::open(calls::domain(to), libc::SOCK_RAW, libc::IPPROTO_RAW)
}

/// Frames by --device, with their link headers.
fn frame(options: &Options) -> io::Result<Truth> {
    let frame = bytes(&options.given)?;
    let socket = Socket::open(libc::AF_PACKET, libc::SOCK_RAW, 0)?;
    let to = link::link_address(options)?;
    for _ in 0..options.count {
        link::send(&socket, &frame, &to)?;
    }
    Ok(Truth::made(options.count))
}

/// What stands in a file, a line each: `frame HEX`, or `ADDRESS HEX` of a packet that is routed by that
/// address. A file is sent when its name comes in. Tells how many the kernel took of all.
fn lines(options: &Options) -> io::Result<Truth> {
    let link = Socket::open(libc::AF_PACKET, libc::SOCK_RAW, 0)?;
    let by = link::link_address(options)?;
    let (four, six) =
        (raw(SocketAddr::from(([0; 4], 0)))?, raw(SocketAddr::from(([0_u16; 8], 0)))?);
    let mut taken = 0;
    for name in io::stdin().lock().lines() {
        for line in fs::read_to_string(name?)?.lines() {
            let (to, digits) = line.split_once(' ').ok_or_else(|| io::Error::other("no line"))?;
            let bytes = bytes(digits)?;
            let sent = match to {
                "frame" => link::send(&link, &bytes, &by),
                to => {
                    let to: std::net::IpAddr = to.parse().map_err(io::Error::other)?;
                    let socket = if to.is_ipv4() { &four } else { &six };
                    socket.send_to(&bytes, 0, SocketAddr::new(to, 0)).map(|_| ())
                }
            };
            taken += u64::from(sent.is_ok());
        }
        crate::truth::holding();
    }
    Ok(Truth::made(taken))
}

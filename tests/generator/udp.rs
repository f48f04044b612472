//! UDP in its ways of sending.

use std::{
    io, iter, mem,
    net::{SocketAddr, UdpSocket},
    os::fd::AsRawFd,
    thread,
};

use crate::{
    Options, calls, given,
    socket::{self, Address, check, length},
    truth::{Flow, Truth},
};

/// A socket bound for `to`, so that its port is known before anything is sent.
pub(crate) fn bound(options: &Options, to: SocketAddr) -> io::Result<UdpSocket> {
    UdpSocket::bind(options.source(to))
}

fn truth(socket: &UdpSocket, to: SocketAddr, payload: usize) -> io::Result<Truth> {
    Ok(Truth::of(vec![Flow::sent(to, "udp", payload).from(socket.local_addr()?)]))
}

/// `--count` messages of `--bytes`.
fn send_all(options: &Options, mut send: impl FnMut(&[u8]) -> io::Result<usize>) -> io::Result<()> {
    let payload = options.payload();
    (0..options.count).try_for_each(|_| send(&payload).map(drop))
}

fn total(options: &Options) -> usize {
    options.bytes * options.count as usize
}

pub(crate) fn sendto(options: &Options) -> io::Result<Truth> {
    let to = options.target()?;
    let socket = bound(options, to)?;
    send_all(options, |payload| socket.send_to(payload, to))?;
    if options.await_reply {
        socket.recv(&mut [0; 1])?;
    }
    truth(&socket, to, total(options))
}

pub(crate) fn connected(options: &Options) -> io::Result<Truth> {
    let to = options.target()?;
    let socket = bound(options, to)?;
    socket.connect(to)?;
    send_all(options, |payload| socket.send(payload))?;
    if options.await_reply {
        socket.recv(&mut [0; 1])?;
    }
    truth(&socket, to, total(options))
}

/// write(2), or writev(2) in two parts.
pub(crate) fn written(options: &Options, in_parts: bool) -> io::Result<Truth> {
    let to = options.target()?;
    let socket = bound(options, to)?;
    socket.connect(to)?;
    let payload = options.payload();
    let (first, second) =
        payload.split_at(if in_parts { payload.len() / 2 } else { payload.len() });
    let part = |bytes: &[u8]| libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    let parts = [part(first), part(second)];
    let fd = socket.as_raw_fd();
    let sent = if in_parts {
        // SAFETY: both parts describe live slices.
        unsafe { libc::writev(fd, parts.as_ptr(), 2) }
    } else {
        // SAFETY: pointer and length describe one live slice.
        unsafe { libc::write(fd, payload.as_ptr().cast(), payload.len()) }
    };
    length(sent)?;
    truth(&socket, to, options.bytes)
}

/// Connected to the second --to first, then to nobody, then to the first.
pub(crate) fn reconnected(options: &Options) -> io::Result<Truth> {
    let to = options.target()?;
    let before = *options.to.get(1).ok_or_else(|| io::Error::other("needs a second --to"))?;
    let socket = bound(options, to)?;
    let payload = options.payload();
    let mut flows = Vec::new();
    for to in [before, to] {
        socket.connect(to)?;
        socket.send(&payload)?;
        flows.push(Flow::sent(to, "udp", payload.len()).from(socket.local_addr()?));
        socket::Socket::disconnect(socket.as_raw_fd())?;
    }
    Ok(Truth::of(flows))
}

/// Bound to --device (`SO_BINDTODEVICE`).
pub(crate) fn at_device(options: &Options) -> io::Result<Truth> {
    let to = options.target()?;
    let socket = bound(options, to)?;
    let name = options.device.as_bytes();
    let (fd, option) = (socket.as_raw_fd(), libc::SO_BINDTODEVICE);
    let (value, len) = (name.as_ptr().cast(), name.len() as libc::socklen_t);
    // SAFETY: pointer and length describe one live name.
    check(unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, option, value, len) })?;
    socket.send_to(&options.payload(), to)?;
    truth(&socket, to, options.bytes)
}

/// With --given as IPv4 options or as an IPv6 routing header; else with one that makes the header longer and
/// leads nowhere (record route).
pub(crate) fn with_options(options: &Options) -> io::Result<Truth> {
    const RECORD_ROUTE: [u8; 8] = [7, 7, 4, 0, 0, 0, 0, 0];
    let to = options.target()?;
    let socket = bound(options, to)?;
    let given = given::bytes(&options.given)?;
    let header = if given.is_empty() { RECORD_ROUTE.as_slice() } else { &given };
    let (level, option) = if to.is_ipv4() {
        (libc::IPPROTO_IP, libc::IP_OPTIONS)
    } else {
        (libc::IPPROTO_IPV6, libc::IPV6_RTHDR)
    };
    let (value, len) = (header.as_ptr().cast(), header.len() as libc::socklen_t);
    // SAFETY: pointer and length describe one live array.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, value, len) })?;
    send_all(options, |payload| socket.send_to(payload, to))?;
    truth(&socket, to, total(options))
}

pub(crate) fn connect_only(options: &Options) -> io::Result<Truth> {
    let to = options.target()?;
    let socket = bound(options, to)?;
    socket.connect(to)?;
    Ok(Truth::of(vec![Flow::sent(to, "udp", 0).from(socket.local_addr()?).attempt()]))
}

/// The address it is connected to gets nothing: an attempt.
pub(crate) fn elsewhere(options: &Options) -> io::Result<Truth> {
    let to = options.target()?;
    let connected = *options.to.get(1).ok_or_else(|| io::Error::other("needs a second --to"))?;
    let socket = bound(options, to)?;
    socket.connect(connected)?;
    let payload = options.payload();
    let address = Address::from(to);
    let (fd, data) = (socket.as_raw_fd(), payload.as_ptr().cast());
    // std's send_to would do, but its documentation promises nothing for connected sockets.
    // SAFETY: both pointers and lengths describe live values.
    let sent = unsafe { libc::sendto(fd, data, payload.len(), 0, address.as_ptr(), address.len()) };
    length(sent)?;
    let local = socket.local_addr()?;
    Ok(Truth::of(vec![
        Flow::sent(to, "udp", options.bytes).from(local),
        Flow::sent(connected, "udp", 0).from(local).attempt(),
    ]))
}

/// The kernel says so: what netfilter drops on its way out is not permitted.
pub(crate) fn dropped(options: &Options) -> io::Result<Truth> {
    let to = options.target()?;
    let socket = bound(options, to)?;
    match socket.send_to(&options.payload(), to) {
        Ok(_) => Err(io::Error::other("no firewall dropped it")),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Ok(Truth::of(vec![Flow::sent(to, "udp", 0).from(socket.local_addr()?).attempt()]))
        }
        Err(error) => Err(error),
    }
}

pub(crate) fn sendmmsg(options: &Options) -> io::Result<Truth> {
    let to = options.target()?;
    let socket = bound(options, to)?;
    let mut payload = options.payload();
    let addresses: Vec<Address> = options.to.iter().map(|to| Address::from(*to)).collect();
    let base = payload.as_mut_ptr().cast();
    let mut part = libc::iovec { iov_base: base, iov_len: payload.len() };
    let mut messages: Vec<libc::mmsghdr> = addresses
        .iter()
        .map(|address| {
            // SAFETY: all zeros is a valid, empty mmsghdr.
            let mut message: libc::mmsghdr = unsafe { mem::zeroed() };
            message.msg_hdr.msg_name = address.as_ptr().cast_mut().cast();
            message.msg_hdr.msg_namelen = address.len();
            message.msg_hdr.msg_iov = &raw mut part;
            message.msg_hdr.msg_iovlen = 1;
            message
        })
        .collect();
    let (fd, many) = (socket.as_raw_fd(), messages.len() as u32);
    // SAFETY: the messages point to addresses and a payload that live to the end of this function.
    let sent = check(unsafe { libc::sendmmsg(fd, messages.as_mut_ptr(), many, 0) })?;
    if sent.cast_unsigned() != many {
        return Err(io::Error::other(format!("sendmmsg sent {sent} of {many}")));
    }
    let local = socket.local_addr()?;
    let flow = |to: &SocketAddr| Flow::sent(*to, "udp", options.bytes).from(local);
    Ok(Truth::of(options.to.iter().map(flow).collect()))
}

pub(crate) fn mapped(options: &Options) -> io::Result<Truth> {
    let to = calls::mapped(options.target()?);
    let socket = bound(options, to)?;
    send_all(options, |payload| socket.send_to(payload, to))?;
    truth(&socket, to, total(options))
}

pub(crate) fn mapped_connected(options: &Options) -> io::Result<Truth> {
    let to = calls::mapped(options.target()?);
    let socket = bound(options, to)?;
    socket.connect(to)?;
    send_all(options, |payload| socket.send(payload))?;
    truth(&socket, to, total(options))
}

pub(crate) fn cork(options: &Options) -> io::Result<Truth> {
    let to = options.target()?;
    let socket = bound(options, to)?;
    socket.connect(to)?;
    let payload = options.payload();
    let more = iter::repeat_n(libc::MSG_MORE, options.count.saturating_sub(1) as usize);
    for flags in more.chain([0]) {
        let (fd, data) = (socket.as_raw_fd(), payload.as_ptr().cast());
        // SAFETY: pointer and length describe one live slice.
        length(unsafe { libc::send(fd, data, payload.len(), flags) })?;
    }
    truth(&socket, to, total(options))
}

pub(crate) fn gso(options: &Options) -> io::Result<Truth> {
    let to = options.target()?;
    let socket = bound(options, to)?;
    let segment = i32::try_from(options.bytes).map_err(io::Error::other)?;
    calls::set_option(socket.as_raw_fd(), libc::SOL_UDP, libc::UDP_SEGMENT, segment)?;
    socket.send_to(&vec![b'x'; total(options)], to)?;
    truth(&socket, to, total(options))
}

pub(crate) fn from_thread(options: &Options) -> io::Result<Truth> {
    let to = options.target()?;
    let socket = bound(options, to)?;
    let payload = options.payload();
    thread::scope(|scope| {
        let sender = scope.spawn(|| socket.send_to(&payload, to));
        sender.join().map_err(|_| io::Error::other("the sending thread panicked"))?
    })?;
    truth(&socket, to, options.bytes)
}

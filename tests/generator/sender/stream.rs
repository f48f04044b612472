//! What goes over connections: TCP, Multipath TCP, and segments that only look like a connection's.

use std::{
    io::{self, Read},
    net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream},
    os::fd::{AsRawFd, OwnedFd},
    thread,
    time::Duration,
};

use serde_json::json;

use crate::{
    say,
    socket::{self, Socket, check},
};

const TCP_HEADER_BYTES: usize = 20;
const ACK: u8 = 0x10;
/// `SOL_MPTCP`, `MPTCP_INFO` (`include/uapi/linux/mptcp.h`).
const MULTIPATH: i32 = 284;
const MULTIPATH_INFO: i32 = 1;

fn anywhere(port: u16) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port)
}

/// From this port, or from any where it is 0.
pub(crate) fn tcp(port: u16, to: SocketAddr) -> io::Result<OwnedFd> {
    let socket = Socket::open(libc::AF_INET, libc::SOCK_STREAM, 0)?;
    socket.bind(anywhere(port))?;
    socket.connect(to)?;
    Ok(socket.into_fd())
}

pub(crate) fn multipath(to: SocketAddr) -> io::Result<OwnedFd> {
    let socket = Socket::open(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_MPTCP)?;
    socket.connect(to)?;
    Ok(socket.into_fd())
}

/// Takes one connection; the listener is closed.
pub(crate) fn accept(at: SocketAddr) -> io::Result<OwnedFd> {
    let listener = TcpListener::bind(at)?;
    say(&json!({ "listening": listener.local_addr()?.to_string() }))?;
    Ok(listener.accept()?.0.into())
}

/// Takes one connection over many paths and reads it to its end.
pub(crate) fn multipath_sink(at: SocketAddr) -> io::Result<()> {
    let socket = Socket::open(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_MPTCP)?;
    socket.bind(at)?;
    // SAFETY: listen(2) takes no pointers.
    check(unsafe { libc::listen(socket.raw(), 8) })?;
    let listener = TcpListener::from(socket.into_fd());
    say(&json!({ "listening": listener.local_addr()?.to_string() }))?;
    io::copy(&mut listener.accept()?.0, &mut io::sink()).map(drop)
}

/// Until the kernel has opened one more path for this connection.
pub(crate) fn wait_for_a_second_path(socket: &OwnedFd) -> io::Result<()> {
    for _ in 0..6000 {
        // The first byte is the number of paths beside the first one.
        let mut info = [0_u8; 64];
        let mut len = info.len() as libc::socklen_t;
        let (fd, into) = (socket.as_raw_fd(), info.as_mut_ptr().cast());
        // SAFETY: pointer and length describe one live array.
        check(unsafe { libc::getsockopt(fd, MULTIPATH, MULTIPATH_INFO, into, &raw mut len) })?;
        if info[0] > 0 {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(10));
    }
    Err(io::Error::other("no second path came"))
}

/// write(2), whole: on what is connected.
pub(crate) fn write(socket: &OwnedFd, bytes: usize) -> io::Result<()> {
    let payload = vec![b'x'; bytes];
    let mut rest = payload.as_slice();
    while !rest.is_empty() {
        let written = rustix::io::write(socket, rest)?;
        rest = &rest[written..];
    }
    Ok(())
}

/// Half-closes and waits for the peer to close.
pub(crate) fn finish(socket: &OwnedFd) -> io::Result<()> {
    let mut stream = TcpStream::from(socket.try_clone()?);
    stream.shutdown(Shutdown::Write)?;
    stream.read_to_end(&mut Vec::new()).map(drop)
}

/// TCP segments of no connection, from a raw socket.
pub(crate) fn raw_segments(
    from_port: u16,
    to: SocketAddrV4,
    count: u32,
    bytes: usize,
) -> io::Result<()> {
    let socket = Socket::open(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_TCP)?;
    socket.connect(SocketAddr::new(IpAddr::V4(*to.ip()), 0))?;
    for number in 0..count {
        let mut segment = Vec::with_capacity(TCP_HEADER_BYTES + bytes);
        segment.extend_from_slice(&from_port.to_be_bytes());
        segment.extend_from_slice(&to.port().to_be_bytes());
        segment.extend_from_slice(&(number * bytes as u32).to_be_bytes());
        segment.extend_from_slice(&[0; 4]);
        // Header length in words of four bytes, flags, window, no checksum that anybody checks.
        segment.extend_from_slice(&[((TCP_HEADER_BYTES / 4) << 4) as u8, ACK, 1, 0, 0, 0, 0, 0]);
        segment.resize(TCP_HEADER_BYTES + bytes, b'x');
        socket::length(socket.send(&segment, 0)?.cast_signed())?;
    }
    Ok(())
}

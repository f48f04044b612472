//! Sockets that never leave the machine, and must never be told of.

use std::{
    io::{self, Read, Write},
    os::unix::net::{UnixDatagram, UnixStream},
};

use crate::{Options, socket::Socket, truth::Truth};

pub(crate) fn unix(options: &Options, streams: bool) -> io::Result<Truth> {
    if streams { unix_stream(options) } else { unix_dgram(options) }
}

fn unix_stream(options: &Options) -> io::Result<Truth> {
    let (mut sender, mut receiver) = UnixStream::pair()?;
    sender.write_all(&options.payload())?;
    receiver.read_exact(&mut options.payload())?;
    Ok(Truth::of(Vec::new()))
}

fn unix_dgram(options: &Options) -> io::Result<Truth> {
    let (sender, receiver) = UnixDatagram::pair()?;
    sender.send(&options.payload())?;
    receiver.recv(&mut options.payload())?;
    Ok(Truth::of(Vec::new()))
}

/// Asks for the list of interfaces (rtnetlink(7)).
pub(crate) fn netlink() -> io::Result<Truth> {
    const REQUEST_BYTES: u32 = 20;
    let socket = Socket::open(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE)?;
    let mut request = Vec::new();
    request.extend_from_slice(&REQUEST_BYTES.to_ne_bytes());
    request.extend_from_slice(&libc::RTM_GETLINK.to_ne_bytes());
    request.extend_from_slice(&((libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16).to_ne_bytes());
    request.extend_from_slice(&1_u32.to_ne_bytes());
    // Port id 0 is the kernel; then a rtgenmsg of any family, padded to four bytes.
    request.extend_from_slice(&[0; 8]);
    socket.send(&request, 0)?;
    Ok(Truth::of(Vec::new()))
}

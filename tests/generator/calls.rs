//! What only `egress` asks of sockets and addresses. It decides nothing.

use std::{
    io, mem,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::RawFd,
};

use crate::socket::{Address, Socket, check, length};

impl Socket {
    /// Ends the association of a datagram socket (`AF_UNSPEC`, connect(2)).
    pub(crate) fn disconnect(fd: RawFd) -> io::Result<()> {
        // SAFETY: all zeros is a valid sockaddr, of the family `AF_UNSPEC`.
        let nobody: libc::sockaddr = unsafe { mem::zeroed() };
        let len = size_of::<libc::sockaddr>() as libc::socklen_t;
        // SAFETY: pointer and length describe one live address.
        check(unsafe { libc::connect(fd, &raw const nobody, len) })?;
        Ok(())
    }

    pub(crate) fn send_to(&self, bytes: &[u8], flags: i32, to: SocketAddr) -> io::Result<usize> {
        let to = Address::from(to);
        let (data, len) = (bytes.as_ptr().cast(), bytes.len());
        // SAFETY: both pointers and lengths describe live values.
        let sent = unsafe { libc::sendto(self.raw(), data, len, flags, to.as_ptr(), to.len()) };
        length(sent)
    }
}

pub(crate) fn set_option(fd: RawFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    let len = size_of::<i32>() as libc::socklen_t;
    // SAFETY: pointer and length describe one live integer.
    check(unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), len) })?;
    Ok(())
}

pub(crate) fn domain(address: SocketAddr) -> i32 {
    if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }
}

pub(crate) fn unspecified(like: SocketAddr) -> IpAddr {
    match like {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// `a.b.c.d` as `::ffff:a.b.c.d`.
pub(crate) fn mapped(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) => SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port()),
        SocketAddr::V6(_) => address,
    }
}

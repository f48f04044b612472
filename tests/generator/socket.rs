//! Sockets that `std` has no words for: the few system calls, safe. It decides nothing.

use std::{
    io, mem,
    net::SocketAddr,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::net::UnixDatagram,
    },
};

pub(crate) struct Socket(OwnedFd);

/// An address as the kernel reads it.
pub(crate) struct Address {
    storage: libc::sockaddr_storage,
    len: libc::socklen_t,
}

impl Address {
    pub(crate) fn as_ptr(&self) -> *const libc::sockaddr {
        (&raw const self.storage).cast()
    }
    pub(crate) fn len(&self) -> libc::socklen_t {
        self.len
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        // SAFETY: all zeros is a valid sockaddr_storage.
        let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
        let len = match address {
            SocketAddr::V4(v4) => {
                let raw = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: v4.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from(*v4.ip()).to_be() },
                    sin_zero: [0; 8],
                };
                // SAFETY: sockaddr_storage is larger than any sockaddr and aligned for all.
                unsafe { (&raw mut storage).cast::<libc::sockaddr_in>().write(raw) };
                size_of::<libc::sockaddr_in>()
            }
            SocketAddr::V6(v6) => {
                let raw = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: 0,
                    sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                    sin6_scope_id: v6.scope_id(),
                };
                // SAFETY: as above.
                unsafe { (&raw mut storage).cast::<libc::sockaddr_in6>().write(raw) };
                size_of::<libc::sockaddr_in6>()
            }
        };
        Self { storage, len: len as libc::socklen_t }
    }
}

/// The error of the last call if it returned less than nothing.
pub(crate) fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The same for calls that return a length.
pub(crate) fn length(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

impl Socket {
    /// `kind` is `SOCK_*`, `protocol` `IPPROTO_*`.
    pub(crate) fn open(domain: i32, kind: i32, protocol: i32) -> io::Result<Self> {
        // SAFETY: socket(2) takes no pointers.
        let fd = check(unsafe { libc::socket(domain, kind | libc::SOCK_CLOEXEC, protocol) })?;
        // SAFETY: the kernel just gave us this descriptor, nobody else has it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    pub(crate) fn raw(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    pub(crate) fn bind(&self, address: SocketAddr) -> io::Result<()> {
        let address = Address::from(address);
        // SAFETY: pointer and length describe one live address.
        check(unsafe { libc::bind(self.raw(), address.as_ptr(), address.len()) })?;
        Ok(())
    }

    pub(crate) fn connect(&self, address: SocketAddr) -> io::Result<()> {
        let address = Address::from(address);
        // SAFETY: pointer and length describe one live address.
        check(unsafe { libc::connect(self.raw(), address.as_ptr(), address.len()) })?;
        Ok(())
    }

    pub(crate) fn send(&self, bytes: &[u8], flags: i32) -> io::Result<usize> {
        // SAFETY: pointer and length describe one live slice.
        let sent = unsafe { libc::send(self.raw(), bytes.as_ptr().cast(), bytes.len(), flags) };
        length(sent)
    }

    pub(crate) fn into_fd(self) -> OwnedFd {
        self.0
    }
}

/// A control message with one descriptor (cmsg(3), `SCM_RIGHTS`): header, data, padding.
#[repr(C)]
struct Rights {
    header: libc::cmsghdr,
    descriptor: RawFd,
    padding: u32,
}

/// What `cmsg_len` counts: all but the padding.
const RIGHTS_BYTES: usize = mem::offset_of!(Rights, padding);

impl Rights {
    fn of(descriptor: RawFd) -> Self {
        // SAFETY: all zeros is a valid cmsghdr.
        let mut header: libc::cmsghdr = unsafe { mem::zeroed() };
        header.cmsg_level = libc::SOL_SOCKET;
        header.cmsg_type = libc::SCM_RIGHTS;
        header.cmsg_len = RIGHTS_BYTES as _;
        Self { header, descriptor, padding: 0 }
    }
}

/// A message of one byte and one descriptor; the caller keeps the parts alive.
fn message(part: &mut libc::iovec, rights: &mut Rights) -> libc::msghdr {
    // SAFETY: all zeros is a valid, empty msghdr.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = part;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut *rights).cast();
    message.msg_controllen = size_of::<Rights>() as _;
    message
}

/// Gives a socket to whoever reads from the other end.
pub(crate) fn give(through: &UnixDatagram, socket: &impl AsRawFd) -> io::Result<()> {
    let (mut byte, mut rights) = ([0_u8], Rights::of(socket.as_raw_fd()));
    let mut part = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    let message = message(&mut part, &mut rights);
    // SAFETY: the message points to values that live through the call.
    length(unsafe { libc::sendmsg(through.as_raw_fd(), &raw const message, 0) })?;
    Ok(())
}

/// Takes the socket that [`give`] gave.
pub(crate) fn take(through: &UnixDatagram) -> io::Result<OwnedFd> {
    let (mut byte, mut rights) = ([0_u8], Rights::of(-1));
    let mut part = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    let mut message = message(&mut part, &mut rights);
    let flags = libc::MSG_CMSG_CLOEXEC;
    // SAFETY: the message points to values that live through the call.
    length(unsafe { libc::recvmsg(through.as_raw_fd(), &raw mut message, flags) })?;
    if rights.descriptor < 0 {
        return Err(io::Error::other("no socket came"));
    }
    // SAFETY: the kernel made this descriptor for us, nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(rights.descriptor) })
}

//! The network namespace that this program runs in, as the probes name those of sockets. Makes a
//! socket for it, and sends nothing.

use std::os::{fd::AsRawFd as _, unix::net::UnixDatagram};

/// `SO_NETNS_COOKIE` (`include/uapi/asm-generic/socket.h`).
const SO_NETNS_COOKIE: libc::c_int = 71;

/// `None` where the kernel does not tell (before Linux 5.14).
pub fn namespace_cookie() -> Option<u64> {
    let socket = UnixDatagram::unbound().ok()?;
    let mut cookie = 0_u64;
    let mut bytes = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `bytes` into `cookie`, which has as many.
    let failed = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut bytes,
        )
    };
    (failed == 0 && cookie != 0).then_some(cookie)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_same_each_time() {
        assert_eq!(namespace_cookie(), namespace_cookie());
    }
}

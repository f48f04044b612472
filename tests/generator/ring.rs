//! Sending through `io_uring`, where no send system call is made.

use std::{
    io, mem,
    net::{SocketAddr, TcpStream},
};

use io_uring::{IoUring, opcode, squeue, types};

use crate::{
    Options, calls,
    socket::{Address, Socket},
    tcp,
    truth::{Flow, Truth},
};

/// How long an idle submission thread of the kernel spins.
const SQPOLL_IDLE_MS: u32 = 100;

struct Ring(IoUring);

impl Ring {
    fn new(options: &Options) -> io::Result<Self> {
        let mut builder = IoUring::builder();
        if options.sqpoll {
            builder.setup_sqpoll(SQPOLL_IDLE_MS);
        }
        builder.build(8).map(Self)
    }

    /// # Safety
    /// What `entry` points to must live until this returns.
    unsafe fn run(&mut self, entry: &squeue::Entry) -> io::Result<usize> {
        // SAFETY: our caller promises that the entry's pointers outlive the completion below.
        unsafe { self.0.submission().push(entry) }.map_err(io::Error::other)?;
        self.0.submit_and_wait(1)?;
        let done = self.0.completion().next();
        let result = done.ok_or_else(|| io::Error::other("no completion"))?.result();
        usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
    }
}

pub(crate) fn udp(options: &Options) -> io::Result<Truth> {
    let to = options.target()?;
    let socket = Socket::open(calls::domain(to), libc::SOCK_DGRAM, 0)?;
    socket.bind(options.source(to))?;
    let mut payload = options.payload();
    let address = Address::from(to);
    let base = payload.as_mut_ptr().cast();
    let mut part = libc::iovec { iov_base: base, iov_len: payload.len() };
    // SAFETY: all zeros is a valid, empty msghdr.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_name = address.as_ptr().cast_mut().cast();
    message.msg_namelen = address.len();
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    let mut entry = opcode::SendMsg::new(types::Fd(socket.raw()), &raw const message).build();
    if options.by_worker {
        entry = entry.flags(squeue::Flags::ASYNC);
    }
    // SAFETY: message, address and payload live to the end of this function.
    unsafe { Ring::new(options)?.run(&entry) }?;
    let local: SocketAddr = std::net::UdpSocket::from(socket.into_fd()).local_addr()?;
    Ok(Truth::of(vec![Flow::sent(to, "udp", options.bytes).from(local)]))
}

pub(crate) fn tcp(options: &Options) -> io::Result<Truth> {
    let to = options.target()?;
    let mut ring = Ring::new(options)?;
    let socket = Socket::open(calls::domain(to), libc::SOCK_STREAM, 0)?;
    let fd = types::Fd(socket.raw());
    let address = Address::from(to);
    let connect = opcode::Connect::new(fd, address.as_ptr(), address.len()).build();
    // SAFETY: the address lives to the end of this function.
    unsafe { ring.run(&connect) }?;
    let payload = options.payload();
    let mut sent = 0;
    while sent < payload.len() {
        let rest = &payload[sent..];
        let send = opcode::Send::new(fd, rest.as_ptr(), rest.len() as u32).build();
        // SAFETY: the payload lives to the end of this function.
        sent += unsafe { ring.run(&send) }?;
    }
    let mut stream = TcpStream::from(socket.into_fd());
    let local = stream.local_addr()?;
    tcp::finish(&mut stream)?;
    Ok(Truth::of(vec![Flow::sent(to, "tcp", sent).from(local)]))
}

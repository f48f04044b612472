//! TCP in its ways of sending. Every connection ends before the truth is told, but for those that
//! are abandoned on purpose.

use std::{
    fs::File,
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use crate::{
    Options, calls,
    socket::{Socket, check, length},
    truth::{Flow, Truth},
};

#[derive(Clone, Copy)]
pub(crate) enum Ending {
    /// Half-close and read until the peer closes: this socket sends everything to the last ACK.
    Waited,
    /// Exit with the data queued: the kernel sends the rest.
    Abandoned,
}

/// Connects, from `--from` where it is given.
pub(crate) fn connect(options: &Options, to: SocketAddr) -> io::Result<TcpStream> {
    if options.from.is_none() {
        return TcpStream::connect(to);
    }
    let socket = Socket::open(calls::domain(to), libc::SOCK_STREAM, 0)?;
    socket.bind(options.source(to))?;
    socket.connect(to)?;
    Ok(TcpStream::from(socket.into_fd()))
}

/// Half-closes and waits for the peer to close.
pub(crate) fn finish(stream: &mut TcpStream) -> io::Result<()> {
    stream.shutdown(Shutdown::Write)?;
    io::copy(stream, &mut io::sink())?;
    Ok(())
}

fn truth(stream: &TcpStream, to: SocketAddr, payload: usize) -> io::Result<Truth> {
    Ok(Truth::of(vec![Flow::sent(to, "tcp", payload).from(stream.local_addr()?)]))
}

pub(crate) fn connect_send(options: &Options, ending: Ending) -> io::Result<Truth> {
    send_to(options, options.target()?, ending)
}

pub(crate) fn mapped(options: &Options) -> io::Result<Truth> {
    send_to(options, calls::mapped(options.target()?), Ending::Waited)
}

fn send_to(options: &Options, to: SocketAddr, ending: Ending) -> io::Result<Truth> {
    let mut stream = connect(options, to)?;
    stream.write_all(&options.payload())?;
    let truth = truth(&stream, to, options.bytes)?;
    if matches!(ending, Ending::Waited) {
        finish(&mut stream)?;
    }
    Ok(truth)
}

/// A SYN leaves and a RST comes back: sent, without payload.
pub(crate) fn refused(options: &Options) -> io::Result<Truth> {
    let to = options.target()?;
    match connect(options, to) {
        Ok(_) => Err(io::Error::other("somebody listens there")),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            Ok(Truth::of(vec![Flow::sent(to, "tcp", 0)]))
        }
        Err(error) => Err(error),
    }
}

pub(crate) fn fastopen(options: &Options) -> io::Result<Truth> {
    let to = options.target()?;
    let socket = Socket::open(calls::domain(to), libc::SOCK_STREAM, 0)?;
    let payload = options.payload();
    let sent = socket.send_to(&payload, libc::MSG_FASTOPEN, to)?;
    let mut stream = TcpStream::from(socket.into_fd());
    stream.write_all(&payload[sent..])?;
    let truth = truth(&stream, to, options.bytes)?;
    finish(&mut stream)?;
    Ok(truth)
}

pub(crate) fn sendfile(options: &Options) -> io::Result<Truth> {
    let to = options.target()?;
    // SAFETY: the name is a C string; the flags take no pointer.
    let fd = check(unsafe { libc::memfd_create(c"egress".as_ptr(), libc::MFD_CLOEXEC) })?;
    // SAFETY: the kernel just gave us this descriptor, nobody else has it.
    let mut file = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
    file.write_all(&options.payload())?;

    let mut stream = connect(options, to)?;
    let mut offset: libc::off_t = 0;
    let mut left = options.bytes;
    while left > 0 {
        let (into, from) = (stream.as_raw_fd(), file.as_raw_fd());
        // SAFETY: both descriptors are open; `offset` lives through the call.
        let sent = unsafe { libc::sendfile(into, from, &raw mut offset, left) };
        match length(sent)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            sent => left -= sent,
        }
    }
    let truth = truth(&stream, to, options.bytes)?;
    finish(&mut stream)?;
    Ok(truth)
}

/// Sends `--bytes` with flags (`MSG_OOB`, `MSG_ZEROCOPY`), after asking for an option that they need.
pub(crate) fn flagged(options: &Options, option: Option<i32>, flags: i32) -> io::Result<Truth> {
    let to = options.target()?;
    let mut stream = connect(options, to)?;
    if let Some(option) = option {
        calls::set_option(stream.as_raw_fd(), libc::SOL_SOCKET, option, 1)?;
    }
    let payload = options.payload();
    let mut sent = 0;
    while sent < payload.len() {
        let rest = &payload[sent..];
        let (fd, data) = (stream.as_raw_fd(), rest.as_ptr().cast());
        // SAFETY: pointer and length describe one live slice.
        sent += length(unsafe { libc::send(fd, data, rest.len(), flags) })?;
    }
    let truth = truth(&stream, to, options.bytes)?;
    finish(&mut stream)?;
    Ok(truth)
}

/// Multipath TCP (RFC 8684) with a peer that has none: it falls back.
pub(crate) fn multipath(options: &Options) -> io::Result<Truth> {
    let to = options.target()?;
    let socket = Socket::open(calls::domain(to), libc::SOCK_STREAM, libc::IPPROTO_MPTCP)?;
    socket.connect(to)?;
    let mut stream = TcpStream::from(socket.into_fd());
    stream.write_all(&options.payload())?;
    let truth = truth(&stream, to, options.bytes)?;
    finish(&mut stream)?;
    Ok(truth)
}

pub(crate) fn splice(options: &Options) -> io::Result<Truth> {
    const PIPE_BYTES: usize = 4096;
    let to = options.target()?;
    let (mut reader, mut writer) = io::pipe()?;
    let mut stream = connect(options, to)?;
    let payload = options.payload();
    for chunk in payload.chunks(PIPE_BYTES) {
        writer.write_all(chunk)?;
        let mut left = chunk.len();
        while left > 0 {
            let (none, from, into) = (std::ptr::null_mut(), reader.as_raw_fd(), stream.as_raw_fd());
            // SAFETY: both descriptors are open; null offsets mean the current position.
            let moved = unsafe { libc::splice(from, none, into, none, left, 0) };
            match length(moved)? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                moved => left -= moved,
            }
        }
    }
    drop(writer);
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest)?;
    let truth = truth(&stream, to, options.bytes - rest.len())?;
    finish(&mut stream)?;
    Ok(truth)
}

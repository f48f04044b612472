//! What a flow says first of where it goes: a TLS `ClientHello` in whatever segments and records and
//! behind whatever preamble, and QUIC Initial packets with what may come before them.

use std::{
    io::{self, Write},
    net::TcpStream,
    os::fd::AsRawFd,
    thread,
    time::Duration,
};

use clap::ValueEnum;

use crate::{
    Options, frame, hello, initial, names, tcp,
    truth::{Flow, Truth},
    udp,
};

/// What a protocol says until it goes on in TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Preamble {
    /// Of SMTP
    Starttls,
    /// Of `PostgreSQL`
    SslRequest,
    /// To an HTTP proxy
    Connect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Before {
    /// The first packet
    First,
    /// The first packet in a version that nobody knows
    Version,
    /// The first packet under another identifier
    Retry,
}

impl Preamble {
    /// Each is written by itself.
    fn messages(self, name: &str) -> Vec<Vec<u8>> {
        match self {
            Self::Starttls => vec![b"EHLO host\r\n".to_vec(), b"STARTTLS\r\n".to_vec()],
            Self::SslRequest => vec![b"\0\0\0\x08\x04\xd2\x16\x2f".to_vec()],
            Self::Connect => vec![format!("CONNECT {name}:443 HTTP/1.1\r\n\r\n").into_bytes()],
        }
    }
}

/// Cuts by --parts; without any, not at all.
fn parts<'b>(bytes: &'b [u8], options: &Options) -> Vec<&'b [u8]> {
    let mut rest = bytes;
    let mut parts = Vec::new();
    let mut sizes = options.parts.iter().copied();
    let mut size = rest.len();
    while !rest.is_empty() {
        size = sizes.next().unwrap_or(size);
        let (part, tail) = rest.split_at(size.clamp(1, rest.len()));
        parts.push(part);
        rest = tail;
    }
    parts
}

pub(crate) fn make(kind: crate::Kind, options: &Options) -> io::Result<Truth> {
    if kind == crate::Kind::QuicInitial { quic(options) } else { tls(options) }
}

/// A `ClientHello` for --name with --bytes of padding, and nothing after it. With a second --to it
/// asks there for `asked.` and the name before, or for what --ask says.
fn tls(options: &Options) -> io::Result<Truth> {
    let to = options.target()?;
    let mut flows = Vec::new();
    if let Some(server) = options.to.get(1) {
        let asked = options.ask.clone().unwrap_or_else(|| format!("asked.{}", options.name));
        let query = names::query(&asked, names::A);
        flows.push(names::ask(&query, options, *server)?.1);
    }
    let mut stream = tcp::connect(options, to)?;
    stream.set_nodelay(true)?;
    let mut written = 0;
    for message in options.preamble.iter().flat_map(|it| it.messages(&options.name)) {
        written += write(&mut stream, &message)?;
    }
    let message = hello::client_hello(&options.name, options.bytes);
    let records = message.chunks(options.records.unwrap_or(message.len()));
    let hello: Vec<u8> = records.flat_map(hello::record).collect();
    let hello = &hello[..options.until.unwrap_or(hello.len()).min(hello.len())];
    for part in parts(hello, options) {
        written += write(&mut stream, part)?;
    }
    flows.push(Flow::sent(to, "tcp", written).from(stream.local_addr()?));
    tcp::finish(&mut stream)?;
    Ok(Truth::of(flows))
}

/// In segments of its own: the next is written when this one has arrived.
fn write(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    stream.write_all(bytes)?;
    loop {
        let mut unsent: libc::c_int = 0;
        // SAFETY: SIOCOUTQ, which is TIOCOUTQ, writes one int.
        if unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut unsent) } != 0 {
            return Err(io::Error::last_os_error());
        }
        if unsent == 0 {
            return Ok(bytes.len());
        }
        thread::sleep(Duration::from_micros(200));
    }
}

/// The same in QUIC Initial packets, 900 bytes of it in each, or as --parts say.
fn quic(options: &Options) -> io::Result<Truth> {
    const PART: usize = 900;
    const ID: &[u8] = b"geofence";
    let to = options.target()?;
    let socket = udp::bound(options, to)?;
    socket.connect(to)?;
    let hello = hello::client_hello(&options.name, options.bytes);
    let size = options.parts.first().copied().unwrap_or(PART);
    let first = &hello[..size.min(hello.len())];
    let mut sent = 0;
    for before in &options.before {
        let id = if *before == Before::Retry { b"retrying" } else { ID };
        let mut packet = initial::initial(id, 0, &frame::crypto(0, first), false);
        if *before == Before::Version {
            packet[1..5].copy_from_slice(&[0x1a, 0x2a, 0x3a, 0x4a]);
        }
        sent += socket.send(&packet)?;
    }
    for (number, part) in hello.chunks(size).enumerate() {
        let frames = frame::crypto((number * size) as u16, part);
        sent += socket.send(&initial::initial(ID, number as u32, &frames, false))?;
    }
    Ok(Truth::of(vec![Flow::sent(to, "udp", sent).from(socket.local_addr()?)]))
}

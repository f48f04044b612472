//! Peers: what the other namespace runs, and the server whose replies are egress.

use std::{
    io::{self, Read, Write},
    net::{TcpListener, UdpSocket},
    thread,
    time::Duration,
};

use crate::{
    Options,
    socket::check,
    tcp as stream,
    truth::{Flow, Truth, listening},
};

/// Reads `--count` connections to their end, one after the other.
pub(crate) fn tcp(options: &Options) -> io::Result<Truth> {
    let listener = TcpListener::bind(options.listen)?;
    listening(listener.local_addr()?);
    let mut received = 0;
    for _ in 0..options.count {
        let (mut connection, _) = listener.accept()?;
        received += io::copy(&mut connection, &mut io::sink())?;
        thread::sleep(Duration::from_millis(options.linger));
    }
    Ok(Truth::received(received))
}

/// Takes `--count` datagrams and answers each with `--reply` bytes.
pub(crate) fn udp(options: &Options) -> io::Result<Truth> {
    let socket = UdpSocket::bind(options.listen)?;
    listening(socket.local_addr()?);
    let mut received = 0;
    let mut buffer = vec![0; 1 << 16];
    let reply = vec![b'r'; options.reply];
    for _ in 0..options.count {
        let (bytes, from) = socket.recv_from(&mut buffer)?;
        received += bytes as u64;
        if options.reply > 0 {
            socket.send_to(&reply, from)?;
        }
    }
    Ok(Truth::received(received))
}

/// The flow's remote end is the client's address and port.
pub(crate) fn accept_reply(options: &Options) -> io::Result<Truth> {
    let listener = TcpListener::bind(options.listen)?;
    listening(listener.local_addr()?);
    Ok(Truth::of(vec![accept_once(&listener, options)?]))
}

/// The parent listens, a child that was there before accepts and answers.
pub(crate) fn prefork_reply(options: &Options) -> io::Result<Truth> {
    let listener = TcpListener::bind(options.listen)?;
    listening(listener.local_addr()?);
    let (mut answer, mut told) = io::pipe()?;
    // SAFETY: this process has one thread, so the child may go on as if nothing had happened.
    let pid = check(unsafe { libc::fork() })?;
    if pid == 0 {
        let served = accept_once(&listener, options).and_then(|flow| {
            let line = serde_json::to_string(&flow).map_err(io::Error::other)?;
            told.write_all(line.as_bytes())
        });
        // SAFETY: _exit(2) takes no pointers and does not return.
        unsafe { libc::_exit(i32::from(served.is_err())) }
    }
    drop(told);
    let mut line = String::new();
    answer.read_to_string(&mut line)?;
    let mut status = 0;
    // SAFETY: `status` lives through the call.
    check(unsafe { libc::waitpid(pid, &raw mut status, 0) })?;
    let flow: Flow = serde_json::from_str(&line).map_err(io::Error::other)?;
    Ok(Truth::of(vec![flow]))
}

fn accept_once(listener: &TcpListener, options: &Options) -> io::Result<Flow> {
    let (mut connection, client) = listener.accept()?;
    connection.write_all(&options.payload())?;
    let local = connection.local_addr()?;
    stream::finish(&mut connection)?;
    Ok(Flow::sent(client, "tcp", options.bytes).from(local))
}

pub(crate) fn connect_and_read(options: &Options) -> io::Result<Truth> {
    let mut connection = stream::connect(options, options.target()?)?;
    let mut received = Vec::new();
    connection.read_to_end(&mut received)?;
    Ok(Truth::received(received.len() as u64))
}

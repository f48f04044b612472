//! Sockets that are open for a while before they are used: what a daemon finds when it starts late.

use std::{
    io::{self, BufRead, Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
};

use crate::{
    Options, child, tcp,
    truth::{Flow, Truth, holding, listening},
    udp,
};

/// Says that all are open, and waits for a line on standard input.
pub(crate) fn wait_to_send() -> io::Result<()> {
    holding();
    io::stdin().lock().read_line(&mut String::new()).map(drop)
}

/// Keeps what is open, so that who holds it can be found, until standard input ends.
pub(crate) fn wait_for_the_end() -> io::Result<()> {
    io::stdin().lock().read_to_end(&mut Vec::new()).map(drop)
}

pub(crate) fn make(options: &Options, is_tcp: bool) -> io::Result<Truth> {
    if is_tcp { connections(options) } else { datagrams(options) }
}

/// Opens `--count` connections, waits for a word, sends `--bytes` on each.
fn connections(options: &Options) -> io::Result<Truth> {
    if options.pass {
        return child::hold_passed(options);
    }
    let to = options.target()?;
    let mut streams: Vec<TcpStream> =
        (0..options.count).map(|_| tcp::connect(options, to)).collect::<io::Result<_>>()?;
    wait_to_send()?;
    let mut flows = Vec::new();
    for stream in &mut streams {
        stream.write_all(&options.payload())?;
        flows.push(Flow::sent(to, "tcp", options.bytes).from(stream.local_addr()?));
        tcp::finish(stream)?;
    }
    Ok(Truth::of(flows))
}

/// Connects `--count` UDP sockets, waits for a word, sends `--bytes` on each.
fn datagrams(options: &Options) -> io::Result<Truth> {
    let to = options.target()?;
    let open = |_| {
        let socket = udp::bound(options, to)?;
        socket.connect(to)?;
        Ok(socket)
    };
    let sockets: Vec<UdpSocket> = (0..options.count).map(open).collect::<io::Result<_>>()?;
    wait_to_send()?;
    let mut flows = Vec::new();
    for socket in &sockets {
        socket.send(&options.payload())?;
        flows.push(Flow::sent(to, "udp", options.bytes).from(socket.local_addr()?));
    }
    wait_for_the_end()?;
    Ok(Truth::of(flows))
}

/// Accepts `--count` connections, waits for a word, answers each with `--bytes`.
pub(crate) fn accepted(options: &Options) -> io::Result<Truth> {
    let listener = TcpListener::bind(options.listen)?;
    listening(listener.local_addr()?);
    let mut streams: Vec<TcpStream> = (0..options.count)
        .map(|_| listener.accept().map(|(stream, _)| stream))
        .collect::<io::Result<_>>()?;
    wait_to_send()?;
    let mut flows = Vec::new();
    for stream in &mut streams {
        stream.write_all(&options.payload())?;
        let (client, local) = (stream.peer_addr()?, stream.local_addr()?);
        flows.push(Flow::sent(client, "tcp", options.bytes).from(local));
        if !options.keep {
            tcp::finish(stream)?;
        }
    }
    if options.keep {
        wait_for_the_end()?;
    }
    Ok(Truth::of(flows))
}

/// Peer of the above: `--count` connections, all read to their ends.
pub(crate) fn readers(options: &Options) -> io::Result<Truth> {
    let to = options.target()?;
    let streams: Vec<TcpStream> =
        (0..options.count).map(|_| tcp::connect(options, to)).collect::<io::Result<_>>()?;
    let mut received = Vec::new();
    // Each is closed when it is read: the other side waits for that.
    for mut stream in streams {
        stream.read_to_end(&mut received)?;
    }
    Ok(Truth::received(received.len() as u64))
}

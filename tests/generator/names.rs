//! What names a destination by DNS: a name server of the internet's side, honest or not, and a client
//! that asks it and then sends.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::Duration,
};

use crate::{
    Options, truth,
    truth::{Flow, Truth},
    udp,
};

pub(crate) const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;

/// A name with its address, or with the name that it is an alias of.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    name: String,
    target: String,
}

pub(crate) fn parse_entry(text: &str) -> Result<Entry, String> {
    let (name, target) = text.split_once('=').ok_or("write NAME=ADDRESS or NAME=NAME")?;
    Ok(Entry { name: name.to_owned(), target: target.to_owned() })
}

/// Answers over UDP and TCP until it is ended.
pub(crate) fn serve(options: &Options) -> io::Result<Truth> {
    let (udp, tcp) = (UdpSocket::bind(options.listen)?, TcpListener::bind(options.listen)?);
    truth::listening(udp.local_addr()?);
    let own = options.clone();
    thread::spawn(move || {
        for connection in tcp.incoming().flatten() {
            // A client that goes away is its own loss.
            let _ = serve_stream(connection, &own);
        }
    });
    let mut buffer = [0; 4096];
    loop {
        let (bytes, from) = udp.recv_from(&mut buffer)?;
        if options.hostile {
            for message in hostile(&buffer[..bytes]) {
                udp.send_to(&message, from)?;
            }
        }
        for message in spoofed(&buffer[..bytes], options) {
            udp.send_to(&message, from)?;
        }
        udp.send_to(&answer(&buffer[..bytes], &options.answer), from)?;
    }
}

/// Answers of the form that the query wants, to what nobody asked.
fn spoofed(query: &[u8], options: &Options) -> Vec<Vec<u8>> {
    let Some(spoof) = &options.spoof else { return Vec::new() };
    let (asked, end) = question(query);
    if !spoof.name.eq_ignore_ascii_case(&asked) {
        let other = [&query[..12], &labels(&spoof.name), &query[end - 4..end]].concat();
        return vec![answer(&other, std::slice::from_ref(spoof))];
    }
    let right = u16::from_be_bytes([query[0], query[1]]);
    let ids = (0..=options.spoofs).filter(|id| *id != right).take(options.spoofs.into());
    let with = |id: u16| [&id.to_be_bytes(), &query[2..]].concat();
    ids.map(|id| answer(&with(id), std::slice::from_ref(spoof))).collect()
}

fn serve_stream(mut connection: TcpStream, options: &Options) -> io::Result<()> {
    loop {
        let mut length = [0; 2];
        connection.read_exact(&mut length)?;
        let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
        connection.read_exact(&mut query)?;
        let answer = answer(&query, &options.answer);
        // In two segments, as some servers do.
        connection.set_nodelay(true)?;
        connection.write_all(&(answer.len() as u16).to_be_bytes())?;
        connection.write_all(&answer)?;
    }
}

fn labels(name: &str) -> Vec<u8> {
    let label = |label: &str| [&[label.len() as u8][..], label.as_bytes()].concat();
    name.split('.').flat_map(label).chain([0]).collect()
}

/// The name at the beginning of a question, and the length of the question.
fn question(message: &[u8]) -> (String, usize) {
    let mut parts = Vec::new();
    let mut at = 12;
    while let Some(length) = message.get(at).filter(|length| **length > 0) {
        let end = at + 1 + usize::from(*length);
        let label = message.get(at + 1..end).unwrap_or_default();
        parts.push(String::from_utf8_lossy(label).into_owned());
        at = end;
    }
    (parts.join("."), (at + 5).min(message.len()))
}

fn answer(query: &[u8], entries: &[Entry]) -> Vec<u8> {
    let (asked, end) = question(query);
    let kind = u16::from_be_bytes([query[end - 4], query[end - 3]]);
    let mut message = query[..end].to_vec();
    message[2..4].copy_from_slice(&[0x81, 0x80]);
    // No records yet, and none in the other sections.
    message[6..12].copy_from_slice(&[0; 6]);
    let mut name = asked;
    // The first owner points to the question (RFC 1035, 4.1.4).
    let mut owner = vec![0xc0, 12];
    while let Some(entry) = entries.iter().find(|it| it.name.eq_ignore_ascii_case(&name)) {
        let (kind, data) = match entry.target.parse() {
            Ok(IpAddr::V4(address)) if kind == A => (A, address.octets().to_vec()),
            Ok(IpAddr::V6(address)) if kind == AAAA => (AAAA, address.octets().to_vec()),
            Ok(_) => break,
            Err(_) => (CNAME, labels(&entry.target)),
        };
        message[7] += 1;
        message.extend_from_slice(&owner);
        message.extend([kind.to_be_bytes(), [0, 1], [0, 0], [0, 60]].concat());
        message.extend((data.len() as u16).to_be_bytes());
        message.extend_from_slice(&data);
        if kind != CNAME {
            break;
        }
        (owner, name) = (data, entry.target.clone());
    }
    message
}

/// Answers that no honest server sends: cut, pointing to themselves, lying about their length.
fn hostile(query: &[u8]) -> Vec<Vec<u8>> {
    let (_, end) = question(query);
    let mut head = query[..12].to_vec();
    head[2] = 0x81;
    head[4..12].copy_from_slice(&[0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    let honest = [&head[..], &query[12..end]].concat();
    vec![
        head[..11].to_vec(),
        [&head[..], &[0xc0, 12, 0, 1, 0, 1]].concat(),
        [&honest[..], &[0xc0, end as u8, 0, 1, 0, 1]].concat(),
        [&honest[..], &[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0xff, 0xff, 203]].concat(),
        [&honest[..], &[0xc0, 12].repeat(600)].concat(),
        [&honest[..], &[0x3f; 60_000]].concat(),
    ]
}

/// Asks the first --to for --name, sends a datagram to the first port of --ports at what it says (or
/// to the second --to), and waits for --linger in between.
pub(crate) fn resolve_send(options: &Options) -> io::Result<Truth> {
    let server = options.target()?;
    let query = query(&options.name, if options.ipv6 { AAAA } else { A });
    let (message, asked) =
        if options.over_tcp { ask_stream(&query, server)? } else { ask(&query, options, server)? };
    let address = address(&message, options.ipv6)?;
    thread::sleep(Duration::from_millis(options.linger));
    let answered = SocketAddr::new(address, *options.ports.start());
    let to = options.to.get(1).copied().unwrap_or(answered);
    let socket = UdpSocket::bind(options.source(to))?;
    socket.send_to(&options.payload(), to)?;
    let sent = Flow::sent(to, "udp", options.bytes).from(socket.local_addr()?);
    Ok(Truth::of(vec![asked, sent]))
}

pub(crate) fn query(name: &str, kind: u16) -> Vec<u8> {
    let head = [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    [&head[..], &labels(name), &kind.to_be_bytes(), &[0, 1]].concat()
}

pub(crate) fn ask(
    query: &[u8],
    options: &Options,
    server: SocketAddr,
) -> io::Result<(Vec<u8>, Flow)> {
    let socket = udp::bound(options, server)?;
    socket.connect(server)?;
    // What is sprayed may leave no room for what was asked for.
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut buffer = vec![0; 1 << 16];
    for asked in 1..=20 {
        socket.send(query)?;
        while let Ok(bytes) = socket.recv(&mut buffer) {
            let answer = &buffer[..bytes];
            // What a hostile server sends before has no address at its end, or no end.
            let is_answer = bytes >= query.len()
                && answer[..2] == query[..2]
                && answer[12..query.len()] == query[12..]
                && address(answer, options.ipv6).is_ok();
            if is_answer {
                let bytes_asked = query.len() * asked;
                let flow = Flow::sent(server, "udp", bytes_asked).from(socket.local_addr()?);
                return Ok((answer.to_vec(), flow));
            }
        }
    }
    Err(io::Error::other("the name server does not answer"))
}

fn ask_stream(query: &[u8], server: SocketAddr) -> io::Result<(Vec<u8>, Flow)> {
    let mut stream = TcpStream::connect(server)?;
    stream.write_all(&[&(query.len() as u16).to_be_bytes()[..], query].concat())?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message)?;
    let flow = Flow::sent(server, "tcp", query.len() + 2).from(stream.local_addr()?);
    Ok((message, flow))
}

/// The last record of an honest answer.
fn address(message: &[u8], ipv6: bool) -> io::Result<IpAddr> {
    let nothing = || io::Error::other("the answer holds no address");
    let is_honest = message.len() > 12 && message[6] == 0 && message[7] > 0;
    if !is_honest {
        return Err(nothing());
    }
    if ipv6 {
        let octets: Option<&[u8; 16]> = message.last_chunk();
        return octets.map(|it| IpAddr::from(*it)).ok_or_else(nothing);
    }
    let octets: Option<&[u8; 4]> = message.last_chunk();
    octets.map(|it| IpAddr::from(*it)).ok_or_else(nothing)
}

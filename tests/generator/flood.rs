//! What somebody without any privilege can do to fill what has a bound. Bounded itself, by count and
//! time.

use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{
    Kind, Options, hold,
    socket::Socket,
    truth::{Truth, holding},
    udp,
};

/// Ports used of an address, and addresses of a network.
const PORTS: u64 = 50_000;
const FIRST_PORT: u64 = 10_000;
const ADDRESSES: u64 = 100;
/// Flows that are sent to again to keep them alive.
const KEPT: u64 = 2_000;

/// Where the flow of this number goes.
fn destination(options: &Options, number: u64) -> io::Result<SocketAddr> {
    let IpAddr::V4(first) = options.target()?.ip() else {
        return Err(io::Error::other("this kind needs an IPv4 address"));
    };
    let address = u32::from(first) + (number / PORTS % ADDRESSES) as u32;
    Ok(SocketAddr::new(IpAddr::V4(address.into()), (FIRST_PORT + number % PORTS) as u16))
}

/// Whether another is to be sent.
fn goes_on(options: &Options, begun: Instant, number: u64) -> bool {
    if options.seconds == 0 {
        number < options.count
    } else {
        begun.elapsed().as_secs() < options.seconds
    }
}

pub(crate) fn make(kind: Kind, options: &Options) -> io::Result<Truth> {
    match kind {
        Kind::FloodAttempts => attempts(options),
        Kind::FloodConnections => connections(options),
        _ => datagrams(options),
    }
}

fn attempts(options: &Options) -> io::Result<Truth> {
    let socket = Socket::open(libc::AF_INET, libc::SOCK_STREAM, 0)?;
    let (begun, mut made) = (Instant::now(), 0);
    while goes_on(options, begun, made) {
        // It must fail: no stream leads to a group.
        let connected = socket.connect(destination(options, made)?);
        if connected.is_ok() {
            return Err(io::Error::other("a stream was connected"));
        }
        made += 1;
    }
    if options.keep {
        hold::wait_to_send()?;
    }
    Ok(Truth::made(made))
}

fn datagrams(options: &Options) -> io::Result<Truth> {
    let socket = udp::bound(options, options.target()?)?;
    let payload = options.payload();
    let (begun, mut made) = (Instant::now(), 0);
    while goes_on(options, begun, made) {
        send(&socket, &payload, destination(options, made)?)?;
        made += 1;
        if made == options.count / 10 + 1 && !options.keep {
            holding();
        }
    }
    if options.keep {
        holding();
        keep_alive(options, &socket, made)?;
    }
    Ok(Truth::made(made))
}

/// As many descriptors as anybody may have.
fn connections(options: &Options) -> io::Result<Truth> {
    let bound = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: bound.maximum, ..bound })?;
    let to = options.target()?;
    let (begun, mut made) = (Instant::now(), 0);
    let mut held = VecDeque::new();
    while goes_on(options, begun, made) {
        held.push_back(TcpStream::connect(to)?);
        made += 1;
        if made == options.count {
            holding();
        }
        // The oldest were closed for those that came after them.
        if held.len() as u64 > options.count {
            held.pop_front();
        }
    }
    hold::wait_for_the_end()?;
    Ok(Truth::made(made))
}

/// What has no room in a queue is sent again: each datagram that is counted left.
fn send(socket: &UdpSocket, payload: &[u8], to: SocketAddr) -> io::Result<()> {
    loop {
        match socket.send_to(payload, to) {
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => thread::yield_now(),
            other => return other.map(drop),
        }
    }
}

/// Until standard input ends.
fn keep_alive(options: &Options, socket: &UdpSocket, made: u64) -> io::Result<()> {
    let ended = Arc::new(AtomicBool::new(false));
    let end = Arc::clone(&ended);
    thread::spawn(move || {
        // Whatever comes, it is over.
        let _ = hold::wait_for_the_end();
        end.store(true, Ordering::Relaxed);
    });
    while !ended.load(Ordering::Relaxed) {
        for number in made.saturating_sub(KEPT)..made {
            send(socket, b"again", destination(options, number)?)?;
            // What others send must find room in the queue of a veth.
            if number % 16 == 0 {
                thread::sleep(Duration::from_millis(1));
            }
        }
        // Well before a silent flow gives way.
        let pause = Instant::now();
        while pause.elapsed() < Duration::from_secs(2) && !ended.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(())
}

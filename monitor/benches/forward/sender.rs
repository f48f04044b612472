//! The process that does the work and measures itself: wall time, and CPU time with what the kernel
//! does in its context, which for a veth pair is the whole way to the other end.

use std::{
    io::Write,
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    os::fd::AsRawFd,
    time::Instant,
};

use rustix::time::{ClockId, clock_gettime};

/// First argument of the program when it is to be the sender.
pub(super) const WORD: &str = "--sender";

const PAYLOAD: [u8; 18] = [0x5a; 18];
const BATCH: usize = 64;

#[derive(Clone, Copy)]
pub(super) enum Work {
    /// sendmmsg(2), many a call.
    Flood,
    /// sendto(2) on one socket.
    Datagrams,
    /// A socket for each datagram.
    Sockets,
    /// A TCP connection each, closed by this side.
    Connections,
}

impl Work {
    const ALL: [Self; 4] = [Self::Flood, Self::Datagrams, Self::Sockets, Self::Connections];

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Flood => "flood",
            Self::Datagrams => "datagrams",
            Self::Sockets => "sockets",
            Self::Connections => "connections",
        }
    }
}

/// What was done in which time.
pub(super) struct Sent {
    pub(super) done: u64,
    wall_ns: u64,
    cpu_ns: u64,
}

impl Sent {
    /// Nanoseconds of CPU each.
    pub(super) fn cpu(&self) -> f64 {
        self.cpu_ns as f64 / self.done as f64
    }

    pub(super) fn wall(&self) -> f64 {
        self.wall_ns as f64 / self.done as f64
    }

    /// From what [`run`] prints.
    pub(super) fn parse(text: &str) -> Self {
        let mut numbers = text.split_whitespace().map(|word| word.parse().expect("a number"));
        let mut next = || numbers.next().expect("three numbers");
        Self { done: next(), wall_ns: next(), cpu_ns: next() }
    }
}

pub(super) fn run(words: &[String]) {
    let [work, to, count, from @ ..] = words else { panic!("work, address and count") };
    let work = Work::ALL.into_iter().find(|it| it.word() == work).expect("a kind of work");
    let to = super::address(to);
    let count: u64 = count.parse().expect("a count");
    let from: Option<IpAddr> = from.first().map(|it| it.parse().expect("an address"));
    // Neighbours are found and pages touched before the clock runs.
    perform(work, to, from, (count / 50).max(1));
    let (wall, cpu) = (Instant::now(), cpu_ns());
    perform(work, to, from, count);
    let (cpu, wall) = (cpu_ns() - cpu, wall.elapsed().as_nanos());
    println!("{count} {wall} {cpu}");
}

fn cpu_ns() -> u64 {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

fn perform(work: Work, to: SocketAddr, from: Option<IpAddr>, count: u64) {
    let bound = || {
        let from = from.unwrap_or([0, 0, 0, 0].into());
        UdpSocket::bind((from, 0)).expect("a socket")
    };
    match work {
        Work::Flood => {
            let socket = bound();
            socket.connect(to).expect("connect");
            flood(&socket, count);
        }
        Work::Datagrams => {
            let socket = bound();
            for _ in 0..count {
                socket.send_to(&PAYLOAD, to).expect("send");
            }
        }
        Work::Sockets => {
            for _ in 0..count {
                bound().send_to(&PAYLOAD, to).expect("send");
            }
        }
        Work::Connections => {
            for _ in 0..count {
                let mut stream = TcpStream::connect(to).expect("connect");
                stream.write_all(&PAYLOAD[..4]).expect("write");
            }
        }
    }
}

fn flood(socket: &UdpSocket, count: u64) {
    let mut part =
        libc::iovec { iov_base: PAYLOAD.as_ptr().cast_mut().cast(), iov_len: PAYLOAD.len() };
    // SAFETY: all zeroes are a message without name, parts and control data.
    let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
    message.msg_hdr.msg_iov = &raw mut part;
    message.msg_hdr.msg_iovlen = 1;
    let mut messages = [message; BATCH];
    let mut left = count;
    while left > 0 {
        let batch = left.min(BATCH as u64) as u32;
        // SAFETY: as many messages as are said, whose one part outlives the call.
        let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), batch, 0) };
        assert!(sent > 0, "sendmmsg: {}", std::io::Error::last_os_error());
        left -= u64::from(sent.unsigned_abs());
    }
}

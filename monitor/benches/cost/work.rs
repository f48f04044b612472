//! The operations, done by a process of its own that measures itself: processor time, with
//! what the kernel does in its context, which for a veth pair is the whole way to the other end.

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket},
    os::fd::AsRawFd,
    process::Command,
};

use rustix::{
    process::{Resource, getrlimit, setrlimit},
    time::{ClockId, clock_gettime},
};

/// First argument of the program when it is to do the work.
pub(super) const WORD: &str = "--work";

const PAYLOAD: [u8; 18] = [0x5a; 18];
const BATCH: usize = 64;
/// Of a stream.
const CHUNK: usize = 64 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    Send,
    SendTo,
    ManyDestinations,
    NewFlow,
    Connection,
    Request,
    Stream,
    Socket,
    Exec,
    ForwardPlain,
    ForwardNat,
}

use Operation::{
    Connection, Exec, ForwardNat, ForwardPlain, ManyDestinations, NewFlow, Request, Send, SendTo,
    Socket, Stream,
};

pub(super) const OPERATIONS: [Operation; 11] = [
    Send,
    SendTo,
    ManyDestinations,
    NewFlow,
    Connection,
    Request,
    Stream,
    Socket,
    Exec,
    ForwardPlain,
    ForwardNat,
];

impl Operation {
    pub(super) fn name(self) -> &'static str {
        match self {
            Send => "send, connected UDP, known flow",
            SendTo => "sendto, known flow",
            ManyDestinations => "sendto, 250 destinations in turn",
            NewFlow => "socket, sendto, close: a flow each",
            Connection => "TCP connect, accept, close",
            Request => "request and answer on a kept connection",
            Stream => "TCP stream, 64 KiB",
            Socket => "socket, close",
            Exec => "fork, exec, exit",
            ForwardPlain => "forwarded packet",
            ForwardNat => "forwarded packet behind NAT",
        }
    }

    /// Short, for the command line of the process that does it.
    pub(super) fn word(self) -> String {
        format!("{self:?}")
    }

    /// A tenth of a second or so of a machine like ours.
    pub(super) fn count(self) -> u64 {
        match self {
            Send | SendTo | ManyDestinations | Socket => 40_000,
            NewFlow => 8_000,
            Connection => 1_500,
            Request => 6_000,
            Stream => 3_000,
            Exec => 150,
            ForwardPlain | ForwardNat => 60_000,
        }
    }

    pub(super) fn is_forwarded(self) -> bool {
        matches!(self, ForwardPlain | ForwardNat)
    }

    fn port(self) -> u16 {
        match self {
            Connection => 7000,
            Request => 7001,
            Stream => 7002,
            _ => 9,
        }
    }
}

/// What was done in which time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Done {
    count: u64,
    cpu_ns: u64,
}

impl Done {
    /// Nanoseconds of processor time an operation.
    pub(super) fn cpu_ns(self) -> f64 {
        self.cpu_ns as f64 / self.count as f64
    }

    pub(super) fn count(self) -> u64 {
        self.count
    }

    /// What arrived counts, where it is fewer than what was sent.
    pub(super) fn but(self, count: u64) -> Self {
        Self { count: count.max(1), ..self }
    }

    /// From what [`run`] prints.
    pub(super) fn parse(text: &str) -> Self {
        let mut numbers = text.split_whitespace().map(|word| word.parse().expect("a number"));
        let mut next = || numbers.next().expect("two numbers");
        Self { count: next(), cpu_ns: next() }
    }
}

pub(super) fn run(words: &[String]) {
    let [word, to, from @ ..] = words else { panic!("operation and address") };
    let operation = OPERATIONS.into_iter().find(|it| it.word() == *word).expect("an operation");
    let to: Ipv4Addr = to.parse().expect("an address");
    let from: Option<IpAddr> = from.first().map(|it| it.parse().expect("an address"));
    let limit = getrlimit(Resource::Nofile).maximum;
    let _ = setrlimit(Resource::Nofile, rustix::process::Rlimit { current: limit, maximum: limit });
    // Neighbours are found and pages touched before the clock runs.
    perform(operation, to, from, (operation.count() / 50).max(1));
    let count = operation.count();
    let cpu = cpu_ns();
    perform(operation, to, from, count);
    let cpu = cpu_ns() - cpu;
    println!("{count} {cpu}");
}

/// Of this process and of those of its children that are over.
fn cpu_ns() -> u64 {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    let own = now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned();
    // SAFETY: all zeroes are a value of it.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one such.
    unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage) };
    let of = |time: libc::timeval| {
        time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_usec.cast_unsigned() * 1_000
    };
    own + of(usage.ru_utime) + of(usage.ru_stime)
}

fn perform(operation: Operation, to: Ipv4Addr, from: Option<IpAddr>, count: u64) {
    let bound = || {
        let from = from.unwrap_or([0, 0, 0, 0].into());
        UdpSocket::bind((from, 0)).expect("a socket")
    };
    let remote = SocketAddr::from((to, operation.port()));
    match operation {
        Send => {
            let socket = bound();
            socket.connect(remote).expect("connect");
            (0..count).for_each(|_| drop(socket.send(&PAYLOAD)));
        }
        SendTo => {
            let socket = bound();
            (0..count).for_each(|_| drop(socket.send_to(&PAYLOAD, remote)));
        }
        ManyDestinations => {
            let socket = bound();
            let [a, b, c, _] = to.octets();
            for number in 0..count {
                let to = SocketAddr::from(([a, b, c, (number % 250 + 1) as u8], 9));
                let _ = socket.send_to(&PAYLOAD, to);
            }
        }
        NewFlow => (0..count).for_each(|_| drop(bound().send_to(&PAYLOAD, remote))),
        Connection => {
            for _ in 0..count {
                let mut stream = TcpStream::connect(remote).expect("connect");
                stream.write_all(&PAYLOAD[..4]).expect("write");
            }
        }
        Request => {
            let mut stream = TcpStream::connect(remote).expect("connect");
            stream.set_nodelay(true).expect("no delay");
            for _ in 0..count {
                stream.write_all(&PAYLOAD[..1]).expect("write");
                stream.read_exact(&mut [0; 1]).expect("an answer");
            }
        }
        Stream => {
            let mut stream = TcpStream::connect(remote).expect("connect");
            let chunk = vec![0x5a; CHUNK];
            (0..count).for_each(|_| stream.write_all(&chunk).expect("write"));
        }
        Socket => (0..count).for_each(|_| drop(bound())),
        Exec => {
            for _ in 0..count {
                let ended = Command::new("/bin/true").status().expect("run true");
                assert!(ended.success());
            }
        }
        ForwardPlain | ForwardNat => {
            let socket = bound();
            socket.connect(remote).expect("connect");
            flood(&socket, count);
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

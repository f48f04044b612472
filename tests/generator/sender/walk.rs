//! A random walk: forks, other programs, users and cgroups, and sends on sockets old and new, by a
//! tree of processes. Each step has a number, by which it is drawn and which is its destination, so
//! that a seed repeats it. Says of each step what it was and who this process was.

use std::{
    env, fs, io,
    net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket},
    ops::Range,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    path::PathBuf,
};

use rustix::io::{FdFlags, fcntl_setfd};
use serde::Deserialize;
use serde_json::json;

use crate::{program, say, spawn};

const PLAN: &str = "SENDER_PLAN";
const PAYLOAD: [u8; 40] = [b'x'; 40];
/// Sockets of one process at a time.
const HELD_MAX: usize = 12;
const FIRST_PORT: u32 = 2_000;
const PORTS: u32 = 60_000;
/// Steps that a child takes over at most.
const CHILD_MAX: u64 = 60;

#[derive(Deserialize)]
struct Plan {
    seed: u64,
    /// Who takes connections.
    sink: SocketAddr,
    images: Vec<String>,
    cgroups: Vec<String>,
    users: Vec<u32>,
}

/// An open socket, as one program hands it to the next: `FD/udp/own/ADDRESS`, `-` where it is not
/// connected.
struct Held {
    socket: OwnedFd,
    is_stream: bool,
    /// Another process has it, too: who connected it elsewhere would change what that one sends.
    is_shared: bool,
    connected: Option<SocketAddr>,
}

impl Held {
    fn new(
        socket: impl Into<OwnedFd>,
        is_stream: bool,
        to: Option<SocketAddr>,
    ) -> io::Result<Self> {
        let held = Self { socket: socket.into(), is_stream, is_shared: false, connected: to };
        fcntl_setfd(&held.socket, FdFlags::empty())?;
        Ok(held)
    }

    fn word(&self) -> String {
        let kind = if self.is_stream { "tcp" } else { "udp" };
        let to = self.connected.map_or_else(|| "-".to_owned(), |to| to.to_string());
        let whose = if self.is_shared { "shared" } else { "own" };
        format!("{}/{kind}/{whose}/{to}", self.socket.as_raw_fd())
    }

    fn parse(word: &str) -> Option<Self> {
        let mut parts = word.split('/');
        let fd = parts.next()?.parse().ok()?;
        // SAFETY: the program before handed it over, and nothing else here uses it.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        let (is_stream, is_shared) = (parts.next()? == "tcp", parts.next()? == "shared");
        Some(Self { socket, is_stream, is_shared, connected: parts.next()?.parse().ok() })
    }

    fn may_be_pointed(&self) -> bool {
        !self.is_stream && !self.is_shared
    }

    fn datagrams(&self) -> io::Result<UdpSocket> {
        Ok(self.socket.try_clone()?.into())
    }

    fn port(&self) -> io::Result<u16> {
        Ok(self.datagrams()?.local_addr()?.port())
    }
}

/// Numbers by `SplitMix64` (Steele, Lea, Flood 2014).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        let at = self.roll(from.len().max(1) as u64);
        from.get(at as usize)
    }
}

struct Walker {
    plan: Plan,
    executable: PathBuf,
    cgroup: String,
    held: Vec<Held>,
}

/// The steps of these numbers, with the sockets that the program before held.
pub(crate) fn between(from: u64, to: u64, held: &[String]) -> io::Result<()> {
    program::change_user(rustix::process::getuid().as_raw())?;
    let plan = env::var(PLAN).map_err(io::Error::other)?;
    let mut walker = Walker {
        plan: serde_json::from_str(&plan)?,
        executable: fs::read_link("/proc/self/exe")?,
        cgroup: cgroup()?,
        held: held.iter().filter_map(|word| Held::parse(word)).collect(),
    };
    walker.walk(from..to)
}

/// This process's place in the unified hierarchy.
fn cgroup() -> io::Result<String> {
    let text = fs::read_to_string("/proc/self/cgroup")?;
    let unified = text.lines().find_map(|line| line.strip_prefix("0::"));
    unified.map(str::to_owned).ok_or_else(|| io::Error::other("no cgroup of version 2"))
}

/// A destination that no other step has.
fn destination(number: u64) -> SocketAddr {
    let number = number as u32;
    let host = 1 + number / PORTS;
    let port = FIRST_PORT + number % PORTS;
    SocketAddr::new(Ipv4Addr::new(203, 0, 113, host as u8).into(), port as u16)
}

impl Walker {
    fn walk(&mut self, mut steps: Range<u64>) -> io::Result<()> {
        let mut children = 0;
        while let Some(number) = steps.next() {
            let mut dice = Dice(self.plan.seed ^ number.wrapping_mul(0x2545_f491_4f6c_dd1d));
            match dice.roll(100) {
                0..7 if !steps.is_empty() => {
                    let left = steps.end - steps.start;
                    let middle = steps.start + 1 + dice.roll(left.min(CHILD_MAX));
                    self.tell(number, "fork", None)?;
                    self.held.iter_mut().for_each(|held| held.is_shared = true);
                    let own = steps.start..middle;
                    spawn::child(|| self.walk(own))?;
                    children += 1;
                    steps.start = middle;
                }
                7..17 => {
                    // Who executes has no children left: the next program would have to wait for them.
                    for _ in 0..std::mem::take(&mut children) {
                        spawn::wait_for(-1)?;
                    }
                    self.tell(number, "exec", None)?;
                    return Err(self.execute(steps, &mut dice));
                }
                17..23 => {
                    program::change_user(*dice.pick(&self.plan.users).unwrap_or(&0))?;
                    self.tell(number, "user", None)?;
                }
                23..31 => {
                    if let Some(directory) = dice.pick(&self.plan.cgroups) {
                        program::enter_cgroup(directory)?;
                        self.cgroup = cgroup()?;
                    }
                    self.tell(number, "cgroup", None)?;
                }
                31..40 => {
                    self.hold(Held::new(UdpSocket::bind("0.0.0.0:0")?, false, None)?, &mut dice);
                    self.tell(number, "open", None)?;
                }
                40..43 => {
                    let stream = TcpStream::connect(self.plan.sink)?;
                    let held = Held::new(stream, true, Some(self.plan.sink))?;
                    let port = held.port()?;
                    self.tell(number, "send", Some(("tcp", port, self.plan.sink)))?;
                    self.hold(held, &mut dice);
                }
                43..52 => self.connect(number, &mut dice)?,
                roll => self.send(number, roll < 80, &mut dice)?,
            }
        }
        for _ in 0..children {
            spawn::wait_for(-1)?;
        }
        Ok(())
    }

    /// Points a socket that no other process has somewhere, for what is sent later.
    fn connect(&mut self, number: u64, dice: &mut Dice) -> io::Result<()> {
        if !self.held.iter().any(Held::may_be_pointed) {
            self.hold(Held::new(UdpSocket::bind("0.0.0.0:0")?, false, None)?, dice);
        }
        let to = destination(number);
        let Some(held) = self.held.iter_mut().find(|held| held.may_be_pointed()) else {
            return Err(io::Error::other("no socket of its own"));
        };
        held.datagrams()?.connect(to)?;
        held.connected = Some(to);
        let port = held.port()?;
        self.tell(number, "connect", Some(("udp", port, to)))
    }

    /// Sends on one of the sockets that are there: where it is connected, or elsewhere.
    fn send(&mut self, number: u64, where_connected: bool, dice: &mut Dice) -> io::Result<()> {
        if self.held.is_empty() {
            self.held.push(Held::new(UdpSocket::bind("0.0.0.0:0")?, false, None)?);
        }
        let held = &self.held[dice.roll(self.held.len() as u64) as usize];
        let to = match held.connected {
            Some(to) if where_connected || held.is_stream => {
                rustix::io::write(&held.socket, &PAYLOAD)?;
                to
            }
            _ => {
                let to = destination(number);
                held.datagrams()?.send_to(&PAYLOAD, to)?;
                to
            }
        };
        let kind = if held.is_stream { "tcp" } else { "udp" };
        self.tell(number, "send", Some((kind, held.port()?, to)))
    }

    /// Another program, or the same again, goes on.
    fn execute(&self, steps: Range<u64>, dice: &mut Dice) -> io::Error {
        let same = self.executable.to_string_lossy().into_owned();
        let image = dice.pick(&self.plan.images).unwrap_or(&same);
        let mut words = vec!["walk".into(), steps.start.to_string(), steps.end.to_string()];
        words.extend(self.held.iter().map(Held::word));
        match program::hand_root_on() {
            Ok(()) => program::execute(image, words),
            Err(error) => error,
        }
    }

    fn hold(&mut self, held: Held, dice: &mut Dice) {
        if self.held.len() == HELD_MAX {
            let _ = self.held.swap_remove(dice.roll(HELD_MAX as u64) as usize);
        }
        self.held.push(held);
    }

    fn tell(
        &self,
        number: u64,
        action: &str,
        flow: Option<(&str, u16, SocketAddr)>,
    ) -> io::Result<()> {
        let mut line = json!({
            "number": number,
            "action": action,
            "pid": std::process::id(),
            "executable": self.executable.to_string_lossy(),
            "user": rustix::process::getuid().as_raw(),
            "cgroup": self.cgroup,
        });
        if let Some((transport, port, to)) = flow {
            line["transport"] = transport.into();
            line["source_port"] = port.into();
            line["address"] = to.ip().to_string().into();
            line["port"] = to.port().into();
        }
        say(&line)
    }
}

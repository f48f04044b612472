//! The steps, each with the words that belong to it. What they do to a program is in `program`, what
//! takes a connection in `stream`.

use std::{
    fmt::Display,
    fs, io,
    net::{SocketAddr, UdpSocket},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    os::unix::net::UnixDatagram,
    str::FromStr,
    thread, vec,
};

use rustix::io::{FdFlags, fcntl_setfd};
use serde_json::json;

use crate::{program, say, socket, spawn, stream, walk};

/// Where the socket at hand is, so that the next program finds it.
const KEPT: i32 = 9;
/// Where the file is that `fexec` executes, which `exec /dev/fd/8` does, too.
const FILE: i32 = 8;
const PAYLOAD: [u8; 100] = [b'x'; 100];

pub(crate) struct Steps {
    words: vec::IntoIter<String>,
    socket: Option<OwnedFd>,
}

impl Steps {
    pub(crate) fn of(words: Vec<String>) -> Self {
        Self { words: words.into_iter(), socket: None }
    }

    pub(crate) fn run(mut self) -> io::Result<()> {
        while let Some(step) = self.words.next() {
            match step.as_str() {
                "exec" => return Err(program::execute(&self.word()?, self.rest())),
                "fexec" => return Err(program::execute_file(FILE, &self.rest())),
                "fork" => return spawn::child(|| self.run()).and_then(spawn::wait_for),
                "leader-ends" => leave_the_rest_to_a_thread(self),
                "spawn" => {
                    let count = self.parsed()?;
                    let first = SocketAddr::new(self.parsed()?, self.parsed()?);
                    return spawn::many(count, first, &self.rest());
                }
                "walk" => return walk::between(self.parsed()?, self.parsed()?, &self.rest()),
                step => {
                    self.step(step)
                        .map_err(|error| io::Error::other(format!("{step}: {error}")))?;
                }
            }
        }
        Ok(())
    }

    fn step(&mut self, step: &str) -> io::Result<()> {
        match step {
            "udp" => self.keep(&UdpSocket::bind("0.0.0.0:0")?.into()),
            "take" => self.take_kept(),
            "connect" => self.udp()?.connect(self.parsed::<SocketAddr>()?),
            "sendto" => self.udp()?.send_to(&PAYLOAD, self.parsed::<SocketAddr>()?).map(drop),
            "send" => {
                let bytes = self.parsed()?;
                stream::write(self.socket()?, bytes)
            }
            "tcp" => {
                let connected = stream::tcp(self.parsed()?, self.parsed()?)?;
                self.keep(&connected)
            }
            "mptcp" => {
                let connected = stream::multipath(self.parsed()?)?;
                self.keep(&connected)
            }
            "accept" => {
                let accepted = stream::accept(self.parsed()?)?;
                self.keep(&accepted)
            }
            "joined" => stream::wait_for_a_second_path(self.socket()?),
            "finish" => stream::finish(self.socket()?),
            "mptcp-sink" => stream::multipath_sink(self.parsed()?),
            "raw-tcp" => {
                let (from, to) = (self.parsed()?, self.parsed()?);
                stream::raw_segments(from, to, self.parsed()?, self.parsed()?)
            }
            "give" => {
                let through = UnixDatagram::unbound()?;
                through.connect(self.word()?)?;
                socket::give(&through, self.socket()?)
            }
            "receive" => {
                let through = UnixDatagram::bind(self.word()?)?;
                say(&json!({ "holding": true }))?;
                self.keep(&socket::take(&through)?)
            }
            "hold" => hold(),
            "link" => fs::hard_link(self.word()?, self.word()?),
            "unlink" => fs::remove_file(self.word()?),
            "cgroup" => program::enter_cgroup(&self.word()?),
            "cd" => std::env::set_current_dir(self.word()?),
            "name" => program::call_itself(&self.word()?),
            "uid" => program::become_user(self.parsed()?),
            "own-namespaces" => program::own_namespaces(),
            "bind" => program::bind(&self.word()?, &self.word()?),
            "chroot" => program::change_root(&self.word()?),
            "open" => leave_at(&fs::File::open(self.word()?)?, FILE),
            "memfd" => leave_at(&program::in_memory(&self.word()?, &self.word()?)?, FILE),
            // An interpreter is told the script first.
            "script" => self.word().map(drop),
            _ => Err(io::Error::other("no such step")),
        }
    }

    fn word(&mut self) -> io::Result<String> {
        self.words.next().ok_or_else(|| io::Error::other("a word is missing"))
    }

    fn rest(&mut self) -> Vec<String> {
        self.words.by_ref().collect()
    }

    fn parsed<T: FromStr<Err: Display>>(&mut self) -> io::Result<T> {
        let word = self.word()?;
        word.parse().map_err(|error| io::Error::other(format!("{word}: {error}")))
    }

    fn socket(&self) -> io::Result<&OwnedFd> {
        self.socket.as_ref().ok_or_else(|| io::Error::other("no socket is at hand"))
    }

    /// The socket at hand by another descriptor.
    fn udp(&self) -> io::Result<UdpSocket> {
        Ok(self.socket()?.try_clone()?.into())
    }

    fn keep(&mut self, socket: &OwnedFd) -> io::Result<()> {
        drop(self.socket.take());
        leave_at(socket, KEPT)?;
        self.take_kept()
    }

    /// From the program that this one was before.
    fn take_kept(&mut self) -> io::Result<()> {
        // SAFETY: nothing else in this program uses this descriptor, and `fcntl_setfd` finds out
        // whether it is open.
        let kept = unsafe { OwnedFd::from_raw_fd(KEPT) };
        fcntl_setfd(&kept, FdFlags::empty())?;
        self.socket = Some(kept);
        Ok(())
    }
}

/// Open by this number until the process ends: an exec keeps it.
fn leave_at(file: &impl AsRawFd, number: i32) -> io::Result<()> {
    // SAFETY: dup2(2) takes no pointers; who had the number before has given it up.
    socket::check(unsafe { libc::dup2(file.as_raw_fd(), number) }).map(drop)
}

/// Says that it is ready, and waits for a line on standard input.
fn hold() -> io::Result<()> {
    say(&json!({ "holding": true }))?;
    io::stdin().read_line(&mut String::new()).map(drop)
}

/// The main thread ends, as the main function of a program may that leaves its work to others; the
/// process lives on.
fn leave_the_rest_to_a_thread(steps: Steps) -> ! {
    let leader = rustix::process::getpid().as_raw_nonzero();
    thread::spawn(move || {
        let status = format!("/proc/self/task/{leader}/stat");
        while !fs::read_to_string(&status).is_ok_and(|stat| stat.contains(") Z ")) {
            thread::yield_now();
        }
        let ended = steps.run();
        if let Err(error) = &ended {
            eprintln!("sender: {error}");
        }
        std::process::exit(i32::from(ended.is_err()));
    });
    // exit(2) of this thread alone: pthread_exit(3) would unwind through frames of Rust.
    // SAFETY: it takes no pointers and does not return.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    unreachable!("a thread that has ended")
}

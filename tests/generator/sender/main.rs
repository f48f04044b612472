//! `sender`: does what its words say, one after the other, as one process: opens sockets, sends, and
//! becomes another user, another program, or hard to recognise. It is small, and gone at once when
//! its words end. It sends only where the words tell it to, and knows nothing of geofenced.

mod program;
#[path = "../socket.rs"]
mod socket;
mod spawn;
mod steps;
mod stream;
mod walk;

use std::{env, io, process::ExitCode};

use crate::steps::Steps;

const USAGE: &str = "\
sender WORD...   each step with its words, such as
  sender udp sendto 203.0.113.5:9 exec /usr/bin/true
  sender tcp 0 203.0.113.5:80 uid 1001 send 100 finish

udp | take | connect TO | sendto TO | send BYTES       the socket at hand; an exec keeps it
tcp PORT TO | mptcp TO | accept AT | finish            PORT 0: any
raw-tcp PORT TO COUNT BYTES | mptcp-sink AT | joined
give PATH | receive PATH                               a socket by SCM_RIGHTS
name TEXT | uid N | cgroup DIR | cd DIR | link A B | unlink PATH
own-namespaces | bind A B | chroot DIR                 as an unprivileged user may
open PATH | memfd PATH NAME                            the file that fexec executes, or exec /dev/fd/8
fexec | exec PATH                                      the rest are the words of the program
fork | leader-ends | hold | script                     fork: a child does the rest
spawn COUNT ADDRESS PORT                               the rest by COUNT children, {to} and {run} each its own
walk FROM TO HELD...                                   a random walk, by SENDER_PLAN";

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == "--help") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    match Steps::of(words).run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sender: {error}");
            ExitCode::FAILURE
        }
    }
}

/// One line of JSON to the one who started this. Whole: others write to the same pipe.
fn say(line: &serde_json::Value) -> io::Result<()> {
    let line = format!("{line}\n");
    let written = rustix::io::write(rustix::stdio::stdout(), line.as_bytes())?;
    if written == line.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

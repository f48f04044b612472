//! The kernel tests' ground: a lab of two network namespaces, the packets that really arrived there,
//! a daemon to ask, and the comparison of both. Failures panic and say what was seen.
//!
//! It needs root and, by Debian's names: iproute2, nftables, ethtool, util-linux.

mod cgroup;
mod counted;
mod counts;
mod disk;
mod events;
mod firewall;
mod gateway;
mod lab;
pub mod links;
mod memory;
mod metrics;
mod namespace;
pub mod packets;
mod page;
mod programs;
mod running;
mod site;
mod truth;

pub use cgroup::Cgroup;
pub use counted::Counted;
pub use counts::{Count, Counts, Flow};
pub use disk::Disk;
pub use events::{number, sum, text};
pub use firewall::Firewall;
pub use gateway::{CLIENT, CLIENT_MAC, CLIENT_ROUTED, CLIENT_TOO, Gateway};
pub use lab::{Lab, Side};
pub use memory::Memory;
pub use metrics::Metrics;
pub use namespace::Namespace;
pub use page::Page;
pub use programs::Programs;
pub use running::{Running, digits};
pub use site::{Daemon, Outcome, Site};
pub use truth::{Truth, TruthFlow};

use std::{
    os::unix::process::CommandExt,
    process::{Command, Output},
    thread,
    time::{Duration, Instant},
};

/// How long something is looked for before a test gives up. What fails has failed by then on a machine
/// with a busy disk, too; what holds is not waited for.
const PATIENCE: Duration = Duration::from_mins(2);
/// And how often at least, however long it takes to ask.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(50);

/// Asks until there is an answer. `None` after two minutes.
pub fn eventually<T>(mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let begun = Instant::now();
    let mut tries = 0;
    while tries < TRIES || begun.elapsed() < PATIENCE {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        tries += 1;
        thread::sleep(PAUSE);
    }
    None
}

/// Major and minor of the running kernel.
pub fn kernel_version() -> (u32, u32) {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-', '+']).map(|it| it.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// Lets the kernel end what `command` starts when the test that waits for it is gone.
fn tied(command: &mut Command) -> &mut Command {
    let tie = || {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
            .map_err(Into::into)
    };
    // SAFETY: between fork and exec the closure makes one system call and allocates nothing.
    unsafe { command.pre_exec(tie) }
}

/// Runs a tool that must succeed; gives back what it printed.
fn tool(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command
        .output()
        .unwrap_or_else(|error| panic!("can't run {command:?}: {error} (is it installed?)"));
    assert!(status.success(), "{command:?}: {status}\n{}", String::from_utf8_lossy(&stderr));
    String::from_utf8_lossy(&stdout).into_owned()
}

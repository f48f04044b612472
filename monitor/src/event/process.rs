//! Who sent: a process as it was then, and how that is known.

use std::{fmt, sync::Arc};

use super::{Timestamp, script, words::words};

/// How the process is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Attribution {
    Socket,
    Creator,
    Procfs,
    None,
}

words!(Attribution {
    Socket = "socket",
    Creator = "creator",
    Procfs = "procfs",
    None = "none",
});

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct User {
    pub id: u32,
    pub name: Option<Arc<str>>,
}

/// One of the parents of a process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ancestor {
    pub pid: u32,
    pub name: Arc<str>,
    pub executable: Option<Arc<str>>,
    pub command_line: Option<Arc<str>>,
    pub started_at: Option<Timestamp>,
}

impl Ancestor {
    /// As [`Process::script`].
    pub fn script(&self) -> Option<&str> {
        script::of(self.executable.as_deref()?, self.command_line.as_deref()?)
    }
}

/// Most parents that are told of a process.
pub const PARENTS_MAX: usize = 4;

/// A file as the kernel knows it, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId {
    /// As stat(2) gives it.
    pub device: u64,
    pub inode: u64,
}

/// What is known of the file that a process executed, besides its path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ExecutedFile {
    /// `None`: only a path is known, or nothing.
    pub id: Option<FileId>,
    /// Which exec of the process it was: when, by the boot clock; 0: none since its fork, or since
    /// the probes. Not stored.
    pub executed_ns: u64,
    /// The path leads to this very file also from the host's root, in its mount namespace.
    pub is_hosts: bool,
    /// Other paths that policy rules name and that lead to it there. Not stored.
    pub known_as: Option<Arc<[Arc<str>]>>,
    /// Of its content. `None`: not read yet, or it was gone before it could be.
    pub sha256: Option<[u8; 32]>,
}

/// A process as it was when it sent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    /// The thread group id.
    pub pid: u32,
    /// The kernel's comm: the process chooses it.
    pub name: Arc<str>,
    /// Path of the file that was executed, as the kernel tells it; in a mount namespace or root of
    /// the process's own, the path there.
    pub executable: Option<Arc<str>>,
    /// What was passed to execve(2), where no more is known. Never satisfies an allowing rule.
    pub executable_claimed: Option<Arc<str>>,
    pub file: ExecutedFile,
    /// Arguments joined by spaces.
    pub command_line: Option<Arc<str>>,
    pub started_at: Option<Timestamp>,
    /// Nearest first, at most [`PARENTS_MAX`].
    pub parents: Vec<Ancestor>,
    pub user: User,
    /// systemd unit: `chrony.service`; of a user's manager `user:1000/backup.service`.
    pub unit: Option<Arc<str>>,
    /// Full id or name of the outermost container, as the host's runtime writes it.
    pub container: Option<Arc<str>>,
    /// Path below the cgroup mount: `/system.slice/chrony.service`.
    pub cgroup: Option<Arc<str>>,
    /// Inode of the network namespace, as `lsns -t net` shows it.
    pub netns: Option<u64>,
}

/// Before a program in totals of which only a claim is known. No path begins so.
pub const CLAIMED: &str = "claimed:";

impl Process {
    /// By what name totals are kept: the executable, else what was claimed, marked as such.
    pub fn program(&self) -> Arc<str> {
        let claim = self.executable_claimed.as_ref().unwrap_or(&self.name);
        self.executable.clone().unwrap_or_else(|| format!("{CLAIMED}{claim}").into())
    }

    /// Whether it has this number, or one that is known to be above it.
    pub fn is_within(&self, pid: u32) -> bool {
        self.pid == pid || self.parents.iter().any(|it| it.pid == pid)
    }

    /// What it runs, where the kernel executed an interpreter. A claim: the arguments are the process's own.
    pub fn script(&self) -> Option<&str> {
        script::of(self.executable.as_deref()?, self.command_line.as_deref()?)
    }
}

/// Who sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sender {
    Process {
        process: Arc<Process>,
        attribution: Attribution,
        /// Who made the socket, if another process: it was passed on, or inherited.
        creator: Option<Arc<Process>>,
    },
    /// Forwarded, the kernel's own, or a socket nobody is known to hold.
    Nobody,
}

impl Sender {
    pub fn process(&self) -> Option<&Process> {
        match self {
            Self::Process { process, .. } => Some(process),
            Self::Nobody => None,
        }
    }
    pub fn creator(&self) -> Option<&Process> {
        match self {
            Self::Process { creator, .. } => creator.as_deref(),
            Self::Nobody => None,
        }
    }
    pub fn attribution(&self) -> Attribution {
        match self {
            Self::Process { attribution, .. } => *attribution,
            Self::Nobody => Attribution::None,
        }
    }
}

//! Who sent: names the process of each sample, from the samples of the probes with `/proc` as the
//! fallback. The only reader of `/proc`. Asks no network, not even for the name of a user.
//!
//! A process is a pid and a generation, never a pid alone; see docs/decisions/0004.

mod cgroup;
mod cgroup_sets;
mod cgroups;
mod chooser;
mod connections;
mod container;
mod counters;
pub mod digests;
#[cfg(test)]
mod fake;
mod hosts;
mod links;
pub mod memory;
pub mod namespaces;
mod older;
pub mod own;
mod place;
mod procfs;
mod programs;
mod record;
mod sender;
mod sockets;
mod table;
#[cfg(test)]
mod tests;
mod unit;
pub mod users;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use monitor_ebpf::sample::ExitSample;
use thiserror::Error;

use self::{
    cgroup_sets::CgroupSets,
    cgroups::Cgroups,
    connections::Connections,
    digests::Digests,
    hosts::HostFiles,
    links::LinkSockets,
    older::Older,
    procfs::Reading,
    sockets::Sockets,
    table::{Table, Touch, same_start},
    users::Users,
};
pub use self::{
    links::{LinkFamily, LinkSocket},
    procfs::Procfs,
};
use crate::{
    clock,
    event::{Process, Sender, Timestamp},
};
pub use counters::{Counters, EVENTS};

/// Processes kept at once, the recently ended among them.
pub const PROCESSES_MAX: usize = 32_768;
/// How long an ended process is kept, so that its last samples still find it.
pub const ENDED_KEPT_NS: u64 = 10_000_000_000;

#[derive(Debug, Error)]
pub enum AttributeError {
    #[error("can't list {path}: {error}; mount proc there and let the daemon see every process")]
    Unlisted { path: PathBuf, error: io::Error },
    #[error(
        "started in a PID namespace of its own, where the host's processes can't be named: start it in the host's (containers: `--pid=host`, Kubernetes: `hostPID: true`)"
    )]
    OtherPids,
    #[error(
        "started in a user namespace of its own, whose root may load no probe: start it in the host's (containers: not rootless, `--userns=host`; Kubernetes: `hostUsers: true`)"
    )]
    OtherUsers,
    #[error(
        "{path} is of another PID namespace than this process: mount the host's there, from within it (`mount -t proc proc {path}`)"
    )]
    OtherProc { path: PathBuf },
    #[error(
        "started in a time namespace of its own, which it can't leave ({error}): start it by `nsenter --time=/proc/1/ns/time`, or with CAP_SYS_ADMIN and CAP_SYS_PTRACE"
    )]
    OtherTime { error: io::Error },
}

impl AttributeError {
    /// Whether the host, or how this was started on it, is at fault.
    pub fn is_host(&self) -> bool {
        !matches!(self, Self::Unlisted { .. })
    }
}

/// Translates the probes' clock (`CLOCK_BOOTTIME`) into wall time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootOffset {
    /// The wall clock, in nanoseconds since the epoch, when the boot clock was 0.
    pub wall_at_boot_ns: u64,
}

impl BootOffset {
    /// By what both clocks show now.
    pub fn now() -> Self {
        let between = clock::Clock::host().now().timeline.wall_at_boot_ns;
        Self { wall_at_boot_ns: u64::try_from(between).unwrap_or(0) }
    }

    pub fn wall(self, boot_ns: u64) -> Timestamp {
        Timestamp(self.wall_at_boot_ns.saturating_add(boot_ns))
    }
}

/// When a process last executed a program, by its tgid, as the kernel has it now: 0 as in
/// [`monitor_ebpf::sample::Owner::executed_ns`].
pub type LastExec = Box<dyn Fn(u32) -> u64 + Send>;

/// What was taken for a process turned out to be another program's: (as it was told, as it is).
pub type Correction = (Arc<Process>, Arc<Process>);

/// The cache of processes. Samples come in the order in which the probes wrote them.
pub struct Processes {
    procfs: Procfs,
    clock: BootOffset,
    users: Users,
    table: Table,
    sockets: Sockets,
    links: LinkSockets,
    /// This process's network namespace.
    netns: Option<u64>,
    older: Older,
    hosts: HostFiles,
    cgroups: Cgroups,
    connections: Connections,
    digests: Digests,
    last_exec: Option<LastExec>,
    cgroup_sets: CgroupSets,
    corrected: Vec<Correction>,
    forgotten: u64,
    unenriched: u64,
}

impl fmt::Debug for Processes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Processes").field("table", &self.table).finish_non_exhaustive()
    }
}

impl Default for Processes {
    fn default() -> Self {
        Self::new()
    }
}

impl Processes {
    /// A user by its id.
    pub fn user(&mut self, id: u32) -> crate::event::User {
        self.users.user(id)
    }

    /// Of this host. Empty: call [`Self::scan`] after the probes are attached.
    pub fn new() -> Self {
        Self::with(Procfs::host(), "/etc/passwd", BootOffset::now(), PROCESSES_MAX)
    }

    pub fn with(
        procfs: Procfs,
        passwd: impl Into<PathBuf>,
        clock: BootOffset,
        processes_max: usize,
    ) -> Self {
        Self {
            netns: procfs.netns(std::process::id()),
            hosts: HostFiles::new(&procfs),
            cgroups: Cgroups::default(),
            connections: Connections::default(),
            digests: Digests::default(),
            last_exec: None,
            cgroup_sets: CgroupSets::default(),
            corrected: Vec::new(),
            procfs,
            clock,
            users: Users::new(passwd),
            table: Table::new(processes_max),
            sockets: Sockets::default(),
            links: LinkSockets::default(),
            older: Older::default(),
            forgotten: 0,
            unenriched: 0,
        }
    }

    /// Where the hierarchy of cgroup v2 is mounted: then a cgroup is known by its number.
    pub fn set_cgroups(&mut self, mount: &Path) {
        self.cgroups = Cgroups::at(mount);
    }

    /// From here on the files that processes executed are read for their digests.
    pub fn read_digests(&mut self) -> io::Result<()> {
        self.digests.start(&self.procfs)
    }

    /// Whether files can be looked at as the host sees them. If not, none is known to be the host's,
    /// and no rule for a process allows anything.
    pub fn sees_host_files(&self) -> bool {
        self.hosts.is_seen()
    }

    /// Who knows when a process last executed something: then `/proc` is believed only of that.
    pub fn set_last_exec(&mut self, last_exec: LastExec) {
        self.last_exec = Some(last_exec);
    }

    /// The wall clock may be set while processes live: later starts are told by the new one.
    pub fn set_clock(&mut self, clock: BootOffset) {
        self.clock = clock;
    }

    /// Learns every process that is there, and returns how many are known then.
    pub fn scan(&mut self) -> Result<usize, AttributeError> {
        let pids = self
            .procfs
            .pids()
            .map_err(|error| AttributeError::Unlisted { path: self.procfs.path().into(), error })?;
        let mut readings: Vec<Reading> =
            pids.into_iter().filter_map(|pid| self.procfs.read(pid)).collect();
        // Parents first, as a rule: then each finds its parent in the table.
        readings.sort_by_key(|reading| (reading.started_ns, reading.pid));
        for reading in readings {
            if self.table.born(reading.pid, reading.started_ns).is_none() {
                let parents = self.parents(reading.parent, 0);
                self.put_reading(reading, parents);
            }
        }
        self.sockets.begin(&self.procfs, clock::boot_ns());
        Ok(self.table.len())
    }

    /// The leader of a process exited. What is known of it stays for [`ENDED_KEPT_NS`].
    pub fn forget(&mut self, sample: &ExitSample) {
        self.table.exit(sample.tgid, sample.at_ns);
    }

    /// Forgets what is of no use any more. `now_boot_ns`: the boot clock.
    pub fn expire(&mut self, now_boot_ns: u64) {
        let procfs = &self.procfs;
        self.table.expire(now_boot_ns.saturating_sub(ENDED_KEPT_NS), |tgid, started_ns| {
            procfs.has_threads(tgid, |start_ns| same_start(start_ns, started_ns))
        });
        self.sockets.expire(now_boot_ns);
        self.older.expire(now_boot_ns);
        self.connections.expire(now_boot_ns);
        self.users.expire();
        if self.hosts.refresh() {
            self.rename_files();
        }
    }

    /// Looks for sockets below IP; about every second.
    pub fn look_below_ip(&mut self, now_boot_ns: u64) {
        let held = self.links.look(&self.procfs, std::process::id(), now_boot_ns);
        for (inode, tgid) in held {
            if self.links.all().any(|it| it.inode == inode && it.process.is_none()) {
                let process = self.holder(tgid, now_boot_ns);
                self.links.hold(inode, process);
            }
        }
    }

    /// Sockets below IP that are there, or were a moment ago.
    pub fn below_ip(&self) -> impl Iterator<Item = &LinkSocket> {
        self.links.all()
    }

    /// Whether a process is in this network namespace, as far as is known.
    pub fn is_here(&self, process: &Process) -> bool {
        process.netns.is_none() || process.netns == self.netns
    }

    /// Whether it is surely in this network namespace, and one of root's: others could make a
    /// socket elsewhere and seem to be here.
    pub fn is_of_host(&self, sender: &Sender) -> bool {
        let is_roots = |it: &Process| it.user.id == 0 && it.netns.is_some() && self.is_here(it);
        sender.process().is_some_and(is_roots)
    }

    /// The process that had this pid at that time, as it was then: what was learnt first, since of
    /// one that has exited `/proc` shows no more than a name. `started_ns`: 0 if not known.
    pub fn by_pid(&mut self, tgid: u32, at_ns: u64, started_ns: u64) -> Option<Arc<Process>> {
        let known = match started_ns {
            0 => self.table.find(Touch { tgid, at_ns, started_ns, executed_ns: 0 }),
            // It may have ended since.
            _ => self.table.born(tgid, started_ns),
        };
        let known = known.map(|known| Arc::clone(&known.program(at_ns).latest().process));
        known.or_else(|| self.holder(tgid, at_ns))
    }

    /// Processes known, and the most that can be.
    pub fn entries(&self) -> (usize, usize) {
        (self.table.len(), self.table.capacity())
    }

    pub fn counters(&self) -> Counters {
        Counters {
            evicted: self.table.evicted,
            forgotten: self.forgotten,
            unenriched: self.unenriched,
            socket_searches: self.sockets.searches,
            socket_searches_postponed: self.sockets.postponed,
            socket_searches_cut: self.sockets.cut,
        }
    }
}

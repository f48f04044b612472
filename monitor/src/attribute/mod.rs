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
pub mod namespaces;
mod older;
mod place;
mod procfs;
mod programs;
mod record;
mod sockets;
mod table;
#[cfg(test)]
mod tests;
mod unit;
mod users;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use monitor_ebpf::sample::{EgressSample, ExitSample, Owner, ownership, path};
use thiserror::Error;

use self::cgroup::Cgroup;
use self::{
    cgroup_sets::CgroupSets,
    cgroups::Cgroups,
    connections::Connections,
    digests::Digests,
    hosts::HostFiles,
    links::LinkSockets,
    older::Older,
    procfs::Reading,
    record::{Executed, Learned, Whereabouts},
    sockets::Sockets,
    table::{Generation, Mark, Program, Table, Touch, View, same_start},
    users::Users,
};
pub use self::{
    links::{Family, LinkSocket},
    procfs::{COMMAND_LINE_MAX, Procfs},
};
use crate::{
    clock,
    event::{Ancestor, Attribution, ExecutedFile, Origin, PARENTS_MAX, Process, Sender, Timestamp},
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
pub struct Clock {
    /// The wall clock, in nanoseconds since the epoch, when the boot clock was 0.
    pub wall_at_boot_ns: u64,
}

impl Clock {
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
/// [`Owner::executed_ns`].
pub type LastExec = Box<dyn Fn(u32) -> u64 + Send>;

/// What was taken for a process turned out to be another program's: (as it was told, as it is).
pub type Correction = (Arc<Process>, Arc<Process>);

/// The cache of processes. Samples come in the order in which the probes wrote them.
pub struct Processes {
    procfs: Procfs,
    clock: Clock,
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
        Self::with(Procfs::host(), "/etc/passwd", Clock::now(), PROCESSES_MAX)
    }

    pub fn with(
        procfs: Procfs,
        passwd: impl Into<PathBuf>,
        clock: Clock,
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
    pub fn set_clock(&mut self, clock: Clock) {
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

    /// By which way the flow leaves, and who sends it.
    pub fn attribute(&mut self, sample: &EgressSample) -> (Origin, Sender) {
        match sample.path {
            path::FORWARDED | path::FRAME_FORWARDED => return (Origin::Forwarded, Sender::Nobody),
            path::TUNNEL => return (Origin::Tunnel, Sender::Nobody),
            path::KERNEL | path::FRAME_KERNEL => return (Origin::Kernel, Sender::Nobody),
            path::PACKET | path::FRAME => {
                return (Origin::PacketSocket, self.packet_sender(sample));
            }
            _ => {}
        }
        let (origin, attribution) = match sample.ownership {
            ownership::USER => (Origin::Process, Attribution::Socket),
            ownership::CREATOR => (Origin::Process, Attribution::Creator),
            ownership::LISTENER => (Origin::Accepted, Attribution::Creator),
            _ => return self.unowned(sample),
        };
        // The idle task: nobody called, a timer or an interrupt did.
        if sample.owner.tgid == 0 {
            return (Origin::Kernel, Sender::Nobody);
        }
        let (owner, is_kernel_thread) = self.owner(&sample.owner, sample.at_ns);
        if let Some(sender) = self.of_connection(sample, &owner, is_kernel_thread) {
            return (Origin::Process, sender);
        }
        let sender = self.runner(sample).or_else(|| self.sender_on(sample));
        let (process, attribution) = match sender {
            Some(sender) if !is_kernel_thread => (sender, Attribution::Socket),
            _ => (Arc::clone(&owner), attribution),
        };
        let made = &sample.creator;
        let is_others = made.tgid != 0 && made.tgid != process.pid;
        let maker = is_others.then(|| self.owner(made, sample.at_ns).0);
        let creator = maker.or_else(|| (owner.pid != process.pid).then_some(owner));
        let origin = if is_kernel_thread { Origin::Kernel } else { origin };
        (origin, Sender::Process { process, attribution, creator })
    }

    /// The hook tells no more than who runs, and that only from Linux 6.10 on.
    fn packet_sender(&mut self, sample: &EgressSample) -> Sender {
        match self.runner(sample) {
            Some(process) => {
                Sender::Process { process, attribution: Attribution::Socket, creator: None }
            }
            None => self.unowned(sample).1,
        }
    }

    /// The process as it was when it touched, and whether it is a kernel thread.
    fn owner(&mut self, owner: &Owner, at_ns: u64) -> (Arc<Process>, bool) {
        let touched_ns = if owner.touched_ns == 0 { at_ns } else { owner.touched_ns };
        let Owner { tgid, started_ns, executed_ns, .. } = *owner;
        let touch = Touch { tgid, at_ns: touched_ns, started_ns, executed_ns };
        if let Some(hit) = self.table.hit(touch, owner) {
            return hit;
        }
        let reading = self.procfs.read(tgid).filter(|reading| match started_ns {
            0 => reading.started_ns <= touched_ns,
            started_ns => same_start(reading.started_ns, started_ns),
        });
        let mut known = self.table.find(touch).map(|known| known.started_ns);
        if known.is_none()
            && let Some(reading) = &reading
        {
            // Its leader may have exited while its other threads go on.
            known = self.table.born(tgid, reading.started_ns).map(|known| known.started_ns);
        }
        let Some(started_ns) = known else {
            return self.discovered(owner, touch, reading.as_ref());
        };
        self.changed(owner, touch, started_ns, reading)
    }

    /// A known process shows something new: another name, user, cgroup or network namespace; or a
    /// program of which no exec was told, and which then nobody knows.
    fn changed(
        &mut self,
        owner: &Owner,
        touch: Touch,
        started_ns: u64,
        reading: Option<Reading>,
    ) -> (Arc<Process>, bool) {
        let user = self.users.user(owner.uid);
        let Some(known) = self.table.born(owner.tgid, started_ns) else {
            return self.discovered(owner, touch, reading.as_ref());
        };
        if known.exited_ns.is_some_and(|exited_ns| exited_ns < touch.at_ns) {
            known.exited_ns = Some(touch.at_ns);
        }
        let is_kernel_thread = known.is_kernel_thread;
        let program = known.program_of(touch).map(|program| program.latest().clone());
        let before = program.clone().unwrap_or_else(|| known.latest().latest().clone());
        let executed = match &program {
            Some(view) => Executed::of(&view.process),
            None => self.untold(owner, reading.as_ref()),
        };
        let whereabouts = self.whereabouts(owner, reading.as_ref(), Some(&before));
        let process = Arc::new(record::shown(owner, &before.process, executed, whereabouts, user));
        let view = View { mark: Some(Mark::of(owner)), process: Arc::clone(&process) };
        if let Some(known) = self.table.born(owner.tgid, started_ns) {
            let full = if let Some(program) = known.program_of(touch) {
                program.is_told = true;
                program.show(view)
            } else if touch.executed_ns < known.latest().executed_ns {
                // Of a program that is forgotten: what the process is by now stays as it is.
                false
            } else {
                let mut program = Program::new(touch.executed_ns, view);
                program.is_told = true;
                program.read_ns = reading.map(|reading| reading.read_ns);
                program.is_by_reading = true;
                known.become_program(program)
            };
            self.forgotten += u64::from(full);
        }
        (process, is_kernel_thread)
    }

    /// A process nobody told of: `/proc` tells, or else the sample alone.
    fn discovered(
        &mut self,
        owner: &Owner,
        touch: Touch,
        reading: Option<&Reading>,
    ) -> (Arc<Process>, bool) {
        let user = self.users.user(owner.uid);
        let is_kernel_thread = reading.is_some_and(|reading| reading.is_kernel_thread);
        let executed = self.untold(owner, reading);
        let whereabouts = self.whereabouts(owner, reading, None);
        let name = record::name(owner).or_else(|| Some(reading?.comm.clone()));
        let name = name.unwrap_or_else(|| record::comm(owner));
        let (parents, started_ns, read_ns) = match reading {
            Some(reading) => {
                (self.parents(reading.parent, 0), reading.started_ns, Some(reading.read_ns))
            }
            None => (Vec::new(), touch.started_ns, None),
        };
        let started_at = (started_ns != 0).then(|| self.clock.wall(started_ns));
        let learned = Learned { parents, user, started_at };
        let process = Arc::new(record::process(owner.tgid, &name, executed, whereabouts, learned));
        let view = View { mark: Some(Mark::of(owner)), process: Arc::clone(&process) };
        let mut program = Program::new(touch.executed_ns, view);
        program.is_told = true;
        program.read_ns = read_ns;
        program.is_by_reading = true;
        let started_ns = if started_ns == 0 { touch.at_ns } else { started_ns };
        let mut generation = Generation::new(started_ns, is_kernel_thread, program);
        generation.exited_ns = read_ns.is_none().then_some(touch.at_ns);
        self.table.put(owner.tgid, generation);
        (process, is_kernel_thread)
    }

    /// Where a process belongs: by the number of its cgroup, which no move since can change.
    fn whereabouts(
        &mut self,
        owner: &Owner,
        reading: Option<&Reading>,
        before: Option<&View>,
    ) -> Whereabouts {
        // An exec does not say in which network namespace, and comes after most changes of it.
        let is_known = |view: &&View| {
            let cookie = view.mark.map_or(0, |mark| mark.netns_cookie);
            cookie != 0 && cookie == owner.netns_cookie
        };
        let is_possible = |view: &&View| {
            let cookie = view.mark.map_or(0, |mark| mark.netns_cookie);
            cookie == 0 || owner.netns_cookie == 0
        };
        let known = before.filter(is_known).and_then(|view| view.process.netns);
        let read = reading.and_then(|reading| reading.netns);
        let possible = before.filter(is_possible).and_then(|view| view.process.netns);
        let netns = known.or(read).or(possible);
        Whereabouts { cgroup: self.cgroup(owner.cgroup_id, reading, before), netns }
    }

    fn cgroup(
        &mut self,
        id: u64,
        reading: Option<&Reading>,
        before: Option<&View>,
    ) -> Option<Cgroup> {
        let path = self.cgroups.path(id);
        let known = |is_it: fn(&Mark, u64) -> bool| {
            let view = before.filter(|view| view.mark.is_some_and(|mark| is_it(&mark, id)))?;
            let Process { cgroup, unit, container, .. } = &*view.process;
            let (unit, container) = (unit.clone(), container.clone());
            Some(Cgroup { path: cgroup.clone()?, unit, container })
        };
        let is_same: fn(&Mark, u64) -> bool = |mark, id| mark.cgroup_id == id;
        // Of what `/proc` says the hierarchy of v2 can be compared, and others, older, can not.
        let is_there = |reading: &&Reading| {
            let has_program = reading.executable.is_some() || reading.command_line.is_some();
            match &path {
                Some(path) => reading.unified.as_ref().is_some_and(|it| **it == **path),
                // A zombie has left its cgroups of before v2.
                None => has_program,
            }
        };
        if let Some(reading) = reading.filter(is_there) {
            return reading.cgroup.clone();
        }
        if let Some(known) = known(is_same) {
            return Some(known);
        }
        path.and_then(|path| Cgroup::parse(&format!("0::{path}")))
    }

    /// The chain that begins with this process, read from `/proc` where it is not known.
    fn parents(&mut self, tgid: u32, depth: usize) -> Vec<Ancestor> {
        if tgid == 0 || depth >= PARENTS_MAX {
            return Vec::new();
        }
        if self.table.newest(tgid).is_none_or(|known| known.exited_ns.is_some()) {
            let Some(reading) = self.procfs.read(tgid) else { return Vec::new() };
            let parents = self.parents(reading.parent, depth + 1);
            self.put_reading(reading, parents);
        }
        self.table
            .newest(tgid)
            .map_or(Vec::new(), |known| lineage(&known.latest().latest().process))
    }

    fn read_into_table(&mut self, tgid: u32, is_it: impl Fn(u64) -> bool) {
        if let Some(reading) = self.procfs.read(tgid).filter(|reading| is_it(reading.started_ns)) {
            let parents = self.parents(reading.parent, 0);
            self.put_reading(reading, parents);
        }
    }

    fn put_reading(&mut self, reading: Reading, parents: Vec<Ancestor>) {
        let (pid, started_ns, read_ns) = (reading.pid, reading.started_ns, reading.read_ns);
        let is_kernel_thread = reading.is_kernel_thread;
        let process = self.as_read(reading, parents);
        let mut program = Program::new(0, View { mark: None, process: Arc::new(process) });
        program.read_ns = Some(read_ns);
        program.is_by_reading = true;
        self.table.put(pid, Generation::new(started_ns, is_kernel_thread, program));
    }

    /// As `/proc` tells it.
    fn as_read(&mut self, reading: Reading, parents: Vec<Ancestor>) -> Process {
        let user = self.users.user(reading.uid);
        let started_at = Some(self.clock.wall(reading.started_ns));
        let file = self.hosts.identify(reading.executable.as_deref(), reading.file);
        let executed_ns = self.last_exec.as_ref().map_or(0, |last_exec| last_exec(reading.pid));
        let file = ExecutedFile { executed_ns, ..file };
        record::read(reading, file, Learned { parents, user, started_at })
    }
}

/// The parents of a child of this process.
fn lineage(process: &Process) -> Vec<Ancestor> {
    let nearest = Ancestor {
        pid: process.pid,
        name: Arc::clone(&process.name),
        executable: process.executable.clone(),
        command_line: process.command_line.clone(),
        started_at: process.started_at,
    };
    let rest = process.parents.iter().take(PARENTS_MAX - 1).cloned();
    std::iter::once(nearest).chain(rest).collect()
}

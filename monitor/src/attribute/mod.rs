//! Who sent: names the process of each sample, from the samples of the probes with `/proc` as the
//! fallback. The only reader of `/proc`. Asks no network, not even for the name of a user.
//!
//! A process is a pid and a generation, never a pid alone; see docs/decisions/0004.

mod cgroup;
mod container;
#[cfg(test)]
mod fake;
mod links;
mod older;
mod procfs;
mod record;
mod sockets;
mod table;
#[cfg(test)]
mod tests;
mod unit;
mod users;

use std::{io, path::PathBuf, sync::Arc};

use monitor_ebpf::sample::{
    EgressSample, ExecSample, ExitSample, ForkSample, Owner, ownership, path,
};
use rustc_hash::FxHashMap;
use rustix::time::{ClockId, clock_gettime};
use thiserror::Error;

use self::{
    links::LinkSockets,
    procfs::Reading,
    record::{Change, Learned},
    sockets::Sockets,
    table::{Generation, Mark, Program, Table, Touch, View, same_start},
    users::Users,
};
pub use self::{
    links::{Family, LinkSocket},
    procfs::{COMMAND_LINE_MAX, Procfs},
};
use crate::event::{Ancestor, Attribution, Origin, PARENTS_MAX, Process, Sender, Timestamp};

/// Processes kept at once, the recently ended among them.
pub const PROCESSES_MAX: usize = 32_768;
/// How long an ended process is kept, so that its last samples still find it.
pub const ENDED_KEPT_NS: u64 = 10_000_000_000;

#[derive(Debug, Error)]
pub enum AttributeError {
    #[error("can't list {path}: {error}; mount proc there and let the daemon see every process")]
    Unlisted { path: PathBuf, error: io::Error },
}

/// Translates the probes' clock (`CLOCK_BOOTTIME`) into wall time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// The wall clock, in nanoseconds since the epoch, when the boot clock was 0.
    pub wall_at_boot_ns: u64,
}

fn now_ns(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let secs = u64::try_from(time.tv_sec).unwrap_or(0);
    secs.saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}

impl Clock {
    /// By what both clocks show now.
    pub fn now() -> Self {
        Self {
            wall_at_boot_ns: now_ns(ClockId::Realtime).saturating_sub(now_ns(ClockId::Boottime)),
        }
    }

    pub fn wall(self, boot_ns: u64) -> Timestamp {
        Timestamp(self.wall_at_boot_ns.saturating_add(boot_ns))
    }
}

/// What could not be kept or found, since the start. Each only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Processes forgotten before their time because the table was full; `/proc` is asked again.
    pub evicted: u64,
    /// Former programs or views of a process forgotten because it had too many.
    pub forgotten: u64,
    /// Samples whose process only the sample itself could tell of.
    pub unenriched: u64,
    /// Searches through all of `/proc` for the holder of a socket.
    pub socket_searches: u64,
    /// Samples that stayed without a process because the next search was not due.
    pub socket_searches_postponed: u64,
    /// Searches that hit a bound before they had seen everything.
    pub socket_searches_cut: u64,
}

/// The holder of a socket that is older than the probes, if one was found, and when.
type Held = (Option<Arc<Process>>, u64);

/// The cache of processes. Samples come in the order in which the probes wrote them.
#[derive(Debug)]
pub struct Processes {
    procfs: Procfs,
    clock: Clock,
    users: Users,
    table: Table,
    sockets: Sockets,
    links: LinkSockets,
    /// This process's network namespace.
    netns: Option<u64>,
    /// By socket cookie.
    held: FxHashMap<u64, Held>,
    /// Told without their process, because no search was due.
    postponed: Vec<EgressSample>,
    forgotten: u64,
    unenriched: u64,
}

impl Default for Processes {
    fn default() -> Self {
        Self::new()
    }
}

impl Processes {
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
            procfs,
            clock,
            users: Users::new(passwd),
            table: Table::new(processes_max),
            sockets: Sockets::default(),
            links: LinkSockets::default(),
            held: FxHashMap::default(),
            postponed: Vec::new(),
            forgotten: 0,
            unenriched: 0,
        }
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
        self.sockets.begin(&self.procfs, now_ns(ClockId::Boottime));
        Ok(self.table.len())
    }

    /// A child is what its parent is, until it executes something.
    pub fn learn_fork(&mut self, sample: &ForkSample) {
        let at_ns = sample.at_ns;
        let parent = Touch { tgid: sample.parent_tgid, at_ns, started_ns: 0 };
        let Some(parent) = self.table.find(parent) else {
            self.read_into_table(sample.child_tgid, |started_ns| same_start(started_ns, at_ns));
            return;
        };
        let view = parent.program(at_ns).latest();
        let process = Process {
            pid: sample.child_tgid,
            started_at: Some(self.clock.wall(at_ns)),
            parents: lineage(&view.process),
            ..(*view.process).clone()
        };
        let view = View { mark: view.mark, process: Arc::new(process) };
        let is_kernel_thread = parent.is_kernel_thread;
        let program = Program::new(0, true, view);
        let generation = Generation::new(at_ns, is_kernel_thread, program);
        self.table.put(sample.child_tgid, generation);
    }

    /// A process became another program: what it is now is read from `/proc` at once, and what
    /// it was stays known for samples of before.
    pub fn learn_exec(&mut self, sample: &ExecSample) {
        let owner = &sample.process;
        let reading = self.procfs.read(owner.tgid);
        let known = match owner.started_ns {
            0 => self.table.newest(owner.tgid).filter(|known| known.started_ns <= sample.at_ns),
            started_ns => self.table.born(owner.tgid, started_ns).map(|known| &*known),
        };
        let known_start = known.map(|known| known.started_ns);
        let before = known.map(|known| known.latest().latest().clone());
        let reading = reading.filter(|reading| match (known_start, owner.started_ns) {
            (Some(started_ns), _) | (None, started_ns @ 1..) => {
                same_start(reading.started_ns, started_ns)
            }
            (None, 0) => reading.started_ns <= sample.at_ns,
        });
        let parents = match (&before, &reading) {
            (Some(before), _) => before.process.parents.clone(),
            (None, Some(reading)) => self.parents(reading.parent, 0),
            (None, None) => self.parents(sample.parent_tgid, 0),
        };
        let started_ns = known_start
            .or(reading.as_ref().map(|reading| reading.started_ns))
            .or((owner.started_ns != 0).then_some(owner.started_ns));
        let learned = Learned {
            parents,
            user: self.users.user(owner.uid),
            started_at: started_ns.map(|at_ns| self.clock.wall(at_ns)),
        };
        let process = record::executed(sample, reading, before.as_ref(), learned);
        let view = View { mark: Some(Mark::of(owner)), process: Arc::new(process) };
        let program = Program::new(sample.at_ns, false, view);
        let known = known_start.and_then(|started_ns| self.table.born(owner.tgid, started_ns));
        if let Some(known) = known {
            // When a thread executes, the leader exits first and the process lives on.
            known.exited_ns = None;
            known.is_kernel_thread = false;
            self.forgotten += u64::from(known.become_program(program));
        } else {
            let started_ns = started_ns.unwrap_or(sample.at_ns);
            self.table.put(owner.tgid, Generation::new(started_ns, false, program));
        }
    }

    /// The leader of a process exited. What is known of it stays for [`ENDED_KEPT_NS`].
    pub fn forget(&mut self, sample: &ExitSample) {
        self.table.exit(sample.tgid, sample.at_ns);
    }

    /// Forgets what is of no use any more. `now_boot_ns`: the boot clock.
    pub fn expire(&mut self, now_boot_ns: u64) {
        self.table.expire(now_boot_ns.saturating_sub(ENDED_KEPT_NS));
        self.sockets.expire(now_boot_ns);
    }

    /// Looks for sockets below IP; about every second.
    pub fn look_below_ip(&mut self, now_boot_ns: u64) {
        let held = self.links.look(&self.procfs, std::process::id(), now_boot_ns);
        for (inode, tgid) in held {
            // Of several holders, the lowest pid comes first: the parent, as a rule.
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
            0 => self.table.find(Touch { tgid, at_ns, started_ns }),
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
            path::FORWARDED => return (Origin::Forwarded, Sender::Nobody),
            path::TUNNEL => return (Origin::Tunnel, Sender::Nobody),
            path::KERNEL => return (Origin::Kernel, Sender::Nobody),
            path::PACKET => return (Origin::PacketSocket, self.packet_sender(sample)),
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
        let (process, attribution) = match self.runner(sample) {
            Some(runner) if !is_kernel_thread => (runner, Attribution::Socket),
            _ => (owner, attribution),
        };
        let made = &sample.creator;
        let is_others = made.tgid != 0 && made.tgid != process.pid;
        let creator = is_others.then(|| self.owner(made, sample.at_ns).0);
        let origin = if is_kernel_thread { Origin::Kernel } else { origin };
        (origin, Sender::Process { process, attribution, creator })
    }

    /// The hook tells no more than the process, and that only from Linux 6.10 on.
    fn packet_sender(&mut self, sample: &EgressSample) -> Sender {
        if sample.owner.tgid == 0 {
            return self.unowned(sample).1;
        }
        let Owner { tgid, started_ns, .. } = sample.owner;
        match self.by_pid(tgid, sample.at_ns, started_ns) {
            Some(process) => {
                Sender::Process { process, attribution: Attribution::Socket, creator: None }
            }
            None => Sender::Nobody,
        }
    }

    fn owner(&mut self, owner: &Owner, at_ns: u64) -> (Arc<Process>, bool) {
        let touched_ns = if owner.touched_ns == 0 { at_ns } else { owner.touched_ns };
        let touch = Touch { tgid: owner.tgid, at_ns: touched_ns, started_ns: owner.started_ns };
        if let Some(hit) = self.table.hit(touch, owner) {
            return hit;
        }
        let reading = self.procfs.read(owner.tgid).filter(|reading| match owner.started_ns {
            0 => reading.started_ns <= touched_ns,
            started_ns => same_start(reading.started_ns, started_ns),
        });
        let mut known = self.table.find(touch).map(|known| known.started_ns);
        if known.is_none()
            && let Some(reading) = &reading
        {
            // Its leader may have exited while its other threads go on.
            known = self.table.born(owner.tgid, reading.started_ns).map(|known| known.started_ns);
        }
        let Some(started_ns) = known else { return self.discovered(owner, touch, reading) };
        self.changed(owner, touch, started_ns, reading)
    }

    /// A known process shows something new: another name, user, cgroup or network namespace.
    fn changed(
        &mut self,
        owner: &Owner,
        touch: Touch,
        started_ns: u64,
        reading: Option<Reading>,
    ) -> (Arc<Process>, bool) {
        let user = self.users.user(owner.uid);
        let Some(known) = self.table.born(owner.tgid, started_ns) else {
            return self.discovered(owner, touch, reading);
        };
        if known.exited_ns.is_some_and(|exited_ns| exited_ns < touch.at_ns) {
            known.exited_ns = Some(touch.at_ns);
        }
        let is_kernel_thread = known.is_kernel_thread;
        let program = known.program_mut(touch.at_ns);
        let before = program.latest();
        let (process, change) = record::shown(owner, reading, before, program.inherited, user);
        let process = Arc::new(process);
        let view = View { mark: Some(Mark::of(owner)), process: Arc::clone(&process) };
        let full = match change {
            Change::View => program.show(view),
            Change::Program => known.become_program(Program::new(touch.at_ns, false, view)),
        };
        self.forgotten += u64::from(full);
        (process, is_kernel_thread)
    }

    /// A process nobody told of: `/proc` tells, or else the sample alone.
    fn discovered(
        &mut self,
        owner: &Owner,
        touch: Touch,
        reading: Option<Reading>,
    ) -> (Arc<Process>, bool) {
        let user = self.users.user(owner.uid);
        let is_kernel_thread = reading.as_ref().is_some_and(|reading| reading.is_kernel_thread);
        let (process, started_ns, exited_ns) = if let Some(reading) = reading {
            let parents = self.parents(reading.parent, 0);
            let started_ns = reading.started_ns;
            let started_at = Some(self.clock.wall(started_ns));
            let learned = Learned { parents, user, started_at };
            (record::discovered(owner, reading, learned), started_ns, None)
        } else {
            self.unenriched += 1;
            let started_at = (touch.started_ns != 0).then(|| self.clock.wall(touch.started_ns));
            let started_ns = if touch.started_ns == 0 { touch.at_ns } else { touch.started_ns };
            let learned = Learned { parents: Vec::new(), user, started_at };
            (record::sampled(owner, learned), started_ns, Some(touch.at_ns))
        };
        let process = Arc::new(process);
        let view = View { mark: Some(Mark::of(owner)), process: Arc::clone(&process) };
        let program = Program::new(0, false, view);
        let mut generation = Generation::new(started_ns, is_kernel_thread, program);
        generation.exited_ns = exited_ns;
        self.table.put(owner.tgid, generation);
        (process, is_kernel_thread)
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
        let (pid, started_ns) = (reading.pid, reading.started_ns);
        let is_kernel_thread = reading.is_kernel_thread;
        let user = self.users.user(reading.uid);
        let learned = Learned { parents, user, started_at: Some(self.clock.wall(started_ns)) };
        let view = View { mark: None, process: Arc::new(record::read(reading, learned)) };
        let program = Program::new(0, false, view);
        self.table.put(pid, Generation::new(started_ns, is_kernel_thread, program));
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

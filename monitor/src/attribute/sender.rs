//! Who sent: the process behind a sample, as it was then, from what samples told and `/proc` still tells.

use std::sync::Arc;

use monitor_ebpf::sample::{EgressSample, Owner, ownership, path};

use super::{
    Processes,
    cgroup::Cgroup,
    procfs::Reading,
    record::{self, Executed, Learned, Whereabouts},
    table::{Generation, Mark, Program, Touch, View, same_start},
};
use crate::event::{Ancestor, Attribution, ExecutedFile, Origin, PARENTS_MAX, Process, Sender};

impl Processes {
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
    pub(super) fn owner(&mut self, owner: &Owner, at_ns: u64) -> (Arc<Process>, bool) {
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
    pub(super) fn whereabouts(
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

    pub(super) fn cgroup(
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
    pub(super) fn parents(&mut self, tgid: u32, depth: usize) -> Vec<Ancestor> {
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

    pub(super) fn read_into_table(&mut self, tgid: u32, is_it: impl Fn(u64) -> bool) {
        if let Some(reading) = self.procfs.read(tgid).filter(|reading| is_it(reading.started_ns)) {
            let parents = self.parents(reading.parent, 0);
            self.put_reading(reading, parents);
        }
    }

    pub(super) fn put_reading(&mut self, reading: Reading, parents: Vec<Ancestor>) {
        let (pid, started_ns, read_ns) = (reading.pid, reading.started_ns, reading.read_ns);
        let is_kernel_thread = reading.is_kernel_thread;
        let process = self.as_read(reading, parents);
        let mut program = Program::new(0, View { mark: None, process: Arc::new(process) });
        program.read_ns = Some(read_ns);
        program.is_by_reading = true;
        self.table.put(pid, Generation::new(started_ns, is_kernel_thread, program));
    }

    /// As `/proc` tells it.
    pub(super) fn as_read(&mut self, reading: Reading, parents: Vec<Ancestor>) -> Process {
        let user = self.users.user(reading.uid);
        let started_at = Some(self.clock.wall(reading.started_ns));
        let file = self.hosts.identify(reading.executable.as_deref(), reading.file);
        let executed_ns = self.last_exec.as_ref().map_or(0, |last_exec| last_exec(reading.pid));
        let file = ExecutedFile { executed_ns, ..file };
        record::read(reading, file, Learned { parents, user, started_at })
    }
}

/// The parents of a child of this process.
pub(super) fn lineage(process: &Process) -> Vec<Ancestor> {
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

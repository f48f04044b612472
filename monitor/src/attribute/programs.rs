//! What each process executed: learns it from the probes, which number every exec, and from `/proc`
//! where they can't tell the file. `/proc` shows what a process is now, so of what it says nothing is
//! believed that a later exec may have made so.

use std::sync::Arc;

use monitor_ebpf::sample::{ExecSample, ForkSample, Owner};

use super::{
    Processes,
    digests::{REASONS, Run, Sha256Digest},
    procfs::Reading,
    record::{self, Executed, Learned, Told},
    sender::lineage,
    table::{Generation, Mark, Program, ProgramId, Touch, View, same_start},
};
use crate::event::{ExecutedFile, Process};

/// An exec is told when it is over; `/proc` shows the new program from some moment of it on. It takes
/// so much less long than this that a reading of before is of the former program.
const EXEC_LONGEST_NS: u64 = 2_000_000_000;

impl Processes {
    /// A child is what its parent is, until it executes something.
    pub fn learn_fork(&mut self, sample: &ForkSample) {
        let at_ns = sample.at_ns;
        let parent = Touch { tgid: sample.parent_tgid, at_ns, started_ns: 0, executed_ns: 0 };
        let Some(parent) = self.table.find(parent) else {
            self.read_into_table(sample.child_tgid, |started_ns| same_start(started_ns, at_ns));
            return;
        };
        let (is_kernel_thread, started_ns) = (parent.is_kernel_thread, parent.started_ns);
        let inherited = parent.latest_mut();
        inherited.is_inherited = true;
        let origin = inherited.origin.unwrap_or(ProgramId {
            tgid: sample.parent_tgid,
            started_ns,
            executed_ns: inherited.executed_ns,
        });
        let view = inherited.latest();
        let known = &view.process;
        let process = Process {
            pid: sample.child_tgid,
            started_at: Some(self.clock.wall(at_ns)),
            parents: lineage(known),
            file: ExecutedFile { executed_ns: 0, ..known.file.clone() },
            ..(**known).clone()
        };
        let mut program = Program::new(0, View { mark: view.mark, process: Arc::new(process) });
        program.origin = Some(origin);
        program.is_by_reading = inherited.is_by_reading;
        program.claimed.clone_from(&inherited.claimed);
        let generation = Generation::new(at_ns, is_kernel_thread, program);
        self.table.put(sample.child_tgid, generation);
    }

    /// A process became another program. What it was stays known for samples of before.
    pub fn learn_exec(&mut self, sample: &ExecSample) {
        let owner = &sample.process;
        let Owner { tgid, started_ns, executed_ns, .. } = *owner;
        self.doubt(tgid, started_ns, executed_ns);
        let known = match started_ns {
            0 => self.table.newest(tgid).filter(|known| known.started_ns <= executed_ns),
            started_ns => self.table.born(tgid, started_ns).map(|known| &*known),
        };
        let known_start = known.map(|known| known.started_ns);
        let before = known.map(|known| known.latest().latest().clone());
        let reading = self.procfs.read(tgid).filter(|reading| match (known_start, started_ns) {
            (Some(started_ns), _) | (None, started_ns @ 1..) => {
                same_start(reading.started_ns, started_ns)
            }
            (None, 0) => reading.started_ns <= executed_ns,
        });
        let parents = match (&before, &reading) {
            (Some(before), _) => before.process.parents.clone(),
            (None, Some(reading)) => self.parents(reading.parent, 0),
            (None, None) => self.parents(sample.parent_tgid, 0),
        };
        let started_ns = known_start
            .or(reading.as_ref().map(|reading| reading.started_ns))
            .or((started_ns != 0).then_some(started_ns));
        let told = Told::of(sample);
        let mut whereabouts = self.whereabouts(owner, reading.as_ref(), before.as_ref());
        whereabouts.netns = told.netns.or(whereabouts.netns);
        self.know_cgroups(sample.cgroups, reading.as_ref(), before.as_ref(), &mut whereabouts);
        let (is_by_reading, claimed) = (told.file.is_none(), told.claimed.clone());
        let rests_on_reading = is_by_reading || told.command_line.is_none();
        let executed = self.executed(told, owner, reading.as_ref());
        let learned = Learned {
            parents,
            user: self.users.user(owner.uid),
            started_at: started_ns.map(|at_ns| self.clock.wall(at_ns)),
        };
        let process = record::process(tgid, &record::comm(owner), executed, whereabouts, learned);
        let view = View { mark: Some(Mark::of(owner)), process: Arc::new(process) };
        let mut program = Program::new(executed_ns, view);
        program.read_ns = reading.filter(|_| rests_on_reading).map(|reading| reading.read_ns);
        program.is_by_reading = is_by_reading;
        program.claimed = claimed;
        let known = known_start.and_then(|started_ns| self.table.born(tgid, started_ns));
        if let Some(known) = known {
            // When a thread executes, the leader exits first and the process lives on.
            known.exited_ns = None;
            known.is_kernel_thread = false;
            self.forgotten += u64::from(known.become_program(program));
        } else {
            self.table
                .put(tgid, Generation::new(started_ns.unwrap_or(executed_ns), false, program));
        }
    }

    /// The file by the kernel's word, else by `/proc` while it shows this program; what was passed to
    /// execve(2) is a claim.
    fn executed(&mut self, told: Told, owner: &Owner, reading: Option<&Reading>) -> Executed {
        let reading = reading.filter(|reading| self.is_of(owner, reading));
        let read = || reading.and_then(|it| it.command_line.as_deref()).map(Into::into);
        let command_line = told.command_line.or_else(read);
        let (path, id) = if let Some(id) = told.file {
            // Where the path did not fit into the sample, it is `/proc` that has it.
            let read = || reading.filter(|it| it.file == Some(id))?.executable.clone();
            (told.path.or_else(|| read().map(Into::into)), Some(id))
        } else {
            let path = reading.and_then(|it| it.executable.as_deref());
            (path.map(Into::into), reading.and_then(|it| it.file))
        };
        let file = self.hosts.identify(path.as_deref(), id);
        let file = ExecutedFile { executed_ns: owner.executed_ns, ..file };
        let claimed = if path.is_none() { told.claimed } else { None };
        Executed { path, claimed, file, command_line }
    }

    /// A program of which no exec was told: as `/proc` shows it, where that can't be a later one.
    pub(super) fn untold(&mut self, owner: &Owner, reading: Option<&Reading>) -> Executed {
        let Some(reading) = reading.filter(|reading| self.is_of(owner, reading)) else {
            self.unenriched += 1;
            return Executed::default();
        };
        let path = reading.executable.as_deref();
        Executed {
            path: path.map(Into::into),
            claimed: None,
            file: ExecutedFile {
                executed_ns: owner.executed_ns,
                ..self.hosts.identify(path, reading.file)
            },
            command_line: reading.command_line.as_deref().map(Into::into),
        }
    }

    /// Whether `/proc`, as it was read, shows the program that the owner was. A zombie still has a
    /// name, but no program.
    fn is_of(&self, owner: &Owner, reading: &Reading) -> bool {
        let has_program = reading.executable.is_some() || reading.command_line.is_some();
        let is_last = self
            .last_exec
            .as_ref()
            .is_none_or(|last_exec| last_exec(owner.tgid) == owner.executed_ns);
        has_program && is_last
    }

    /// A process executed something: what `/proc` said of the program before may be of this one.
    fn doubt(&mut self, tgid: u32, started_ns: u64, executed_ns: u64) {
        let known = match started_ns {
            0 => self.table.find(Touch { tgid, at_ns: executed_ns, started_ns, executed_ns: 0 }),
            started_ns => self.table.born(tgid, started_ns),
        };
        let Some(known) = known else { return };
        let started_ns = known.started_ns;
        let program = known.latest_mut();
        let is_late = |read_ns: u64| executed_ns < read_ns.saturating_add(EXEC_LONGEST_NS);
        if !program.read_ns.is_some_and(is_late) {
            return;
        }
        let id = ProgramId { tgid, started_ns, executed_ns: program.executed_ns };
        let is_inherited = program.is_inherited;
        correct(program, &mut self.corrected);
        if is_inherited {
            for program in self.table.inherited_mut(id) {
                correct(program, &mut self.corrected);
            }
        }
    }

    /// The policy's paths, by which its rules know programs.
    pub fn set_rule_paths(&mut self, paths: &[Arc<str>]) {
        self.hosts.set_ruled(paths);
        self.rename_files();
    }

    /// Which paths of the policy lead to the files of the known programs, anew.
    pub(super) fn rename_files(&mut self) {
        for view in self.table.views_mut() {
            let Process { file, executable, .. } = &*view.process;
            let Some(id) = file.id else { continue };
            let known_as = self.hosts.known_as(id, executable.as_deref());
            if known_as != file.known_as {
                Arc::make_mut(&mut view.process).file.known_as = known_as;
            }
        }
    }

    /// Of the file that a process executed; `None` also while it is being read.
    pub fn digest(&mut self, process: &Process) -> Option<Sha256Digest> {
        let executed_ns = process.file.executed_ns;
        let executed_at = (executed_ns != 0).then(|| self.clock.wall(executed_ns));
        self.digests.of(process, executed_at)
    }

    /// Whether the digest of the file is on its way.
    pub fn awaits_digest(&self, process: &Process) -> bool {
        Run::of(process).is_some_and(|run| self.digests.is_awaited(run))
    }

    /// Digests that came since this was last asked; processes have theirs from now on.
    pub fn learn_digests(&mut self) -> Vec<(Run, Sha256Digest)> {
        let last_exec = &self.last_exec;
        let is_last = |run: Run| {
            last_exec.as_ref().is_none_or(|last_exec| last_exec(run.pid) == run.executed_ns)
        };
        let learned = self.digests.take(is_last);
        if learned.is_empty() {
            return learned;
        }
        for view in self.table.views_mut() {
            let run = Run::of(&view.process);
            let new = learned.iter().find(|(of, _)| run == Some(*of));
            if let Some((_, digest)) = new.filter(|_| view.process.file.sha256.is_none()) {
                Arc::make_mut(&mut view.process).file.sha256 = Some(*digest);
            }
        }
        learned
    }

    /// The policy's paths that lead to what a process executed, as they are now.
    pub fn known_as(&self, process: &Process) -> Option<Arc<[Arc<str>]>> {
        self.hosts.known_as(process.file.id?, process.executable.as_deref())
    }

    /// Files whose digest could not be read, by [`super::digests::REASONS`].
    pub fn digests_lost(&self) -> [u64; REASONS.len()] {
        self.digests.lost()
    }

    /// What was told wrongly of processes, since this was last asked.
    pub fn corrections(&mut self) -> Vec<super::Correction> {
        std::mem::take(&mut self.corrected)
    }
}

/// Leaves of a program what does not rest on a reading of `/proc`.
fn correct(program: &mut Program, corrected: &mut Vec<super::Correction>) {
    program.read_ns = None;
    let (is_by_reading, is_told) = (program.is_by_reading, program.is_told);
    let claimed = program.claimed.clone();
    for view in program.views_mut() {
        let known = &view.process;
        if known.command_line.is_none() && !(is_by_reading && known.executable.is_some()) {
            continue;
        }
        let mut process = Process { command_line: None, ..(**known).clone() };
        if is_by_reading {
            process.executable = None;
            process.executable_claimed.clone_from(&claimed);
            process.file = ExecutedFile::default();
        }
        let process = Arc::new(process);
        let before = std::mem::replace(&mut view.process, Arc::clone(&process));
        if is_told {
            corrected.push((before, process));
        }
    }
}

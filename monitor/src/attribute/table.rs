//! The table of processes by (pid, generation), with the programs each has been and the views each
//! program has shown. Bounded and forgetful; does no I/O.

use std::{
    collections::{VecDeque, hash_map::Entry},
    sync::Arc,
};

use monitor_ebpf::sample::Owner;
use rustc_hash::FxHashMap;

use crate::event::Process;

/// How far two tellings of one process's start may lie apart: `/proc` cuts to ticks of 10 ms, and
/// the fork is told after the kernel noted the start, which it may be preempted in between.
const START_SLACK_NS: u64 = 110_000_000;
/// Programs kept of one process; each exec adds one.
const PROGRAMS_MAX: usize = 8;
/// Views kept of one program; each change of name, user, cgroup or network namespace adds one.
const VIEWS_MAX: usize = 8;

/// What a sample says of a process that may change while its program stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) comm: [u8; 16],
    pub(super) uid: u32,
    pub(super) cgroup_id: u64,
    /// 0: not known.
    pub(super) netns_cookie: u64,
}

impl Mark {
    pub(super) fn of(owner: &Owner) -> Self {
        Self {
            comm: owner.comm,
            uid: owner.uid,
            cgroup_id: owner.cgroup_id,
            netns_cookie: owner.netns_cookie,
        }
    }

    /// A worker thread has a name of its own, so only the leader's is compared.
    fn fits(&self, owner: &Owner) -> bool {
        self.uid == owner.uid
            && self.cgroup_id == owner.cgroup_id
            && (self.netns_cookie == owner.netns_cookie
                || self.netns_cookie == 0
                || owner.netns_cookie == 0)
            && (owner.tid != owner.tgid || self.comm == owner.comm)
    }
}

/// A program as a process showed it.
#[derive(Clone, Debug)]
pub(super) struct View {
    /// `None`: read from `/proc`, and no sample has confirmed it yet.
    pub(super) mark: Option<Mark>,
    pub(super) process: Arc<Process>,
}

/// Which program of which process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ProgramId {
    pub(super) tgid: u32,
    pub(super) started_ns: u64,
    pub(super) executed_ns: u64,
}

/// What a process has been from one exec to the next.
#[derive(Clone, Debug)]
pub(super) struct Program {
    /// When it was executed, which is its number; 0 where the process came with it, by its fork or
    /// before the probes.
    pub(super) executed_ns: u64,
    /// When `/proc` was read for it, which then may have shown a later one.
    pub(super) read_ns: Option<u64>,
    /// The executable is by that reading, and not by the kernel's word.
    pub(super) is_by_reading: bool,
    /// What was passed to execve(2).
    pub(super) claimed: Option<Arc<str>>,
    /// Of the parent, which it came from by a fork.
    pub(super) origin: Option<ProgramId>,
    /// A flow was told with it.
    pub(super) is_told: bool,
    /// Children came with it.
    pub(super) is_inherited: bool,
    first: View,
    /// Oldest first.
    later: VecDeque<View>,
}

impl Program {
    pub(super) fn new(executed_ns: u64, view: View) -> Self {
        Self {
            executed_ns,
            read_ns: None,
            is_by_reading: false,
            claimed: None,
            origin: None,
            is_told: false,
            is_inherited: false,
            first: view,
            later: VecDeque::new(),
        }
    }

    pub(super) fn views_mut(&mut self) -> impl Iterator<Item = &mut View> {
        std::iter::once(&mut self.first).chain(&mut self.later)
    }

    pub(super) fn latest(&self) -> &View {
        self.later.back().unwrap_or(&self.first)
    }

    /// Returns whether an older view had to be forgotten.
    pub(super) fn show(&mut self, view: View) -> bool {
        let full = self.later.len() >= VIEWS_MAX - 1;
        if full {
            self.later.pop_front();
        }
        self.later.push_back(view);
        full
    }

    fn fitting(&mut self, owner: &Owner) -> Option<&mut View> {
        let fits = |view: &&mut View| view.mark.is_some_and(|mark| mark.fits(owner));
        self.later.iter_mut().rev().chain([&mut self.first]).find(fits)
    }
}

/// One process: a pid from its fork to its end.
#[derive(Clone, Debug)]
pub(super) struct Generation {
    pub(super) started_ns: u64,
    /// When its leader exited.
    pub(super) exited_ns: Option<u64>,
    pub(super) is_kernel_thread: bool,
    first: Program,
    /// Oldest first.
    later: VecDeque<Program>,
}

impl Generation {
    pub(super) fn new(started_ns: u64, is_kernel_thread: bool, program: Program) -> Self {
        Self {
            started_ns,
            exited_ns: None,
            is_kernel_thread,
            first: program,
            later: VecDeque::new(),
        }
    }

    /// The program it was at `at_ns`.
    pub(super) fn program(&self, at_ns: u64) -> &Program {
        let was = |program: &&Program| program.executed_ns <= at_ns;
        self.later.iter().rev().find(was).unwrap_or(&self.first)
    }

    /// The program that touched: by its number where the sample knows it, else by the time. `None`:
    /// it was not told, or is forgotten.
    pub(super) fn program_of(&mut self, touch: Touch) -> Option<&mut Program> {
        let Touch { at_ns, started_ns, executed_ns, .. } = touch;
        let is_known = executed_ns != 0 || started_ns != 0;
        let mut all = self.later.iter_mut().rev().chain([&mut self.first]);
        if is_known {
            all.find(|program| program.executed_ns == executed_ns)
        } else {
            all.find(|program| program.executed_ns <= at_ns)
        }
    }

    pub(super) fn programs_mut(&mut self) -> impl Iterator<Item = &mut Program> {
        std::iter::once(&mut self.first).chain(&mut self.later)
    }

    pub(super) fn latest_mut(&mut self) -> &mut Program {
        self.later.back_mut().unwrap_or(&mut self.first)
    }

    pub(super) fn latest(&self) -> &Program {
        self.later.back().unwrap_or(&self.first)
    }

    /// Returns whether an older program had to be forgotten.
    pub(super) fn become_program(&mut self, program: Program) -> bool {
        let full = self.later.len() >= PROGRAMS_MAX - 1;
        if full && let Some(next) = self.later.pop_front() {
            self.first = next;
        }
        self.later.push_back(program);
        full
    }

    pub(super) fn is_born(&self, started_ns: u64) -> bool {
        same_start(self.started_ns, started_ns)
    }
}

pub(super) fn same_start(one_ns: u64, other_ns: u64) -> bool {
    one_ns.abs_diff(other_ns) <= START_SLACK_NS
}

/// When a process touched a socket, and when it says that it was started and executed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Touch {
    pub(super) tgid: u32,
    pub(super) at_ns: u64,
    /// 0: not known.
    pub(super) started_ns: u64,
    /// 0: not since its start, or, where that is 0, not known.
    pub(super) executed_ns: u64,
}

#[derive(Debug)]
pub(super) struct Table {
    /// Generations newest last; no list is empty.
    processes: FxHashMap<u32, Vec<Generation>>,
    /// (exit, pid, start) in order of exit.
    exited: VecDeque<(u64, u32, u64)>,
    len: usize,
    capacity: usize,
    /// Generations, programs and views forgotten before their time, for want of room.
    pub(super) evicted: u64,
}

impl Table {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            processes: FxHashMap::default(),
            exited: VecDeque::new(),
            len: 0,
            capacity,
            evicted: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// The newest generation of a pid.
    pub(super) fn newest(&self, tgid: u32) -> Option<&Generation> {
        self.processes.get(&tgid)?.last()
    }

    /// The generation that did it. `None` also where one is known to have ended before.
    pub(super) fn find(&mut self, touch: Touch) -> Option<&mut Generation> {
        let generations = self.processes.get_mut(&touch.tgid)?;
        let found = generations.iter_mut().rev().find(|generation| {
            if touch.started_ns == 0 {
                generation.started_ns <= touch.at_ns
            } else {
                generation.is_born(touch.started_ns)
            }
        })?;
        // One whose start is told is the same, also where its leader ended before its other threads.
        let is_over = touch.started_ns == 0
            && found.exited_ns.is_some_and(|exited_ns| exited_ns < touch.at_ns);
        (!is_over).then_some(found)
    }

    /// The view that the owner's own words select: the path of nearly every sample.
    pub(super) fn hit(&mut self, touch: Touch, owner: &Owner) -> Option<(Arc<Process>, bool)> {
        let generation = self.find(touch)?;
        let is_kernel_thread = generation.is_kernel_thread;
        let program = generation.program_of(touch)?;
        program.is_told = true;
        let view = program.fitting(owner)?;
        if let Some(mark) = view.mark.as_mut().filter(|mark| mark.netns_cookie == 0) {
            mark.netns_cookie = owner.netns_cookie;
        }
        Some((Arc::clone(&view.process), is_kernel_thread))
    }

    /// The generation that was started then, ended or not.
    pub(super) fn born(&mut self, tgid: u32, started_ns: u64) -> Option<&mut Generation> {
        let generations = self.processes.get_mut(&tgid)?;
        generations.iter_mut().rev().find(|generation| generation.is_born(started_ns))
    }

    /// Adds a generation, or replaces the one of the same start.
    pub(super) fn put(&mut self, tgid: u32, generation: Generation) {
        let started_ns = generation.started_ns;
        if let Some(exited_ns) = generation.exited_ns {
            self.exited.push_back((exited_ns, tgid, started_ns));
        }
        if let Some(known) = self.born(tgid, started_ns) {
            *known = generation;
            return;
        }
        while self.len >= self.capacity.max(1) && self.evict() {}
        let generations = self.processes.entry(tgid).or_default();
        let at = generations.partition_point(|known| known.started_ns <= started_ns);
        generations.insert(at, generation);
        self.len += 1;
    }

    /// The leader of the newest generation exited.
    pub(super) fn exit(&mut self, tgid: u32, at_ns: u64) {
        let Some(newest) = self.processes.get_mut(&tgid).and_then(|list| list.last_mut()) else {
            return;
        };
        if newest.exited_ns.is_none() && newest.started_ns <= at_ns {
            newest.exited_ns = Some(at_ns);
            self.exited.push_back((at_ns, tgid, newest.started_ns));
        }
    }

    /// Every view of every program, for what changed of their files.
    pub(super) fn views_mut(&mut self) -> impl Iterator<Item = &mut View> {
        let generations = self.processes.values_mut().flatten();
        generations.flat_map(Generation::programs_mut).flat_map(Program::views_mut)
    }

    /// The programs that came from this one by forks.
    pub(super) fn inherited_mut(&mut self, id: ProgramId) -> impl Iterator<Item = &mut Program> {
        let generations = self.processes.values_mut().flatten();
        generations
            .flat_map(Generation::programs_mut)
            .filter(move |program| program.origin == Some(id))
    }

    /// Forgets what ended before `before_ns`, unless threads of it go on, by `lives`.
    pub(super) fn expire(&mut self, before_ns: u64, mut lives: impl FnMut(u32, u64) -> bool) {
        while let Some(&(exited_ns, tgid, started_ns)) = self.exited.front() {
            if exited_ns >= before_ns {
                return;
            }
            self.exited.pop_front();
            match self.born(tgid, started_ns).and_then(|generation| generation.exited_ns) {
                // Its threads outlived the leader and were heard of since.
                Some(later_ns) if later_ns >= before_ns => {
                    self.exited.push_back((later_ns, tgid, started_ns));
                }
                Some(_) if lives(tgid, started_ns) => self.go_on(tgid, started_ns, before_ns),
                Some(_) => self.remove(tgid, started_ns),
                None => {}
            }
        }
    }

    /// Its leader ended and other threads did not: it is looked at again when as much time is over.
    fn go_on(&mut self, tgid: u32, started_ns: u64, before_ns: u64) {
        let later_ns = before_ns.saturating_add(super::ENDED_KEPT_NS);
        if let Some(known) = self.born(tgid, started_ns) {
            known.exited_ns = Some(later_ns);
        }
        self.exited.push_back((later_ns, tgid, started_ns));
    }

    /// Makes room: of the ended the one that ended first, else any; `/proc` can name it again.
    fn evict(&mut self) -> bool {
        self.evicted += 1;
        let before = self.len;
        while let Some((_, tgid, started_ns)) = self.exited.pop_front() {
            self.remove(tgid, started_ns);
            if self.len < before {
                return true;
            }
        }
        let any =
            self.processes.iter().find_map(|(tgid, list)| Some((*tgid, list.first()?.started_ns)));
        if let Some((tgid, started_ns)) = any {
            self.remove(tgid, started_ns);
        }
        self.len < before
    }

    fn remove(&mut self, tgid: u32, started_ns: u64) {
        let Entry::Occupied(mut entry) = self.processes.entry(tgid) else { return };
        let generations = entry.get_mut();
        let before = generations.len();
        generations.retain(|generation| generation.started_ns != started_ns);
        self.len -= before - generations.len();
        if generations.is_empty() {
            entry.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{attribute::fake::process, event::User};

    fn generation(pid: u32, started_ns: u64) -> Generation {
        let process = Arc::new(process(pid, "some"));
        let view = View { mark: None, process };
        Generation::new(started_ns, false, Program::new(0, view))
    }

    const SEC: u64 = 1_000_000_000;

    #[test]
    fn a_full_table_forgets_what_ended_first_and_counts_it() {
        let mut table = Table::new(3);
        for pid in 1..=3 {
            table.put(pid, generation(pid, u64::from(pid) * SEC));
        }
        table.exit(2, 10 * SEC);
        table.exit(1, 11 * SEC);
        table.put(4, generation(4, 12 * SEC));
        assert!(table.newest(2).is_none());
        assert!(table.newest(1).is_some());
        assert_eq!((table.len(), table.evicted), (3, 1));
    }

    #[test]
    fn a_full_table_of_living_processes_stays_bounded() {
        let mut table = Table::new(3);
        for pid in 1..=100 {
            table.put(pid, generation(pid, u64::from(pid) * SEC));
        }
        assert_eq!((table.len(), table.evicted), (3, 97));
        assert!(table.newest(100).is_some());
    }

    #[test]
    fn the_ended_are_kept_until_they_expire() {
        let mut table = Table::new(9);
        table.put(7, generation(7, SEC));
        table.exit(7, 5 * SEC);
        table.expire(5 * SEC, |_, _| false);
        assert_eq!(table.len(), 1);
        table.expire(5 * SEC + 1, |_, _| false);
        assert_eq!((table.len(), table.evicted), (0, 0));
        assert!(table.exited.is_empty());
    }

    #[test]
    fn the_expiry_of_a_predecessor_leaves_its_successor() {
        let mut table = Table::new(9);
        table.put(7, generation(7, SEC));
        table.exit(7, 2 * SEC);
        table.put(7, generation(7, 3 * SEC));
        table.expire(9 * SEC, |_, _| false);
        assert_eq!(table.newest(7).unwrap().started_ns, 3 * SEC);
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn a_process_whose_threads_go_on_without_its_leader_is_kept() {
        let mut table = Table::new(9);
        table.put(7, generation(7, SEC));
        table.exit(7, 5 * SEC);
        table.expire(6 * SEC, |tgid, started_ns| (tgid, started_ns) == (7, SEC));
        assert_eq!(table.len(), 1);
        table.expire(60 * SEC, |_, _| false);
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn a_program_is_found_by_its_number_and_not_by_the_time() {
        let mut one = generation(7, SEC);
        let view = || View { mark: None, process: Arc::new(process(7, "other")) };
        one.become_program(Program::new(5 * SEC, view()));
        let touch =
            |started_ns, executed_ns| Touch { tgid: 7, at_ns: 9 * SEC, started_ns, executed_ns };
        let mut number = |touch| one.program_of(touch).map(|program| program.executed_ns);
        // Touched late, but by what it was before its exec.
        assert_eq!(number(touch(SEC, 0)), Some(0));
        assert_eq!(number(touch(SEC, 5 * SEC)), Some(5 * SEC));
        assert_eq!(number(touch(0, 5 * SEC)), Some(5 * SEC));
        // An exec that was never told is no other's.
        assert_eq!(number(touch(SEC, 6 * SEC)), None);
        // Nothing is known but the time.
        assert_eq!(number(touch(0, 0)), Some(5 * SEC));
    }

    #[test]
    fn programs_and_views_are_bounded() {
        let mut one = generation(7, SEC);
        let view = |id| {
            let user = User { id, name: None };
            View { mark: None, process: Arc::new(Process { user, ..process(7, "some") }) }
        };
        for at in 1..100 {
            one.become_program(Program::new(at * SEC, view(1)));
        }
        assert_eq!(one.later.len() + 1, PROGRAMS_MAX);
        assert_eq!(one.latest().executed_ns, 99 * SEC);
        assert_eq!(one.first.executed_ns, (100 - PROGRAMS_MAX as u64) * SEC);
        let program = one.latest_mut();
        for id in 0..100 {
            program.show(view(id));
        }
        assert_eq!(program.later.len() + 1, VIEWS_MAX);
        assert_eq!(program.latest().process.user.id, 99);
    }
}

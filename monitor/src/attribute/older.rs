//! Sockets without an owner: the kernel's own, and those older than the probes, whose holder is looked
//! for in `/proc`. Never guesses where a search can still tell, nor names who no longer holds it.

use std::sync::Arc;

use monitor_ebpf::sample::{EgressSample, FlowKey, Owner, Runner, SocketEndSample, path};
use rustc_hash::FxHashMap;

use super::{
    Processes,
    place::Place,
    procfs::Reading,
    sockets::{self, Searched, Tgids},
    table::Touch,
};
use crate::event::{Attribution, Origin, Process, Sender};

/// Sockets older than the probes of which something is kept.
const SOCKETS_MAX: usize = 8_192;
/// Flows that wait for a search, or for the end of their socket, at most. What lies beyond stays without
/// its process, and is counted as attributed by `none`.
const WAITING_MAX: usize = 1_024;
/// When a socket that nobody was found to hold is searched for again.
pub(super) const UNHELD_KEPT_NS: u64 = 60_000_000_000;
/// A holder is read again after this: neither a new user nor a new cgroup is told of it.
const READ_KEPT_NS: u64 = 1_000_000_000;

/// What is kept of sockets that are older than the probes.
#[derive(Debug, Default)]
pub(super) struct Older {
    /// By socket cookie.
    kept: FxHashMap<u64, Kept>,
    /// Told without their process, by socket cookie.
    waiting: FxHashMap<u64, Vec<Waiting>>,
    waiting_count: usize,
}

#[derive(Debug)]
enum Kept {
    /// Nobody was found to hold it at that time.
    Unheld(u64),
    /// This process, as it was read then.
    Holder(Arc<Process>, u64),
}

#[derive(Debug)]
struct Waiting {
    sample: EgressSample,
    /// Those of whom one has sent if it closes the socket. `None`: a search is to tell.
    among: Option<Tgids>,
    closed_by: Option<u32>,
}

impl Older {
    fn keep(&mut self, cookie: u64, kept: Kept) {
        if self.kept.len() >= SOCKETS_MAX {
            self.kept.clear();
        }
        self.kept.insert(cookie, kept);
    }

    fn is_unheld(&self, cookie: u64, now_ns: u64) -> bool {
        let Some(Kept::Unheld(at_ns)) = self.kept.get(&cookie) else { return false };
        now_ns < at_ns.saturating_add(UNHELD_KEPT_NS)
    }

    fn wait(&mut self, sample: &EgressSample, among: Option<Tgids>) {
        if self.waiting_count < WAITING_MAX {
            let waiting = Waiting { sample: *sample, among, closed_by: None };
            self.waiting.entry(sample.flow.cookie).or_default().push(waiting);
            self.waiting_count += 1;
        }
    }

    fn take_waiting(&mut self, is_over: impl Fn(&Waiting) -> bool) -> Vec<Waiting> {
        let mut over = Vec::new();
        self.waiting.retain(|_, all| {
            over.extend(all.extract_if(.., |it| is_over(it)));
            !all.is_empty()
        });
        self.waiting_count -= over.len();
        over
    }

    /// Gives up what no end was told of.
    pub(super) fn expire(&mut self, now_ns: u64) {
        let is_old = |it: &Waiting| it.sample.at_ns.saturating_add(UNHELD_KEPT_NS) < now_ns;
        drop(self.take_waiting(is_old));
    }
}

impl Processes {
    /// By which way a flow leaves of which only the counters are known, by their [`path`].
    pub fn unknown(by: u8) -> Origin {
        match by {
            path::FORWARDED => Origin::Forwarded,
            path::TUNNEL => Origin::Tunnel,
            path::KERNEL => Origin::Kernel,
            path::PACKET => Origin::PacketSocket,
            _ => Origin::PreExisting,
        }
    }

    /// No owner is stored at the socket: it is the kernel's own, or older than the probes.
    pub(super) fn unowned(&mut self, sample: &EgressSample) -> (Origin, Sender) {
        if is_kernels_own(sample) {
            return (Origin::Kernel, Sender::Nobody);
        }
        let is_accepted = self.sockets.is_accepted(sample);
        let origin = if is_accepted { Origin::Accepted } else { Origin::PreExisting };
        let process = self.older_sender(sample);
        (origin, process.map_or(Sender::Nobody, by_procfs))
    }

    fn older_sender(&mut self, sample: &EgressSample) -> Option<Arc<Process>> {
        let cookie = sample.flow.cookie;
        if self.older.is_unheld(cookie, sample.at_ns) {
            return self.runner(sample);
        }
        match self.sockets.holder(&self.procfs, sample) {
            Searched::Later => {
                let runner = self.runner(sample);
                if runner.is_none() {
                    self.older.wait(sample, None);
                }
                runner
            }
            answer => self.answered(sample, answer),
        }
    }

    /// Where no search says who holds the socket, such as one of two pings, who runs does.
    fn answered(&mut self, sample: &EgressSample, answer: Searched) -> Option<Arc<Process>> {
        match answer {
            Searched::Held(place) => return self.sent_on(place, sample),
            Searched::AtItsEnd(among) => {
                let runner = self.runner(sample);
                if runner.is_none() {
                    self.older.wait(sample, Some(among));
                }
                return runner;
            }
            Searched::Later | Searched::Nobody | Searched::Several => {}
        }
        self.older.keep(sample.flow.cookie, Kept::Unheld(sample.at_ns));
        self.runner(sample)
    }

    /// Who holds a socket may have given it to others, one of whom ran when the packet left.
    fn sent_on(&mut self, place: Place, sample: &EgressSample) -> Option<Arc<Process>> {
        if let Some(runner) = self.runner(sample).filter(|runner| runner.pid != place.tgid) {
            if let Some(place) = self.procfs.place(runner.pid, place.inode) {
                return self.read_holder(place, sample);
            }
            // Another may run while a tunnel wraps a packet of its own; but a child inherits.
            if runner.parents.iter().any(|parent| parent.pid == place.tgid) {
                return Some(runner);
            }
        }
        self.read_holder(place, sample)
    }

    fn read_holder(&mut self, place: Place, sample: &EgressSample) -> Option<Arc<Process>> {
        let (cookie, at_ns) = (sample.flow.cookie, sample.at_ns);
        let touch = Touch { tgid: place.tgid, at_ns, started_ns: 0, executed_ns: 0 };
        if let Some(Kept::Holder(process, read_ns)) = self.older.kept.get(&cookie)
            && process.pid == place.tgid
            && at_ns < read_ns.saturating_add(READ_KEPT_NS)
            && self.table.find(touch).is_none_or(|known| known.latest().executed_ns <= *read_ns)
        {
            return Some(Arc::clone(process));
        }
        let process = self.holder(place.tgid, at_ns)?;
        self.older.keep(cookie, Kept::Holder(Arc::clone(&process), at_ns));
        Some(process)
    }

    /// Flows that were told without a process because no search was due, now that one is; those whose
    /// holder it finds. Each is asked about once more only.
    pub fn ask_again(&mut self, now_boot_ns: u64) -> Vec<(FlowKey, Sender)> {
        let asks = |it: &Waiting| it.among.is_none();
        if !self.older.waiting.values().flatten().any(asks)
            || !self.sockets.is_search_due(now_boot_ns)
        {
            return Vec::new();
        }
        self.sockets.search_at(&self.procfs, now_boot_ns);
        let mut found = Vec::new();
        for Waiting { sample, closed_by, .. } in self.older.take_waiting(asks) {
            let process = match (self.sockets.look(&sample), closed_by) {
                (Searched::AtItsEnd(among), Some(closed_by)) => {
                    self.closer(&among, closed_by, &sample)
                }
                (answer, _) => self.answered(&sample, answer),
            };
            found.extend(process.map(|process| (sample.flow, by_procfs(process))));
        }
        found
    }

    /// A socket was accepted: what is asked of its listener's flow is asked of its own from now on.
    pub fn accepted(&mut self, sample: &EgressSample) {
        if !self.older.waiting.contains_key(&sample.listener_cookie) {
            return;
        }
        let before = FlowKey { cookie: sample.listener_cookie, ..sample.flow };
        drop(self.older.take_waiting(|it| it.sample.flow == before));
    }

    /// A socket was closed, which says whose it was to the end: flows that waited for it, with who sent.
    pub fn closed(&mut self, end: &SocketEndSample) -> Vec<(FlowKey, Sender)> {
        let Some(all) = self.older.waiting.get_mut(&end.cookie) else { return Vec::new() };
        for waiting in all {
            waiting.closed_by = Some(end.tgid);
        }
        let is_told = |it: &Waiting| it.sample.flow.cookie == end.cookie && it.among.is_some();
        let mut found = Vec::new();
        for Waiting { sample, among, .. } in self.older.take_waiting(is_told) {
            let process = among.and_then(|among| self.closer(&among, end.tgid, &sample));
            found.extend(process.map(|process| (sample.flow, by_procfs(process))));
        }
        found
    }

    /// Who closed a socket, if it is one of those who can have sent on it: else it was given to another.
    fn closer(
        &mut self,
        among: &[u32],
        closed_by: u32,
        sample: &EgressSample,
    ) -> Option<Arc<Process>> {
        if !among.contains(&closed_by) {
            return None;
        }
        // Once it has ended, what was read of it before is all there is.
        let kept = match self.older.kept.get(&sample.flow.cookie) {
            Some(Kept::Holder(process, _)) if process.pid == closed_by => Some(Arc::clone(process)),
            _ => None,
        };
        self.holder(closed_by, sample.at_ns).or(kept)
    }

    /// The process that had this pid at that time, as it is now, unless it has become another program since.
    pub(super) fn holder(&mut self, tgid: u32, at_ns: u64) -> Option<Arc<Process>> {
        let reading = self.procfs.read(tgid).filter(|reading| reading.started_ns <= at_ns);
        let touch = Touch { tgid, at_ns, started_ns: 0, executed_ns: 0 };
        // Of one that is ending `/proc` shows no more than a name.
        let is_whole = |reading: &Reading| {
            let known = self.table.find(touch);
            known.is_none_or(|known| {
                reading.executable.is_some() && known.latest().executed_ns <= at_ns
            })
        };
        let Some(reading) = reading.filter(is_whole) else {
            let known = self.table.find(touch)?;
            return Some(Arc::clone(&known.program(at_ns).latest().process));
        };
        let parents = match self.table.born(tgid, reading.started_ns) {
            Some(known) => known.latest().latest().process.parents.clone(),
            None => self.parents(reading.parent, 0),
        };
        Some(Arc::new(self.as_read(reading, parents)))
    }

    /// Who ran when the first packet left, where the hook could ask. A kernel thread sends for others,
    /// so it is never taken for the one who sent.
    pub(super) fn runner(&mut self, sample: &EgressSample) -> Option<Arc<Process>> {
        /// TCP, DCCP, SCTP: much leaves while somebody runs who has nothing to do with it.
        const DEFERRED: [u8; 3] = [6, 33, 132];
        let Runner { tgid, uid, cgroup_id, started_ns, executed_ns } = sample.runner;
        let is_raw = sample.socket_type == sockets::RAW;
        if tgid == 0 || (!is_raw && DEFERRED.contains(&sample.flow.transport)) {
            return None;
        }
        let at_ns = sample.at_ns;
        let touch = Touch { tgid, at_ns, started_ns, executed_ns };
        if uid == Runner::UNASKED {
            if self.table.find(touch).is_none() {
                self.read_into_table(tgid, |started_ns| started_ns <= at_ns);
            }
            let known = self.table.find(touch).filter(|known| !known.is_kernel_thread)?;
            let program = known.program_of(touch)?;
            program.is_told = true;
            return Some(Arc::clone(&program.latest().process));
        }
        // Not as its leader, since its name was not asked for.
        let owner = Owner {
            tgid,
            uid,
            cgroup_id,
            started_ns,
            executed_ns,
            touched_ns: at_ns,
            ..Owner::default()
        };
        let (process, is_kernel_thread) = self.owner(&owner, at_ns);
        (!is_kernel_thread).then_some(process)
    }
}

fn by_procfs(process: Arc<Process>) -> Sender {
    Sender::Process { process, attribution: Attribution::Procfs, creator: None }
}

/// Whether a socket without an owner is one of those with which the kernel itself answers: resets,
/// ICMP errors and echo replies, neighbour and multicast listener discovery.
fn is_kernels_own(sample: &EgressSample) -> bool {
    const IGMP: u8 = 2;
    // The kernel's sockets are raw ones, whatever they send.
    let is_raw = sample.socket_type == sockets::RAW;
    match (sample.flow.transport, sample.icmp_type) {
        (IGMP, _) => true,
        // Resets; echo reply, unreachable, redirect, time exceeded, parameter problem, timestamp
        // reply; ICMPv6 errors, echo reply, MLD, neighbour discovery with redirect, MLDv2.
        (6, _) | (1, 0 | 3 | 5 | 11 | 12 | 14) | (58, 1..=4 | 129..=137 | 143) => is_raw,
        _ => false,
    }
}

//! Sockets without an owner: the kernel's own, and those older than the probes, whose holder is looked
//! for in `/proc`. Never guesses where a search can still tell.

use std::sync::Arc;

use monitor_ebpf::sample::{EgressSample, FlowKey, Owner, Runner, path};

use super::{
    Processes,
    procfs::Reading,
    sockets::{self, Answer},
    table::Touch,
};
use crate::event::{Attribution, Origin, Process, Sender};

/// Sockets older than the probes whose holders are kept.
const HELD_MAX: usize = 8_192;
/// Flows that wait for a search, at most. What lies beyond stays without its process, and is counted as
/// attributed by `none`.
const POSTPONED_MAX: usize = 1_024;
/// When a socket that nobody was found to hold is searched for again.
pub(super) const UNHELD_KEPT_NS: u64 = 60_000_000_000;

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
        let cookie = sample.flow.cookie;
        let sender = |process: Option<Arc<Process>>| match process {
            Some(process) => {
                Sender::Process { process, attribution: Attribution::Procfs, creator: None }
            }
            None => Sender::Nobody,
        };
        if let Some((process, at_ns)) = self.held.get(&cookie)
            && (process.is_some() || sample.at_ns < at_ns.saturating_add(UNHELD_KEPT_NS))
        {
            return (origin, sender(process.clone()));
        }
        let answer = self.sockets.holder(&self.procfs, sample);
        let process = self.answered(sample, answer);
        if process.is_none() && answer == Answer::Later {
            if self.postponed.len() < POSTPONED_MAX {
                self.postponed.push(*sample);
            }
            return (origin, Sender::Nobody);
        }
        self.hold(cookie, process.clone(), sample.at_ns);
        (origin, sender(process))
    }

    /// Where no search says who holds the socket, such as one of two pings, who runs does.
    fn answered(&mut self, sample: &EgressSample, answer: Answer) -> Option<Arc<Process>> {
        match answer {
            Answer::Held { tgid, at_ns } => self.holder(tgid, at_ns),
            Answer::Later | Answer::Nobody | Answer::Several => self.runner(sample),
        }
    }

    fn hold(&mut self, cookie: u64, process: Option<Arc<Process>>, at_ns: u64) {
        if self.held.len() >= HELD_MAX {
            self.held.clear();
        }
        self.held.insert(cookie, (process, at_ns));
    }

    /// Flows that were told without a process because no search was due, now that one is; those whose
    /// holder it finds. Each is asked about once more only.
    pub fn ask_again(&mut self, now_boot_ns: u64) -> Vec<(FlowKey, Sender)> {
        if self.postponed.is_empty() || !self.sockets.is_search_due(now_boot_ns) {
            return Vec::new();
        }
        self.sockets.search_at(&self.procfs, now_boot_ns);
        let mut found = Vec::new();
        for sample in std::mem::take(&mut self.postponed) {
            let known = self.held.get(&sample.flow.cookie).and_then(|(process, _)| process.clone());
            let answer = self.sockets.look(&sample);
            let found_now = || answer.and_then(|answer| self.answered(&sample, answer));
            let process = known.or_else(found_now);
            self.hold(sample.flow.cookie, process.clone(), now_boot_ns);
            if let Some(process) = process {
                let (attribution, creator) = (Attribution::Procfs, None);
                found.push((sample.flow, Sender::Process { process, attribution, creator }));
            }
        }
        found
    }

    /// The process that had this pid at that time, as it is now.
    pub(super) fn holder(&mut self, tgid: u32, at_ns: u64) -> Option<Arc<Process>> {
        let reading = self.procfs.read(tgid).filter(|reading| reading.started_ns <= at_ns);
        let touch = Touch { tgid, at_ns, started_ns: 0, executed_ns: 0 };
        // Of one that is ending `/proc` shows no more than a name.
        let is_whole =
            |reading: &Reading| reading.executable.is_some() || self.table.find(touch).is_none();
        let Some(reading) = reading.filter(is_whole) else {
            return Some(Arc::clone(&self.table.find(touch)?.latest().latest().process));
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
        const TCP: u8 = 6;
        let Runner { tgid, uid, cgroup_id, started_ns, executed_ns } = sample.runner;
        // Of TCP much leaves while somebody runs who has nothing to do with it.
        if tgid == 0 || sample.flow.transport == TCP {
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

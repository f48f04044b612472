//! From samples and counters to the states of flows: what is new, what grew, what ended. Knows
//! nothing of processes or countries (`D` is what the pipeline found out about a flow), asks no
//! clock and does no I/O.

mod attempts;
mod confirm;
mod count;
mod life;
mod missing;
mod state;
mod unreported;

use std::{
    hash::{BuildHasher, RandomState},
    mem,
    net::{Ipv6Addr, SocketAddr},
};

use monitor_ebpf::{
    sample::{EgressSample, FlowKey, NO_SOCKET, flags, path, phase},
    share,
};
use rustc_hash::FxHashMap;

pub use self::confirm::SeenSince;
use self::{
    attempts::Attempts,
    confirm::{Waiting, Ways},
    missing::Missing,
    state::State,
};
use crate::event::{
    Egress, FlowId, Origin, Passage, Phase, Timestamp, Traffic, Transport, Way, canonical,
};

/// `stage` of what goes missing here.
pub const STAGE: &str = "track";
/// `reason`: counters without a sample, though all that was submitted has been taken in.
pub const SAMPLE_MISSING: &str = "sample-missing";

/// Nanoseconds of `CLOCK_BOOTTIME`.
type BootNs = u64;
const SECOND: BootNs = 1_000_000_000;

/// How long an attempt waits for its packet before it is told as an attempt.
const ATTEMPT_PATIENCE: BootNs = SECOND;
/// Growth is told after this, then after twice that, and so on.
const REPORT_FIRST: BootNs = 2 * SECOND;

/// A live flow.
#[derive(Debug)]
pub struct Live<D> {
    state: State,
    pub details: D,
    last_ns: BootNs,
    closed: bool,
    /// Whose attempt it is, while it is one that counts as such.
    attempt_of: Option<u32>,
    /// Where it stands among the flows of its socket.
    slot: u32,
    /// Begun by its counters alone.
    is_orphan: bool,
    /// The sweep that found an attempt to have sent, of which no sample has told yet.
    sends_at: Option<BootNs>,
    /// It is an attempt until an interface confirms it.
    waiting: Option<Box<Waiting>>,
    reported: bool,
    report_at: BootNs,
    report_after: BootNs,
    /// Of the traffic that was told: counters never fall.
    reported_sum: u64,
    metered: Traffic,
    /// Few flows have any, and there can be many flows.
    beside: Option<Box<Beside>>,
}

/// What belongs to a flow and is counted elsewhere.
#[derive(Clone, Copy, Debug, Default)]
struct Beside {
    /// From the kernel's control socket, on behalf of this flow.
    control: Traffic,
    /// What came back under addresses that this host translated: of a flow that sent, included in its
    /// traffic; of an attempt, what of it was given to such a flow.
    answers: Traffic,
}

/// Whether somebody read the addresses of such a flow's packets.
pub fn has_addresses(path: u8) -> bool {
    !matches!(path, path::BYPASS | path::FRAME | path::FRAME_FORWARDED | path::FRAME_KERNEL)
}

/// What a sample says of the flows.
#[derive(Debug, PartialEq, Eq)]
pub enum Observed {
    /// Nothing that was not known.
    Known,
    /// A flow to be looked into and then added.
    New,
    /// What was an attempt has sent; to be told.
    NowSent(FlowKey),
    /// What was an attempt sends, if an interface confirms it.
    Sends(FlowKey),
    /// What went to this host itself leaves it; to be judged again, and told.
    Leaves(FlowKey),
    /// A socket was accepted, and continues the flow of its listener.
    Accepted(FlowKey),
    /// A flow that its counters alone began: what the sample knows is better.
    Found(FlowKey),
}

/// Something to tell of a flow.
#[derive(Debug, PartialEq, Eq)]
pub struct Report {
    pub egress: Egress,
    /// What was not metered yet.
    pub growth: Traffic,
    /// Whether this is the first report of the flow as sent.
    pub is_new: bool,
    /// Whether it is the first at all.
    pub is_first: bool,
}

/// What a sweep finds due.
#[derive(Debug)]
pub enum Due {
    Report(Report),
    /// Growth of a flow that is not to be told yet.
    Meter(Egress, Traffic),
}

/// What a sweep settled.
#[derive(Debug)]
pub struct Settled {
    /// Flows that are over, for the kernel to forget.
    pub over: Vec<FlowKey>,
    /// Nothing that is due had to wait.
    pub is_all: bool,
}

/// All live flows.
#[derive(Debug)]
pub struct Flows<D> {
    /// Boxed: the table is at times half empty, and always has more places than it needs.
    live: FxHashMap<FlowKey, Box<Live<D>>>,
    by_socket: FxHashMap<u64, Vec<FlowKey>>,
    /// Closed TCP flows, for which the kernel's control socket may yet speak.
    closing: FxHashMap<(SocketAddr, SocketAddr), FlowKey>,
    /// Flows of the control socket, and for whom they speak.
    controls: FxHashMap<FlowKey, FlowKey>,
    missing: Missing,
    attempts: Attempts,
    ways: Ways,
    /// Flows that were begun, or have sent, and were not confirmed when that was told.
    unconfirmed: Vec<FlowKey>,
    ids: RandomState,
    /// Wall clock less boot clock, in nanoseconds.
    wall_offset_ns: i64,
    capacity: usize,
    /// Since when there was no room for anything to tell.
    stuck_since: Option<BootNs>,
}

impl<D> Flows<D> {
    /// `capacity`: flows the kernel can count.
    pub fn new(capacity: u32, wall_offset_ns: i64) -> Self {
        Self {
            live: FxHashMap::default(),
            by_socket: FxHashMap::default(),
            closing: FxHashMap::default(),
            controls: FxHashMap::default(),
            missing: Missing::default(),
            attempts: Attempts::new(capacity),
            ways: Ways::default(),
            unconfirmed: Vec::new(),
            ids: RandomState::new(),
            wall_offset_ns,
            capacity: capacity as usize,
            stuck_since: None,
        }
    }

    /// The wall clock may be set while flows live: later times follow it.
    pub fn set_wall_offset(&mut self, wall_offset_ns: i64) {
        self.wall_offset_ns = wall_offset_ns;
    }

    pub fn len(&self) -> usize {
        self.live.len()
    }

    pub fn wall(&self, at: BootNs) -> Timestamp {
        Timestamp(at.saturating_add_signed(self.wall_offset_ns))
    }

    /// Takes note of a sample.
    pub fn observe(&mut self, sample: &EgressSample) -> Observed {
        let is_accepted = sample.listener_cookie != 0 && self.rename(sample);
        if sample.flow.local_port != 0 && sample.flow.cookie & NO_SOCKET == 0 {
            let tuple = (local(sample), remote(&sample.flow));
            if let Some(flow) = self.closing.get(&tuple) {
                self.controls.insert(sample.flow, *flow);
                return Observed::Known;
            }
        }
        let waiting = self.ways.wait(sample, first_traffic(sample));
        let Some(live) = self.live.get_mut(&sample.flow) else { return Observed::New };
        if sample.phase == phase::SENT
            && live.state.phase == Phase::Sent
            && live.state.way == Way::Loopback
            && sample.path != path::LOOPBACK
        {
            live.state.way = Way::Confirmed;
            return Observed::Leaves(sample.flow);
        }
        let is_now_sent = sample.phase == phase::SENT && live.state.phase != Phase::Sent;
        if is_now_sent && waiting.is_some() {
            live.waiting = waiting.map(Box::new);
            live.state.set_local(Some(local(sample)));
            // It has a place in the kernel's table now.
            self.attempts.end(live.attempt_of.take());
            self.unconfirmed.push(sample.flow);
            return Observed::Sends(sample.flow);
        }
        if is_now_sent {
            live.waiting = None;
            live.state.phase = Phase::Sent;
            live.state.traffic = first_traffic(sample);
            live.state.set_uncounted(sample.flags & flags::UNCOUNTED != 0);
            self.attempts.end(live.attempt_of.take());
            if sample.path == path::LOOPBACK {
                live.state.way = Way::Loopback;
            }
        }
        if sample.phase == phase::SENT && live.state.local().is_none() {
            live.state.set_local(Some(local(sample)));
        }
        match (mem::take(&mut live.is_orphan), is_now_sent) {
            (true, _) => Observed::Found(sample.flow),
            (false, true) => Observed::NowSent(sample.flow),
            (false, false) if is_accepted => Observed::Accepted(sample.flow),
            (false, false) => Observed::Known,
        }
    }

    /// No sample tells of this flow, and none will: `sample` is what its counters say. What was an attempt
    /// has sent; another flow is to be looked into and added, and then to be [`Self::orphan`].
    pub fn lose(&mut self, sample: &EgressSample) -> Observed {
        let Some(live) = self.live.get_mut(&sample.flow) else { return Observed::New };
        live.state.phase = Phase::Sent;
        live.state.traffic = first_traffic(sample);
        live.is_orphan = true;
        self.attempts.end(live.attempt_of.take());
        Observed::NowSent(sample.flow)
    }

    /// Should a sample come of this flow all the same, it is believed.
    pub fn orphan(&mut self, key: &FlowKey) {
        if let Some(live) = self.live.get_mut(key) {
            live.is_orphan = true;
        }
    }

    /// By which way a flow leaves, better known than before.
    pub fn correct(&mut self, key: &FlowKey, origin: Origin, passage: Passage) {
        if let Some(live) = self.live.get_mut(key) {
            live.state.origin = origin;
            live.state.set_passage(passage);
        }
    }

    /// The listener's flow that the accepted socket continues becomes that socket's.
    fn rename(&mut self, sample: &EgressSample) -> bool {
        let before = FlowKey { cookie: sample.listener_cookie, ..sample.flow };
        let Some(live) = self.live.remove(&before) else { return false };
        self.leave_socket(&before, live.slot);
        self.insert(sample.flow, live);
        true
    }

    fn insert(&mut self, key: FlowKey, mut live: Box<Live<D>>) {
        let keys = self.by_socket.entry(key.cookie).or_insert_with(|| Vec::with_capacity(1));
        live.slot = u32::try_from(keys.len()).unwrap_or(u32::MAX);
        keys.push(key);
        self.live.insert(key, live);
    }

    /// In constant time: one socket can have every flow of the table.
    fn leave_socket(&mut self, key: &FlowKey, slot: u32) {
        let index = slot as usize;
        let Some(keys) = self.by_socket.get_mut(&key.cookie) else { return };
        keys.swap_remove(index);
        if keys.is_empty() {
            self.by_socket.remove(&key.cookie);
        } else if let Some(moved) = keys.get(index)
            && let Some(live) = self.live.get_mut(moved)
        {
            live.slot = slot;
        }
    }

    /// The state of a new flow, before it is looked into.
    pub fn state(&self, sample: &EgressSample, origin: Origin) -> Egress {
        let started_at = self.wall(sample.at_ns);
        let hash = self.ids.hash_one((sample.flow, sample.at_ns));
        let waits = self.ways.wait(sample, first_traffic(sample)).is_some();
        let has_sent = sample.phase == phase::SENT;
        let is_sent = has_sent && !waits;
        let is_read = has_addresses(sample.path);
        Egress {
            flow: FlowId(u128::from(started_at.0) << 64 | u128::from(hash)),
            revision: 0,
            started_at,
            last_at: started_at,
            ended_at: None,
            phase: if is_sent { Phase::Sent } else { Phase::Attempt },
            origin,
            transport: Transport(sample.flow.transport),
            local: (has_sent && is_read).then(|| local(sample)),
            remote: is_read.then(|| remote(&sample.flow)),
            traffic: if waits { Traffic::default() } else { first_traffic(sample) },
            passage: Passage::default(),
            activity: None,
        }
    }

    /// Whether so many attempts of the same user live that this one is to be told at once, and then
    /// to be [`Self::retire`]d.
    pub fn is_crowded(&self, sample: &EgressSample) -> bool {
        attempt_of(sample).is_some_and(|whose| self.attempts.is_full(whose))
    }

    /// Adds a flow that was looked into.
    pub fn add(&mut self, sample: &EgressSample, egress: Egress, details: D) {
        let attempt_of = attempt_of(sample);
        self.attempts.begin(attempt_of);
        let waiting = self.ways.wait(sample, first_traffic(sample));
        if waiting.is_some() {
            self.unconfirmed.push(sample.flow);
        }
        let live = Live {
            attempt_of,
            state: State::of(egress),
            details,
            last_ns: sample.at_ns,
            closed: false,
            slot: 0,
            is_orphan: false,
            sends_at: None,
            waiting: waiting.map(Box::new),
            reported: false,
            report_at: sample.at_ns + ATTEMPT_PATIENCE,
            report_after: REPORT_FIRST,
            reported_sum: 0,
            metered: Traffic::default(),
            beside: None,
        };
        self.insert(sample.flow, Box::new(live));
    }

    /// What is known of a flow, and whether any state of it was told.
    pub fn look(&mut self, key: &FlowKey) -> Option<(Egress, bool, &mut D)> {
        let live = self.live.get_mut(key)?;
        Some((live.state.egress(key), live.reported, &mut live.details))
    }

    /// Forgets an attempt that was not told and is told by another flow; not one that has a packet of its
    /// own, which only was not confirmed yet.
    pub fn supersede(&mut self, key: &FlowKey) {
        let is_bare = |it: &Live<D>| {
            it.state.phase == Phase::Attempt && it.waiting.is_none() && it.sends_at.is_none()
        };
        if self.live.get(key).is_some_and(|it| is_bare(it) && !it.reported) {
            self.remove(key);
        }
    }

    /// The flows of a socket.
    pub fn of_socket(&self, cookie: u64) -> Vec<FlowKey> {
        self.by_socket.get(&cookie).cloned().unwrap_or_default()
    }

    /// What is known of every live flow.
    pub fn each(&mut self, mut each: impl FnMut(&mut D)) {
        self.live.values_mut().for_each(|live| each(&mut live.details));
    }

    /// The flows of which this holds; looks at all.
    pub fn keys_where(&self, mut is_it: impl FnMut(&D) -> bool) -> Vec<FlowKey> {
        let found = self.live.iter().filter(|(_, live)| is_it(&live.details));
        found.map(|(key, _)| *key).collect()
    }

    /// A flow of which nothing more is expected; should more come, it is another.
    pub fn retire(&mut self, key: &FlowKey) {
        self.remove(key);
    }

    /// Tells a flow now; `None` if there is no such flow.
    pub fn report(&mut self, key: &FlowKey, now: BootNs) -> Option<(Report, &mut D)> {
        let live = self.live.get_mut(key)?;
        Some((live.report(key, now), &mut live.details))
    }

    /// The socket was closed: its flows end when they fall silent.
    pub fn close(&mut self, cookie: u64) {
        for key in self.by_socket.get(&cookie).into_iter().flatten() {
            let Some(live) = self.live.get_mut(key) else { continue };
            live.closed = true;
            if live.state.transport == Transport::TCP
                && let Some(ends) = live.state.ends(key)
            {
                self.closing.insert(ends, *key);
            }
        }
    }
}

/// Whose share an attempt is of. `None`: it is none, or one that went around every hook, of which there
/// are few.
fn attempt_of(sample: &EgressSample) -> Option<u32> {
    let is_attempt = sample.phase == phase::ATTEMPT && has_addresses(sample.path);
    is_attempt.then(|| share::slot(sample.owner.uid))
}

fn first_traffic(sample: &EgressSample) -> Traffic {
    Traffic {
        sent_bytes: sample.sent_bytes,
        sent_packets: sample.sent_packets,
        ..Traffic::default()
    }
}

/// Canonical.
pub fn remote(key: &FlowKey) -> SocketAddr {
    SocketAddr::new(canonical(Ipv6Addr::from(key.remote)), key.remote_port)
}

fn local(sample: &EgressSample) -> SocketAddr {
    SocketAddr::new(canonical(Ipv6Addr::from(sample.local)), sample.local_port)
}

#[cfg(test)]
mod tests;

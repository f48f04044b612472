//! From the kernel's counters to the traffic of flows: what grew, what went or came on another's account, and
//! what is counted and was never told. Ends nothing.

use std::mem;

use monitor_ebpf::sample::{FlowCounters, FlowKey};

use super::{BootNs, Flows, Live};
use crate::{
    event::{Phase, Timestamp, Traffic, Way},
    probe::Progress,
};

/// Most flows of a socket among which the one that answers belong to is looked for.
pub(super) const TRANSLATED_MAX: usize = 64;

impl<D> Flows<D> {
    /// A sweep begins. `progress`: of before it reads any counters.
    pub fn begin_sweep(&mut self, progress: Progress) {
        self.missing.begin(progress);
    }

    /// Takes note of counters. `true`: the sample that should have told of this flow, or that the attempt
    /// has sent, is lost.
    pub fn count(&mut self, key: &FlowKey, counters: &FlowCounters, now: BootNs) -> bool {
        let traffic = Traffic {
            sent_bytes: counters.sent_bytes,
            sent_packets: counters.sent_packets,
            received_bytes: counters.received_bytes,
            received_packets: counters.received_packets,
        };
        if let Some(flow) = self.controls.get(key) {
            if let Some(live) = self.live.get_mut(flow) {
                live.beside.get_or_insert_default().control = traffic;
                live.last_ns = live.last_ns.max(counters.last_ns);
            }
            return false;
        }
        if traffic.sent_packets == 0
            && traffic.received_packets > 0
            && let Some(flow) = self.translated(key)
            && let Some(attempt) = self.live.get_mut(key)
        {
            let given = &mut attempt.beside.get_or_insert_default().answers;
            let more = traffic.since(mem::replace(given, traffic));
            if let Some(live) = self.live.get_mut(&flow) {
                let answers = &mut live.beside.get_or_insert_default().answers;
                *answers = answers.plus(more);
                live.state.traffic = live.state.traffic.plus(more);
                live.last_ns = live.last_ns.max(counters.last_ns);
            }
            return false;
        }
        let wall_offset_ns = self.wall_offset_ns;
        let Some(live) = self.live.get_mut(key) else { return self.missing.is_lost(key, now) };
        if live.waiting.is_some() && traffic.sent_packets > 0 {
            live.last_ns = live.last_ns.max(counters.last_ns);
            live.weigh(&self.ways, traffic, counters.confirmed != 0, now);
            return false;
        }
        if live.state.phase == Phase::Attempt && traffic.sent_packets > 0 {
            live.sends_at = Some(now);
            return self.missing.is_lost(key, now);
        }
        live.state.beat(counters.last_ns.saturating_sub(live.last_ns));
        live.last_ns = live.last_ns.max(counters.last_ns);
        // Set back, the wall clock must not take a flow's last packet back with it.
        let last_at = Timestamp(live.last_ns.saturating_add_signed(wall_offset_ns));
        live.state.last_at = live.state.last_at.max(last_at);
        live.state.traffic = live.with_beside(traffic);
        if live.state.way == Way::Unconfirmed && counters.confirmed != 0 {
            live.state.way = Way::Confirmed;
            // That is news.
            live.reported = false;
        }
        false
    }

    /// Where nothing was sent to a destination and yet it answers, this host translates it (DNAT of
    /// its own): the packets go to another, and what comes back gets the first address again. It
    /// belongs to the flow that the socket did send, if there is one alone. A socket of many flows
    /// is not searched: it would be for each of them.
    fn translated(&self, key: &FlowKey) -> Option<FlowKey> {
        let is_sent = |it: &&FlowKey| {
            let live = self.live.get(it);
            let has_sent =
                live.is_some_and(|it| it.state.phase == Phase::Sent || it.waiting.is_some());
            it.transport == key.transport && has_sent
        };
        let keys = self.by_socket.get(&key.cookie).filter(|keys| keys.len() <= TRANSLATED_MAX)?;
        let mut sent = keys.iter().filter(is_sent);
        let only = sent.next()?;
        sent.next().is_none().then_some(*only)
    }
}

impl<D> Live<D> {
    /// With what was counted beside the flow's own entry.
    pub(super) fn with_beside(&self, traffic: Traffic) -> Traffic {
        match &self.beside {
            None => traffic,
            Some(beside) => traffic.plus(beside.control).plus(beside.answers),
        }
    }
}

//! Whether an interface was given what a socket sent: what the cgroup's hook counted may be refused
//! behind it, by another program there, or by a gateway that answers no ARP. Knows which interfaces
//! are watched; reads no counters by itself.

use std::{mem, sync::Arc};

use monitor_ebpf::sample::{EgressSample, FlowCounters, FlowKey, flags, ownership, path, phase};
use rustc_hash::FxHashMap;

use super::{BootNs, Flows, Live, SECOND};
use crate::event::{Phase, Traffic, Transport, Way};

/// By index: since when the program at the interface has seen whatever leaves by it, without a hole.
pub type SeenSince = Arc<FxHashMap<u32, BootNs>>;

/// How long a packet is on its way from the cgroup's hook to an interface, where nobody knows whether
/// a watched one is on the way at all.
const PATIENCE: BootNs = SECOND / 10;
/// How long after its last packet a closed flow may still be confirmed: a neighbour is asked for three
/// times, a second each (`mcast_solicit`, `retrans_time_ms`).
pub(super) const LINGER: BootNs = 5 * SECOND;

/// A socket's hook saw a packet of the flow, and no interface's program did yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) since: BootNs,
    way_out: u32,
    /// Of a socket in the host's own network namespace, whose numbers of interfaces are the daemon's.
    is_here: bool,
    /// What the hook counted.
    pub(super) traffic: Traffic,
}

/// The ways on which the program of an interface sees what the cgroup's hook saw.
#[derive(Debug, Default)]
pub(super) struct Ways {
    seen: SeenSince,
    /// Cookie of the host's network namespace, once it is known.
    namespace: Option<u64>,
}

impl Ways {
    pub(super) fn set_seen(&mut self, seen: SeenSince) {
        self.seen = seen;
    }

    pub(super) fn set_namespace(&mut self, cookie: Option<u64>) {
        self.namespace = self.namespace.or(cookie);
    }

    fn is_blind(&self) -> bool {
        self.seen.is_empty()
    }

    /// `None`: there is nothing to wait for.
    pub(super) fn wait(&self, sample: &EgressSample, traffic: Traffic) -> Option<Waiting> {
        // The rest of a packet that a raw socket cut goes, at the interface, by the ports of its
        // beginning.
        let is_rest = sample.flow.remote_port == 0 && Transport(sample.flow.transport).has_ports();
        let is_to_interface = sample.phase == phase::SENT
            && sample.path == path::SOCKET
            && sample.way_out != 0
            && sample.flags & flags::UNCOUNTED == 0
            && !is_rest;
        // The first packet of a connection that comes in has no socket of its own at the interface.
        let is_listener = sample.ownership == ownership::LISTENER;
        let cookie = sample.owner.netns_cookie;
        let is_here = cookie != 0 && self.namespace == Some(cookie) && !is_listener;
        let way_out = sample.way_out;
        is_to_interface.then_some(Waiting { since: sample.at_ns, way_out, is_here, traffic })
    }

    /// Whether nothing can have left that was not confirmed. Another network namespace has other
    /// interfaces, and whoever is root there names and numbers them.
    pub(super) fn is_watched(&self, waiting: &Waiting) -> bool {
        let since = self.seen.get(&waiting.way_out);
        waiting.is_here && since.is_some_and(|since| *since < waiting.since)
    }

    /// Whether it is to be told as sent though no interface confirmed it.
    pub(super) fn is_given_up(&self, waiting: &Waiting, now: BootNs) -> bool {
        now.saturating_sub(waiting.since) >= PATIENCE && !self.is_watched(waiting)
    }
}

impl<D> Flows<D> {
    /// By index: since when the program at an interface sees whatever leaves by it.
    pub fn set_seen(&mut self, seen: SeenSince) {
        self.ways.set_seen(seen);
    }

    /// The cookie of the host's network namespace, once it is known.
    pub fn set_namespace(&mut self, cookie: Option<u64>) {
        self.ways.set_namespace(cookie);
    }

    /// Asks for the counters of flows that sent since this was last called; gives back those to be told,
    /// which an interface confirmed meanwhile. The others are asked for again for as long as their
    /// packet may take, and come to light in a sweep.
    pub fn confirm(
        &mut self,
        now: BootNs,
        mut counters: impl FnMut(&FlowKey) -> Option<FlowCounters>,
    ) -> Vec<FlowKey> {
        /// Longer than from the cgroup's hook to the interface's on a busy machine.
        const ASKED: BootNs = SECOND / 20;
        let mut confirmed = Vec::new();
        for key in mem::take(&mut self.unconfirmed) {
            let Some(live) = self.live.get_mut(&key) else { continue };
            let Some(waiting) = live.waiting.as_deref().copied() else { continue };
            // Where no interface is watched, nothing is waited for.
            if self.ways.is_blind() {
                live.send(waiting.traffic, false);
                confirmed.push(key);
                continue;
            }
            let Some(counters) = counters(&key) else { continue };
            if counters.confirmed != 0 {
                live.weigh(&self.ways, waiting.traffic, true, now);
                confirmed.push(key);
            } else if now.saturating_sub(waiting.since) < ASKED {
                self.unconfirmed.push(key);
            }
        }
        confirmed
    }

    /// Whether [`Self::confirm`] is to be called again soon.
    pub fn is_unconfirmed(&self) -> bool {
        !self.unconfirmed.is_empty()
    }
}

impl<D> Live<D> {
    /// What waits has been confirmed, or is to be told without.
    pub(super) fn weigh(&mut self, ways: &Ways, traffic: Traffic, is_confirmed: bool, now: BootNs) {
        let Some(waiting) = &mut self.waiting else { return };
        waiting.traffic = traffic;
        if is_confirmed || ways.is_given_up(waiting, now) {
            self.report_at = now;
            self.send(traffic, is_confirmed);
        }
    }

    pub(super) fn send(&mut self, traffic: Traffic, is_confirmed: bool) {
        self.waiting = None;
        self.state.phase = Phase::Sent;
        self.state.traffic = self.with_beside(traffic);
        if !is_confirmed {
            self.state.way = Way::Unconfirmed;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Due, *};
    use crate::event::{Egress, Origin};

    const START: BootNs = 100 * SECOND;
    const HERE: u64 = 7;
    const WAN: u32 = 3;

    fn sample(namespace: u64) -> EgressSample {
        let mut sample = EgressSample {
            phase: phase::SENT,
            ownership: ownership::USER,
            at_ns: START,
            way_out: WAN,
            sent_bytes: 60,
            sent_packets: 1,
            ..EgressSample::default()
        };
        sample.flow = FlowKey { cookie: 1, remote_port: 9, transport: 17, ..FlowKey::default() };
        sample.owner.netns_cookie = namespace;
        sample
    }

    fn counters(sent_packets: u64, confirmed: u8) -> FlowCounters {
        let (sent_bytes, last_ns) = (60 * sent_packets, START);
        FlowCounters { sent_packets, sent_bytes, last_ns, confirmed, ..FlowCounters::default() }
    }

    /// The interface was watched since then.
    fn begun(sample: &EgressSample, since: BootNs) -> Flows<()> {
        let mut flows = Flows::new(16, 0);
        flows.set_namespace(Some(HERE));
        flows.set_seen(Arc::new([(WAN, since)].into_iter().collect()));
        flows.observe(sample);
        let egress = flows.state(sample, Origin::Process);
        assert_eq!(egress.phase, Phase::Attempt);
        flows.add(sample, egress, ());
        flows
    }

    fn reported(flows: &mut Flows<()>, counted: FlowCounters, now: BootNs) -> Option<Egress> {
        assert!(!flows.count(&sample(HERE).flow, &counted, now), "a sample is missing");
        let mut told = None;
        flows.settle(now, usize::MAX, |due, ()| {
            if let Due::Report(report) = due {
                told = Some(report.egress);
            }
        });
        told
    }

    #[test]
    fn what_a_watched_interface_was_not_given_is_an_attempt_until_it_is() {
        let mut flows = begun(&sample(HERE), START - 1);
        assert!(flows.confirm(START, |_| Some(counters(1, 0))).is_empty());
        assert!(reported(&mut flows, counters(1, 0), START + SECOND / 2).is_none());
        let attempt = reported(&mut flows, counters(2, 0), START + SECOND).unwrap();
        assert_eq!((attempt.phase, attempt.traffic), (Phase::Attempt, Traffic::default()));
        // Its gateway answered: what waited for that left, too.
        let sent = reported(&mut flows, counters(3, 1), START + 2 * SECOND).unwrap();
        assert_eq!((sent.phase, sent.traffic.sent_bytes), (Phase::Sent, 180));
        assert_eq!(sent.passage.way, Way::Confirmed);
    }

    #[test]
    fn what_is_confirmed_at_once_is_told_at_once() {
        let mut flows = begun(&sample(HERE), START - 1);
        assert_eq!(flows.confirm(START, |_| Some(counters(1, 1))), [sample(HERE).flow]);
        let (report, ()) = flows.report(&sample(HERE).flow, START).unwrap();
        assert!(report.is_new);
        assert_eq!(report.egress.traffic.sent_bytes, 60);
        assert!(!flows.is_unconfirmed());
    }

    #[test]
    fn what_nobody_can_confirm_is_sent_and_says_so() {
        // Another network namespace, and a hole since.
        for (sample, since) in [(sample(HERE + 1), START - 1), (sample(HERE), START + 1)] {
            let mut flows = begun(&sample, since);
            let sent = reported(&mut flows, counters(1, 0), START + SECOND).unwrap();
            assert_eq!((sent.phase, sent.traffic.sent_bytes), (Phase::Sent, 60));
            assert_eq!(sent.passage.way, Way::Unconfirmed);
            // Seen later, it is told once more.
            let sent = reported(&mut flows, counters(1, 1), START + 60 * SECOND).unwrap();
            assert_eq!(sent.passage.way, Way::Confirmed);
        }
    }

    #[test]
    fn what_waits_at_the_end_is_sent_unless_it_would_have_been_seen() {
        for (namespace, expected) in [(HERE, Phase::Attempt), (HERE + 1, Phase::Sent)] {
            let mut flows = begun(&sample(namespace), START - 1);
            let mut phase = None;
            flows.finish(START, |report, ()| phase = Some(report.egress.phase));
            assert_eq!(phase, Some(expected));
        }
    }

    #[test]
    fn what_went_to_this_host_and_then_leaves_is_to_be_judged_again() {
        let inside = EgressSample { path: path::LOOPBACK, way_out: 1, ..sample(HERE) };
        let mut flows: Flows<()> = Flows::new(16, 0);
        flows.observe(&inside);
        let mut egress = flows.state(&inside, Origin::Process);
        egress.passage.way = Way::Loopback;
        flows.add(&inside, egress, ());
        assert_eq!(flows.observe(&sample(HERE)), super::super::Observed::Leaves(inside.flow));
        let (egress, _, ()) = flows.look(&inside.flow).unwrap();
        assert_eq!((egress.phase, egress.passage.way), (Phase::Sent, Way::Confirmed));
    }
}

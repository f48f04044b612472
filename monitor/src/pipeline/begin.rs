//! From a sample to a live flow: who, where and the verdict when it begins, and what a later sample knows
//! better. Reads no counters.

use std::sync::Arc;

use monitor_ebpf::sample::{EgressSample, FlowCounters, FlowKey, flags, path, phase};

use super::{Pipeline, details::Details, senders::asked_for, via};
use crate::{
    attribute::Processes,
    decode::verdict,
    event::{Egress, Findings, Judgement, Mac, Origin, Passage, Phase, Reason, Sender, Way},
    flow::{Observed, has_addresses},
    judge::judge,
    outputs::Kept,
};

impl Pipeline {
    pub(super) fn egress(&mut self, sample: &EgressSample) {
        self.see_own(sample);
        match self.flows.observe(sample) {
            Observed::Known => {}
            Observed::NowSent(flow) => {
                // One process connected, or was when it did, another may send.
                self.attribute_again(&flow, sample);
                if sample.path == path::LOOPBACK {
                    self.judge_again(&flow);
                }
                self.report(&flow, sample.at_ns);
            }
            Observed::Sends(flow) => self.attribute_again(&flow, sample),
            Observed::Leaves(flow) => {
                self.judge_again(&flow);
                self.report(&flow, sample.at_ns);
            }
            Observed::Accepted(flow) => self.learn_accepted(&flow, sample),
            Observed::Found(flow) => self.learn_flow(&flow, sample),
            Observed::New => self.begin(sample),
        }
    }

    fn begin(&mut self, sample: &EgressSample) {
        self.supersede(sample);
        let (origin, sender) = self.processes.attribute(sample);
        if self.names.wants_namespace() && self.processes.is_of_host(&sender) {
            self.names.learn_namespace(sample.owner.netns_cookie);
            self.flows.set_namespace(self.names.namespace());
        }
        self.add(sample, origin, sender);
    }

    pub(super) fn add(&mut self, sample: &EgressSample, origin: Origin, sender: Sender) {
        let egress = self.flows.state(sample, origin);
        self.enter(sample, egress, sender);
    }

    /// No sample tells of a flow that is counted: who sends it is not known.
    pub(super) fn begin_orphan(&mut self, flow: FlowKey, counters: &FlowCounters) {
        let sample = EgressSample {
            phase: if counters.sent_packets > 0 { phase::SENT } else { phase::ATTEMPT },
            at_ns: counters.first_ns,
            flow,
            sent_bytes: counters.sent_bytes,
            sent_packets: counters.sent_packets,
            path: counters.path,
            ..EgressSample::default()
        };
        if self.flows.lose(&sample) == Observed::New {
            let origin = Processes::unknown(counters.path);
            let egress = Egress { local: None, ..self.flows.state(&sample, origin) };
            self.enter(&sample, egress, Sender::Nobody);
            self.flows.orphan(&flow);
        } else {
            self.report(&flow, counters.last_ns);
        }
    }

    /// Whose its listener is was not known: the connection itself may say more.
    fn learn_accepted(&mut self, flow: &FlowKey, sample: &EgressSample) {
        self.processes.accepted(sample);
        let known = self.flows.look(flow);
        if known.is_some_and(|(_, _, details)| details.sender == Sender::Nobody)
            && let (_, sender @ Sender::Process { .. }) = self.processes.attribute(sample)
        {
            self.learn_sender(flow, sender, sample.at_ns);
        }
    }

    /// A flow was begun by its counters; now its sample has come.
    fn learn_flow(&mut self, flow: &FlowKey, sample: &EgressSample) {
        let (origin, sender) = self.processes.attribute(sample);
        self.flows.correct(flow, origin, self.passage(sample));
        if let Some((egress, _, details)) = self.flows.look(flow) {
            let named = match egress.remote {
                Some(remote) if origin != Origin::Accepted => self.names.name(sample, remote.ip()),
                _ => None,
            };
            let domain = details.place.domain.take();
            details.place.domain = asked_for(sample, named.or(domain));
            details.sender = sender;
            let way = egress.passage.way;
            details.place.via = via::via(sample).map(|to| self.rules.via(to, way));
            details.renew(&self.rules, &egress);
            let is_sent = egress.phase == Phase::Sent;
            if is_sent {
                self.report(flow, sample.at_ns);
            }
        }
    }

    fn enter(&mut self, sample: &EgressSample, mut egress: Egress, sender: Sender) {
        let origin = egress.origin;
        egress.passage = self.passage(sample);
        let class = self.rules.class(sample);
        let mut place = self.located.locate(&self.rules, class, &egress);
        place.via = via::via(sample).map(|to| self.rules.via(to, egress.passage.way));
        // Who came to this host asked for no name of his own.
        if origin != Origin::Accepted
            && let Some(remote) = egress.remote
        {
            place.domain = asked_for(sample, self.names.name(sample, remote.ip()));
        }
        let judgement = judge(&self.rules.policy, &egress, &sender, &place);
        self.count_class(sample, class, &judgement);
        let is_sent = egress.phase == Phase::Sent;
        // Nothing more will be known of one that nobody counts.
        let is_uncounted = egress.passage.is_uncounted;
        if is_uncounted {
            egress.ended_at = Some(egress.last_at);
        }
        let is_last = is_uncounted || self.flows.is_crowded(sample);
        let mut sender = sender;
        self.ask_digest(&mut sender, &judgement);
        // One that waits for its digest is told by a sweep, if that does not come first.
        let is_ready = !self.waits_for_digest(&sender);
        let provenance = Some(Arc::clone(self.rules.provenance()));
        let (verdict_now, timeline) = (None, self.timeline);
        let findings = Findings { sender, place, judgement, verdict_now, provenance, timeline };
        let (kept, is_counted, is_sender_known) = (Kept::default(), false, false);
        let (findings, is_own) = (Arc::new(findings), self.is_own(sample.flow.cookie));
        let mut details = Details { findings, kept, is_counted, is_sender_known, is_own };
        self.shared.share(&mut details.findings);
        self.flows.add(sample, egress, details);
        if is_last || is_sent && is_ready {
            self.report(&sample.flow, sample.at_ns);
        }
        if is_last {
            self.flows.retire(&sample.flow);
        }
    }

    /// The probes judge a class as this program judges its places: it is the same code.
    fn count_class(&self, sample: &EgressSample, class: Option<u16>, judgement: &Judgement) {
        // That verdict is on the address alone.
        let class = class.filter(|_| sample.flow.malformed == 0 && sample.flow.via == 0);
        self.classified[usize::from(class.is_some())].inc();
        let is_by_rule = matches!(judgement.reason, Reason::Rule(_));
        if class.is_some() && !is_by_rule && verdict(sample.verdict) != Some(judgement.verdict) {
            tracing::debug!("the probes' verdict on class {:?} is another", class);
            self.metrics.verdict_disagreements_total.inc();
        }
    }

    fn passage(&self, sample: &EgressSample) -> Passage {
        let name = |index| self.interfaces.get(&index).cloned();
        Passage {
            mac: (sample.mac != [0; 6]).then_some(Mac(sample.mac)),
            from: name(sample.from_ifindex),
            by: name(sample.ifindex),
            ethertype: ethertype(sample),
            is_uncounted: sample.flags & flags::UNCOUNTED != 0,
            is_malformed: sample.flow.malformed != 0 || via::is_untold(sample),
            way: match sample.path {
                path::LOOPBACK => Way::Loopback,
                // Nobody can note at an entry that is not there that an interface was given it.
                path::SOCKET if sample.flags & flags::UNCOUNTED != 0 => Way::Unconfirmed,
                _ => Way::Confirmed,
            },
        }
    }
}

/// What a frame holds in which no IP was found.
fn ethertype(sample: &EgressSample) -> Option<u16> {
    let is_frame = !has_addresses(sample.path) && sample.path != path::BYPASS;
    is_frame.then_some(sample.flow.remote_port)
}

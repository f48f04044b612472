//! Puts the digests of executed files into what is known of live flows. Where the policy asks for
//! digests, a flow waits a moment for its own before it is told. Reads no file.

use monitor_ebpf::sample::FlowKey;

use super::{Pipeline, changed::Changed};
use crate::{
    attribute::digests::{REASONS, Run, STAGE, Sha256Digest},
    event::{Judgement, Process, Sender},
};

impl Pipeline {
    /// With the digest of what the sender executed, if that is known; else it is asked for, where the
    /// record is kept one by one or a rule may rest on it.
    pub(super) fn ask_digest(&mut self, sender: &mut Sender, judgement: &Judgement) {
        let is_wanted = self.rules.policy.wants_hashes() || self.outputs.is_itemised(judgement);
        let Sender::Process { process, .. } = sender else { return };
        if is_wanted && process.file.sha256.is_none() {
            let digest = self.processes.digest(process);
            if digest.is_some() {
                self.digested.change(process, |it| it.file.sha256 = digest);
            }
        }
    }

    /// Whether a flow is to wait for its digest, on which a rule may rest.
    pub(super) fn waits_for_digest(&self, sender: &Sender) -> bool {
        let awaits = |process: &Process| self.processes.awaits_digest(process);
        self.rules.policy.wants_hashes() && sender.process().is_some_and(awaits)
    }

    /// Takes in what was read since the last time.
    pub(super) fn learn_digests(&mut self, now_ns: u64) {
        self.digested.forget();
        for (run, digest) in self.processes.learn_digests() {
            let mut digested = Changed::default();
            for flow in self.flows.keys_where(|details| lacks(&details.sender, run)) {
                self.add_digest(&flow, digest, &mut digested, now_ns);
            }
        }
        let lost = self.processes.digests_lost();
        for ((reason, now), told) in REASONS.iter().zip(lost).zip(&mut self.digests_lost_counted) {
            let count = now - std::mem::replace(told, now);
            let labels = [STAGE, *reason];
            self.metrics.events_lost_total.with_label_values(&labels).inc_by(count);
        }
    }

    fn add_digest(
        &mut self,
        flow: &FlowKey,
        digest: Sha256Digest,
        digested: &mut Changed,
        now_ns: u64,
    ) {
        let Some((egress, _, details)) = self.flows.look(flow) else { return };
        if let Sender::Process { process, .. } = &mut details.sender {
            digested.change(process, |it| it.file.sha256 = Some(digest));
        }
        let is_sent = egress.phase == crate::event::Phase::Sent;
        details.renew(&self.rules, &egress);
        // Also one that waited for it.
        if is_sent {
            self.report(flow, now_ns);
        }
    }
}

fn lacks(sender: &Sender, run: Run) -> bool {
    let lacks = |it: &Process| Run::of(it) == Some(run) && it.file.sha256.is_none();
    sender.process().is_some_and(lacks)
}

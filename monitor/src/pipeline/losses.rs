//! What was lost on the way, and what nobody is known to have sent: into the metrics and, where a record
//! may be missing for it, into the ledger. Counts; decides nothing.

use monitor_ebpf::loss::Loss;

use super::{Pipeline, STAGE};
use crate::{
    attribute,
    event::{Entry, Notice, Origin, Timestamp},
    metrics, names,
    probe::{ProbeError, Source},
};

impl Pipeline {
    /// What passed by an interface with a socket, and is in no flow.
    pub(super) fn count_unattributed(&mut self, bytes: u64) {
        let growth = bytes.saturating_sub(self.unattributed_counted);
        self.unattributed_counted = bytes;
        let origin = Origin::PacketSocket.word();
        self.metrics.unattributed_bytes_total.with_label_values(&[origin]).inc_by(growth);
    }

    /// What the probes count and is no loss.
    pub(super) fn count_no_losses(&self, source: &dyn Source) -> Result<(), ProbeError> {
        let (packets, bytes) = source.without_flow()?;
        for (metric, now) in [
            (&self.metrics.housekeeping_frames_total, source.housekeeping_frames()?),
            (&self.metrics.received_without_flow_packets_total, packets),
            (&self.metrics.received_without_flow_bytes_total, bytes),
        ] {
            metric.inc_by(now.saturating_sub(metric.get()));
        }
        Ok(())
    }

    pub(super) fn count_names(&mut self) {
        let now = self.names.counters();
        let before = std::mem::replace(&mut self.names_counted, now);
        let lost = |reason, count| {
            self.metrics.events_lost_total.with_label_values(&[names::STAGE, reason]).inc_by(count);
        };
        lost(names::TABLE_FULL, now.evicted - before.evicted);
        lost(names::STREAMS_FULL, now.streams_evicted - before.streams_evicted);
        lost(names::QUESTIONS_FULL, now.questions_evicted - before.questions_evicted);
        let unread = |reason, count| {
            self.metrics.decode_errors_total.with_label_values(&[reason]).inc_by(count);
        };
        unread(names::MALFORMED, now.malformed - before.malformed);
        unread(names::UNASKED, now.unasked - before.unasked);
    }

    /// What it took to know who sent, and where that was given up.
    pub(super) fn count_attribution(&self) {
        let counts = self.processes.counters().counts();
        metrics::catch_up(&self.metrics.attribution_events_total, &attribute::EVENTS, &counts);
    }

    /// What the probes lost by now, all of it since they were asked last.
    pub fn tell_losses(&mut self, source: &dyn Source) -> Result<(), ProbeError> {
        let asked_ns = source.now_ns();
        let losses = source.losses()?;
        let since = self.losses_asked_ns.replace(asked_ns).map(|ns| self.flows.wall(ns));
        // What was lost while they were asked is among them.
        self.count_losses(losses, since, self.flows.wall(source.now_ns()));
        Ok(())
    }

    fn count_losses(
        &mut self,
        losses: [u64; Loss::ALL.len()],
        since: Option<Timestamp>,
        at: Timestamp,
    ) {
        let mut lost = Vec::new();
        for (loss, (now, told)) in Loss::ALL.iter().zip(losses.iter().zip(&mut self.losses_counted))
        {
            let count = now.saturating_sub(*told);
            *told = *now;
            lost.push((loss.reason(), count));
        }
        for (reason, count) in lost {
            self.count_lost(STAGE, reason, count, (since, at));
        }
    }

    /// `when`: all of it was lost between these.
    pub(super) fn count_lost(
        &mut self,
        stage: &'static str,
        reason: &'static str,
        count: u64,
        when: (Option<Timestamp>, Timestamp),
    ) {
        let (since, at) = when;
        if count > 0 {
            self.metrics.events_lost_total.with_label_values(&[stage, reason]).inc_by(count);
            let (stage, reason) = (stage.into(), reason.into());
            let notice = Notice::Lost { stage, reason, count, since };
            self.outputs.note(Entry::Notice { at, notice });
        }
    }
}

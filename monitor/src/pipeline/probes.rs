//! Tells when a probe was taken off its hook and when it is there again: in the ledger, in metrics and
//! in the log. What could not be seen meanwhile is a loss like any other.

use std::{collections::BTreeSet, sync::Arc};

use super::{Pipeline, STAGE};
use crate::{
    event::Notice,
    probe::{ProbeChange, ProbeEvent, Source},
};

/// `reason` of what was lost because nobody looked.
pub const DETACHED: &str = "detached";

/// Probes that are not where they should be, and the interfaces where.
#[derive(Debug, Default)]
pub(super) struct Broken(BTreeSet<(&'static str, Option<u32>)>);

impl Broken {
    /// Whether the probe is everywhere where it should be.
    fn update(&mut self, change: ProbeChange) -> bool {
        let ProbeChange { probe, ifindex, event, .. } = change;
        match event {
            ProbeEvent::Detached | ProbeEvent::Displaced => self.0.insert((probe, ifindex)),
            ProbeEvent::Attached | ProbeEvent::Gone => self.0.remove(&(probe, ifindex)),
        };
        !self.0.iter().any(|(broken, _)| *broken == probe)
    }
}

impl Pipeline {
    /// About every second.
    pub(super) fn note_probes(&mut self, source: &mut dyn Source, now: u64) {
        let (changes, unkept) = source.changes();
        let (mut holes, mut since_ns) = (unkept, now);
        for change in changes {
            if self.tell_probe(change, now) {
                holes += 1;
                since_ns = since_ns.min(change.since_ns);
            }
        }
        if holes > 0 {
            let labels = [STAGE, DETACHED];
            self.metrics.events_lost_total.with_label_values(&labels).inc_by(holes);
            // Of those that were not kept nothing is known.
            let since = (unkept == 0).then(|| self.flows.wall(since_ns));
            let (stage, reason) = (STAGE.into(), DETACHED.into());
            let lost = Notice::Lost { stage, reason, count: holes, since };
            self.note(self.flows.wall(now), lost);
        }
    }

    /// `true`: it was not there, for up to a second.
    fn tell_probe(&mut self, change: ProbeChange, now: u64) -> bool {
        let is_whole = self.broken.update(change);
        let ProbeChange { probe, ifindex, event, .. } = change;
        self.metrics.probe_attached.with_label_values(&[probe]).set(is_whole.into());
        let interface = ifindex.and_then(|index| self.interfaces.get(&index).cloned());
        let place = interface.as_deref().unwrap_or("its hook");
        let is_displaced = event == ProbeEvent::Displaced;
        let notice = match event {
            ProbeEvent::Detached | ProbeEvent::Displaced => {
                let what = if is_displaced {
                    "another program was put before it"
                } else {
                    "it was taken off"
                };
                tracing::warn!(
                    "probe {probe} at {place}: {what}; attached again, and what passed meanwhile may be unseen"
                );
                self.metrics.probe_detachments_total.with_label_values(&[probe]).inc();
                Notice::Detached { probe: Arc::from(probe), interface, is_displaced }
            }
            ProbeEvent::Attached => {
                tracing::info!("probe {probe} at {place}: attached again");
                Notice::Attached { probe: Arc::from(probe), interface }
            }
            ProbeEvent::Gone => return false,
        };
        let is_hole = matches!(notice, Notice::Detached { .. });
        self.note(self.flows.wall(now), notice);
        is_hole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_is_attached_again_once_it_is_at_every_interface() {
        let mut broken = Broken::default();
        let change =
            |ifindex, event| ProbeChange { probe: "a", ifindex: Some(ifindex), event, since_ns: 0 };
        assert!(!broken.update(change(1, ProbeEvent::Detached)));
        assert!(!broken.update(change(2, ProbeEvent::Displaced)));
        assert!(!broken.update(change(1, ProbeEvent::Attached)));
        assert!(broken.update(change(2, ProbeEvent::Gone)));
    }
}

//! Tells what a socket sent once an interface was seen to get it. Asks the source for counters;
//! decides nothing of what counts (`track::confirm`).

use std::sync::Arc;

use monitor_ebpf::sample::FlowKey;

use super::Pipeline;
use crate::{flow, probe::Source};

impl Pipeline {
    /// The flow goes by another way than was known.
    pub(super) fn judge_again(&mut self, flow: &FlowKey) {
        if let Some((egress, _, details)) = self.flows.look(flow) {
            details.renew(&self.rules, &egress);
        }
    }

    /// Since when the program at each interface sees whatever leaves by it.
    pub fn set_seen(&mut self, seen: flow::SeenSince) {
        self.seen = Arc::clone(&seen);
        self.flows.set_seen(seen);
    }

    /// Tells what an interface was given of what was taken in. `true`: to be called again soon.
    pub fn confirm(&mut self, source: &mut dyn Source) -> bool {
        if !self.flows.is_unconfirmed() {
            return false;
        }
        let now = source.now_ns();
        for flow in self.flows.confirm(now, |key| source.counters(key)) {
            // One that waits for its digest is told by a sweep.
            let known = self.flows.look(&flow).map(|(_, _, details)| details.sender.clone());
            if !known.is_some_and(|sender| self.waits_for_digest(&sender)) {
                self.report(&flow, now);
            }
        }
        self.flows.is_unconfirmed()
    }
}

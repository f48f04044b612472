//! Shows a query what was counted and not stored yet. Tells no output anything.

use super::{Pipeline, details::Details};
use crate::{
    outputs::{
        Kept,
        view::{FLOWS_MAX, Snapshot},
    },
    probe::{ProbeError, Source},
};

impl Pipeline {
    /// Reads the counters between two sweeps, for whoever asks now. Settles nothing.
    pub fn recount(&mut self, source: &mut dyn Source) -> Result<(), ProbeError> {
        let now = source.now_ns();
        self.count(source, now)
    }

    /// What the ledger does not hold yet of what it is to hold.
    pub fn unreported(&self, now_ns: u64) -> Snapshot {
        let outputs = &self.outputs;
        let mut records = Vec::new();
        let is_wanted = |details: &Details| match details.kept {
            _ if details.is_own => false,
            Kept::Itemised => true,
            Kept::Added => outputs.is_itemised(&details.judgement),
            Kept::Unpaid => false,
        };
        let left_out = self.flows.unreported(now_ns, FLOWS_MAX, is_wanted, |egress, details| {
            records.push(details.record(egress));
        });
        outputs.snapshot(records, left_out)
    }
}

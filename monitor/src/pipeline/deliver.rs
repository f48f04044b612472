//! What is told of a flow: its state, judged by the rules of its time, and by those in force.

use std::sync::Arc;

use super::details::Details;
use crate::{flow::Telling, outputs::Outputs, rules::Rules};

/// Judges again where the rules changed since, and delivers.
pub(super) fn deliver(
    outputs: &mut Outputs,
    rules: &Arc<Rules>,
    telling: Telling,
    details: &mut Details,
) {
    let Telling { egress, growth, is_new } = telling;
    if !Arc::ptr_eq(rules.provenance(), &details.provenance) {
        details.renew(rules, &egress);
    }
    let record = details.record(egress);
    let is_violation = record.is_violation();
    // Those that are violations from their first packet on are counted with their flow.
    if is_violation && !is_new && !details.is_counted {
        outputs.count_violation(&record);
    }
    details.is_counted |= is_violation;
    details.kept = outputs.deliver(record, growth, is_new, details.kept);
}

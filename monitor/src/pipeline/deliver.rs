//! What is told of a flow: its state, judged by the rules of its time, and by those in force.

use std::sync::Arc;

use super::{details::Details, shared::Shared};
use crate::{
    event::Phase,
    flow::Report,
    outputs::{Delivery, Outputs},
    rules::Rules,
};

/// Judges again where the rules changed since, and delivers.
pub(super) fn deliver(
    outputs: &mut Outputs,
    rules: &Arc<Rules>,
    shared: &mut Shared,
    report: Report,
    details: &mut Details,
) {
    if details.is_own {
        return;
    }
    let Report { egress, growth, is_new, is_first } = report;
    if !details.is_by(rules) {
        details.renew(rules, &egress);
    }
    shared.share(&mut details.findings);
    let record = Arc::new(details.record(egress));
    // An attempt never counts.
    let begins = is_new && record.egress.phase == Phase::Sent;
    let attempts = is_first && record.egress.phase == Phase::Attempt;
    let violates = record.is_violation() && !details.is_counted;
    details.is_counted |= violates;
    let told = Delivery { record, growth, attempts, begins, violates };
    details.kept = outputs.deliver(told, details.kept);
}

//! What the daemon says of itself in the log when it begins, reloads and ends. Says and decides nothing.

use std::time::Duration;

use crate::{
    config::{self, Policy},
    ecs::hex,
    metrics::{Metrics, sum},
    table,
};

/// What the policy that is now in force approves.
pub(super) fn approved(policy: &Policy) {
    let digits = &hex(&policy.sha256)[..12];
    let approved = config::approved(policy);
    if policy.is_learning() {
        tracing::warn!(
            "the policy only learns: nothing is raised as a violation, whatever it says. {approved} Policy {digits}."
        );
    } else if policy.approves_nothing() {
        tracing::warn!(
            "nothing is approved, each egress will be a violation. {approved} Policy {digits}."
        );
    } else {
        tracing::info!("{approved} Policy {digits}.");
    }
}

/// The daemon ends in order.
pub(super) fn stopped(after: Duration, metrics: &Metrics) {
    let told = |count, one: &str, many: &str| match count {
        1 => format!("1 {one}"),
        count => format!("{count} {many}"),
    };
    let flows = told(sum(&metrics.egress_flows_total), "flow", "flows");
    let violations = told(sum(&metrics.violations_total), "violation", "violations");
    let lost = told(sum(&metrics.events_lost_total), "event", "events");
    tracing::info!(
        "stopped after {}: {flows} seen, {violations}, {lost} lost",
        table::span(after.as_secs())
    );
}

//! What was shared by declaration: intervals in which the operator of this host said beforehand what would
//! be sent where, and why. A declaration is a claim: it makes no violation milder, and none goes away.

use serde::Serialize;

use crate::ecs::{Event, MarkEvent, Time};

/// Somebody said that this would be sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Share {
    pub interval: String,
    pub destination: String,
    pub purpose: String,
    pub from: Time,
    /// Absent: the interval goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Declared {
    /// Those that are of any of the period.
    pub shares: Vec<Share>,
    /// Violations that went to one of these.
    pub violations: u64,
}

impl Declared {
    /// Of all marks of a ledger, in its order.
    pub fn of(marks: &[MarkEvent<'_>]) -> Self {
        let mut shares = Vec::new();
        for (nth, mark) in marks.iter().enumerate() {
            let begun = &mark.geofenced.mark;
            let mut later = marks[nth + 1..].iter();
            let is_its = |it: &&MarkEvent<'_>| it.geofenced.mark.name == begun.name;
            let ended = later.find(is_its).map(|it| it.timestamp);
            for share in &begun.share {
                shares.push(Share {
                    interval: begun.name.to_string(),
                    destination: share.destination.to_string(),
                    purpose: share.purpose.to_string(),
                    from: mark.timestamp,
                    until: [share.until, ended].into_iter().flatten().min(),
                });
            }
        }
        Self { shares, violations: 0 }
    }

    /// Takes note of a violation.
    pub fn add(&mut self, event: &Event<'_>) {
        self.violations += u64::from(event.is_violation() && !event.geofenced.declared.is_empty());
    }

    /// Without those that are of another time.
    pub(super) fn within(mut self, from: Time, to: Time) -> Self {
        let is_of_it = |it: &Share| it.from < to && it.until.is_none_or(|until| until > from);
        self.shares.retain(is_of_it);
        self
    }

    /// What the page says.
    pub fn sentence(&self) -> String {
        if self.shares.is_empty() {
            return "Nothing was declared for this period.".to_owned();
        }
        format!(
            "Declared beforehand, with the purpose that was given. A declaration excuses nothing: {} of the violations above went there, and stand.",
            self.violations
        )
    }
}

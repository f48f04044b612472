//! What the store loses: states of flows, or rows that stand for flows; among them the first states, since a
//! flow has one and no more; and apart from them notices. So of whatever flows were made it can be reckoned
//! up that each was stored or is counted here. Loses nothing itself.

use std::{
    iter::Sum,
    ops::AddAssign,
    sync::{Mutex, MutexGuard, PoisonError},
};

use prometheus::IntCounter;

use crate::{
    event::{Entry, Notice, Timestamp},
    metrics::Metrics,
};

pub const STAGE: &str = "store";
/// `stage` of notices that are lost, for the same reasons as all else.
pub const NOTICES: &str = "notices";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// States of flows, questions for names, and flows that are added up.
    pub events: u64,
    /// First states among them.
    pub flows: u64,
    pub notices: u64,
    /// The earliest that any of it tells of, where that is known.
    pub since: Option<Timestamp>,
}

impl Lost {
    pub(super) fn of(entry: &Entry) -> Self {
        let (events, flows, notices, since) = match entry {
            Entry::Flow(record) if record.egress.revision == 0 => {
                (1, 1, 0, record.egress.started_at)
            }
            // The state before it told what was until then.
            Entry::Flow(record) => (1, 0, 0, record.egress.last_at),
            Entry::Rollup(rollup) => (rollup.flows.max(1), 0, 0, rollup.hour),
            Entry::Lookup(lookup) => (1, 0, 0, lookup.at),
            Entry::Notice { at, .. } => (0, 0, 1, *at),
        };
        Self { events, flows, notices, since: Some(since) }
    }

    /// What the ledger is told of it.
    pub(super) fn notes(self, reason: &'static str, at: Timestamp) -> impl Iterator<Item = Entry> {
        let each = [(STAGE, self.events), (NOTICES, self.notices)].into_iter();
        let since = self.since;
        each.filter(|(_, count)| *count > 0).map(move |(stage, count)| {
            let (stage, reason) = (stage.into(), reason.into());
            let notice = Notice::Lost { stage, reason, count, since };
            Entry::Notice { at, notice }
        })
    }
}

impl AddAssign for Lost {
    fn add_assign(&mut self, more: Self) {
        self.events += more.events;
        self.flows += more.flows;
        self.notices += more.notices;
        self.since = self.since.into_iter().chain(more.since).min();
    }
}

impl Sum for Lost {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |mut sum, one| {
            sum += one;
            sum
        })
    }
}

/// The metric of what is lost for one reason.
#[derive(Clone, Debug)]
pub(super) struct Counter {
    events: IntCounter,
    flows: IntCounter,
    notices: IntCounter,
}

impl Counter {
    pub(super) fn new(metrics: &Metrics, reason: &str) -> Self {
        let of = |stage| metrics.events_lost_total.with_label_values(&[stage, reason]);
        let flows = metrics.store_flows_lost_total.with_label_values(&[reason]);
        Self { events: of(STAGE), flows, notices: of(NOTICES) }
    }

    pub(super) fn add(&self, lost: Lost) {
        self.events.inc_by(lost.events);
        self.flows.inc_by(lost.flows);
        self.notices.inc_by(lost.notices);
    }
}

/// Lost by one thread, and not yet told to the ledger by another.
#[derive(Debug, Default)]
pub(super) struct Untold(Mutex<Lost>);

impl Untold {
    fn lost(&self) -> MutexGuard<'_, Lost> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, lost: Lost) {
        *self.lost() += lost;
    }

    pub(super) fn take(&self) -> Lost {
        std::mem::take(&mut *self.lost())
    }
}

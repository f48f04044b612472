//! When the ledger is written and when it is synced. What was handed over can be read, and outlives this
//! process, within a second; a violation is safe from a loss of power by then, and the rest a while later.
//! Reads no clock and writes nothing.

use std::time::{Duration, Instant};

use rustc_hash::FxHashSet;

use crate::event::{Entry, FlowId, Notice};

/// An entry waits at most so long to be written, and one that is urgent to be synced.
const WRITE: Duration = Duration::from_secs(1);
/// Violations of which it is remembered that one state is safe.
const KNOWN_MAX: usize = 4096;

/// What waits, and until when.
#[derive(Debug)]
pub(super) struct Due {
    interval: Duration,
    write_at: Option<Instant>,
    sync_at: Option<Instant>,
    /// Violations with a state that is safe, or will be within a second.
    known: FxHashSet<FlowId>,
}

impl Due {
    /// `interval`: how long what is not urgent may wait for its sync.
    pub(super) fn new(interval: Duration) -> Self {
        Self { interval, write_at: None, sync_at: None, known: FxHashSet::default() }
    }

    /// An entry was taken.
    pub(super) fn took(&mut self, entry: &Entry, now: Instant) {
        let wait = if self.is_urgent(entry) { WRITE.min(self.interval) } else { self.interval };
        let (write_at, sync_at) = (now + WRITE.min(self.interval), now + wait);
        self.write_at.get_or_insert(write_at);
        self.sync_at = Some(self.sync_at.map_or(sync_at, |at| at.min(sync_at)));
    }

    /// A violation is, until one state of it is safe: what comes later adds to it. So is whatever says
    /// what was not watched or not kept.
    fn is_urgent(&mut self, entry: &Entry) -> bool {
        match entry {
            Entry::Flow(record) if record.is_violation() => {
                if self.known.len() >= KNOWN_MAX {
                    self.known.clear();
                }
                self.known.insert(record.egress.flow)
            }
            Entry::Notice { notice, .. } => !matches!(notice, Notice::Alive),
            Entry::Flow(_) | Entry::Rollup(_) | Entry::Lookup(_) => false,
        }
    }

    pub(super) fn wrote(&mut self) {
        self.write_at = None;
    }

    pub(super) fn synced(&mut self) {
        (self.write_at, self.sync_at) = (None, None);
    }

    pub(super) fn is_write_due(&self, now: Instant) -> bool {
        self.write_at.is_some_and(|at| at <= now)
    }

    pub(super) fn is_sync_due(&self, now: Instant) -> bool {
        self.sync_at.is_some_and(|at| at <= now)
    }

    /// Something was taken that nobody can read yet.
    pub(super) fn is_unwritten(&self) -> bool {
        self.write_at.is_some()
    }

    /// The next of both, if anything waits.
    pub(super) fn next(&self) -> Option<Instant> {
        self.write_at.into_iter().chain(self.sync_at).min()
    }
}

/// Whether what was done last then is to be done again.
pub(super) fn is_due(last: Option<Instant>, interval: Duration) -> bool {
    last.is_none_or(|at| at.elapsed() >= interval)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ecs::tests::full_record,
        event::{Timestamp, Verdict},
    };

    const INTERVAL: Duration = Duration::from_secs(10);

    fn flow(number: u128, verdict: Verdict) -> Entry {
        let mut record = full_record();
        record.egress.flow = FlowId(number);
        record.judgement.verdict = verdict;
        Entry::Flow(record)
    }

    /// After how many seconds it is synced.
    fn synced_after(due: &mut Due, entry: &Entry) -> u64 {
        let now = Instant::now();
        due.took(entry, now);
        assert!(due.is_write_due(now + WRITE) && !due.is_sync_due(now));
        let after = (0..=60).find(|second| due.is_sync_due(now + Duration::from_secs(*second)));
        due.synced();
        assert_eq!(due.next(), None);
        after.unwrap()
    }

    #[test]
    fn a_violation_is_synced_within_a_second_and_what_adds_to_it_with_the_rest() {
        let mut due = Due::new(INTERVAL);
        assert_eq!(synced_after(&mut due, &flow(1, Verdict::Approved)), 10);
        assert_eq!(synced_after(&mut due, &flow(2, Verdict::Unapproved)), 1);
        assert_eq!(synced_after(&mut due, &flow(2, Verdict::Unapproved)), 10);
        // What becomes one by a correction was not known as one.
        assert_eq!(synced_after(&mut due, &flow(1, Verdict::Unapproved)), 1);
    }

    #[test]
    fn what_says_that_something_is_missing_is_synced_within_a_second_and_that_all_is_well_is_not() {
        let mut due = Due::new(INTERVAL);
        let notice = |notice| Entry::Notice { at: Timestamp(1), notice };
        assert_eq!(synced_after(&mut due, &notice(Notice::Alive)), 10);
        assert_eq!(synced_after(&mut due, &notice(Notice::LostSight { flows: 1 })), 1);
        assert_eq!(synced_after(&mut due, &notice(Notice::Stopped)), 1);
    }

    #[test]
    fn what_waits_is_not_put_off_by_what_comes_later() {
        let (mut due, now) = (Due::new(INTERVAL), Instant::now());
        due.took(&flow(1, Verdict::Unapproved), now);
        due.took(&flow(2, Verdict::Approved), now + Duration::from_millis(900));
        assert_eq!(due.next(), Some(now + WRITE));
        due.wrote();
        assert!(due.is_sync_due(now + WRITE) && !due.is_unwritten());
        due.synced();
        for after in [0, 900] {
            due.took(&flow(3, Verdict::Approved), now + Duration::from_millis(after));
        }
        assert!(due.is_write_due(now + WRITE) && !due.is_sync_due(now + WRITE));
        assert!(due.is_sync_due(now + INTERVAL));
    }

    #[test]
    fn an_interval_below_a_second_is_for_all() {
        let interval = Duration::from_millis(100);
        for verdict in [Verdict::Approved, Verdict::Unapproved] {
            let (mut due, now) = (Due::new(interval), Instant::now());
            due.took(&flow(1, verdict), now);
            assert_eq!(due.next(), Some(now + interval));
            assert!(due.is_write_due(now + interval) && due.is_sync_due(now + interval));
        }
    }
}

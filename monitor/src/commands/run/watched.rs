//! What of the last day was watched, and how long nobody watched before the start, as metrics. Reads the
//! ledger now and then; decides nothing.

use std::sync::Arc;

use crate::{
    clock,
    coverage::{Alive, Coverage, Extent, Gap},
    event::Timestamp,
    metrics::{ABSENCES, Metrics},
    store::Reader,
};

const DAY_NS: u64 = 86_400_000_000_000;
const SECOND_NS: u64 = 1_000_000_000;
/// A gap before the start ends with it, as near as this.
const NEAR_NS: u64 = 2 * SECOND_NS;
/// Its `stage`.
const DAEMON: &str = "daemon";

#[derive(Clone, Debug)]
pub(super) struct Watched {
    reader: Reader,
    since: Timestamp,
    metrics: Arc<Metrics>,
}

impl Watched {
    /// `since`: this daemon's start.
    pub(super) fn new(reader: Reader, since: Timestamp, metrics: &Arc<Metrics>) -> Self {
        Self { reader, since, metrics: Arc::clone(metrics) }
    }

    /// Blocks while it reads the ledger.
    pub(super) fn meter(&self) {
        let now = clock::wall();
        let day = Timestamp(now.0.saturating_sub(DAY_NS));
        let oldest = self.reader.stats().ok().and_then(|stats| stats.oldest);
        // What came before the first word of a ledger is no gap.
        let from = oldest.is_some_and(|oldest| oldest < day).then_some(day);
        // What is not in the ledger yet is so at the next look; a disk that is full has alerts of its own.
        let alive = Alive { since: self.since, now, is_told: true };
        match self.reader.coverage((from, now), Some(alive)) {
            Ok(coverage) => tell(&self.metrics, &coverage, self.since),
            Err(error) => tracing::warn!("what was watched can't be told in metrics: {error}"),
        }
    }
}

fn tell(metrics: &Metrics, coverage: &Coverage, since: Timestamp) {
    let set = |extent, seconds: u64| {
        metrics.coverage_seconds.with_label_values(&[extent]).set(seconds.cast_signed());
    };
    set("watched", coverage.watched_seconds);
    let named =
        [("blind", Extent::Blind), ("degraded", Extent::Degraded), ("removed", Extent::Removed)];
    for (word, extent) in named {
        set(word, seconds(coverage.gaps.iter().filter(|gap| gap.extent == extent)));
    }
    let before = coverage.gaps.iter().rev().find(|gap| {
        gap.extent == Extent::Blind && gap.stage == DAEMON && gap.to.0.0.abs_diff(since.0) < NEAR_NS
    });
    // Once it is told it stays as it is, though the day moves on.
    let Some(before) = before else { return };
    let gauges =
        ABSENCES.map(|reason| metrics.gap_before_start_seconds.with_label_values(&[reason]));
    if gauges.iter().any(|gauge| gauge.get() > 0) {
        return;
    }
    let known = ABSENCES.iter().position(|reason| *reason == before.reason);
    let gauge = &gauges[known.unwrap_or(ABSENCES.len() - 1)];
    gauge.set(seconds(std::iter::once(before)).max(1).cast_signed());
}

/// That are in one of them at least; what was missed at an instant takes none.
fn seconds<'g>(gaps: impl Iterator<Item = &'g Gap>) -> u64 {
    let mut spans: Vec<(u64, u64)> = gaps.map(|gap| (gap.from.0.0, gap.to.0.0)).collect();
    spans.sort_unstable();
    let (mut sum, mut end) = (0, 0);
    for (from, to) in spans {
        sum += to.saturating_sub(from.max(end));
        end = end.max(to);
    }
    sum.div_ceil(SECOND_NS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{coverage::Integrity, ecs::Time, metrics::KnownLabels};

    const START: u64 = 1_800_000_000;

    fn gap(from: u64, to: u64, extent: Extent, stage: &str, reason: &str) -> Gap {
        let [from, to] = [from, to].map(|at| Time(Timestamp::from_secs(START + at)));
        Gap { from, to, extent, stage: stage.into(), reason: reason.into(), count: None }
    }

    fn coverage(gaps: Vec<Gap>) -> Coverage {
        let [from, to] = [0, 1000].map(|at| Time(Timestamp::from_secs(START + at)));
        let ledger = Integrity::default();
        Coverage { from, to, watched_seconds: 700, seconds: 1000, gaps, ledger, watching: vec![] }
    }

    fn told(metrics: &Metrics) -> ([i64; 4], [i64; 3]) {
        (
            crate::metrics::EXTENTS
                .map(|it| metrics.coverage_seconds.with_label_values(&[it]).get()),
            ABSENCES.map(|it| metrics.gap_before_start_seconds.with_label_values(&[it]).get()),
        )
    }

    #[test]
    fn a_gap_that_ends_with_the_start_is_told_with_its_reason_and_stays_so() {
        let metrics = Metrics::new(&KnownLabels::default()).unwrap();
        let since = Timestamp::from_secs(START + 500);
        let gaps = vec![
            gap(100, 200, Extent::Degraded, "probe", "ring-full-flow"),
            gap(150, 250, Extent::Degraded, "probe", "connect4"),
            gap(300, 500, Extent::Blind, "daemon", "ended-without-a-word"),
        ];
        tell(&metrics, &coverage(gaps), since);
        assert_eq!(told(&metrics), ([700, 200, 150, 0], [0, 200, 0]));
        // An hour later it is cut by the window.
        let cut = vec![gap(450, 500, Extent::Blind, "daemon", "not-running")];
        tell(&metrics, &coverage(cut), since);
        assert_eq!(told(&metrics), ([700, 50, 0, 0], [0, 200, 0]));
    }

    #[test]
    fn what_others_left_blind_is_no_gap_before_the_start() {
        let metrics = Metrics::new(&KnownLabels::default()).unwrap();
        let since = Timestamp::from_secs(START + 500);
        let gaps = vec![
            gap(100, 200, Extent::Blind, "daemon", "stopped"),
            gap(400, 500, Extent::Blind, "self-test", "failed"),
        ];
        tell(&metrics, &coverage(gaps), since);
        assert_eq!(told(&metrics), ([700, 200, 0, 0], [0, 0, 0]));
    }
}

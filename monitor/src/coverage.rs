//! What a window of time was watched, by what the ledger notes of the watching, and what of the ledger
//! is there to answer for it. Reads no ledger: it is told. Where nothing says that somebody looked,
//! nobody did.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    ecs::Time,
    event::{Notice, Timestamp},
    table,
};

/// How often the daemon notes that it still watches: what a power cut leaves unknown.
pub const ALIVE_NS: u64 = 60_000_000_000;
/// A probe is looked after once a second: before it was found missing, it may have been for so long.
const LOOKED_AFTER_NS: u64 = 1_000_000_000;
/// Of causes in one line of text.
const CAUSES_MAX: usize = 4;

/// How far a gap goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Extent {
    /// Nobody looked.
    Blind,
    /// Something was missed, or may have been.
    Degraded,
    /// It was seen, and is kept no longer.
    Removed,
}

/// A time for which the absence of records proves nothing, or less.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    pub from: Time,
    pub to: Time,
    pub extent: Extent,
    /// Where: `daemon`, `probe`, `retention`, `store`, or a stage of `geofenced_events_lost_total`.
    pub stage: String,
    pub reason: String,
    /// Of what was lost, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
}

/// Whether the ledger holds what was written to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Integrity {
    /// Stretches that can't be read.
    pub damaged: u64,
    /// Blocks and segments that should stand between others.
    pub missing_blocks: u64,
    pub missing_segments: u64,
}

impl Integrity {
    pub const fn is_whole(&self) -> bool {
        self.damaged == 0 && self.missing_blocks == 0 && self.missing_segments == 0
    }
}

/// The daemon that answers says so of itself; its notices may not be written yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alive {
    pub since: Timestamp,
    pub now: Timestamp,
}

/// What a window of time was watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    pub from: Time,
    pub to: Time,
    /// Somebody looked, and what was seen is kept; seconds, cut.
    pub watched_seconds: u64,
    pub seconds: u64,
    /// In order of their beginning.
    pub gaps: Vec<Gap>,
    pub ledger: Integrity,
}

impl Coverage {
    pub fn has_gaps(&self) -> bool {
        !self.gaps.is_empty() || !self.ledger.is_whole()
    }

    /// One line for whoever reads an answer.
    pub fn sentence(&self) -> String {
        let (watched, all) = (self.watched_seconds, self.seconds);
        let window = table::span(all);
        let share = if self.gaps.is_empty() {
            format!("watched: all of {window}")
        } else {
            let tenths = watched.saturating_mul(1000).checked_div(all).unwrap_or(1000);
            // A gap is no gap of nothing.
            let tenths = if watched < all { tenths.min(999) } else { tenths };
            format!("watched: {}.{} % of {window}", tenths / 10, tenths % 10)
        };
        let causes = self.causes();
        let shown = causes.len().min(CAUSES_MAX);
        let more = match causes.len() - shown {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        let causes = match shown {
            0 => String::new(),
            shown => format!(" ({}{more})", causes[..shown].join("; ")),
        };
        let Integrity { damaged, missing_blocks, missing_segments } = self.ledger;
        let lacks = [
            (damaged, "damaged stretch", "damaged stretches"),
            (missing_blocks, "block missing", "blocks missing"),
            (missing_segments, "segment missing", "segments missing"),
        ];
        let lacks = lacks.into_iter().filter(|(count, ..)| *count > 0);
        let lacks: Vec<String> = lacks
            .map(|(count, one, many)| format!("{count} {}", if count == 1 { one } else { many }))
            .collect();
        let ledger = if lacks.is_empty() {
            "the ledger is whole".to_owned()
        } else {
            format!("the ledger is not whole: {}", lacks.join(", "))
        };
        format!("{share}{causes}; {ledger}")
    }

    /// The gaps by what they are of, with how long or how many.
    fn causes(&self) -> Vec<String> {
        let mut causes: BTreeMap<(u8, &str, &str), (u64, u64)> = BTreeMap::new();
        for gap in &self.gaps {
            let key = (gap.extent as u8, gap.stage.as_str(), gap.reason.as_str());
            let (nanoseconds, count) = causes.entry(key).or_default();
            *nanoseconds += gap.to.0.0.saturating_sub(gap.from.0.0);
            *count += gap.count.unwrap_or(0);
        }
        let tell = |((extent, stage, reason), (nanoseconds, count)): (_, (u64, u64))| {
            let span = table::span(nanoseconds.div_ceil(1_000_000_000));
            match (extent, count) {
                (blind, _) if blind == Extent::Blind as u8 => {
                    format!("blind {span}: {stage} {reason}")
                }
                (removed, _) if removed == Extent::Removed as u8 => format!("removed: {span}"),
                (_, 0) => format!("{stage} {reason} for {span}"),
                (_, count) => format!("{stage} {reason}: {count}"),
            }
        };
        causes.into_iter().map(tell).collect()
    }
}

/// Takes the notices in the order of the ledger and says what they leave unwatched.
#[derive(Debug)]
pub struct Fold {
    gaps: Vec<Gap>,
    /// Between a notice that watching began and one that it ended.
    is_watching: bool,
    /// Of the last notice; the beginning of time before the first.
    seen_at: u64,
    /// How the last watching ended.
    absence: &'static str,
    /// Probes off their hook, since when.
    detached: BTreeMap<String, u64>,
    removed: Vec<(u64, u64)>,
    removed_segments: Vec<u64>,
}

/// Notices are taken from so long before a window on, to know whether it began watched.
pub const LOOK_BACK_NS: u64 = 3 * ALIVE_NS;

impl Fold {
    /// For the notices from then on.
    pub fn from(Timestamp(seen_at): Timestamp) -> Self {
        Self {
            gaps: Vec::new(),
            is_watching: false,
            seen_at,
            absence: "not-running",
            detached: BTreeMap::new(),
            removed: Vec::new(),
            removed_segments: Vec::new(),
        }
    }

    pub fn add(&mut self, at: Timestamp, notice: &Notice) {
        let Timestamp(at_ns) = at;
        if !self.is_watching && !matches!(notice, Notice::Started { .. }) {
            // Who writes has watched since its last word, which is not among these.
            let since = at_ns.saturating_sub(ALIVE_NS);
            self.gap(self.seen_at, since, Extent::Blind, "daemon", self.absence, None);
            self.is_watching = true;
            self.seen_at = self.seen_at.max(since);
        }
        match notice {
            Notice::Started { .. } => self.begin(at_ns),
            Notice::Stopped => {
                self.is_watching = false;
                self.absence = "stopped";
            }
            Notice::Lost { stage, reason, count } => {
                self.gap(self.seen_at, at_ns, Extent::Degraded, stage, reason, Some(*count));
            }
            Notice::Cut { bytes, .. } => {
                self.gap(
                    self.seen_at,
                    at_ns,
                    Extent::Degraded,
                    "store",
                    "torn-bytes",
                    Some(*bytes),
                );
            }
            Notice::Detached { probe, interface, .. } => {
                let since = at_ns.saturating_sub(LOOKED_AFTER_NS);
                self.detached.entry(place(probe, interface.as_deref())).or_insert(since);
            }
            Notice::Attached { probe, interface } => {
                let place = place(probe, interface.as_deref());
                if let Some(since) = self.detached.remove(&place) {
                    self.gap(since, at_ns, Extent::Degraded, "probe", &place, None);
                }
            }
            Notice::Removed { segments, from, to, .. } => {
                self.removed.push((from.0, to.0));
                self.removed_segments.extend(segments);
            }
            Notice::ClockStepped { from, to } => {
                // No time passed that a window could ask for, or it is there twice.
                let extent = if to > from { Extent::Blind } else { Extent::Degraded };
                let (first, last) = (from.0.min(to.0), from.0.max(to.0));
                self.gap(first, last, extent, "clock", "stepped", None);
                self.seen_at = to.0;
            }
            Notice::LostSight { flows } => {
                // It stands behind that last word, and is told as of it.
                let since = at_ns.saturating_sub(ALIVE_NS);
                self.gap(since, at_ns, Extent::Degraded, "daemon", "open-flows", Some(*flows));
            }
            Notice::Alive
            | Notice::ClockRead(_)
            | Notice::Reloaded { .. }
            | Notice::Policy { .. }
            | Notice::AddedUp { .. } => {}
        }
        // After a step back it is where the clock is now.
        let is_step = matches!(notice, Notice::ClockStepped { .. });
        self.seen_at = if is_step { self.seen_at } else { self.seen_at.max(at_ns) };
    }

    /// Without a word of the end of what was before, it was killed or lost its power, some time after
    /// its last word.
    fn begin(&mut self, at_ns: u64) {
        let reason = if self.is_watching { "ended-without-a-word" } else { self.absence };
        self.gap(self.seen_at, at_ns, Extent::Blind, "daemon", reason, None);
        self.is_watching = true;
        self.detached.clear();
    }

    fn gap(
        &mut self,
        from: u64,
        to: u64,
        extent: Extent,
        stage: &str,
        reason: &str,
        count: Option<u64>,
    ) {
        let (from, to) = (Time(Timestamp(from)), Time(Timestamp(to.max(from))));
        let (stage, reason) = (stage.to_owned(), reason.to_owned());
        self.gaps.push(Gap { from, to, extent, stage, reason, count });
    }

    /// Segments that retention says it removed.
    pub fn removed_segments(&self) -> &[u64] {
        &self.removed_segments
    }

    /// What of a window was watched. `alive`: what the daemon that is asked says of itself.
    pub fn within(
        mut self,
        (from, to): (Timestamp, Timestamp),
        alive: Option<Alive>,
        ledger: Integrity,
    ) -> Coverage {
        if let Some(Alive { since, now }) = alive {
            if since.0 > self.seen_at {
                self.begin(since.0);
            }
            self.is_watching = true;
            self.seen_at = self.seen_at.max(now.0);
        }
        let end = to.0.max(self.seen_at);
        for (place, since) in std::mem::take(&mut self.detached) {
            self.gap(since, end, Extent::Degraded, "probe", &place, None);
        }
        if !self.is_watching || end > self.seen_at {
            let reason = if self.is_watching { "no-word-since" } else { self.absence };
            self.gap(self.seen_at, end, Extent::Blind, "daemon", reason, None);
        }
        for (from, to) in std::mem::take(&mut self.removed) {
            self.gap(from, to, Extent::Removed, "retention", "removed", None);
        }
        let mut gaps: Vec<Gap> =
            self.gaps.into_iter().filter_map(|gap| clipped(gap, from, to)).collect();
        gaps.sort_by_key(|gap| (gap.from.0, gap.to.0));
        let unwatched = union(gaps.iter().filter(|gap| gap.extent != Extent::Degraded));
        let all = to.0.saturating_sub(from.0);
        let second = 1_000_000_000;
        Coverage {
            from: Time(from),
            to: Time(to),
            watched_seconds: all.saturating_sub(unwatched) / second,
            seconds: all.div_ceil(second),
            gaps,
            ledger,
        }
    }
}

fn place(probe: &str, interface: Option<&str>) -> String {
    interface.map_or_else(|| probe.to_owned(), |interface| format!("{probe} {interface}"))
}

/// The part of it that is in the window; a loss at an instant stays.
fn clipped(mut gap: Gap, from: Timestamp, to: Timestamp) -> Option<Gap> {
    if gap.to.0 < from || gap.from.0 >= to {
        return None;
    }
    gap.from = Time(gap.from.0.max(from));
    gap.to = Time(gap.to.0.min(to));
    (gap.from.0 < gap.to.0 || gap.count.is_some()).then_some(gap)
}

/// Nanoseconds that are in one of them at least. They come in the order of their beginning.
fn union<'g>(gaps: impl Iterator<Item = &'g Gap>) -> u64 {
    let (mut sum, mut end) = (0, 0);
    for gap in gaps {
        let (from, to) = (gap.from.0.0.max(end), gap.to.0.0);
        sum += to.saturating_sub(from);
        end = end.max(to);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60 * 1_000_000_000;

    fn at(minute: u64) -> Timestamp {
        Timestamp(minute * MINUTE)
    }

    fn started() -> Notice {
        Notice::Started { version: "1".into(), probes: vec![], policy_sha256: [0; 32] }
    }

    fn coverage(notices: &[(u64, Notice)], window: (u64, u64), alive: Option<u64>) -> Coverage {
        let mut fold = Fold::from(at(0));
        for (minute, notice) in notices {
            fold.add(at(*minute), notice);
        }
        let window = (at(window.0), at(window.1));
        let alive = alive.map(|now| Alive { since: at(0), now: at(now) });
        fold.within(window, alive, Integrity::default())
    }

    fn gaps(coverage: &Coverage) -> Vec<(u64, u64, Extent, String)> {
        let minutes = |time: Time| time.0.0 / MINUTE;
        let gap = |it: &Gap| {
            (minutes(it.from), minutes(it.to), it.extent, format!("{} {}", it.stage, it.reason))
        };
        coverage.gaps.iter().map(gap).collect()
    }

    #[test]
    fn a_window_in_which_the_daemon_ran_is_watched_whole() {
        let told = coverage(&[(10, started()), (11, Notice::Alive)], (10, 12), Some(12));
        assert_eq!((told.watched_seconds, told.seconds, told.has_gaps()), (120, 120, false));
        assert_eq!(told.sentence(), "watched: all of 2m; the ledger is whole");
    }

    #[test]
    fn before_the_first_start_nobody_looked() {
        let told = coverage(&[(10, started())], (0, 20), Some(20));
        assert_eq!(gaps(&told), [(0, 10, Extent::Blind, "daemon not-running".to_owned())]);
        assert_eq!((told.watched_seconds, told.seconds), (600, 1200));
        assert_eq!(
            told.sentence(),
            "watched: 50.0 % of 20m (blind 10m: daemon not-running); the ledger is whole"
        );
    }

    #[test]
    fn a_stop_and_an_end_without_a_word_are_told_apart() {
        let stopped = [(1, started()), (5, Notice::Stopped), (7, started())];
        let told = coverage(&stopped, (1, 9), Some(9));
        assert_eq!(gaps(&told), [(5, 7, Extent::Blind, "daemon stopped".to_owned())]);
        let killed = [(1, started()), (5, Notice::Alive), (7, started())];
        let told = coverage(&killed, (1, 9), Some(9));
        assert_eq!(gaps(&told), [(5, 7, Extent::Blind, "daemon ended-without-a-word".to_owned())]);
    }

    #[test]
    fn flows_of_which_a_killed_daemon_did_not_see_the_end_leave_its_last_minute_degraded() {
        let killed = [
            (1, started()),
            (5, Notice::Alive),
            (5, Notice::LostSight { flows: 37 }),
            (7, started()),
        ];
        let told = coverage(&killed, (1, 9), Some(9));
        let open = (4, 5, Extent::Degraded, "daemon open-flows".to_owned());
        let blind = (5, 7, Extent::Blind, "daemon ended-without-a-word".to_owned());
        assert_eq!(gaps(&told), [open, blind]);
        assert!(told.sentence().contains("daemon open-flows: 37"), "{}", told.sentence());
    }

    #[test]
    fn of_a_ledger_alone_nothing_is_known_after_its_last_word() {
        let told = coverage(&[(1, started()), (3, Notice::Alive)], (2, 10), None);
        assert_eq!(gaps(&told), [(3, 10, Extent::Blind, "daemon no-word-since".to_owned())]);
        let told = coverage(&[(1, started()), (3, Notice::Stopped)], (2, 10), None);
        assert_eq!(gaps(&told), [(3, 10, Extent::Blind, "daemon stopped".to_owned())]);
        let told = coverage(&[], (2, 10), None);
        assert_eq!(told.watched_seconds, 0);
    }

    #[test]
    fn what_was_lost_and_a_probe_off_its_hook_leave_the_time_degraded() {
        let lost =
            Notice::Lost { stage: "probe".into(), reason: "ring-full-flow".into(), count: 7 };
        let off = Notice::Detached {
            probe: "tc_egress".into(),
            interface: Some("eth0".into()),
            is_displaced: false,
        };
        let on = Notice::Attached { probe: "tc_egress".into(), interface: Some("eth0".into()) };
        let notices = [(1, started()), (2, Notice::Alive), (3, lost), (5, off), (6, on)];
        let told = coverage(&notices, (1, 9), Some(9));
        let degraded = |from, to, what: &str| (from, to, Extent::Degraded, what.to_owned());
        assert_eq!(
            gaps(&told),
            [degraded(2, 3, "probe ring-full-flow"), degraded(4, 6, "probe tc_egress eth0")]
        );
        assert_eq!(told.watched_seconds, told.seconds);
        assert!(told.has_gaps());
        assert_eq!(told.gaps[0].count, Some(7));
    }

    #[test]
    fn what_retention_removed_is_no_longer_watched_and_nothing_counts_twice() {
        let removed = Notice::Removed { segments: vec![1], entries: 9, from: at(1), to: at(4) };
        let notices = [(3, started()), (5, removed)];
        let told = coverage(&notices, (0, 10), Some(10));
        assert_eq!((told.watched_seconds, told.seconds), (360, 600));
        assert_eq!(told.gaps.len(), 2);
    }

    #[test]
    fn a_daemon_whose_notices_are_not_written_yet_watches_since_it_says_so() {
        let told = |fold: Fold| {
            let alive = Alive { since: at(6), now: at(9) };
            gaps(&fold.within((at(1), at(9)), Some(alive), Integrity::default()))
        };
        assert_eq!(
            told(Fold::from(at(0))),
            [(1, 6, Extent::Blind, "daemon not-running".to_owned())]
        );
        let mut killed = Fold::from(at(0));
        killed.add(at(1), &started());
        let reason = "daemon ended-without-a-word".to_owned();
        assert_eq!(told(killed), [(1, 6, Extent::Blind, reason)]);
    }

    #[test]
    fn a_window_in_the_middle_of_a_long_watch_is_watched_whole() {
        let mut fold = Fold::from(at(997));
        for minute in 997..1_010 {
            fold.add(at(minute), &Notice::Alive);
        }
        let told = fold.within((at(1_000), at(1_005)), None, Integrity::default());
        assert!(!told.has_gaps(), "{told:?}");
    }

    #[test]
    fn over_a_step_of_the_clock_no_time_is_taken_for_watched_that_did_not_pass() {
        let step = |from, to| Notice::ClockStepped { from: at(from), to: at(to) };
        let told = coverage(&[(1, started()), (900, step(3, 900))], (1, 902), Some(902));
        assert_eq!(gaps(&told), [(3, 900, Extent::Blind, "clock stepped".to_owned())]);
        let back = [(1, started()), (2, step(900, 2)), (3, Notice::Stopped), (5, started())];
        let told = coverage(&back, (1, 9), Some(9));
        assert_eq!(
            gaps(&told),
            [
                (2, 9, Extent::Degraded, "clock stepped".to_owned()),
                (3, 5, Extent::Blind, "daemon stopped".to_owned())
            ]
        );
    }

    #[test]
    fn a_gap_however_short_is_never_all_of_a_window() {
        let notices = [(0, started()), (100_000, Notice::Stopped), (100_001, started())];
        let told = coverage(&notices, (1, 200_000), Some(200_000));
        assert!(told.sentence().starts_with("watched: 99.9 % of "), "{}", told.sentence());
    }

    #[test]
    fn damage_is_told_and_is_a_gap() {
        let mut fold = Fold::from(at(0));
        fold.add(at(0), &started());
        let ledger = Integrity { damaged: 1, missing_blocks: 4, missing_segments: 1 };
        let alive = Alive { since: at(0), now: at(1) };
        let told = fold.within((at(0), at(1)), Some(alive), ledger);
        assert!(told.has_gaps());
        let end = "the ledger is not whole: 1 damaged stretch, 4 blocks missing, 1 segment missing";
        assert!(told.sentence().ends_with(end), "{}", told.sentence());
    }
}

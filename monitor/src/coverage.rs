//! What a window of time was watched, by what the ledger notes of the watching, and what of the ledger
//! is there to answer for it. Reads no ledger: it is told. Where nothing says that somebody looked,
//! nobody did.

mod watched;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::watched::Watched;
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
    /// All that it had to tell by now is in the ledger.
    pub is_told: bool,
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
    /// Who watched, each from when on; empty where nobody asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub watching: Vec<Watched>,
}

impl Coverage {
    pub fn has_gaps(&self) -> bool {
        !self.gaps.is_empty() || !self.ledger.is_whole()
    }

    /// How much was watched, and why not all.
    pub fn watching(&self) -> String {
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
        format!("{share}{causes}")
    }

    /// One line for whoever reads an answer.
    pub fn sentence(&self) -> String {
        let Integrity { damaged, missing_blocks, missing_segments } = self.ledger;
        let lacks = [
            (damaged, "damaged stretch", "damaged stretches"),
            (missing_blocks, "block missing", "blocks missing"),
            (missing_segments, "segment missing", "segments missing"),
        ];
        let lacks = lacks.into_iter().filter(|(count, ..)| *count > 0);
        let lacks: Vec<String> =
            lacks.map(|(count, one, many)| table::counted(count, one, many)).collect();
        let ledger = if lacks.is_empty() {
            "the ledger is whole".to_owned()
        } else {
            format!("the ledger is not whole: {}", lacks.join(", "))
        };
        format!("{}; {ledger}", self.watching())
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
    /// Since when no packet of the self-test was seen.
    untested: Option<u64>,
    /// From, to and how many entries.
    removed: Vec<(u64, u64, u64)>,
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
            untested: None,
            removed: Vec::new(),
            removed_segments: Vec::new(),
        }
    }

    pub fn add(&mut self, at: Timestamp, notice: &Notice) {
        let Timestamp(at_ns) = at;
        // The store's word of itself, not of whoever watches.
        if let Notice::Key { .. } | Notice::Gone { .. } = notice {
            return;
        }
        if !self.is_watching && !matches!(notice, Notice::Started { .. }) {
            self.go_on(at_ns);
        }
        match notice {
            Notice::Started { .. } => self.begin(at_ns),
            Notice::Stopped => {
                self.is_watching = false;
                self.absence = "stopped";
            }
            Notice::Lost { stage, reason, count, since } => {
                let since = since.map_or(self.seen_at, |since| since.0.min(at_ns));
                self.gap(since, at_ns, Extent::Degraded, stage, reason, Some(*count));
            }
            Notice::Stalled { since } => {
                let since = since.0.min(at_ns);
                self.gap(since, at_ns, Extent::Degraded, "daemon", "stood-still", None);
            }
            Notice::Cut { bytes, .. } => {
                let bytes = Some(*bytes);
                self.gap(self.seen_at, at_ns, Extent::Degraded, "store", "torn-bytes", bytes);
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
            Notice::Removed { segments, entries, from, to } => {
                self.removed.push((from.0, to.0, *entries));
                self.removed_segments.extend(segments);
            }
            Notice::ClockStepped { from, to } => self.step(from.0, to.0),
            Notice::LostSight { flows } => {
                // It stands behind that last word, and is told as of it.
                let since = at_ns.saturating_sub(ALIVE_NS);
                self.gap(since, at_ns, Extent::Degraded, "daemon", "open-flows", Some(*flows));
            }
            Notice::SelfTestFailed { since } => {
                self.untested.get_or_insert(since.0);
            }
            Notice::SelfTestPassed => self.end_untested(at_ns),
            Notice::Alive
            | Notice::ClockRead(_)
            | Notice::Reloaded { .. }
            | Notice::Policy { .. }
            | Notice::Host(_)
            | Notice::Mark(_)
            | Notice::Key { .. }
            | Notice::Gone { .. }
            | Notice::AddedUp { .. }
            | Notice::Watching(_) => {}
            Notice::RolledBack { .. } => {
                self.gap(self.seen_at, at_ns, Extent::Degraded, "store", "rolled-back", None);
            }
        }
        // After a step back it is where the clock is now.
        let is_step = matches!(notice, Notice::ClockStepped { .. });
        self.seen_at = if is_step { self.seen_at } else { self.seen_at.max(at_ns) };
    }

    fn step(&mut self, from: u64, to: u64) {
        // No time passed that a window could ask for, or it is there twice.
        let extent = if to > from { Extent::Blind } else { Extent::Degraded };
        self.gap(from.min(to), from.max(to), extent, "clock", "stepped", None);
        self.seen_at = to;
    }

    /// Who writes has watched since its last word, which is not among these.
    fn go_on(&mut self, at_ns: u64) {
        let since = at_ns.saturating_sub(ALIVE_NS);
        self.gap(self.seen_at, since, Extent::Blind, "daemon", self.absence, None);
        self.is_watching = true;
        self.seen_at = self.seen_at.max(since);
    }

    /// Without a word of the end of what was before, it was killed or lost its power, some time after
    /// its last word.
    fn begin(&mut self, at_ns: u64) {
        let reason = if self.is_watching { "ended-without-a-word" } else { self.absence };
        self.gap(self.seen_at, at_ns, Extent::Blind, "daemon", reason, None);
        self.is_watching = true;
        self.detached.clear();
        self.end_untested(self.seen_at);
    }

    /// The daemon looked, and did not see what it sent itself.
    fn end_untested(&mut self, at_ns: u64) {
        if let Some(since) = self.untested.take() {
            self.gap(since, at_ns, Extent::Blind, "self-test", "failed", None);
        }
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
        if let Some(Alive { since, now, is_told }) = alive {
            if since.0 > self.seen_at {
                self.begin(since.0);
            }
            self.is_watching = true;
            // What is not told yet may be a loss.
            self.seen_at = self.seen_at.max(if is_told { now } else { since }.0);
        }
        let end = to.0.max(self.seen_at);
        for (place, since) in std::mem::take(&mut self.detached) {
            self.gap(since, end, Extent::Degraded, "probe", &place, None);
        }
        self.end_untested(if self.is_watching { end } else { self.seen_at });
        if !self.is_watching || end > self.seen_at {
            let reason = if self.is_watching { "no-word-since" } else { self.absence };
            self.gap(self.seen_at, end, Extent::Blind, "daemon", reason, None);
        }
        for (from, to, entries) in std::mem::take(&mut self.removed) {
            self.gap(from, to, Extent::Removed, "retention", "removed", Some(entries));
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
            watching: Vec::new(),
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
mod tests;

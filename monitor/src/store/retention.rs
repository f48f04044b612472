//! Retention: whole segments go, never the one that is written: those that ended too long ago (`age`
//! says when), and where the store or the disk is too full those without a violation before those with
//! one. What was not shipped may stay beyond that for a while. Nothing else deletes, but for the index what it
//! knows of them.

use std::{fs, path::Path, time::Duration};

use super::{
    age::ages,
    error::{StoreCounters, StoreError},
    files::{self, segment_path},
    ground::Ground,
    index,
    ledger::frame::verdict_bit,
    scan::{QueryStats, Scan},
};
use crate::event::{Moment, Notice, Timestamp, Verdict};

/// Of a store that is too large the newest part (one in so many bytes) has nothing to fear as long as
/// there is older: what just happened is worth more than that nothing happened long ago.
const NEWEST_PART: u64 = 4;

/// What retention deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deleted {
    /// Their numbers, ascending.
    pub segments: Vec<u64>,
    pub bytes: u64,
    /// Entries in them: states of flows, roll-ups, lookups and notices.
    pub entries: u64,
    /// Flows of which the first state was in them.
    pub flows: u64,
    /// Notices among the entries.
    pub notices: u64,
    /// Earliest and latest instant in them.
    pub span: Option<(Timestamp, Timestamp)>,
    /// How many of the segments were to be shipped first, and were not.
    pub unshipped: u64,
}

impl Deleted {
    /// What the ledger tells of it; `None` if nothing was deleted.
    pub(super) fn notice(&self) -> Option<Notice> {
        let (from, to) = self.span.unwrap_or_default();
        let (segments, entries) = (self.segments.clone(), self.entries);
        (!segments.is_empty()).then_some(Notice::Removed { segments, entries, from, to })
    }

    pub(super) fn join(&mut self, other: &Self) {
        self.segments.extend(&other.segments);
        self.segments.sort_unstable();
        self.bytes += other.bytes;
        self.entries += other.entries;
        self.flows += other.flows;
        self.notices += other.notices;
        self.unshipped += other.unshipped;
        if let Some((from, to)) = other.span {
            self.stretch(from, to);
        }
    }

    fn stretch(&mut self, from: Timestamp, to: Timestamp) {
        let (first, last) = self.span.unwrap_or((from, to));
        self.span = Some((first.min(from), last.max(to)));
    }
}

/// What may be kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds<'b> {
    pub now: Moment,
    /// How long after its end a segment is kept.
    pub age: Duration,
    /// Of ledger and index.
    pub bytes: u64,
    /// What is not on the ground stays beyond both, up to so many bytes.
    pub unshipped: Option<(&'b Ground, u64)>,
}

/// What must be on the disk before a segment goes, given its number.
pub(super) type Before<'b> = &'b mut dyn FnMut(u32);

#[derive(Clone, Copy, Debug)]
struct Candidate {
    number: u32,
    bytes: u64,
}

/// Deletes segments that ended too long ago, and then as many as it takes to have ledger and index in
/// their bound. `deleted` tells of what is gone even where this fails.
pub(super) fn apply(
    scan: &Scan,
    index_and_active: (&Path, u32),
    bounds: Bounds<'_>,
    deleted: &mut Deleted,
    before: Before<'_>,
) -> Result<(), StoreError> {
    let result = delete(scan, index_and_active, bounds, deleted, before);
    settle(scan, deleted, result)
}

/// Deletes what is worth least until so many bytes are free that were not, but not the active segment.
pub(super) fn give_way(
    scan: &Scan,
    active: u32,
    wanted: u64,
    deleted: &mut Deleted,
) -> Result<(), StoreError> {
    let result = (|| {
        let mut segments = segments(scan)?;
        let bytes = segments.iter().map(|it| it.bytes).sum();
        segments.retain(|it| it.number < active);
        for segment in by_worth(scan, segments, bytes)? {
            if deleted.bytes >= wanted {
                break;
            }
            remove(scan, segment, deleted)?;
        }
        Ok(())
    })();
    settle(scan, deleted, result)
}

/// Deletes one segment, the active one, if it is longer than this. `durable`: what lies behind that in the
/// file is with the writer still, and will be written elsewhere.
pub(super) fn give_up(
    scan: &Scan,
    active: u32,
    durable: u64,
    longer_than: u64,
    deleted: &mut Deleted,
) -> Result<(), StoreError> {
    let result = (|| {
        let segment = segments(scan)?.into_iter().find(|it| it.number == active);
        segment
            .filter(|it| it.bytes > longer_than)
            .map_or(Ok(()), |segment| remove_below(scan, segment, durable, deleted))
    })();
    settle(scan, deleted, result)
}

fn settle(
    scan: &Scan,
    deleted: &mut Deleted,
    result: Result<(), StoreError>,
) -> Result<(), StoreError> {
    if !deleted.segments.is_empty() {
        deleted.segments.sort_unstable();
        StoreCounters::add(&scan.counters().segments_deleted, deleted.segments.len() as u64);
        let directory = scan.ledger();
        files::sync_directory(directory).map_err(StoreError::io("sync", directory))?;
    }
    result
}

fn delete(
    scan: &Scan,
    (index, active): (&Path, u32),
    bounds: Bounds<'_>,
    deleted: &mut Deleted,
    before: Before<'_>,
) -> Result<(), StoreError> {
    let mut segments = segments(scan)?;
    let mut ledger_bytes: u64 = segments.iter().map(|it| it.bytes).sum();
    let expired = expired(scan, &segments, bounds)?;
    segments.retain(|it| it.number < active);
    let (mut kept, mut waiting) = (Vec::new(), Vec::new());
    let mut goes = |segment: Candidate, waiting: &mut Vec<Candidate>, deleted: &mut Deleted| {
        if bounds.unshipped.is_some_and(|(ground, _)| !ground.has(segment.number)) {
            waiting.push(segment);
            return Ok(());
        }
        before(segment.number);
        remove(scan, segment, deleted)
    };
    for segment in segments {
        if segment.number < expired {
            goes(segment, &mut waiting, deleted)?;
            ledger_bytes -= segment.bytes;
        } else {
            kept.push(segment);
        }
    }
    // Of the index, what knows of no segment that is left goes in a moment.
    let is_too_large = |bytes: u64, waiting: &[Candidate]| -> Result<bool, StoreError> {
        let mut left = scan.segments()?;
        left.retain(|it| waiting.iter().all(|waits| waits.number != *it));
        Ok(bytes + index::bytes_of(index, &left) > bounds.bytes)
    };
    if is_too_large(ledger_bytes, &waiting)? {
        for segment in by_worth(scan, kept, ledger_bytes)? {
            if !is_too_large(ledger_bytes, &waiting)? {
                break;
            }
            goes(segment, &mut waiting, deleted)?;
            ledger_bytes -= segment.bytes;
        }
    }
    give_up_waiting(scan, waiting, bounds, deleted, before)
}

/// What waits to be shipped is too much: what would have gone first goes.
fn give_up_waiting(
    scan: &Scan,
    waiting: Vec<Candidate>,
    bounds: Bounds<'_>,
    deleted: &mut Deleted,
    before: Before<'_>,
) -> Result<(), StoreError> {
    let most = bounds.unshipped.map_or(0, |(_, bytes)| bytes);
    let mut bytes: u64 = waiting.iter().map(|it| it.bytes).sum();
    for segment in waiting {
        if bytes <= most {
            break;
        }
        before(segment.number);
        remove(scan, segment, deleted)?;
        deleted.unshipped += 1;
        bytes -= segment.bytes;
    }
    scan.counters().waits(bytes);
    if deleted.unshipped > 0 {
        StoreCounters::add(&scan.counters().segments_unshipped, deleted.unshipped);
        let count = deleted.unshipped;
        tracing::warn!(
            "{count} segments of the ledger went and were not on the ground yet: more than [store] keep_unshipped waits"
        );
    }
    Ok(())
}

fn segments(scan: &Scan) -> Result<Vec<Candidate>, StoreError> {
    let directory = scan.ledger();
    let numbers = files::segments(directory).map_err(StoreError::io("list", directory))?;
    let sized = numbers.into_iter().map(|number| {
        let path = segment_path(directory, number);
        let bytes = fs::metadata(&path).map_err(StoreError::io("read", &path))?.len();
        Ok(Candidate { number, bytes })
    });
    sized.collect()
}

/// The first segment that has not ended too long ago: those before it have. Ages fall along the ledger.
fn expired(scan: &Scan, segments: &[Candidate], bounds: Bounds<'_>) -> Result<u32, StoreError> {
    let mut begun = Vec::new();
    for segment in segments {
        // One with a damaged header is dated by the next: younger, if anything.
        if let Some(created) = scan.created(segment.number)? {
            begun.push((segment.number, created));
        }
    }
    let created: Vec<_> = begun.iter().map(|(_, created)| *created).collect();
    let ages = ages(&created, bounds.now);
    // Where one begins all before it have ended.
    let ended = begun.iter().zip(ages).rev();
    let mut ended = ended.filter(|(_, age)| u128::from(*age) >= bounds.age.as_nanos());
    Ok(ended.next().map_or(0, |((number, _), _)| *number))
}

/// What can go first comes first: older segments without a violation, then the others, each from the
/// oldest on.
fn by_worth(
    scan: &Scan,
    segments: Vec<Candidate>,
    ledger_bytes: u64,
) -> Result<Vec<Candidate>, StoreError> {
    let (mut lesser, mut others) = (Vec::new(), Vec::new());
    let mut newer = ledger_bytes;
    for segment in segments {
        newer -= segment.bytes;
        let is_newest = newer < ledger_bytes / NEWEST_PART;
        if is_newest || has_violations(scan, segment.number)? {
            others.push(segment);
        } else {
            lesser.push(segment);
        }
    }
    lesser.append(&mut others);
    Ok(lesser)
}

/// By the heads of its blocks, which are read only where something must go.
fn has_violations(scan: &Scan, segment: u32) -> Result<bool, StoreError> {
    let mut verdicts = 0;
    scan.walk(segment, 0, true, &mut QueryStats::default(), |_, head| {
        verdicts |= head.summary.verdicts;
    })?;
    Ok(verdicts & verdict_bit(Verdict::Unapproved) != 0)
}

fn remove(scan: &Scan, segment: Candidate, deleted: &mut Deleted) -> Result<(), StoreError> {
    remove_below(scan, segment, u64::MAX, deleted)
}

/// Of what is in the file only what begins before `end` goes with it.
fn remove_below(
    scan: &Scan,
    segment: Candidate,
    end: u64,
    deleted: &mut Deleted,
) -> Result<(), StoreError> {
    let totals = scan.contents_below(segment.number, end)?;
    let directory = scan.ledger();
    let path = segment_path(directory, segment.number);
    fs::remove_file(&path).map_err(StoreError::io("remove", &path))?;
    deleted.segments.push(segment.number.into());
    deleted.bytes += segment.bytes;
    deleted.entries += totals.flows + totals.rollups + totals.notices;
    deleted.flows += totals.firsts;
    deleted.notices += totals.notices;
    if totals.first <= totals.last {
        deleted.stretch(Timestamp(totals.first), Timestamp(totals.last));
    }
    Ok(())
}

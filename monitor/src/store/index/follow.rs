//! The thread that follows the ledger: reads what is durable, writes groups, rebuilds what was set
//! aside, closes what is idle. The writer never waits for it.

use std::{
    io,
    ops::ControlFlow,
    time::{Duration, Instant},
};

use super::{
    database::Fault,
    group::{GroupBuilder, OpenFlows},
    period::{Period, period_of},
    seal::Covered,
    shared::{Limits, Shared, State},
    sums::{self, SumsBuilder},
};
use crate::store::{
    error::StoreCounters,
    files,
    ledger::{frame::Head, segment::Segment},
    memory,
    scan::Contents,
};

/// After a second failure in a row the thread waits this long before it tries again.
const RETRY: Duration = Duration::from_secs(30);

pub(super) fn run(shared: &Shared) {
    let mut follower = Follower { shared, open: OpenFlows::within(shared.limits.one_in) };
    let mut failures = 0_u32;
    let mut result = shared.load(|segment, it| follower.is_in_ledger(segment, it));
    loop {
        result = result.and_then(|()| follower.catch_up());
        if let Err(error) = &result {
            tracing::warn!(%error, "store index can't follow the ledger; queries read the ledger");
            StoreCounters::add(&shared.counters.index_errors, 1);
        }
        // Damage that was met is repaired at once; what fails again (a full disk) can wait.
        failures = if result.is_err() { failures + 1 } else { 0 };
        let delay = if failures > 1 { RETRY } else { Duration::ZERO };
        let not_before = result.is_err().then(|| Instant::now() + delay);
        if !rest(shared, not_before) {
            break;
        }
        result = Ok(());
    }
    shared.close_all();
}

/// Waits for work, after a failure for some time at least; false when it is time to stop.
fn rest(shared: &Shared, not_before: Option<Instant>) -> bool {
    loop {
        let due = shared.close_idle();
        let mut state = shared.lock();
        if state.stop {
            return false;
        }
        let retry = not_before.map(|until| until.saturating_duration_since(Instant::now()));
        if state.is_yielding {
            return true;
        }
        let is_work = not_before.is_some()
            || state.is_surplus
            || state.periods.values().any(Period::is_broken)
            || is_behind(&state, shared.limits);
        if is_work && retry.is_none_or(|left| left.is_zero()) {
            return true;
        }
        state.idle = true;
        shared.rest.notify_all();
        let timeout = retry.into_iter().chain(due).min().unwrap_or(Duration::MAX);
        drop(shared.work.wait_timeout(state, timeout.max(Duration::from_millis(10))));
    }
}

/// Whether the ledger has grown by a group, or a segment, since the thread looked last.
pub(super) fn is_behind(state: &State, limits: Limits) -> bool {
    let (now, seen) = (&state.progress, &state.seen);
    if state.has_no_room {
        return false;
    }
    now.segment != seen.segment
        || now.entries.saturating_sub(seen.entries) >= limits.group_entries
        || now.next_block.saturating_sub(seen.next_block) >= limits.group_blocks
}

struct Follower<'a> {
    shared: &'a Shared,
    open: OpenFlows,
}

impl Follower<'_> {
    /// Whether the ledger has what the seal says was indexed. A segment that retention deleted is
    /// no contradiction.
    fn is_in_ledger(&self, segment: u32, covered: &Covered) -> bool {
        if covered.contents.blocks == 0 {
            return true;
        }
        let Ok(opened) = Segment::open(&self.shared.ledger, segment) else { return false };
        let Some(mut opened) = opened else {
            return segment < self.shared.lock().progress.segment;
        };
        let head = opened.head(covered.last_at).ok().flatten();
        covered.end <= opened.bytes()
            && head.is_some_and(|head| crc32fast::hash(&head.encode()) == covered.last_head)
    }

    /// Indexes what is due, segment by segment.
    fn catch_up(&mut self) -> io::Result<()> {
        self.shared.make_way()?;
        self.shared.set_aside()?;
        // Of one moment: of a segment that ends meanwhile the rest is read before the next, since what goes on
        // as it was is known from the blocks before.
        let progress = {
            let mut state = self.shared.lock();
            if state.has_no_room {
                return Ok(());
            }
            state.seen = state.progress;
            state.progress
        };
        for segment in files::segments(&self.shared.ledger)? {
            let covered = {
                let state = self.shared.lock();
                let period = state.periods.get(&period_of(segment));
                if period.is_some_and(Period::is_broken) {
                    // Broke while this went on: set aside in the next round.
                    continue;
                }
                period.and_then(|period| period.covered(segment)).copied()
            };
            let is_whole = segment < progress.segment;
            if segment > progress.segment || covered.is_some_and(|covered| covered.complete) {
                continue;
            }
            let durable = if is_whole { u64::MAX } else { progress.bytes };
            self.index(segment, covered, durable, is_whole)?;
            if self.shared.is_interrupted() {
                break;
            }
        }
        Ok(())
    }

    /// Indexes a segment from where it is covered up to `durable`, in whole groups; if it
    /// `is_whole`, to its end.
    fn index(
        &mut self,
        number: u32,
        covered: Option<Covered>,
        durable: u64,
        is_whole: bool,
    ) -> io::Result<()> {
        let Some(mut segment) = Segment::open(&self.shared.ledger, number)? else { return Ok(()) };
        let mut heads = Vec::new();
        let walk = segment.walk(covered.map_or(0, |it| it.end), |at, head| {
            if at + head.block_bytes() > durable {
                return ControlFlow::Break(());
            }
            heads.push((at, *head));
            ControlFlow::Continue(())
        })?;
        let corrupt = walk.corrupt + u64::from(is_whole && walk.tail > 0);
        StoreCounters::add(&self.shared.counters.blocks_corrupt, corrupt);
        let mut covered = covered.unwrap_or_else(|| uncovered(&mut segment));
        if !self.take_up_sums(&mut segment, covered.end)? {
            return Ok(());
        }
        let mut rest = heads.as_slice();
        while let Some(count) = group_length(rest, self.shared.limits, is_whole) {
            let (group, after) = rest.split_at(count);
            covered.complete = is_whole && after.is_empty();
            if let Err(fault) = self.write_group(&segment, group, &mut covered) {
                self.shared.fail(period_of(number), &fault);
                return Err(io::Error::other(fault));
            }
            rest = after;
            if self.shared.is_interrupted() {
                return Ok(());
            }
        }
        if is_whole && !covered.complete {
            // Nothing (left) to read, but no more will come.
            covered.complete = true;
            if let Err(fault) = self.write(number, Vec::new(), covered) {
                self.shared.fail(period_of(number), &fault);
                return Err(io::Error::other(fault));
            }
        }
        Ok(())
    }

    /// The sums of a segment go on where its index does. They are in memory until it has ended, so after a
    /// start they are made again up to there. False: something else is to be done first.
    fn take_up_sums(&self, segment: &mut Segment, end: u64) -> io::Result<bool> {
        let number = segment.number();
        if self.shared.building().is_at(number, end) {
            return Ok(true);
        }
        let begin = segment.blocks_at()?;
        *self.shared.building() = SumsBuilder::of(number, begin, self.shared.limits.one_in);
        let mut heads = Vec::new();
        segment.walk(0, |at, head| {
            if at >= end {
                return ControlFlow::Break(());
            }
            heads.push((at, *head));
            ControlFlow::Continue(())
        })?;
        for (at, head) in heads {
            if self.shared.is_interrupted() {
                return Ok(false);
            }
            // What is damaged was counted when it was indexed.
            let entries = segment.entries(at, &head)?.unwrap_or_default();
            self.shared.building().add(at, &head, &entries);
        }
        memory::release();
        Ok(true)
    }

    /// Of a segment that is covered whole.
    fn sums(&self, covered: &Covered, number: u32) -> Option<Vec<u8>> {
        let building = self.shared.building();
        building.is_at(number, covered.end).then(|| building.finish())?
    }

    fn write_group(
        &mut self,
        segment: &Segment,
        heads: &[(u64, Head)],
        covered: &mut Covered,
    ) -> Result<(), Fault> {
        let mut builder = GroupBuilder::default();
        for (at, head) in heads {
            covered.end = at + head.block_bytes();
            covered.next_block = head.number + 1;
            covered.last_head = crc32fast::hash(&head.encode());
            covered.last_at = *at;
            let Some(entries) = segment.entries(*at, head)? else {
                StoreCounters::add(&self.shared.counters.blocks_corrupt, 1);
                self.shared.building().add(*at, head, &[]);
                continue;
            };
            covered.contents.add(head);
            builder.add(*at, head, &entries, &mut self.open);
            self.shared.building().add(*at, head, &entries);
        }
        let number = segment.number();
        self.write(number, builder.finish(number), *covered)
    }

    fn write(
        &self,
        segment: u32,
        pairs: Vec<(Vec<u8>, Vec<u8>)>,
        covered: Covered,
    ) -> Result<(), Fault> {
        let period = period_of(segment);
        let database = self.shared.database(period, true)?;
        database.write(pairs.into_iter())?;
        if let Some(sums) = covered.complete.then(|| self.sums(&covered, segment)).flatten() {
            files::write(&sums::path(&self.shared.path_of(period), segment), &sums)?;
            memory::release();
        }
        self.shared.cover(period, segment, covered);
        Ok(())
    }
}

/// Coverage of a segment of which nothing is indexed.
fn uncovered(segment: &mut Segment) -> Covered {
    let first_block = segment.header().ok().and_then(Result::ok).map_or(0, |it| it.first_block);
    Covered {
        end: segment.blocks_at().unwrap_or_default(),
        next_block: first_block,
        last_head: 0,
        last_at: 0,
        complete: false,
        contents: Contents::default(),
    }
}

/// How many of the blocks make the next group; `None` if they are too few.
fn group_length(heads: &[(u64, Head)], limits: Limits, is_whole: bool) -> Option<usize> {
    let mut entries = 0;
    for (position, (_, head)) in heads.iter().enumerate() {
        entries += head.summary.entries() as u64;
        if entries >= limits.group_entries || position as u64 + 1 >= limits.group_blocks {
            return Some(position + 1);
        }
    }
    (is_whole && !heads.is_empty()).then_some(heads.len())
}

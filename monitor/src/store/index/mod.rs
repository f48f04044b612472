//! The index: finds blocks of the ledger by what is in them. It can be thrown away: it holds nothing
//! that the ledger does not, and whatever is wrong with it, the answer is "not covered" and the
//! query reads the ledger. Only `database` names the index crate.

mod database;
mod follow;
mod group;
mod periods;
mod seal;
mod terms;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

pub(super) use group::BlockEntry;
use group::{Group, is_set};
use periods::{Period, period_of};
pub(super) use seal::Totals;
pub(super) use terms::Demand;

use super::{
    error::{StoreCounters, StoreError},
    ledger::Progress,
    retention::bytes_below,
};
use crate::{event::Timestamp, filter::Filter};
use database::{Database, Fault};

/// When a group is written, and when databases are closed.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A group is written when the ledger is this many blocks ahead,
    pub group_blocks: u64,
    /// or this many entries.
    pub group_entries: u64,
    /// A database nobody used for this long is closed.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { group_blocks: 256, group_entries: 16_384, idle: Duration::from_secs(20) }
    }
}

/// Handle of the index; the thread that follows the ledger ends with it.
#[derive(Debug)]
pub(super) struct Index {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What the following thread and the queries share.
#[derive(Debug)]
struct Shared {
    root: PathBuf,
    ledger: PathBuf,
    limits: Limits,
    counters: Arc<StoreCounters>,
    /// Held by whoever opens, closes, seals or removes databases, which takes its time. Taken before
    /// `state`, and never by the writer of the ledger.
    files: Mutex<()>,
    /// Held for a moment: nothing is read or written meanwhile.
    state: Mutex<State>,
    /// Told to the thread: there is something to do.
    work: Condvar,
    /// Told by the thread: there is nothing left to do.
    rest: Condvar,
}

#[derive(Debug, Default)]
struct State {
    progress: Progress,
    /// The progress when the thread looked last.
    seen: Progress,
    stop: bool,
    idle: bool,
    /// Segments went.
    is_surplus: bool,
    /// The disk is full: nothing is written.
    has_no_room: bool,
    /// All is to be removed.
    is_yielding: bool,
    yielded_at: Option<Instant>,
    periods: BTreeMap<u32, Period>,
}

/// How long all the index is waited for to be removed, and how long it stays away at least.
const YIELD_PATIENCE: Duration = Duration::from_secs(2);
const YIELD_REST: Duration = Duration::from_mins(10);

/// What the index finds in one segment.
#[derive(Debug)]
pub(super) struct Found {
    /// Blocks that begin below this offset are all told.
    pub end: u64,
    /// With whether the block meets the demands, in ledger order.
    pub blocks: Vec<(BlockEntry, bool)>,
}

/// How far the index is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexStats {
    /// Segments indexed in whole or part; queries read the heads of the others' blocks.
    pub segments: usize,
    /// Blocks behind the last that is indexed.
    pub blocks_behind: u64,
    /// Databases, and those of them that are open now.
    pub periods: usize,
    pub open: usize,
}

impl Index {
    /// Starts following the ledger in a thread of its own.
    pub(super) fn start(
        root: &Path,
        ledger: &Path,
        limits: Limits,
        progress: Progress,
        counters: Arc<StoreCounters>,
    ) -> Result<Self, StoreError> {
        super::make_directory(root)?;
        let shared = Arc::new(Shared {
            root: root.to_owned(),
            ledger: ledger.to_owned(),
            limits,
            counters,
            files: Mutex::new(()),
            state: Mutex::new(State { progress, ..State::default() }),
            work: Condvar::new(),
            rest: Condvar::new(),
        });
        let followed = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("store-index".into())
            .spawn(move || follow::run(&followed))
            .map_err(StoreError::io("start a thread for", root))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    pub(super) fn finder(&self) -> Finder {
        Finder(Arc::clone(&self.shared))
    }

    /// The ledger is durable up to here.
    pub(super) fn publish(&self, progress: Progress) {
        let mut state = self.shared.lock();
        state.progress = progress;
        if follow::is_behind(&state, self.shared.limits) {
            state.idle = false;
            self.shared.work.notify_one();
        }
    }

    /// Segments were deleted: what knows of none that is left is to go.
    pub(super) fn segments_went(&self) {
        self.shared.ask_thread(|state| state.is_surplus = true);
    }

    /// Whether the disk has room for more of it.
    pub(super) fn there_is_room(&self, is_room: bool) {
        let mut state = self.shared.lock();
        let is_resting = state.yielded_at.is_some_and(|at| at.elapsed() < YIELD_REST);
        state.has_no_room = !is_room || is_resting;
        self.shared.work.notify_one();
    }

    /// Removes all of it, where the disk has no room for the ledger; `false` if nothing was removed
    /// within a while.
    pub(super) fn yield_room(&self) -> bool {
        let before = bytes_below(&self.shared.root);
        if before == 0 {
            return false;
        }
        self.shared.ask_thread(|state| {
            (state.is_yielding, state.has_no_room) = (true, true);
            state.yielded_at = Some(Instant::now());
        });
        let state = self.shared.lock();
        let left = |state: &mut State| state.is_yielding && !state.stop;
        drop(self.shared.rest.wait_timeout_while(state, YIELD_PATIENCE, left));
        bytes_below(&self.shared.root) < before
    }

    /// Waits until everything due is indexed; false if that took longer than `timeout`.
    pub(super) fn wait(&self, timeout: Duration) -> bool {
        let state = self.shared.lock();
        let waited = self.shared.rest.wait_timeout_while(state, timeout, |state| !state.idle);
        waited.is_ok_and(|(_, result)| !result.timed_out())
    }

    /// As if a database took its time to open or to close.
    #[cfg(test)]
    pub(super) fn busy(&self) -> MutexGuard<'_, ()> {
        self.shared.lock_files()
    }

    fn stop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.work.notify_one();
        if let Some(thread) = self.thread.take() {
            // It catches the index crate's panics; one of its own has been reported by the hook.
            let _ = thread.join();
        }
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What queries ask; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Finder(Arc<Shared>);

impl Finder {
    pub(super) fn demands(filter: &Filter) -> Vec<Demand> {
        terms::of_filter(filter)
    }

    /// The totals of a segment that is indexed whole.
    pub(super) fn totals(&self, segment: u32) -> Option<Totals> {
        let state = self.0.lock();
        let covered = state.periods.get(&period_of(segment))?.covered(segment)?;
        covered.complete.then_some(covered.totals)
    }

    /// What the index knows of the segments of `wanted`, by segment. Those it can't tell of are
    /// absent.
    pub(super) fn find(
        &self,
        wanted: &BTreeSet<u32>,
        filter: &Filter,
        demands: &[Demand],
    ) -> BTreeMap<u32, Found> {
        let mut found = BTreeMap::new();
        let periods: BTreeSet<u32> = wanted.iter().copied().map(period_of).collect();
        for period in periods {
            let Some((database, coverage)) = self.0.open(period) else { continue };
            match look_up(&database, &coverage, wanted, filter, demands) {
                Ok(segments) => found.extend(segments),
                Err(fault) => self.0.fail(period, &fault),
            }
        }
        found
    }

    /// A block was not where the index said.
    pub(super) fn distrust(&self, segment: u32) {
        let fault = Fault::Failed("tells of blocks that the ledger does not have".into());
        self.0.fail(period_of(segment), &fault);
    }

    pub(super) fn stats(&self) -> IndexStats {
        let state = self.0.lock();
        let covered = state.periods.values().flat_map(Period::coverage);
        let next_block = covered.clone().map(|(_, covered)| covered.next_block).max();
        IndexStats {
            segments: covered.count(),
            blocks_behind: state.progress.next_block.saturating_sub(next_block.unwrap_or(0)),
            periods: state.periods.len(),
            open: state.periods.values().filter(|period| period.is_open()).count(),
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // State is changed in single steps: a panic between them leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_files(&self) -> MutexGuard<'_, ()> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask_thread(&self, ask: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        ask(&mut state);
        state.idle = false;
        self.work.notify_one();
    }
}

/// Bytes of what knows of one of these segments.
pub(super) fn bytes_of(root: &Path, segments: &[u32]) -> u64 {
    let periods: BTreeSet<u32> = segments.iter().map(|segment| period_of(*segment)).collect();
    let of = |period: &u32| {
        let database = periods::path_in(root, *period);
        let seal = std::fs::metadata(seal::path(&database)).map_or(0, |it| it.len());
        bytes_below(&database) + seal
    };
    periods.iter().map(of).sum()
}

fn look_up(
    database: &Database,
    coverage: &seal::Coverage,
    wanted: &BTreeSet<u32>,
    filter: &Filter,
    demands: &[Demand],
) -> Result<BTreeMap<u32, Found>, Fault> {
    let mut found = BTreeMap::new();
    for (segment, covered) in coverage.iter().filter(|(segment, _)| wanted.contains(segment)) {
        let mut low = vec![terms::GROUPS];
        low.extend_from_slice(&segment.to_be_bytes());
        let mut groups = Vec::new();
        let mut is_sound = true;
        database.scan(&low, |_, value| {
            let group = postcard::from_bytes::<Group>(value);
            is_sound &= group.is_ok();
            groups.extend(group);
        })?;
        let mut blocks = Vec::with_capacity(covered.totals.blocks as usize);
        for group in groups {
            let meets = blocks_that_meet(database, *segment, &group, filter, demands)?;
            let told = group.blocks.into_iter().zip(meets);
            // The group being written now may be there before the coverage says so.
            blocks.extend(told.filter(|(block, _)| block.at < covered.end));
        }
        if !is_sound || blocks.len() as u64 != covered.totals.blocks {
            return Err(Fault::Failed("a group is missing or malformed".into()));
        }
        found.insert(*segment, Found { end: covered.end, blocks });
    }
    Ok(found)
}

/// For each block of the group whether it meets all demands; nothing is read for a group outside
/// of the time asked for.
fn blocks_that_meet(
    database: &Database,
    segment: u32,
    group: &Group,
    filter: &Filter,
    demands: &[Demand],
) -> Result<Vec<bool>, Fault> {
    let is_in_time = |block: &BlockEntry| {
        let summary = &block.summary;
        summary.flows > 0 && filter.overlaps(Timestamp(summary.first), Timestamp(summary.last))
    };
    let mut meets: Vec<bool> = group.blocks.iter().map(is_in_time).collect();
    for demand in demands {
        if !meets.contains(&true) {
            break;
        }
        let Some(first) = group.blocks.first() else { break };
        if group.overflow & demand.dimension.bit() != 0 {
            continue;
        }
        let mut bitmap = vec![0; group.blocks.len().div_ceil(8)];
        let mut is_sound = true;
        let low = group::key(demand.dimension as u8, segment, first.number, None);
        database.scan(&low, |_, value| {
            is_sound &= group::terms_of(value, |term, blocks| {
                if demand.any.iter().any(|it| it.meets(term)) {
                    bitmap.iter_mut().zip(blocks).for_each(|(all, some)| *all |= some);
                }
            });
        })?;
        if !is_sound {
            return Err(Fault::Failed("terms of a group are malformed".into()));
        }
        for (position, meets) in meets.iter_mut().enumerate() {
            *meets &= is_set(&bitmap, position);
        }
    }
    Ok(meets)
}

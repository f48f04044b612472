//! Reading: queries, roll-ups, notices and totals, beside a live writer or without any. It changes
//! nothing on the disk and waits for nobody.

use std::{
    collections::VecDeque,
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    error::{StoreCounters, StoreError},
    index::{Finder, IndexStats, Totals},
    ledger::{
        self,
        frame::{Created, Head, HeaderFault, VERSION},
        segment::Segment,
        segment_path,
    },
    plan, retention,
    select::{self, Inconsistent},
};
use crate::{
    event::{Entry, Lookup, Notice, Record, Rollup, Timestamp},
    filter::{Filter, LOOKUPS_KEPT, Query},
};

/// A query that opened more blocks than this gives its memory back at the end.
const MANY_BLOCKS: u64 = 64;

/// Flows beside a ledger at most: as many as a position can count.
pub(super) const BESIDE_MAX: usize = u16::MAX as usize;

/// What a query did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueryStats {
    /// Blocks looked at by head or index.
    pub blocks: u64,
    /// Blocks opened.
    pub blocks_read: u64,
    /// Damaged stretches met and stepped over: their entries are missing from the answer.
    pub blocks_corrupt: u64,
    /// States of flows looked at.
    pub records_read: u64,
    /// Told to the caller.
    pub matched: u64,
    pub index_used: bool,
}

/// What the store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    pub ledger_bytes: u64,
    pub index_bytes: u64,
    pub segments: u64,
    pub blocks: u64,
    /// States of flows; a flow may have several.
    pub flow_states: u64,
    pub rollups: u64,
    pub notices: u64,
    /// Of any entry; `None` in an empty store.
    pub oldest: Option<Timestamp>,
    pub newest: Option<Timestamp>,
    /// `None`: read without the daemon's index.
    pub index: Option<IndexStats>,
}

/// A read-only view of the store. A query sees what was synced before it began, and may see what is
/// being synced meanwhile.
#[derive(Clone, Debug)]
pub struct Reader {
    root: PathBuf,
    ledger: PathBuf,
    counters: Arc<StoreCounters>,
    finder: Option<Finder>,
    /// States of flows that are newer than any in the ledger.
    beside: Arc<[Record]>,
    is_over: Option<IsOver>,
}

/// Whether nobody waits for the answer any more; asked between two blocks.
#[derive(Clone)]
struct IsOver(Arc<dyn Fn() -> bool + Send + Sync>);

impl std::fmt::Debug for IsOver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IsOver")
    }
}

impl Reader {
    /// Reads the ledger alone: the index belongs to the daemon. Needs no lock.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let ledger = ledger::directory(path);
        match fs::metadata(&ledger) {
            Ok(it) if it.is_dir() => Ok(Self::new(path, Arc::default(), None)),
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(StoreError::io("open", &ledger)(error))
            }
            _ => Err(StoreError::Missing { path: path.to_owned() }),
        }
    }

    pub(super) fn new(root: &Path, counters: Arc<StoreCounters>, finder: Option<Finder>) -> Self {
        let ledger = ledger::directory(root);
        let beside = Arc::default();
        Self { root: root.to_owned(), ledger, counters, finder, beside, is_over: None }
    }

    /// The same view for an answer that ends with [`StoreError::Stopped`] as soon as this says so, also
    /// where nothing matches.
    pub fn until(&self, is_over: Arc<dyn Fn() -> bool + Send + Sync>) -> Self {
        Self { is_over: Some(IsOver(is_over)), ..self.clone() }
    }

    /// The same view with flows that the ledger does not hold yet, or not as they are now: at most one
    /// state of each, and no more than 65535 in all.
    pub fn beside(&self, flows: Arc<[Record]>) -> Self {
        Self { beside: flows, ..self.clone() }
    }

    pub(super) fn newest(&self) -> &[Record] {
        &self.beside
    }

    pub(super) fn go_on(&self) -> Result<(), StoreError> {
        match &self.is_over {
            Some(IsOver(is_over)) if is_over() => Err(StoreError::Stopped),
            _ => Ok(()),
        }
    }

    pub(super) fn distrust(&self, segment: u32) {
        if let Some(finder) = &self.finder {
            finder.distrust(segment);
        }
    }

    /// Of the store.
    pub fn path(&self) -> &Path {
        &self.root
    }

    pub fn counters(&self) -> &Arc<StoreCounters> {
        &self.counters
    }

    /// The same view without the index: slower, and the same answers.
    pub fn without_index(&self) -> Self {
        Self { finder: None, ..self.clone() }
    }

    /// Tells each flow once, in its latest state, if that state matches: by start, oldest first or
    /// as the query says. `each` ends the query with `Break`.
    pub fn query(
        &self,
        query: &Query,
        mut each: impl FnMut(Record) -> ControlFlow<()>,
    ) -> Result<QueryStats, StoreError> {
        let mut finder = self.finder.as_ref();
        loop {
            let mut stats = QueryStats::default();
            let blocks = plan::flows(self, finder, &query.filter, &mut stats)?;
            let result = select::run(self, &blocks, query, &mut stats, &mut each);
            if stats.blocks_read > MANY_BLOCKS {
                super::release_memory();
            }
            match result? {
                Ok(()) => return Ok(stats),
                // Found before anything was told: once more, by the ledger alone.
                Err(Inconsistent { segment }) => {
                    if let Some(finder) = finder.take() {
                        finder.distrust(segment);
                    }
                }
            }
        }
    }

    /// Tells the roll-ups that overlap the filter's span and match its countries, verdicts, process
    /// and user, in ledger order; rows of the same key add. A filter by anything else matches none:
    /// roll-ups don't know it.
    pub fn rollups(
        &self,
        filter: &Filter,
        mut each: impl FnMut(Rollup) -> ControlFlow<()>,
    ) -> Result<QueryStats, StoreError> {
        if !filter.knows_rollups() {
            return Ok(QueryStats::default());
        }
        let holds =
            |head: &Head| head.summary.rollups > 0 && plan::may_match(&head.summary, filter);
        self.others(filter.since, filter.until, holds, |entry| match entry {
            Entry::Rollup(rollup) if filter.matches_rollup(&rollup) => Some(each(rollup)),
            _ => None,
        })
    }

    /// Tells the notices from `since` on and before `until`, in ledger order.
    pub fn notices(
        &self,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
        mut each: impl FnMut(Timestamp, Notice) -> ControlFlow<()>,
    ) -> Result<QueryStats, StoreError> {
        let holds = |head: &Head| head.summary.notices > 0;
        let span = Filter { since, until, ..Filter::default() };
        self.others(since, until, holds, |entry| match entry {
            Entry::Notice { at, notice } if span.overlaps(at, at) => Some(each(at, notice)),
            _ => None,
        })
    }

    /// Tells the lookups that match, in ledger order; `limit` keeps the newest, at most
    /// [`LOOKUPS_KEPT`], as does another order.
    pub fn lookups(
        &self,
        query: &Query,
        mut each: impl FnMut(Lookup) -> ControlFlow<()>,
    ) -> Result<QueryStats, StoreError> {
        let Query { filter, limit, newest_first } = query;
        // Heads count them among the notices.
        let holds = |head: &Head| head.summary.notices > 0;
        let is_kept = limit.is_some() || *newest_first;
        let most = limit.unwrap_or(LOOKUPS_KEPT).min(LOOKUPS_KEPT);
        let mut kept = VecDeque::new();
        let stats = self.others(filter.since, filter.until, holds, |entry| match entry {
            Entry::Lookup(lookup) if filter.matches_lookup(&lookup) => {
                if !is_kept {
                    return Some(each(lookup));
                }
                kept.push_back(lookup);
                if kept.len() > most {
                    kept.pop_front();
                }
                Some(ControlFlow::Continue(()))
            }
            _ => None,
        })?;
        if *newest_first {
            kept.make_contiguous().reverse();
        }
        let _ = kept.into_iter().try_for_each(each);
        Ok(stats)
    }

    /// Entries other than flows, of the blocks that `holds` says may hold such.
    fn others(
        &self,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
        holds: impl Fn(&Head) -> bool,
        mut each: impl FnMut(Entry) -> Option<ControlFlow<()>>,
    ) -> Result<QueryStats, StoreError> {
        let span = Filter { since, until, ..Filter::default() };
        let overlaps = |first, last| span.overlaps(Timestamp(first), Timestamp(last));
        let mut stats = QueryStats::default();
        let segments = self.segments()?;
        let newest = segments.last().copied();
        for number in segments {
            let totals = self.finder.as_ref().and_then(|finder| finder.totals(number));
            if totals.is_some_and(|it| !overlaps(it.first, it.last)) {
                continue;
            }
            let mut blocks = Vec::new();
            self.walk(number, 0, Some(number) == newest, &mut stats, |at, head| {
                if holds(head) && overlaps(head.summary.other_first, head.summary.other_last) {
                    blocks.push((at, *head));
                }
            })?;
            let Some(segment) = self.segment(number)? else { continue };
            for (at, head) in blocks {
                self.go_on()?;
                for entry in self.entries(&segment, at, &head, &mut stats)? {
                    if let Some(told) = each(entry) {
                        stats.matched += 1;
                        if told.is_break() {
                            return Ok(stats);
                        }
                    }
                }
            }
        }
        Ok(stats)
    }

    /// Counts what is there; by the index where it can, else by the heads of the ledger's blocks.
    pub fn stats(&self) -> Result<StoreStats, StoreError> {
        let mut totals = Totals::default();
        let mut stats =
            StoreStats { index: self.finder.as_ref().map(Finder::stats), ..Default::default() };
        for segment in self.segments()? {
            let it = self.totals(segment)?;
            let bytes = fs::metadata(segment_path(&self.ledger, segment)).map_or(0, |it| it.len());
            stats.ledger_bytes += bytes;
            stats.segments += 1;
            totals.join(&it);
        }
        stats.index_bytes = retention::bytes_below(&self.index_path());
        stats.blocks = totals.blocks;
        stats.flow_states = totals.flows;
        stats.rollups = totals.rollups;
        stats.notices = totals.notices;
        if totals.first <= totals.last {
            stats.oldest = Some(Timestamp(totals.first));
            stats.newest = Some(Timestamp(totals.last));
        }
        Ok(stats)
    }

    /// Of one segment; all zero if it is gone.
    pub(super) fn totals(&self, segment: u32) -> Result<Totals, StoreError> {
        if let Some(totals) = self.finder.as_ref().and_then(|finder| finder.totals(segment)) {
            return Ok(totals);
        }
        let mut totals = Totals::default();
        self.walk(segment, 0, true, &mut QueryStats::default(), |_, head| totals.add(head))?;
        Ok(totals)
    }

    pub(super) fn ledger(&self) -> &Path {
        &self.ledger
    }

    pub(super) fn index_path(&self) -> PathBuf {
        super::index_directory(&self.root)
    }

    pub(super) fn segments(&self) -> Result<Vec<u32>, StoreError> {
        ledger::list(&self.ledger).map_err(StoreError::io("list", &self.ledger))
    }

    /// `None` if it is gone: retention may delete while a query runs.
    pub(super) fn segment(&self, number: u32) -> Result<Option<Segment>, StoreError> {
        let path = || segment_path(&self.ledger, number);
        let Some(mut segment) = Segment::open(&self.ledger, number)
            .map_err(|error| StoreError::io("open", &path())(error))?
        else {
            return Ok(None);
        };
        match segment.header().map_err(|error| StoreError::io("read", &path())(error))? {
            Err(HeaderFault::Newer(found)) => {
                Err(StoreError::Newer { path: path(), found, known: VERSION })
            }
            // A damaged header takes no block with it.
            Ok(_) | Err(HeaderFault::Damaged) => Ok(Some(segment)),
        }
    }

    /// When a segment was begun; `None` if it is gone or its header damaged.
    pub(super) fn created(&self, number: u32) -> Result<Option<Created>, StoreError> {
        let path = || segment_path(&self.ledger, number);
        let Some(mut segment) = self.segment(number)? else { return Ok(None) };
        let header = segment.header().map_err(|error| StoreError::io("read", &path())(error))?;
        Ok(header.ok().map(|header| header.created))
    }

    /// Tells the heads of a segment from an offset on; counts damage, but not the unfinished end of
    /// the newest.
    pub(super) fn walk(
        &self,
        number: u32,
        from: u64,
        is_newest: bool,
        stats: &mut QueryStats,
        mut each: impl FnMut(u64, &Head),
    ) -> Result<(), StoreError> {
        let Some(mut segment) = self.segment(number)? else { return Ok(()) };
        let mut ended = Ok(());
        let walked = segment.walk(from, |at, head| {
            ended = self.go_on();
            if ended.is_err() {
                return ControlFlow::Break(());
            }
            stats.blocks += 1;
            each(at, head);
            ControlFlow::Continue(())
        });
        ended?;
        let path = || segment_path(&self.ledger, number);
        let walk = walked.map_err(|error| StoreError::io("read", &path())(error))?;
        let corrupt = walk.corrupt + u64::from(!is_newest && walk.tail > 0);
        self.count_corrupt(corrupt, stats);
        Ok(())
    }

    /// The entries of a block; none, and counted, if it is damaged.
    pub(super) fn entries(
        &self,
        segment: &Segment,
        at: u64,
        head: &Head,
        stats: &mut QueryStats,
    ) -> Result<Vec<Entry>, StoreError> {
        let path = || segment_path(&self.ledger, segment.number());
        let entries = segment.entries(at, head);
        let entries = entries.map_err(|error| StoreError::io("read", &path())(error))?;
        stats.blocks_read += 1;
        if entries.is_none() {
            self.count_corrupt(1, stats);
        }
        Ok(entries.unwrap_or_default())
    }

    pub(super) fn count_corrupt(&self, count: u64, stats: &mut QueryStats) {
        stats.blocks_corrupt += count;
        StoreCounters::add(&self.counters.blocks_corrupt, count);
    }
}

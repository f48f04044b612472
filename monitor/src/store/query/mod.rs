//! Reading: queries, roll-ups, notices and totals, beside a live writer or without any. It changes
//! nothing on the disk and waits for nobody.

mod asked;
mod coverage;
mod gather;
mod history;
mod marks;
mod others;
mod plan;
mod policy;
mod states;
mod totals;
mod watching;
mod window;

use std::{
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    error::{StoreCounters, StoreError},
    files::{self, segment_path},
    index::{Finder, IndexStats},
    memory,
    scan::{Contents, QueryStats, Scan},
};
use crate::{
    event::{Record, Timestamp},
    filter::Query,
};
#[cfg(test)]
pub(super) use gather::RECORDS;
use gather::{Inconsistent, Input};

/// A query that opened more blocks than this gives its memory back at the end.
const MANY_BLOCKS: u64 = 64;

/// What the store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    pub ledger_bytes: u64,
    pub index_bytes: u64,
    pub segments: u64,
    pub blocks: u64,
    /// States of flows; a flow may have several.
    pub flow_states: u64,
    /// Flows of which the first state is there.
    pub flows: u64,
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
    scan: Scan,
    finder: Option<Finder>,
    /// States of flows that are newer than any in the ledger.
    beside: Arc<[Record]>,
    marks: Arc<marks::Found>,
    seen: Arc<coverage::Seen>,
    /// Blocks numbered from here on may hold what is beside the ledger.
    is_of: Option<u64>,
    is_elsewhere: bool,
    /// Of what an answer may hold in memory, one in so many.
    one_in: usize,
}

impl Reader {
    /// Reads the ledger alone: the index belongs to the daemon. Needs no lock.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let ledger = files::ledger(path);
        match fs::metadata(&ledger) {
            Ok(it) if it.is_dir() => Ok(Self::new(path, Arc::default(), None)),
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(StoreError::io("open", &ledger)(error))
            }
            _ => Err(StoreError::Missing { path: path.to_owned() }),
        }
    }

    pub(in crate::store) fn new(
        root: &Path,
        counters: Arc<StoreCounters>,
        finder: Option<Finder>,
    ) -> Self {
        let scan = Scan::new(files::ledger(root), counters);
        let (beside, marks, seen) = <_>::default();
        let root = root.to_owned();
        Self {
            root,
            scan,
            finder,
            beside,
            marks,
            seen,
            is_of: None,
            is_elsewhere: false,
            one_in: 1,
        }
    }

    /// The same view for an answer that ends with [`StoreError::Stopped`] as soon as this says so, also
    /// where nothing matches.
    pub fn until(&self, is_over: Arc<dyn Fn() -> bool + Send + Sync>) -> Self {
        Self { scan: self.scan.until(is_over), ..self.clone() }
    }

    /// The same view of a store that may be a copy of another host's: nothing of this one explains it.
    pub fn elsewhere(self) -> Self {
        Self { is_elsewhere: true, ..self }
    }

    /// The same view for answers that hold one in so many of what they may hold elsewhere.
    pub fn sparing(self, one_in: usize) -> Self {
        Self { one_in: one_in.max(1), ..self }
    }

    pub fn one_in(&self) -> usize {
        self.one_in
    }

    pub fn is_elsewhere(&self) -> bool {
        self.is_elsewhere
    }

    /// The same view for flows beside it that are asked for after this. Without it what the index adds up
    /// is of no use beside them.
    pub fn as_of_now(&self) -> Self {
        Self { is_of: self.finder.as_ref().map(Finder::next_block), ..self.clone() }
    }

    /// The same view with flows that the ledger does not hold yet, or not as they are now: at most one
    /// state of each, and no more than 65535 in all.
    pub fn beside(&self, flows: Arc<[Record]>) -> Self {
        Self { beside: flows, ..self.clone() }
    }

    /// Of the store.
    pub fn path(&self) -> &Path {
        &self.root
    }

    pub fn counters(&self) -> &Arc<StoreCounters> {
        self.scan.counters()
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
            let blocks = plan::flows(&self.scan, finder, &query.filter, &mut stats)?;
            let (scan, beside, one_in) = (&self.scan, &self.beside[..], self.one_in);
            let input = Input { scan, plan: &blocks, beside, one_in };
            let result = gather::run(&input, query, &mut stats, &mut each);
            if stats.blocks_read > MANY_BLOCKS {
                memory::release();
            }
            match result {
                Ok(Ok(())) => return Ok(stats),
                Err(error) => {
                    if let (StoreError::Contradicted { segment }, Some(finder)) = (&error, finder) {
                        finder.distrust(*segment);
                    }
                    return Err(error);
                }
                // Found before anything was told: once more, by the ledger alone.
                Ok(Err(Inconsistent { segment })) => {
                    if let Some(finder) = finder.take() {
                        finder.distrust(segment);
                    }
                }
            }
        }
    }

    /// Counts what is there; by the index where it can, else by the heads of the ledger's blocks.
    pub fn stats(&self) -> Result<StoreStats, StoreError> {
        let mut totals = Contents::default();
        let mut stats =
            StoreStats { index: self.finder.as_ref().map(Finder::stats), ..Default::default() };
        for segment in self.scan.segments()? {
            let it = self.contents(segment)?;
            let bytes =
                fs::metadata(segment_path(self.scan.ledger(), segment)).map_or(0, |it| it.len());
            stats.ledger_bytes += bytes;
            stats.segments += 1;
            totals.join(&it);
        }
        stats.index_bytes = files::bytes_below(&files::index(&self.root));
        stats.blocks = totals.blocks;
        stats.flow_states = totals.flows;
        stats.flows = totals.firsts;
        stats.rollups = totals.rollups;
        stats.notices = totals.notices;
        if totals.first <= totals.last {
            stats.oldest = Some(Timestamp(totals.first));
            stats.newest = Some(Timestamp(totals.last));
        }
        Ok(stats)
    }

    /// Of one segment; all zero if it is gone.
    fn contents(&self, segment: u32) -> Result<Contents, StoreError> {
        match self.finder.as_ref().and_then(|finder| finder.contents(segment)) {
            Some(totals) => Ok(totals),
            None => self.scan.contents(segment),
        }
    }

    /// Of the ledger alone.
    pub(in crate::store) fn scan(&self) -> &Scan {
        &self.scan
    }
}

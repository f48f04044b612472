//! Reading the ledger as it stands on the disk: its segments, heads and entries, and what was met on the
//! way. It knows nothing of the index, changes nothing on the disk and waits for nobody.

use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{
    error::{StoreCounters, StoreError},
    files::{self, segment_path},
    ledger::{
        frame::{Created, Head, HeaderFault, VERSION},
        segment::Segment,
    },
    stored::{FlowState, Wanted},
};
use crate::event::{Entry, Notice};

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

/// What a segment, or a part of it, holds. Empty: `first > last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Contents {
    pub blocks: u64,
    /// States of flows, and those among them that are a flow's first.
    pub flows: u64,
    pub firsts: u64,
    pub rollups: u64,
    pub notices: u64,
    /// Earliest and latest instant of any entry, nanoseconds since the epoch.
    pub first: u64,
    pub last: u64,
}

impl Default for Contents {
    fn default() -> Self {
        Self { blocks: 0, flows: 0, firsts: 0, rollups: 0, notices: 0, first: u64::MAX, last: 0 }
    }
}

impl Contents {
    pub(crate) fn add(&mut self, head: &Head) {
        let summary = &head.summary;
        self.join(&Self {
            blocks: 1,
            flows: summary.flows.into(),
            firsts: summary.flows.saturating_sub(summary.restated).into(),
            rollups: summary.rollups.into(),
            notices: summary.notices.into(),
            first: summary.first.min(summary.other_first),
            last: summary.last.max(summary.other_last),
        });
    }

    pub(crate) fn join(&mut self, other: &Self) {
        self.blocks += other.blocks;
        self.flows += other.flows;
        self.firsts += other.firsts;
        self.rollups += other.rollups;
        self.notices += other.notices;
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
    }
}

/// A read-only view of the ledger's files.
#[derive(Clone, Debug)]
pub(super) struct Scan {
    ledger: PathBuf,
    counters: Arc<StoreCounters>,
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

impl Scan {
    pub(super) fn new(ledger: PathBuf, counters: Arc<StoreCounters>) -> Self {
        Self { ledger, counters, is_over: None }
    }

    pub(super) fn until(&self, is_over: Arc<dyn Fn() -> bool + Send + Sync>) -> Self {
        Self { is_over: Some(IsOver(is_over)), ..self.clone() }
    }

    pub(super) fn go_on(&self) -> Result<(), StoreError> {
        match &self.is_over {
            Some(IsOver(is_over)) if is_over() => Err(StoreError::Stopped),
            _ => Ok(()),
        }
    }

    pub(super) fn ledger(&self) -> &Path {
        &self.ledger
    }

    pub(super) fn counters(&self) -> &Arc<StoreCounters> {
        &self.counters
    }

    pub(super) fn segments(&self) -> Result<Vec<u32>, StoreError> {
        files::segments(&self.ledger).map_err(StoreError::io("list", &self.ledger))
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

    /// What a segment holds, by the heads of its blocks; all zero if it is gone.
    pub(super) fn contents(&self, segment: u32) -> Result<Contents, StoreError> {
        self.contents_below(segment, u64::MAX)
    }

    /// The same of the blocks that begin before this place in the file.
    pub(super) fn contents_below(&self, segment: u32, end: u64) -> Result<Contents, StoreError> {
        let mut totals = Contents::default();
        self.walk(segment, 0, true, &mut QueryStats::default(), |at, head| {
            if at < end {
                totals.add(head);
            }
        })?;
        Ok(totals)
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

    /// The flows of a block, decoded where they are wanted; none, and counted, if it is damaged.
    pub(super) fn flows(
        &self,
        segment: &Segment,
        (at, head): (u64, &Head),
        wanted: Wanted<'_>,
        stats: &mut QueryStats,
    ) -> Result<Vec<FlowState>, StoreError> {
        let path = || segment_path(&self.ledger, segment.number());
        let flows = segment.flows(at, head, wanted);
        let flows = flows.map_err(|error| StoreError::io("read", &path())(error))?;
        stats.blocks_read += 1;
        if flows.is_none() {
            self.count_corrupt(1, stats);
        }
        Ok(flows.unwrap_or_default())
    }

    /// Every notice that the ledger still tells, in its order; reads the blocks that have some.
    pub(super) fn each_notice(&self, mut each: impl FnMut(Notice)) -> Result<(), StoreError> {
        let mut stats = QueryStats::default();
        for number in self.segments()? {
            let mut blocks = Vec::new();
            self.walk(number, 0, true, &mut stats, |at, head| {
                if head.summary.notices > 0 {
                    blocks.push((at, *head));
                }
            })?;
            let Some(segment) = self.segment(number)? else { continue };
            for (at, head) in blocks {
                for entry in self.entries(&segment, at, &head, &mut stats)? {
                    if let Entry::Notice { notice, .. } = entry {
                        each(notice);
                    }
                }
            }
        }
        Ok(())
    }

    pub(super) fn count_corrupt(&self, count: u64, stats: &mut QueryStats) {
        stats.blocks_corrupt += count;
        StoreCounters::add(&self.counters.blocks_corrupt, count);
    }
}

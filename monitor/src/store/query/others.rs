//! What the ledger holds besides flows: roll-ups, notices and lookups, in its order.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::ControlFlow,
};

use super::{Reader, plan::may_match};
use crate::{
    event::{Entry, Lookup, Notice, Rollup, Timestamp},
    filter::{Filter, LOOKUPS_KEPT, Query},
    store::{
        error::StoreError,
        index::{BlockEntry, Finder, Sought},
        ledger::{frame::Head, segment::Segment},
        scan::{Contents, QueryStats},
    },
};

impl Reader {
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
        let mut stats = QueryStats::default();
        for segment in self.segments_with(filter, |it| it.rollups)? {
            if self.rollups_of(segment, 0, filter, &mut stats, &mut each)?.is_break() {
                break;
            }
        }
        Ok(stats)
    }

    /// Those of one segment from this offset on.
    pub(super) fn rollups_of(
        &self,
        segment: (u32, bool),
        from: u64,
        filter: &Filter,
        stats: &mut QueryStats,
        mut each: impl FnMut(Rollup) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, StoreError> {
        let holds = |head: &Head| head.summary.rollups > 0 && may_match(&head.summary, filter);
        let (number, is_newest) = segment;
        let piece = Piece { number, is_newest, from, found: &[] };
        self.others_of(piece, filter, holds, stats, &mut |entry| match entry {
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
        let span = Filter { since, until, ..Filter::default() };
        let mut stats = QueryStats::default();
        for (number, is_newest) in self.segments_with(&span, |it| it.notices)? {
            self.scan.go_on()?;
            let noted = self.finder.as_ref().and_then(|finder| finder.notices(number));
            let from = noted.as_ref().map_or(0, |noted| noted.end);
            stats.index_used |= noted.is_some();
            for (at, notice) in noted.into_iter().flat_map(|noted| noted.notices) {
                if span.overlaps(at, at) {
                    stats.matched += 1;
                    if each(at, notice).is_break() {
                        return Ok(stats);
                    }
                }
            }
            let rest = Piece { number, is_newest, from, found: &[] };
            let holds = |head: &Head| head.summary.notices > 0;
            let told =
                self.others_of(rest, &span, holds, &mut stats, &mut |entry| match entry {
                    Entry::Notice { at, notice } if span.overlaps(at, at) => Some(each(at, notice)),
                    _ => None,
                })?;
            if told.is_break() {
                break;
            }
        }
        Ok(stats)
    }

    /// Tells the lookups that match, in ledger order; `limit` keeps the newest, at most
    /// [`LOOKUPS_KEPT`], as does another order.
    pub fn lookups(
        &self,
        query: &Query,
        mut each: impl FnMut(Lookup) -> ControlFlow<()>,
    ) -> Result<QueryStats, StoreError> {
        let Query { filter, limit, newest_first } = query;
        let is_kept = limit.is_some() || *newest_first;
        let most = limit.unwrap_or(LOOKUPS_KEPT).min(LOOKUPS_KEPT);
        let mut kept = VecDeque::new();
        let stats = self.each_lookup(filter, |entry| match entry {
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

    /// The entries of the blocks that may hold such a lookup.
    fn each_lookup(
        &self,
        filter: &Filter,
        mut each: impl FnMut(Entry) -> Option<ControlFlow<()>>,
    ) -> Result<QueryStats, StoreError> {
        let mut stats = QueryStats::default();
        let segments = self.segments_with(filter, |it| it.notices)?;
        let demands = Finder::demands(Sought::Lookups, filter);
        let found = match &self.finder {
            Some(finder) if !demands.is_empty() => {
                let numbers = segments.iter().map(|(number, _)| *number).collect();
                finder.find(&numbers, (Sought::Lookups, filter), &demands)
            }
            _ => BTreeMap::new(),
        };
        stats.index_used = !found.is_empty();
        for (number, is_newest) in segments {
            let found = found.get(&number);
            let from = found.map_or(0, |found| found.end);
            let found = found.map_or(&[][..], |found| &found.blocks);
            let piece = Piece { number, is_newest, from, found };
            // Heads count lookups among the notices.
            let holds = |head: &Head| head.summary.notices > 0;
            if self.others_of(piece, filter, holds, &mut stats, &mut each)?.is_break() {
                break;
            }
        }
        Ok(stats)
    }

    /// The segments that may hold something of a kind in the span asked for, and whether it is the newest.
    pub(super) fn segments_with(
        &self,
        span: &Filter,
        count: impl Fn(&Contents) -> u64,
    ) -> Result<Vec<(u32, bool)>, StoreError> {
        let segments = self.scan.segments()?;
        let newest = segments.last().copied();
        let may_hold = |number: &u32| {
            let contents = self.finder.as_ref().and_then(|finder| finder.contents(*number));
            contents.is_none_or(|it| {
                count(&it) > 0 && span.overlaps(Timestamp(it.first), Timestamp(it.last))
            })
        };
        let segments = segments.into_iter().filter(may_hold);
        Ok(segments.map(|number| (number, Some(number) == newest)).collect())
    }

    /// Entries other than flows of one segment.
    fn others_of(
        &self,
        piece: Piece<'_>,
        span: &Filter,
        holds: impl Fn(&Head) -> bool,
        stats: &mut QueryStats,
        each: &mut dyn FnMut(Entry) -> Option<ControlFlow<()>>,
    ) -> Result<ControlFlow<()>, StoreError> {
        let Piece { number, is_newest, .. } = piece;
        let Some(mut segment) = self.scan.segment(number)? else {
            return Ok(ControlFlow::Continue(()));
        };
        let (mut blocks, from) = match self.heads(&mut segment, piece.found)? {
            Some(blocks) => (blocks, piece.from),
            // The index is wrong: by the ledger alone.
            None => (Vec::new(), 0),
        };
        self.scan.walk(number, from, is_newest, stats, |at, head| {
            let (first, last) = (head.summary.other_first, head.summary.other_last);
            if holds(head) && span.overlaps(Timestamp(first), Timestamp(last)) {
                blocks.push((at, *head));
            }
        })?;
        for (at, head) in blocks {
            self.scan.go_on()?;
            for entry in self.scan.entries(&segment, at, &head, stats)? {
                if let Some(told) = each(entry) {
                    stats.matched += 1;
                    if told.is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Heads of the blocks that the index found; `None`: one is not there.
    fn heads(
        &self,
        segment: &mut Segment,
        found: &[(BlockEntry, bool)],
    ) -> Result<Option<Vec<(u64, Head)>>, StoreError> {
        let mut heads = Vec::new();
        for (block, _) in found.iter().filter(|(_, is_met)| *is_met) {
            let head =
                segment.head(block.at).map_err(StoreError::io("read", self.scan.ledger()))?;
            let Some(head) = head.filter(|head| head.number == block.number) else {
                if let Some(finder) = &self.finder {
                    finder.distrust(segment.number());
                }
                return Ok(None);
            };
            heads.push((block.at, head));
        }
        Ok(Some(heads))
    }
}

/// A segment, of which the index has told some blocks.
#[derive(Clone, Copy)]
struct Piece<'a> {
    number: u32,
    is_newest: bool,
    /// From this offset on its heads are asked.
    from: u64,
    /// What the index tells of those before, with whether it is wanted.
    found: &'a [(BlockEntry, bool)],
}

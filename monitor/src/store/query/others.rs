//! What the ledger holds besides flows: roll-ups, notices and lookups, in its order.

use std::{collections::VecDeque, ops::ControlFlow};

use super::{Reader, plan::may_match};
use crate::{
    event::{Entry, Lookup, Notice, Rollup, Timestamp},
    filter::{Filter, LOOKUPS_KEPT, Query},
    store::{
        error::StoreError,
        ledger::frame::Head,
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
        self.others_of(segment, from, filter, holds, stats, &mut |entry| match entry {
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

    /// Notices and lookups, of the blocks that `holds` says may hold such.
    fn others(
        &self,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
        holds: impl Fn(&Head) -> bool,
        mut each: impl FnMut(Entry) -> Option<ControlFlow<()>>,
    ) -> Result<QueryStats, StoreError> {
        let span = Filter { since, until, ..Filter::default() };
        let mut stats = QueryStats::default();
        for segment in self.segments_with(&span, |it| it.notices)? {
            if self.others_of(segment, 0, &span, &holds, &mut stats, &mut each)?.is_break() {
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

    /// Entries other than flows of one segment, from this offset on.
    fn others_of(
        &self,
        (number, is_newest): (u32, bool),
        from: u64,
        span: &Filter,
        holds: impl Fn(&Head) -> bool,
        stats: &mut QueryStats,
        each: &mut dyn FnMut(Entry) -> Option<ControlFlow<()>>,
    ) -> Result<ControlFlow<()>, StoreError> {
        let mut blocks = Vec::new();
        self.scan.walk(number, from, is_newest, stats, |at, head| {
            let (first, last) = (head.summary.other_first, head.summary.other_last);
            if holds(head) && span.overlaps(Timestamp(first), Timestamp(last)) {
                blocks.push((at, *head));
            }
        })?;
        let Some(segment) = self.scan.segment(number)? else {
            return Ok(ControlFlow::Continue(()));
        };
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
}

//! Totals without reading every block: of a segment that the index has added up, its sums, where the window
//! holds all that is in them; else its blocks. Segments are taken newest first, so that the first state met of
//! a flow is its latest. It knows of no order and no limit.

use std::ops::ControlFlow;

use rustc_hash::FxHashSet;

use super::{
    MANY_BLOCKS, Reader,
    asked::{self, Asked, Names},
    gather::BESIDE_MAX,
    plan::may_match,
    window::{Told, Window},
};
use crate::{
    event::{FlowId, Record, Timestamp},
    filter::Filter,
    store::{
        error::StoreError,
        index::{Needs, Sum, Sums},
        ledger::frame::hour_end,
        memory,
        scan::{Contents, QueryStats},
        stored::{FlowState, Wanted},
    },
    summary::{Kind, Parts, Totals},
};

/// When flows that can't be met again are looked for in [`Newer`].
const NEWER_MANY: usize = if cfg!(test) { 8 } else { 1 << 16 };

/// How the sums of one kind lie to a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lies {
    Within,
    Outside,
    Across,
}

fn lies(filter: &Filter, first: Timestamp, last: Timestamp) -> Lies {
    let begins = filter.since.is_none_or(|since| first >= since);
    let ends = filter.until.is_none_or(|until| last < until);
    match filter.overlaps(first, last) {
        _ if begins && ends => Lies::Within,
        true => Lies::Across,
        false => Lies::Outside,
    }
}

/// Flows of which a newer state was met, and an older may come.
#[derive(Debug, Default)]
struct Newer {
    flows: FxHashSet<FlowId>,
    /// So many are no reason to look yet.
    most: usize,
}

impl Newer {
    /// Whether a newer state of the flow was met. `begins`: there is none before this.
    fn is_outdated(&mut self, flow: FlowId, begins: bool) -> bool {
        if begins { self.flows.remove(&flow) } else { !self.flows.insert(flow) }
    }

    /// What is left ends here: what began after can't be met again.
    fn forget_after(&mut self, last: u64) {
        if self.flows.len() > self.most {
            self.flows.retain(|flow| (flow.0 >> 64) as u64 <= last);
            self.most = NEWER_MANY.max(self.flows.len() * 2);
        }
    }
}

/// A segment that may hold something asked for.
struct Piece {
    number: u32,
    is_newest: bool,
    /// Latest instant in it and all before it.
    last: u64,
    /// First and last instant in it, as far as they are known.
    span: [u64; 2],
    has_rollups: bool,
}

/// Roll-ups that were added up, and what they are called.
type Rows = Vec<(Parts, Kind, Sum)>;

/// An answer on its way.
struct Fold<'a> {
    filter: &'a Filter,
    totals: &'a mut dyn Totals,
    window: &'a mut Window,
    newer: Newer,
    stats: QueryStats,
}

impl Fold<'_> {
    fn record(&mut self, record: &Record) {
        self.stats.matched += 1;
        let row = self.totals.flow(record);
        self.window.take(&Told::of(row, &record.egress), self.totals);
    }

    fn state(&mut self, state: FlowState) {
        self.stats.records_read += 1;
        let is_outdated = self.newer.is_outdated(state.flow, state.revision == 0);
        if let Some(record) = state.record.filter(|_| !is_outdated) {
            self.record(&record);
        }
    }

    fn sums(&mut self, sums: &Sums, names: &Names) {
        self.stats.index_used = true;
        for loose in &sums.loose {
            let is_outdated = self.newer.is_outdated(loose.flow, loose.begins);
            let Sum { counts, traffic } = loose.sum;
            let [start, last_at] = counts.seen;
            let matches = names.is_wanted(&loose.key) && self.filter.overlaps(start, last_at);
            if matches && !is_outdated {
                self.stats.matched += 1;
                let row = self.totals.counted(names.parts(&loose.key), loose.kind, &counts);
                let told = Told { flow: loose.flow, row, start, last_at, traffic };
                self.window.take(&told, self.totals);
            }
        }
        for (key, sum) in sums.flows.iter().filter(|(key, _)| names.is_wanted(key)) {
            let [first, last] = sum.counts.seen;
            if lies(self.filter, first, last) == Lies::Within {
                self.add(names.parts(key), asked::kind(&sums.dictionary, key), sum);
            }
        }
    }

    fn add(&mut self, parts: Parts, kind: Kind, Sum { counts, traffic }: &Sum) {
        self.stats.matched += counts.flows + counts.attempts;
        let row = self.totals.counted(parts, kind, counts);
        self.totals.more(row, *traffic, 0);
    }
}

impl Reader {
    /// The question, if sums can answer it.
    pub(super) fn asked_of_sums(&self, filter: &Filter, totals: &dyn Totals) -> Option<Asked> {
        self.finder.as_ref().and_then(|_| Asked::of(filter, totals))
    }

    /// Tells each flow that matches once, in its latest state, and adds up what is wholly in the window.
    pub(super) fn tell_or_add(
        &self,
        filter: &Filter,
        asked: &Asked,
        totals: &mut dyn Totals,
        window: &mut Window,
    ) -> Result<QueryStats, StoreError> {
        let (newer, stats) = (Newer::default(), QueryStats::default());
        let mut fold = Fold { filter, totals, window, newer, stats };
        for record in self.beside.iter().take(BESIDE_MAX) {
            fold.newer.is_outdated(record.egress.flow, false);
            if filter.matches(record) {
                fold.record(record);
            }
        }
        for piece in self.pieces(filter)?.iter().rev() {
            self.scan.go_on()?;
            fold.newer.forget_after(piece.last);
            let sums = self.sums(piece, asked, &mut fold);
            self.read_back(piece, sums.as_ref().map_or(0, |(sums, _)| sums.end), &mut fold)?;
            if let Some((sums, names)) = &sums {
                fold.sums(sums, names);
            }
        }
        if fold.stats.blocks_read > MANY_BLOCKS {
            memory::release();
        }
        Ok(fold.stats)
    }

    /// The blocks of a segment from this offset on, last first.
    fn read_back(&self, piece: &Piece, from: u64, fold: &mut Fold<'_>) -> Result<(), StoreError> {
        let filter = fold.filter;
        let mut blocks = Vec::new();
        self.scan.walk(piece.number, from, piece.is_newest, &mut fold.stats, |at, head| {
            let summary = &head.summary;
            let is_in_time = summary.flows > 0
                && filter.overlaps(Timestamp(summary.first), Timestamp(summary.last));
            let may_match = may_match(summary, filter);
            // A state of a flow that was told before may be elsewhere, and match.
            if is_in_time && (may_match || summary.restated > 0) {
                blocks.push((at, *head, may_match));
            }
        })?;
        if blocks.is_empty() {
            return Ok(());
        }
        let Some(segment) = self.scan.segment(piece.number)? else { return Ok(()) };
        for (at, head, may_match) in blocks.into_iter().rev() {
            self.scan.go_on()?;
            let wanted = if may_match { Wanted::Matching(filter) } else { Wanted::Nothing };
            let states = self.scan.flows(&segment, (at, &head), wanted, &mut fold.stats)?;
            states.into_iter().rev().for_each(|state| fold.state(state));
        }
        Ok(())
    }

    /// Adds up the roll-ups that match.
    pub fn rollups_in_window(
        &self,
        filter: &Filter,
        totals: &mut dyn Totals,
    ) -> Result<QueryStats, StoreError> {
        let Some(asked) = self.asked_of_sums(filter, totals) else {
            return self.rollups(filter, |rollup| {
                totals.rollup(&rollup);
                ControlFlow::Continue(())
            });
        };
        let (newer, stats) = (Newer::default(), QueryStats::default());
        if !filter.knows_rollups() {
            return Ok(stats);
        }
        let window = &mut Window::of(filter);
        let mut fold = Fold { filter, totals, window, newer, stats };
        for piece in self.pieces(filter)?.iter().filter(|piece| piece.has_rollups) {
            self.scan.go_on()?;
            let rolled = self.rolled(piece.number, &asked, &mut fold);
            let from = rolled.as_ref().map_or(0, |(end, _)| *end);
            let Fold { totals, stats, .. } = &mut fold;
            let _ =
                self.rollups_of((piece.number, piece.is_newest), from, filter, stats, |rollup| {
                    totals.rollup(&rollup);
                    ControlFlow::Continue(())
                })?;
            for (parts, kind, sum) in rolled.iter().flat_map(|(_, rows)| rows) {
                let [first, last] = sum.counts.seen;
                if lies(filter, first, hour_end(last)) == Lies::Within {
                    fold.add(*parts, *kind, sum);
                }
            }
        }
        Ok(fold.stats)
    }

    /// What the index has added up of a segment, where the window holds all or nothing of each row that is wanted, and as
    /// far as nothing in it is beside the ledger, too.
    fn sums(&self, piece: &Piece, asked: &Asked, fold: &mut Fold<'_>) -> Option<(Sums, Names)> {
        let filter = fold.filter;
        let [first, last] = piece.span.map(Timestamp);
        // The few rows by country and verdict say about as well whether the window cuts some.
        let is_tried = asked.is_of_kinds && lies(filter, first, last) != Lies::Within;
        let tried = Needs::default();
        let needs = is_tried.then_some(tried).filter(|it| *it != asked.needs);
        let mut told = None;
        for needs in needs.into_iter().chain([asked.needs]) {
            let sums = self.finder.as_ref()?.sums(piece.number, needs)?;
            let is_before = |next_block| self.is_of.is_some_and(|end| next_block <= end);
            if !self.beside.is_empty() && !is_before(sums.next_block) {
                return None;
            }
            let names = asked.names(&sums, &mut *fold.totals);
            let mut wanted = sums.flows.iter().filter(|(key, _)| names.is_wanted(key));
            let is_cut = wanted.any(|(_, sum)| {
                let [first, last] = sum.counts.seen;
                lies(filter, first, last) == Lies::Across
            });
            if is_cut {
                return None;
            }
            told = Some((sums, names));
        }
        told
    }

    /// The same of its roll-ups, with the end of what is added up.
    fn rolled(&self, segment: u32, asked: &Asked, fold: &mut Fold<'_>) -> Option<(u64, Rows)> {
        let rolled = self.finder.as_ref()?.rolled(segment, asked.rolled_by)?;
        let rows = asked.rolled(fold.filter, &rolled, &mut *fold.totals);
        let is_cut = |(_, _, sum): &(Parts, Kind, Sum)| {
            let [first, last] = sum.counts.seen;
            lies(fold.filter, first, hour_end(last)) == Lies::Across
        };
        (!rows.iter().any(is_cut)).then_some((rolled.end, rows))
    }

    /// The segments that may hold something of a window, in order.
    fn pieces(&self, filter: &Filter) -> Result<Vec<Piece>, StoreError> {
        let segments = self.scan.segments()?;
        let newest = segments.last().copied();
        let (mut pieces, mut last) = (Vec::new(), 0);
        for number in segments {
            let contents = self.finder.as_ref().and_then(|finder| finder.contents(number));
            last = last.max(contents.map_or(u64::MAX, |it| it.last));
            let has_rollups = contents.is_none_or(|it| it.rollups > 0);
            let overlaps = |it: Contents| filter.overlaps(Timestamp(it.first), Timestamp(it.last));
            if contents.is_none_or(overlaps) {
                let is_newest = Some(number) == newest;
                let span = contents.map_or([0, u64::MAX], |it| [it.first, it.last]);
                pieces.push(Piece { number, is_newest, last, span, has_rollups });
            }
        }
        Ok(pieces)
    }
}

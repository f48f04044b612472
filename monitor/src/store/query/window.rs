//! How much of a flow left in a window: the ledger has its totals as they were at some instants, and what
//! was sent between two of them is divided evenly over the time between. Adjoining windows add up to the
//! whole, since what had left before an instant is the same for both.

use std::ops::ControlFlow;

use rustc_hash::FxHashMap;

use super::Reader;
use crate::{
    event::{Egress, Entry, FlowId, Timestamp, Traffic},
    filter::{Filter, Query},
    store::{
        error::StoreError,
        ledger::{frame::Head, segment::Segment},
        scan::QueryStats,
    },
    summary::Totals,
};

/// What a state adds to the one before was sent this long before its last packet, at most: a flow that
/// grows is told once a minute, and one that was silent for longer at the next look.
const SPAN_NS: u64 = 62_000_000_000;

/// A flow as it was told.
#[derive(Clone, Copy, Debug)]
struct State {
    last_at: Timestamp,
    traffic: Traffic,
}

/// A flow that lives across an instant.
#[derive(Clone, Copy, Debug)]
struct Crossing {
    row: u32,
    start: Timestamp,
    /// The earliest known of those from the instant on.
    after: State,
}

type Crossings = FxHashMap<FlowId, Crossing>;

/// A flow in its latest state, as far as its window is concerned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    pub flow: FlowId,
    pub row: u32,
    pub start: Timestamp,
    pub last_at: Timestamp,
    pub traffic: Traffic,
}

impl Told {
    pub(super) fn of(row: u32, egress: &Egress) -> Self {
        let Egress { flow, started_at: start, last_at, traffic, .. } = *egress;
        Self { flow, row, start, last_at, traffic }
    }
}

/// A window, and the flows that live across its bounds.
#[derive(Debug)]
pub(super) struct Window {
    since: Option<Timestamp>,
    end: Option<Timestamp>,
    begun_before: Crossings,
    going_on: Crossings,
}

impl Window {
    pub(super) fn of(filter: &Filter) -> Self {
        let (begun_before, going_on) = (Crossings::default(), Crossings::default());
        Self { since: filter.since, end: filter.until, begun_before, going_on }
    }

    /// What left of a flow, unless more must be known for it.
    pub(super) fn take(&mut self, told: &Told, totals: &mut dyn Totals) {
        let Told { flow, row, start, last_at, traffic } = *told;
        let crossing = Crossing { row, start, after: State { last_at, traffic } };
        if self.end.is_some_and(|end| last_at >= end) {
            self.going_on.insert(flow, crossing);
        } else {
            totals.more(row, traffic, 0);
        }
        if self.since.is_some_and(|since| start < since) {
            self.begun_before.insert(flow, crossing);
        }
    }
}

impl From<&Egress> for State {
    fn from(egress: &Egress) -> Self {
        Self { last_at: egress.last_at, traffic: egress.traffic }
    }
}

/// What a flow had sent before `at`, and the bytes that were divided for it. `before`: the last state that
/// is of then, if there is one.
fn until(at: Timestamp, crossing: &Crossing, before: Option<State>) -> (Traffic, u64) {
    let Crossing { start, after, .. } = crossing;
    let (known, from) = match before {
        Some(before) => {
            let earliest = after.last_at.0.saturating_sub(SPAN_NS);
            (before.traffic, before.last_at.0.max(earliest))
        }
        None => (Traffic::default(), start.0),
    };
    if at.0 <= from {
        return (known, 0);
    }
    let growth = after.traffic.since(known);
    let part = growth.part(at.0 - from, after.last_at.0.saturating_sub(from).max(1));
    (known.plus(part), growth.sent_bytes)
}

impl Reader {
    /// Adds up what left in the query's window, by the flow. Its limit and order count for nothing.
    pub fn in_window(
        &self,
        query: &Query,
        totals: &mut dyn Totals,
    ) -> Result<QueryStats, StoreError> {
        let filter = &query.filter;
        let mut window = Window::of(filter);
        let mut stats = if let Some(asked) = self.asked_of_sums(filter, totals) {
            self.tell_or_add(filter, &asked, totals, &mut window)?
        } else {
            let query = Query { filter: filter.clone(), ..Query::default() };
            self.query(&query, |record| {
                let told = Told::of(totals.flow(&record), &record.egress);
                window.take(&told, totals);
                ControlFlow::Continue(())
            })?
        };
        let Window { since, end, begun_before, going_on } = window;
        if let Some(end) = end {
            self.before(end, going_on, &mut stats, |row, traffic, divided| {
                totals.more(row, traffic, divided);
            })?;
        }
        if let Some(since) = since {
            self.before(since, begun_before, &mut stats, |row, traffic, divided| {
                totals.less(row, traffic, divided);
            })?;
        }
        Ok(stats)
    }

    /// Tells what each of these flows had sent before an instant. Reads back from a while after it, no
    /// farther than it must.
    fn before(
        &self,
        at: Timestamp,
        mut crossings: Crossings,
        stats: &mut QueryStats,
        mut tell: impl FnMut(u32, Traffic, u64),
    ) -> Result<(), StoreError> {
        let blocks = match crossings.values().map(|it| it.start).min() {
            Some(earliest) => self.blocks_around(earliest, at, stats)?,
            None => Vec::new(),
        };
        let mut segment: Option<Segment> = None;
        for (number, place, head) in blocks.into_iter().rev() {
            if crossings.is_empty() {
                return Ok(());
            }
            self.scan.go_on()?;
            if segment.as_ref().is_none_or(|segment| segment.number() != number) {
                segment = self.scan.segment(number)?;
            }
            let Some(segment) = &segment else { continue };
            for entry in self.scan.entries(segment, place, &head, stats)?.iter().rev() {
                let Entry::Flow(record) = entry else { continue };
                let egress = &record.egress;
                let Some(crossing) = crossings.get_mut(&egress.flow) else { continue };
                if egress.last_at >= at {
                    crossing.after = egress.into();
                    continue;
                }
                let (traffic, divided) = until(at, crossing, Some(egress.into()));
                tell(crossing.row, traffic, divided);
                crossings.remove(&egress.flow);
            }
        }
        for crossing in crossings.values() {
            let (traffic, divided) = until(at, crossing, None);
            tell(crossing.row, traffic, divided);
        }
        Ok(())
    }

    /// Blocks with states from `earliest` on, up to where all are told so long after `at` that they say
    /// nothing of it: by segment and place, in order.
    fn blocks_around(
        &self,
        earliest: Timestamp,
        at: Timestamp,
        stats: &mut QueryStats,
    ) -> Result<Vec<(u32, u64, Head)>, StoreError> {
        let enough = at.0.saturating_add(2 * SPAN_NS);
        let (mut blocks, mut is_enough) = (Vec::new(), false);
        let segments = self.scan.segments()?;
        let newest = segments.last().copied();
        for number in segments {
            if is_enough || self.contents(number)?.last < earliest.0 {
                continue;
            }
            self.scan.walk(number, 0, Some(number) == newest, stats, |place, head| {
                let summary = &head.summary;
                if summary.flows > 0 && summary.last >= earliest.0 && !is_enough {
                    blocks.push((number, place, *head));
                    is_enough = summary.last >= enough;
                }
            })?;
        }
        Ok(blocks)
    }
}

//! From a plan to the answer, in bounded memory: some of the span after the other. Of each first the positions
//! of the matches are gathered (newest block first, so that the first state met of a flow is its latest), then
//! their records are read again in order, some thousand at a time.

use std::{
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    ops::ControlFlow,
};

use rustc_hash::FxHashMap;

use super::plan::Block;
use crate::{
    event::{FlowId, Record},
    filter::{Filter, Query},
    store::{
        error::StoreError,
        ledger::segment::Segment,
        scan::{QueryStats, Scan},
        stored::{FlowState, Wanted},
    },
};

/// Flows beside a ledger at most: as many as a position can count.
pub(super) const BESIDE_MAX: usize = u16::MAX as usize;

/// Most positions gathered in one pass (16 bytes each) where the query has no limit. More matches take
/// more passes, also in tests.
const POSITIONS: usize = if cfg!(test) { 64 } else { 1 << 18 };
/// Most records held at once on their way out, and kept from the first reading. Few in tests, so that they
/// read a second time.
pub(in crate::store) const RECORDS: usize = if cfg!(test) { 16 } else { 8192 };

/// Records kept from the first reading, by block in the plan and place in it.
type Kept = FxHashMap<(u32, u16), Box<Record>>;

/// What there is to read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Input<'a> {
    pub scan: &'a Scan,
    pub plan: &'a [Block],
    /// Flows in a state that is newer than any in the ledger: as a block behind its last.
    pub beside: &'a [Record],
    /// Of the positions and records that it may hold, one in so many.
    pub one_in: usize,
}

/// The plan names a block that is not there: the index is wrong.
#[derive(Clone, Copy, Debug)]
pub(super) struct Inconsistent {
    pub segment: u32,
}

/// A matching state: start, position of its block in the plan, position in the block. Ordered as
/// the answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Position {
    start: u64,
    block: u32,
    entry: u16,
}

/// Flows that began from one instant to another, both included. All states of one began at the same.
#[derive(Clone, Copy, Debug)]
struct Slice {
    from: u64,
    to: u64,
}

impl Slice {
    const ALL: Self = Self { from: 0, to: u64::MAX };

    /// Whether a flow of it can be in the block.
    fn meets(&self, block: &Block) -> bool {
        block.earliest_start <= self.to && self.from <= block.latest_start
    }
}

/// Cuts the span so that a pass has room for what about begins in each; else a pass would have to go
/// through all blocks for some of their flows. Oldest first.
fn slices(plan: &[Block], most: usize) -> Vec<Slice> {
    let matching = plan.iter().filter(|block| block.may_match);
    let mut starts: Vec<(u64, u16)> = matching.map(|it| (it.latest_start, it.flows)).collect();
    starts.sort_unstable();
    let (mut slices, mut flows, mut from) = (Vec::new(), 0, 0);
    for (latest_start, more) in starts {
        flows += usize::from(more);
        if flows >= most && (from..u64::MAX).contains(&latest_start) {
            slices.push(Slice { from, to: latest_start });
            (flows, from) = (0, latest_start + 1);
        }
    }
    slices.push(Slice { from, to: u64::MAX });
    slices
}

/// Which positions a pass gathers.
struct Gather {
    slice: Slice,
    /// The newest rather than the oldest.
    newest: bool,
    /// Only those beyond this one.
    beyond: Option<Position>,
    most: usize,
}

impl Gather {
    fn takes(&self, position: Position) -> bool {
        let Slice { from, to } = self.slice;
        (from..=to).contains(&position.start)
            && self.beyond.is_none_or(|beyond| {
                if self.newest { position < beyond } else { position > beyond }
            })
    }
}

/// Where the index turns out to be wrong: `Err(Inconsistent)` before `each` was called for the first
/// time, an error of the store after.
pub(super) fn run(
    input: &Input<'_>,
    query: &Query,
    stats: &mut QueryStats,
    each: &mut impl FnMut(Record) -> ControlFlow<()>,
) -> Result<Result<(), Inconsistent>, StoreError> {
    let newest = query.limit.is_some() || query.newest_first;
    let positions = POSITIONS / input.one_in;
    let most = query.limit.unwrap_or(positions);
    let records = (RECORDS / input.one_in).max(1);
    let cut = || slices(input.plan, positions);
    let mut slices = if query.limit.is_some() { vec![Slice::ALL] } else { cut() };
    if query.newest_first {
        slices.reverse();
    }
    for slice in slices {
        let mut gather = Gather { slice, newest, beyond: None, most };
        loop {
            let (mut positions, mut kept) =
                match gather_positions(input, &query.filter, &gather, stats)? {
                    Ok(gathered) => gathered,
                    Err(Inconsistent { segment }) if stats.matched > 0 => {
                        return Err(StoreError::Contradicted { segment });
                    }
                    Err(inconsistent) => return Ok(Err(inconsistent)),
                };
            positions.sort_unstable();
            if query.newest_first {
                positions.reverse();
            }
            for some in positions.chunks(records) {
                if tell(input, some, &mut kept, stats, each)?.is_break() {
                    return Ok(Ok(()));
                }
            }
            if query.limit.is_some() || positions.len() < gather.most {
                break;
            }
            gather.beyond = positions.last().copied();
        }
    }
    Ok(Ok(()))
}

fn gather_positions(
    input: &Input<'_>,
    filter: &Filter,
    gather: &Gather,
    stats: &mut QueryStats,
) -> Result<Result<(Vec<Position>, Kept), Inconsistent>, StoreError> {
    let Input { scan, plan, one_in, .. } = *input;
    let bounds = bounds(plan);
    let mut chosen = Chosen { heap: BinaryHeap::new(), newest: gather.newest, most: gather.most };
    let mut kept = Kept::default();
    let mut newer = BTreeSet::new();
    gather_beside(input, filter, gather, &mut chosen, &mut newer);
    let mut segment: Option<Segment> = None;
    for (index, block) in plan.iter().enumerate().rev() {
        scan.go_on()?;
        let bound = bounds[index];
        if chosen.is_settled(bound.latest_start) {
            break;
        }
        // What began after all that is left can't be met again.
        while newer.last().is_some_and(|flow: &FlowId| (flow.0 >> 64) as u64 > bound.last) {
            newer.pop_last();
        }
        if !gather.slice.meets(block) {
            continue;
        }
        if segment.as_ref().is_none_or(|segment| segment.number() != block.segment) {
            segment = scan.segment(block.segment)?;
        }
        let Some(segment) = &mut segment else { continue };
        let Slice { from, to } = gather.slice;
        let wanted =
            if block.may_match { Wanted::Begun(filter, from, to) } else { Wanted::Nothing };
        let states = match read(scan, segment, block, wanted, stats)? {
            Some(states) => states,
            None if block.is_indexed => {
                return Ok(Err(Inconsistent { segment: block.segment }));
            }
            // It was there when the plan was made.
            None => {
                scan.count_corrupt(1, stats);
                continue;
            }
        };
        for state in states.into_iter().rev() {
            stats.records_read += 1;
            let is_outdated = is_outdated(&state, &mut newer);
            let Some(record) = state.record.filter(|_| !is_outdated) else { continue };
            let start = record.egress.started_at.0;
            let position = Position { start, block: index as u32, entry: state.entry };
            if gather.takes(position) && chosen.add(position) && kept.len() < RECORDS / one_in {
                kept.insert((position.block, position.entry), record);
            }
        }
    }
    Ok(Ok((chosen.into_vec(), kept)))
}

fn gather_beside(
    input: &Input<'_>,
    filter: &Filter,
    gather: &Gather,
    chosen: &mut Chosen,
    newer: &mut BTreeSet<FlowId>,
) {
    for (entry, record) in input.beside.iter().take(BESIDE_MAX).enumerate() {
        newer.insert(record.egress.flow);
        let start = record.egress.started_at.0;
        let position = Position { start, block: input.plan.len() as u32, entry: entry as u16 };
        if filter.matches(record) && gather.takes(position) {
            chosen.add(position);
        }
    }
}

/// Whether a newer state of the flow was met; `newer` holds the flows of which an older may come.
fn is_outdated(state: &FlowState, newer: &mut BTreeSet<FlowId>) -> bool {
    if state.revision > 0 { !newer.insert(state.flow) } else { newer.remove(&state.flow) }
}

/// `None` if the segment has no such block (any more).
fn read(
    scan: &Scan,
    segment: &mut Segment,
    block: &Block,
    wanted: Wanted<'_>,
    stats: &mut QueryStats,
) -> Result<Option<Vec<FlowState>>, StoreError> {
    let head = segment.head(block.at).map_err(StoreError::io("read", scan.ledger()))?;
    match head.filter(|head| head.number == block.number) {
        Some(head) => scan.flows(segment, (block.at, &head), wanted, stats).map(Some),
        None => Ok(None),
    }
}

/// Over a block and all before it.
#[derive(Clone, Copy, Default)]
struct Bound {
    latest_start: u64,
    last: u64,
}

fn bounds(plan: &[Block]) -> Vec<Bound> {
    let bounds = plan.iter().scan(Bound::default(), |bound, block| {
        bound.latest_start = bound.latest_start.max(block.latest_start);
        bound.last = bound.last.max(block.last);
        Some(*bound)
    });
    bounds.collect()
}

/// The oldest or newest positions so far.
struct Chosen {
    /// The one to go first on top.
    heap: BinaryHeap<(u64, u32, u16)>,
    newest: bool,
    most: usize,
}

impl Chosen {
    /// Turns the order around where the newest are kept. Its own inverse.
    fn turn(&self, (start, block, entry): (u64, u32, u16)) -> (u64, u32, u16) {
        if self.newest { (!start, !block, !entry) } else { (start, block, entry) }
    }

    /// Whether it is one of them, as far as is known.
    fn add(&mut self, position: Position) -> bool {
        let Position { start, block, entry } = position;
        let key = self.turn((start, block, entry));
        if self.heap.len() < self.most {
            self.heap.push(key);
        } else if self.heap.peek().is_some_and(|top| key < *top) {
            self.heap.pop();
            self.heap.push(key);
        } else {
            return false;
        }
        true
    }

    /// Whether nothing that starts at `latest_start` or before can be kept any more.
    fn is_settled(&self, latest_start: u64) -> bool {
        self.most == 0
            || self.newest
                && self.heap.len() >= self.most
                && self.heap.peek().is_some_and(|(start, ..)| !start > latest_start)
    }

    fn into_vec(self) -> Vec<Position> {
        let keys = self.heap.iter().map(|key| self.turn(*key));
        keys.map(|(start, block, entry)| Position { start, block, entry }).collect()
    }
}

/// Tells the records at `positions` in this order; of those not kept each block is read once.
fn tell(
    input: &Input<'_>,
    positions: &[Position],
    kept: &mut Kept,
    stats: &mut QueryStats,
    each: &mut impl FnMut(Record) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, StoreError> {
    let Input { scan, plan, beside, .. } = *input;
    let mut by_block: BTreeMap<u32, Vec<(usize, u16)>> = BTreeMap::new();
    let mut records: Vec<Option<Box<Record>>> = Vec::with_capacity(positions.len());
    for (order, position) in positions.iter().enumerate() {
        let is_beside = position.block as usize == plan.len();
        let record = if is_beside {
            beside.get(usize::from(position.entry)).cloned().map(Box::new)
        } else {
            kept.remove(&(position.block, position.entry))
        };
        if record.is_none() {
            by_block.entry(position.block).or_default().push((order, position.entry));
        }
        records.push(record);
    }
    let mut segment: Option<Segment> = None;
    for (block, wanted) in by_block {
        let block = &plan[block as usize];
        if segment.as_ref().is_none_or(|segment| segment.number() != block.segment) {
            segment = scan.segment(block.segment)?;
        }
        scan.go_on()?;
        // Deleted by retention since the first pass: no longer part of the answer.
        let Some(segment) = &mut segment else { continue };
        let mut places: Vec<u16> = wanted.iter().map(|(_, entry)| *entry).collect();
        places.sort_unstable();
        let Some(states) = read(scan, segment, block, Wanted::At(&places), stats)? else {
            scan.count_corrupt(1, stats);
            continue;
        };
        let mut found: FxHashMap<u16, Box<Record>> = states
            .into_iter()
            .filter_map(|state| state.record.map(|record| (state.entry, record)))
            .collect();
        for (order, entry) in wanted {
            records[order] = found.remove(&entry);
        }
    }
    for record in records.into_iter().flatten() {
        stats.matched += 1;
        if each(*record).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

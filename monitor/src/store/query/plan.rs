//! Which blocks a query must read, told from the index or else from the heads in the ledger. A block
//! is read because it may hold a match, or because it may hold a newer state of a flow in one that
//! may. It reads no payloads.
//!
//! It rests on three promises of the pipeline: the states of a flow share their start, `last_at`
//! never falls, and all but the first have a revision above 0. So a newer state of a flow in the
//! span asked for is in that span, too.

use std::collections::{BTreeSet, HashSet};

use crate::{
    event::Timestamp,
    filter::Filter,
    store::{
        error::StoreError,
        index::{Finder, Sought},
        ledger::frame::{Summary, country_bit, verdict_bit},
        scan::{QueryStats, Scan},
    },
};

/// A block to read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    pub segment: u32,
    pub at: u64,
    pub number: u64,
    /// False: only newer states of flows elsewhere are of interest.
    pub may_match: bool,
    /// Told by the index, so to be checked against the ledger.
    pub is_indexed: bool,
    /// States of flows in it.
    pub flows: u16,
    /// Earliest and latest start of a flow in it.
    pub earliest_start: u64,
    pub latest_start: u64,
    /// Latest instant of a flow in it.
    pub last: u64,
}

/// Blocks of which some flow's latest state may match, in the order of the ledger.
pub(super) fn flows(
    scan: &Scan,
    finder: Option<&Finder>,
    filter: &Filter,
    stats: &mut QueryStats,
) -> Result<Vec<Block>, StoreError> {
    let segments = scan.segments()?;
    let newest = segments.last().copied();
    let segments: BTreeSet<u32> = segments
        .into_iter()
        .filter(|segment| {
            let totals = finder.and_then(|finder| finder.contents(*segment));
            totals.is_none_or(|it| filter.overlaps(Timestamp(it.first), Timestamp(it.last)))
        })
        .collect();
    let demands = Finder::demands(Sought::Flows, filter);
    // Without demands the heads tell as much as the index, and need no database opened.
    let found = match finder {
        Some(finder) if !demands.is_empty() => {
            finder.find(&segments, (Sought::Flows, filter), &demands)
        }
        _ => std::collections::BTreeMap::new(),
    };
    stats.index_used = !found.is_empty();
    let mut blocks = Vec::new();
    let mut considered = Considered { filter, blocks: Vec::new(), matching: HashSet::new() };
    for segment in segments {
        let found = found.get(&segment);
        for (entry, is_found) in found.iter().flat_map(|found| &found.blocks) {
            stats.blocks += 1;
            let place = (segment, entry.at, entry.number);
            let supersedes =
                if entry.orphan { Supersedes::Any } else { Supersedes::Some(&entry.supersedes) };
            considered.add(place, &entry.summary, *is_found, true, supersedes);
        }
        let from = found.map_or(0, |found| found.end);
        scan.walk(segment, from, Some(segment) == newest, stats, |at, head| {
            let supersedes = match head.summary.restated {
                0 => Supersedes::Some(&[]),
                _ => Supersedes::Any,
            };
            considered.add((segment, at, head.number), &head.summary, true, false, supersedes);
        })?;
    }
    let Considered { blocks: considered, matching, .. } = considered;
    for (block, supersedes) in considered {
        let is_wanted = block.may_match
            || supersedes.is_none_or(|before| before.iter().any(|it| matching.contains(it)));
        if is_wanted {
            blocks.push(block);
        }
    }
    Ok(blocks)
}

#[derive(Clone, Copy)]
enum Supersedes<'a> {
    Any,
    Some(&'a [u64]),
}

struct Considered<'a> {
    filter: &'a Filter,
    /// With the numbers of the blocks whose flows it may restate; `None`: any.
    blocks: Vec<(Block, Option<Vec<u64>>)>,
    /// Numbers of those that may match.
    matching: HashSet<u64>,
}

impl Considered<'_> {
    fn add(
        &mut self,
        (segment, at, number): (u32, u64, u64),
        summary: &Summary,
        is_found: bool,
        is_indexed: bool,
        supersedes: Supersedes<'_>,
    ) {
        let is_in_time = summary.flows > 0
            && self.filter.overlaps(Timestamp(summary.first), Timestamp(summary.last));
        let may_match = is_in_time && is_found && may_match(summary, self.filter);
        let supersedes = match supersedes {
            Supersedes::Any => None,
            Supersedes::Some(numbers) => Some(numbers.to_vec()),
        };
        if !is_in_time || !may_match && supersedes.as_ref().is_some_and(Vec::is_empty) {
            return;
        }
        if may_match {
            self.matching.insert(number);
        }
        let Summary { flows, first: earliest_start, latest_start, last, .. } = *summary;
        let block = Block {
            segment,
            at,
            number,
            may_match,
            is_indexed,
            flows,
            earliest_start,
            latest_start,
            last,
        };
        self.blocks.push((block, supersedes));
    }
}

/// Whether the summary leaves room for a country and verdict asked for.
pub(super) fn may_match(summary: &Summary, filter: &Filter) -> bool {
    (filter.countries.is_empty()
        || filter.countries.iter().any(|code| summary.countries & country_bit(*code) != 0))
        && (filter.verdicts.is_empty()
            || filter.verdicts.iter().any(|it| summary.verdicts & verdict_bit(*it) != 0))
}

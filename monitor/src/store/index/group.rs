//! A group: the unit in which the index is written. A table of some consecutive blocks of one
//! segment, and for every term in them a bitmap of the blocks that have it. Terms of a dimension
//! stand together, many in a value: the index crate takes some hundred bytes for every key. Each
//! key is written once and never again.

use std::{collections::BTreeMap, sync::Arc};

use rustc_hash::{FxHashMap, FxHashSet};
use serde::{Deserialize, Serialize};

use super::terms::{self, Dimension, GROUPS};
use crate::{
    event::{Entry, FlowId, Record, Sender},
    store::ledger::frame::{Head, Summary},
};

/// Most terms of one dimension in a group. Beyond, the dimension finds all its blocks.
const TERMS_MAX: usize = 8192;
/// Longest term. A longer one makes its dimension find all blocks of the group.
const TERM_MAX: usize = 512;
/// About how long a value with terms gets.
const VALUE_BYTES: usize = 2048;
/// Most flows that are remembered as going on.
const OPEN_FLOWS_MAX: usize = 1 << 16;

/// What the index knows of a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BlockEntry {
    /// Offset in the segment.
    pub at: u64,
    pub number: u64,
    pub summary: Summary,
    /// Numbers of the blocks that hold the state before of flows restated here.
    pub supersedes: Vec<u64>,
    /// A flow is restated here whose state before was not seen: it may supersede any block.
    pub orphan: bool,
}

/// Value of a group's key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Group {
    pub blocks: Vec<BlockEntry>,
    /// Bits of the dimensions with more than [`TERMS_MAX`] terms.
    pub overflow: u16,
}

/// Bits of a group's blocks, lowest first.
pub(super) type Bitmap = Vec<u8>;

pub(super) fn is_set(bitmap: &[u8], position: usize) -> bool {
    bitmap.get(position / 8).is_some_and(|byte| byte & 1 << (position % 8) != 0)
}

/// Where the latest state of each flow going on was met.
#[derive(Debug, Default)]
pub(super) struct OpenFlows {
    at: BTreeMap<FlowId, u64>,
    next_block: u64,
}

impl OpenFlows {
    /// Forgets all unless `number` follows what was seen last.
    pub(super) fn continue_at(&mut self, number: u64) {
        if number != self.next_block {
            self.at.clear();
        }
        self.next_block = number + 1;
    }

    fn met(&mut self, record: &Record, block: &mut BlockEntry) {
        let egress = &record.egress;
        let before = match egress.ended_at {
            Some(_) => self.at.remove(&egress.flow),
            None => self.at.insert(egress.flow, block.number),
        };
        if self.at.len() > OPEN_FLOWS_MAX {
            // The one that began first: told again, it only makes its block be read more often.
            self.at.pop_first();
        }
        match before {
            Some(number) if number != block.number => {
                if !block.supersedes.contains(&number) {
                    block.supersedes.push(number);
                }
            }
            Some(_) => {}
            None => block.orphan |= egress.revision > 0,
        }
    }
}

/// A group being filled.
#[derive(Debug, Default)]
pub(super) struct GroupBuilder {
    group: Group,
    /// By dimension.
    terms: FxHashMap<u8, FxHashMap<Vec<u8>, Bitmap>>,
}

impl GroupBuilder {
    pub(super) fn add(&mut self, at: u64, head: &Head, entries: &[Entry], open: &mut OpenFlows) {
        open.continue_at(head.number);
        let mut block = BlockEntry {
            at,
            number: head.number,
            summary: head.summary,
            supersedes: Vec::new(),
            orphan: false,
        };
        let position = self.group.blocks.len();
        // Records of a block share their processes and operators.
        let mut seen = FxHashSet::default();
        for entry in entries {
            let Entry::Flow(record) = entry else { continue };
            open.met(record, &mut block);
            let mut add = |dimension, term: &[u8]| self.term(position, dimension, term);
            terms::of_flow(record, &mut add);
            if let Sender::Process { process, .. } = &record.sender
                && seen.insert(Arc::as_ptr(process).cast::<()>())
            {
                terms::of_process(process, &mut add);
            }
            if let Some(operator) = &record.place.operator
                && seen.insert(Arc::as_ptr(operator).cast())
            {
                let name = operator.name.as_ref().map(|name| name.to_lowercase());
                terms::of_operator(operator.asn, name.as_deref(), &mut add);
            }
        }
        self.group.blocks.push(block);
    }

    fn term(&mut self, position: usize, dimension: Dimension, term: &[u8]) {
        let terms = self.terms.entry(dimension as u8).or_default();
        if !terms.contains_key(term) {
            if terms.len() == TERMS_MAX || term.len() > TERM_MAX {
                self.group.overflow |= dimension.bit();
                return;
            }
            terms.insert(term.to_vec(), Bitmap::new());
        }
        let Some(bitmap) = terms.get_mut(term) else { return };
        if bitmap.len() <= position / 8 {
            bitmap.resize(position / 8 + 1, 0);
        }
        bitmap[position / 8] |= 1 << (position % 8);
    }

    /// Keys and values, in order of the keys.
    pub(super) fn finish(self, segment: u32) -> Vec<(Vec<u8>, Vec<u8>)> {
        let Some(first) = self.group.blocks.first() else { return Vec::new() };
        let first = first.number;
        let mut pairs = Vec::new();
        for (dimension, terms) in self.terms {
            if self.group.overflow & 1 << dimension != 0 {
                continue;
            }
            let mut terms: Vec<_> = terms.into_iter().collect();
            terms.sort_unstable();
            let mut value = Vec::new();
            let mut part = 0_u16;
            for term in terms {
                value = encode(&term, value);
                if value.len() >= VALUE_BYTES {
                    let key = key(dimension, segment, first, Some(part));
                    pairs.push((key, std::mem::take(&mut value)));
                    part += 1;
                }
            }
            if !value.is_empty() {
                pairs.push((key(dimension, segment, first, Some(part)), value));
            }
        }
        pairs.push((key(GROUPS, segment, first, None), encode(&self.group, Vec::new())));
        pairs.sort_unstable();
        pairs
    }
}

fn encode(value: &impl Serialize, into: Vec<u8>) -> Vec<u8> {
    // Numbers, bytes and flags into memory: nothing of it has a way to fail.
    postcard::to_extend(value, into).expect("index values always serialize")
}

/// Key of a group's table, or of a part of its terms; without either end, what they begin with.
pub(super) fn key(kind: u8, segment: u32, first_block: u64, part: Option<u16>) -> Vec<u8> {
    let mut key = vec![kind];
    key.extend_from_slice(&segment.to_be_bytes());
    key.extend_from_slice(&first_block.to_be_bytes());
    key.extend(part.into_iter().flat_map(u16::to_be_bytes));
    key
}

/// Calls `each` with the terms of a value and their bitmaps; false if it is malformed.
pub(super) fn terms_of(mut value: &[u8], mut each: impl FnMut(&[u8], &[u8])) -> bool {
    while !value.is_empty() {
        let Ok(((term, bitmap), rest)) = postcard::take_from_bytes::<(&[u8], &[u8])>(value) else {
            return false;
        };
        each(term, bitmap);
        value = rest;
    }
    true
}

//! A group: the unit in which the index is written. A table of some consecutive blocks of one
//! segment, and for every term in them a bitmap of the blocks that have it. Terms of a dimension
//! stand together, many in a value: the index crate takes some hundred bytes for every key. Each
//! key is written once and never again.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
};

use rustc_hash::FxHashMap;
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
    /// Numbers of the blocks that hold the state before of flows that are restated here by other terms.
    /// Where the terms are the same, whoever finds that block finds this one.
    pub supersedes: Vec<u64>,
    /// A flow is restated here whose state before was not seen: it may supersede any block.
    pub orphan: bool,
}

/// Value of a group's key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Group {
    pub blocks: Vec<BlockEntry>,
    /// Bits of the dimensions with more than [`TERMS_MAX`] terms.
    pub overflow: u32,
}

/// Bits of a group's blocks, lowest first.
pub(super) type Bitmap = Vec<u8>;

pub(super) fn is_set(bitmap: &[u8], position: usize) -> bool {
    bitmap.get(position / 8).is_some_and(|byte| byte & 1 << (position % 8) != 0)
}

/// Where the latest state of each flow going on was met, and a hash of its terms.
#[derive(Debug)]
pub(super) struct OpenFlows {
    most: usize,
    at: BTreeMap<FlowId, Met>,
    next_block: u64,
    /// Others can choose terms, but not which of them have one hash.
    key: RandomState,
}

#[derive(Clone, Copy, Debug)]
struct Met {
    block: u64,
    terms: u64,
}

impl OpenFlows {
    /// `one_in`: of the flows that may be remembered, one in so many.
    pub(super) fn within(one_in: usize) -> Self {
        let (at, next_block, key) = <_>::default();
        Self { most: OPEN_FLOWS_MAX / one_in.max(1), at, next_block, key }
    }

    /// Forgets all unless `number` follows what was seen last.
    pub(super) fn continue_at(&mut self, number: u64) {
        if number != self.next_block {
            self.at.clear();
        }
        self.next_block = number + 1;
    }

    fn met(&mut self, record: &Record, terms: u64, block: &mut BlockEntry) {
        let egress = &record.egress;
        let before = match egress.ended_at {
            Some(_) => self.at.remove(&egress.flow),
            None => self.at.insert(egress.flow, Met { block: block.number, terms }),
        };
        if self.at.len() > self.most {
            // The one that began first: told again, it only makes its block be read more often.
            self.at.pop_first();
        }
        match before {
            Some(before) if before.block != block.number && before.terms != terms => {
                if !block.supersedes.contains(&before.block) {
                    block.supersedes.push(before.block);
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
        let key = open.key.clone();
        // Records of a block share their processes and operators: hashes of their terms.
        let mut seen: FxHashMap<*const (), u64> = FxHashMap::default();
        for entry in entries {
            let record = match entry {
                Entry::Flow(record) => record,
                Entry::Lookup(lookup) => {
                    self.add_terms(position, &key, |each| terms::of_lookup(lookup, each));
                    self.add_sender(position, &key, &lookup.sender, &mut seen);
                    continue;
                }
                Entry::Rollup(_) | Entry::Notice { .. } => continue,
            };
            let mut all = self.add_terms(position, &key, |each| terms::of_flow(record, each));
            self.term(position, Dimension::Size, &terms::size(record));
            all = all.wrapping_add(self.add_sender(position, &key, &record.sender, &mut seen));
            if let Some(operator) = &record.place.operator {
                let theirs = seen.entry(Arc::as_ptr(operator).cast()).or_insert_with(|| {
                    let name = operator.name.as_ref().map(|name| name.to_lowercase());
                    self.add_terms(position, &key, |each| {
                        terms::of_operator(operator.asn, name.as_deref(), each);
                    })
                });
                all = all.wrapping_add(*theirs);
            }
            open.met(record, all, &mut block);
        }
        self.group.blocks.push(block);
    }

    /// `seen`: those of this block whose terms are there.
    fn add_sender(
        &mut self,
        position: usize,
        key: &RandomState,
        sender: &Sender,
        seen: &mut FxHashMap<*const (), u64>,
    ) -> u64 {
        let Sender::Process { process, .. } = sender else { return 0 };
        *seen.entry(Arc::as_ptr(process).cast()).or_insert_with(|| {
            self.add_terms(position, key, |each| terms::of_process(process, each))
        })
    }

    /// Adds terms of a block; gives a hash of them, whatever their order.
    fn add_terms(
        &mut self,
        position: usize,
        key: &RandomState,
        of: impl FnOnce(&mut dyn FnMut(Dimension, &[u8])),
    ) -> u64 {
        let mut all = 0_u64;
        of(&mut |dimension, term| {
            self.term(position, dimension, term);
            all = all.wrapping_add(key.hash_one((dimension, term)));
        });
        all
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
            let mut before: &[u8] = &[];
            for (term, blocks) in &terms {
                if value.is_empty() {
                    before = &[];
                }
                let shared = before.iter().zip(term).take_while(|(a, b)| a == b).count();
                value = encode(&(shared as u16, &term[shared..], blocks), value);
                before = term;
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

pub(super) fn encode(value: &impl Serialize, into: Vec<u8>) -> Vec<u8> {
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
    let mut term = Vec::new();
    while !value.is_empty() {
        let taken = postcard::take_from_bytes::<(u16, &[u8], &[u8])>(value);
        let Ok(((shared, own, bitmap), rest)) = taken else { return false };
        if usize::from(shared) > term.len() {
            return false;
        }
        term.truncate(shared.into());
        term.extend_from_slice(own);
        each(&term, bitmap);
        value = rest;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_come_back_in_order_and_a_cut_value_is_malformed() {
        let mut builder = GroupBuilder::default();
        let domains = ["elpmaxe", "elpmaxe.a", "elpmaxe.ab", "gro", "", "elpmaxe.b"];
        for domain in domains {
            builder.term(9, Dimension::Domain, domain.as_bytes());
        }
        builder.group.blocks.push(BlockEntry {
            at: 0,
            number: 5,
            summary: Summary::default(),
            supersedes: Vec::new(),
            orphan: false,
        });
        let pairs = builder.finish(1);
        let (_, value) = pairs.iter().find(|(key, _)| key[0] == Dimension::Domain as u8).unwrap();
        let mut met = Vec::new();
        assert!(terms_of(value, |term, bitmap| {
            met.push(String::from_utf8(term.to_vec()).unwrap());
            assert!(is_set(bitmap, 9) && !is_set(bitmap, 8));
        }));
        assert_eq!(met, ["", "elpmaxe", "elpmaxe.a", "elpmaxe.ab", "elpmaxe.b", "gro"]);
        assert!(!terms_of(&value[..value.len() - 1], |_, _| {}));
        assert!(!terms_of(&[3, 0, 0], |_, _| {}), "nothing came before that it could share");
    }
}

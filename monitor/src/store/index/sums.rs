//! Sums of a segment, so that a summary need not read its blocks: flows that are told from beginning to end
//! in it, and roll-ups, by country and verdict; and one by one the flows that go beyond it, of which another
//! segment may know a later state. They rest on that segment alone. Nothing here reads or writes files.

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use super::{
    group::{encode, key},
    terms::SUMS,
};
use crate::{
    event::{Country, CountryCode, Entry, FlowId, Phase, Record, Timestamp, Traffic, Verdict},
    store::ledger::frame::{Head, verdict_bit},
    summary::{Counts, Kind},
};

/// Most flows that go beyond a segment. With more it has no sums: its blocks are read.
const LOOSE_MAX: usize = if cfg!(test) { 300 } else { 1 << 16 };
/// About how long a value with such flows gets.
const VALUE_BYTES: usize = 16 << 10;

const SENT: u8 = 16;
const BEGINS: u8 = 32;
/// Beside the verdict's bit.
const LEARNING: u8 = 64;

/// Flows of one kind, and what they sent and got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sum {
    pub counts: Counts,
    pub traffic: Traffic,
}

impl Sum {
    pub(crate) fn join(&mut self, other: &Self) {
        self.counts.flows += other.counts.flows;
        self.counts.attempts += other.counts.attempts;
        let ([first, last], [from, to]) = (self.counts.seen, other.counts.seen);
        self.counts.seen = [first.min(from), last.max(to)];
        self.traffic = self.traffic.plus(other.traffic);
    }
}

/// A flow that a segment does not tell from beginning to end, as that segment knows it last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Loose {
    pub flow: FlowId,
    /// No segment before knows of it.
    pub begins: bool,
    pub kind: Kind,
    /// Of this one flow.
    pub sum: Sum,
}

/// What is told of a segment, up to some block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    /// Blocks that begin below this offset are in it,
    pub end: u64,
    /// and are numbered below this.
    pub next_block: u64,
    pub flows: Vec<(Kind, Sum)>,
    pub rollups: Vec<(Kind, Sum)>,
    /// One of each, in no order.
    pub loose: Vec<Loose>,
}

type Kinds = FxHashMap<Kind, Sum>;

/// Sums of the segment that is being indexed.
#[derive(Debug, Default)]
pub(super) struct SumsBuilder {
    segment: u32,
    end: u64,
    next_block: u64,
    flows: Kinds,
    rollups: Kinds,
    loose: FxHashMap<FlowId, Loose>,
    has_too_many: bool,
}

impl SumsBuilder {
    pub(super) fn of(segment: u32, end: u64) -> Self {
        Self { segment, end, ..Self::default() }
    }

    pub(super) fn is_at(&self, segment: u32, end: u64) -> bool {
        self.segment == segment && self.end == end
    }

    /// `entries`: those of the block that follows; none if they can't be read.
    pub(super) fn add(&mut self, at: u64, head: &Head, entries: &[Entry]) {
        (self.end, self.next_block) = (at + head.block_bytes(), head.number + 1);
        if self.has_too_many {
            return;
        }
        for entry in entries {
            match entry {
                Entry::Flow(record) => self.flow(record),
                Entry::Rollup(rollup) => {
                    let kind = Kind::of_rollup(rollup);
                    let seen = [rollup.hour; 2];
                    let counts = Counts { flows: rollup.flows, attempts: 0, seen };
                    join(&mut self.rollups, kind, &Sum { counts, traffic: rollup.traffic });
                }
                Entry::Notice { .. } | Entry::Lookup(_) => {}
            }
        }
        if self.loose.len() > LOOSE_MAX {
            let (segment, end, next_block) = (self.segment, self.end, self.next_block);
            *self = Self { next_block, has_too_many: true, ..Self::of(segment, end) };
        }
    }

    fn flow(&mut self, record: &Record) {
        let egress = &record.egress;
        let kind = Kind::of(record);
        let flows = u64::from(egress.phase == Phase::Sent);
        let seen = [egress.started_at, egress.last_at];
        let counts = Counts { flows, attempts: 1 - flows, seen };
        let sum = Sum { counts, traffic: egress.traffic };
        let before = self.loose.remove(&egress.flow);
        let begins = egress.revision == 0 || before.is_some_and(|it| it.begins);
        if begins && egress.ended_at.is_some() {
            join(&mut self.flows, kind, &sum);
        } else {
            self.loose.insert(egress.flow, Loose { flow: egress.flow, begins, kind, sum });
        }
    }

    /// What is known of this segment by now; `loose`: with the flows that go beyond it.
    pub(super) fn sums(&self, segment: u32, loose: bool) -> Option<Sums> {
        let is_told = self.segment == segment && !self.has_too_many;
        is_told.then(|| Sums {
            end: self.end,
            next_block: self.next_block,
            flows: self.flows.iter().map(|(kind, sum)| (*kind, *sum)).collect(),
            rollups: self.rollups.iter().map(|(kind, sum)| (*kind, *sum)).collect(),
            loose: self.loose.values().filter(|_| loose).copied().collect(),
        })
    }

    /// Keys and values; none if it has no sums.
    pub(super) fn finish(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let Some(mut sums) = self.sums(self.segment, true) else { return Vec::new() };
        let mut pairs = Vec::new();
        sums.loose.sort_unstable_by_key(|it| (it.sum.counts.seen[0], it.flow));
        let (mut value, mut before) = (Vec::new(), 0);
        let mut put = |value: &mut Vec<u8>| {
            let part = pairs.len() as u16 + 1;
            pairs.push((key(SUMS, self.segment, 0, Some(part)), std::mem::take(value)));
        };
        for loose in &sums.loose {
            value = encode(&StoredLoose::of(loose, before), value);
            before = loose.sum.counts.seen[0].0;
            if value.len() >= VALUE_BYTES {
                put(&mut value);
                before = 0;
            }
        }
        if !value.is_empty() {
            put(&mut value);
        }
        let head = StoredHead {
            end: sums.end,
            next_block: sums.next_block,
            flows: sums.flows.iter().map(StoredSum::of).collect(),
            rollups: sums.rollups.iter().map(StoredSum::of).collect(),
            loose: sums.loose.len() as u32,
        };
        pairs.push((key(SUMS, self.segment, 0, Some(0)), encode(&head, Vec::new())));
        pairs
    }
}

fn join(kinds: &mut Kinds, kind: Kind, sum: &Sum) {
    kinds.entry(kind).and_modify(|it| it.join(sum)).or_insert(*sum);
}

/// Puts sums together again from their values in the order of their keys, of which the first may be enough.
#[derive(Debug, Default)]
pub(super) struct SumsReader {
    sums: Option<Sums>,
    loose: usize,
    is_malformed: bool,
}

impl SumsReader {
    pub(super) fn add(&mut self, value: &[u8]) {
        self.is_malformed |= self.take(value).is_none();
    }

    fn take(&mut self, mut value: &[u8]) -> Option<()> {
        let Some(sums) = &mut self.sums else {
            let head: StoredHead = postcard::from_bytes(value).ok()?;
            let told = |sums: &[StoredSum]| sums.iter().map(StoredSum::told).collect::<Option<_>>();
            self.sums = Some(Sums {
                end: head.end,
                next_block: head.next_block,
                flows: told(&head.flows)?,
                rollups: told(&head.rollups)?,
                loose: Vec::new(),
            });
            self.loose = head.loose as usize;
            return Some(());
        };
        let mut before = 0;
        while !value.is_empty() {
            let (stored, rest) = postcard::take_from_bytes::<StoredLoose>(value).ok()?;
            let loose = stored.told(before)?;
            before = loose.sum.counts.seen[0].0;
            sums.loose.push(loose);
            value = rest;
        }
        Some(())
    }

    /// `loose`: all of it was read. `Ok(None)`: there are none.
    pub(super) fn finish(self, loose: bool) -> Result<Option<Sums>, Malformed> {
        let is_all = |it: &Sums| !loose || it.loose.len() == self.loose;
        if self.is_malformed || !self.sums.as_ref().is_none_or(is_all) {
            return Err(Malformed);
        }
        Ok(self.sums)
    }
}

/// These bytes are no sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

#[derive(Debug, Serialize, Deserialize)]
struct StoredHead {
    end: u64,
    next_block: u64,
    flows: Vec<StoredSum>,
    rollups: Vec<StoredSum>,
    loose: u32,
}

/// Bytes and packets sent, bytes and packets received.
type StoredTraffic = [u64; 4];
/// The code's letters, or (0, 0) unlocated, (0, 1) local; and the bit of the verdict.
type StoredKind = (u8, u8, u8);

#[derive(Debug, Serialize, Deserialize)]
struct StoredSum {
    kind: StoredKind,
    flows: u64,
    attempts: u64,
    first: u64,
    last: u64,
    traffic: StoredTraffic,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredLoose {
    id_low: [u8; 8],
    /// Upper half of the id less the start, wrapping.
    id_offset: i64,
    /// Less that of the one before in this value, wrapping; `last` less the start.
    start: u64,
    last: u64,
    traffic: StoredTraffic,
    country: (u8, u8),
    /// Bit of the verdict, [`SENT`], [`BEGINS`].
    bits: u8,
}

impl StoredSum {
    fn of((kind, Sum { counts, traffic }): &(Kind, Sum)) -> Self {
        Self {
            kind: stored_kind(*kind),
            flows: counts.flows,
            attempts: counts.attempts,
            first: counts.seen[0].0,
            last: counts.seen[1].0,
            traffic: stored_traffic(*traffic),
        }
    }

    fn told(&self) -> Option<(Kind, Sum)> {
        let Self { kind, flows, attempts, first, last, traffic } = self;
        let seen = [Timestamp(*first), Timestamp(*last)];
        let counts = Counts { flows: *flows, attempts: *attempts, seen };
        Some((told_kind(*kind)?, Sum { counts, traffic: told_traffic(*traffic) }))
    }
}

impl StoredLoose {
    /// `before`: when the one before began.
    fn of(loose: &Loose, before: u64) -> Self {
        let Loose { flow, begins, kind, sum: Sum { counts, traffic } } = loose;
        let [start, last] = counts.seen.map(|it| it.0);
        let (a, b, verdict) = stored_kind(*kind);
        let sent = if counts.flows > 0 { SENT } else { 0 };
        Self {
            id_low: (flow.0 as u64).to_le_bytes(),
            id_offset: ((flow.0 >> 64) as u64).wrapping_sub(start).cast_signed(),
            start: start.wrapping_sub(before),
            last: last.wrapping_sub(start),
            traffic: stored_traffic(*traffic),
            country: (a, b),
            bits: verdict | sent | if *begins { BEGINS } else { 0 },
        }
    }

    fn told(&self, before: u64) -> Option<Loose> {
        let start = before.wrapping_add(self.start);
        let high = start.wrapping_add(self.id_offset.cast_unsigned());
        let seen = [Timestamp(start), Timestamp(start.wrapping_add(self.last))];
        let flows = u64::from(self.bits & SENT != 0);
        let counts = Counts { flows, attempts: 1 - flows, seen };
        let (a, b) = self.country;
        Some(Loose {
            flow: FlowId(u128::from(high) << 64 | u128::from(u64::from_le_bytes(self.id_low))),
            begins: self.bits & BEGINS != 0,
            kind: told_kind((a, b, self.bits & !(SENT | BEGINS)))?,
            sum: Sum { counts, traffic: told_traffic(self.traffic) },
        })
    }
}

fn stored_kind(Kind { country, verdict, is_learning }: Kind) -> StoredKind {
    let [a, b] = match country {
        Country::Known(code) => code.bytes(),
        Country::Unlocated => [0, 0],
        Country::Local => [0, 1],
    };
    (a, b, verdict_bit(verdict) | if is_learning { LEARNING } else { 0 })
}

fn told_kind((a, b, verdict): StoredKind) -> Option<Kind> {
    let country = match [a, b] {
        [0, 0] => Country::Unlocated,
        [0, 1] => Country::Local,
        code => Country::Known(CountryCode::new(std::str::from_utf8(&code).ok()?)?),
    };
    let is_it = |it: &&Verdict| verdict_bit(**it) == verdict & !LEARNING;
    let is_learning = verdict & LEARNING != 0;
    Some(Kind { country, verdict: *Verdict::ALL.iter().find(is_it)?, is_learning })
}

fn stored_traffic(traffic: Traffic) -> StoredTraffic {
    let Traffic { sent_bytes, sent_packets, received_bytes, received_packets } = traffic;
    [sent_bytes, sent_packets, received_bytes, received_packets]
}

fn told_traffic(stored: StoredTraffic) -> Traffic {
    let [sent_bytes, sent_packets, received_bytes, received_packets] = stored;
    Traffic { sent_bytes, sent_packets, received_bytes, received_packets }
}

#[cfg(test)]
mod tests;

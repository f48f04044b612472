//! Sums of a segment, so that a summary need not read its blocks: flows that are told from beginning to end
//! in it, and roll-ups, by what they are like; and one by one the flows that go beyond it, of which another
//! segment may know a later state. They rest on that segment alone. Nothing here reads or writes files.

mod dictionary;
mod entries;
mod kind;
mod rolled;
mod stored;
mod table;
mod told;

use std::path::{Path, PathBuf};

use rustc_hash::FxHashMap;

use crate::{
    event::{Entry, FlowId, Notice, Phase, Record, Timestamp, Traffic},
    store::ledger::frame::Head,
    summary::{Counts, Kind},
};
pub(crate) use dictionary::{
    COLUMNS, DEVICE, Dictionary, HOUR, HOUR_NS, Key, OPERATOR, PORT, TO, WHAT, WHO, blank, learning,
};
use dictionary::{Numberer, Shared, UNKNOWN};
use rolled::RolledBuilder;
pub(crate) use rolled::{RolledBy, RolledUp};
pub(super) use stored::{Malformed, notices, rolled, sums};
use table::{KINDS, Tables};
use told::{Notices, notices_of};

/// Most flows that go beyond a segment. With more it has no sums: its blocks are read.
const LOOSE_MAX: usize = if cfg!(test) { 300 } else { 1 << 16 };

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

/// The file of a segment's sums, within the directory of its database, so that the seal proves it, too.
pub(super) fn path(database: &Path, segment: u32) -> PathBuf {
    database.join(format!("sums-{segment:08}"))
}

/// What rows must be kept apart by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    /// Columns, by bit; none: country and verdict are enough.
    columns: u8,
}

impl Needs {
    pub(crate) fn also(self, column: usize) -> Self {
        Self { columns: self.columns | 1 << column | KINDS }
    }
}

/// A flow that a segment does not tell from beginning to end, as that segment knows it last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Loose {
    pub flow: FlowId,
    /// No segment before knows of it.
    pub begins: bool,
    pub kind: Kind,
    pub key: Key,
    /// Of this one flow.
    pub sum: Sum,
}

/// What is told of the flows of a segment, up to some block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    /// Blocks that begin below this offset are in it,
    pub end: u64,
    /// and are numbered below this.
    pub next_block: u64,
    /// What the numbers of keys stand for, as far as that was asked for.
    pub dictionary: Dictionary,
    pub flows: Vec<(Key, Sum)>,
    /// One of each, in no order.
    pub loose: Vec<Loose>,
}

impl Sums {
    /// Whether the dictionary has all that its keys refer to.
    fn is_sound(&self, needs: Needs) -> bool {
        let keys = self.flows.iter().map(|(key, _)| key).chain(self.loose.iter().map(|it| &it.key));
        let columns: Vec<usize> =
            (0..COLUMNS).filter(|it| needs.columns & (1 << it) != 0).collect();
        let most: Vec<usize> = columns.iter().map(|it| self.dictionary.count(*it)).collect();
        let is_told =
            |key: &Key| columns.iter().zip(&most).all(|(it, most)| usize::from(key[*it]) < *most);
        keys.into_iter().all(is_told)
    }

    /// By country and verdict alone.
    fn of_kinds(
        (end, next_block): (u64, u64),
        kinds: &[(Kind, Sum)],
        mut loose: Vec<Loose>,
    ) -> Self {
        let mut numbers: FxHashMap<Kind, u16> = FxHashMap::default();
        // There are less than three thousand kinds.
        let all = kinds.iter().map(|(kind, _)| *kind).chain(loose.iter().map(|it| it.kind));
        let mut found = Vec::new();
        for kind in all {
            numbers.entry(kind).or_insert_with(|| {
                found.push(kind);
                found.len() as u16 - 1
            });
        }
        let key = |kind: Kind| {
            let mut key = [UNKNOWN; COLUMNS];
            key[WHAT] = numbers[&kind];
            key
        };
        let flows = kinds.iter().map(|(kind, sum)| (key(*kind), *sum)).collect();
        for it in &mut loose {
            it.key = key(it.kind);
        }
        let dictionary = Dictionary::of_kinds(found.iter().copied());
        Self { end, next_block, dictionary, flows, loose }
    }
}

/// The notices of a segment, up to some block.
#[derive(Debug)]
pub(crate) struct Noted {
    /// Blocks that begin below this offset are in it.
    pub end: u64,
    /// In their order.
    pub notices: Vec<(Timestamp, Notice)>,
}

type Kinds = FxHashMap<Kind, Sum>;

/// Sums of the segment that is being indexed.
#[derive(Debug, Default)]
pub(super) struct SumsBuilder {
    segment: u32,
    end: u64,
    next_block: u64,
    kinds: Kinds,
    numberer: Numberer,
    tables: Tables,
    rolled: RolledBuilder,
    notices: Notices,
    loose: FxHashMap<FlowId, Loose>,
    has_too_many: bool,
    /// Of the flows that may go beyond it, one in so many.
    one_in: usize,
}

impl SumsBuilder {
    /// `one_in`: of the rows and entries that there may be, one in so many.
    pub(super) fn of(segment: u32, end: u64, one_in: usize) -> Self {
        let (numberer, tables) = (Numberer::within(one_in), Tables::within(one_in));
        Self { segment, end, numberer, tables, one_in, ..Self::default() }
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
        self.notices.add(entries, self.one_in);
        let mut shared = Shared::default();
        for entry in entries {
            match entry {
                Entry::Flow(record) => self.flow(record, &mut shared),
                Entry::Rollup(rollup) => self.rolled.add(rollup),
                Entry::Notice { .. } | Entry::Lookup(_) => {}
            }
        }
        self.tables.shrink(self.numberer.given_up());
        self.numberer.keep(self.tables.columns());
        if self.loose.len() > LOOSE_MAX / self.one_in.max(1) {
            let (segment, end, next_block) = (self.segment, self.end, self.next_block);
            *self = Self { segment, end, next_block, has_too_many: true, ..Self::default() };
        }
    }

    fn flow(&mut self, record: &Record, shared: &mut Shared) {
        let egress = &record.egress;
        let (kind, key) = (Kind::of(record), self.numberer.key(record, shared));
        let flows = u64::from(egress.phase == Phase::Sent);
        let seen = [egress.started_at, egress.last_at];
        let counts = Counts { flows, attempts: 1 - flows, seen };
        let sum = Sum { counts, traffic: egress.traffic };
        let before = self.loose.remove(&egress.flow);
        let begins = egress.revision == 0 || before.is_some_and(|it| it.begins);
        if begins && egress.ended_at.is_some() {
            self.kinds.entry(kind).and_modify(|it| it.join(&sum)).or_insert(sum);
            self.tables.add(&key, &sum);
        } else {
            self.loose.insert(egress.flow, Loose { flow: egress.flow, begins, kind, key, sum });
        }
    }

    fn is_told(&self, segment: u32) -> bool {
        self.segment == segment && !self.has_too_many
    }

    /// What is known of the flows of this segment by now.
    pub(super) fn sums(&self, segment: u32, needs: Needs) -> Option<Sums> {
        if !self.is_told(segment) {
            return None;
        }
        let loose = self.loose.values().copied().collect();
        let (end, next_block) = (self.end, self.next_block);
        if needs.columns == 0 {
            return Some(Sums::of_kinds((end, next_block), &self.kinds(), loose));
        }
        let flows = self.tables.with(needs.columns)?.rows().collect();
        let dictionary = self.numberer.dictionary(needs.columns)?;
        Some(Sums { end, next_block, dictionary, flows, loose })
    }

    /// Of its roll-ups.
    pub(super) fn rolled(&self, segment: u32, by: RolledBy) -> Option<RolledUp> {
        self.is_told(segment).then(|| self.rolled.told(by, self.end, self.next_block))?
    }

    /// Its notices.
    pub(super) fn notices(&self, segment: u32) -> Option<Noted> {
        let notices = notices_of(self.notices.stored().filter(|_| self.is_told(segment))?)?;
        Some(Noted { end: self.end, notices })
    }

    fn kinds(&self) -> Vec<(Kind, Sum)> {
        self.kinds.iter().map(|(kind, sum)| (*kind, *sum)).collect()
    }

    /// As a file; `None`: there are none.
    pub(super) fn finish(&self) -> Option<Vec<u8>> {
        self.is_told(self.segment).then(|| stored::encode_all(self))
    }
}

#[cfg(test)]
mod tests;

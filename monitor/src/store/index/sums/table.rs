//! Tables of sums: rows of numbers, kept apart by some columns of the dictionary. With too many rows a table gives up a
//! column. It knows nothing of what the numbers stand for.

use rustc_hash::FxHashMap;

use super::{
    Sum,
    dictionary::{COLUMNS, DEVICE, HOUR, Key, OPERATOR, PORT, TO, UNKNOWN, WHAT, WHO},
};
use crate::{
    event::{Timestamp, Traffic},
    summary::Counts,
};

const fn bit(column: usize) -> u8 {
    1 << column
}

/// Every table keeps these.
pub(super) const KINDS: u8 = bit(WHAT);
/// What a segment begins with: all that is not of a time, and by the hour what there is of kinds.
pub(super) const ALL: u8 = OF_HOST | bit(DEVICE);
pub(super) const HOURS: u8 = bit(HOUR) | KINDS;
const OF_HOST: u8 = bit(WHO) | bit(OPERATOR) | KINDS | bit(PORT) | bit(TO);
const SENDERS: u8 = OF_HOST & !bit(TO);
const DESTINATIONS: u8 = OF_HOST & !bit(WHO);

/// Most rows of a table of these columns: what some hours of a busy host need, and what a segment may take in memory
/// while it is indexed.
const fn rows_max(columns: u8) -> usize {
    let most = match columns {
        SENDERS => 3 << 15,
        DESTINATIONS => 3 << 14,
        _ => 1 << 15,
    };
    if cfg!(test) { most >> 8 } else { most }
}

/// Flows of one segment, added up by some columns.
#[derive(Clone, Debug)]
pub(super) struct Table {
    columns: u8,
    numbers: FxHashMap<Key, u32>,
    sums: Vec<Sum>,
}

impl Table {
    pub(super) fn of(columns: u8) -> Self {
        Self { columns, numbers: FxHashMap::default(), sums: Vec::new() }
    }

    pub(super) fn columns(&self) -> u8 {
        self.columns
    }

    pub(super) fn len(&self) -> usize {
        self.sums.len()
    }

    /// Whether it keeps all of these apart.
    pub(super) fn has(&self, columns: u8) -> bool {
        self.columns & columns == columns
    }

    pub(super) fn add(&mut self, key: &Key, sum: &Sum) {
        let mut kept = *key;
        for (column, number) in kept.iter_mut().enumerate() {
            if self.columns & bit(column) == 0 {
                *number = UNKNOWN;
            }
        }
        let next = self.sums.len() as u32;
        let number = *self.numbers.entry(kept).or_insert(next);
        match self.sums.get_mut(number as usize) {
            Some(known) => known.join(sum),
            None => self.sums.push(*sum),
        }
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = (Key, Sum)> + '_ {
        self.numbers.iter().map(|(key, number)| (*key, self.sums[*number as usize]))
    }

    fn onto(&self, columns: u8) -> Self {
        let mut table = Self::of(columns);
        self.rows().for_each(|(key, sum)| table.add(&key, &sum));
        table
    }
}

/// What a table is told by in place of one with these columns, which has too many rows.
fn instead_of(columns: u8) -> &'static [u8] {
    const WHOSE: u8 = bit(WHO) | bit(OPERATOR) | KINDS;
    const PORTS: u8 = bit(WHO) | bit(PORT) | KINDS;
    const PLACES: u8 = bit(TO) | bit(OPERATOR) | KINDS;
    const ONLY_WHO: u8 = bit(WHO) | KINDS;
    const ONLY_OPERATOR: u8 = bit(OPERATOR) | KINDS;
    const DEVICES: u8 = bit(DEVICE) | bit(OPERATOR) | KINDS;
    const ONLY_DEVICE: u8 = bit(DEVICE) | KINDS;
    match columns {
        ALL => &[OF_HOST, DEVICES],
        DEVICES => &[ONLY_DEVICE],
        OF_HOST => &[SENDERS, DESTINATIONS],
        SENDERS => &[WHOSE, PORTS],
        DESTINATIONS => &[PLACES],
        WHOSE | PORTS => &[ONLY_WHO, ONLY_OPERATOR],
        PLACES => &[ONLY_OPERATOR],
        _ => &[],
    }
}

/// The tables of a segment.
#[derive(Clone, Debug)]
pub(super) struct Tables {
    all: Vec<Table>,
    one_in: usize,
}

impl Default for Tables {
    fn default() -> Self {
        Self::within(1)
    }
}

impl Tables {
    /// `one_in`: of the rows that each may have, one in so many.
    pub(super) fn within(one_in: usize) -> Self {
        Self { all: vec![Table::of(ALL), Table::of(HOURS)], one_in: one_in.max(1) }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Table> {
        self.all.iter()
    }

    pub(super) fn add(&mut self, key: &Key, sum: &Sum) {
        self.all.iter_mut().for_each(|table| table.add(key, sum));
    }

    /// Replaces those that have too many rows, or a column that was given up.
    pub(super) fn shrink(&mut self, given_up: u8) {
        while let Some(at) = self.all.iter().position(|table| {
            table.len() > rows_max(table.columns) / self.one_in || table.columns & given_up != 0
        }) {
            let table = self.all.swap_remove(at);
            let lost = table.columns & given_up;
            let fewer = [table.columns & !lost];
            let columns = match lost {
                0 => instead_of(table.columns),
                // Without it there is nothing to tell.
                _ if lost & KINDS != 0 => &[],
                _ => &fewer,
            };
            for columns in columns {
                if !self.all.iter().any(|table| table.has(*columns)) {
                    self.all.push(table.onto(*columns));
                }
            }
        }
    }

    /// Columns that some table keeps apart.
    pub(super) fn columns(&self) -> u8 {
        self.iter().fold(0, |all, table| all | table.columns)
    }

    /// The one of the fewest rows that keeps these apart.
    pub(super) fn with(&self, columns: u8) -> Option<&Table> {
        self.iter().filter(|table| table.has(columns)).min_by_key(|table| table.len())
    }
}

/// Rows as bytes, field by field: the numbers of each column, then those of the sums. `base`: earliest of all.
pub(super) fn encode(rows: &[(Key, Sum)], columns: u8, base: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(rows.len() * 24);
    for column in (0..COLUMNS).filter(|column| columns & bit(*column) != 0) {
        for (key, _) in rows {
            put(&mut bytes, key[column].into());
        }
    }
    for field in 0..FIELDS {
        for (_, sum) in rows {
            put(&mut bytes, fields(sum, base)[field]);
        }
    }
    bytes
}

/// `None`: these bytes are no rows, or not so many.
pub(super) fn decode(
    mut bytes: &[u8],
    (columns, base): (u8, u64),
    count: usize,
) -> Option<Vec<(Key, Sum)>> {
    // Each has a byte at least.
    if count > bytes.len() {
        return None;
    }
    let mut rows = vec![([UNKNOWN; COLUMNS], told([0; FIELDS], base)); count];
    for column in (0..COLUMNS).filter(|column| columns & bit(*column) != 0) {
        for (key, _) in &mut rows {
            key[column] = u16::try_from(take(&mut bytes)?).ok()?;
        }
    }
    let set: [fn(&mut Sum, u64); FIELDS] = [
        |sum, it| sum.counts.flows = it,
        |sum, it| sum.counts.attempts = it,
        |sum, it| sum.counts.seen[0].0 = sum.counts.seen[0].0.wrapping_add(it),
        |sum, it| sum.counts.seen[1].0 = sum.counts.seen[0].0.wrapping_add(it),
        |sum, it| sum.traffic.sent_bytes = it,
        |sum, it| sum.traffic.sent_packets = it,
        |sum, it| sum.traffic.received_bytes = it,
        |sum, it| sum.traffic.received_packets = it,
    ];
    for set in set {
        for (_, sum) in &mut rows {
            set(sum, take(&mut bytes)?);
        }
    }
    bytes.is_empty().then_some(rows)
}

const FIELDS: usize = 8;

fn fields(Sum { counts, traffic }: &Sum, base: u64) -> [u64; FIELDS] {
    let [first, last] = counts.seen.map(|it| it.0);
    [
        counts.flows,
        counts.attempts,
        first.wrapping_sub(base),
        last.wrapping_sub(first),
        traffic.sent_bytes,
        traffic.sent_packets,
        traffic.received_bytes,
        traffic.received_packets,
    ]
}

fn told(fields: [u64; FIELDS], base: u64) -> Sum {
    let [flows, attempts, first, last, sent_bytes, sent_packets, received_bytes, received_packets] =
        fields;
    let first = base.wrapping_add(first);
    let seen = [first, first.wrapping_add(last)].map(Timestamp);
    let traffic = Traffic { sent_bytes, sent_packets, received_bytes, received_packets };
    Sum { counts: Counts { flows, attempts, seen }, traffic }
}

pub(super) fn put_sum(bytes: &mut Vec<u8>, sum: &Sum, base: u64) {
    for field in fields(sum, base) {
        put(bytes, field);
    }
}

pub(super) fn take_sum(bytes: &mut &[u8], base: u64) -> Option<Sum> {
    let mut fields = [0; FIELDS];
    for field in &mut fields {
        *field = take(bytes)?;
    }
    Some(told(fields, base))
}

/// Seven bits a byte, lowest first.
pub(super) fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

pub(super) fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

//! The stored form of sums: a file of each segment beside its database, read in parts. `docs/store-format.md` describes it; a change
//! needs a new version of the seal.

use std::{fs::File, io, os::unix::fs::FileExt as _, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    COLUMNS, Key, Loose, Needs, Noted, Sum, Sums, SumsBuilder, UNKNOWN,
    dictionary::Dictionary,
    kind::{StoredKind, stored_kind, told_kind},
    rolled::{OfHour, Rolled, RolledBy, RolledUp},
    table::{self, put, put_sum, take, take_sum},
    told::notices_of,
};
use crate::{
    event::{FlowId, User},
    store::index::group::encode,
    summary::Kind,
};

const COMPRESSION_LEVEL: i32 = 1;
/// Longest part of sums that is believed.
const UNPACKED_MAX: u64 = 64 << 20;

/// A part of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Loose,
    Rolled,
    RolledHours,
    Notices,
    Column(usize),
    Table(u8),
}

impl Part {
    fn number(self) -> u16 {
        match self {
            Self::Loose => 1,
            Self::Rolled => 2,
            Self::RolledHours => 3,
            Self::Notices => 4,
            Self::Column(column) => 8 + column as u16,
            Self::Table(columns) => 32 + u16::from(columns),
        }
    }
}

const BEGINS: u8 = 32;

/// These bytes are no sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store::index) struct Malformed;

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    segment: u32,
    end: u64,
    next_block: u64,
    /// Earliest instant that is told.
    base: u64,
    flows: Vec<(StoredKind, Vec<u8>)>,
    rollups: Vec<(StoredKind, Vec<u8>)>,
    loose: u32,
    /// Columns of loose flows, by bit.
    columns: u8,
    /// Columns of each table, and how many rows.
    tables: Vec<(u8, u32)>,
    /// Roll-ups are told by program, and by hour, too.
    has_programs: bool,
    has_hours: bool,
    /// All notices are told.
    has_notices: bool,
    /// Number and length of each part, in order; they follow the head.
    parts: Vec<(u16, u32)>,
}

/// A program, and the user's number and name.
type StoredProgram = (Arc<str>, Option<(u32, Option<Arc<str>>)>);
/// Place of the program, kind and sum of each row.
type StoredRolled = (Vec<StoredProgram>, Vec<(u16, StoredKind, Vec<u8>)>);

type StoredHours = Vec<(u32, StoredKind, Vec<u8>)>;

/// The whole file.
pub(super) fn encode_all(builder: &SumsBuilder) -> Vec<u8> {
    let (mut parts, mut bytes) = (Vec::new(), Vec::new());
    let mut put_part = |part: Part, unpacked: &[u8]| {
        let packed = pack(unpacked);
        parts.push((part.number(), packed.len() as u32));
        bytes.extend_from_slice(&packed);
    };
    let kinds = builder.kinds();
    let rollups = builder.rolled.kinds();
    let seen = kinds.iter().chain(&rollups).map(|(_, sum)| sum.counts.seen[0].0);
    let base = seen.chain(builder.loose.values().map(|it| it.sum.counts.seen[0].0)).min();
    let base = base.unwrap_or_default();
    let columns = builder.tables.columns();
    for column in (0..COLUMNS).filter(|column| columns & (1 << column) != 0) {
        put_part(Part::Column(column), builder.numberer.stored(column));
    }
    for table in builder.tables.iter() {
        let mut rows: Vec<(Key, Sum)> = table.rows().collect();
        rows.sort_unstable_by_key(|(key, _)| *key);
        put_part(Part::Table(table.columns()), &table::encode(&rows, table.columns(), base));
    }
    let mut loose: Vec<&Loose> = builder.loose.values().collect();
    loose.sort_unstable_by_key(|it| (it.sum.counts.seen[0], it.flow));
    put_part(Part::Loose, &loose_to_bytes(&loose, columns, base));
    let programs = builder.rolled.told(RolledBy::Program, 0, 0).filter(|it| !it.rows.is_empty());
    if let Some(rolled) = &programs {
        put_part(Part::Rolled, &rolled_to_bytes(rolled, base));
    }
    let hours = builder.rolled.hours().filter(|it| !it.is_empty());
    if let Some(hours) = &hours {
        put_part(Part::RolledHours, &hours_to_bytes(hours, base));
    }
    if let Some(notices) = builder.notices.stored() {
        put_part(Part::Notices, notices);
    }
    let stored = |kinds: &[(Kind, Sum)]| {
        kinds.iter().map(|(kind, sum)| (stored_kind(*kind), sum_to_bytes(sum, base))).collect()
    };
    let head = Head {
        segment: builder.segment,
        end: builder.end,
        next_block: builder.next_block,
        base,
        flows: stored(&kinds),
        rollups: stored(&rollups),
        loose: loose.len() as u32,
        columns,
        tables: builder.tables.iter().map(|it| (it.columns(), it.len() as u32)).collect(),
        has_programs: programs.is_some() || rollups.is_empty(),
        has_hours: hours.is_some() || rollups.is_empty(),
        has_notices: builder.notices.stored().is_some(),
        parts,
    };
    let head = encode(&head, Vec::new());
    let mut all = (head.len() as u32).to_le_bytes().to_vec();
    all.extend_from_slice(&head);
    all.extend_from_slice(&bytes);
    all
}

/// Length and compressed bytes.
fn pack(bytes: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    put(&mut packed, bytes.len() as u64);
    // Fails only where memory is out.
    packed.extend(zstd::bulk::compress(bytes, COMPRESSION_LEVEL).expect("a bounded buffer"));
    packed
}

/// `None`: they are not what was packed.
fn unpack(mut packed: &[u8]) -> Option<Vec<u8>> {
    let length = take(&mut packed).filter(|length| *length <= UNPACKED_MAX)?;
    let bytes = zstd::bulk::decompress(packed, length as usize).ok()?;
    (bytes.len() as u64 == length).then_some(bytes)
}

fn told_kinds(stored: &[(StoredKind, Vec<u8>)], base: u64) -> Option<Vec<(Kind, Sum)>> {
    let told =
        stored.iter().map(|(kind, sum)| Some((told_kind(*kind)?, sum_from_bytes(sum, base)?)));
    told.collect()
}

/// Where sums are read from: bytes from an offset on, fewer at the end.
pub(in crate::store::index) trait Source {
    fn read(&self, at: u64, length: usize) -> io::Result<Vec<u8>>;
}

impl Source for File {
    fn read(&self, at: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.read_exact_at(&mut bytes, at)?;
        Ok(bytes)
    }
}

impl From<io::Error> for Malformed {
    fn from(_: io::Error) -> Self {
        Self
    }
}

impl Head {
    fn read(source: &impl Source, segment: u32) -> Result<(Self, u64), Malformed> {
        let length = source.read(0, 4)?.try_into().map_err(|_| Malformed)?;
        let length = u32::from_le_bytes(length);
        if u64::from(length) > UNPACKED_MAX {
            return Err(Malformed);
        }
        let bytes = source.read(4, length as usize)?;
        let head: Self = postcard::from_bytes(&bytes).map_err(|_| Malformed)?;
        if head.segment != segment {
            return Err(Malformed);
        }
        Ok((head, 4 + u64::from(length)))
    }

    /// What a part is when it is not packed.
    fn part(&self, source: &impl Source, begin: u64, part: Part) -> Result<Vec<u8>, Malformed> {
        let mut at = begin;
        for (number, length) in &self.parts {
            if *number == part.number() {
                let packed = source.read(at, *length as usize)?;
                return unpack(&packed).ok_or(Malformed);
            }
            at += u64::from(*length);
        }
        Err(Malformed)
    }
}

/// The sums of a segment's flows; `None`: there are none that keep apart what is needed.
pub(in crate::store::index) fn sums(
    segment: u32,
    needs: Needs,
    source: &impl Source,
) -> Result<Option<Sums>, Malformed> {
    let (head, begin) = Head::read(source, segment)?;
    let (end, next_block) = (head.end, head.next_block);
    let has = |columns: u8| columns & needs.columns == needs.columns;
    let tables = head.tables.iter().filter(|(columns, _)| has(*columns));
    let table = tables.min_by_key(|(_, rows)| *rows).copied();
    if needs.columns != 0 && table.is_none() {
        return Ok(None);
    }
    let loose = head.part(source, begin, Part::Loose)?;
    let loose = loose_from_bytes(&loose, &head).ok_or(Malformed)?;
    let Some((columns, rows)) = table.filter(|_| needs.columns != 0) else {
        let kinds = told_kinds(&head.flows, head.base).ok_or(Malformed)?;
        return Ok(Some(Sums::of_kinds((end, next_block), &kinds, loose)));
    };
    let bytes = head.part(source, begin, Part::Table(columns))?;
    let flows = table::decode(&bytes, (columns, head.base), rows as usize).ok_or(Malformed)?;
    let mut dictionary = Dictionary::default();
    for column in (0..COLUMNS).filter(|column| needs.columns & (1 << column) != 0) {
        let bytes = head.part(source, begin, Part::Column(column))?;
        dictionary.take(column, &bytes).ok_or(Malformed)?;
    }
    let sums = Sums { end, next_block, dictionary, flows, loose };
    if sums.is_sound(needs) { Ok(Some(sums)) } else { Err(Malformed) }
}

/// The sums of a segment's roll-ups; `None`: there are none that keep apart what is needed.
pub(in crate::store::index) fn rolled(
    segment: u32,
    by: RolledBy,
    source: &impl Source,
) -> Result<Option<RolledUp>, Malformed> {
    let (head, begin) = Head::read(source, segment)?;
    let at = (head.end, head.next_block);
    if by == RolledBy::Kind || head.rollups.is_empty() {
        let kinds = told_kinds(&head.rollups, head.base).ok_or(Malformed)?;
        return Ok(Some(RolledUp::of_kinds(at, &kinds)));
    }
    let told = match by {
        RolledBy::Hour if head.has_hours => {
            let bytes = head.part(source, begin, Part::RolledHours)?;
            RolledUp::of_hours(at, hours_from_bytes(&bytes, head.base).ok_or(Malformed)?)
        }
        RolledBy::Program if head.has_programs => {
            let bytes = head.part(source, begin, Part::Rolled)?;
            rolled_from_bytes(&bytes, at, head.base).ok_or(Malformed)?
        }
        _ => return Ok(None),
    };
    Ok(Some(told))
}

/// The notices of a segment; `None`: they are not told.
pub(in crate::store::index) fn notices(
    segment: u32,
    source: &impl Source,
) -> Result<Option<Noted>, Malformed> {
    let (head, begin) = Head::read(source, segment)?;
    if !head.has_notices {
        return Ok(None);
    }
    let bytes = head.part(source, begin, Part::Notices)?;
    let notices = notices_of(&bytes).ok_or(Malformed)?;
    Ok(Some(Noted { end: head.end, notices }))
}

fn loose_to_bytes(all: &[&Loose], columns: u8, base: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(all.len() * 32);
    for Loose { flow, begins, kind, key, sum } in all {
        let start = sum.counts.seen[0].0;
        bytes.extend_from_slice(&(flow.0 as u64).to_le_bytes());
        put(&mut bytes, ((flow.0 >> 64) as u64).wrapping_sub(start));
        let (a, b, verdict) = stored_kind(*kind);
        bytes.extend([a, b, verdict | if *begins { BEGINS } else { 0 }]);
        for (column, number) in key.iter().enumerate() {
            if columns & (1 << column) != 0 {
                put(&mut bytes, (*number).into());
            }
        }
        put_sum(&mut bytes, sum, base);
    }
    bytes
}

fn loose_from_bytes(mut bytes: &[u8], head: &Head) -> Option<Vec<Loose>> {
    let mut all = Vec::with_capacity((head.loose as usize).min(bytes.len()));
    while !bytes.is_empty() {
        let (low, rest) = bytes.split_first_chunk::<8>()?;
        bytes = rest;
        let above = take(&mut bytes)?;
        let ([a, b, bits], rest) = bytes.split_first_chunk::<3>()?;
        bytes = rest;
        let mut key = [UNKNOWN; COLUMNS];
        for (column, number) in key.iter_mut().enumerate() {
            if head.columns & (1 << column) != 0 {
                *number = u16::try_from(take(&mut bytes)?).ok()?;
            }
        }
        let sum = take_sum(&mut bytes, head.base)?;
        let high = sum.counts.seen[0].0.wrapping_add(above);
        all.push(Loose {
            flow: FlowId(u128::from(high) << 64 | u128::from(u64::from_le_bytes(*low))),
            begins: bits & BEGINS != 0,
            kind: told_kind((*a, *b, bits & !BEGINS))?,
            key,
            sum,
        });
    }
    (all.len() == head.loose as usize).then_some(all)
}

fn rolled_to_bytes(rolled: &RolledUp, base: u64) -> Vec<u8> {
    let user = |user: &User| (user.id, user.name.clone());
    let programs =
        rolled.programs.iter().map(|(program, it)| (Arc::clone(program), it.as_ref().map(user)));
    let mut rows: Vec<(u16, StoredKind, Vec<u8>)> = rolled
        .rows
        .iter()
        .map(|(row, sum)| (row.program, stored_kind(row.kind), sum_to_bytes(sum, base)))
        .collect();
    rows.sort_unstable();
    let stored: StoredRolled = (programs.collect(), rows);
    encode(&stored, Vec::new())
}

fn rolled_from_bytes(bytes: &[u8], (end, next_block): (u64, u64), base: u64) -> Option<RolledUp> {
    let (programs, rows): StoredRolled = postcard::from_bytes(bytes).ok()?;
    let user = |(id, name): (u32, Option<Arc<str>>)| User { id, name };
    let programs: Vec<_> =
        programs.into_iter().map(|(program, it)| (program, it.map(user))).collect();
    let rows = rows.iter().map(|(program, kind, sum)| {
        programs.get(usize::from(*program))?;
        let row = Rolled { program: *program, hour: 0, kind: told_kind(*kind)? };
        Some((row, sum_from_bytes(sum, base)?))
    });
    let rows = rows.collect::<Option<_>>()?;
    Some(RolledUp { end, next_block, programs, rows })
}

fn hours_to_bytes(hours: &[(OfHour, Sum)], base: u64) -> Vec<u8> {
    let stored = hours
        .iter()
        .map(|((hour, kind), sum)| (*hour, stored_kind(*kind), sum_to_bytes(sum, base)));
    let mut stored: StoredHours = stored.collect();
    stored.sort_unstable();
    encode(&stored, Vec::new())
}

fn hours_from_bytes(bytes: &[u8], base: u64) -> Option<Vec<(OfHour, Sum)>> {
    let stored: StoredHours = postcard::from_bytes(bytes).ok()?;
    let told = |(hour, kind, sum): &(u32, StoredKind, Vec<u8>)| {
        Some(((*hour, told_kind(*kind)?), sum_from_bytes(sum, base)?))
    };
    stored.iter().map(told).collect()
}

fn sum_to_bytes(sum: &Sum, base: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_sum(&mut bytes, sum, base);
    bytes
}

fn sum_from_bytes(mut bytes: &[u8], base: u64) -> Option<Sum> {
    take_sum(&mut bytes, base).filter(|_| bytes.is_empty())
}

//! The file format of the embedded operator database: bytes <-> who runs which range.
//!
//! Little-endian throughout:
//! ```text
//!  0  8  magic "GEOFENOP"
//!  8  2  format version, 1
//! 10  2  countries: n, at most 253
//! 12  4  IPv4 ranges        16  4  IPv6 ranges
//! 20  4  autonomous systems: a
//! 24  4  c, bytes of the columns below once decompressed
//! 28  8  date of the data, seconds since 1970
//! 36  2  s, bytes of the source's name
//! 38  s  source, UTF-8
//!     2n two-letter codes: class 1 is the first; class 0 is "no country"
//!     .. one zstd frame: the systems, then IPv4, then IPv6 (below)
//!     32 SHA-256 of all bytes before
//! ```
//! Systems, four columns: how far its number lies above the one before, as LEB128; class of the
//! country it is registered in, a byte; class of the country most of its ranges are in, a byte; its
//! name, UTF-8, ended by a line feed.
//! Ranges, five columns: `t` and the rest of the distance as in `country`; 1 plus the place of the
//! system in the table, or 0, in three bytes; the country, a byte: 0 is that most of the system's
//! ranges are in, else 1 plus the class; the flags, a byte.

use std::borrow::Cow;

use crate::{
    AssetError, RANGES_MAX,
    columns::{Cursor, push_distances, push_leb128},
    seal::{Kind, decompress},
};

const KIND: Kind = Kind { magic: *b"GEOFENOP", version: 1, header: 38 };
/// Numbers have 32 bits, but only this many fit three bytes beside "none".
const SYSTEMS_MAX: usize = (1 << 24) - 1;
/// Bounds what decompressing may allocate.
const COLUMNS_MAX: usize = 64 << 20;

/// A flag of a range, as the source has it.
pub const ANYCAST: u8 = 4;
/// Every flag: 1 is an anonymous proxy, 2 by satellite, 8 hostile.
pub const FLAGS: u8 = 0b1111;

/// An autonomous system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct System<'a> {
    pub number: u32,
    /// Class of the country of its registrant.
    pub registered: u8,
    /// Class of the country most of its ranges are in.
    pub typical: u8,
    pub name: Cow<'a, str>,
}

/// Who runs a range, and where it is according to this source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Holding {
    /// 1 plus the place in the table; 0 is nobody known.
    pub system: u32,
    pub class: u8,
    pub flags: u8,
}

/// The file, decompressed and checked; what takes much memory is read from its columns one by one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roster {
    pub source: String,
    /// Date of the data, seconds since 1970.
    pub dated: u64,
    /// Of class 1 and up; ASCII upper case.
    pub codes: Vec<[u8; 2]>,
    /// Of the systems, strictly ascending.
    pub numbers: Vec<u32>,
    columns: Vec<u8>,
    /// Where the systems' countries begin, in the columns.
    systems: usize,
    v4: Family<u32>,
    v6: Family<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Family<K> {
    /// Strictly ascending from 0.
    starts: Vec<K>,
    /// Where the columns after these begin.
    rest: usize,
}

impl Roster {
    /// As many as `numbers`.
    pub fn systems(&self) -> impl Iterator<Item = System<'_>> {
        let mut cursor = Cursor(self.columns.get(self.systems..).unwrap_or_default());
        let mut column = || cursor.take(self.numbers.len()).unwrap_or_default();
        let (registered, typical) = (column(), column());
        // `decode` read the same lines.
        let names = cursor.lines(self.numbers.len()).unwrap_or_default().split('\n');
        let classes = registered.iter().zip(typical);
        self.numbers.iter().zip(classes).zip(names).map(|((number, classes), name)| System {
            number: *number,
            registered: *classes.0,
            typical: *classes.1,
            name: name.into(),
        })
    }

    /// Starts are addresses, strictly ascending from 0.
    pub fn ranges4(&self) -> impl Iterator<Item = (u64, Holding)> {
        self.ranges(&self.v4)
    }

    /// Starts are upper halves of addresses.
    pub fn ranges6(&self) -> impl Iterator<Item = (u64, Holding)> {
        self.ranges(&self.v6)
    }

    fn ranges<K: Copy + Into<u64>>(
        &self,
        family: &Family<K>,
    ) -> impl Iterator<Item = (u64, Holding)> {
        let known = self.numbers.len();
        let typical = self.columns.get(self.systems + known..).unwrap_or_default();
        let mut cursor = Cursor(self.columns.get(family.rest..).unwrap_or_default());
        // `decode` read the same columns.
        let rest = Rest::read(&mut cursor, family.starts.len()).unwrap_or_default();
        let holdings = rest.systems.iter().zip(rest.countries.iter().zip(rest.flags));
        family.starts.iter().zip(holdings).map(move |(start, (system, (country, flags)))| {
            let system = number(*system);
            let class = match (*country, system.checked_sub(1)) {
                (0, None) => 0,
                (0, Some(index)) => typical.get(index as usize).copied().unwrap_or(0),
                (other, _) => other - 1,
            };
            ((*start).into(), Holding { system, class, flags: *flags })
        })
    }
}

/// A family's columns after the starts.
#[derive(Clone, Copy, Default)]
struct Rest<'a> {
    systems: &'a [[u8; 3]],
    countries: &'a [u8],
    flags: &'a [u8],
}

impl<'a> Rest<'a> {
    fn read(cursor: &mut Cursor<'a>, count: usize) -> Result<Self, AssetError> {
        let systems = cursor.take(count * 3)?.as_chunks().0;
        Ok(Self { systems, countries: cursor.take(count)?, flags: cursor.take(count)? })
    }
}

fn number([a, b, c]: [u8; 3]) -> u32 {
    u32::from_le_bytes([a, b, c, 0])
}

/// Date of the data, seconds since 1970, of a file that is not damaged.
pub fn dated(bytes: &[u8]) -> Result<u64, AssetError> {
    KIND.dated(bytes)
}

/// Reads the file back; every invariant of [`Roster`] holds afterwards.
pub fn decode(bytes: &[u8]) -> Result<Roster, AssetError> {
    let mut cursor = KIND.open(bytes)?;
    let countries = usize::from(cursor.u16()?);
    let (v4, v6) = (cursor.u32()? as usize, cursor.u32()? as usize);
    let (systems, size) = (cursor.u32()? as usize, cursor.u32()? as usize);
    let dated = cursor.u64()?;
    let (source, codes) = cursor.names(countries)?;
    if countries > 253 {
        return Err(AssetError::Inconsistent("the country codes"));
    }
    if v4 > RANGES_MAX || v6 > RANGES_MAX || systems > SYSTEMS_MAX || size > COLUMNS_MAX {
        return Err(AssetError::Inconsistent("more than there can be"));
    }
    let columns = decompress(cursor.0, size)?;
    let mut cursor = Cursor(&columns);
    let numbers = read_numbers(&mut cursor, systems)?;
    let systems_at = columns.len() - cursor.0.len();
    let classes = cursor.take(2 * systems)?;
    if classes.iter().any(|class| usize::from(*class) > countries) {
        return Err(AssetError::Inconsistent("a system in a class without a country"));
    }
    cursor.lines(systems)?;
    let v4 = read_family(&mut cursor, columns.len(), v4, systems, countries)?;
    let v6 = read_family(&mut cursor, columns.len(), v6, systems, countries)?;
    if !cursor.0.is_empty() {
        return Err(AssetError::Inconsistent("bytes after the last column"));
    }
    Ok(Roster { source, dated, codes, numbers, systems: systems_at, v4, v6, columns })
}

fn read_numbers(cursor: &mut Cursor<'_>, count: usize) -> Result<Vec<u32>, AssetError> {
    let mut numbers = Vec::new();
    let mut number = 0_u64;
    for _ in 0..count {
        let distance = cursor.leb128()?;
        number = number.saturating_add(distance);
        let wrong = distance == 0 || number > u32::MAX.into();
        if wrong {
            return Err(AssetError::Inconsistent("the numbers of the systems"));
        }
        numbers.push(number as u32);
    }
    Ok(numbers)
}

/// `end`: of all columns.
fn read_family<K: TryFrom<u64>>(
    cursor: &mut Cursor<'_>,
    end: usize,
    count: usize,
    systems: usize,
    countries: usize,
) -> Result<Family<K>, AssetError> {
    let starts = cursor.starts(count)?;
    let family = Family { starts, rest: end - cursor.0.len() };
    let rest = Rest::read(cursor, count)?;
    let is_known = rest.systems.iter().all(|system| number(*system) as usize <= systems)
        && rest.countries.iter().all(|country| usize::from(*country) <= countries + 1);
    is_known.then_some(family).ok_or(AssetError::Inconsistent("a range of nobody or nowhere"))
}

/// What [`encode`] writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft<'a> {
    pub source: String,
    pub dated: u64,
    pub codes: Vec<[u8; 2]>,
    pub systems: Vec<System<'a>>,
    pub v4: Vec<(u64, Holding)>,
    pub v6: Vec<(u64, Holding)>,
}

/// Writes the file. The caller keeps the invariants of [`Roster`]; [`decode`] checks them.
pub fn encode(draft: &Draft<'_>) -> std::io::Result<Vec<u8>> {
    let mut columns = Vec::new();
    let mut before = 0;
    for system in &draft.systems {
        push_leb128(&mut columns, u64::from(system.number - before));
        before = system.number;
    }
    columns.extend(draft.systems.iter().map(|system| system.registered));
    columns.extend(draft.systems.iter().map(|system| system.typical));
    for system in &draft.systems {
        columns.extend(system.name.bytes().map(|byte| if byte == b'\n' { b' ' } else { byte }));
        columns.push(b'\n');
    }
    push_ranges(&mut columns, &draft.v4, &draft.systems);
    push_ranges(&mut columns, &draft.v6, &draft.systems);
    let counts = [draft.v4.len(), draft.v6.len(), draft.systems.len(), columns.len()];
    KIND.seal(&counts, draft.dated, &draft.source, &draft.codes, &columns)
}

fn push_ranges(out: &mut Vec<u8>, ranges: &[(u64, Holding)], systems: &[System<'_>]) {
    push_distances(out, &|| ranges.windows(2).map(|pair| pair[1].0 - pair[0].0));
    out.extend(ranges.iter().flat_map(|(_, it)| it.system.to_le_bytes().into_iter().take(3)));
    out.extend(ranges.iter().map(|(_, it)| {
        let system = it.system.checked_sub(1).and_then(|index| systems.get(index as usize));
        if it.class == system.map_or(0, |system| system.typical) { 0 } else { it.class + 1 }
    }));
    out.extend(ranges.iter().map(|(_, it)| it.flags));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::seal::{HASH, rehashed};

    fn draft() -> impl Strategy<Value = Draft<'static>> {
        let family = |top: u64| {
            let holding = (0_u32..=3, 0_u8..=3, 0_u8..16);
            prop::collection::btree_map(1..=top, holding, 0..40).prop_map(|map| {
                let ranges = map.into_iter().map(|(start, (system, class, flags))| {
                    (start, Holding { system, class, flags })
                });
                [(0, Holding::default())].into_iter().chain(ranges).collect::<Vec<_>>()
            })
        };
        let systems = prop::collection::btree_map(1..=u32::MAX, ("[^\n]{0,9}", 0_u8..=3), 3..6);
        (family(u32::MAX.into()), family(u64::MAX), systems, ".{0,20}", any::<u64>()).prop_map(
            |(v4, v6, systems, source, dated)| Draft {
                source,
                dated,
                codes: vec![*b"CN", *b"DE", *b"US"],
                systems: systems
                    .into_iter()
                    .map(|(number, (name, typical))| System {
                        number,
                        registered: 1,
                        typical,
                        name: name.into(),
                    })
                    .collect(),
                v4,
                v6,
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes_to_the_same(draft in draft()) {
            let roster = decode(&encode(&draft).unwrap()).unwrap();
            prop_assert_eq!(roster.ranges4().collect::<Vec<_>>(), draft.v4);
            prop_assert_eq!(roster.ranges6().collect::<Vec<_>>(), draft.v6);
            prop_assert!(roster.systems().eq(draft.systems));
            prop_assert_eq!(roster.source, draft.source);
        }

        #[test]
        fn a_cut_or_flipped_file_is_an_error(
            draft in draft(), at in any::<prop::sample::Index>(), bit in 0..8,
        ) {
            let whole = encode(&draft).unwrap();
            let mut flipped = whole.clone();
            flipped[at.index(whole.len())] ^= 1_u8 << bit;
            prop_assert!(decode(&flipped).is_err());
            prop_assert!(decode(&whole[..at.index(whole.len())]).is_err());
        }

        #[test]
        fn damage_under_a_right_hash_never_breaks_an_invariant(
            draft in draft(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
        ) {
            let mut bytes = encode(&draft).unwrap();
            let at = at.index(bytes.len() - HASH);
            bytes[at] = byte;
            if let Ok(roster) = decode(&rehashed(bytes)) {
                let families: [Vec<_>; 2] = [roster.ranges4().collect(), roster.ranges6().collect()];
                for all in families {
                    prop_assert!(all.is_sorted_by(|a, b| a.0 < b.0));
                    let systems = roster.numbers.len();
                    let countries = roster.codes.len();
                    prop_assert!(all.iter().all(|(_, it)| it.system as usize <= systems
                        && usize::from(it.class) <= countries));
                }
            }
        }
    }
}

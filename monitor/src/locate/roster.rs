//! The file format of the embedded operator database: bytes <-> who runs which range, both
//! directions. Like `asset`, whose columns it shares, it is compiled by `xtask` too, and must not
//! trust a byte of what it decodes.
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
//! Ranges, five columns: `t` and the rest of the distance as in `asset`; 1 plus the place of the
//! system in the table, or 0, in three bytes; the country, a byte: 0 is that most of the system's
//! ranges are in, else 1 plus the class; the flags, a byte.

use sha2::{Digest, Sha256};

use super::asset::{AssetError, Cursor, HASH, LEVEL, RANGES_MAX, push_distances};

const MAGIC: [u8; 8] = *b"GEOFENOP";
const VERSION: u16 = 1;
const HEADER: usize = 38;
/// Numbers have 32 bits, but only this many fit three bytes beside "none".
const SYSTEMS_MAX: usize = (1 << 24) - 1;
/// Bounds what decompressing may allocate.
const COLUMNS_MAX: usize = 64 << 20;

/// A flag of a range, as the source has it.
#[allow(dead_code, reason = "the daemon asks")]
pub(super) const ANYCAST: u8 = 4;
/// Every flag: 1 is an anonymous proxy, 2 by satellite, 8 hostile.
#[allow(dead_code, reason = "xtask checks that it knows every flag of the source")]
pub(super) const FLAGS: u8 = 0b1111;

/// An autonomous system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct System {
    pub(super) number: u32,
    /// Class of the country of its registrant.
    pub(super) registered: u8,
    /// Class of the country most of its ranges are in.
    pub(super) typical: u8,
    pub(super) name: String,
}

/// Who runs a range, and where it is according to this source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Holding {
    /// 1 plus the place in the table; 0 is nobody known.
    pub(super) system: u32,
    pub(super) class: u8,
    pub(super) flags: u8,
}

/// The file, decompressed and checked; ranges are read from it one by one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Roster {
    pub(super) source: String,
    /// Date of the data, seconds since 1970.
    pub(super) dated: u64,
    /// Of class 1 and up; ASCII upper case.
    pub(super) codes: Vec<[u8; 2]>,
    /// Ascending by number.
    pub(super) systems: Vec<System>,
    columns: Vec<u8>,
    /// Where a family's columns begin, and how many ranges it has.
    v4: (usize, usize),
    v6: (usize, usize),
}

impl Roster {
    /// Starts are addresses, strictly ascending from 0.
    pub(super) fn ranges4(&self) -> Holdings<'_> {
        self.ranges(self.v4)
    }

    /// Starts are upper halves of addresses.
    pub(super) fn ranges6(&self) -> Holdings<'_> {
        self.ranges(self.v6)
    }

    fn ranges(&self, (at, count): (usize, usize)) -> Holdings<'_> {
        let columns = self.columns.get(at..).unwrap_or_default();
        // `decode` read the same columns to their end.
        Holdings::new(&mut Cursor(columns), count, &self.systems).unwrap_or_default()
    }
}

/// Ranges in order of their starts.
#[derive(Clone, Debug, Default)]
pub(super) struct Holdings<'a> {
    systems: &'a [System],
    shifts: &'a [u8],
    distances: &'a [u8],
    numbers: &'a [u8],
    countries: &'a [u8],
    flags: &'a [u8],
    at: usize,
    start: u64,
}

impl<'a> Holdings<'a> {
    /// Takes a family's columns off `cursor`. The distances are not checked before they are read.
    fn new(
        cursor: &mut Cursor<'a>,
        count: usize,
        systems: &'a [System],
    ) -> Result<Self, AssetError> {
        if count == 0 {
            return Err(AssetError::Inconsistent("a family without ranges"));
        }
        let shifts = cursor.take(count - 1)?;
        let distances = cursor.0;
        for _ in shifts {
            cursor.leb128()?;
        }
        let numbers = cursor.take(count * 3)?;
        let (countries, flags) = (cursor.take(count)?, cursor.take(count)?);
        Ok(Self { systems, shifts, distances, numbers, countries, flags, at: 0, start: 0 })
    }

    fn read(&mut self) -> Result<Option<(u64, Holding)>, AssetError> {
        let Some((&country, &flags)) = self.countries.get(self.at).zip(self.flags.get(self.at))
        else {
            return Ok(None);
        };
        if let Some(&shift) = self.at.checked_sub(1).and_then(|before| self.shifts.get(before)) {
            let mut cursor = Cursor(self.distances);
            self.start = cursor.start_after(self.start, shift)?;
            self.distances = cursor.0;
        }
        let number = self.numbers.get(self.at * 3..).and_then(<[u8]>::first_chunk::<3>);
        let [a, b, c] = *number.ok_or(AssetError::Truncated)?;
        let system = u32::from_le_bytes([a, b, c, 0]);
        let class = match (country, system.checked_sub(1)) {
            (0, None) => 0,
            (0, Some(index)) => self.systems.get(index as usize).map_or(0, |it| it.typical),
            (other, _) => other - 1,
        };
        self.at += 1;
        Ok(Some((self.start, Holding { system, class, flags })))
    }
}

impl Iterator for Holdings<'_> {
    type Item = (u64, Holding);

    fn next(&mut self) -> Option<Self::Item> {
        // `decode` read every range once and found no error.
        self.read().ok().flatten()
    }
}

/// Reads the file back; every invariant of [`Roster`] holds afterwards.
pub(super) fn decode(bytes: &[u8]) -> Result<Roster, AssetError> {
    if bytes.len() < HEADER + HASH {
        return Err(AssetError::Truncated);
    }
    let (body, hash) = bytes.split_at(bytes.len() - HASH);
    let mut cursor = Cursor(body);
    if cursor.take(8)? != MAGIC {
        return Err(AssetError::Foreign);
    }
    let version = cursor.u16()?;
    if version != VERSION {
        return Err(AssetError::Version(version));
    }
    if Sha256::digest(body).as_slice() != hash {
        return Err(AssetError::Damaged);
    }
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
    let columns = zstd::bulk::decompress(cursor.0, size)
        .map_err(|error| AssetError::Compression(error.to_string()))?;
    let mut cursor = Cursor(&columns);
    let systems = read_systems(&mut cursor, systems, countries)?;
    let v4_at = columns.len() - cursor.0.len();
    check(Holdings::new(&mut cursor, v4, &systems)?, &systems, countries, u32::MAX.into())?;
    let v6_at = columns.len() - cursor.0.len();
    check(Holdings::new(&mut cursor, v6, &systems)?, &systems, countries, u64::MAX)?;
    if !cursor.0.is_empty() {
        return Err(AssetError::Inconsistent("bytes after the last column"));
    }
    let (v4, v6) = ((v4_at, v4), (v6_at, v6));
    Ok(Roster { source, dated, codes, systems, columns, v4, v6 })
}

fn read_systems(
    cursor: &mut Cursor<'_>,
    count: usize,
    countries: usize,
) -> Result<Vec<System>, AssetError> {
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
    let (registered, typical) = (cursor.take(count)?, cursor.take(count)?);
    if registered.iter().chain(typical).any(|class| usize::from(*class) > countries) {
        return Err(AssetError::Inconsistent("a system in a class without a country"));
    }
    let mut systems = Vec::with_capacity(count);
    for (number, (registered, typical)) in numbers.into_iter().zip(registered.iter().zip(typical)) {
        let length =
            cursor.0.iter().position(|byte| *byte == b'\n').ok_or(AssetError::Truncated)?;
        let name = str::from_utf8(cursor.take(length)?)
            .map_err(|_| AssetError::Inconsistent("a name is not UTF-8"))?;
        cursor.take(1)?;
        let name = name.to_owned();
        systems.push(System { number, registered: *registered, typical: *typical, name });
    }
    Ok(systems)
}

/// Reads every range once.
fn check(
    mut ranges: Holdings<'_>,
    systems: &[System],
    countries: usize,
    last: u64,
) -> Result<(), AssetError> {
    while let Some((start, holding)) = ranges.read()? {
        if start > last {
            return Err(AssetError::Inconsistent("a start beyond the address space"));
        }
        if holding.system as usize > systems.len() || usize::from(holding.class) > countries {
            return Err(AssetError::Inconsistent("a range of nobody or nowhere"));
        }
    }
    Ok(())
}

/// What [`encode`] writes.
#[allow(dead_code, reason = "the daemon reads; xtask and tests write")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Draft {
    pub(super) source: String,
    pub(super) dated: u64,
    pub(super) codes: Vec<[u8; 2]>,
    pub(super) systems: Vec<System>,
    pub(super) v4: Vec<(u64, Holding)>,
    pub(super) v6: Vec<(u64, Holding)>,
}

/// Writes the file. The caller keeps the invariants of [`Roster`]; [`decode`] checks them.
#[allow(dead_code, reason = "as above")]
pub(super) fn encode(draft: &Draft) -> std::io::Result<Vec<u8>> {
    let mut columns = Vec::new();
    let mut before = 0;
    for system in &draft.systems {
        super::asset::push_leb128(&mut columns, u64::from(system.number - before));
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
    let source = &draft.source.as_bytes()[..draft.source.len().min(usize::from(u16::MAX))];
    let mut out = MAGIC.to_vec();
    out.extend(VERSION.to_le_bytes());
    out.extend((draft.codes.len() as u16).to_le_bytes());
    let counts = [draft.v4.len(), draft.v6.len(), draft.systems.len(), columns.len()];
    out.extend(counts.into_iter().flat_map(|count| (count as u32).to_le_bytes()));
    out.extend(draft.dated.to_le_bytes());
    out.extend((source.len() as u16).to_le_bytes());
    out.extend(source);
    out.extend(draft.codes.as_flattened());
    out.extend(zstd::bulk::compress(&columns, LEVEL)?);
    let hash = Sha256::digest(&out);
    out.extend(hash.as_slice());
    Ok(out)
}

#[allow(dead_code, reason = "as above")]
fn push_ranges(out: &mut Vec<u8>, ranges: &[(u64, Holding)], systems: &[System]) {
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

    fn draft() -> impl Strategy<Value = Draft> {
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
                        name,
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
            prop_assert_eq!((roster.systems, roster.source), (draft.systems, draft.source));
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
            let body = bytes.len() - HASH;
            bytes[at.index(body)] = byte;
            bytes.truncate(body);
            let hash = Sha256::digest(&bytes);
            bytes.extend(hash.as_slice());
            if let Ok(roster) = decode(&bytes) {
                for ranges in [roster.ranges4(), roster.ranges6()] {
                    let all: Vec<_> = ranges.collect();
                    prop_assert!(all.is_sorted_by(|a, b| a.0 < b.0));
                    let systems = roster.systems.len();
                    let countries = roster.codes.len();
                    prop_assert!(all.iter().all(|(_, it)| it.system as usize <= systems
                        && usize::from(it.class) <= countries));
                }
            }
        }
    }
}

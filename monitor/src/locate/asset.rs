//! The file format of the embedded country database: bytes <-> sorted ranges, both directions.
//! Self-contained, because `xtask` compiles this very file to write the asset. It must not trust a
//! byte of what it decodes.
//!
//! Little-endian throughout:
//! ```text
//!  0  8  magic "GEOFENCE"
//!  8  2  format version, 1
//! 10  2  countries: n, at most 255
//! 12  4  IPv4 ranges        16  4  IPv6 ranges
//! 20  8  date of the data, seconds since 1970
//! 28  2  s, bytes of the source's name
//! 30  s  source, UTF-8
//!     2n two-letter codes: class 1 is the first; class 0 is "no country"
//!     .. one zstd frame: for IPv4, then IPv6, three columns (below)
//!     32 SHA-256 of all bytes before
//! ```
//! The first range of a family starts at 0. Of every other one the distance `d > 0` from the start
//! before is kept: column 1 has `t`, its trailing zero bits, a byte each; column 2 has `d >> t >> 1`
//! as LEB128. Column 3 has every range's class, a byte each. An IPv6 start is the upper 64 bits.

use sha2::{Digest, Sha256};

const MAGIC: [u8; 8] = *b"GEOFENCE";
const VERSION: u16 = 1;
/// More ranges than this in one family is no database of ours; bounds what decoding may allocate.
pub(super) const RANGES_MAX: usize = 1 << 21;

const HEADER: usize = 30;
pub(super) const HASH: usize = 32;
pub(super) const LEVEL: i32 = 19;

/// Ranges of one family: `starts` strictly ascending from 0, as many `classes`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ranges<K> {
    pub(super) starts: Vec<K>,
    pub(super) classes: Vec<u8>,
}

/// What the file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Asset {
    /// Name of the data and of the package it is from.
    pub(super) source: String,
    /// Date of the data, seconds since 1970.
    pub(super) dated: u64,
    /// Of class 1 and up; ASCII upper case.
    pub(super) codes: Vec<[u8; 2]>,
    pub(super) v4: Ranges<u32>,
    pub(super) v6: Ranges<u64>,
}

/// Why the bytes are no database.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum AssetError {
    #[error("too short, or cut off")]
    Truncated,
    #[error("not a country database of geofenced")]
    Foreign,
    #[error("format version {0}, this program reads {VERSION}")]
    Version(u16),
    #[error("its SHA-256 does not match: it is damaged")]
    Damaged,
    #[error("inconsistent: {0}")]
    Inconsistent(&'static str),
    #[error("cannot be decompressed: {0}")]
    Compression(String),
}

/// Reads the file back; every invariant of [`Asset`] holds afterwards.
pub(super) fn decode(bytes: &[u8]) -> Result<Asset, AssetError> {
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
    let (v4_count, v6_count) = (cursor.u32()? as usize, cursor.u32()? as usize);
    let dated = cursor.u64()?;
    let (source, codes) = cursor.names(countries)?;
    if v4_count > RANGES_MAX || v6_count > RANGES_MAX {
        return Err(AssetError::Inconsistent("more ranges than there can be"));
    }
    // The longest form: two single bytes and a LEB128 of 32 or 64 bits.
    let at_most = v4_count * (2 + 5) + v6_count * (2 + 10);
    let columns = zstd::bulk::decompress(cursor.0, at_most)
        .map_err(|error| AssetError::Compression(error.to_string()))?;
    let mut cursor = Cursor(&columns);
    let v4 = ranges(&mut cursor, v4_count, countries)?;
    let v6 = ranges(&mut cursor, v6_count, countries)?;
    if !cursor.0.is_empty() {
        return Err(AssetError::Inconsistent("bytes after the last column"));
    }
    Ok(Asset { source, dated, codes, v4, v6 })
}

/// Writes the file. The caller keeps the invariants of [`Asset`]; [`decode`] checks them.
#[allow(dead_code, reason = "the daemon reads; xtask and tests write")]
pub(super) fn encode(asset: &Asset) -> std::io::Result<Vec<u8>> {
    let mut columns = Vec::new();
    push_columns(&mut columns, &asset.v4);
    push_columns(&mut columns, &asset.v6);
    let source = &asset.source.as_bytes()[..asset.source.len().min(usize::from(u16::MAX))];
    let mut out = MAGIC.to_vec();
    out.extend(VERSION.to_le_bytes());
    out.extend((asset.codes.len() as u16).to_le_bytes());
    out.extend((asset.v4.starts.len() as u32).to_le_bytes());
    out.extend((asset.v6.starts.len() as u32).to_le_bytes());
    out.extend(asset.dated.to_le_bytes());
    out.extend((source.len() as u16).to_le_bytes());
    out.extend(source);
    out.extend(asset.codes.as_flattened());
    out.extend(zstd::bulk::compress(&columns, LEVEL)?);
    let hash = Sha256::digest(&out);
    out.extend(hash.as_slice());
    Ok(out)
}

const TOO_FAR: AssetError = AssetError::Inconsistent("a start beyond the address space");

fn ranges<K: TryFrom<u64>>(
    cursor: &mut Cursor<'_>,
    count: usize,
    countries: usize,
) -> Result<Ranges<K>, AssetError> {
    if count == 0 {
        return Err(AssetError::Inconsistent("a family without ranges"));
    }
    let shifts = cursor.take(count - 1)?;
    let mut starts = Vec::with_capacity(count);
    let mut start = 0_u64;
    starts.push(K::try_from(start).map_err(|_| TOO_FAR)?);
    for &shift in shifts {
        start = cursor.start_after(start, shift)?;
        starts.push(K::try_from(start).map_err(|_| TOO_FAR)?);
    }
    let classes = cursor.take(count)?.to_vec();
    if classes.iter().any(|class| usize::from(*class) > countries) {
        return Err(AssetError::Inconsistent("a class without a country"));
    }
    Ok(Ranges { starts, classes })
}

#[allow(dead_code, reason = "as above")]
fn push_columns<K: Copy + Into<u64>>(out: &mut Vec<u8>, ranges: &Ranges<K>) {
    push_distances(out, &|| ranges.starts.windows(2).map(|pair| pair[1].into() - pair[0].into()));
    out.extend(&ranges.classes);
}

/// Columns 1 and 2. No distance is 0.
#[allow(dead_code, reason = "as above")]
pub(super) fn push_distances<I: Iterator<Item = u64>>(
    out: &mut Vec<u8>,
    distances: &dyn Fn() -> I,
) {
    out.extend(distances().map(|distance| distance.trailing_zeros() as u8));
    for distance in distances() {
        push_leb128(out, distance >> distance.trailing_zeros() >> 1);
    }
}

#[allow(dead_code, reason = "as above")]
pub(super) fn push_leb128(out: &mut Vec<u8>, mut rest: u64) {
    while rest > 0x7f {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// What is left to read.
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], AssetError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(AssetError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], AssetError> {
        self.take(N)?.try_into().map_err(|_| AssetError::Truncated)
    }

    pub(super) fn u16(&mut self) -> Result<u16, AssetError> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, AssetError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, AssetError> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn leb128(&mut self) -> Result<u64, AssetError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.array::<1>()?[0];
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                break;
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(AssetError::Inconsistent("a number of more than 64 bits"))
    }

    /// The start after `start`, by the next distance of column 2.
    pub(super) fn start_after(&mut self, start: u64, shift: u8) -> Result<u64, AssetError> {
        // `distance >> shift` is odd and not 0, so the starts ascend strictly.
        let odd = u128::from(self.leb128()?) * 2 + 1;
        if shift > 63 || odd << shift > u128::from(u64::MAX) {
            return Err(TOO_FAR);
        }
        start.checked_add((odd << shift) as u64).ok_or(TOO_FAR)
    }

    /// The source's name with its length before it, and the codes of `countries` classes.
    pub(super) fn names(&mut self, countries: usize) -> Result<(String, Vec<[u8; 2]>), AssetError> {
        let bytes = usize::from(self.u16()?);
        let source = str::from_utf8(self.take(bytes)?)
            .map_err(|_| AssetError::Inconsistent("the source's name is not UTF-8"))?
            .to_owned();
        let codes: Vec<[u8; 2]> =
            self.take(2 * countries)?.chunks_exact(2).map(|code| [code[0], code[1]]).collect();
        if countries > 255 || !codes.as_flattened().iter().all(u8::is_ascii_uppercase) {
            return Err(AssetError::Inconsistent("the country codes"));
        }
        Ok((source, codes))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn asset() -> impl Strategy<Value = Asset> {
        let family = |top: u64| {
            prop::collection::btree_map(1..=top, 0_u8..=3, 0..40).prop_map(|map| {
                let (mut starts, mut classes) = (vec![0], vec![1]);
                starts.extend(map.keys());
                classes.extend(map.values());
                Ranges { starts, classes }
            })
        };
        (family(u64::from(u32::MAX)), family(u64::MAX), ".{0,20}", any::<u64>()).prop_map(
            |(v4, v6, source, dated)| Asset {
                source,
                dated,
                codes: vec![*b"CN", *b"DE", *b"US"],
                v4: Ranges {
                    starts: v4.starts.iter().map(|start| *start as u32).collect(),
                    classes: v4.classes,
                },
                v6,
            },
        )
    }

    /// The file with its hash made right again, so that what is behind the hash is tested.
    fn rehashed(mut bytes: Vec<u8>) -> Vec<u8> {
        let body = bytes.len().saturating_sub(HASH);
        bytes.truncate(body);
        let hash = Sha256::digest(&bytes);
        bytes.extend(hash.as_slice());
        bytes
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes_to_the_same(asset in asset()) {
            prop_assert_eq!(decode(&encode(&asset).unwrap()), Ok(asset));
        }

        #[test]
        fn a_cut_or_flipped_file_is_an_error(
            asset in asset(), at in any::<prop::sample::Index>(), bit in 0..8,
        ) {
            let whole = encode(&asset).unwrap();
            let mut flipped = whole.clone();
            flipped[at.index(whole.len())] ^= 1_u8 << bit;
            prop_assert!(decode(&flipped).is_err());
            prop_assert!(decode(&whole[..at.index(whole.len())]).is_err());
        }

        #[test]
        fn damage_under_a_right_hash_never_breaks_an_invariant(
            asset in asset(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
        ) {
            let mut bytes = encode(&asset).unwrap();
            let at = at.index(bytes.len() - HASH);
            bytes[at] = byte;
            if let Ok(asset) = decode(&rehashed(bytes)) {
                prop_assert!(asset.v4.starts.is_sorted_by(|a, b| a < b));
                prop_assert!(asset.v6.starts.is_sorted_by(|a, b| a < b));
                prop_assert_eq!(asset.v4.starts.len(), asset.v4.classes.len());
                prop_assert_eq!(asset.v6.starts.len(), asset.v6.classes.len());
                let top = asset.codes.len();
                let classes = asset.v4.classes.iter().chain(&asset.v6.classes);
                prop_assert!(classes.into_iter().all(|class| usize::from(*class) <= top));
            }
        }

        #[test]
        fn columns_of_any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut cursor = Cursor(&bytes);
            let _ = ranges::<u32>(&mut cursor, 20, 3);
            let mut cursor = Cursor(&bytes);
            if let Ok(ranges) = ranges::<u64>(&mut cursor, 20, 255) {
                prop_assert!(ranges.starts.is_sorted_by(|a, b| a < b));
            }
        }
    }

    #[test]
    fn another_version_says_which() {
        let mut bytes = vec![0; HEADER + HASH];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8] = 9;
        assert_eq!(decode(&bytes), Err(AssetError::Version(9)));
        bytes[0] = 0;
        assert_eq!(decode(&bytes), Err(AssetError::Foreign));
    }
}

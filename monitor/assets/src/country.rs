//! The file format of the embedded country database: bytes <-> sorted ranges.
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

use crate::{
    AssetError, RANGES_MAX,
    columns::{Cursor, push_distances},
    seal::{Kind, decompress},
};

const KIND: Kind = Kind { magic: *b"GEOFENCE", version: 1, header: 30 };

/// Ranges of one family: `starts` strictly ascending from 0, as many `classes`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges<K> {
    pub starts: Vec<K>,
    pub classes: Vec<u8>,
}

/// What the file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asset {
    /// Name of the data and of the package it is from.
    pub source: String,
    /// Date of the data, seconds since 1970.
    pub dated: u64,
    /// Of class 1 and up; ASCII upper case.
    pub codes: Vec<[u8; 2]>,
    pub v4: Ranges<u32>,
    pub v6: Ranges<u64>,
}

/// Date of the data, seconds since 1970, of a file that is not damaged.
pub fn dated(bytes: &[u8]) -> Result<u64, AssetError> {
    KIND.dated(bytes)
}

/// Reads the file back; every invariant of [`Asset`] holds afterwards.
pub fn decode(bytes: &[u8]) -> Result<Asset, AssetError> {
    let mut cursor = KIND.open(bytes)?;
    let countries = usize::from(cursor.u16()?);
    let (v4_count, v6_count) = (cursor.u32()? as usize, cursor.u32()? as usize);
    let dated = cursor.u64()?;
    let (source, codes) = cursor.names(countries)?;
    if v4_count > RANGES_MAX || v6_count > RANGES_MAX {
        return Err(AssetError::Inconsistent("more ranges than there can be"));
    }
    // The longest form: two single bytes and a LEB128 of 32 or 64 bits.
    let at_most = v4_count * (2 + 5) + v6_count * (2 + 10);
    let columns = decompress(cursor.0, at_most)?;
    let mut cursor = Cursor(&columns);
    let v4 = ranges(&mut cursor, v4_count, countries)?;
    let v6 = ranges(&mut cursor, v6_count, countries)?;
    if !cursor.0.is_empty() {
        return Err(AssetError::Inconsistent("bytes after the last column"));
    }
    Ok(Asset { source, dated, codes, v4, v6 })
}

/// Writes the file. The caller keeps the invariants of [`Asset`]; [`decode`] checks them.
pub fn encode(asset: &Asset) -> std::io::Result<Vec<u8>> {
    let mut columns = Vec::new();
    push_columns(&mut columns, &asset.v4);
    push_columns(&mut columns, &asset.v6);
    let counts = [asset.v4.starts.len(), asset.v6.starts.len()];
    KIND.seal(&counts, asset.dated, &asset.source, &asset.codes, &columns)
}

fn ranges<K: TryFrom<u64>>(
    cursor: &mut Cursor<'_>,
    count: usize,
    countries: usize,
) -> Result<Ranges<K>, AssetError> {
    let starts = cursor.starts(count)?;
    let classes = cursor.take(count)?.to_vec();
    if classes.iter().any(|class| usize::from(*class) > countries) {
        return Err(AssetError::Inconsistent("a class without a country"));
    }
    Ok(Ranges { starts, classes })
}

fn push_columns<K: Copy + Into<u64>>(out: &mut Vec<u8>, ranges: &Ranges<K>) {
    push_distances(out, &|| ranges.starts.windows(2).map(|pair| pair[1].into() - pair[0].into()));
    out.extend(&ranges.classes);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::seal::{HASH, rehashed};

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
        let mut bytes = vec![0; KIND.header + HASH];
        bytes[..8].copy_from_slice(&KIND.magic);
        bytes[8] = 9;
        assert_eq!(decode(&bytes), Err(AssetError::Version { found: 9, known: 1 }));
        bytes[0] = 0;
        assert_eq!(decode(&bytes), Err(AssetError::Foreign));
    }
}

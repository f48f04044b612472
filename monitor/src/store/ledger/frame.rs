//! The bytes around the records: segment header and block head. `docs/store-format.md` describes
//! them; a change here needs a new [`VERSION`]. Nothing here reads or writes files.

use crate::event::{
    BootId, CountryCode, Entry, Lookup, Moment, Notice, Timeline, Timestamp, Verdict,
};

/// Format version of the segments written.
pub(crate) const VERSION: u32 = 2;
/// The one before: its headers tell no boot and no trust.
const WITHOUT_BOOT: u32 = 1;
pub(crate) const SEGMENT_MAGIC: [u8; 8] = *b"GFLEDGER";
pub(crate) const BLOCK_MAGIC: [u8; 4] = *b"GFBK";
/// Of the header in every version: what comes behind has a checksum of its own.
pub(crate) const SEGMENT_HEADER_BYTES: usize = 72;
/// Of the longest header.
pub(crate) const SEGMENT_HEADER_MAX: usize = 104;
const TRUSTED: u8 = 1;
pub(crate) const HEAD_BYTES: usize = 128;
/// Most entries of a block.
pub(crate) const ENTRIES_MAX: usize = 1024;
/// Longest payload that is believed. The writer stays far below.
pub(crate) const PAYLOAD_MAX: u32 = 16 << 20;
/// Longest decompressed payload that is believed.
pub(crate) const RAW_MAX: u32 = 64 << 20;
/// Highest number of a block that is believed: counting on from there can't overflow.
pub(crate) const NUMBER_MAX: u64 = 1 << 62;

/// SHA-256 of a segment header or of a whole block.
pub(crate) type Hash = [u8; 32];

pub(crate) fn hash(parts: &[&[u8]]) -> Hash {
    use sha2::Digest as _;
    let mut hasher = sha2::Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// First bytes of a segment file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub segment: u32,
    /// Number of the first block that will stand here.
    pub first_block: u64,
    pub created: Created,
    /// Of the last block (or else header) of the segment before; zero in the first.
    pub previous: Hash,
}

/// When a segment was begun, and so the one before ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Created {
    At(Moment),
    /// By a version that did not tell more.
    Wall(Timestamp),
}

impl Created {
    pub(crate) fn wall(&self) -> Timestamp {
        match self {
            Self::At(moment) => moment.wall(),
            Self::Wall(wall) => *wall,
        }
    }
}

/// Why bytes are no segment header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderFault {
    Damaged,
    Newer(u32),
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; SEGMENT_HEADER_BYTES];
        let version = match self.created {
            Created::At(_) => VERSION,
            Created::Wall(_) => WITHOUT_BOOT,
        };
        bytes[0..8].copy_from_slice(&SEGMENT_MAGIC);
        bytes[8..12].copy_from_slice(&version.to_le_bytes());
        bytes[16..24].copy_from_slice(&u64::from(self.segment).to_le_bytes());
        bytes[24..32].copy_from_slice(&self.first_block.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.created.wall().0.to_le_bytes());
        bytes[40..72].copy_from_slice(&self.previous);
        let crc = crc_without(&bytes, 12);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        if let Created::At(Moment { boot_ns, timeline }) = self.created {
            let mut more = [0; SEGMENT_HEADER_MAX - SEGMENT_HEADER_BYTES];
            more[0..16].copy_from_slice(&timeline.boot.0);
            more[16..24].copy_from_slice(&boot_ns.to_le_bytes());
            more[24] = if timeline.is_trusted { TRUSTED } else { 0 };
            let crc = crc_without(&more, 28);
            more[28..32].copy_from_slice(&crc.to_le_bytes());
            bytes.extend_from_slice(&more);
        }
        bytes
    }

    /// Of the header; the first block stands behind it.
    pub(crate) fn bytes(&self) -> u64 {
        match self.created {
            Created::At(_) => SEGMENT_HEADER_MAX as u64,
            Created::Wall(_) => SEGMENT_HEADER_BYTES as u64,
        }
    }

    /// `bytes`: up to [`SEGMENT_HEADER_MAX`] of the beginning of the file.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, HeaderFault> {
        let (bytes, more) =
            bytes.split_at_checked(SEGMENT_HEADER_BYTES).ok_or(HeaderFault::Damaged)?;
        // The checksum stands at the same place in every version, so that a newer format is told
        // from damage.
        if bytes[0..8] != SEGMENT_MAGIC || u32_at(bytes, 12) != crc_without(bytes, 12) {
            return Err(HeaderFault::Damaged);
        }
        let wall = Timestamp(u64_at(bytes, 32));
        let created = match u32_at(bytes, 8) {
            WITHOUT_BOOT => Created::Wall(wall),
            VERSION => Created::At(moment(wall, more).ok_or(HeaderFault::Damaged)?),
            version => return Err(HeaderFault::Newer(version)),
        };
        let first_block = u64_at(bytes, 24);
        if first_block > NUMBER_MAX {
            return Err(HeaderFault::Damaged);
        }
        Ok(Self {
            segment: u32::try_from(u64_at(bytes, 16)).map_err(|_| HeaderFault::Damaged)?,
            first_block,
            created,
            previous: hash_at(bytes, 40),
        })
    }
}

/// What a header tells of the clocks behind its first part.
fn moment(wall: Timestamp, more: &[u8]) -> Option<Moment> {
    let more = more.get(..SEGMENT_HEADER_MAX - SEGMENT_HEADER_BYTES)?;
    if u32_at(more, 28) != crc_without(more, 28) {
        return None;
    }
    let boot_ns = u64_at(more, 16);
    let timeline = Timeline {
        boot: BootId(more.first_chunk().copied()?),
        wall_at_boot_ns: wall.0.wrapping_sub(boot_ns).cast_signed(),
        is_trusted: more[24] & TRUSTED != 0,
    };
    Some(Moment { boot_ns, timeline })
}

/// What a block holds, told without opening it. An empty kind has `first > last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Summary {
    pub flows: u16,
    /// Of those, the ones with a revision above 0: an earlier block may hold an older state.
    pub restated: u16,
    pub rollups: u16,
    pub notices: u16,
    /// Bit by [`verdict_bit`], of flows and roll-ups.
    pub verdicts: u8,
    /// A mark is among the notices. The index does not keep it: marks are looked for by heads.
    #[serde(skip)]
    pub holds_marks: bool,
    /// Bloom filter of one bit a country, of flows and roll-ups.
    pub countries: u128,
    /// Earliest start of a flow, nanoseconds since the epoch.
    pub first: u64,
    /// Latest `last_at` (or start) of a flow.
    pub last: u64,
    /// Latest start of a flow.
    pub latest_start: u64,
    /// Earliest instant of a roll-up's hour or a notice.
    pub other_first: u64,
    /// Latest instant of a roll-up's hour or a notice.
    pub other_last: u64,
}

impl Default for Summary {
    fn default() -> Self {
        Self {
            flows: 0,
            restated: 0,
            rollups: 0,
            notices: 0,
            verdicts: 0,
            holds_marks: false,
            countries: 0,
            first: u64::MAX,
            last: 0,
            latest_start: 0,
            other_first: u64::MAX,
            other_last: 0,
        }
    }
}

/// Last nanosecond of an hour that starts at `start`.
pub(crate) fn hour_end(start: Timestamp) -> Timestamp {
    Timestamp(start.0.saturating_add(3_600_000_000_000 - 1))
}

impl Summary {
    pub(crate) fn add(&mut self, entry: &Entry) {
        match entry {
            Entry::Flow(record) => {
                let egress = &record.egress;
                self.flows += 1;
                self.restated += u16::from(egress.revision > 0);
                self.first = self.first.min(egress.started_at.0);
                self.last = self.last.max(egress.last_at.0).max(egress.started_at.0);
                self.latest_start = self.latest_start.max(egress.started_at.0);
                self.verdicts |= verdict_bit(record.judgement.verdict);
                self.countries |= record.place.country.code().map_or(0, country_bit);
            }
            Entry::Rollup(rollup) => {
                self.rollups += 1;
                self.other(rollup.hour, hour_end(rollup.hour));
                self.verdicts |= verdict_bit(rollup.verdict);
                self.countries |= rollup.country.code().map_or(0, country_bit);
            }
            // The head has no number of their own for lookups.
            Entry::Notice { at, .. } | Entry::Lookup(Lookup { at, .. }) => {
                self.notices += 1;
                self.holds_marks |= matches!(entry, Entry::Notice { notice: Notice::Mark(_), .. });
                self.other(*at, *at);
            }
        }
    }

    fn other(&mut self, first: Timestamp, last: Timestamp) {
        self.other_first = self.other_first.min(first.0);
        self.other_last = self.other_last.max(last.0);
    }

    pub(crate) fn entries(&self) -> usize {
        usize::from(self.flows) + usize::from(self.rollups) + usize::from(self.notices)
    }
}

pub(crate) const fn verdict_bit(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Unapproved => 1,
        Verdict::Unknown => 2,
        Verdict::Approved => 4,
        Verdict::Local => 8,
    }
}

/// The country's number (AA = 0, AB = 1, ... ZZ = 675), modulo 127.
pub(crate) fn country_bit(country: CountryCode) -> u128 {
    let [a, b] = country.bytes();
    let number = u32::from(a - b'A') * 26 + u32::from(b - b'A');
    1 << (number % 127)
}

/// In byte 29 of a head, which is 0 in blocks of versions without marks.
const HOLDS_MARKS: u8 = 1;

/// In byte 30, which is 0 in blocks of versions that did not tell.
const FOLLOWS_UNSYNCED: u8 = 1;

/// Head of a block: fixed length, own checksum, so that blocks are skipped unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub payload_bytes: u32,
    pub raw_bytes: u32,
    pub payload_crc: u32,
    /// Counts up through the whole ledger.
    pub number: u64,
    /// Of the block before, or of the header of this segment.
    pub previous: Hash,
    /// The block before was not durable yet when this one was closed.
    pub follows_unsynced: bool,
    pub summary: Summary,
}

impl Head {
    pub(crate) fn encode(&self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        let summary = &self.summary;
        bytes[0..4].copy_from_slice(&BLOCK_MAGIC);
        bytes[8..12].copy_from_slice(&self.payload_bytes.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.raw_bytes.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.payload_crc.to_le_bytes());
        bytes[20..22].copy_from_slice(&summary.flows.to_le_bytes());
        bytes[22..24].copy_from_slice(&summary.restated.to_le_bytes());
        bytes[24..26].copy_from_slice(&summary.rollups.to_le_bytes());
        bytes[26..28].copy_from_slice(&summary.notices.to_le_bytes());
        bytes[28] = summary.verdicts;
        bytes[29] = if summary.holds_marks { HOLDS_MARKS } else { 0 };
        bytes[30] = if self.follows_unsynced { FOLLOWS_UNSYNCED } else { 0 };
        bytes[32..40].copy_from_slice(&self.number.to_le_bytes());
        bytes[40..72].copy_from_slice(&self.previous);
        bytes[72..88].copy_from_slice(&summary.countries.to_le_bytes());
        for (at, value) in [
            (88, summary.first),
            (96, summary.last),
            (104, summary.latest_start),
            (112, summary.other_first),
            (120, summary.other_last),
        ] {
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        let crc = crc_without(&bytes, 4);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// `None` where these bytes are no whole head.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; HEAD_BYTES] = bytes.get(..HEAD_BYTES)?.try_into().ok()?;
        if bytes[0..4] != BLOCK_MAGIC || u32_at(bytes, 4) != crc_without(bytes, 4) {
            return None;
        }
        let mut countries = [0; 16];
        countries.copy_from_slice(&bytes[72..88]);
        let head = Self {
            payload_bytes: u32_at(bytes, 8),
            raw_bytes: u32_at(bytes, 12),
            payload_crc: u32_at(bytes, 16),
            number: u64_at(bytes, 32),
            previous: hash_at(bytes, 40),
            follows_unsynced: bytes[30] & FOLLOWS_UNSYNCED != 0,
            summary: Summary {
                flows: u16_at(bytes, 20),
                restated: u16_at(bytes, 22),
                rollups: u16_at(bytes, 24),
                notices: u16_at(bytes, 26),
                verdicts: bytes[28],
                holds_marks: bytes[29] & HOLDS_MARKS != 0,
                countries: u128::from_le_bytes(countries),
                first: u64_at(bytes, 88),
                last: u64_at(bytes, 96),
                latest_start: u64_at(bytes, 104),
                other_first: u64_at(bytes, 112),
                other_last: u64_at(bytes, 120),
            },
        };
        let is_believed = head.payload_bytes <= PAYLOAD_MAX
            && head.raw_bytes <= RAW_MAX
            && head.number <= NUMBER_MAX;
        is_believed.then_some(head)
    }

    /// Bytes of the whole block.
    pub(crate) fn block_bytes(&self) -> u64 {
        HEAD_BYTES as u64 + u64::from(self.payload_bytes)
    }
}

/// CRC-32 (IEEE 802.3) of `bytes` with the four at `at` taken as zero.
fn crc_without(bytes: &[u8], at: usize) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..at]);
    hasher.update(&[0; 4]);
    hasher.update(&bytes[at + 4..]);
    hasher.finalize()
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

fn hash_at(bytes: &[u8], at: usize) -> Hash {
    let mut hash = [0; 32];
    hash.copy_from_slice(&bytes[at..at + 32]);
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Head {
        let summary = Summary {
            flows: 1000,
            restated: 3,
            rollups: 20,
            notices: 4,
            verdicts: 5,
            holds_marks: true,
            countries: 1 << 100 | 7,
            first: 11,
            last: 22,
            latest_start: 21,
            other_first: 9,
            other_last: 33,
        };
        Head {
            payload_bytes: 77,
            raw_bytes: 999,
            payload_crc: 0xDEAD_BEEF,
            number: 1 << 40,
            previous: [7; 32],
            follows_unsynced: true,
            summary,
        }
    }

    #[test]
    fn a_head_is_read_as_it_was_written_and_refused_with_any_bit_changed() {
        let bytes = head().encode();
        assert_eq!(Head::decode(&bytes), Some(head()));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Head::decode(&damaged), None, "bit {bit}");
        }
    }

    #[test]
    fn a_block_number_that_cannot_be_counted_on_from_is_not_believed() {
        let last = Head { number: NUMBER_MAX, ..head() };
        assert_eq!(Head::decode(&last.encode()), Some(last));
        let beyond = Head { number: NUMBER_MAX + 1, ..head() };
        assert_eq!(Head::decode(&beyond.encode()), None);
        let header = SegmentHeader {
            segment: 1,
            first_block: u64::MAX,
            created: Created::Wall(Timestamp(0)),
            previous: [0; 32],
        };
        assert_eq!(SegmentHeader::decode(&header.encode()), Err(HeaderFault::Damaged));
    }

    #[test]
    fn a_newer_segment_is_told_from_a_damaged_one() {
        let created = Created::Wall(Timestamp(5));
        let header = SegmentHeader { segment: 3, first_block: 99, created, previous: [1; 32] };
        let mut bytes = header.encode();
        assert_eq!(SegmentHeader::decode(&bytes), Ok(header));
        bytes[8] = 3;
        assert_eq!(SegmentHeader::decode(&bytes), Err(HeaderFault::Damaged));
        let crc = crc_without(&bytes, 12);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&bytes), Err(HeaderFault::Newer(3)));
    }

    #[test]
    fn a_header_tells_boot_and_trust_and_is_refused_with_any_bit_changed() {
        let timeline = Timeline { boot: BootId([7; 16]), wall_at_boot_ns: -3, is_trusted: true };
        let created = Created::At(Moment { boot_ns: 9, timeline });
        let header = SegmentHeader { segment: 3, first_block: 99, created, previous: [1; 32] };
        let bytes = header.encode();
        assert_eq!(bytes.len() as u64, header.bytes());
        assert_eq!(SegmentHeader::decode(&bytes), Ok(header));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::decode(&damaged), Err(HeaderFault::Damaged), "bit {bit}");
        }
        assert_eq!(SegmentHeader::decode(&bytes[..103]), Err(HeaderFault::Damaged));
    }
}

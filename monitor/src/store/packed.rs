//! Entries in as few bytes as a block of a ledger takes, for whoever keeps some of them beside one. Neither signed
//! nor chained: what is in it proves nothing.

use super::stored::{Payload, decode};
use crate::event::Entry;

const LEVEL: i32 = 3;
/// Checksum, count and length before compression.
const HEAD_BYTES: usize = 12;
/// No more is unpacked, whatever the head says.
const RAW_MOST: usize = 256 << 20;

pub fn pack<'e>(entries: impl IntoIterator<Item = &'e Entry>) -> Vec<u8> {
    let (mut payload, mut count) = (Payload::default(), 0_u32);
    for entry in entries {
        payload.push(entry);
        count += 1;
    }
    let raw = payload.finish();
    let packed = zstd::bulk::compress(&raw, LEVEL).unwrap_or_default();
    let mut bytes = vec![0; 4];
    bytes.extend_from_slice(&count.to_le_bytes());
    bytes.extend_from_slice(&(raw.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&packed);
    let crc = crc32fast::hash(&bytes[4..]);
    bytes[..4].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// `None`: these bytes are not what was packed.
pub fn unpack(bytes: &[u8]) -> Option<Vec<Entry>> {
    let (head, packed) = bytes.split_at_checked(HEAD_BYTES)?;
    let number = |at: usize| Some(u32::from_le_bytes(*head[at..].first_chunk()?));
    if number(0)? != crc32fast::hash(&bytes[4..]) {
        return None;
    }
    let raw_bytes = (number(8)? as usize).min(RAW_MOST);
    let raw = zstd::bulk::decompress(packed, raw_bytes).ok()?;
    decode(&raw, number(4)? as usize).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::history::History;

    #[test]
    fn what_is_packed_comes_back_and_what_was_altered_does_not() {
        let mut entries = History::new(4).entries(300);
        entries.retain(|it| matches!(it, Entry::Notice { .. }));
        let mut packed = pack(&entries);
        assert!(unpack(&packed).is_some(), "unreadable");
        assert!(unpack(&packed) == Some(entries), "other entries");
        assert_eq!(unpack(&pack(&[])), Some(Vec::new()));
        for at in 0..packed.len() {
            packed[at] ^= 1;
            assert_eq!(unpack(&packed), None, "byte {at}");
            packed[at] ^= 1;
        }
        assert_eq!(unpack(&packed[..HEAD_BYTES - 1]), None);
    }
}

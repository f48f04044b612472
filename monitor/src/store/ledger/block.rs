//! One block: filled entry by entry, closed into bytes; and its payload back into entries. No files.

use super::frame::{ENTRIES_MAX, HEAD_BYTES, Hash, Head, RAW_MAX, Summary, hash};
use crate::{
    event::Entry,
    store::{
        record::{RecordError, StoredEntry, from_stored, to_stored},
        tables::{Interner, StoredTables, Tables},
    },
};

/// A block is full when its payload is about this long before compression.
const RAW_FULL: usize = 1 << 20;
const COMPRESSION_LEVEL: i32 = 3;

/// A block being filled.
#[derive(Debug, Default)]
pub(super) struct Builder {
    base: u64,
    interner: Interner,
    entries: Vec<u8>,
    summary: Summary,
}

impl Builder {
    pub(super) fn is_empty(&self) -> bool {
        self.summary.entries() == 0
    }

    pub(super) fn is_full(&self) -> bool {
        self.summary.entries() >= ENTRIES_MAX || self.bytes() >= RAW_FULL
    }

    /// Of its payload, before compression.
    pub(super) fn bytes(&self) -> usize {
        self.entries.len() + self.interner.bytes()
    }

    pub(super) fn entries(&self) -> usize {
        self.summary.entries()
    }

    pub(super) fn push(&mut self, entry: &Entry) {
        if let (true, Entry::Flow(record)) = (self.base == 0, entry) {
            self.base = record.egress.started_at.0;
        }
        let stored = to_stored(entry, self.base, &mut self.interner);
        self.summary.add(entry);
        let buffer = std::mem::take(&mut self.entries);
        self.entries = encode(&stored, buffer);
    }

    /// Texts that were too long.
    pub(super) fn texts_cut(&self) -> u64 {
        self.interner.cut()
    }

    /// Appends the whole block to `tail`; gives its hash.
    pub(super) fn close(mut self, number: u64, previous: Hash, tail: &mut Vec<u8>) -> Hash {
        let mut raw = encode(&self.base, Vec::with_capacity(self.entries.len() * 2));
        raw = encode(&self.interner.stored(), raw);
        // Entries were encoded against `base` as it was then: those before the first flow have none.
        raw.extend_from_slice(&self.entries);
        let payload = compress(&raw);
        let head = Head {
            payload_bytes: payload.len() as u32,
            raw_bytes: raw.len() as u32,
            payload_crc: crc32fast::hash(&payload),
            number,
            previous,
            summary: self.summary,
        };
        let head = head.encode();
        debug_assert_eq!(head.len(), HEAD_BYTES);
        tail.extend_from_slice(&head);
        tail.extend_from_slice(&payload);
        hash(&[&head, &payload])
    }
}

/// Lets whole blocks continue `previous` instead of what they continued; gives the hash of the last.
pub(super) fn chain(blocks: &mut [u8], mut previous: Hash) -> Hash {
    let mut rest = blocks;
    while let Some(mut head) = Head::decode(rest) {
        head.previous = previous;
        let bytes = head.block_bytes() as usize;
        let Some((block, after)) = std::mem::take(&mut rest).split_at_mut_checked(bytes) else {
            break;
        };
        block[..HEAD_BYTES].copy_from_slice(&head.encode());
        previous = hash(&[block]);
        rest = after;
    }
    previous
}

fn encode(value: &impl serde::Serialize, into: Vec<u8>) -> Vec<u8> {
    // Serializing these types to memory has no way to fail: no maps of unknown length, no
    // serializer errors of their own.
    postcard::to_extend(value, into).expect("stored forms always serialize")
}

fn compress(raw: &[u8]) -> Vec<u8> {
    // Fails only where the output buffer is short or memory is out; the bound makes it long enough.
    zstd::bulk::compress(raw, COMPRESSION_LEVEL).expect("a bounded buffer always compresses")
}

/// The entries of a payload whose checksum is right.
pub(super) fn decode(head: &Head, payload: &[u8]) -> Result<Vec<Entry>, RecordError> {
    if head.raw_bytes > RAW_MAX {
        return Err(RecordError::Malformed);
    }
    let raw = zstd::bulk::decompress(payload, head.raw_bytes as usize)
        .map_err(|_| RecordError::Malformed)?;
    let (base, rest) =
        postcard::take_from_bytes::<u64>(&raw).map_err(|_| RecordError::Malformed)?;
    let (tables, mut rest) =
        postcard::take_from_bytes::<StoredTables<'_>>(rest).map_err(|_| RecordError::Malformed)?;
    let mut tables = Tables::from_stored(&tables)?;
    let count = head.summary.entries();
    let mut entries = Vec::with_capacity(count.min(ENTRIES_MAX));
    for _ in 0..count {
        let (entry, after) =
            postcard::take_from_bytes::<StoredEntry>(rest).map_err(|_| RecordError::Malformed)?;
        entries.push(from_stored(entry, base, &mut tables)?);
        rest = after;
    }
    if rest.is_empty() { Ok(entries) } else { Err(RecordError::Malformed) }
}

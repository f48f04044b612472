//! One block: filled entry by entry, closed into bytes; and its payload back into entries. No files.

use std::cell::RefCell;

use zstd::bulk::Decompressor;

use super::frame::{ENTRIES_MAX, HEAD_BYTES, Hash, Head, RAW_MAX, Summary, hash};
use crate::{
    event::Entry,
    evidence,
    store::stored::{self, FlowState, FormError, Payload, Wanted, decode},
};

/// A block is full when its payload is about this long before compression.
const RAW_FULL: usize = 1 << 20;
const COMPRESSION_LEVEL: i32 = 3;

/// A block being filled.
#[derive(Debug, Default)]
pub(super) struct Builder {
    payload: Payload,
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
        self.payload.bytes()
    }

    pub(super) fn entries(&self) -> usize {
        self.summary.entries()
    }

    pub(super) fn push(&mut self, entry: &Entry) {
        self.payload.push(entry);
        self.summary.add(entry);
    }

    /// Texts that were too long.
    pub(super) fn texts_cut(&self) -> u64 {
        self.payload.texts_cut()
    }

    /// Appends the whole block to `tail`, of which nothing is durable yet; gives its hash.
    pub(super) fn close(self, number: u64, previous: Hash, tail: &mut Vec<u8>) -> Hash {
        let raw = self.payload.finish();
        let payload = compress(&raw);
        let head = Head {
            payload_bytes: payload.len() as u32,
            raw_bytes: raw.len() as u32,
            payload_crc: crc32fast::hash(&payload),
            number,
            previous,
            follows_unsynced: !tail.is_empty(),
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

/// Number and leaf of each whole block of these.
pub(super) fn leaves(blocks: &[u8]) -> Vec<(u64, evidence::Hash)> {
    let (mut leaves, mut rest) = (Vec::new(), blocks);
    while let Some((head, after)) = rest.split_first_chunk::<HEAD_BYTES>()
        && let Some(decoded) = Head::decode(head)
        && let Some((payload, after)) = after.split_at_checked(decoded.payload_bytes as usize)
    {
        leaves.push((decoded.number, evidence::leaf(head, payload)));
        rest = after;
    }
    leaves
}

fn compress(raw: &[u8]) -> Vec<u8> {
    // Fails only where the output buffer is short or memory is out; the bound makes it long enough.
    zstd::bulk::compress(raw, COMPRESSION_LEVEL).expect("a bounded buffer always compresses")
}

/// The entries of a payload whose checksum is right.
pub(in crate::store) fn entries(head: &Head, payload: &[u8]) -> Result<Vec<Entry>, FormError> {
    decode(&decompress(head, payload)?, head.summary.entries())
}

/// The flows in it, decoded where they are wanted.
pub(super) fn flows(
    head: &Head,
    payload: &[u8],
    wanted: Wanted<'_>,
) -> Result<Vec<FlowState>, FormError> {
    stored::flows(&decompress(head, payload)?, head.summary.entries(), wanted)
}

/// What a payload is when it is not compressed.
pub(super) fn decompress(head: &Head, payload: &[u8]) -> Result<Vec<u8>, FormError> {
    thread_local! {
        // Making one anew takes as long as a fifth of a block.
        static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
    }
    if head.raw_bytes > RAW_MAX {
        return Err(FormError::Malformed);
    }
    DECOMPRESSOR.with_borrow_mut(|kept| {
        let decompressor = match kept {
            Some(kept) => kept,
            None => kept.insert(Decompressor::new().map_err(|_| FormError::Malformed)?),
        };
        let raw = decompressor.decompress(payload, head.raw_bytes as usize);
        raw.map_err(|_| FormError::Malformed)
    })
}

//! The notices of a segment, beside its sums: coverage, policies and who watched are asked of all of them, and some block
//! in each minute has one. Kept as the ledger has them, block by block. Nothing here reads or writes files.

use crate::{
    event::{Entry, Notice, Timestamp},
    store::stored::{Payload, decode},
};

/// Most bytes of a segment's notices. With more they are read from its blocks.
const BYTES_MAX: usize = if cfg!(test) { 2048 } else { 1 << 20 };

/// How many notices a block has, and their payload.
type OfBlock<'a> = (u32, &'a [u8]);

#[derive(Debug, Default)]
pub(super) struct Notices {
    stored: Vec<u8>,
    has_too_many: bool,
}

impl Notices {
    /// Those of the next block. `one_in`: of the bytes that there may be, one in so many.
    pub(super) fn add(&mut self, entries: &[Entry], one_in: usize) {
        if self.has_too_many {
            return;
        }
        let (mut payload, mut count) = (Payload::default(), 0_u32);
        for entry in entries.iter().filter(|entry| matches!(entry, Entry::Notice { .. })) {
            payload.push(entry);
            count += 1;
        }
        if count > 0 {
            let stored = std::mem::take(&mut self.stored);
            let of_block: OfBlock<'_> = (count, &payload.finish());
            self.stored = crate::store::index::group::encode(&of_block, stored);
        }
        if self.stored.len() > BYTES_MAX / one_in.max(1) {
            *self = Self { stored: Vec::new(), has_too_many: true };
        }
    }

    /// `None`: there are too many.
    pub(super) fn stored(&self) -> Option<&[u8]> {
        (!self.has_too_many).then_some(&self.stored)
    }
}

/// In the order of the ledger; `None`: these bytes are no notices.
pub(super) fn notices_of(mut stored: &[u8]) -> Option<Vec<(Timestamp, Notice)>> {
    let mut notices = Vec::new();
    while !stored.is_empty() {
        let ((count, payload), rest) = postcard::take_from_bytes::<OfBlock<'_>>(stored).ok()?;
        for entry in decode(payload, count as usize).ok()? {
            match entry {
                Entry::Notice { at, notice } => notices.push((at, notice)),
                _ => return None,
            }
        }
        stored = rest;
    }
    Some(notices)
}

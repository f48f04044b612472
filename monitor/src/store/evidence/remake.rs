//! Leaves out of the ledger, where its segments are there: those that were not on the disk when the power
//! went, and those that somebody altered. It changes no file.

use std::{ops::ControlFlow, path::Path};

use super::leaves::NONE;
use crate::{
    evidence::{self, Hash},
    store::{
        error::StoreError,
        files::{segment_path, segments},
        ledger::segment::Segment,
    },
};

/// Lets the leaves from this number on be those of the blocks that are there; the others stay as they are.
pub(super) fn remake(ledger: &Path, from: u64, leaves: &mut [Hash]) -> Result<(), StoreError> {
    if from >= leaves.len() as u64 {
        return Ok(());
    }
    let numbers = segments(ledger).map_err(StoreError::io("list", ledger))?;
    // From the last on: most of it is not asked for.
    for number in numbers.into_iter().rev() {
        let path = segment_path(ledger, number);
        let failed = |error| StoreError::io("read", &path)(error);
        let Some(mut segment) = Segment::open(ledger, number).map_err(failed)? else { continue };
        let first = segment.header().map_err(failed)?.ok().map(|header| header.first_block);
        let mut blocks = Vec::new();
        let walked = segment.walk(0, |at, head| {
            blocks.push((at, *head));
            ControlFlow::Continue(())
        });
        walked.map_err(failed)?;
        for (at, head) in blocks.into_iter().filter(|(_, head)| head.number >= from) {
            let Some(leaf) = leaves.get_mut(head.number as usize) else { continue };
            let raw = segment.raw(at, &head).map_err(failed)?;
            let whole = raw.filter(|(_, payload)| crc32fast::hash(payload) == head.payload_crc);
            if let Some((head, payload)) = whole {
                *leaf = evidence::leaf(&head, &payload);
            }
        }
        if first.is_some_and(|first| first <= from) {
            break;
        }
    }
    Ok(())
}

/// As many as there are blocks: those found, and none for the rest.
pub(super) fn fitted(found: &[Hash], blocks: u64) -> Vec<Hash> {
    let mut leaves = found.to_vec();
    leaves.resize(blocks as usize, NONE);
    leaves
}

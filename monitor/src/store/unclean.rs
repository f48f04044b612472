//! What the end of a ledger says of a daemon that ended without a word: flows of which nobody saw the
//! end. It reads that end alone, newest first, and changes nothing.

use rustc_hash::FxHashMap;

use super::{
    error::StoreError,
    scan::{QueryStats, Scan},
};
use crate::event::{Entry, FlowId, Notice, Phase, Timestamp};

/// Most that is read, which takes about a second: the start waits for it.
const READ_MAX: u64 = 32 << 20;
/// Flows that are told apart: as many as the kernel counts at once by default.
const FLOWS_MAX: usize = 262_144;

/// Of a daemon that did not say that it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unclean {
    /// Its last word.
    pub at: Timestamp,
    /// Flows that had sent and were not over. A lower bound, where there is more to read than is read.
    pub flows: u64,
}

/// `None` where there was none, or that was told.
pub(super) fn look(scan: &Scan) -> Result<Option<Unclean>, StoreError> {
    let mut seen: FxHashMap<FlowId, bool> = FxHashMap::default();
    let (mut last_word, mut read) = (None, 0);
    let mut stats = QueryStats::default();
    'ledger: for number in scan.segments()?.into_iter().rev() {
        let mut heads = Vec::new();
        scan.walk(number, 0, true, &mut stats, |at, head| heads.push((at, *head)))?;
        let Some(segment) = scan.segment(number)? else { continue };
        for (at, head) in heads.into_iter().rev() {
            for entry in scan.entries(&segment, at, &head, &mut stats)?.into_iter().rev() {
                match entry {
                    Entry::Flow(record) if record.egress.phase == Phase::Sent => {
                        let is_open = record.egress.ended_at.is_none();
                        seen.entry(record.egress.flow).or_insert(is_open);
                    }
                    Entry::Notice {
                        notice: Notice::Stopped | Notice::LostSight { .. }, ..
                    } => {
                        return Ok(None);
                    }
                    Entry::Notice { at, notice: Notice::Started { .. } } => {
                        last_word.get_or_insert(at);
                        break 'ledger;
                    }
                    Entry::Notice { at, notice: Notice::Alive } => {
                        last_word.get_or_insert(at);
                    }
                    _ => {}
                }
            }
            read += head.block_bytes();
            if read > READ_MAX || seen.len() > FLOWS_MAX {
                break 'ledger;
            }
        }
    }
    let flows = seen.values().filter(|is_open| **is_open).count() as u64;
    Ok(last_word.map(|at| Unclean { at, flows }))
}

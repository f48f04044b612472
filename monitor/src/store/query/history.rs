//! All that the ledger holds of a window, entry by entry in its order, each block read once: for answers that
//! are about what came after what. It keeps nothing. A thread of its own reads and unpacks ahead.

use std::sync::mpsc::{Receiver, sync_channel};

use super::{MANY_BLOCKS, Reader};
use crate::{
    event::Timestamp,
    filter::Filter,
    store::{
        error::StoreError,
        files::segment_path,
        ledger::frame::{Head, Summary},
        memory,
        scan::QueryStats,
        stored::{self, Seen},
    },
};

/// Blocks that are unpacked ahead, some 100 kB each.
const AHEAD: usize = 8;

/// A block, unpacked; nothing if it is damaged.
type Unpacked = (Head, std::io::Result<Option<Vec<u8>>>);

impl Reader {
    /// Tells each state of each flow, and all else, of the blocks that may hold something of the window. More is
    /// told than is in it: who asks looks at each.
    pub fn history(
        &self,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
        mut each: impl FnMut(Seen<'_>),
    ) -> Result<QueryStats, StoreError> {
        let span = Filter { since, until, ..Filter::default() };
        let mut stats = QueryStats::default();
        for (number, is_newest) in self.segments_with(&span, |it| it.blocks)? {
            let mut blocks: Vec<(u64, Head)> = Vec::new();
            self.scan().walk(number, 0, is_newest, &mut stats, |at, head| {
                if holds(&head.summary, &span) {
                    blocks.push((at, *head));
                }
            })?;
            let Some(segment) = self.scan().segment(number)? else { continue };
            let (unpacked, receiver) = sync_channel::<Unpacked>(AHEAD);
            std::thread::scope(|scope| {
                scope.spawn(move || {
                    for (at, head) in blocks {
                        if unpacked.send((head, segment.unpacked(at, &head))).is_err() {
                            // Nobody takes it: the answer has ended.
                            break;
                        }
                    }
                });
                self.tell(number, receiver, &mut stats, &mut each)
            })?;
        }
        if stats.blocks_read > MANY_BLOCKS {
            memory::release();
        }
        Ok(stats)
    }

    fn tell(
        &self,
        segment: u32,
        blocks: Receiver<Unpacked>,
        stats: &mut QueryStats,
        each: &mut impl FnMut(Seen<'_>),
    ) -> Result<(), StoreError> {
        let path = || segment_path(self.scan().ledger(), segment);
        for (head, unpacked) in blocks {
            self.scan().go_on()?;
            stats.blocks_read += 1;
            let raw = unpacked.map_err(|error| StoreError::io("read", &path())(error))?;
            let told = raw.map(|raw| stored::glances(&raw, head.summary.entries(), &mut *each));
            if told.is_none_or(|it| it.is_err()) {
                self.scan().count_corrupt(1, stats);
            }
        }
        Ok(())
    }
}

fn holds(summary: &Summary, span: &Filter) -> bool {
    span.overlaps(Timestamp(summary.first), Timestamp(summary.last))
        || span.overlaps(Timestamp(summary.other_first), Timestamp(summary.other_last))
}

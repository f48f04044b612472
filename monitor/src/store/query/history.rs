//! All that the ledger holds of a window, entry by entry in its order, each block read once: for answers that
//! are about what came after what. It keeps nothing.

use std::ops::ControlFlow;

use super::{MANY_BLOCKS, Reader};
use crate::{
    event::{Entry, Timestamp},
    filter::Filter,
    store::{
        error::StoreError,
        ledger::frame::{Head, Summary},
        memory,
        scan::QueryStats,
    },
};

impl Reader {
    /// Tells each state of each flow, and all else, of the blocks that may hold something of the window. More is
    /// told than is in it: who asks looks at each.
    pub fn history(
        &self,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
        mut each: impl FnMut(Entry) -> ControlFlow<()>,
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
            for (at, head) in blocks {
                self.scan().go_on()?;
                for entry in self.scan().entries(&segment, at, &head, &mut stats)? {
                    if each(entry).is_break() {
                        return Ok(stats);
                    }
                }
            }
        }
        if stats.blocks_read > MANY_BLOCKS {
            memory::release();
        }
        Ok(stats)
    }
}

fn holds(summary: &Summary, span: &Filter) -> bool {
    span.overlaps(Timestamp(summary.first), Timestamp(summary.last))
        || span.overlaps(Timestamp(summary.other_first), Timestamp(summary.other_last))
}

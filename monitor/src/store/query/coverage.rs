//! Whether the ledger holds what was written to it, for a span of time: that no block is damaged and none
//! is missing between others. It finds what happened to files by itself; who alters a ledger on purpose
//! can make it look whole. It changes nothing.

use std::ops::ControlFlow;

use super::Reader;
use crate::{
    coverage::{Alive, Coverage, Fold, Integrity, LOOK_BACK_NS},
    event::{Notice, Timestamp},
    store::{error::StoreError, files::segment_path},
};

impl Reader {
    /// What of a window was watched (`since` absent: from the first notice on). `alive`: what the
    /// daemon that is asked says of itself.
    pub fn coverage(
        &self,
        (since, until): (Option<Timestamp>, Timestamp),
        alive: Option<Alive>,
    ) -> Result<Coverage, StoreError> {
        let until = alive.map_or(until, |it| until.min(it.now));
        // Without a beginning all of the ledger is to be whole.
        let whole_since = since.unwrap_or(Timestamp(0)).min(until);
        let since = match since {
            Some(since) => since.min(until),
            None => self.first_word()?.map_or(until, |first| first.min(until)),
        };
        let from = Timestamp(since.0.saturating_sub(LOOK_BACK_NS));
        let mut fold = Fold::from(from);
        // Retention tells later what it removed.
        self.notices(Some(from), None, |at, notice| {
            fold.add(at, &notice);
            ControlFlow::Continue(())
        })?;
        let integrity = self.integrity((whole_since, until), fold.removed_segments())?;
        Ok(fold.within((since, until), alive, integrity))
    }

    /// When somebody first said that he watches. What began before that was found, not watched.
    fn first_word(&self) -> Result<Option<Timestamp>, StoreError> {
        let mut first = None;
        self.notices(None, None, |at, notice| {
            if let Notice::Key { .. } | Notice::Gone { .. } = notice {
                return ControlFlow::Continue(());
            }
            first = Some(at);
            ControlFlow::Break(())
        })?;
        match first {
            Some(first) => Ok(Some(first)),
            None => Ok(self.stats()?.oldest),
        }
    }

    fn integrity(
        &self,
        (since, until): (Timestamp, Timestamp),
        removed: &[u64],
    ) -> Result<Integrity, StoreError> {
        let mut integrity = Integrity::default();
        let numbers = self.scan.segments()?;
        let newest = numbers.last().copied();
        // The block that comes next, and the segment in which it stands.
        let mut expected: Option<(u32, u64)> = None;
        for number in numbers {
            self.scan.go_on()?;
            let totals = self.contents(number)?;
            let is_outside =
                totals.first <= totals.last && (totals.last < since.0 || totals.first > until.0);
            if is_outside {
                expected = None;
                continue;
            }
            let Some(mut segment) = self.scan.segment(number)? else { continue };
            let path = || segment_path(self.scan.ledger(), number);
            let failed = |error| StoreError::io("read", &path())(error);
            let first = segment.header().map_err(failed)?.ok().map(|header| header.first_block);
            integrity.damaged += u64::from(first.is_none());
            if let Some((after, block)) = expected {
                let gone = (after..number).filter(|it| !removed.contains(&u64::from(*it))).count();
                integrity.missing_segments += gone as u64;
                if after == number {
                    integrity.missing_blocks +=
                        first.map_or(0, |first| first.saturating_sub(block));
                }
            }
            let mut next = first;
            let mut heads = Vec::new();
            let walk = segment.walk(0, |at, head| {
                heads.push((at, *head));
                ControlFlow::Continue(())
            });
            let walk = walk.map_err(failed)?;
            integrity.damaged += walk.corrupt;
            integrity.damaged += u64::from(Some(number) != newest && walk.tail > 0);
            for (at, head) in heads {
                self.scan.go_on()?;
                let skipped = next.map_or(0, |next| head.number.saturating_sub(next));
                integrity.missing_blocks += skipped;
                next = Some(head.number + 1);
                if segment.payload(at, &head).map_err(failed)?.is_none() {
                    integrity.damaged += 1;
                }
            }
            expected = next.map(|next| (number + 1, next));
        }
        Ok(integrity)
    }
}

//! Whether the ledger holds what was written to it, for a span of time: that no block is damaged and none
//! is missing between others. It finds what happened to files by itself; who alters a ledger on purpose
//! can make it look whole. It changes nothing.

use std::{
    collections::BTreeMap,
    fs,
    ops::ControlFlow,
    os::unix::fs::MetadataExt as _,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::Reader;
use crate::{
    coverage::{Alive, Coverage, Fold, Integrity, LOOK_BACK_NS},
    event::{Notice, Timestamp},
    store::{error::StoreError, files::segment_path, ledger::segment::Segment},
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
        self.seen.forget_others(&numbers);
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
            let Some(looked) = self.look_at(number, Some(number) == newest)? else { continue };
            integrity.damaged += looked.damaged;
            integrity.missing_blocks += looked.missing_blocks;
            if let Some((after, block)) = expected {
                let gone = (after..number).filter(|it| !removed.contains(&u64::from(*it))).count();
                integrity.missing_segments += gone as u64;
                if after == number {
                    integrity.missing_blocks +=
                        looked.first.map_or(0, |first| first.saturating_sub(block));
                }
            }
            expected = looked.next.map(|next| (number + 1, next));
        }
        Ok(integrity)
    }

    /// `None`: it is gone. What has ended and was looked at is not read again on the same day, unless its file is
    /// another.
    fn look_at(&self, number: u32, is_newest: bool) -> Result<Option<Looked>, StoreError> {
        let path = segment_path(self.scan.ledger(), number);
        let stamp = fs::metadata(&path).ok().map(|it| Stamp::of(&it));
        let known = self.seen.lock().get(&number).copied();
        if let Some((looked, of, at)) = known
            && Some(of) == stamp
            && at.elapsed() < LOOKED_FOR
        {
            return Ok(Some(looked));
        }
        let Some(mut segment) = self.scan.segment(number)? else { return Ok(None) };
        let looked = self.look_into(&mut segment, is_newest)?;
        if let Some(stamp) = stamp.filter(|_| !is_newest) {
            self.seen.lock().insert(number, (looked, stamp, Instant::now()));
        }
        Ok(Some(looked))
    }

    fn look_into(&self, segment: &mut Segment, is_newest: bool) -> Result<Looked, StoreError> {
        let path = segment_path(self.scan.ledger(), segment.number());
        let failed = |error| StoreError::io("read", &path)(error);
        let first = segment.header().map_err(failed)?.ok();
        let first = first.map(|header| header.first_block);
        let mut looked = Looked { first, next: first, missing_blocks: 0, damaged: 0 };
        looked.damaged += u64::from(first.is_none());
        let mut heads = Vec::new();
        let walk = segment.walk(0, |at, head| {
            heads.push((at, *head));
            ControlFlow::Continue(())
        });
        let walk = walk.map_err(failed)?;
        looked.damaged += walk.corrupt;
        looked.damaged += u64::from(!is_newest && walk.tail > 0);
        for (at, head) in heads {
            self.scan.go_on()?;
            let skipped = looked.next.map_or(0, |next| head.number.saturating_sub(next));
            looked.missing_blocks += skipped;
            looked.next = Some(head.number + 1);
            if segment.payload(at, &head).map_err(failed)?.is_none() {
                looked.damaged += 1;
            }
        }
        Ok(looked)
    }
}

/// How long what was seen of a segment that has ended is believed: a disk may lose what it has.
const LOOKED_FOR: Duration = Duration::from_hours(24);

/// What a look at all of a segment found.
#[derive(Clone, Copy, Debug)]
struct Looked {
    /// The number of its first block; `None`: its header is damaged.
    first: Option<u64>,
    /// That of the block behind its last.
    next: Option<u64>,
    missing_blocks: u64,
    damaged: u64,
}

/// What was seen of segments that have ended.
#[derive(Debug, Default)]
pub(super) struct Seen(Mutex<BTreeMap<u32, (Looked, Stamp, Instant)>>);

impl Seen {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, (Looked, Stamp, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Retention removes segments.
    fn forget_others(&self, there: &[u32]) {
        self.lock().retain(|number, _| there.contains(number));
    }
}

/// By which a file is told from what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    /// Seconds and nanoseconds: of what is in it, and of the file.
    modified: [i64; 2],
    changed: [i64; 2],
}

impl Stamp {
    fn of(file: &fs::Metadata) -> Self {
        Self {
            inode: file.ino(),
            bytes: file.len(),
            modified: [file.mtime(), file.mtime_nsec()],
            changed: [file.ctime(), file.ctime_nsec()],
        }
    }
}

//! Which segments went by retention or for want of room: all that ever did, so that the last word of it is
//! enough to tell one that was told of from one that somebody took away.

use std::{ops::ControlFlow, path::Path, sync::Arc};

use crate::{
    event::{Entry, Notice},
    store::{
        error::StoreError,
        files,
        scan::{QueryStats, Scan},
    },
};

/// Sorted ranges, first and last, that do not touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::store) struct Gone {
    ranges: Vec<(u64, u64)>,
    is_untold: bool,
}

impl Gone {
    /// By the ledger's last word of it. Where nobody kept evidence before, what is missing went before.
    pub(super) fn open(root: &Path, active: u32, is_new: bool) -> Result<Self, StoreError> {
        let scan = Scan::new(files::ledger(root), Arc::default());
        let there = scan.segments()?;
        let missing: Vec<u32> = (1..active).filter(|it| there.binary_search(it).is_err()).collect();
        if missing.is_empty() {
            return Ok(Self::default());
        }
        if is_new {
            let mut gone = Self::default();
            for segment in missing {
                gone.add(segment.into());
            }
            return Ok(gone);
        }
        Ok(Self { ranges: last_word(&scan, &there)?.unwrap_or_default(), is_untold: false })
    }

    pub(super) fn add(&mut self, segment: u64) {
        let at = self.ranges.partition_point(|(_, last)| *last < segment);
        if self.ranges.get(at).is_some_and(|(first, _)| *first <= segment) {
            return;
        }
        self.is_untold = true;
        let joins_before = at > 0 && self.ranges[at - 1].1 + 1 == segment;
        let joins_next = self.ranges.get(at).is_some_and(|(first, _)| *first == segment + 1);
        match (joins_before, joins_next) {
            (true, true) => {
                self.ranges[at - 1].1 = self.ranges[at].1;
                self.ranges.remove(at);
            }
            (true, false) => self.ranges[at - 1].1 = segment,
            (false, true) => self.ranges[at].0 = segment,
            (false, false) => self.ranges.insert(at, (segment, segment)),
        }
    }

    pub(super) fn ranges(&self) -> &[(u64, u64)] {
        &self.ranges
    }

    pub(super) fn is_untold(&self) -> bool {
        self.is_untold
    }

    pub(super) fn told(&mut self) {
        self.is_untold = false;
    }
}

/// The newest notice of it, from the end of the ledger backwards.
fn last_word(scan: &Scan, segments: &[u32]) -> Result<Option<Vec<(u64, u64)>>, StoreError> {
    let mut stats = QueryStats::default();
    for number in segments.iter().rev() {
        let Some(mut segment) = scan.segment(*number)? else { continue };
        let mut blocks = Vec::new();
        let walked = segment.walk(0, |at, head| {
            if head.summary.notices > 0 {
                blocks.push((at, *head));
            }
            ControlFlow::Continue(())
        });
        let path = files::segment_path(scan.ledger(), *number);
        walked.map_err(StoreError::io("read", &path))?;
        for (at, head) in blocks.into_iter().rev() {
            for entry in scan.entries(&segment, at, &head, &mut stats)?.into_iter().rev() {
                if let Entry::Notice { notice: Notice::Gone { ranges }, .. } = entry {
                    return Ok(Some(ranges));
                }
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_join_to_ranges_in_whatever_order_they_go() {
        let mut gone = Gone::default();
        for segment in [3, 1, 9, 2, 3, 8, 20] {
            gone.add(segment);
        }
        assert_eq!(gone.ranges(), [(1, 3), (8, 9), (20, 20)]);
        gone.told();
        gone.add(9);
        assert!(!gone.is_untold());
        gone.add(4);
        assert!(gone.is_untold());
        assert_eq!(gone.ranges(), [(1, 4), (8, 9), (20, 20)]);
    }
}

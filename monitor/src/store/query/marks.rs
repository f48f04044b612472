//! The marks of a ledger, in its order. Heads say which blocks hold one, so nothing else is opened; what was
//! looked at once is not looked at again.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::Reader;
use crate::{
    event::{Entry, Mark, Notice},
    store::{error::StoreError, scan::QueryStats},
};

/// What was found so far, by segment. A segment is only ever appended to.
#[derive(Debug, Default)]
pub(super) struct Found(Mutex<BTreeMap<u32, OfSegment>>);

#[derive(Debug, Default)]
struct OfSegment {
    /// Where to look on.
    next: u64,
    marks: Vec<Arc<Mark>>,
}

impl Reader {
    /// All that are in the ledger now.
    pub fn marks(&self) -> Result<Vec<Arc<Mark>>, StoreError> {
        let mut found = self.marks.0.lock().unwrap_or_else(PoisonError::into_inner);
        let segments = self.scan.segments()?;
        found.retain(|number, _| segments.contains(number));
        let newest = segments.last().copied();
        for number in &segments {
            // What is over does not grow.
            let is_known = found.contains_key(number) && found.range(number + 1..).next().is_some();
            if !is_known {
                let of_segment = found.entry(*number).or_default();
                self.look_on(*number, Some(*number) == newest, of_segment)?;
            }
        }
        Ok(found.values().flat_map(|it| it.marks.iter().cloned()).collect())
    }

    fn look_on(
        &self,
        number: u32,
        is_newest: bool,
        found: &mut OfSegment,
    ) -> Result<(), StoreError> {
        let (mut stats, mut blocks, mut next) = (QueryStats::default(), Vec::new(), found.next);
        self.scan.walk(number, found.next, is_newest, &mut stats, |at, head| {
            if head.summary.holds_marks {
                blocks.push((at, *head));
            }
            next = at + head.block_bytes();
        })?;
        if !blocks.is_empty() {
            let Some(segment) = self.scan.segment(number)? else { return Ok(()) };
            for (at, head) in blocks {
                self.scan.go_on()?;
                let entries = self.scan.entries(&segment, at, &head, &mut stats)?;
                found.marks.extend(entries.into_iter().filter_map(|entry| match entry {
                    Entry::Notice { notice: Notice::Mark(mark), .. } => Some(mark),
                    _ => None,
                }));
            }
        }
        found.next = next;
        Ok(())
    }
}

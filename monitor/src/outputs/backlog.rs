//! What waits in memory while the ledger takes nothing: so much as is named here. What is worth less goes
//! first, and of the same worth the oldest. It says how much went; counting it is the caller's.

use std::collections::VecDeque;

use super::{lost::Lost, shares::Worth};
use crate::event::Entry;

/// Entries that wait: some 10 MB.
pub(super) const ENTRIES_MAX: usize = 16_384;
/// What goes at once when there are so many: each time all are looked at.
const SHED: usize = ENTRIES_MAX / 8;

#[derive(Debug, Default)]
pub(super) struct Backlog(VecDeque<Box<Entry>>);

impl Backlog {
    /// Holds an entry; gives back what had to go for it.
    pub(super) fn push(&mut self, entry: Box<Entry>) -> Lost {
        let is_full = self.0.len() >= ENTRIES_MAX;
        let lost = if is_full { self.shed() } else { Lost::default() };
        self.0.push_back(entry);
        lost
    }

    /// The one that was taken out last, or would have come next.
    pub(super) fn put_back(&mut self, entry: Box<Entry>) {
        self.0.push_front(entry);
    }

    pub(super) fn pop(&mut self) -> Option<Box<Entry>> {
        let entry = self.0.pop_front();
        if self.0.is_empty() {
            self.0.shrink_to_fit();
        }
        entry
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// What is in it; it is empty after.
    pub(super) fn drain(&mut self) -> Lost {
        self.0.drain(..).map(|entry| Lost::of(&entry)).sum()
    }

    fn shed(&mut self) -> Lost {
        let (mut left, mut lost) = (SHED, Lost::default());
        for is_it in [is_lesser as fn(&Entry) -> bool, |entry| !is_word(entry), |_| true] {
            self.0.retain(|entry| {
                let goes = left > 0 && is_it(entry);
                if goes {
                    left -= 1;
                    lost += Lost::of(entry);
                }
                !goes
            });
        }
        lost
    }
}

fn is_lesser(entry: &Entry) -> bool {
    match entry {
        Entry::Flow(record) => Worth::of(record) == Worth::Lesser,
        Entry::Lookup(_) => true,
        Entry::Rollup(_) | Entry::Notice { .. } => false,
    }
}

/// Few, and each says much.
fn is_word(entry: &Entry) -> bool {
    matches!(entry, Entry::Rollup(_) | Entry::Notice { .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ecs::tests::full_record,
        event::{Notice, Timestamp, Verdict},
    };

    fn flow(revision: u32, verdict: Verdict) -> Box<Entry> {
        let mut record = full_record();
        record.egress.revision = revision;
        record.judgement.verdict = verdict;
        Box::new(Entry::Flow(record))
    }

    #[test]
    fn what_was_no_violation_goes_first_and_of_the_rest_the_oldest_and_nothing_uncounted() {
        let mut backlog = Backlog::default();
        let notice = Entry::Notice { at: Timestamp(1), notice: Notice::Alive };
        let mut lost = backlog.push(Box::new(notice.clone())).events;
        let many = (ENTRIES_MAX + SHED * 3 / 2) as u32;
        for number in 0..many {
            let verdict = if number % 4 == 1 { Verdict::Approved } else { Verdict::Unapproved };
            lost += backlog.push(flow(number, verdict)).events;
        }
        assert_eq!(backlog.len() as u64 + lost, u64::from(many) + 1);
        assert_eq!(*backlog.pop().unwrap(), notice);
        let violations: Vec<u32> = backlog
            .0
            .iter()
            .filter_map(|entry| match &**entry {
                Entry::Flow(record) if record.is_violation() => Some(record.egress.revision),
                _ => None,
            })
            .collect();
        assert_eq!(violations, (0..many).filter(|it| it % 4 != 1).collect::<Vec<_>>());
        for number in many..many * 2 {
            lost += backlog.push(flow(number, Verdict::Unapproved)).events;
        }
        let Entry::Flow(oldest) = *backlog.pop().unwrap() else { panic!("a flow") };
        assert!(oldest.egress.revision > many / 4, "{}", oldest.egress.revision);
        assert_eq!(backlog.drain().events + lost + 2, u64::from(many) * 2 + 1);
    }
}

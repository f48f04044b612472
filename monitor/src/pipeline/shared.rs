//! What was found out about a flow is mostly what was found out about another: one copy for all of them, in
//! memory and on its way to the ledger. Changes nothing that is found.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use rustc_hash::{FxHashMap, FxHasher};

use crate::event::{CountryCode, Findings};

/// Of so many at once another is looked for.
const KNOWN_MAX: usize = 4_096;

/// Keeps what it knows alive, so it is to be forgotten soon.
#[derive(Debug, Default)]
pub(super) struct Shared {
    known: FxHashMap<u64, Arc<Findings>>,
}

impl Shared {
    /// Puts one that others have in its place, if there is one.
    pub(super) fn share(&mut self, found: &mut Arc<Findings>) {
        if Arc::strong_count(found) > 1 {
            return;
        }
        if self.known.len() >= KNOWN_MAX {
            self.known.clear();
        }
        let known = self.known.entry(digest(found)).or_insert_with(|| Arc::clone(found));
        if **known == **found {
            *found = Arc::clone(known);
        } else {
            *known = Arc::clone(found);
        }
    }

    pub(super) fn forget(&mut self) {
        self.known.clear();
    }
}

/// Of what mostly differs, much of it by where it is in memory: what is told apart that is the same, is only
/// kept twice.
fn digest(found: &Findings) -> u64 {
    let mut hasher = FxHasher::default();
    let of = |name: &Arc<str>| name.as_ptr().addr();
    let process = found.sender.process().map(|it| std::ptr::from_ref(it).addr());
    let place = &found.place;
    // Each is located by itself.
    let operator = place.operator.as_ref().map(|it| (it.asn, it.is_anycast));
    let domain = place.domain.as_ref().map(|it| of(&it.name));
    let said = place.server_name.as_ref().and_then(|it| it.name().map(of));
    let code = place.country.code().map(CountryCode::bytes);
    (process, operator, domain, said, code, found.judgement.verdict.word()).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ecs::tests::full_record, event::Verdict};

    /// Alike, and one of its own.
    fn found(verdict: Verdict) -> Arc<Findings> {
        let mut record = full_record();
        record.judgement.verdict = verdict;
        record.findings
    }

    #[test]
    fn what_is_the_same_is_kept_once_and_nothing_else_is() {
        let mut shared = Shared::default();
        let same = full_record().findings;
        let alike = || Arc::new(Findings::clone(&same));
        let (mut first, mut second) = (alike(), alike());
        shared.share(&mut first);
        shared.share(&mut second);
        assert!(Arc::ptr_eq(&first, &second));
        let mut other = alike();
        Arc::make_mut(&mut other).verdict_now = Some(Verdict::Local);
        let before = Findings::clone(&other);
        shared.share(&mut other);
        assert_eq!(*other, before);
        assert_eq!(first, same);
    }

    #[test]
    fn an_operator_that_was_found_twice_is_kept_once() {
        let mut shared = Shared::default();
        let same = full_record().findings;
        let again = || {
            let mut found = Findings::clone(&same);
            let operator = found.place.operator.as_deref().cloned().unwrap();
            found.place.operator = Some(Arc::new(operator));
            Arc::new(found)
        };
        let (mut first, mut second) = (again(), again());
        shared.share(&mut first);
        shared.share(&mut second);
        assert!(Arc::ptr_eq(&first, &second));
    }

    #[test]
    fn what_one_flow_learns_of_itself_is_not_said_of_another() {
        let mut shared = Shared::default();
        let same = full_record().findings;
        let alike = || Arc::new(Findings::clone(&same));
        let (mut first, mut second) = (alike(), alike());
        shared.share(&mut first);
        shared.share(&mut second);
        Arc::make_mut(&mut first).judgement.verdict = Verdict::Local;
        assert_eq!(second, same);
    }

    #[test]
    fn it_is_bounded_and_forgets() {
        let mut shared = Shared::default();
        let mut kept = Vec::new();
        for _ in 0..3 * KNOWN_MAX {
            // Another process each, by its address.
            let mut found = found(Verdict::Unapproved);
            shared.share(&mut found);
            kept.push(found);
            assert!(shared.known.len() <= KNOWN_MAX);
        }
        shared.forget();
        assert!(kept.iter().all(|it| Arc::strong_count(it) <= kept.len()));
        assert!(shared.known.is_empty());
    }
}

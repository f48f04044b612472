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

    /// The same as another, and not yet shared.
    fn alike(findings: &Findings) -> Arc<Findings> {
        let mut alike = findings.clone();
        // Each operator is located by itself.
        alike.place.operator = alike.place.operator.as_deref().cloned().map(Arc::new);
        Arc::new(alike)
    }

    fn shared_twice(shared: &mut Shared, findings: &Findings) -> [Arc<Findings>; 2] {
        [(); 2].map(|()| {
            let mut one = alike(findings);
            shared.share(&mut one);
            one
        })
    }

    #[test]
    fn what_is_the_same_is_kept_once_and_nothing_else_is() {
        let mut shared = Shared::default();
        let same = full_record().findings;
        let [first, second] = shared_twice(&mut shared, &same);
        assert!(Arc::ptr_eq(&first, &second));
        let mut other = alike(&same);
        Arc::make_mut(&mut other).verdict_now = Some(Verdict::Local);
        let before = Findings::clone(&other);
        shared.share(&mut other);
        assert_eq!(*other, before);
        assert_eq!(first, same);
    }

    #[test]
    fn what_one_flow_learns_of_itself_is_not_said_of_another() {
        let same = full_record().findings;
        let [mut first, second] = shared_twice(&mut Shared::default(), &same);
        Arc::make_mut(&mut first).judgement.verdict = Verdict::Local;
        assert_eq!(second, same);
    }

    #[test]
    fn it_is_bounded_and_keeps_nothing_alive_that_it_forgot() {
        let mut shared = Shared::default();
        let mut kept = Vec::new();
        for _ in 0..3 * KNOWN_MAX {
            // Of another process each, by its address.
            let mut findings = full_record().findings;
            shared.share(&mut findings);
            kept.push(findings);
            assert!(shared.known.len() <= KNOWN_MAX);
        }
        assert!(kept.iter().any(|it| Arc::strong_count(it) > 1), "nothing was known");
        shared.forget();
        assert!(kept.iter().all(|it| Arc::strong_count(it) == 1));
    }
}

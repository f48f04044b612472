//! The numbers of variants in the stored form, as docs/store-format.md tells them: never reused,
//! never changed. What they carry is tested elsewhere.

use super::{
    basis::{StoredBasis, basis_to_stored},
    flow::StoredExtra,
    host::host_to_stored,
    mark::mark_to_stored,
    notice::StoredNotice,
    tables::Interner,
    timeline::StoredTimeline,
};
use crate::{
    ecs::tests::full_record,
    event::{Mark, MarkKind, Moment},
};

#[test]
fn who_wrote_has_numbers_of_its_own_in_notices_and_in_what_verdicts_rest_on() {
    let mut interner = Interner::default();
    let provenance = full_record().provenance.clone().unwrap();
    let host = host_to_stored(provenance.host.as_ref().unwrap(), &mut interner.texts);
    assert_eq!(postcard::to_allocvec(&StoredNotice::Host(host)).unwrap()[0], 16);
    let moment = Moment { boot_ns: 0, timeline: full_record().timeline.unwrap() };
    let (kind, name) = (MarkKind::Start, "LDM on".into());
    let mark = Mark { kind, name, note: None, shares: vec![], moment };
    let mark = mark_to_stored(&mark, &mut interner.texts);
    assert_eq!(postcard::to_allocvec(&StoredNotice::Mark(mark)).unwrap()[0], 17);
    let number = |notice| postcard::to_allocvec(&notice).unwrap()[0];
    assert_eq!(number(StoredNotice::SelfTestPassed), 15);
    assert_eq!(number(StoredNotice::Gone { ranges: vec![] }), 20);
    let basis = super::basis::Basis::of_rollup(Some(&provenance));
    let basis = basis_to_stored(&basis, &mut interner.bases, &mut interner.texts);
    assert!(matches!(basis, StoredBasis::ToldBy { .. }), "{basis:?}");
    assert_eq!(postcard::to_allocvec(&basis).unwrap()[0], 2);
}

#[test]
fn the_extras_of_a_flow_keep_their_numbers_whatever_is_added() {
    let number = |extra: &StoredExtra| postcard::to_allocvec(extra).unwrap()[0];
    let all = [
        (0, StoredExtra::Passage { mac: None, from: None, by: None }),
        (1, StoredExtra::Name { source: 0 }),
        (2, StoredExtra::Creator { process: 0 }),
        (3, StoredExtra::Basis(StoredBasis::Again(0))),
        (5, StoredExtra::TrustedName),
        (6, StoredExtra::ServerName { name: None, source: 4 }),
        (7, StoredExtra::Frame { ethertype: 0 }),
        (8, StoredExtra::Malformed),
        (9, StoredExtra::Timeline(StoredTimeline::Again(0))),
        (10, StoredExtra::Unconfirmed),
        (11, StoredExtra::Loopback),
        (12, StoredExtra::Uncounted),
    ];
    for (expected, extra) in all {
        assert_eq!(number(&extra), expected, "{extra:?}");
    }
}

//! The numbers of variants in the stored form, as docs/store-format.md tells them: never reused,
//! never changed. What they carry is tested elsewhere.

use super::super::{basis::StoredBasis, record::StoredExtra};

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
        (8, StoredExtra::Unconfirmed),
        (9, StoredExtra::Loopback),
    ];
    for (expected, extra) in all {
        assert_eq!(number(&extra), expected, "{extra:?}");
    }
}

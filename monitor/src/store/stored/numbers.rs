//! The numbers of variants in the stored form, as docs/store-format.md tells them: never reused,
//! never changed. What they carry is tested elsewhere.

use super::{basis::StoredBasis, flow::StoredExtra, timeline::StoredTimeline};

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

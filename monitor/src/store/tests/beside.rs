//! What is beside a ledger is as if it were its end.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{
    ask,
    history::{History, expected},
    open, settle, write,
};
use crate::{
    event::{Entry, FlowId, Record},
    filter::Query,
};

/// Equal starts have no order of their own.
fn in_order(mut records: Vec<Record>) -> Vec<Record> {
    records.sort_by_key(|it| (it.egress.started_at, it.egress.flow));
    records
}

/// The latest state of each flow in these entries.
fn latest(entries: &[Entry]) -> Vec<Record> {
    let mut latest: BTreeMap<FlowId, Record> = BTreeMap::new();
    for entry in entries {
        if let Entry::Flow(record) = entry {
            latest.insert(record.egress.flow, record.clone());
        }
    }
    latest.into_values().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn flows_beside_the_ledger_are_told_as_if_they_were_stored(
        seed: u64,
        count in 1_usize..600,
        more in 1_usize..300,
        is_stored_meanwhile: bool,
    ) {
        let directory = tempfile::tempdir().unwrap();
        let mut history = History::new(seed);
        let mut entries = history.entries(count);
        let mut store = open(directory.path());
        write(&mut store, &entries, &mut history);
        let newer = history.entries(more);
        if is_stored_meanwhile {
            write(&mut store, &newer, &mut history);
        }
        settle(&store);
        let reader = store.reader().beside(latest(&newer).into());
        entries.extend(newer);
        for _ in 0..12 {
            let query = Query { limit: None, ..history.query() };
            let right = in_order(expected(&entries, &query));
            let told = ask(&reader, &query);
            let is_in_order = told.is_sorted_by(|a, b| {
                let (a, b) = (a.egress.started_at, b.egress.started_at);
                if query.newest_first { a >= b } else { a <= b }
            });
            prop_assert!(is_in_order);
            prop_assert_eq!(&in_order(told), &right, "{:?}", query);
            prop_assert_eq!(&in_order(ask(&reader.without_index(), &query)), &right, "{:?}", query);
            let query = Query { limit: Some(5), ..query };
            prop_assert_eq!(ask(&reader, &query).len(), right.len().min(5));
        }
    }
}

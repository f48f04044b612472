//! What is written and not synced yet: it can be read, and outlives the process that wrote it.

use super::{
    ask,
    history::{History, expected},
    open, settle,
};
use crate::filter::Query;

#[test]
fn what_is_written_can_be_read_and_outlives_a_process_that_never_synced_it() {
    let directory = tempfile::tempdir().unwrap();
    let mut history = History::new(31);
    let mut store = open(directory.path());
    let mut all = Vec::new();
    let all_of_it = Query::default();
    for round in 0..12 {
        let entries = history.entries(9);
        for entry in &entries {
            store.append(entry).unwrap();
        }
        all.extend(entries);
        // Syncs between some of the writes, and nothing between the others.
        let written = if round % 4 == 3 { store.sync() } else { store.write() };
        written.unwrap();
        let pending = store.pending();
        assert_eq!(pending == 0, round % 4 == 3, "acknowledged by a sync alone: {pending}");
        assert_eq!(ask(&store.reader(), &all_of_it), expected(&all, &all_of_it), "{round}");
    }
    let last = history.entries(5);
    for entry in &last {
        store.append(entry).unwrap();
    }
    store.write().unwrap();
    all.extend(last);
    drop(store);

    let store = open(directory.path());
    assert!(store.recovery().cuts.is_empty());
    settle(&store);
    assert_eq!(ask(&store.reader(), &all_of_it), expected(&all, &all_of_it));
    assert_eq!(ask(&store.reader().without_index(), &all_of_it), expected(&all, &all_of_it));
}

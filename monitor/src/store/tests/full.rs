//! What the store gives up where the disk is full, and that the rest is as it was.

use std::{fs, path::Path};

use super::{
    ask,
    history::{History, expected},
    open, settle, write,
};
use crate::{
    event::{Entry, Notice, Verdict},
    filter::Query,
    store::{Deleted, Store, files::bytes_below},
};

fn removed(store: &Store) -> Vec<u64> {
    let mut all = Vec::new();
    let each = |_, notice| {
        if let Notice::Removed { segments, .. } = notice {
            all.extend(segments);
        }
        std::ops::ControlFlow::Continue(())
    };
    store.reader().notices(None, None, each).unwrap();
    all
}

/// A store of one segment, and what it was given since, in order.
fn one_segment(directory: &Path, seed: u64, given: usize) -> (Store, Vec<Entry>) {
    let mut history = History::new(seed);
    let mut store = Store::open(&super::config(directory)).unwrap();
    write(&mut store, &history.entries(4_000), &mut history);
    assert_eq!(store.reader().scan().segments().unwrap(), [1]);
    let pending = history.entries(given);
    for entry in &pending {
        store.append(entry).unwrap();
    }
    (store, pending)
}

/// The index goes at the first call, segments at the next.
fn make_room(store: &mut Store) -> Deleted {
    let first = store.make_room().unwrap();
    if first.segments.is_empty() { store.make_room().unwrap() } else { first }
}

#[test]
fn the_index_goes_first_then_the_oldest_without_a_violation_and_the_rest_is_whole() {
    let directory = tempfile::tempdir().unwrap();
    let mut history = History::new(31);
    let mut store = open(directory.path());
    let mut entries = history.entries(3_000);
    write(&mut store, &entries, &mut history);
    settle(&store);
    let index = directory.path().join("index");
    assert!(bytes_below(&index) > 0);
    assert_eq!(store.make_room().unwrap(), Deleted::default());
    assert_eq!(bytes_below(&index), 0, "the index can be made anew, and goes first");

    let before = store.reader().scan().segments().unwrap();
    let deleted = store.make_room().unwrap();
    assert!(deleted.bytes > 0 && deleted.segments.len() < before.len() - 1, "{deleted:?}");
    assert!(!deleted.segments.contains(&u64::from(*before.last().unwrap())));
    store.sync().unwrap();
    assert!(removed(&store).ends_with(&deleted.segments));
    // It goes on as ever.
    let more = history.entries(300);
    write(&mut store, &more, &mut history);
    entries.extend(more);
    let everything = Query::default();
    let told = ask(&store.reader(), &everything);
    assert!(!told.is_empty());
    drop(store);
    let store = open(directory.path());
    assert_eq!(store.recovery().chain_breaks + store.recovery().corrupt, 0);
    assert_eq!(ask(&store.reader(), &everything), told);
}

#[test]
fn the_writer_waits_for_no_database_of_the_index() {
    let directory = tempfile::tempdir().unwrap();
    let mut history = History::new(35);
    let mut store = open(directory.path());
    write(&mut store, &history.entries(1_000), &mut history);
    settle(&store);
    let index = store.index.take().unwrap();
    let busy = index.busy();
    for entry in &history.entries(1_000) {
        store.append(entry).unwrap();
        store.sync().unwrap();
        index.publish(store.writer.progress());
    }
    store.max_bytes = 40_000;
    assert!(!store.retain().unwrap().segments.is_empty());
    index.segments_went();
    store.reader().stats().unwrap();
    drop(busy);
    store.index = Some(index);
    settle(&store);
}

#[test]
fn where_one_segment_is_all_it_gives_way_to_what_is_pending() {
    let directory = tempfile::tempdir().unwrap();
    // So many that whole blocks wait for the next sync.
    let (mut store, pending) = one_segment(directory.path(), 32, 2_500);
    let deleted = make_room(&mut store);
    assert_eq!(deleted.segments, [1]);
    store.sync().unwrap();
    assert_eq!(store.reader().scan().segments().unwrap(), [2]);
    let everything = Query::default();
    let right = expected(&pending, &everything);
    assert_eq!(ask(&store.reader(), &everything), right);
    assert!(removed(&store).ends_with(&[1]));
    drop(store);
    let store = Store::open(&super::config(directory.path())).unwrap();
    assert_eq!(store.recovery().chain_breaks + store.recovery().corrupt, 0);
    assert_eq!(ask(&store.reader(), &everything), right);
}

#[test]
fn what_is_in_the_file_and_not_yet_on_the_disk_is_not_given_up_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, _) = one_segment(directory.path(), 36, 500);
    store.write().unwrap();
    let before = store.reader().stats().unwrap();
    let deleted = make_room(&mut store);
    assert_eq!(deleted.segments, [1]);
    store.sync().unwrap();
    let after = store.reader().stats().unwrap();
    assert_eq!(deleted.flows + after.flows, before.flows);
    // But for the notices of what was removed and of all that is gone.
    let all = |it: &crate::store::query::StoreStats| it.flow_states + it.rollups + it.notices;
    assert_eq!(deleted.entries + all(&after), all(&before) + 2);
}

#[test]
fn a_segment_that_somebody_else_removed_does_not_keep_the_next_from_being_written() {
    let directory = tempfile::tempdir().unwrap();
    let mut history = History::new(33);
    let mut store = open(directory.path());
    write(&mut store, &history.entries(20), &mut history);
    fs::remove_file(directory.path().join("ledger/00000001.seg")).unwrap();
    let after = history.entries(20);
    write(&mut store, &after, &mut history);
    let everything = Query::default();
    assert_eq!(ask(&store.reader().without_index(), &everything), expected(&after, &everything));
}

#[test]
fn what_was_in_violation_gives_way_last() {
    let directory = tempfile::tempdir().unwrap();
    let mut history = History::new(34);
    let mut store = open(directory.path());
    let mut all = Vec::new();
    while all.len() < 24 {
        let Entry::Flow(mut record) = history.entries(1).remove(0) else { continue };
        // The first third of what there is holds violations.
        record.judgement.verdict =
            if all.len() < 8 { Verdict::Unapproved } else { Verdict::Approved };
        let segments = store.reader().scan().segments().unwrap().len();
        while store.reader().scan().segments().unwrap().len() == segments {
            record.egress.flow = crate::event::FlowId(u128::from(history.random(u64::MAX)));
            store.append(&Entry::Flow(record.clone())).unwrap();
            store.sync().unwrap();
        }
        all.push(store.reader().scan().segments().unwrap()[segments - 1]);
    }
    let deleted = make_room(&mut store);
    // Where the first without one begins, the last with one may end.
    assert_eq!(deleted.segments[0], u64::from(all[9]), "{deleted:?} of {all:?}");
}

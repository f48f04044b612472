//! What is written and not synced yet: it can be read, and outlives the process that wrote it.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt as _,
    path::Path,
};

use super::{
    ask,
    history::{History, expected},
    open, settle,
};
use crate::{
    event::Entry,
    filter::Query,
    store::{
        Reader, Store, files,
        ledger::frame::HEAD_BYTES,
        verify::{Trust, own_keys, verify},
    },
};

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

/// What a disk holds of a store that is still open.
fn as_it_lies(store: &Path, copy: &Path) {
    for folder in ["ledger", "evidence"] {
        fs::create_dir_all(copy.join(folder)).unwrap();
        for entry in fs::read_dir(store.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, copy.join(folder).join(path.file_name().unwrap())).unwrap();
        }
    }
    fs::copy(store.join("key.pub"), copy.join("key.pub")).unwrap();
}

/// Bytes of the last segment.
fn length(store: &Path) -> u64 {
    fs::metadata(last_segment(store)).unwrap().len()
}

fn last_segment(store: &Path) -> std::path::PathBuf {
    let number = Reader::open(store).unwrap().scan().segments().unwrap().pop().unwrap();
    files::segment_path(&files::ledger(store), number)
}

/// A page that never reached the disk.
fn lose(store: &Path, at: u64) {
    let file = OpenOptions::new().write(true).open(last_segment(store)).unwrap();
    file.write_all_at(&[0; HEAD_BYTES + 8], at).unwrap();
}

fn write_one(store: &mut Store, history: &mut History) -> Vec<Entry> {
    let entries = history.entries(3);
    for entry in &entries {
        store.append(entry).unwrap();
    }
    store.write().unwrap();
    entries
}

#[test]
fn a_hole_among_blocks_that_were_never_synced_is_cut_and_no_damage() {
    let (directory, copies) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (root, cut) = (directory.path().join("store"), copies.path().join("cut"));
    let mut history = History::new(7);
    let mut store = open(&root);
    let mut synced = write_one(&mut store, &mut history);
    store.sync().unwrap();
    let first = length(&root);
    synced.extend(write_one(&mut store, &mut history));
    let second = length(&root);
    write_one(&mut store, &mut history);
    write_one(&mut store, &mut history);
    as_it_lies(&root, &cut);
    lose(&cut, second);

    let opened = open(&cut);
    assert_eq!(opened.recovery().cuts.len(), 1, "{:?}", opened.recovery());
    assert_eq!((opened.recovery().corrupt, opened.recovery().chain_breaks), (0, 0));
    let all = Query::default();
    assert_eq!(ask(&opened.reader(), &all), expected(&synced, &all));
    drop(opened);
    let trust = Trust { keys: own_keys(&cut).unwrap(), ..Trust::default() };
    let report = verify(&cut, &trust, &mut |_| {}).unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);

    // The same hole with a block behind it that was begun when all before it was durable.
    store.sync().unwrap();
    write_one(&mut store, &mut history);
    let damaged = copies.path().join("damaged");
    as_it_lies(&root, &damaged);
    lose(&damaged, first);
    let opened = open(&damaged);
    assert!(opened.recovery().cuts.is_empty(), "{:?}", opened.recovery());
    assert_eq!(opened.recovery().corrupt, 1, "what was acknowledged stays");
}

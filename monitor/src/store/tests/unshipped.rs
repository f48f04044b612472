//! Retention waits for whoever ships, up to a bound, and his word makes nothing go that would not go without him.

use std::{path::Path, process::Command};

use super::{Options, Store, config, history::History, small, write};
use crate::{
    config::{Shipping, StoreConfig},
    store::{Deleted, ground},
};

/// A store of many segments, that may keep a third of them.
fn store(root: &Path, keep_bytes: Option<u64>) -> Store {
    let mut config = config(&root.join("store"));
    let told = root.join("shipper");
    std::fs::create_dir_all(&told).unwrap();
    config.shipping = keep_bytes.map(|keep_bytes| Shipping { keep_bytes, told });
    let mut store = Store::open_with(&config, options()).unwrap();
    let mut history = History::new(8);
    let entries = history.entries(4000);
    write(&mut store, &entries, &mut history);
    store.seal().unwrap();
    store.max_bytes = store.reader().stats().unwrap().ledger_bytes / 3;
    store
}

/// Without an index, whose size depends on how far it is.
fn options() -> Options {
    Options { index: None, ..small() }
}

fn there(store: &Store) -> Vec<u64> {
    store.reader().scan().segments().unwrap().into_iter().map(u64::from).collect()
}

fn tell(root: &Path, store: &Store, ranges: &[(u32, u32)]) {
    let origin = store.evidence().get().unwrap().checkpoint.origin.clone();
    ground::tell(&root.join("shipper"), &origin, ranges).unwrap();
}

fn unshipped(store: &Store) -> u64 {
    let counts = store.counters().counts();
    let at = crate::store::STORE_EVENTS.iter().position(|it| *it == "segment-unshipped");
    counts[at.unwrap()]
}

#[test]
fn what_is_not_on_the_ground_stays_beyond_the_bound_and_goes_when_it_is_there() {
    let root = tempfile::tempdir().unwrap();
    let mut store = store(root.path(), Some(1 << 30));
    let before = there(&store);
    assert!(before.len() > 12, "{before:?}");
    assert_eq!(store.retain().unwrap(), Deleted::default(), "nothing is known to be there");
    assert!(store.counters().waiting_bytes() > 0);
    tell(root.path(), &store, &[(2, 3), (5, 5)]);
    assert_eq!(store.retain().unwrap().segments, [2, 3, 5]);
    tell(root.path(), &store, &[(1, u32::MAX)]);
    let rest = store.retain().unwrap();
    assert!(rest.segments.starts_with(&[1, 4, 6]), "{rest:?}");
    assert_eq!((store.counters().waiting_bytes(), unshipped(&store)), (0, 0));
}

#[test]
fn of_more_than_may_wait_what_would_have_gone_first_goes_and_is_counted_and_told() {
    let root = tempfile::tempdir().unwrap();
    let keeps = 40_000;
    let mut store = store(root.path(), Some(keeps));
    let deleted = store.retain().unwrap();
    assert!(!deleted.segments.is_empty());
    assert_eq!(deleted.unshipped, deleted.segments.len() as u64);
    assert_eq!(unshipped(&store), deleted.unshipped);
    let waits = store.counters().waiting_bytes();
    assert!(waits <= keeps && waits > keeps - 16_000, "{waits}");
    // It is in the ledger which went, so that the ground will know it, too.
    store.sync().unwrap();
    let mut told = Vec::new();
    let each = |_, notice| {
        if let crate::event::Notice::Removed { segments, .. } = notice {
            told.push(segments);
        }
        std::ops::ControlFlow::Continue(())
    };
    store.reader().notices(None, None, each).unwrap();
    // Others are of what is made up.
    assert_eq!(told.last(), Some(&deleted.segments));
}

#[test]
fn who_lies_that_all_of_it_is_on_the_ground_makes_nothing_go_that_would_have_stayed() {
    let root = tempfile::tempdir().unwrap();
    let (waits, alone) = (root.path().join("waits"), root.path().join("alone"));
    let first = store(&waits, None);
    let bytes = first.max_bytes;
    drop(first);
    let copied = Command::new("cp").arg("-r").arg(&waits).arg(&alone).status().unwrap();
    assert!(copied.success());
    let opened = |root: &Path, shipping| {
        let config = StoreConfig { shipping, ..config(&root.join("store")) };
        let mut store = Store::open_with(&config, options()).unwrap();
        store.max_bytes = bytes;
        store
    };
    let told = waits.join("shipper");
    let mut with = opened(&waits, Some(Shipping { keep_bytes: 1 << 30, told }));
    let mut without = opened(&alone, None);
    tell(&waits, &with, &[(0, u32::MAX)]);
    let expected = without.retain().unwrap();
    assert_eq!(with.retain().unwrap().segments, expected.segments);
    assert_eq!(there(&with), there(&without));
    with.max_bytes = 1 << 30;
    assert_eq!(with.retain().unwrap(), Deleted::default(), "there is room for all of it");
}

//! Tests of the store as a whole, in one process. Those that kill processes are in tests/daemon.

mod answers;
mod beside;
mod clocks;
mod coverage;
mod files;
mod full;
pub(in crate::store) mod history;
mod marks;
mod narrowed;
mod states;
mod totals;
mod unclean;
mod unshipped;
mod window;
mod written;

use std::{ops::ControlFlow, path::Path, time::Duration};

use history::History;

use super::{IndexLimits, Options, Reader, Store};
use crate::{
    config::{RecordMode, StoreConfig},
    event::{Entry, Record},
    filter::Query,
};

pub(super) fn config(path: &Path) -> StoreConfig {
    StoreConfig {
        path: path.to_owned(),
        record: RecordMode::All,
        retention: Duration::from_hours(24 * 30),
        max_bytes: 512 << 20,
        sync: Duration::from_secs(10),
        shipping: None,
    }
}

/// Everything so small that a few hundred entries make many segments, groups and databases.
pub(super) fn small() -> Options {
    Options {
        segment_bytes: 12_000,
        segment_age: Duration::from_hours(24),
        index: Some(IndexLimits {
            group_blocks: 3,
            group_entries: 40,
            idle: Duration::from_millis(20),
            open: 3,
            one_in: 1,
        }),
    }
}

pub(super) fn open(path: &Path) -> Store {
    Store::open_with(&config(path), small()).unwrap()
}

/// Waits for the index; a test without it would test nothing.
pub(super) fn settle(store: &Store) {
    assert!(store.wait_for_index(Duration::from_mins(2)), "the index came to no rest");
}

pub(super) fn ask(reader: &Reader, query: &Query) -> Vec<Record> {
    let mut records = Vec::new();
    reader
        .query(query, |record| {
            records.push(record);
            ControlFlow::Continue(())
        })
        .unwrap();
    records
}

/// Writes all of it, with a sync here and there.
pub(super) fn write(store: &mut Store, entries: &[Entry], history: &mut History) {
    for entry in entries {
        store.append(entry).unwrap();
        if history.random(20) == 0 {
            store.sync().unwrap();
        }
    }
    store.sync().unwrap();
}

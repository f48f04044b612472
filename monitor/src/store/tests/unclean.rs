//! What a store that is opened says of the daemon before, which may have been killed.

use std::{ops::ControlFlow, path::Path};

use super::{history::History, open};
use crate::{
    event::{Entry, FlowId, Notice, Phase, Timestamp},
    store::Store,
};

fn at(second: u64) -> Timestamp {
    Timestamp::from_secs(1_800_000_000 + second)
}

fn note(store: &mut Store, second: u64, notice: Notice) {
    store.append(&Entry::Notice { at: at(second), notice }).unwrap();
}

fn started() -> Notice {
    Notice::Started { version: "1".into(), probes: vec![], policy_sha256: [0; 32] }
}

/// A daemon's life: three flows that are told and told again, of which one ends.
fn live(path: &Path, last_word: Option<Notice>) {
    let mut history = History::new(5);
    let mut store = open(path);
    note(&mut store, 1, started());
    let mut number = 0;
    while number < 3 {
        let Entry::Flow(mut record) = history.entries(1).remove(0) else { continue };
        number += 1;
        record.egress.flow = FlowId(number);
        record.egress.phase = Phase::Sent;
        record.egress.ended_at = None;
        store.append(&Entry::Flow(record.clone())).unwrap();
        store.sync().unwrap();
        record.egress.revision += 1;
        record.egress.ended_at = (number == 2).then_some(record.egress.last_at);
        store.append(&Entry::Flow(record)).unwrap();
    }
    note(&mut store, 61, Notice::Alive);
    if let Some(notice) = last_word {
        note(&mut store, 70, notice);
    }
    store.sync().unwrap();
}

fn told(path: &Path) -> Vec<(Timestamp, Notice)> {
    let mut store = open(path);
    store.sync().unwrap();
    let mut told = Vec::new();
    let each = |at, notice| {
        if let Notice::LostSight { .. } = notice {
            told.push((at, notice));
        }
        ControlFlow::Continue(())
    };
    store.reader().notices(None, None, each).unwrap();
    told
}

#[test]
fn after_a_daemon_that_was_killed_the_flows_that_it_left_open_are_told_once() {
    let directory = tempfile::tempdir().unwrap();
    live(directory.path(), None);
    let open = [(at(61), Notice::LostSight { flows: 2 })];
    assert_eq!(told(directory.path()), open);
    assert_eq!(told(directory.path()), open);
}

#[test]
fn after_one_that_ended_in_order_there_is_nothing_to_tell() {
    let directory = tempfile::tempdir().unwrap();
    live(directory.path(), Some(Notice::Stopped));
    assert_eq!(told(directory.path()), []);
}

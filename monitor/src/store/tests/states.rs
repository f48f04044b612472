//! Every state of one flow, wherever in the ledger it lies, and of no other.

use std::{collections::BTreeMap, ops::ControlFlow};

use super::{History, open, settle, write};
use crate::event::{Entry, FlowId, FlowIds, Record};

#[test]
fn every_state_of_a_flow_is_told_with_and_without_the_index_and_no_other_flow() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = open(directory.path());
    let mut history = History::new(71);
    let entries = history.entries(600);
    write(&mut store, &entries, &mut history);
    settle(&store);
    let mut wanted: BTreeMap<FlowId, Vec<Record>> = BTreeMap::new();
    for entry in entries {
        if let Entry::Flow(record) = entry {
            wanted.entry(record.egress.flow).or_default().push(record);
        }
    }
    assert!(wanted.values().any(|states| states.len() > 2), "a history without later states");
    let reader = store.reader();
    for reader in [reader.clone(), reader.without_index()] {
        for (flow, states) in &wanted {
            let mut told = Vec::new();
            let ids = FlowIds::parse(&flow.to_string()).unwrap();
            reader
                .states(ids, |record| {
                    told.push(record);
                    ControlFlow::Continue(())
                })
                .unwrap();
            assert_eq!(&told, states, "{flow}");
        }
    }
    let beginning = wanted.keys().next().unwrap().to_string();
    let mut told = 0;
    reader
        .states(FlowIds::parse(&beginning[..12]).unwrap(), |record| {
            assert!(record.egress.flow.to_string().starts_with(&beginning[..12]));
            told += 1;
            ControlFlow::Continue(())
        })
        .unwrap();
    assert!(told > 0);
}

#[test]
fn what_is_no_beginning_of_an_id_is_none() {
    for wrong in ["", "187d0b4", "187d0b40x", "187d0b40f05ac5e0c3a1f2e4b59687780"] {
        assert!(FlowIds::parse(wrong).is_err(), "{wrong}");
    }
    let ids = FlowIds::parse("187D0B40f05ac5e0").unwrap();
    assert_eq!(ids.starts()[0], ids.starts()[1]);
}

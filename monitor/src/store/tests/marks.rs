//! Marks are found as they are put there and after the ledger is opened again.

use std::sync::Arc;

use super::*;
use crate::event::{BootId, Mark, MarkKind, Moment, Notice, Timeline};

fn mark(number: u64) -> Arc<Mark> {
    let timeline = Timeline {
        boot: BootId([1; 16]),
        wall_at_boot_ns: 1_700_000_000_000_000_000,
        is_trusted: true,
    };
    Arc::new(Mark {
        kind: if number.is_multiple_of(2) { MarkKind::Start } else { MarkKind::Stop },
        name: format!("m{}", number / 2).into(),
        note: None,
        shares: vec![],
        moment: Moment { boot_ns: number * 1_000_000_000, timeline },
    })
}

fn is_mark(entry: &Entry) -> bool {
    matches!(entry, Entry::Notice { notice: Notice::Mark(_), .. })
}

#[test]
fn marks_are_told_in_the_order_of_the_ledger_whoever_reads_it() {
    let directory = tempfile::tempdir().unwrap();
    let mut history = History::new(5);
    let others: Vec<Entry> = history.entries(3000).into_iter().filter(|it| !is_mark(it)).collect();
    let mut store = open(directory.path());
    let reader = store.reader();
    let mut expected = Vec::new();
    for (number, chunk) in (0..).zip(others.chunks(500)) {
        write(&mut store, chunk, &mut history);
        assert_eq!(reader.marks().unwrap(), expected);
        let mark = mark(number);
        let entry =
            Entry::Notice { at: mark.moment.wall(), notice: Notice::Mark(Arc::clone(&mark)) };
        store.append(&entry).unwrap();
        store.sync().unwrap();
        expected.push(mark);
        assert_eq!(reader.marks().unwrap(), expected, "as soon as it is synced");
    }
    assert!(reader.stats().unwrap().segments > 3);
    store.close().unwrap();
    let alone = Reader::open(directory.path()).unwrap();
    assert_eq!(alone.marks().unwrap(), expected);
    let store = open(directory.path());
    assert_eq!(store.reader().marks().unwrap(), expected);
}

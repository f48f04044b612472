//! What the store does with files: damage, retention, locks, formats.

use std::{
    fs,
    os::unix::fs::{FileExt as _, PermissionsExt as _},
    sync::atomic::Ordering,
    time::Duration,
};

use super::{
    ask, config,
    history::{History, expected},
    open, settle, small, write,
};
use crate::{
    event::{Entry, Notice, Timestamp, Verdict},
    filter::Query,
    store::{
        Deleted, Reader, STORE_EVENTS, Store, StoreError, files, ledger, query::RECORDS,
        scan::QueryStats,
    },
};

fn everything() -> Query {
    Query::default()
}

#[test]
fn a_second_writer_is_told_who_holds_the_store() {
    let directory = tempfile::tempdir().unwrap();
    let _store = open(directory.path());
    let error = Store::open(&config(directory.path())).unwrap_err();
    assert!(
        matches!(error, StoreError::Locked { pid: Some(pid), .. } if pid == std::process::id())
    );
    assert!(!error.to_string().contains('\n'));
    Reader::open(directory.path()).unwrap();
}

#[test]
fn reading_where_no_store_is_says_so_and_makes_none() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("none");
    assert!(matches!(Reader::open(&path), Err(StoreError::Missing { .. })));
    assert!(!path.exists());
}

#[test]
fn files_are_not_for_everybody() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let store = open(&path);
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(path.clone()) & 0o007, 0);
    assert_eq!(mode(path.join("index")) & 0o007, 0);
    assert_eq!(mode(path.join("ledger/00000001.seg")) & 0o137, 0);
    drop(store);
}

#[test]
fn a_damaged_block_is_counted_and_the_blocks_behind_it_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let mut history = History::new(21);
    let mut store = open(directory.path());
    let mut blocks = Vec::new();
    for _ in 0..12 {
        let block = history.entries(10);
        for entry in &block {
            store.append(entry).unwrap();
        }
        store.sync().unwrap();
        blocks.push(block);
    }
    drop(store);
    fs::remove_dir_all(directory.path().join("index")).unwrap();
    // In the third block: once its payload, once its head.
    for hit in [200, 50] {
        let segment = files::segment_path(&directory.path().join("ledger"), 1);
        let bytes = fs::read(&segment).unwrap();
        let mut at = ledger::frame::SegmentHeader::decode(&bytes).unwrap().bytes() as usize;
        for _ in 0..2 {
            at += 128 + u32::from_le_bytes(bytes[at + 8..at + 12].try_into().unwrap()) as usize;
        }
        let file = fs::OpenOptions::new().write(true).open(&segment).unwrap();
        file.write_all_at(&[bytes[at + hit] ^ 0xFF], (at + hit) as u64).unwrap();

        let rest: Vec<Entry> = blocks[..2].iter().chain(&blocks[3..]).flatten().cloned().collect();
        let store = open(directory.path());
        assert!(store.recovery().cuts.is_empty(), "whole blocks follow");
        settle(&store);
        // With the block its states are gone, so older ones may be the latest known.
        let right = expected(&rest, &everything());
        assert_eq!(ask(&store.reader(), &everything()), right);
        assert_eq!(ask(&store.reader().without_index(), &everything()), right);
        assert!(store.counters().blocks_corrupt.load(Ordering::Relaxed) > 0);
    }
}

#[test]
fn a_torn_tail_is_cut_told_and_recorded() {
    let directory = tempfile::tempdir().unwrap();
    let mut history = History::new(4);
    let entries = history.entries(30);
    let mut store = open(directory.path());
    write(&mut store, &entries, &mut history);
    let segment = store.reader().scan().segments().unwrap().pop().unwrap();
    drop(store);
    let path = files::segment_path(&directory.path().join("ledger"), segment);
    let whole = fs::metadata(&path).unwrap().len();
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend_from_slice(b"GFBK and no more of it");
    fs::write(&path, bytes).unwrap();

    let mut store = open(directory.path());
    assert_eq!(store.recovery().cuts, vec![(segment, 22)]);
    let told = STORE_EVENTS.into_iter().zip(store.counters().counts());
    let told: Vec<_> = told.filter(|(_, count)| *count > 0).collect();
    assert!(told.contains(&("tail-cut", 1)), "{told:?}");
    assert_eq!(fs::metadata(&path).unwrap().len(), whole);
    store.sync().unwrap();
    let mut told = Vec::new();
    store
        .reader()
        .notices(Some(Timestamp(1_750_000_000_000_000_000)), None, |_, notice| {
            if !matches!(notice, Notice::Key { .. }) {
                told.push(notice);
            }
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(told, vec![Notice::Cut { segment: u64::from(segment), bytes: 22 }]);
}

#[test]
fn the_hash_chain_runs_through_segments_and_reopenings() {
    let directory = tempfile::tempdir().unwrap();
    let mut history = History::new(9);
    for _ in 0..3 {
        let mut store = open(directory.path());
        let entries = history.entries(300);
        write(&mut store, &entries, &mut history);
    }
    let path = directory.path().join("ledger");
    let mut previous = [0; 32];
    let mut number = 0;
    let segments = files::segments(&path).unwrap();
    assert!(segments.len() > 3);
    for segment in segments {
        let bytes = fs::read(files::segment_path(&path, segment)).unwrap();
        let header = ledger::frame::SegmentHeader::decode(&bytes).unwrap();
        assert_eq!(header.previous, previous, "segment {segment}");
        assert_eq!(header.first_block, number);
        let mut at = header.bytes() as usize;
        previous = ledger::frame::hash(&[&bytes[..at]]);
        while at < bytes.len() {
            let head = ledger::frame::Head::decode(&bytes[at..]).unwrap();
            assert_eq!((head.previous, head.number), (previous, number));
            let end = at + head.block_bytes() as usize;
            previous = ledger::frame::hash(&[&bytes[at..end]]);
            number += 1;
            at = end;
        }
    }
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()));
    let path = files::segment_path(&directory.path().join("ledger"), 1);
    let mut bytes = fs::read(&path).unwrap();
    bytes[8] = 9;
    bytes[12..16].fill(0);
    let crc = crc32fast::hash(&bytes[..72]);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    fs::write(&path, &bytes).unwrap();
    let error = Store::open(&config(directory.path())).unwrap_err();
    assert!(matches!(error, StoreError::Newer { found: 9, .. }));
    assert_eq!(fs::read(&path).unwrap(), bytes);
    let reader = Reader::open(directory.path()).unwrap();
    let asked = reader.query(&everything(), |_| std::ops::ControlFlow::Continue(()));
    assert!(matches!(asked, Err(StoreError::Newer { .. })));
}

#[test]
fn retention_by_size_deletes_the_oldest_segments_and_their_index() {
    let directory = tempfile::tempdir().unwrap();
    let mut history = History::new(8);
    let entries = history.entries(4000);
    let mut store = open(directory.path());
    write(&mut store, &entries, &mut history);
    settle(&store);
    let before = store.reader().stats().unwrap();
    // And which key signs.
    assert_eq!(before.flow_states + before.rollups + before.notices, 4001);
    store.max_bytes = before.ledger_bytes * 2 / 3;
    let last = |store: &Store| store.reader().scan().segments().unwrap().pop().unwrap();
    let begun = last(&store);
    let deleted = store.retain().unwrap();
    settle(&store);
    let after = store.reader().stats().unwrap();
    // What tells of it comes on top: a notice for what is gone, and one for all that ever went.
    let over = (after.ledger_bytes + after.index_bytes).saturating_sub(store.max_bytes);
    assert!(over < 4096, "{over} of {}", store.max_bytes);
    let begun = u64::from(last(&store) - begun);
    assert_eq!(before.segments + begun - after.segments, deleted.segments.len() as u64);
    // Before one goes, the ledger tells of it.
    let had = 4001 + deleted.segments.len() as u64;
    assert_eq!(deleted.entries, had - after.flow_states - after.rollups - after.notices);
    assert_eq!(
        (deleted.flows, deleted.notices),
        (before.flows - after.flows, before.notices + had - 4001 - after.notices)
    );
    assert!(after.oldest > before.oldest && after.segments > 2);
    let kept = &entries[deleted.entries as usize - 1..];
    let query = everything();
    assert_eq!(ask(&store.reader(), &query), expected(kept, &query));
}

/// Many segments, of which only the `violations`th hold a violation.
fn mixed(store: &mut Store, history: &mut History, violations: &[usize]) -> Vec<Vec<Entry>> {
    let mut segments = Vec::new();
    for number in 0..12 {
        let mut entries = Vec::new();
        let begun = store.reader().scan().segments().unwrap().len();
        while store.reader().scan().segments().unwrap().len() == begun {
            let Entry::Flow(mut record) = history.entry() else { continue };
            if record.egress.revision > 0 {
                continue;
            }
            // Not the last, which begins the next segment.
            let is_violation = violations.contains(&number) && entries.len() < 10;
            record.judgement.verdict =
                if is_violation { Verdict::Unapproved } else { Verdict::Approved };
            entries.push(Entry::Flow(record));
            store.append(entries.last().unwrap()).unwrap();
            store.sync().unwrap();
        }
        segments.push(entries);
    }
    segments
}

#[test]
fn what_was_in_violation_is_kept_longer_than_what_was_not_and_what_went_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let mut history = History::new(8);
    let mut store = open(directory.path());
    // The first four have one index.
    mixed(&mut store, &mut history, &[0, 1, 2, 3]);
    settle(&store);
    let violations = |reader: &Reader| {
        let mut query = everything();
        query.filter.verdicts = vec![Verdict::Unapproved];
        ask(reader, &query)
    };
    let old = violations(&store.reader());
    assert_eq!(old.len(), 40);
    // How large the index is depends on which of its databases are open: the bound comes down until
    // enough had to go.
    let mut removed = Vec::new();
    while removed.iter().map(|it: &Deleted| it.segments.len()).sum::<usize>() < 4 {
        let stats = store.reader().stats().unwrap();
        store.max_bytes = stats.ledger_bytes + stats.index_bytes - 1;
        removed.push(store.retain().unwrap());
        store.sync().unwrap();
    }
    settle(&store);
    let reader = store.reader();
    assert!(violations(&reader) == old, "removed: {removed:?}");
    assert_eq!(ask(&reader, &everything()), ask(&reader.without_index(), &everything()));
    let numbers = reader.scan().segments().unwrap();
    assert!(numbers.starts_with(&[1, 2, 3, 4]) && !numbers.contains(&5), "{numbers:?}");
    let mut told = Vec::new();
    let each = |_, notice| {
        if let Notice::Removed { .. } = notice {
            told.push(notice);
        }
        std::ops::ControlFlow::Continue(())
    };
    reader.notices(None, None, each).unwrap();
    let notices: Vec<Notice> = removed.iter().filter_map(Deleted::notice).collect();
    assert_eq!(told, notices);
    assert!(removed.iter().all(|it| it.entries > 0 && it.span.is_some()));
    // Opened again it is what it was.
    drop(store);
    let store = open(directory.path());
    settle(&store);
    assert_eq!(violations(&store.reader()), old);
    assert!(store.recovery().cuts.is_empty());
}

#[test]
fn what_just_happened_is_kept_although_it_is_no_violation() {
    let directory = tempfile::tempdir().unwrap();
    let mut history = History::new(8);
    let mut store = open(directory.path());
    // All but the newest hold one.
    mixed(&mut store, &mut history, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    settle(&store);
    let before = store.reader().stats().unwrap();
    store.max_bytes = (before.ledger_bytes + before.index_bytes) * 2 / 3;
    let deleted = store.retain().unwrap();
    assert_eq!(deleted.segments[..3], [1, 2, 3], "the oldest go");
}

#[test]
fn an_index_of_an_older_version_is_built_anew() {
    let directory = tempfile::tempdir().unwrap();
    let mut history = History::new(12);
    let entries = history.entries(900);
    let mut store = open(directory.path());
    write(&mut store, &entries, &mut history);
    settle(&store);
    store.close().unwrap();
    let mut seals = 0;
    for entry in fs::read_dir(directory.path().join("index")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|it| it != "seal") {
            continue;
        }
        // The version is the first byte behind the checksum.
        let mut bytes = fs::read(&path).unwrap();
        bytes[12] -= 1;
        let crc = crc32fast::hash(&bytes[12..]).to_le_bytes();
        bytes[8..12].copy_from_slice(&crc);
        fs::write(&path, bytes).unwrap();
        seals += 1;
    }
    assert!(seals > 1);
    let store = open(directory.path());
    settle(&store);
    assert_eq!(store.counters().index_set_aside.load(Ordering::Relaxed), seals);
    assert_eq!(store.reader().stats().unwrap().index.unwrap().periods as u64, seals);
    let query = Query::default();
    assert_eq!(ask(&store.reader(), &query), expected(&entries, &query));
}

#[test]
fn a_reader_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut history = History::new(2);
    let mut store = Store::open_with(&config(directory.path()), small()).unwrap();
    write(&mut store, &history.entries(400), &mut history);
    drop(store);
    let seen = || {
        let mut files = Vec::new();
        let mut directories = vec![directory.path().to_owned()];
        while let Some(it) = directories.pop() {
            for entry in fs::read_dir(it).unwrap().map(Result::unwrap) {
                let about = entry.metadata().unwrap();
                if about.is_dir() {
                    directories.push(entry.path());
                }
                files.push((entry.path(), about.len(), about.modified().unwrap()));
            }
        }
        files.sort();
        files
    };
    let before = seen();
    let reader = Reader::open(directory.path()).unwrap();
    ask(&reader, &everything());
    reader.stats().unwrap();
    assert_eq!(seen(), before);
}

#[test]
fn a_lock_that_is_about_to_be_given_back_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let first = open(directory.path());
    let ending = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        drop(first);
    });
    drop(open(directory.path()));
    ending.join().unwrap();
}

#[test]
fn a_segment_that_became_shorter_while_it_is_read_ends_there() {
    let directory = tempfile::tempdir().unwrap();
    let mut history = History::new(11);
    let mut store = open(directory.path());
    write(&mut store, &history.entries(40), &mut history);
    let ledger = directory.path().join("ledger");
    let mut segment = ledger::segment::Segment::open(&ledger, 1).unwrap().unwrap();
    let file = fs::File::options().write(true).open(ledger.join("00000001.seg")).unwrap();
    let (mut heads, mut shorter) = (0, false);
    segment
        .walk(0, |at, head| {
            heads += 1;
            if !shorter {
                // Two bytes of the next block are left.
                file.set_len(at + head.block_bytes() + 2).unwrap();
                shorter = true;
            }
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    assert!(heads > 0);
    let walk = segment.walk(segment.bytes() - 10, |_, _| std::ops::ControlFlow::Continue(()));
    assert_eq!(walk.unwrap().tail, 10);
}

#[test]
fn an_answer_that_nobody_waits_for_ends_although_nothing_matches() {
    let directory = tempfile::tempdir().unwrap();
    let mut history = History::new(12);
    let mut store = open(directory.path());
    write(&mut store, &history.entries(200), &mut history);
    let reader = store.reader().until(std::sync::Arc::new(|| true));
    let result = reader.query(&everything(), |_| panic!("nobody waits"));
    assert!(matches!(result, Err(StoreError::Stopped)), "{result:?}");
    let result = reader.notices(None, None, |_, _| panic!("nobody waits"));
    assert!(matches!(result, Err(StoreError::Stopped)), "{result:?}");
}

#[test]
fn an_answer_that_nobody_waits_for_ends_before_more_of_it_is_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut history = History::new(12);
    let mut store = open(directory.path());
    write(&mut store, &history.entries(2_000), &mut history);
    let told = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let reader = store.reader().until({
        let told = std::sync::Arc::clone(&told);
        std::sync::Arc::new(move || told.load(Ordering::Relaxed) > 0)
    });
    let result = reader.query(&everything(), |_| {
        told.fetch_add(1, Ordering::Relaxed);
        std::ops::ControlFlow::Continue(())
    });
    assert!(matches!(result, Err(StoreError::Stopped)), "{result:?}");
    assert_eq!(told.load(Ordering::Relaxed), RECORDS, "what was read already");
}

/// Asks, and overwrites all segments once the first record came.
fn ask_while_it_is_overwritten(query: &Query) -> (usize, Result<QueryStats, StoreError>) {
    let directory = tempfile::tempdir().unwrap();
    let mut history = History::new(13);
    let mut store = open(directory.path());
    write(&mut store, &history.entries(2_000), &mut history);
    settle(&store);
    let reader = store.reader();
    let whole = ask(&reader, query).len();
    let mut told = 0;
    let result = reader.query(query, |_| {
        if told == 0 {
            for number in reader.scan().segments().unwrap() {
                let path = directory.path().join(format!("ledger/{number:08}.seg"));
                let bytes = fs::metadata(&path).unwrap().len();
                let file = fs::File::options().write(true).open(path).unwrap();
                file.write_all_at(&vec![0; bytes as usize - 64], 64).unwrap();
            }
        }
        told += 1;
        std::ops::ControlFlow::Continue(())
    });
    assert!(0 < told && told < whole, "{told} of {whole}");
    (told, result)
}

#[test]
fn an_answer_that_the_index_contradicts_half_way_is_not_taken_for_whole() {
    let mut query = everything();
    query.filter.verdicts = vec![Verdict::Approved, Verdict::Unapproved];
    let (told, result) = ask_while_it_is_overwritten(&query);
    assert!(matches!(result, Err(StoreError::Contradicted { .. })), "{told}: {result:?}");
}

#[test]
fn blocks_that_are_damaged_while_an_answer_is_made_are_counted() {
    let (told, result) = ask_while_it_is_overwritten(&everything());
    assert!(matches!(&result, Ok(stats) if stats.blocks_corrupt > 0), "{told}: {result:?}");
}

//! What the store says of its own worth: what was watched, and what of the ledger is missing.

use std::{fs, os::unix::fs::FileExt as _, path::PathBuf, sync::Arc};

use tempfile::TempDir;

use super::{history::History, open, settle, write};
use crate::{
    coverage::{Alive, Coverage, Integrity, Watched},
    event::{BootId, Entry, Moment, Notice, Timeline, Timestamp, Watching},
    store::Reader,
};

/// A store of several segments, closed; and how many blocks each has.
fn closed() -> (TempDir, Vec<PathBuf>) {
    let directory = tempfile::tempdir().unwrap();
    let mut history = History::new(17);
    let mut store = open(directory.path());
    write(&mut store, &history.entries(900), &mut history);
    settle(&store);
    drop(store);
    let segments = Reader::open(directory.path()).unwrap().scan().segments().unwrap();
    assert!(segments.len() > 4, "{segments:?}");
    let path = |number: &u32| directory.path().join(format!("ledger/{number:08}.seg"));
    let paths = segments.iter().map(path).collect();
    (directory, paths)
}

fn integrity(directory: &TempDir) -> Integrity {
    let reader = Reader::open(directory.path()).unwrap();
    reader.coverage((None, Timestamp(u64::MAX)), None).unwrap().ledger
}

#[test]
fn an_untouched_ledger_is_whole() {
    let (directory, _) = closed();
    assert!(integrity(&directory).is_whole());
}

#[test]
fn a_byte_that_changed_anywhere_is_damage() {
    let (directory, segments) = closed();
    let bytes = fs::read(&segments[1]).unwrap();
    for at in (0..bytes.len() as u64).step_by(97) {
        let file = fs::File::options().write(true).open(&segments[1]).unwrap();
        file.write_all_at(&[!bytes[at as usize]], at).unwrap();
        let told = integrity(&directory);
        assert!(told.damaged > 0 || told.missing_blocks > 0, "byte {at}: {told:?}");
        file.write_all_at(&bytes[at as usize..=at as usize], at).unwrap();
    }
    assert!(integrity(&directory).is_whole());
}

#[test]
fn what_was_whole_before_is_read_again_once_its_file_changed() {
    let (directory, segments) = closed();
    let reader = Reader::open(directory.path()).unwrap();
    let told = || reader.coverage((None, Timestamp(u64::MAX)), None).unwrap().ledger;
    assert!(told().is_whole());
    let file = fs::File::options().read(true).write(true).open(&segments[1]).unwrap();
    let (mut byte, at) = ([0], file.metadata().unwrap().len() / 2);
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[!byte[0]], at).unwrap();
    assert_eq!([told().damaged, told().damaged], [1, 1]);
    file.write_all_at(&byte, at).unwrap();
    assert!(told().is_whole());
    fs::remove_file(&segments[2]).unwrap();
    assert_eq!(told().missing_segments, 1);
}

#[test]
fn a_segment_that_somebody_removed_is_missing() {
    let (directory, segments) = closed();
    fs::remove_file(&segments[2]).unwrap();
    let told = integrity(&directory);
    assert_eq!((told.missing_segments, told.damaged), (1, 0), "{told:?}");
}

#[test]
fn a_segment_that_ends_early_lacks_blocks() {
    let (directory, segments) = closed();
    let file = fs::File::options().write(true).open(&segments[1]).unwrap();
    // The end of a whole block: nothing in the file looks wrong.
    let ledger = directory.path().join("ledger");
    let mut segment = crate::store::ledger::segment::Segment::open(&ledger, 2).unwrap().unwrap();
    let mut ends = Vec::new();
    segment
        .walk(0, |at, head| {
            ends.push(at + head.block_bytes());
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    file.set_len(ends[ends.len() - 3]).unwrap();
    let told = integrity(&directory);
    assert_eq!((told.missing_blocks, told.missing_segments), (2, 0), "{told:?}");
}

#[test]
fn a_segment_that_was_overwritten_is_damage() {
    let (directory, segments) = closed();
    let bytes = fs::metadata(&segments[3]).unwrap().len();
    fs::write(&segments[3], vec![0x5a; bytes as usize]).unwrap();
    assert!(integrity(&directory).damaged > 0);
}

#[test]
fn what_retention_says_it_removed_is_not_missing() {
    let (directory, segments) = closed();
    let mut store = open(directory.path());
    fs::remove_file(&segments[2]).unwrap();
    let newest = store.reader().stats().unwrap().newest.unwrap();
    let span = (Timestamp(newest.0 - 1), newest);
    let notice = Notice::Removed { segments: vec![3], entries: 1, from: span.0, to: span.1 };
    store.append(&Entry::Notice { at: newest, notice }).unwrap();
    store.sync().unwrap();
    let told = store.reader().coverage((Some(span.0), Timestamp(u64::MAX)), None).unwrap();
    let Coverage { ledger, gaps, .. } = told;
    assert!(ledger.is_whole(), "{ledger:?}");
    assert!(gaps.iter().any(|gap| gap.stage == "retention"), "{gaps:?}");
}

#[test]
fn without_a_beginning_a_window_begins_with_the_first_word_of_whoever_watches() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = open(directory.path());
    // A connection that was there before is found, not watched.
    let found = History::new(3).begin();
    let Timestamp(before) = found.egress.started_at;
    let at = Timestamp(before + 1_000_000_000);
    store.append(&Entry::Flow(found)).unwrap();
    let notice = Notice::Started { version: "1".into(), probes: vec![], policy_sha256: [0; 32] };
    store.append(&Entry::Notice { at, notice }).unwrap();
    store.sync().unwrap();
    let now = Timestamp(at.0 + 60_000_000_000);
    let alive = Some(Alive { since: at, now, is_told: true });
    let told = store.reader().coverage((None, now), alive).unwrap();
    assert!(!told.has_gaps(), "{told:?}");
    assert_eq!(told.seconds, 60);
    let asked = store.reader().coverage((Some(Timestamp(before)), now), alive).unwrap();
    assert!(asked.has_gaps(), "{asked:?}");
}

#[test]
fn who_watched_is_found_from_before_the_window_on_and_of_older_versions_what_they_told() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = open(directory.path());
    let at = |hour: u64| Timestamp::from_secs(1_800_000_000 + hour * 3_600);
    let started = |version: &str| Notice::Started {
        version: version.into(),
        probes: vec!["connect4".into()],
        policy_sha256: [0; 32],
    };
    let watching = |boot_ns, interface: &str| {
        let timeline = Timeline { boot: BootId([1; 16]), wall_at_boot_ns: 0, is_trusted: true };
        Notice::Watching(Arc::new(Watching {
            version: "2".into(),
            kernel: "6.18".into(),
            probes: Vec::new(),
            interfaces: vec![interface.into()],
            clock: Moment { boot_ns, timeline },
            tolerance_ns: Some(boot_ns),
            policy_sha256: [0; 32],
            databases: Vec::new(),
        }))
    };
    let notices = [
        (0, started("1")),
        (100, started("2")),
        (100, watching(1, "eth0")),
        (124, watching(2, "eth0")),
        (130, watching(3, "wlan0")),
    ];
    for (hour, notice) in notices {
        store.append(&Entry::Notice { at: at(hour), notice }).unwrap();
    }
    store.sync().unwrap();
    let told = |since: Option<u64>, until| {
        let watching = store.reader().watching((since.map(at), at(until))).unwrap();
        let word = |it: &Watched| {
            let hour = (it.noted_at.0.secs() - 1_800_000_000) / 3_600;
            (hour, it.version.clone(), it.interfaces.concat())
        };
        watching.iter().map(word).collect::<Vec<_>>()
    };
    let word = |hour, version: &str, interface: &str| (hour, version.into(), interface.into());
    let (old, new, other) = (word(0, "1", ""), word(100, "2", "eth0"), word(130, "2", "wlan0"));
    assert_eq!(told(None, 200), [old.clone(), new.clone(), other.clone()]);
    // It was told only once, long before.
    assert_eq!(told(Some(90), 99), [old]);
    // By the word of the day.
    assert_eq!(told(Some(126), 140), [word(124, "2", "eth0"), other.clone()]);
    assert_eq!(told(Some(131), 140), [other]);
    assert_eq!(told(Some(101), 102), [new]);
}

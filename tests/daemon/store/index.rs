//! An index that is damaged or vanishes: it changes no answer, and it is built anew.

use std::{
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::atomic::Ordering,
    time::Duration,
};

use geofenced::inside::{
    event::Timestamp,
    filter::{Query, RawFilter},
    store::Store,
};

use super::{START, append, ask, config, directory, options, random, reopen};

/// All files below a directory.
fn files(path: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut directories = vec![path.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            if entry.metadata().unwrap().is_dir() {
                directories.push(entry.path());
            } else {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    files
}

fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(file, target).unwrap();
    }
}

fn questions() -> Vec<Query> {
    let some = |text: &str| Some(text.to_owned());
    let raw = [
        RawFilter { country: some("CN"), ..RawFilter::default() },
        RawFilter { process: some("program3"), ..RawFilter::default() },
        RawFilter {
            destination: some("host7.example"),
            country: some("RU"),
            ..RawFilter::default()
        },
        RawFilter { destination: some("203.0.113.0/28"), limit: some("9"), ..RawFilter::default() },
    ];
    raw.into_iter().map(|raw| raw.parse(Timestamp(START)).unwrap()).collect()
}

fn damage(file: &Path, how: usize, seed: &mut u64) {
    let mut bytes = fs::read(file).unwrap();
    let mut garbage =
        |length: usize| -> Vec<u8> { (0..length).map(|_| random(seed, 256) as u8).collect() };
    match how {
        0 => return fs::remove_file(file).unwrap(),
        1 => bytes.truncate(bytes.len() / 2),
        2 => bytes.clear(),
        3 => bytes = garbage(bytes.len()),
        4 => {
            let at = bytes.len() / 3;
            let some = garbage(bytes.len().div_ceil(10));
            bytes[at..at + some.len()].copy_from_slice(&some);
        }
        _ => {
            let at = bytes.len() * 2 / 3;
            bytes[at] ^= 0x10;
        }
    }
    fs::write(file, bytes).unwrap();
}

#[test]
fn a_damaged_index_changes_no_answer_before_or_after_it_is_rebuilt() {
    let directory = directory();
    let original = directory.path().join("original");
    let options = options(7000, true);
    let mut store = Store::open_with(&config(&original), options).unwrap();
    for some in 0..60 {
        append(&mut store, some * 30..some * 30 + 30);
        store.sync().unwrap();
    }
    assert!(store.wait_for_index(Duration::from_mins(1)));
    let right: Vec<_> = questions().iter().map(|query| ask(&store.reader(), query)).collect();
    assert!(right.iter().all(|answer| !answer.is_empty()));
    drop(store);
    let index = files(&original.join("index"));
    let seals = index.iter().filter(|file| file.extension().is_some_and(|it| it == "seal"));
    assert!(seals.count() > 1, "more than one database: {index:?}");

    let mut seed = 7;
    for (victim, how) in index.iter().flat_map(|file| (0..6).map(move |how| (file, how))) {
        let path = directory.path().join("damaged");
        copy(&original, &path);
        damage(&path.join(victim.strip_prefix(&original).unwrap()), how, &mut seed);
        let store = reopen(&path, options);
        for when in ["before", "after"] {
            for (query, right) in questions().iter().zip(&right) {
                let answer = ask(&store.reader(), query);
                assert_eq!(&answer, right, "{when}: {} damaged by {how}", victim.display());
            }
            assert!(store.wait_for_index(Duration::from_mins(1)));
        }
        let aside = store.counters().index_set_aside.load(Ordering::Relaxed);
        assert_eq!(aside, 1, "{} damaged by {how} was noticed", victim.display());
        let used = store.reader().query(&questions()[0], |_| ControlFlow::Continue(())).unwrap();
        assert!(used.index_used);
        drop(store);
        fs::remove_dir_all(&path).unwrap();
    }
}

#[test]
fn an_index_that_vanishes_or_rots_under_a_running_store_is_rebuilt() {
    let directory = directory();
    let options = options(16_000, true);
    let mut store = Store::open_with(&config(directory.path()), options).unwrap();
    for some in 0..60 {
        append(&mut store, some * 30..some * 30 + 30);
        store.sync().unwrap();
    }
    let right: Vec<_> =
        questions().iter().map(|query| ask(&store.reader().without_index(), query)).collect();
    for how in [0, 3] {
        assert!(store.wait_for_index(Duration::from_mins(1)));
        // Until it has closed its databases: what is open is not read from the disk again.
        let is_open = || store.reader().stats().unwrap().index.unwrap().open > 0;
        for _ in 0..12_000 {
            if !is_open() {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(!is_open(), "an idle database stays open");
        for file in files(&directory.path().join("index")) {
            damage(&file, how, &mut 99);
        }
        let before = store.counters().index_set_aside.load(Ordering::Relaxed);
        for _ in 0..2 {
            for (query, right) in questions().iter().zip(&right) {
                assert_eq!(&ask(&store.reader(), query), right);
            }
            assert!(store.wait_for_index(Duration::from_mins(1)));
        }
        assert!(store.counters().index_set_aside.load(Ordering::Relaxed) > before);
    }
}

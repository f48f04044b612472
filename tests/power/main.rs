//! The power goes, at a thousand points while a store is written: what was acknowledged is there, the store
//! opens and goes on, and no two checkpoints of one size are ever different. The writer's own system calls say what
//! reached the disk.

mod disk;
mod trace;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use disk::Disk;
use fastrand::Rng;
use geofenced::inside::{
    config::{RecordMode, StoreConfig},
    filter::{Filter, Query},
    store::{
        Options, Reader, Store,
        verify::{Trust, own_keys, verify},
    },
};
use trace::Call;

const ROUNDS: &str = "400";
const CUTS: usize = 1_000;
/// The same each time; printed where a cut is not survived.
const SEED: u64 = 20_261_129;

fn writer() -> PathBuf {
    let tests = std::env::current_exe().expect("the path of this test");
    let built = tests.parent().and_then(Path::parent).expect("target/debug");
    built.join("examples/ledger")
}

/// What the writer did, to its end.
fn traced(root: &Path) -> Vec<Call> {
    let log = root.with_extension("strace");
    let mut strace = Command::new("strace");
    strace
        .args(["-qq", "-xx", "-s", "1000000", "-o"])
        .arg(&log)
        .arg(writer())
        .arg(root)
        .arg(ROUNDS);
    let ended = strace.stdout(Stdio::null()).status();
    let ended = ended.expect("install the Debian package `strace`; `cargo xtask test` does");
    assert!(ended.success(), "{ended}");
    let text = fs::read_to_string(log).expect("the trace");
    trace::calls(&text, parent(root.to_str().expect("a path in UTF-8")))
}

fn config(path: &Path) -> StoreConfig {
    StoreConfig {
        path: path.to_owned(),
        record: RecordMode::All,
        retention: Duration::from_hours(24 * 365 * 100),
        max_bytes: 1 << 30,
        sync: Duration::from_secs(10),
        shipping: None,
    }
}

fn options() -> Options {
    let (segment_bytes, segment_age) = (8 << 10, Duration::from_hours(24));
    Options { segment_bytes, segment_age, index: None }
}

/// Numbers of the records.
fn stored(store: &Path) -> BTreeSet<u64> {
    let reader = Reader::open(store).expect("a store to be read");
    let mut numbers = BTreeSet::new();
    let query = Query { filter: Filter::default(), limit: None, newest_first: false };
    let answer = reader.query(&query, |record| {
        numbers.insert(record.egress.flow.0 as u64);
        std::ops::ControlFlow::Continue(())
    });
    answer.expect("an answer");
    numbers
}

/// Origin and size of each checkpoint that is whole, with its root.
fn checkpoints(store: &Path) -> Vec<((String, u64), String)> {
    let text = fs::read(store.join("evidence/checkpoints")).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let mut notes = Vec::new();
    let lines: Vec<&str> = text.lines().collect();
    for part in lines.windows(5) {
        // Origin, size, root, an empty line, and a signature.
        if let [origin, size, root, "", signature] = part
            && signature.starts_with('\u{2014}')
            && let Ok(size) = size.parse::<u64>()
        {
            notes.push((((*origin).to_owned(), size), (*root).to_owned()));
        }
    }
    notes
}

/// Takes what is signed in; two of one size have one root.
fn compare(known: &mut BTreeMap<(String, u64), String>, store: &Path, when: &str) {
    for (head, root) in checkpoints(store) {
        let before = known.entry(head.clone()).or_insert_with(|| root.clone());
        assert_eq!(*before, root, "{when}: two checkpoints of {head:?}");
    }
}

#[test]
fn whenever_the_power_goes_what_was_acknowledged_is_there_and_no_checkpoint_has_another_beside_it()
{
    let folder = tempfile::tempdir_in("/dev/shm").expect("a directory in memory");
    let root = folder.path().join("written");
    let calls = traced(&root);
    let root_text = root.to_str().expect("a path in UTF-8");
    let mut random = Rng::with_seed(SEED);
    // After what changes something: nothing is lost between two looks.
    let changes: Vec<usize> = (1..=calls.len()).filter(|nth| calls[nth - 1].changes()).collect();
    let mut cuts: Vec<usize> = (0..CUTS).map(|_| changes[random.usize(..changes.len())]).collect();
    cuts.sort_unstable();

    let (mut disk, mut done, mut acknowledged) = (Disk::at(parent(root_text)), 0, 0);
    let (mut met, mut faults) = (BTreeMap::<&str, u64>::new(), BTreeMap::<&str, u64>::new());
    for (nth, cut) in cuts.into_iter().enumerate() {
        for call in &calls[done..cut] {
            disk.apply(call);
            if let Call::Say { line } = call {
                let number = line.strip_prefix("acknowledged ").expect("what it says");
                acknowledged = number.parse().expect("a number");
            }
        }
        done = cut;
        let when = format!("cut {nth} after call {cut} of {}, seed {SEED}", calls.len());

        let seen_at = folder.path().join("seen");
        disk.as_seen().put(parent(root_text), &seen_at);
        let (seen_at, cut_at) = (seen_at.join("written"), folder.path().join("cut"));
        let mut known = BTreeMap::new();
        compare(&mut known, &seen_at, &when);
        let mut wanted = BTreeSet::new();
        if seen_at.join("ledger").is_dir() {
            wanted = stored(&seen_at).into_iter().filter(|it| *it <= acknowledged).collect();
        }

        disk.after_a_cut(&mut random).put(parent(root_text), &cut_at);
        let cut_store = cut_at.join("written");
        let is_cut = checkpoints(&cut_store).len() < checkpoints(&seen_at).len();
        *met.entry("a checkpoint was lost").or_default() += u64::from(is_cut);
        let opened = Store::open_with(&config(&cut_store), options());
        let mut store = opened.unwrap_or_else(|error| panic!("{when}: {error}"));
        *met.entry("a tail was cut").or_default() += u64::from(!store.recovery().cuts.is_empty());
        let recovery = store.recovery().clone();
        store.seal().unwrap_or_else(|error| panic!("{when}: {error}"));
        drop(store);
        let found = stored(&cut_store);
        let trust = Trust { keys: own_keys(&cut_store).expect("keys"), ..Trust::default() };
        let report = verify(&cut_store, &trust, &mut |_| {}).expect("a store to be verified");
        for finding in &report.findings {
            println!("{when}: {finding:?} {recovery:?}");
            *faults.entry(finding.kind.word()).or_default() += 1u64;
        }
        let lost: Vec<_> = wanted.difference(&found).collect();
        assert!(lost.is_empty(), "{when}: lost {lost:?} of {acknowledged}");
        compare(&mut known, &cut_store, &when);
        for folder in [seen_at.parent().expect("a folder"), &cut_at] {
            fs::remove_dir_all(folder).expect("remove a folder");
        }
    }
    println!("{CUTS} cuts in {} calls, {acknowledged} records: {met:?}", calls.len());
    // A host whose power failed is no forger.
    assert!(faults.is_empty(), "{faults:?}");
    // Else it tests nothing.
    assert!(met.values().all(|count| *count > CUTS as u64 / 100), "{met:?}");
    let removed =
        calls.iter().filter(|it| matches!(it, Call::Unlink { path } if path.contains("/ledger/")));
    assert!(removed.count() > 3, "retention removed nothing");
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').expect("an absolute path").0
}

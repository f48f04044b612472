//! The store against crashes: writers killed, ledgers torn, indexes damaged, disks full. A test that
//! needs a writer to be killed or limited starts this very executable again as that writer.

#[path = "store/index.rs"]
mod index;

use std::{
    collections::BTreeSet,
    env, fs,
    io::{BufRead as _, BufReader, Read as _},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    ops::ControlFlow,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use geofenced::inside::{
    config::{RecordMode, StoreConfig},
    event::{
        Attribution, Certainty, Country, CountryCode, Domain, DomainSource, Egress, Entry,
        ExecutedFile, Findings, FlowId, Judgement, Origin, Phase, Place, Process, Reason, Record,
        Sender, Timestamp, Traffic, Transport, User, Verdict,
    },
    filter::{Query, RawFilter},
    store::{IndexLimits, Options, Reader, Store, StoreError},
};
use tempfile::TempDir;

/// Where a writer is to write; unset in the test itself.
const WRITER: &str = "GEOFENCED_TEST_STORE_WRITER";
/// First flow it writes.
const FROM: &str = "GEOFENCED_TEST_STORE_FROM";
const START: u64 = 1_790_000_000_000_000_000;
const SECOND: u64 = 1_000_000_000;

/// In memory where that is to be had: these tests are about what is in files, not on platters.
fn directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.unwrap()
}

fn config(path: &Path) -> StoreConfig {
    StoreConfig {
        path: path.to_owned(),
        record: RecordMode::All,
        retention: Duration::from_hours(24 * 365),
        max_bytes: 64 << 20,
        sync: Duration::from_secs(10),
        shipping: None,
    }
}

fn options(segment_bytes: u64, indexed: bool) -> Options {
    let index = IndexLimits {
        group_blocks: 8,
        group_entries: 100,
        idle: Duration::from_millis(50),
        open: 3,
        one_in: 1,
    };
    Options {
        segment_bytes,
        segment_age: Duration::from_hours(24),
        index: indexed.then_some(index),
    }
}

/// Flow `number`; every field of it follows from the number.
fn flow(number: u64) -> Record {
    let at = Timestamp(START + number * SECOND);
    let text = |text: String| Arc::<str>::from(text);
    Record {
        egress: Egress {
            flow: FlowId(u128::from(at.0) << 64 | u128::from(number)),
            revision: 0,
            started_at: at,
            last_at: at,
            ended_at: None,
            phase: Phase::Sent,
            origin: Origin::Process,
            transport: Transport::UDP,
            local: None,
            remote: Some(SocketAddr::new(
                IpAddr::V4(Ipv4Addr::from(0xCB00_7100 + number as u32 % 256)),
                4000 + (number % 1000) as u16,
            )),
            traffic: Traffic { sent_bytes: number, sent_packets: 1, ..Traffic::default() },
            passage: geofenced::inside::event::Passage::default(),
            activity: None,
        },
        findings: Arc::new(Findings {
            sender: Sender::Process {
                process: Arc::new(Process {
                    pid: 1 + (number % 30_000) as u32,
                    name: text(format!("program{}", number % 7)),
                    executable: Some(text(format!("/usr/bin/program{}", number % 7))),
                    executable_claimed: None,
                    file: ExecutedFile::default(),
                    command_line: Some(text(format!("program --number {number}"))),
                    started_at: None,
                    parents: Vec::new(),
                    user: User { id: 0, name: None },
                    unit: None,
                    container: None,
                    cgroup: None,
                    netns: None,
                }),
                attribution: Attribution::Socket,
                creator: None,
            },
            place: Place {
                country: CountryCode::new(["CN", "RU", "US"][number as usize % 3])
                    .map_or(Country::Unlocated, Country::Known),
                second: None,
                operator: None,
                server_name: None,
                via: None,
                domain: Some(Domain {
                    name: text(format!("host{}.example", number % 50)),
                    source: DomainSource::Dns,
                    is_trusted: false,
                }),
            },
            judgement: Judgement {
                verdict: Verdict::Unapproved,
                certainty: Certainty::Full,
                reason: Reason::Country,
            },
            provenance: None,
            verdict_now: None,
            timeline: None,
        }),
    }
}

fn append(store: &mut Store, numbers: std::ops::Range<u64>) {
    for number in numbers {
        store.append(&Entry::Flow(flow(number))).unwrap();
    }
}

fn ask(reader: &Reader, query: &Query) -> Vec<Record> {
    let mut records = Vec::new();
    reader
        .query(query, |record| {
            records.push(record);
            ControlFlow::Continue(())
        })
        .unwrap();
    records
}

fn number(record: &Record) -> u64 {
    record.egress.flow.0 as u64
}

/// The numbers of the flows stored from `from` on; each is checked to be what was written.
fn stored(reader: &Reader, from: u64) -> BTreeSet<u64> {
    let mut query = Query::default();
    query.filter.since = Some(Timestamp(START + from * SECOND));
    let records = ask(reader, &query);
    let numbers = records.iter().map(|record| {
        assert_eq!(*record, flow(number(record)));
        number(record)
    });
    numbers.collect()
}

fn random(seed: &mut u64, below: u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    (*seed >> 11) % below
}

/// This executable again, running one test of it as the writer.
fn writer(test: &str, path: &Path, from: u64) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args(["--exact", test, "--nocapture"])
        .env(WRITER, path)
        .env(FROM, from.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

fn told_to_write() -> Option<(PathBuf, u64)> {
    let from = env::var(FROM).ok()?.parse().ok()?;
    Some((env::var_os(WRITER)?.into(), from))
}

/// What the writer said after a word that it writes before numbers.
fn said(line: &str, word: &str) -> Option<u64> {
    line.split_once(word)?.1.trim().parse().ok()
}

/// Writes until killed; says how many flows are acknowledged.
fn write_until_killed(path: &Path, from: u64) {
    let mut store = Store::open_with(&config(path), options(128 << 10, true)).unwrap();
    let mut seed = from * 2 + 1;
    let mut next = from;
    // Bounded, should nobody kill it.
    for _ in 0..100_000 {
        let some = 1 + random(&mut seed, 40);
        append(&mut store, next..next + some);
        next += some;
        store.sync().unwrap();
        println!("acknowledged below {next}");
    }
}

/// Kills the writer after some acknowledgements; gives the last one.
fn kill_after(mut child: Child, acknowledgements: u64, pause: Duration) -> Option<u64> {
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut last = None;
    let mut line = String::new();
    let mut seen = 0;
    while seen < acknowledgements && lines.read_line(&mut line).unwrap() > 0 {
        if let Some(below) = said(&line, "acknowledged below ") {
            last = Some(below);
            seen += 1;
        }
        line.clear();
    }
    std::thread::sleep(pause);
    child.kill().unwrap();
    child.wait().unwrap();
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    // The last line may be half a line.
    let whole = rest.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().filter_map(|line| said(line, "acknowledged below ")).next_back().or(last)
}

#[test]
fn a_writer_killed_a_hundred_times_loses_nothing_acknowledged() {
    if let Some((path, from)) = told_to_write() {
        write_until_killed(&path, from);
        return;
    }
    let directory = directory();
    let test = "a_writer_killed_a_hundred_times_loses_nothing_acknowledged";
    let mut seed = 0xC0FF_EE11;
    let mut next = 0;
    let mut all = BTreeSet::new();
    for round in 0..100 {
        let child = writer(test, directory.path(), next).spawn().unwrap();
        let pause = Duration::from_micros(random(&mut seed, 3000));
        let below =
            kill_after(child, 1 + random(&mut seed, 12), pause).expect("a round that wrote");
        let found = stored(&Reader::open(directory.path()).unwrap(), next);
        let missing: Vec<u64> = (next..below).filter(|it| !found.contains(it)).collect();
        assert!(missing.is_empty(), "round {round}: {missing:?} of {next}..{below}");
        next = found.last().map_or(below, |last| last + 1);
        all.extend(found);
    }
    let store = Store::open_with(&config(directory.path()), options(128 << 10, true)).unwrap();
    assert_eq!(stored(&store.reader(), 0), all);
    assert!(store.wait_for_index(Duration::from_mins(1)));
    let some = RawFilter { country: Some("RU".into()), ..RawFilter::default() };
    let query = some.parse(Timestamp(START)).unwrap();
    let right: Vec<u64> = all.iter().copied().filter(|number| number % 3 == 1).collect();
    assert_eq!(ask(&store.reader(), &query).iter().map(number).collect::<Vec<_>>(), right);
    assert_eq!(store.counters().blocks_corrupt.load(Ordering::Relaxed), 0);
}

/// Opens a store that this process has closed. A test beside this one may just be starting a
/// process, which holds a copy of the lock until it becomes that other program.
fn reopen(path: &Path, options: Options) -> Store {
    for _ in 0..2000 {
        match Store::open_with(&config(path), options) {
            Err(StoreError::Locked { .. }) => std::thread::sleep(Duration::from_millis(5)),
            other => return other.unwrap(),
        }
    }
    panic!("the lock is never given back");
}

/// Segment files with their contents, in order.
fn segments(path: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut segments: Vec<_> = fs::read_dir(path.join("ledger"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    segments.sort();
    segments
}

#[test]
fn a_ledger_torn_at_a_thousand_points_behind_its_last_sync_keeps_everything_acknowledged() {
    let directory = directory();
    let options = options(3000, false);
    let mut store = Store::open_with(&config(directory.path()), options).unwrap();
    append(&mut store, 0..40);
    store.sync().unwrap();
    let acknowledged = segments(directory.path());
    // What comes now counts as never acknowledged; it goes over into new segments.
    for some in 0..12 {
        append(&mut store, 40 + some * 10..50 + some * 10);
        store.sync().unwrap();
    }
    drop(store);
    let whole = segments(directory.path());
    assert!(whole.len() > acknowledged.len() + 1);
    let safe: u64 = acknowledged.iter().map(|(_, bytes)| bytes.len() as u64).sum();
    let total: u64 = whole.iter().map(|(_, bytes)| bytes.len() as u64).sum();

    let mut seed = 42;
    for trial in 0..1000 {
        let cut = safe + random(&mut seed, total - safe);
        let how = trial % 4;
        let mut before = 0;
        for (path, bytes) in &whole {
            let keep = cut.saturating_sub(before).min(bytes.len() as u64) as usize;
            before += bytes.len() as u64;
            if keep == 0 && how < 2 {
                let _ = fs::remove_file(path);
                continue;
            }
            let mut torn = bytes[..keep].to_vec();
            match how {
                0 => {}
                // The file was made longer, but nothing of it written.
                1 => torn.resize(bytes.len(), 0),
                // Garbage of some length, into the files that follow, too.
                2 => {
                    torn.extend((0..random(&mut seed, 5000)).map(|_| random(&mut seed, 256) as u8));
                }
                // A hole of garbage, with what stood behind it.
                _ => {
                    torn.extend_from_slice(&bytes[keep..]);
                    let hole = keep + random(&mut seed, 600) as usize;
                    let end = hole.min(torn.len());
                    torn[keep..end].iter_mut().for_each(|byte| *byte ^= 0x5A);
                }
            }
            fs::write(path, torn).unwrap();
        }
        let mut store = reopen(directory.path(), options);
        append(&mut store, 1000..1001);
        store.sync().unwrap();
        let found = stored(&store.reader(), 0);
        assert!((0..40).all(|number| found.contains(&number)), "trial {trial}, cut at {cut}");
        assert!(found.contains(&1000), "trial {trial}, cut at {cut}");
        drop(store);
        for (path, _) in segments(directory.path()) {
            fs::remove_file(path).unwrap();
        }
    }
}

#[test]
fn a_ledger_of_format_1_is_read() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/store/v1");
    let reader = Reader::open(&fixture).unwrap();
    assert_eq!(stored(&reader, 0), (0..60).collect());
    let stats = reader.stats().unwrap();
    assert_eq!((stats.segments, stats.notices), (2, 1));
}

/// Writes until there is no room, tries again some times, says so, and goes on when there is room.
fn write_until_full(path: &Path, make_room: impl FnOnce()) {
    let mut store = Store::open_with(&config(path), options(32 << 10, true)).unwrap();
    let mut taken = 0;
    let full = loop {
        assert!(taken < 1_000_000, "there is no end of room");
        match store.append(&Entry::Flow(flow(taken))) {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
        if taken % 50 == 0
            && let Err(error) = store.sync()
        {
            break error;
        }
    };
    assert!(matches!(full, StoreError::Io { .. }), "{full}");
    assert!(!full.to_string().contains('\n'));
    let acknowledged = taken - store.pending();
    for _ in 0..5 {
        store.sync().unwrap_err();
    }
    let found = stored(&Reader::open(path).unwrap(), 0);
    assert!((0..acknowledged).all(|number| found.contains(&number)), "while it is full");
    make_room();
    store.sync().unwrap();
    append(&mut store, taken..taken + 100);
    store.close().unwrap();
    let store = Store::open_with(&config(path), options(32 << 10, false)).unwrap();
    assert!(store.recovery().cuts.is_empty());
    assert_eq!(stored(&store.reader(), 0), (0..taken + 100).collect());
    println!("went on after {acknowledged}");
}

#[test]
fn a_full_disk_loses_nothing_and_writing_goes_on_when_there_is_room() {
    if let Some((path, _)) = told_to_write() {
        write_until_full(&path, || {
            use rustix::mount::{MountFlags, mount_remount};
            mount_remount(&path, MountFlags::empty(), c"size=64m").unwrap();
        });
        return;
    }
    if !rustix::process::geteuid().is_root() {
        // The file size limit below is the same for everybody.
        return;
    }
    let directory = directory();
    let test = "a_full_disk_loses_nothing_and_writing_goes_on_when_there_is_room";
    let script = "mount -t tmpfs -o size=300k none \"$0\" && exec \"$@\"";
    let limited = ["--mount", "sh", "-c", script, directory.path().to_str().unwrap()];
    run_limited("unshare", &limited, &writer(test, directory.path(), 0));
}

#[test]
fn a_file_size_limit_loses_nothing_and_writing_goes_on_when_it_is_raised() {
    if let Some((path, _)) = told_to_write() {
        write_until_full(&path, || {
            use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
            let maximum = getrlimit(Resource::Fsize).maximum;
            setrlimit(Resource::Fsize, Rlimit { current: maximum, maximum }).unwrap();
        });
        return;
    }
    let directory = directory();
    let test = "a_file_size_limit_loses_nothing_and_writing_goes_on_when_it_is_raised";
    let limited = ["-c", "trap '' XFSZ; ulimit -S -f 40; exec \"$0\" \"$@\""];
    run_limited("sh", &limited, &writer(test, directory.path(), 0));
}

/// Runs the writer below a program that limits it, to its end.
fn run_limited(program: &str, arguments: &[&str], writer: &Command) {
    let mut command = Command::new(program);
    command.args(arguments).arg(writer.get_program()).args(writer.get_args());
    for (name, value) in writer.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    let acknowledged = text.lines().find_map(|line| said(line, "went on after "));
    assert!(acknowledged.is_some_and(|count| count > 0), "{text}{errors}");
}

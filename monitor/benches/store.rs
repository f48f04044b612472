//! Measures the store: ingest, size on disk, index and queries, on a million realistic records.
//! `cargo bench -p monitor --bench store [-- RECORDS [DAYSd] [PART OF A QUERY'S NAME]]`; the numbers go to docs/performance.md. Each query
//! is asked with the index and without in turns. It asserts nothing about time. The daemon tells its allocator to keep little:
//! `GLIBC_TUNABLES=glibc.malloc.mmap_threshold=1048576:glibc.malloc.trim_threshold=1048576` is as it is there.

#[path = "store/generator.rs"]
mod generator;

use std::{
    fs,
    ops::ControlFlow,
    path::Path,
    time::{Duration, Instant},
};

use geofenced::inside::{
    api::{Asked, summarize},
    config::{RecordMode, StoreConfig},
    event::{CountryCode, Entry, FlowIds, Timestamp},
    filter::{Filter, Query, RawFilter},
    patterns::Patterns,
    store::{Reader, Seen, Store},
    summary::{By, Keys},
};

use generator::{CONTAINER, Generator, HOUR, RARE, START};

const SYNC_EVERY: usize = 4096;
/// More records than this are stored where there is more room, and read whole but once.
const LARGE: usize = 5_000_000;

fn main() {
    let records = std::env::args().skip(1).find_map(|it| it.parse().ok()).unwrap_or(1_000_000);
    println!(
        "machine: {}, {} cores",
        cpu(),
        std::thread::available_parallelism().map_or(0, usize::from)
    );
    let days = std::env::args().skip(1).filter_map(|it| it.strip_suffix('d')?.parse().ok());
    let days: Vec<u64> = days.collect();
    for days in if days.is_empty() { vec![30, 1] } else { days } {
        let directory = tempfile::tempdir().expect("a temporary directory");
        println!("\n## {records} records over {days} day(s)");
        ingest(directory.path(), records, days);
        index(directory.path(), records);
        queries(directory.path(), records, days);
    }
}

fn config(path: &Path, records: usize) -> StoreConfig {
    StoreConfig {
        path: path.to_owned(),
        record: RecordMode::All,
        retention: Duration::from_hours(24 * 365),
        max_bytes: if records > LARGE { 1 << 30 } else { 512 << 20 },
        sync: Duration::from_secs(10),
        shipping: None,
    }
}

fn ingest(path: &Path, records: usize, days: u64) {
    let config = config(path, records);
    let mut options = geofenced::inside::store::Options::of(&config);
    options.index = None;
    let mut store = Store::open_with(&config, options).expect("a store");
    let mut generator = Generator::new(records, days);
    let (mut appending, mut syncing, mut syncs) = (Duration::ZERO, Duration::ZERO, 0_u32);
    let mut made = 0;
    while made < records {
        let some: Vec<Entry> = (0..SYNC_EVERY.min(records - made))
            .map(|_| Entry::Flow(generator.next_state()))
            .collect();
        made += some.len();
        let begun = Instant::now();
        for entry in &some {
            store.append(entry).expect("appended");
        }
        appending += begun.elapsed();
        let begun = Instant::now();
        store.sync().expect("synced");
        syncing += begun.elapsed();
        syncs += 1;
    }
    store.close().expect("closed");
    let total = (appending + syncing).as_secs_f64();
    let bytes = directory_bytes(&path.join("ledger"));
    println!(
        "ledger: {:.0} records/s ({:.2} s; {syncs} syncs, {:.1} ms each), {:.1} MB, {:.1} bytes a record",
        records as f64 / total,
        total,
        syncing.as_secs_f64() * 1e3 / f64::from(syncs),
        bytes as f64 / 1e6,
        bytes as f64 / records as f64,
    );
}

fn index(path: &Path, records: usize) {
    let before = memory();
    let begun = Instant::now();
    let store = Store::open(&config(path, records)).expect("a store");
    let opened = begun.elapsed();
    assert!(store.wait_for_index(Duration::from_mins(10)), "the index never came to rest");
    let took = begun.elapsed();
    let stats = store.reader().stats().expect("stats");
    println!(
        "index: built from nothing in {:.2} s ({:.0} records/s), {:.1} MB; behind by {} blocks; {} segments, {} databases",
        took.as_secs_f64(),
        stats.flow_states as f64 / took.as_secs_f64(),
        directory_bytes(&path.join("index")) as f64 / 1e6,
        stats.index.map_or(0, |index| index.blocks_behind),
        stats.segments,
        stats.index.map_or(0, |index| index.periods),
    );
    println!(
        "open: {:.1} ms; memory before {before} kB, after building {} kB",
        ms(opened),
        memory()
    );
    let begun = Instant::now();
    drop(store);
    println!("close and seal: {:.1} ms; memory {} kB", ms(begun.elapsed()), memory());
}

fn queries(path: &Path, records: usize, days: u64) {
    let store = Store::open(&config(path, records)).expect("a store");
    assert!(store.wait_for_index(Duration::from_mins(10)), "the index never came to rest");
    println!("memory of an opened, idle store: {} kB", memory());
    let with = store.reader();
    let without = with.without_index();
    let hours = |position: u64| {
        let from = START + position * (days * 24 - 2) / 20 * HOUR + HOUR / 2;
        (Some(Timestamp(from)), Some(Timestamp(from + HOUR)))
    };
    let country = |position| {
        let (since, until) = hours(position);
        let countries = CountryCode::new("CN").into_iter().collect();
        Query {
            filter: Filter { since, until, countries, ..Filter::default() },
            ..Query::default()
        }
    };
    let parsed = |raw: RawFilter| move |_| raw.parse(Timestamp(START)).expect("a filter");
    let some = |text: &str| Some(text.to_owned());
    let once = if records > LARGE { 1 } else { u64::MAX };
    let checked = |what, repeats: [u64; 2], query: &dyn Fn(u64) -> Query| {
        report(what, [&with, &without], repeats, |reader, position| {
            let take = |record| {
                std::hint::black_box(&record);
                ControlFlow::Continue(())
            };
            let stats = reader.query(&query(position), take).expect("an answer");
            (stats.matched, stats.blocks_read)
        });
    };
    let events =
        |what, repeats, query: &dyn Fn(u64) -> Query| checked(what, [repeats, once], query);
    let never = if records > LARGE { 0 } else { u64::MAX };
    events("one hour, country CN", 21, &country);
    let hour = |position| {
        let mut query = country(position);
        query.filter.countries.clear();
        query
    };
    events("one hour, everything", 21, &hour);
    let none = RawFilter::default;
    events("a rare process", 7, &parsed(RawFilter { process: some(RARE), ..none() }));
    let address = RawFilter { destination: some("203.0.113.7"), ..none() };
    events("a rare address", 7, &parsed(address));
    let domain = RawFilter { destination: some("rare.example"), ..none() };
    events("a rare domain", 7, &parsed(domain));
    let operator = RawFilter { operator: some("rare networks"), ..none() };
    events("a rare operator", 7, &parsed(operator));
    let process = RawFilter { process: some("program-250"), ..none() };
    events("program-250", 7, &parsed(process));
    let net = RawFilter { destination: some("20.3.200.0/24"), ..none() };
    events("20.3.200.0/24", 7, &parsed(net));
    events("country IR", 7, &parsed(RawFilter { country: some("IR"), ..none() }));
    for (what, raw) in by_process() {
        checked(what, [7, if what.contains("tree") { once } else { never }], &parsed(raw));
    }
    show([&with, &without], once);
    events("the newest 50", 7, &parsed(RawFilter { limit: some("50"), ..none() }));
    summaries([&with, &without], records, &hour);
    checked("everything", [once.min(3), never], &parsed(none()));
    patterns([&with, &without], once);
    println!("memory after queries: {} kB (peak {} kB)", memory(), memory_line("VmHWM:"));
    if records <= LARGE {
        std::thread::sleep(Duration::from_secs(25));
        println!("memory when idle again: {} kB", memory());
    }
}

/// What an investigator narrows by besides what a flow has.
fn by_process() -> [(&'static str, RawFilter); 7] {
    let some = |text: &str| Some(text.to_owned());
    let none = RawFilter::default;
    [
        ("a rare script", RawFilter { script: some(&format!("/opt/{RARE}.py")), ..none() }),
        ("a rare user", RawFilter { user: some("rare"), ..none() }),
        ("a rare unit", RawFilter { unit: some(RARE), ..none() }),
        ("a rare container", RawFilter { container: some(CONTAINER), ..none() }),
        ("a rare executable", RawFilter { hash: some("abababab"), ..none() }),
        ("a process and its tree", RawFilter { tree: some("6000"), ..none() }),
        ("a rare rule", RawFilter { verdict_reason: some("rule:rare"), ..none() }),
    ]
}

fn patterns(readers: [&Reader; 2], once: u64) {
    // The ledger once, whether there is an index or not.
    report("patterns over all", readers, [once.min(3), 0], |reader, _| {
        let mut patterns = Patterns::new(None, None);
        let stats = reader.history(None, None, |seen| {
            if let Seen::Flow(glance) = seen {
                patterns.see(glance);
            }
        });
        (patterns.answer().rows.len() as u64, stats.expect("all of it").blocks_read)
    });
}

/// All states of a flow, by its id: of one in the middle.
fn show(readers: [&Reader; 2], once: u64) {
    let (mut found, middle) = (None, Timestamp(START + 3 * HOUR));
    let until = Some(Timestamp(middle.0 + HOUR));
    let filter = Filter { since: Some(middle), until, ..Filter::default() };
    let query = Query { filter, ..Query::default() };
    let met = readers[0].query(&query, |record| {
        found = Some(record.egress.flow.to_string());
        ControlFlow::Break(())
    });
    met.expect("an answer");
    let Some(ids) = found.and_then(|id| FlowIds::parse(&id).ok()) else { return };
    report("show of an id", readers, [7, once], |reader, _| {
        let stats = reader.states(ids, |record| {
            std::hint::black_box(&record);
            ControlFlow::Continue(())
        });
        let stats = stats.expect("its states");
        (stats.matched, stats.blocks_read)
    });
}

/// Rows are compared by a number made of all of them.
fn summaries(readers: [&Reader; 2], records: usize, hour: &dyn Fn(u64) -> Query) {
    let once = if records > LARGE { 1 } else { u64::MAX };
    let never = if records > LARGE { 0 } else { u64::MAX };
    let of = |verdict: Option<&str>| {
        let raw = RawFilter { verdict: verdict.map(ToOwned::to_owned), ..RawFilter::default() };
        move |_| raw.parse(Timestamp(START)).expect("a filter")
    };
    let summary = |what, repeats, by, query: &dyn Fn(u64) -> Query| {
        report(what, readers, repeats, |reader, position| {
            let rows = summarize(reader, query(position), by).expect("rows").rows;
            (rows.iter().map(|row| row.flows ^ row.source.bytes).sum(), rows.len() as u64)
        });
    };
    summary("summary by country", [7, once], By::Country, &of(None));
    summary("summary by verdict", [7, never], By::Verdict, &of(None));
    summary("  of violations", [7, never], By::Country, &of(Some("unapproved")));
    summary("  of four fifths", [7, never], By::Country, &|_| {
        let (since, until) = (hour(2).filter.since, hour(18).filter.until);
        Query { filter: Filter { since, until, ..Filter::default() }, ..Query::default() }
    });
    summary("  of an hour", [7, once], By::Country, hour);
    let keys = |text: &str| Asked { keys: Keys::parse(text).expect("keys"), ..Asked::default() };
    let asked = |what: &str, repeats, by: &str, query: &dyn Fn(u64) -> Query| {
        report(what, readers, repeats, |reader, position| {
            let rows = summarize(reader, query(position), keys(by)).expect("rows").rows;
            (rows.iter().map(|row| row.flows ^ row.source.bytes).sum(), rows.len() as u64)
        });
    };
    for by in By::ALL {
        // What has no sums reads all blocks.
        let (repeats, check) =
            if matches!(by, By::Hour | By::Device) { (1, 0) } else { (7, never) };
        asked(&format!("summary by {by}"), [repeats, check], by.word(), &of(None));
    }
    asked("summary by process (checked)", [1, once], "process", &of(None));
    for by in [
        "process,country",
        "process,operator",
        "process,operator,country",
        "user,unit,verdict",
        "destination,country",
        "process,destination",
    ] {
        asked(
            &format!("summary by {by}"),
            [if by == "process,destination" { 1 } else { 3 }, 0],
            by,
            &of(None),
        );
    }
    let some = |text: &str| Some(text.to_owned());
    let parsed = |raw: RawFilter| move |_| raw.parse(Timestamp(START)).expect("a filter");
    let unit = RawFilter { unit: some("program-7"), ..RawFilter::default() };
    asked("  of a unit, by operator", [3, never], "operator", &parsed(unit));
    let operator = RawFilter { operator: some("AS64003"), ..RawFilter::default() };
    asked("  of an operator, by process", [3, never], "process", &parsed(operator));
    let rule = RawFilter { verdict_reason: some("rule:rare"), ..RawFilter::default() };
    asked("  of a rule, by process", [3, never], "process", &parsed(rule));
    asked("  of four fifths, by process", [3, 0], "process", &|_| {
        let (since, until) = (hour(2).filter.since, hour(18).filter.until);
        Query { filter: Filter { since, until, ..Filter::default() }, ..Query::default() }
    });
    asked("  of an hour, by process", [7, once], "process", hour);
}

/// With the index and without in turns, so that a busy machine is as busy for both; each so often. `ask`
/// gives a number that both must give, and what was read.
fn report(
    what: &str,
    readers: [&Reader; 2],
    repeats: [u64; 2],
    ask: impl Fn(&Reader, u64) -> (u64, u64),
) {
    let is_word =
        |it: &String| !it.starts_with('-') && !it.starts_with(|a: char| a.is_ascii_digit());
    let wanted = std::env::args().skip(1).find(is_word);
    if wanted.is_some_and(|wanted| !what.contains(&wanted)) {
        return;
    }
    let mut runs = [Vec::new(), Vec::new()];
    let (mut found, mut read, mut peak) = (0, [0; 2], 0);
    for position in 0..repeats[0] {
        let mut answers = [None; 2];
        for (side, reader) in readers.iter().enumerate() {
            if position >= repeats[side] {
                continue;
            }
            forget_peak();
            let (begun, cpu) = (Instant::now(), cpu_time());
            let (answer, blocks) = ask(reader, position);
            runs[side].push((begun.elapsed(), cpu_time().saturating_sub(cpu)));
            answers[side] = Some(answer);
            read[side] += blocks;
            if side == 0 {
                found += answer;
                peak = peak.max(memory_line("VmHWM:"));
            }
        }
        let is_same = answers[1].is_none_or(|without| answers[0] == Some(without));
        assert!(is_same, "{what}: the index changes an answer: {answers:?}");
    }
    let side = |side: usize| {
        let count = runs[side].len();
        if count == 0 {
            return "not asked".to_owned();
        }
        let (wall, cpu): (Vec<_>, Vec<_>) = runs[side].iter().copied().unzip();
        let (wall, cpu) = (sorted(wall), sorted(cpu));
        format!(
            "{:>8.2} ms ({:.2} to {:.2}; cpu {:.2}; {} read)",
            ms(wall[count / 2]),
            ms(wall[0]),
            ms(wall[count - 1]),
            ms(cpu[count / 2]),
            read[side] / count as u64,
        )
    };
    println!(
        "{what:<20} {:>6} found; index {}; none {}; first {:.2} ms; peak {peak} kB; n={}",
        found / repeats[0],
        side(0),
        side(1),
        ms(runs[0][0].0),
        repeats[0],
    );
}

/// The peak of resident memory counts from here on.
fn forget_peak() {
    let _ = fs::write("/proc/self/clear_refs", "5");
}

fn sorted(mut times: Vec<Duration>) -> Vec<Duration> {
    times.sort_unstable();
    times
}

/// Processor time of all threads: on a busy machine the wall clock tells of the neighbours.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec.cast_unsigned() as u32)
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn directory_bytes(path: &Path) -> u64 {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(it) if it.is_dir() => directory_bytes(&entry.path()),
            Ok(it) => it.len(),
            Err(_) => 0,
        })
        .sum()
}

/// Resident memory, kB.
fn memory() -> u64 {
    memory_line("VmRSS:")
}

fn memory_line(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

fn cpu() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name"));
    model.map_or_else(String::new, |it| it.trim_start_matches([' ', '\t', ':']).to_owned())
}

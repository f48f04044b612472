//! Measures the store: ingest, size on disk, index and queries, on a million realistic records.
//! `cargo bench -p monitor --bench store [-- RECORDS]`; the numbers go to docs/performance.md. Each query
//! is asked with the index and without in turns. It asserts nothing about time.

#[path = "store/generator.rs"]
mod generator;

use std::{
    fs,
    ops::ControlFlow,
    path::Path,
    time::{Duration, Instant},
};

use geofenced::inside::{
    config::{RecordMode, StoreConfig},
    event::{CountryCode, Entry, Timestamp},
    filter::{Filter, Query, RawFilter},
    store::{Reader, Store},
};

use generator::{Generator, HOUR, RARE, START};

const SYNC_EVERY: usize = 4096;

fn main() {
    let records = std::env::args().skip(1).find_map(|it| it.parse().ok()).unwrap_or(1_000_000);
    println!(
        "machine: {}, {} cores",
        cpu(),
        std::thread::available_parallelism().map_or(0, usize::from)
    );
    for days in [30, 1] {
        let directory = tempfile::tempdir().expect("a temporary directory");
        println!("\n## {records} records over {days} day(s)");
        ingest(directory.path(), records, days);
        index(directory.path());
        queries(directory.path(), days);
    }
}

fn config(path: &Path) -> StoreConfig {
    StoreConfig {
        path: path.to_owned(),
        record: RecordMode::All,
        retention: Duration::from_hours(24 * 365),
        max_bytes: 512 << 20,
        sync: Duration::from_secs(10),
    }
}

fn ingest(path: &Path, records: usize, days: u64) {
    let config = config(path);
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

fn index(path: &Path) {
    let before = memory();
    let begun = Instant::now();
    let store = Store::open(&config(path)).expect("a store");
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

fn queries(path: &Path, days: u64) {
    let store = Store::open(&config(path)).expect("a store");
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
    let both = [&with, &without];
    report("one hour, country CN", both, 21, country);
    report("one hour, everything", both, 21, |position| {
        let mut query = country(position);
        query.filter.countries.clear();
        query
    });
    let none = RawFilter::default;
    report("a rare process", both, 7, parsed(RawFilter { process: some(RARE), ..none() }));
    let address = RawFilter { destination: some("203.0.113.7"), ..none() };
    report("a rare address", both, 7, parsed(address));
    let domain = RawFilter { destination: some("rare.example"), ..none() };
    report("a rare domain", both, 7, parsed(domain));
    let operator = RawFilter { operator: some("rare networks"), ..none() };
    report("a rare operator", both, 7, parsed(operator));
    let process = RawFilter { process: some("program-250"), ..none() };
    report("program-250", both, 7, parsed(process));
    let net = RawFilter { destination: some("20.3.200.0/24"), ..none() };
    report("20.3.200.0/24", both, 7, parsed(net));
    report("country IR", both, 7, parsed(RawFilter { country: some("IR"), ..none() }));
    report("the newest 50", both, 7, parsed(RawFilter { limit: some("50"), ..none() }));
    report("everything", both, 3, parsed(none()));
    println!("memory after queries: {} kB (peak {} kB)", memory(), memory_line("VmHWM:"));
    std::thread::sleep(Duration::from_secs(25));
    println!("memory when idle again: {} kB", memory());
}

/// With the index and without in turns, so that a busy machine is as busy for both.
fn report(what: &str, readers: [&Reader; 2], repeats: u64, query: impl Fn(u64) -> Query) {
    let mut runs = [Vec::new(), Vec::new()];
    let (mut found, mut read) = ([0; 2], [0; 2]);
    for position in 0..repeats {
        let query = query(position);
        for (side, reader) in readers.iter().enumerate() {
            let (begun, cpu) = (Instant::now(), cpu_time());
            let stats = reader
                .query(&query, |record| {
                    std::hint::black_box(&record);
                    ControlFlow::Continue(())
                })
                .expect("an answer");
            runs[side].push((begun.elapsed(), cpu_time().saturating_sub(cpu)));
            found[side] += stats.matched;
            read[side] += stats.blocks_read;
        }
    }
    assert_eq!(found[0], found[1], "the index changes no answer");
    let mut ratios: Vec<f64> =
        runs[0].iter().zip(&runs[1]).map(|(with, without)| ms(without.0) / ms(with.0)).collect();
    ratios.sort_unstable_by(f64::total_cmp);
    let side = |side: usize| {
        let (wall, cpu): (Vec<_>, Vec<_>) = runs[side].iter().copied().unzip();
        let (wall, cpu) = (sorted(wall), sorted(cpu));
        format!(
            "{:>8.2} ms ({:.2} to {:.2}; cpu {:.2}; {} blocks)",
            ms(wall[wall.len() / 2]),
            ms(wall[0]),
            ms(wall[wall.len() - 1]),
            ms(cpu[cpu.len() / 2]),
            read[side] / repeats,
        )
    };
    println!(
        "{what:<20} {:>6} found; index {}; none {}; ratio {:.1} ({:.1} to {:.1}); first {:.2} ms; n={repeats}",
        found[0] / repeats,
        side(0),
        side(1),
        ratios[ratios.len() / 2],
        ratios[0],
        ratios[ratios.len() - 1],
        ms(runs[0][0].0),
    );
}

fn sorted(mut times: Vec<Duration>) -> Vec<Duration> {
    times.sort_unstable();
    times
}

/// Processor time of this thread: on a busy machine the wall clock tells of the neighbours.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
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

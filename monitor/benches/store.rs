//! Measures the store: ingest, size on disk, index and queries, on a million realistic records.
//! `cargo bench -p monitor --bench store [-- RECORDS]`; the numbers go to docs/performance.md. Each query
//! is asked with the index and without in turns. It asserts nothing about time.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    ops::ControlFlow,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use geofenced::inside::{
    config::{RecordMode, StoreConfig},
    event::{
        Ancestor, Attribution, BootId, Certainty, Country, CountryCode, DatabaseId, Domain,
        DomainSource, Egress, Entry, ExecutedFile, FlowId, Judgement, Operator, Origin, Phase,
        Place, Process, Provenance, Reason, Record, Sender, Timeline, Timestamp, Traffic,
        Transport, User, Verdict,
    },
    filter::{Filter, Query, RawFilter},
    store::{Reader, Store},
};

const HOUR: u64 = 3_600_000_000_000;
/// 2026-06-01T00:00:00Z.
const START: u64 = 1_780_272_000_000_000_000;
const SYNC_EVERY: usize = 4096;
/// A program, and with it a destination, of 40 flows among the million.
const RARE: &str = "rare-tool";
const RARE_EVERY: u64 = 19_231;
const COUNTRIES: [&str; 40] = [
    "US", "DE", "IE", "NL", "GB", "FR", "SG", "JP", "CN", "RU", "CA", "SE", "FI", "BR", "IN", "AU",
    "KR", "HK", "TW", "IT", "ES", "PL", "CH", "AT", "BE", "DK", "NO", "CZ", "RO", "UA", "TR", "IL",
    "AE", "ZA", "MX", "AR", "CL", "ID", "VN", "IR",
];

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

/// States of flows in the order a daemon would write them; programs, destinations and countries by
/// Zipf; three flows of ten told a second time when they end.
struct Generator {
    random: Random,
    programs: Zipf,
    destinations: Zipf,
    processes: Vec<Arc<Process>>,
    places: Vec<(SocketAddr, Place)>,
    ends: BinaryHeap<Reverse<(u64, u128)>>,
    open: std::collections::HashMap<u128, Record>,
    now: u64,
    step: u64,
    next_pid: u32,
    begun: u64,
    rare: (Arc<Process>, SocketAddr, Place),
    provenance: Arc<Provenance>,
}

fn rare() -> (Arc<Process>, SocketAddr, Place) {
    let process = Process {
        name: RARE.into(),
        executable: Some(format!("/opt/{RARE}").into()),
        ..(*process(999, 999)).clone()
    };
    let operator = Operator {
        asn: Some(65_000),
        name: Some("Rare Networks".into()),
        country: CountryCode::new("IR"),
        is_anycast: false,
    };
    let name = "www.rare.example".into();
    let place = Place {
        country: CountryCode::new("IR").map_or(Country::Unlocated, Country::Known),
        second: None,
        operator: Some(Arc::new(operator)),
        domain: Some(Domain { name, source: DomainSource::Dns, is_trusted: false }),
        server_name: None,
        via: None,
    };
    (Arc::new(process), SocketAddr::new(Ipv4Addr::new(203, 0, 113, 7).into(), 443), place)
}

fn provenance() -> Arc<Provenance> {
    let database = |label: &str, sha256: u8| DatabaseId {
        label: label.into(),
        name: format!("Example {label} database").into(),
        dated: Timestamp(START),
        sha256: std::array::from_fn(|at| sha256.wrapping_mul(31).wrapping_add((at * at) as u8)),
    };
    let databases = vec![database("country", 7), database("second", 8), database("operator", 9)];
    Arc::new(Provenance { policy_sha256: [0x5a; 32], databases })
}

impl Generator {
    fn new(records: usize, days: u64) -> Self {
        let mut random = Random(0x9E37_79B9_7F4A_7C15);
        let processes = (0..300).map(|program| process(program, 1000 + program)).collect();
        let countries = Zipf::new(COUNTRIES.len(), 1.3);
        let operators: Vec<Arc<Operator>> = (0..800)
            .map(|number| {
                Arc::new(Operator {
                    asn: Some(64_000 + number),
                    name: Some(format!("Operator {number} Networks Inc.").into()),
                    country: CountryCode::new(COUNTRIES[countries.pick(&mut random)]),
                    is_anycast: number.is_multiple_of(20),
                })
            })
            .collect();
        let by_size = Zipf::new(operators.len(), 1.0);
        let places = (0..20_000_u32)
            .map(|number| {
                let [_, a, b, c] = (number * 13).to_be_bytes();
                let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(20, a, b, c)), 443);
                let country = CountryCode::new(COUNTRIES[countries.pick(&mut random)]);
                let domain = (!number.is_multiple_of(3))
                    .then(|| format!("host{number}.service{}.example", number % 2000).into())
                    .map(|name| Domain { name, source: DomainSource::Dns, is_trusted: false });
                let place = Place {
                    country: country.map_or(Country::Unlocated, Country::Known),
                    second: if number.is_multiple_of(30) {
                        CountryCode::new("DE")
                    } else {
                        country
                    },
                    operator: Some(Arc::clone(&operators[by_size.pick(&mut random)])),
                    domain,
                    server_name: None,
                    via: None,
                };
                (address, place)
            })
            .collect();
        Self {
            random,
            programs: Zipf::new(300, 1.2),
            destinations: Zipf::new(20_000, 1.05),
            processes,
            places,
            ends: BinaryHeap::new(),
            open: std::collections::HashMap::new(),
            now: START,
            // Of ten flows come thirteen states.
            step: days * 24 * HOUR * 13 / 10 / records as u64,
            next_pid: 5000,
            begun: 0,
            rare: rare(),
            provenance: provenance(),
        }
    }

    fn next_state(&mut self) -> Record {
        let next = self.now + self.step / 2 + self.random.below(self.step);
        if self.ends.peek().is_some_and(|Reverse((at, _))| *at <= next)
            && let Some(Reverse((at, flow))) = self.ends.pop()
            && let Some(mut record) = self.open.remove(&flow)
        {
            let egress = &mut record.egress;
            egress.revision += 1;
            egress.last_at = Timestamp(at);
            egress.ended_at = Some(Timestamp(at));
            egress.traffic.sent_bytes += 60 + self.random.below(200_000);
            egress.traffic.received_bytes += self.random.below(2_000_000);
            return record;
        }
        self.now = next;
        let mut record = self.begin();
        record.egress.ended_at = Some(Timestamp(self.now));
        if self.random.below(10) < 3 {
            record.egress.ended_at = None;
            let lasts = 1_000_000_000 + self.random.below(600_000_000_000);
            self.ends.push(Reverse((self.now + lasts, record.egress.flow.0)));
            self.open.insert(record.egress.flow.0, record.clone());
        }
        record
    }

    fn begin(&mut self) -> Record {
        let program = self.programs.pick(&mut self.random);
        if self.random.below(20) == 0 {
            self.next_pid += 1;
            self.processes[program] = process(program as u32, self.next_pid);
        }
        let (remote, place) = &self.places[self.destinations.pick(&mut self.random)];
        let sender = &self.processes[program];
        self.begun += 1;
        let (sender, remote, place) = match &self.rare {
            (process, remote, place) if self.begun.is_multiple_of(RARE_EVERY) => {
                (process, remote, place)
            }
            _ => (sender, remote, place),
        };
        let unapproved =
            !matches!(place.country.code().map(CountryCode::bytes), Some([b'U', b'S']));
        Record {
            egress: Egress {
                flow: FlowId(u128::from(self.now) << 64 | u128::from(self.random.next())),
                revision: 0,
                started_at: Timestamp(self.now),
                last_at: Timestamp(self.now),
                ended_at: None,
                phase: Phase::Sent,
                origin: Origin::Process,
                transport: if self.random.below(4) == 0 { Transport::UDP } else { Transport::TCP },
                local: Some(SocketAddr::new(
                    Ipv4Addr::new(192, 168, 1, 7).into(),
                    32_768 + self.random.below(28_000) as u16,
                )),
                remote: Some(*remote),
                traffic: Traffic { sent_bytes: 60, sent_packets: 1, ..Traffic::default() },
                passage: geofenced::inside::event::Passage::default(),
            },
            sender: Sender::Process {
                process: Arc::clone(sender),
                attribution: Attribution::Socket,
                creator: None,
            },
            place: place.clone(),
            judgement: Judgement {
                verdict: if unapproved { Verdict::Unapproved } else { Verdict::Approved },
                certainty: Certainty::Full,
                reason: Reason::Country,
            },
            provenance: Some(Arc::clone(&self.provenance)),
            verdict_now: None,
            timeline: Some(Timeline {
                boot: BootId([7; 16]),
                wall_at_boot_ns: START.cast_signed(),
                is_trusted: true,
            }),
        }
    }
}

fn process(program: u32, pid: u32) -> Arc<Process> {
    let text = |text: String| -> Option<Arc<str>> { Some(text.into()) };
    Arc::new(Process {
        pid,
        name: format!("program-{program}").into(),
        executable: text(format!("/usr/lib/vendor{}/bin/program-{program}", program % 17)),
        executable_claimed: None,
        file: ExecutedFile::default(),
        command_line: text(format!(
            "program-{program} --config /etc/program-{program}.conf --id {pid}"
        )),
        started_at: Some(Timestamp(START - u64::from(pid) * 1_000_003)),
        parents: vec![Ancestor {
            pid: 1,
            name: "systemd".into(),
            executable: text("/usr/lib/systemd/systemd".into()),
            command_line: text("/sbin/init".into()),
            started_at: Some(Timestamp(START - HOUR)),
        }],
        user: User { id: program % 40, name: text(format!("user{}", program % 40)) },
        unit: text(format!("program-{program}.service")),
        container: None,
        cgroup: text(format!("/system.slice/program-{program}.service")),
        netns: Some(4_026_531_840),
    })
}

/// xorshift64*: the same records on every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }
    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }
}

struct Zipf(Vec<f64>);

impl Zipf {
    fn new(count: usize, exponent: f64) -> Self {
        let mut sum = 0.0;
        let weights = (1..=count).map(|rank| {
            sum += 1.0 / (rank as f64).powf(exponent);
            sum
        });
        Self(weights.collect())
    }
    fn pick(&self, random: &mut Random) -> usize {
        let total = self.0.last().copied().unwrap_or(1.0);
        let at = (random.next() >> 11) as f64 / (1_u64 << 53) as f64 * total;
        self.0.partition_point(|sum| *sum < at).min(self.0.len() - 1)
    }
}

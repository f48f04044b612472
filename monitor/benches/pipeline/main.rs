//! Measures user space alone, from samples as they lie in the ring to records in the ledger: samples a
//! second a core, and how memory and sweeps grow with what lives. No probes, no root:
//! `cargo bench -p monitor --bench pipeline [-- FLOWS]`; the numbers go to docs/performance.md. It asserts
//! nothing about time.

mod samples;

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use geofenced::inside::{
    attribute::{BootOffset, PROCESSES_MAX, Processes, Procfs},
    config::{Config, RecordMode, StoreConfig},
    event::{Notice, Timestamp},
    locate::Locator,
    metrics::{KnownLabels, Metrics},
    outputs::{self, Outputs, live, writer::StoreWriter},
    pipeline::{Pipeline, Rules},
    store::Store,
};
use rustix::time::{ClockId, clock_gettime};
use zerocopy::IntoBytes as _;

use samples::{Counted, Ring, SECOND_NS, START_NS, attempt, end, executed, fork, sent};

/// Enough for whatever is measured.
const CAPACITY: u32 = 1 << 21;
/// Turns of a scenario, of which the median counts.
const TURNS: usize = 5;
/// Samples that are taken in between two sweeps.
const SWEEP_EACH: usize = 100_000;
/// Entries that wait for the store at most, and how often that is looked at.
const QUEUED_MAX: i64 = 50_000;
const LOOK_EACH: usize = 10_000;

struct Rig {
    pipeline: Pipeline,
    writer: StoreWriter,
    metrics: Arc<Metrics>,
    _folder: tempfile::TempDir,
}

impl Rig {
    fn new(mode: RecordMode) -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        let metrics = Arc::new(Metrics::new(&KnownLabels::default()).expect("metrics"));
        let config = store(folder.path(), mode);
        let store = Store::open(&config).expect("a store");
        let (queue, writer) =
            outputs::writer::spawn(store, Arc::clone(&metrics), CAPACITY, config.sync)
                .expect("a writer");
        let outputs = Outputs::new(Arc::clone(&metrics), &config, queue, live::channel());
        let clock = BootOffset { wall_at_boot_ns: 0 };
        let processes =
            Processes::with(Procfs::at("/nonexistent"), "/etc/passwd", clock, PROCESSES_MAX);
        let rules = rules(folder.path());
        let mut pipeline =
            Pipeline::new(processes, rules, outputs, Arc::clone(&metrics), CAPACITY, 0);
        executed().for_each(|exec| pipeline.accept(exec.as_bytes()));
        Self { pipeline, writer, metrics, _folder: folder }
    }

    /// Waits for a slow disk, which is not what is measured.
    fn let_the_store_catch_up(&self) {
        let depth = self.metrics.queue_depth.with_label_values(&["store"]);
        while depth.get() > QUEUED_MAX {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// With everything in the ledger at the end.
    fn finish(mut self) {
        self.let_the_store_catch_up();
        // After this the last states wait for room.
        self.pipeline.note(Timestamp(START_NS), Notice::Stopped);
        drop(self.pipeline.finish(START_NS + 100 * SECOND_NS, Timestamp(START_NS)));
        assert!(self.writer.join(), "not everything was written");
        let lost = &self.metrics.events_lost_total;
        let is_lost = |labels: &[&str]| lost.with_label_values(labels).get() > 0;
        assert!(!is_lost(&["store", "queue-full"]) && !is_lost(&["rollup", "share"]), "lost");
    }
}

fn rules(folder: &Path) -> Arc<Rules> {
    let path = folder.join("config.toml");
    fs::write(&path, "[policy]\napproved_countries = [\"US\"]\n").expect("write the policy");
    let config = Config::load(&path).expect("the policy");
    let locator = Locator::open(&config.geo, &[]).expect("the databases");
    Arc::new(Rules::new(config.policy, locator))
}

fn store(folder: &Path, mode: RecordMode) -> StoreConfig {
    StoreConfig {
        path: folder.join("store"),
        record: mode,
        retention: Duration::from_hours(24 * 365),
        // All of it is one user's, who has a share.
        max_bytes: 256 << 30,
        sync: Duration::from_secs(10),
    }
}

fn main() {
    let flows = std::env::args().skip(1).find_map(|it| it.parse().ok()).unwrap_or(300_000);
    throughput(flows);
    scale();
}

/// What the processor did, by this clock.
fn spent(clock: ClockId) -> Duration {
    let now = clock_gettime(clock);
    Duration::new(now.tv_sec.cast_unsigned(), now.tv_nsec.cast_unsigned() as u32)
}

fn throughput(flows: u64) {
    println!("{flows} flows a turn; median of {TURNS} turns, least and most\n");
    println!(
        "| samples | of the pipeline, ns each | of all threads, ns each | samples a second a core |"
    );
    println!("|---|---|---|---|");
    let of = |ring: &dyn Fn(u64, &mut Ring)| {
        let mut samples = Ring::default();
        (0..flows).for_each(|number| ring(number, &mut samples));
        samples
    };
    let whole = of(&|number, ring: &mut Ring| {
        ring.push(&attempt(number));
        ring.push(&sent(number));
        ring.push(&end(number));
    });
    row("a new flow: attempt, packet, end; each a record", RecordMode::All, &whole);
    row("the same, approved ones added up", RecordMode::Unapproved, &whole);
    let known = of(&|number, ring: &mut Ring| ring.push(&sent(number % 1_000)));
    row("packets of 1,000 known flows", RecordMode::Unapproved, &known);
    let forks = of(&|number, ring: &mut Ring| ring.push(&fork(number)));
    row("forks", RecordMode::Unapproved, &forks);
}

fn row(name: &str, mode: RecordMode, ring: &Ring) {
    let mut turns: Vec<[f64; 2]> = (0..TURNS).map(|_| turn(mode, ring)).collect();
    turns.sort_by(|one, other| one[1].total_cmp(&other[1]));
    let [pipeline, all] = turns[TURNS / 2];
    let (least, most) = (turns[0][1], turns[TURNS - 1][1]);
    let rate = 1e9 / all;
    println!("| {name} | {pipeline:.0} | {all:.0} ({least:.0} to {most:.0}) | {rate:.0} |");
}

/// Nanoseconds a sample: of the pipeline, and of all threads.
fn turn(mode: RecordMode, ring: &Ring) -> [f64; 2] {
    let mut rig = Rig::new(mode);
    let before = [ClockId::ThreadCPUTime, ClockId::ProcessCPUTime].map(spent);
    for (number, sample) in ring.samples().enumerate() {
        rig.pipeline.accept(sample);
        if number % LOOK_EACH == 0 {
            rig.let_the_store_catch_up();
        }
        // What the daemon does each second: else nothing would ever be over.
        if number % SWEEP_EACH == SWEEP_EACH - 1 {
            let now_ns = START_NS + (1 + number / SWEEP_EACH) as u64 * SECOND_NS;
            let mut source = Counted { flows: 0..0, grows_each: 0, now_ns, sweeps: 0 };
            rig.pipeline.sweep(&mut source, 0).expect("a sweep");
        }
    }
    let pipeline = spent(ClockId::ThreadCPUTime).saturating_sub(before[0]);
    rig.finish();
    let all = spent(ClockId::ProcessCPUTime).saturating_sub(before[1]);
    [pipeline, all].map(|it| it.as_nanos() as f64 / ring.len() as f64)
}

fn scale() {
    println!(
        "\n| live flows | memory each, bytes | a sweep in which none grew, ms | each hundredth | all |"
    );
    println!("|---|---|---|---|---|");
    for flows in [10_000, 100_000, 1_000_000] {
        let before = resident();
        let mut rig = Rig::new(RecordMode::Unapproved);
        for number in 0..flows {
            rig.pipeline.accept(sent(number).as_bytes());
            if number % LOOK_EACH as u64 == 0 {
                rig.let_the_store_catch_up();
            }
        }
        let each = resident().saturating_sub(before) / flows;
        let mut source = Counted { flows: 0..flows, grows_each: 0, now_ns: 0, sweeps: 0 };
        let mut sweep = |grows_each| {
            (source.grows_each, source.now_ns) = (grows_each, START_NS + SECOND_NS + source.sweeps);
            let began = Instant::now();
            rig.pipeline.sweep(&mut source, 0).expect("a sweep");
            began.elapsed().as_secs_f64() * 1e3
        };
        // The first has what was new.
        sweep(0);
        let times = [0, 100, 1].map(|grows_each| {
            let mut times: Vec<f64> = (0..TURNS).map(|_| sweep(grows_each)).collect();
            times.sort_by(f64::total_cmp);
            times[TURNS / 2]
        });
        println!("| {flows} | {each} | {:.1} | {:.1} | {:.1} |", times[0], times[1], times[2]);
        rig.finish();
    }
}

/// Bytes.
fn resident() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").expect("its memory");
    let pages = statm.split(' ').nth(1).and_then(|it| it.parse::<u64>().ok()).expect("a number");
    pages * rustix::param::page_size() as u64
}

//! Measures user space alone, from samples as they lie in the ring to records in the ledger: samples a
//! second a core. No probes, no root (how memory and sweeps grow with what lives: `scale`):
//! `cargo bench -p monitor --bench pipeline [-- FLOWS]`; the numbers go to docs/performance.md. It asserts
//! nothing about time.

mod rig;
mod ring;
mod samples;

use std::time::Duration;

use geofenced::inside::config::RecordMode;
use rustix::time::{ClockId, clock_gettime};

use rig::Rig;
use ring::{Ring, attempt, end, fork};
use samples::{Counted, SECOND_NS, START_NS, sent};

/// Turns of a scenario, of which the median counts.
const TURNS: usize = 5;
/// Samples that are taken in between two sweeps.
const SWEEP_EACH: usize = 100_000;
/// How often it is looked whether the store keeps up.
const LOOK_EACH: usize = 10_000;

fn main() {
    let flows = std::env::args().skip(1).find_map(|it| it.parse().ok()).unwrap_or(300_000);
    throughput(flows);
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

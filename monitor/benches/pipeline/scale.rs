//! How memory and time grow with what there is: live flows and processes (as samples), cgroups and interfaces
//! (real ones, in a namespace and a cgroup of its own). Needs root: `cargo bench -p monitor --bench scale`
//! prints the tables of docs/performance.md and draws docs/scale.svg. It asserts nothing about time.

mod plot;
mod processes;
mod real;
mod rig;
mod samples;

use std::{fs, time::Instant};

use geofenced::inside::config::RecordMode;
use zerocopy::IntoBytes as _;

use plot::Series;
use processes::{process, sent_by};
use rig::Rig;
use samples::{Counted, SECOND_NS, START_NS, sent};

/// Of which the median counts.
const TURNS: usize = 5;
/// How often it is looked whether the store keeps up.
const LOOK_EACH: u64 = 10_000;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [word, directory, count] = &words[..]
        && word == real::WORD
    {
        return real::send_from(directory, count.parse().expect("a count"));
    }
    let mut memory = Vec::new();
    let mut time = Vec::new();
    flows(&mut memory, &mut time);
    processes(&mut memory, &mut time);
    real::cgroups(&mut memory, &mut time);
    real::interfaces(&mut memory, &mut time);
    plot::draw(&memory, &time);
}

fn flows(memory: &mut Vec<Series>, time: &mut Vec<Series>) {
    println!(
        "| live flows | memory each, bytes | a sweep in which none grew, ms | each hundredth | all |"
    );
    println!("|---|---|---|---|---|");
    let (mut taken, mut swept) =
        (Series::new("live flows"), Series::new("a sweep over live flows"));
    for flows in [1_000, 10_000, 100_000, 1_000_000] {
        let before = resident("self");
        let mut rig = Rig::new(RecordMode::Unapproved);
        for number in 0..flows {
            rig.pipeline.accept(sent(number).as_bytes());
            if number % LOOK_EACH == 0 {
                rig.let_the_store_catch_up();
            }
        }
        let all = resident("self").saturating_sub(before);
        let mut source = Counted { flows: 0..flows, grows_each: 0, now_ns: 0, sweeps: 0 };
        let mut sweep = |grows_each| {
            (source.grows_each, source.now_ns) = (grows_each, START_NS + SECOND_NS + source.sweeps);
            rig.pipeline.hurry();
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
        let each = taken.each(flows, all);
        println!("| {flows} | {each} | {:.1} | {:.1} | {:.1} |", times[0], times[1], times[2]);
        taken.add(flows, all as f64 / 1e6);
        swept.add(flows, times[0]);
        rig.finish();
    }
    memory.push(taken);
    time.push(swept);
}

/// Each is executed and sends once; the table of processes forgets the oldest of too many.
fn processes(memory: &mut Vec<Series>, time: &mut Vec<Series>) {
    println!("\n| processes | memory each, bytes | exec and packet of each, us |");
    println!("|---|---|---|");
    let (mut taken, mut told) =
        (Series::new("processes"), Series::new("exec and packet of all processes"));
    for processes in [1_000, 10_000, 100_000] {
        let mut rig = Rig::new(RecordMode::Unapproved);
        let before = resident("self");
        let began = Instant::now();
        for number in 0..processes {
            rig.pipeline.accept(process(number).as_bytes());
            rig.pipeline.accept(sent_by(number).as_bytes());
            if number % LOOK_EACH == 0 {
                rig.let_the_store_catch_up();
            }
        }
        let took = began.elapsed().as_secs_f64();
        let all = resident("self").saturating_sub(before);
        let (each, us) = (taken.each(processes, all), took * 1e6 / processes as f64);
        println!("| {processes} | {each} | {us:.1} |");
        taken.add(processes, all as f64 / 1e6);
        told.add(processes, took * 1e3);
        rig.finish();
    }
    memory.push(taken);
    time.push(told);
}

/// Bytes of the process with this number.
fn resident(pid: &str) -> u64 {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).expect("its memory");
    let pages = statm.split(' ').nth(1).and_then(|it| it.parse::<u64>().ok()).expect("a number");
    pages * rustix::param::page_size() as u64
}

//! How memory and time grow with what there is: live flows and processes (as samples), cgroups and interfaces
//! (real ones, in a namespace and a cgroup of its own). Needs root: `cargo bench -p monitor --bench scale`
//! prints the tables of docs/performance.md and draws docs/scale.svg. It asserts nothing about time.

mod plot;
mod processes;
mod real;
mod rig;
mod samples;

use std::{fs, process::Command, time::Instant};

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

/// By which words this program knows that it is to be measured: each size in a process of its own, since an
/// allocator keeps what was freed.
const FLOWS: &str = "flows";
const PROCESSES: &str = "processes";

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let count = |text: &String| text.parse().expect("a count");
    match &words[..] {
        [word, number] if word == FLOWS => tell(&flows(count(number))),
        [word, number] if word == PROCESSES => tell(&processes(count(number))),
        [word, directory, number] if word == real::WORD => {
            real::send_from(directory, count(number));
        }
        _ => all(),
    }
}

fn all() {
    let mut memory = Vec::new();
    let mut time = Vec::new();
    println!(
        "| live flows | memory each, bytes | a sweep in which none grew, ms | each hundredth | all |"
    );
    println!("|---|---|---|---|---|");
    let (mut taken, mut swept) =
        (Series::new("live flows"), Series::new("a sweep over live flows"));
    for count in [1_000, 10_000, 100_000, 1_000_000] {
        let [bytes, none, some, every] = measured(FLOWS, count);
        let each = bytes / count as f64;
        println!("| {count} | {each:.0} | {none:.1} | {some:.1} | {every:.1} |");
        taken.add(count, bytes / 1e6);
        swept.add(count, none);
    }
    println!("\n| processes | memory each, bytes | exec and packet of each, us |");
    println!("|---|---|---|");
    let (mut held, mut told) =
        (Series::new("processes"), Series::new("exec and packet of all processes"));
    for count in [1_000, 10_000, 100_000] {
        let [bytes, ms] = measured(PROCESSES, count);
        println!("| {count} | {:.0} | {:.1} |", bytes / count as f64, ms * 1e3 / count as f64);
        held.add(count, bytes / 1e6);
        told.add(count, ms);
    }
    memory.extend([taken, held]);
    time.extend([swept, told]);
    real::cgroups(&mut memory, &mut time);
    real::interfaces(&mut memory, &mut time);
    plot::draw(&memory, &time);
}

fn tell(numbers: &[f64]) {
    println!("{}", numbers.iter().map(f64::to_string).collect::<Vec<_>>().join(" "));
}

fn measured<const N: usize>(word: &str, count: u64) -> [f64; N] {
    let mut this = Command::new(std::env::current_exe().expect("the path of this program"));
    let output = this.args([word, &count.to_string()]).output().expect("measure");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("numbers");
    let numbers = text.split_whitespace().map(|it| it.parse().expect("a number"));
    numbers.collect::<Vec<f64>>().try_into().expect("as many as are wanted")
}

/// Bytes; milliseconds of a sweep in which none grew, each hundredth, all.
fn flows(count: u64) -> [f64; 4] {
    let mut rig = Rig::new(RecordMode::Unapproved);
    let before = resident("self");
    for number in 0..count {
        rig.pipeline.accept(sent(number).as_bytes());
        if number % LOOK_EACH == 0 {
            rig.let_the_store_catch_up();
        }
    }
    let bytes = resident("self").saturating_sub(before);
    let mut source = Counted { flows: 0..count, grows_each: 0, now_ns: 0, sweeps: 0 };
    let mut sweep = |grows_each| {
        (source.grows_each, source.now_ns) = (grows_each, START_NS + SECOND_NS + source.sweeps);
        let began = Instant::now();
        rig.pipeline.sweep(&mut source, 0).expect("a sweep");
        began.elapsed().as_secs_f64() * 1e3
    };
    // The first has what was new.
    sweep(0);
    let [none, some, every] = [0, 100, 1].map(|grows_each| {
        let mut times: Vec<f64> = (0..TURNS).map(|_| sweep(grows_each)).collect();
        times.sort_by(f64::total_cmp);
        times[TURNS / 2]
    });
    rig.finish();
    [bytes as f64, none, some, every]
}

/// Each is executed and sends once; the table of processes forgets the oldest of too many. Bytes, milliseconds.
fn processes(count: u64) -> [f64; 2] {
    let mut rig = Rig::new(RecordMode::Unapproved);
    let before = resident("self");
    let began = Instant::now();
    for number in 0..count {
        rig.pipeline.accept(process(number).as_bytes());
        rig.pipeline.accept(sent_by(number).as_bytes());
        if number % LOOK_EACH == 0 {
            rig.let_the_store_catch_up();
        }
    }
    let took_ms = began.elapsed().as_secs_f64() * 1e3;
    let bytes = resident("self").saturating_sub(before);
    rig.finish();
    [bytes as f64, took_ms]
}

/// Bytes of the process with this number.
fn resident(pid: &str) -> u64 {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).expect("its memory");
    let pages = statm.split(' ').nth(1).and_then(|it| it.parse::<u64>().ok()).expect("a number");
    pages * rustix::param::page_size() as u64
}

//! What watching costs, operation by operation: bare, with empty programs on the same hooks, watched to an
//! approved and to an unapproved destination, and with a bpftrace script where that is installed; in turns
//! in one run, in namespaces of its own. Beside it the kernel's own run times, program by program.
//! `cargo xtask bench`, as root; by itself it takes a number of turns and names of operations. It asserts nothing about time, but that what was measured was seen.

mod empty;
mod lab;
mod report;
mod times;
mod work;

use lab::{Lab, Watch};
use report::{Samples, Sums};
use work::{OPERATIONS, Operation};

/// Turns of each operation.
const ROUNDS: usize = 15;
/// Turns with the kernel's clock around each program.
const TIMED_ROUNDS: usize = 3;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == work::WORD) {
        return work::run(&words[1..]);
    }
    let rounds = words.iter().find_map(|word| word.parse().ok()).unwrap_or(ROUNDS);
    let named = |it: &Operation| words.contains(&it.word());
    let mut operations: Vec<Operation> = OPERATIONS.into_iter().filter(named).collect();
    if operations.is_empty() {
        operations = OPERATIONS.to_vec();
    }
    report::machine(rounds);
    let lab = Lab::new();
    let mut samples = Samples::default();
    for round in 0..rounds {
        eprintln!("round {} of {rounds}", round + 1);
        for watch in Watch::TURN {
            let Some(watching) = lab.watch(watch) else { continue };
            for operation in operations.iter().copied() {
                for to in watch.destinations() {
                    let done = lab.perform(operation, *to);
                    samples.add(operation, watch, *to, round, done.cpu_ns());
                }
            }
            watching.end();
        }
    }
    report::operations(&samples, &operations);
    let mut sums = Sums::default();
    let statistics = times::Statistics::on();
    for round in 0..TIMED_ROUNDS {
        eprintln!("round {} of {TIMED_ROUNDS} with run times", round + 1);
        for watch in [Watch::Empty, Watch::Watched] {
            let Some(watching) = lab.watch(watch) else { continue };
            for operation in operations.iter().copied() {
                for to in watch.destinations() {
                    let before = watching.times();
                    let done = lab.perform(operation, *to);
                    let after = watching.times();
                    sums.add(operation, watch, *to, times::spent(&before, &after), done.count());
                }
            }
            watching.end();
        }
    }
    drop(statistics);
    report::programs(&sums, &operations);
}

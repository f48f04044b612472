//! The tables of docs/performance.md, in Markdown on stdout. Measures nothing.

use std::{collections::BTreeMap, fs};

use super::{
    lab::{Destination, Watch},
    times::Times,
    work::Operation,
};

/// Processor time of an operation in nanoseconds, by round.
#[derive(Default)]
pub(super) struct Samples(BTreeMap<(Operation, Watch, Destination), BTreeMap<usize, f64>>);

impl Samples {
    pub(super) fn add(
        &mut self,
        operation: Operation,
        watch: Watch,
        to: Destination,
        round: usize,
        ns: f64,
    ) {
        self.0.entry((operation, watch, to)).or_default().insert(round, ns);
    }

    fn of(&self, operation: Operation, watch: Watch, to: Destination) -> Vec<f64> {
        let found = self.0.get(&(operation, watch, to));
        found.into_iter().flatten().map(|(_, ns)| *ns).collect()
    }

    /// Of each round, what it took to what it takes bare, before and after.
    fn ratios(&self, operation: Operation, watch: Watch, to: Destination) -> Option<[f64; 3]> {
        let bare = self.of(operation, Watch::Bare, Destination::Unapproved);
        let again = self.of(operation, Watch::Control, Destination::Unapproved);
        let these = self.of(operation, watch, to);
        let base = bare.iter().zip(&again).map(|(a, b)| f64::midpoint(*a, *b));
        let ratios: Vec<f64> = these.iter().zip(base).map(|(ns, base)| ns / base).collect();
        (!ratios.is_empty()).then(|| quartiles(ratios))
    }
}

/// Run times of programs, and operations, over all rounds.
#[derive(Default)]
pub(super) struct Sums(BTreeMap<(Operation, Watch, Destination), (Times, u64)>);

impl Sums {
    pub(super) fn add(
        &mut self,
        operation: Operation,
        watch: Watch,
        to: Destination,
        spent: Times,
        count: u64,
    ) {
        let known = self.0.entry((operation, watch, to)).or_default();
        for (hook, (time, runs)) in spent {
            let sum = known.0.entry(hook).or_default();
            *sum = (sum.0 + time, sum.1 + runs);
        }
        known.1 += count;
    }

    /// Nanoseconds an operation by hook, less those of an empty program that runs as often.
    fn net(&self, operation: Operation, to: Destination) -> BTreeMap<&'static str, f64> {
        let Some((times, count)) = self.0.get(&(operation, Watch::Watched, to)) else {
            return BTreeMap::new();
        };
        let empty = self.0.get(&(operation, Watch::Empty, Destination::Unapproved));
        let each = |(hook, (time, runs)): (&&'static str, &(u64, u64))| {
            let empty = empty.and_then(|(times, _)| times.get(hook)).filter(|it| it.1 > 0);
            let bare = empty.map_or(0.0, |(time, runs)| *time as f64 / *runs as f64);
            let net = (*time as f64 - *runs as f64 * bare) / *count as f64;
            (*hook, net)
        };
        times.iter().map(each).collect()
    }
}

pub(super) fn machine(rounds: usize) {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let model = model.trim_start_matches([' ', '\t', ':']);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let (kernel, load) = (read("/proc/sys/kernel/osrelease"), read("/proc/loadavg"));
    let (kernel, load) = (kernel.trim(), load.split(' ').next().unwrap_or_default());
    println!("Linux {kernel}, {model}, {cores} cores, load before {load}; {rounds} rounds.\n");
}

pub(super) fn operations(samples: &Samples, operations: &[Operation]) {
    println!(
        "| an operation, in processor time | bare, ns | empty programs | to an approved country | to an unapproved one | bpftrace, maps | control |\n|---|---|---|---|---|---|---|"
    );
    for operation in operations.iter().copied() {
        let bare = quartiles(samples.of(operation, Watch::Bare, Destination::Unapproved))[1];
        let ratio = |watch, to| {
            let cell =
                |[low, middle, high]: [f64; 3]| format!("x{middle:.2} ({low:.2} to {high:.2})");
            samples.ratios(operation, watch, to).map_or_else(|| "-".to_owned(), cell)
        };
        println!(
            "| {} | {bare:.0} | {} | {} | {} | {} | {} |",
            operation.name(),
            ratio(Watch::Empty, Destination::Unapproved),
            ratio(Watch::Watched, Destination::Approved),
            ratio(Watch::Watched, Destination::Unapproved),
            ratio(Watch::Script, Destination::Unapproved),
            ratio(Watch::Control, Destination::Unapproved),
        );
    }
    println!();
}

pub(super) fn programs(sums: &Sums, operations: &[Operation]) {
    println!(
        "| an operation, in the programs' run time net of empty ones | to an approved country, ns | to an unapproved one, ns | of it |\n|---|---|---|---|"
    );
    for operation in operations.iter().copied() {
        let [approved, unapproved] =
            [Destination::Approved, Destination::Unapproved].map(|to| sums.net(operation, to));
        let total = |net: &BTreeMap<&str, f64>| net.values().sum::<f64>();
        let mut parts: Vec<(&str, f64)> =
            unapproved.iter().map(|(hook, ns)| (*hook, *ns)).filter(|(_, ns)| *ns >= 5.0).collect();
        parts.sort_by(|a, b| f64::total_cmp(&b.1, &a.1));
        let parts: Vec<String> = parts.iter().map(|(hook, ns)| format!("{hook} {ns:.0}")).collect();
        println!(
            "| {} | {:.0} | {:.0} | {} |",
            operation.name(),
            total(&approved),
            total(&unapproved),
            parts.join(", ")
        );
    }
}

/// Lower quartile, median, upper quartile.
fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    [1, 2, 3].map(|quarter| values.get(last * quarter / 4).copied().unwrap_or(f64::NAN))
}

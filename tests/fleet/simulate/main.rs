//! A fleet of any size, made, shipped, collected and asked; in the end a table of what it took. It fails where the
//! lake is not what was made, or who ships grows with the ledger.
//!
//! `simulate FLEET STATION PACKAGES REPOSITORY KEY=VALUE...`

#[path = "../simulation/mod.rs"]
mod simulation;

mod growth;

use std::{fs, path::Path, path::PathBuf, time::Instant};

use simulation::{Fleet, Plan, Programs, asked::Engines};

/// Each station lives so many times, with shipping and collecting after each.
const TURNS: u64 = 3;
const SEGMENT_BYTES: u64 = 4 << 20;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [fleet, station, packages, repository, more @ ..] = &words[..] else {
        panic!("FLEET STATION PACKAGES REPOSITORY KEY=VALUE...")
    };
    let value = |key: &str| more.iter().find_map(|it| it.strip_prefix(key)?.strip_prefix('='));
    let number = |key: &str| value(key).map(|it| it.parse::<u64>().expect("a number"));
    let (plan, days) = planned(&number);
    let spare = tempfile::tempdir().expect("a directory");
    let root = value("keep").map_or_else(|| spare.path().to_owned(), PathBuf::from);
    let programs = Programs { fleet: fleet.into(), station: station.into() };
    let mut fleet = Fleet::new(&root, plan, programs);
    let began = Instant::now();
    fleet.live(&mut |turn| {
        let seconds = began.elapsed().as_secs();
        eprintln!("      turn {} of {TURNS}, {seconds} s since it began", turn + 1);
    });
    let engines = Engines { packages: packages.into(), repository: repository.into() };
    let made: u64 = fleet.fates.keys().map(|name| fleet.truth.states(name)).sum();
    let sql =
        "select count(*), count(distinct (ledger_origin, ledger_block, ledger_entry)) from states";
    let held = engines.rows(&fleet.lake(), sql);
    assert_eq!(held, [vec![made.to_string(), made.to_string()]], "each record once");
    let growth = growth::told(&fleet);
    if value("keep").is_none() {
        // Of a large fleet there is not always room for all.
        fs::remove_dir_all(root.join("made")).expect("remove");
    }
    // All of it anew, in one go: how quick it is.
    let again = root.join("again");
    fs::create_dir_all(&again).expect("make a directory");
    let output = fleet.collect_command(&again).output().expect("collect");
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().rfind(|it| it.contains("rows poured")).unwrap_or_default();
    println!("| | |\n|---|---|");
    let violating: u64 = fleet.truth.sums.values().map(|it| it.violations).sum();
    println!(
        "| stations, days, states of flows, violations | {}, {days}, {made}, {violating} |",
        plan.stations
    );
    println!(
        "| made, shipped, collected in turns, s | {:.0}, {:.0}, {:.0} |",
        fleet.took[0], fleet.took[1], fleet.took[2]
    );
    println!("| collected anew in one go | {said} |");
    let (inbox, lake) = (bytes(&root.join("inbox")), bytes(&fleet.lake().join("flows")));
    println!("| bytes over the link, for 10,000 flows | {inbox}, {} |", inbox * 10_000 / made);
    println!("| bytes of `flows/` in the lake, a state | {lake}, {} |", lake / made);
    fs::remove_dir_all(&again).expect("remove");
    println!("| memory of a station that ships all it has, KiB | {growth} |");
    let whole = fleet.status().iter().filter(|it| it["state"] == "whole").count();
    println!("| ledgers that are whole, of others it is said what they are | {whole} |");
    for engine in engines_of(value("engines")) {
        ask(engine, &engines, &fleet);
    }
}

/// What is to be made, and of how many days.
fn planned(number: &dyn Fn(&str) -> Option<u64>) -> (Plan, u64) {
    let days = number("days").unwrap_or(6);
    let flows = number("flows").unwrap_or(7_000);
    let plan = Plan {
        stations: number("stations").unwrap_or(24) as usize,
        turns: TURNS,
        days_a_turn: days.div_ceil(TURNS).max(1),
        records_a_day: flows,
        // A few segments a turn, however little there is.
        segment_bytes: (flows * days * 4).clamp(16 << 10, SEGMENT_BYTES),
        seed: number("seed").unwrap_or(11),
        one_in: 100,
        violating: number("violating").unwrap_or(1),
        at_once: number("jobs").unwrap_or(2) as usize,
    };
    (plan, days)
}

/// All questions, and how long it takes to answer them.
fn ask(engine: &str, engines: &Engines, fleet: &Fleet) {
    let seconds = engines.compare(engine, fleet);
    let first = seconds.first().map_or(0.0, |it| it.1);
    let slowest = seconds.iter().max_by(|a, b| a.1.total_cmp(&b.1));
    let (name, slowest) = slowest.map_or(("", 0.0), |it| (it.0.as_str(), it.1));
    println!(
        "| {engine}: violations by country, operator, program; slowest of 20, s | {first:.2}; {slowest:.2} ({name}) |"
    );
    let all: Vec<String> = seconds.iter().map(|it| format!("{} {:.2}", &it.0[..2], it.1)).collect();
    eprintln!("      {engine}: {}", all.join(", "));
}

/// All of them, or those that were named: to put hundred million records into tables takes its time.
fn engines_of(named: Option<&str>) -> Vec<&str> {
    named.unwrap_or("duckdb,clickhouse-files,clickhouse").split(',').collect()
}

fn bytes(root: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(root) else { return 0 };
    let of = |it: fs::DirEntry| {
        let about = it.metadata().expect("a file");
        if about.is_dir() { bytes(&it.path()) } else { about.len() }
    };
    entries.map(|it| of(it.expect("an entry"))).sum()
}

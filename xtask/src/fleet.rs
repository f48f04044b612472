//! `cargo xtask fleet`: a fleet that is made up, of any size: stations, days and records, links that lose, and what
//! goes wrong with whom; then what the lake holds and engines answer, held against what was made.

use anyhow::{Context as _, Result, ensure};

use crate::{
    build::{self, Profile},
    console::{Console, own},
    host, paths, python,
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask fleet
  cargo xtask fleet --stations 200 --days 30 --flows 15200 --violating 26
  cargo xtask fleet --urgent 200")]
pub struct Args {
    #[arg(long, default_value_t = 24)]
    stations: u64,
    #[arg(long, default_value_t = 6)]
    days: u64,
    /// Flows of each station and day; some are told twice
    #[arg(long, default_value_t = 7_000)]
    flows: u64,
    /// What is made depends on it, and on nothing else
    #[arg(long, default_value_t = 11)]
    seed: u64,
    /// Of flows to where they must not go one in so many is made: with 1 they are a quarter of all flows
    #[arg(long, default_value_t = 1)]
    violating: u64,
    /// Stations that are made at the same time
    #[arg(long, default_value_t = 2)]
    jobs: u64,
    /// Which engines are asked, with commas: duckdb, clickhouse-files, clickhouse
    #[arg(long, default_value = "duckdb,clickhouse-files,clickhouse")]
    engines: String,
    /// Instead: how long so many violations take from a packet to an object in a bucket that can be read (as root)
    #[arg(long, value_name = "COUNT", conflicts_with_all = ["stations", "days", "flows", "keep"])]
    urgent: Option<u64>,
    /// Leaves ledgers and lake here instead of removing them
    #[arg(long, value_name = "DIR")]
    keep: Option<std::path::PathBuf>,
}

pub fn run(console: &Console, args: &Args) -> Result<()> {
    python::install(console)?;
    if let Some(count) = args.urgent {
        return urgent(console, count);
    }
    let mut build = host::cargo();
    build.args(["build", "--locked", "--release", "--package", "fleet", "--bins", "--examples"]);
    console.step("build geofenced-fleet", &mut build)?;
    let built = paths::target().join("release");
    let mut simulate = std::process::Command::new(built.join("examples/simulate"));
    simulate.arg(built.join("geofenced-fleet")).arg(built.join("examples/station"));
    simulate.arg(paths::target().join("tools/python")).arg(paths::root());
    for (key, value) in [
        ("stations", args.stations),
        ("days", args.days),
        ("flows", args.flows),
        ("seed", args.seed),
        ("violating", args.violating),
        ("jobs", args.jobs),
    ] {
        simulate.arg(format!("{key}={value}"));
    }
    simulate.arg(format!("engines={}", args.engines));
    if let Some(keep) = &args.keep {
        simulate.arg(format!("keep={}", keep.display()));
    }
    own("simulate", || {
        let status = simulate.status().context("start examples/simulate")?;
        ensure!(status.success(), "the lake is not what was made");
        Ok(())
    })
}

/// By the debug build: what it takes is waiting.
fn urgent(console: &Console, count: u64) -> Result<()> {
    ensure!(host::is_root(), "probes are attached as root: run this as root");
    let daemon = build::daemon(console, Profile::Debug)?;
    build::example(console, "egress", Profile::Debug)?;
    let fleet = build::fleet(console, Profile::Debug)?;
    let mut build = host::cargo();
    build.args(["build", "--locked", "--package", "fleet", "--example", "urgent"]);
    console.step("build examples/urgent", &mut build)?;
    let mut urgent = std::process::Command::new(fleet.with_file_name("examples/urgent"));
    urgent.arg(&fleet).arg(daemon).arg(paths::target().join("tools/python"));
    own("urgent", || {
        let status = urgent.arg(count.to_string()).status().context("start examples/urgent")?;
        ensure!(status.success(), "it takes too long, or does not arrive");
        Ok(())
    })
}

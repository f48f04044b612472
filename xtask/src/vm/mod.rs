//! `cargo xtask vm`: the daemon on other kernels. Boots Debian's kernel packages in a plain emulator
//! with a guest that holds nothing but the daemon and the generator, and judges what it says.

mod archive;
mod checks;
mod guest;
mod initramfs;
mod report;
mod transcript;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    apt::{self, Wanted},
    build::{self, Profile},
    console::{Console, own, say},
    paths,
};
use archive::Archive;
use checks::Check;
use initramfs::Programs;
use transcript::Transcript;

/// Long-term kernels from the oldest that can be watched to the newest that Debian builds.
const KERNELS: [&str; 4] = ["5.10", "6.1", "6.12", "newest"];

const PACKAGES: [Wanted<'static>; 5] = [
    ("qemu-system-x86", "qemu-system-x86_64: boots the kernels"),
    ("busybox-static", "busybox: the guest's shell"),
    ("iproute2", "ip: the guest's network namespaces"),
    ("nftables", "nft: the guest's NAT, and what counts there"),
    ("ethtool", "ethtool: the guest's packets leave as they are on a wire"),
];

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask vm
  cargo xtask vm 5.10 6.12.117
  cargo xtask vm --write")]
pub struct Args {
    /// Versions, or their beginnings, of Debian's kernels; `newest` is the newest of them all
    #[arg(value_name = "KERNEL", default_values_t = KERNELS.map(String::from))]
    kernels: Vec<String>,
    /// Writes the result to docs/kernels.md
    #[arg(long)]
    write: bool,
    /// Runs the release build, as users do
    #[arg(long)]
    release: bool,
    /// Judges what the guests said last, and boots none
    #[arg(long)]
    saved: bool,
    /// Seconds until a guest is given up
    #[arg(long, default_value_t = 1200)]
    timeout: u64,
}

/// One kernel and what came out on it.
#[derive(Debug)]
struct Outcome {
    /// Debian's version of the package.
    version: String,
    /// The guest's `uname -r`; empty when it did not come so far.
    release: String,
    checks: Vec<Check>,
}

impl Outcome {
    fn failed(&self) -> impl Iterator<Item = (&Check, &str)> {
        self.checks.iter().filter_map(|check| Some((check, check.outcome.as_ref().err()?.as_str())))
    }
}

pub fn run(console: &Console, args: &Args) -> Result<()> {
    apt::install(console, &PACKAGES)?;
    let work = directory();
    fs::create_dir_all(&work).with_context(|| format!("cannot make {}", work.display()))?;
    let image = if args.saved { None } else { Some(image(console, args, &work)?) };
    let archive = Archive::open(console, &work)?;
    let limit = Duration::from_secs(args.timeout);
    let mut outcomes = Vec::new();
    for wanted in &args.kernels {
        let kernel = archive.fetch(console, wanted)?;
        let transcript = work.join(format!("{}.transcript", kernel.version));
        if let Some(image) = &image {
            let image = initramfs::with_modules(&work, image, &kernel)
                .with_context(|| format!("no modules of {}", kernel.version))?;
            let name = format!("boot {}", kernel.version);
            own(&name, || guest::boot(&kernel, &image, &transcript, limit))
                .with_context(|| format!("{} did not run", kernel.version))?;
            fs::remove_file(&image)?;
        }
        let bytes = fs::read(&transcript)
            .with_context(|| format!("{} said nothing yet", kernel.version))?;
        let said = Transcript::parse(&String::from_utf8_lossy(&bytes));
        outcomes.push(Outcome {
            version: kernel.version,
            release: said.first_line("kernel").unwrap_or_default().to_owned(),
            checks: checks::all(&said),
        });
    }
    conclude(&outcomes, args.write)
}

/// What every guest boots with, whatever its kernel.
fn image(console: &Console, args: &Args, work: &Path) -> Result<PathBuf> {
    let profile = if args.release { Profile::Release } else { Profile::Debug };
    let geofenced = build::daemon(console, profile)?;
    let egress = build::example(console, "egress", profile)?;
    let ways = build::test(console, "coverage", profile)?;
    let programs = Programs { geofenced, egress, ways };
    own("initramfs", || initramfs::make(work, &programs))
}

fn conclude(outcomes: &[Outcome], write: bool) -> Result<()> {
    let table = report::table(outcomes);
    println!("{table}");
    let mut failures = 0;
    for outcome in outcomes {
        for (check, problem) in outcome.failed() {
            failures += 1;
            say(format_args!("FAIL  {} on {}: {problem}", check.name, outcome.version));
        }
    }
    if write {
        let path = paths::root().join("docs/kernels.md");
        let old = fs::read_to_string(&path).unwrap_or_default();
        fs::write(&path, report::page(&old, outcomes, &table))
            .with_context(|| format!("cannot write {}", path.display()))?;
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

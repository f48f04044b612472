//! `cargo xtask fuzz`: each parser of foreign bytes for a while. The daemon's by libFuzzer, from the
//! inputs kept in `tests/fuzz/corpus`; `packets`, the probes' own, as they are loaded in the kernel.

mod outcome;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    console::{Console, ask, say, stream},
    host, paths, probes,
};
use outcome::Outcome;

const VERSION: &str = "0.13.2";
/// The target that is none of libFuzzer's: a kernel test, which needs root.
const PACKETS: &str = "packets";
/// Of found inputs, for each target.
const KEPT_BYTES: u64 = 64 << 10;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask fuzz
  cargo xtask fuzz config mmdb --seconds 600
  cargo xtask fuzz packets --seconds 600
  cargo xtask fuzz ledger --keep")]
pub struct Args {
    /// Names of tests/fuzz/targets, or `packets`; all of them if none is said
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
    /// For each target
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Keeps in tests/fuzz/corpus, up to 64 KiB a target, the smallest inputs that reach most
    #[arg(long)]
    keep: bool,
}

pub fn run(console: &Console, args: &Args) -> Result<()> {
    let known = targets()?;
    for target in &args.targets {
        if !known.contains(target) {
            bail!("there is no target {target}; there are: {}", known.join(", "));
        }
    }
    let wanted = if args.targets.is_empty() { &known } else { &args.targets };
    probes::ensure_built(console)?;
    let fuzzer = Fuzzer { directory: installed(console)?, console };
    let mut outcomes = Vec::new();
    for target in wanted {
        let outcome = if target == PACKETS {
            packets(args.seconds)?
        } else {
            fuzzer.run(target, args.seconds)?
        };
        if args.keep && target != PACKETS && outcome.is_good {
            fuzzer.keep(target)?;
        }
        outcomes.push(outcome);
    }
    print!("{}", outcome::table(&outcomes));
    let bad: Vec<&str> =
        outcomes.iter().filter(|it| !it.is_good).map(|it| it.target.as_str()).collect();
    if bad.is_empty() {
        return Ok(());
    }
    bail!("findings in {}: see target/xtask, and tests/fuzz/artifacts for inputs", bad.join(", "))
}

fn home() -> PathBuf {
    paths::root().join("tests/fuzz")
}

/// By the files there are.
fn targets() -> Result<Vec<String>> {
    let folder = home().join("targets");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("no {}", folder.display()))? {
        let path = entry?.path();
        names.extend(path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned));
    }
    names.sort_unstable();
    names.push(PACKETS.to_owned());
    Ok(names)
}

fn installed(console: &Console) -> Result<PathBuf> {
    let root = paths::tools().join("cargo-fuzz");
    let directory = root.join("bin");
    let mut version = Command::new(directory.join("cargo-fuzz"));
    if ask(version.arg("--version")).is_some() {
        return Ok(directory);
    }
    say("      installing cargo-fuzz (a minute, once)");
    let mut cargo = host::cargo();
    cargo.args(["install", "cargo-fuzz", "--locked", "--version", VERSION, "--root"]).arg(&root);
    console.step("install cargo-fuzz", &mut cargo)?;
    Ok(directory)
}

/// cargo-fuzz, and where it is.
struct Fuzzer<'a> {
    directory: PathBuf,
    console: &'a Console,
}

impl Fuzzer<'_> {
    /// `cargo fuzz run` of a target over folders of inputs; the first is written to.
    fn cargo(&self, target: &str, folders: &[&Path], options: &[&str]) -> Command {
        let mut cargo = host::cargo();
        cargo.args(["fuzz", "run", "--sanitizer", "address", "--fuzz-dir"]).arg(home());
        cargo.arg("--target-dir").arg(paths::target().join("fuzz")).arg(target).args(folders);
        cargo.arg("--").args(options);
        // The flags of the sanitizer are unstable, and the compiler is the one of everything else.
        cargo.env("RUSTC_BOOTSTRAP", "1");
        cargo.env("PATH", paths::search_path(std::slice::from_ref(&self.directory)));
        cargo
    }

    fn run(&self, target: &str, seconds: u64) -> Result<Outcome> {
        let (found, kept) = (found(target), kept(target));
        for folder in [&found, &kept] {
            fs::create_dir_all(folder).with_context(|| format!("no {}", folder.display()))?;
        }
        let time = format!("-max_total_time={seconds}");
        // An input that takes ten seconds is a finding too.
        let options = [time.as_str(), "-print_final_stats=1", "-timeout=10", "-rss_limit_mb=2048"];
        let name = format!("fuzz {target}");
        // What the targets write stays in memory, and is gone with them.
        let scratch = tempfile::tempdir_in("/dev/shm").context("no directory in memory")?;
        let mut cargo = self.cargo(target, &[&found, &kept], &options);
        let done = self.console.step(&name, cargo.env("TMPDIR", scratch.path()));
        let log = paths::target().join("xtask").join(format!("fuzz-{target}.log"));
        let text = fs::read(&log).unwrap_or_default();
        Ok(Outcome::of_libfuzzer(target, &String::from_utf8_lossy(&text), done.is_ok()))
    }

    /// The smallest of the inputs that reach most, beside those that people wrote and named.
    fn keep(&self, target: &str) -> Result<()> {
        let fewest = paths::target().join("fuzz/fewest").join(target);
        let _ = fs::remove_dir_all(&fewest);
        fs::create_dir_all(&fewest)?;
        let (found, kept) = (found(target), kept(target));
        let mut cargo = self.cargo(target, &[&fewest, &kept, &found], &["-set_cover_merge=1"]);
        self.console.step(&format!("keep what reaches most of {target}"), &mut cargo)?;
        for (_, path) in inputs(&kept)?.iter().filter(|(_, path)| is_found(path)) {
            fs::remove_file(path)?;
        }
        let mut left = KEPT_BYTES;
        for (bytes, path) in inputs(&fewest)? {
            left = left.saturating_sub(bytes);
            if left == 0 {
                break;
            }
            fs::copy(&path, kept.join(path.file_name().unwrap_or_default()))?;
        }
        Ok(())
    }
}

/// The files of a folder by size.
fn inputs(folder: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let mut inputs = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        inputs.push((entry.metadata()?.len(), entry.path()));
    }
    inputs.sort();
    Ok(inputs)
}

/// libFuzzer names an input by its SHA-1.
fn is_found(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.len() == 40 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Inputs of earlier runs, in this checkout alone.
fn found(target: &str) -> PathBuf {
    paths::target().join("fuzz/corpus").join(target)
}

/// Inputs that are part of the tree.
fn kept(target: &str) -> PathBuf {
    home().join("corpus").join(target)
}

/// The kernel test, for as long.
fn packets(seconds: u64) -> Result<Outcome> {
    if !host::is_root() {
        bail!("{PACKETS} loads the probes: run it as root");
    }
    let mut cargo = host::cargo();
    cargo.args(["test", "--locked", "--package", "monitor", "--test", PACKETS]);
    cargo.args(["--", "--nocapture"]);
    cargo.env("GEOFENCED_PACKETS_SECONDS", seconds.to_string());
    let mut said = String::new();
    let status = stream(PACKETS, &mut cargo, |line| {
        said.push_str(line);
        said.push('\n');
    })?;
    Ok(Outcome::of_packets(PACKETS, &said, status.success()))
}

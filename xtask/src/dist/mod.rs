//! What is handed out, for each architecture: a static binary in a .deb, an .rpm and a tarball, with sums and a
//! bill of materials. This file says what is made in which order; the others make it.

mod bill;
mod compile;
mod databases;
mod deb;
mod product;
mod rpm;
mod stage;

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

pub use self::product::{DAEMON, FLEET, Product};
use self::stage::Stage;
use crate::{
    apt,
    console::{Console, own, say},
    host, paths,
};

pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Of what a test upgrades to.
pub const NEWER: &str = "999";

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only for this architecture
    #[arg(long, value_enum)]
    arch: Option<Arch>,
    /// Builds the binary once more in another folder, and compares
    #[arg(long)]
    twice: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Arch {
    #[value(name = "x86_64")]
    X86,
    #[value(name = "aarch64")]
    Arm,
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Arch {
    const ALL: [Self; 2] = [Self::X86, Self::Arm];

    pub fn name(self) -> &'static str {
        match self {
            Self::X86 => "x86_64",
            Self::Arm => "aarch64",
        }
    }

    pub fn debian(self) -> &'static str {
        match self {
            Self::X86 => "amd64",
            Self::Arm => "arm64",
        }
    }

    fn target(self) -> &'static str {
        match self {
            Self::X86 => "x86_64-unknown-linux-musl",
            Self::Arm => "aarch64-unknown-linux-musl",
        }
    }

    fn is_foreign(self) -> bool {
        self.name() != host::arch()
    }

    pub fn of_host() -> Result<Self> {
        Self::ALL.into_iter().find(|it| !it.is_foreign()).context("no packages for this machine")
    }
}

pub fn run(console: &Console, args: &Args) -> Result<()> {
    apt::install(console, &[("rpm", "rpmbuild: makes the .rpm")])?;
    let dist = paths::target().join("dist/packages");
    if dist.exists() {
        fs::remove_dir_all(&dist)?;
    }
    fs::create_dir_all(&dist)?;
    for product in product::ALL {
        make(console, product, args, &dist)?;
    }
    // It has them inside, and says of which day they are.
    let writer = compile::binary(console, &DAEMON, Arch::of_host()?)?;
    let databases = own(".deb of databases", || {
        databases::pack(&writer, &dist, compile::epoch()?, deb::SMALL)
    })?;
    deb::lint(console, &databases)?;
    own("sums", || sums(&dist))?;
    say(format_args!("      {}", dist.display()));
    Ok(())
}

fn make(console: &Console, product: &'static Product, args: &Args, dist: &Path) -> Result<()> {
    let host = Arch::of_host()?;
    // Manual pages and completions are written by a binary that runs here.
    let writer = compile::binary(console, product, host)?;
    for arch in Arch::ALL.into_iter().filter(|it| args.arch.is_none_or(|only| only == *it)) {
        let binary =
            if arch == host { writer.clone() } else { compile::binary(console, product, arch)? };
        if args.twice {
            compile::again(console, product, arch, &binary)?;
        }
        let name = product.name;
        let stage = own(&format!("collect {name} for {arch}"), || {
            Stage::collect(product, arch, (&binary, &writer), compile::epoch()?)
        })?;
        own(&format!("tarball of {name} for {arch}"), || stage.tarball(dist))?;
        let deb =
            own(&format!(".deb of {name} for {arch}"), || deb::pack(&stage, dist, deb::SMALL))?;
        deb::lint(console, &deb)?;
        own(&format!(".rpm of {name} for {arch}"), || rpm::pack(&stage, dist, VERSION))?;
        fs::copy(stage.bill(), dist.join(format!("{name}-{VERSION}-{arch}.cdx.json")))?;
    }
    Ok(())
}

/// The packages of a debug build, side by side, for tests: as they will be, but for the binary, which is stripped here.
/// Returns where Debian's is.
pub fn of_debug(product: &'static Product, binary: &Path) -> Result<PathBuf> {
    let dist = paths::target().join("packages");
    fs::create_dir_all(&dist)?;
    let stripped = dist.join(product.name);
    tool(Command::new("strip").arg("-o").arg(&stripped).arg(binary))?;
    let stage = Stage::collect(product, Arch::of_host()?, (&stripped, binary), compile::epoch()?)?;
    let deb = deb::pack(&stage, &dist, deb::QUICK)?;
    if product.configuration.is_empty() {
        return Ok(deb);
    }
    rpm::pack(&stage, &dist, VERSION)?;
    // And one of another version, which comes with another configuration.
    let config = product.configuration.trim().trim_start_matches('/');
    stage.write(config, &(fs::read_to_string(stage.at(config))? + "# newer\n"))?;
    rpm::pack(&stage, &dist, NEWER)?;
    Ok(deb)
}

/// The package of the databases, for tests. `daemon`: a binary that has them inside.
pub fn of_databases(daemon: &Path) -> Result<PathBuf> {
    let dist = paths::target().join("packages");
    databases::pack(daemon, &dist, compile::epoch()?, deb::QUICK)
}

fn sums(dist: &Path) -> Result<()> {
    let mut names: Vec<_> =
        fs::read_dir(dist)?.filter_map(Result::ok).map(|entry| entry.file_name()).collect();
    names.sort();
    let output = Command::new("sha256sum").args(&names).current_dir(dist).output()?;
    anyhow::ensure!(output.status.success(), "sha256sum failed");
    fs::write(dist.join("SHA256SUMS"), output.stdout)?;
    Ok(())
}

fn tool(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("cannot start {program}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{program} failed, {}: {said}", output.status);
    Ok(())
}

/// A file of `deploy/package`, with the words in braces replaced.
fn template(product: &Product, name: &str, words: &[(&str, &str)]) -> Result<String> {
    let path = paths::root().join("deploy/package").join(product.templates).join(name);
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    Ok(words.iter().fold(text, |text, (word, value)| text.replace(&format!("@{word}@"), value)))
}

//! Debian's compiler for web browsers: recent, in the security archive of each release.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::{
    Toolchain, linker,
    version::{self, Version},
};
use crate::{apt, console::Console};

const RUSTC: &str = "/usr/bin/rustc";
const CARGO: &str = "/usr/bin/cargo";

/// Packages of one compiler: rustc, cargo, the sources of `core`. The first set that is new
/// enough is taken; `-web` is the name in stable releases, where plain `rustc` is too old.
const SETS: [[&str; 3]; 2] =
    [["rustc-web", "cargo-web", "rust-web-src"], ["rustc", "cargo", "rust-src"]];

/// The toolchain, if nothing needs installing.
pub fn ready() -> Option<Toolchain> {
    let version = compiler()?;
    Some(toolchain(version, linker::built(version.llvm)?))
}

pub fn install(console: &Console) -> Result<Toolchain> {
    let version = match compiler() {
        Some(version) => version,
        None => install_compiler(console)?,
    };
    Ok(toolchain(version, linker::build(console, version.llvm, CARGO.as_ref(), RUSTC.as_ref())?))
}

fn install_compiler(console: &Console) -> Result<Version> {
    // A machine made from an image may not have the lists of packages yet.
    if newest().is_none() {
        apt::update(console)?;
    }
    let Some([rustc, cargo, sources]) = newest() else {
        let (major, minor) = version::minimum();
        bail!("no package of rustc {major}.{minor} or later in this system's archives");
    };
    apt::install(
        console,
        &[
            (rustc, "the compiler of the probes"),
            (cargo, "its cargo"),
            (sources, "the sources of `core`, built for the kernel's machine"),
        ],
    )?;
    compiler().with_context(|| format!("{rustc} is installed, yet {RUSTC} can't build the probes"))
}

/// Debian's compiler with the sources of `core`, if it is there and new enough.
fn compiler() -> Option<Version> {
    let version = version::of(&mut Command::new(RUSTC))?;
    let sources = Path::new("/usr/lib/rustlib/src/rust/library/core/Cargo.toml").is_file();
    (version.release >= version::minimum() && sources && Path::new(CARGO).is_file())
        .then_some(version)
}

fn newest() -> Option<[&'static str; 3]> {
    SETS.into_iter().find(|[rustc, ..]| {
        apt::candidate(rustc)
            .and_then(|version| version::parse_release(&version))
            .is_some_and(|release| release >= version::minimum())
    })
}

fn toolchain(version: Version, linker: PathBuf) -> Toolchain {
    let (major, minor) = version.release;
    let name = format!(
        "Debian's rustc {major}.{minor} (LLVM {}), bpf-linker {}",
        version.llvm,
        linker::VERSION
    );
    Toolchain { cargo: vec![CARGO.into()], rustc: Some(RUSTC.into()), linker, name }
}

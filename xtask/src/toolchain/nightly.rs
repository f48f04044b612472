//! rustup's nightly, the ordinary way of aya.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::{
    Toolchain, linker,
    version::{self, Version},
};
use crate::{
    console::{Console, ask, say},
    paths,
};

/// The toolchain, if nothing needs installing.
pub fn ready() -> Option<Toolchain> {
    let version = compiler()?;
    Some(toolchain(version, linker::in_path().or_else(|| linker::built(version.llvm))?))
}

pub fn install(console: &Console) -> Result<Toolchain> {
    if compiler().is_none() {
        say("      installing rustup's nightly with the sources of `core`");
        let mut rustup = Command::new("rustup");
        rustup.args(["toolchain", "install", "nightly", "--profile", "minimal"]);
        console
            .step("rustup toolchain install nightly", rustup.args(["--component", "rust-src"]))?;
    }
    let version = compiler().context("rustup's nightly is installed, yet lacks rust-src")?;
    let linker = if let Some(directory) = linker::in_path() {
        directory
    } else {
        let sysroot = sysroot().context("rustup names no directory of its nightly")?;
        let bin = Path::new(&sysroot).join("bin");
        linker::build(console, version.llvm, &bin.join("cargo"), &bin.join("rustc"))?
    };
    Ok(toolchain(version, linker))
}

/// The nightly with the sources of `core`, if it is there.
fn compiler() -> Option<Version> {
    paths::which("rustup")?;
    let sources = Path::new(&sysroot()?).join("lib/rustlib/src/rust/library/core/Cargo.toml");
    sources.is_file().then_some(())?;
    version::of(Command::new("rustup").args(["run", "nightly", "rustc"]))
}

fn sysroot() -> Option<String> {
    let mut rustc = Command::new("rustup");
    let answer = ask(rustc.args(["run", "nightly", "rustc", "--print", "sysroot"]))?;
    Some(answer.trim().to_owned())
}

fn toolchain(version: Version, linker: PathBuf) -> Toolchain {
    let (major, minor) = version.release;
    let name = format!(
        "rustup's nightly {major}.{minor} (LLVM {}), {}",
        version.llvm,
        linker.join("bpf-linker").display()
    );
    let cargo = ["rustup", "run", "nightly", "cargo"].map(Into::into).to_vec();
    Toolchain { cargo, rustc: None, linker, name }
}

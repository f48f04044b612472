//! Format, clippy and the documentation's links, with every warning an error.

use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{console::Console, docs, host, paths, probes};

pub fn run(console: &Console) -> Result<()> {
    probes::ensure_built(console)?;
    all(console)
}

/// The lints themselves; the probes' object must be there already.
pub fn all(console: &Console) -> Result<()> {
    install(console)?;
    console
        .step("format", host::cargo().args(["fmt", "--all", "--check"]))
        .context("the format is not rustfmt's; run: cargo fmt --all")?;
    let mut clippy = host::cargo();
    clippy.args(["clippy", "--locked", "--workspace", "--all-targets"]);
    console.step("clippy", clippy.args(["--", "--deny", "warnings"]))?;
    docs::check(console)?;
    fuzz_targets(console)
}

/// They are a workspace of their own, which nothing else here would compile. Nothing is linked, so
/// libFuzzer needs not be built, nor a C++ compiler be there.
fn fuzz_targets(console: &Console) -> Result<()> {
    let mut check = host::cargo();
    check.args(["check", "--locked", "--manifest-path", "tests/fuzz/Cargo.toml"]);
    check.env("CUSTOM_LIBFUZZER_PATH", paths::target().join("none/libFuzzer.a"));
    console
        .step("fuzz targets compile", &mut check)
        .context("the targets in tests/fuzz no longer fit what they try")
}

/// rustup's minimal profile has neither.
fn install(console: &Console) -> Result<()> {
    let missing: Vec<&str> = [("fmt", "rustfmt"), ("clippy", "clippy")]
        .into_iter()
        .filter(|(command, _)| {
            crate::console::ask(host::cargo().args([command, "--version"])).is_none()
        })
        .map(|(_, component)| component)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" and ");
    if paths::which("rustup").is_none() {
        anyhow::bail!("{names} missing; install rustup, or this system's package of it");
    }
    let mut rustup = Command::new("rustup");
    console.step(&format!("install {names}"), rustup.args(["component", "add"]).args(&missing))
}

//! cargo-deny: licences, advisories and sources of what we depend on, by deny.toml.

use std::path::PathBuf;

use anyhow::Result;

use crate::{
    console::{Console, ask, say},
    host, paths,
};

const VERSION: &str = "0.18";

pub fn run(console: &Console) -> Result<()> {
    let directory = installed(console)?;
    let mut cargo = host::cargo();
    cargo.env("PATH", paths::search_path(&[directory]));
    console.step("deny", cargo.args(["deny", "--workspace", "--locked", "check"]))
}

fn installed(console: &Console) -> Result<PathBuf> {
    let root = paths::tools().join("cargo-deny");
    let directory = root.join("bin");
    let mut version = std::process::Command::new(directory.join("cargo-deny"));
    if ask(version.arg("--version")).is_some() {
        return Ok(directory);
    }
    say("      installing cargo-deny (some minutes, once)");
    let mut cargo = host::cargo();
    cargo.args(["install", "cargo-deny", "--locked", "--version", VERSION, "--root"]).arg(&root);
    console.step("install cargo-deny", &mut cargo)?;
    Ok(directory)
}

//! Builds the daemon with the probes inside, and the programs of its tests.

use std::{path::PathBuf, process::Command};

use anyhow::{Context as _, Result, ensure};

use crate::{
    console::{Console, ask, say},
    host,
    lanes::Binary,
    paths, probes,
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// `target/debug/geofenced` instead of the release
    #[arg(long)]
    debug: bool,
}

impl Args {
    pub fn profile(&self) -> Profile {
        if self.debug { Profile::Debug } else { Profile::Release }
    }
}

/// How the daemon is built. The probes have one profile only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    Debug,
    /// Built in the least time, with what `xtask` itself was built of.
    Demo,
    Release,
}

impl Profile {
    fn argument(self) -> Option<&'static str> {
        match self {
            Profile::Debug => None,
            Profile::Demo => Some("--profile=demo"),
            Profile::Release => Some("--release"),
        }
    }

    pub fn directory(self) -> PathBuf {
        paths::target().join(match self {
            Profile::Debug => "debug",
            Profile::Demo => "demo",
            Profile::Release => "release",
        })
    }
}

pub fn run(console: &Console, args: &Args) -> Result<()> {
    let binary = daemon(console, args.profile())?;
    say(format_args!("      {}", binary.display()));
    Ok(())
}

/// Builds everything that `geofenced` is made of; returns where it is.
pub fn daemon(console: &Console, profile: Profile) -> Result<PathBuf> {
    probes::ensure_built(console)?;
    let mut cargo = host::cargo();
    cargo.args(["build", "--locked", "--package", "monitor", "--bin", "geofenced"]);
    compile(console, "build geofenced", cargo, profile)?;
    Ok(profile.directory().join("geofenced"))
}

/// What carries ledgers, of which the daemon has no code.
pub fn fleet(console: &Console, profile: Profile) -> Result<PathBuf> {
    let mut cargo = host::cargo();
    cargo.args(["build", "--locked", "--package", "fleet", "--bin", "geofenced-fleet"]);
    compile(console, "build geofenced-fleet", cargo, profile)?;
    Ok(profile.directory().join("geofenced-fleet"))
}

/// Builds an example of `monitor`; returns where it is.
pub fn example(console: &Console, name: &str, profile: Profile) -> Result<PathBuf> {
    let mut cargo = host::cargo();
    cargo.args(["build", "--locked", "--package", "monitor", "--example", name]);
    compile(console, &format!("build {name}"), cargo, profile)?;
    Ok(profile.directory().join("examples").join(name))
}

/// Builds the daemon and the generator for another architecture, in the least time, each linked statically; returns
/// where they are. `linker`: a C compiler for it.
pub fn foreign(console: &Console, target: &str, linker: &str) -> Result<(PathBuf, PathBuf)> {
    let mut cargo = host::cargo();
    cargo.args(["build", "--locked", "--package", "monitor", "--bin", "geofenced"]);
    cargo.args(["--example", "egress", "--target", target]);
    let name = target.replace('-', "_");
    cargo.env(format!("CC_{name}"), linker);
    cargo.env(format!("CARGO_TARGET_{}_LINKER", name.to_uppercase()), linker);
    compile(console, &format!("build for {target}"), cargo, Profile::Demo)?;
    let built = paths::target().join(target).join("demo");
    Ok((built.join("geofenced"), built.join("examples/egress")))
}

/// What is tested: always named together, since what crates are built with depends on who is built beside whom. Each
/// other choice would build them once more.
pub fn tested() -> impl Iterator<Item = &'static str> {
    ["monitor", "fleet", "assets", "monitor-ebpf", "harness"]
        .into_iter()
        .flat_map(|it| ["--package", it])
}

/// Builds a test of `monitor`; returns where it is.
pub fn test(console: &Console, name: &str, profile: Profile) -> Result<PathBuf> {
    let built =
        built_tests(console, &format!("build the test {name}"), &[name.to_owned()], profile)?;
    let binary = built.into_iter().next();
    binary.map(|it| it.path).with_context(|| format!("cargo does not say where {name} is"))
}

/// Builds tests of `monitor`, as they are tested.
pub fn tests(console: &Console, names: &[String]) -> Result<Vec<Binary>> {
    let built = built_tests(console, "build the kernel tests", names, Profile::Debug)?;
    ensure!(built.len() == names.len(), "cargo built {} of {} tests", built.len(), names.len());
    Ok(built)
}

/// Only cargo knows where they are.
fn built_tests(
    console: &Console,
    step: &str,
    names: &[String],
    profile: Profile,
) -> Result<Vec<Binary>> {
    let cargo = || {
        let mut cargo = host::cargo();
        cargo.args(["test", "--no-run", "--locked"]).args(tested());
        cargo.args(names.iter().flat_map(|name| ["--test", name.as_str()]));
        cargo
    };
    compile(console, step, cargo(), profile)?;
    let mut again = cargo();
    again.args(profile.argument()).arg("--message-format=json");
    Ok(executables(&ask(&mut again).unwrap_or_default()))
}

/// Of cargo's messages, one of JSON a line, the test binaries.
fn executables(messages: &str) -> Vec<Binary> {
    let binary = |line: &str| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let name = message["target"]["name"].as_str()?.to_owned();
        let path = message["executable"].as_str()?.into();
        (message["profile"]["test"] == true).then_some(Binary { name, path })
    };
    messages.lines().filter_map(binary).collect()
}

fn compile(console: &Console, name: &str, mut cargo: Command, profile: Profile) -> Result<()> {
    cargo.args(profile.argument());
    console.step(name, &mut cargo)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_is_where_cargo_says() {
        let messages = "{\"target\":{\"name\":\"x\"},\"profile\":{\"test\":false},\"executable\":\"/no\"}\n\
                        {\"target\":{\"name\":\"x\"},\"profile\":{\"test\":true},\"executable\":\"/t/x-1\"}\n\
                        {\"target\":{\"name\":\"y\"},\"profile\":{\"test\":true},\"executable\":null}\n";
        assert_eq!(executables(messages), [Binary { name: "x".to_owned(), path: "/t/x-1".into() }]);
    }
}

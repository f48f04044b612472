//! Builds the daemon with the probes inside, and the programs of its tests.

use std::{path::PathBuf, process::Command};

use anyhow::{Context as _, Result};

use crate::{
    console::{Console, ask, say},
    host, paths, probes,
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

/// Builds an example of `monitor`; returns where it is.
pub fn example(console: &Console, name: &str, profile: Profile) -> Result<PathBuf> {
    let mut cargo = host::cargo();
    cargo.args(["build", "--locked", "--package", "monitor", "--example", name]);
    compile(console, &format!("build {name}"), cargo, profile)?;
    Ok(profile.directory().join("examples").join(name))
}

/// Builds a test of `monitor`; returns where it is, which only cargo knows.
pub fn test(console: &Console, name: &str, profile: Profile) -> Result<PathBuf> {
    let cargo = || {
        let mut cargo = host::cargo();
        cargo.args(["test", "--no-run", "--locked", "--package", "monitor", "--test", name]);
        cargo
    };
    compile(console, &format!("build the test {name}"), cargo(), profile)?;
    let mut again = cargo();
    again.arg("--message-format=json");
    again.args(profile.argument());
    let messages = ask(&mut again).unwrap_or_default();
    executable(&messages, name).with_context(|| format!("cargo does not say where {name} is"))
}

/// Of cargo's messages, one of JSON a line.
fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    messages.lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let is_it = message["target"]["name"] == name && message["profile"]["test"] == true;
        message["executable"].as_str().filter(|_| is_it).map(PathBuf::from)
    })
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
                        {\"target\":{\"name\":\"x\"},\"profile\":{\"test\":true},\"executable\":\"/t/x-1\"}\n";
        assert_eq!(executable(messages, "x"), Some("/t/x-1".into()));
        assert_eq!(executable(messages, "y"), None);
    }
}

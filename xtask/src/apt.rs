//! Debian packages: what is installed, what could be, and getting it.
//!
//! Never asks. Where it may not install, its error is the command to type.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::{
    console::{Console, ask, say},
    host, paths,
};

/// A package and why it is wanted.
pub type Wanted<'a> = (&'a str, &'a str);

pub fn exists() -> bool {
    paths::which("apt-get").is_some() && paths::which("dpkg-query").is_some()
}

/// Installs those that are missing, after a fresh `apt-get update`.
pub fn install(console: &Console, wanted: &[Wanted<'_>]) -> Result<()> {
    let missing: Vec<&Wanted<'_>> = wanted.iter().filter(|(name, _)| !is_installed(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(|(name, _)| *name).collect();
    if !exists() {
        let reasons: Vec<String> =
            missing.iter().map(|(name, why)| format!("{name} ({why})")).collect();
        bail!("install with this system's package manager: {}", reasons.join(", "));
    }
    let by_hand = format!("apt-get update && apt-get install -y {}", names.join(" "));
    if !host::is_root() {
        bail!("Debian packages are missing; run: sudo sh -c '{by_hand}'");
    }
    for (name, why) in missing {
        say(format_args!("      installing the Debian package {name}: {why}"));
    }
    update(console)?;
    let mut command = apt_get();
    command.args(["install", "-y", "--no-install-recommends"]).args(&names);
    console
        .step(&format!("apt-get install {}", names.join(" ")), &mut command)
        .with_context(|| format!("to see it by hand: {by_hand}"))
}

pub fn update(console: &Console) -> Result<()> {
    if !host::is_root() {
        return Ok(());
    }
    console.step("apt-get update", apt_get().arg("update"))
}

/// Unpacks a package under `directory` without installing it: none of its services starts, none
/// of its dependencies comes along.
pub fn unpack(console: &Console, name: &str, directory: &Path) -> Result<()> {
    let download = directory.join("download");
    fs::create_dir_all(&download)?;
    if candidate(name).is_none() {
        update(console)?;
    }
    console
        .step(
            &format!("apt-get download {name}"),
            apt_get().args(["download", name]).current_dir(&download),
        )
        .with_context(|| format!("{name} is not installed and can't be downloaded"))?;
    let deb = fs::read_dir(&download)?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .with_context(|| format!("apt-get download {name} left no package"))?;
    console
        .step(&format!("unpack {name}"), Command::new("dpkg").arg("-x").arg(&deb).arg(directory))?;
    fs::remove_dir_all(&download)?;
    Ok(())
}

/// The version that `apt-get install` would take; `None` when the archive has none.
pub fn candidate(name: &str) -> Option<String> {
    let policy = ask(Command::new("apt-cache").args(["policy", name]).env("LC_ALL", "C"))?;
    let line = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: "))?;
    (line != "(none)").then(|| line.to_owned())
}

fn is_installed(name: &str) -> bool {
    ask(Command::new("dpkg-query").args(["-W", "-f", "${db:Status-Status}", name]))
        .is_some_and(|status| status == "installed")
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command
        .args(["-q", "-o", "Dpkg::Use-Pty=0", "-o", "DPkg::Lock::Timeout=600"])
        .env("DEBIAN_FRONTEND", "noninteractive");
    command
}

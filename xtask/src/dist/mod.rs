//! A tarball of the release: the binary, what it is deployed with, and what must go along.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{
    build::{self, Profile},
    console::{Console, ask, own, say},
    host, paths,
};

/// Taken where they exist; a licence notice always does.
const ALONG: [&str; 7] = [
    "README.md",
    "CHANGELOG.md",
    "LICENSE-MIT",
    "LICENSE-APACHE",
    "NOTICE",
    "deploy",
    "monitor-ebpf/LICENSE-GPL2",
];

pub fn run(console: &Console) -> Result<()> {
    let binary = build::daemon(console, Profile::Release)?;
    let name = format!("geofenced-{}-linux-{}", env!("CARGO_PKG_VERSION"), host::arch());
    let dist = paths::target().join("dist");
    own("pack", || {
        let folder = collect(&paths::root(), &binary, &dist, &name)?;
        generate(&binary, &folder)?;
        pack(&dist, &name)
    })?;
    say(format_args!("      {}", dist.join(format!("{name}.tar.gz")).display()));
    Ok(())
}

/// Copies everything into a fresh folder below `dist`.
fn collect(root: &Path, binary: &Path, dist: &Path, name: &str) -> Result<PathBuf> {
    let folder = dist.join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let along = ALONG.iter().map(|path| root.join(path)).filter(|path| path.exists());
    let all: Vec<PathBuf> = along.chain([binary.to_path_buf()]).collect();
    run_tool(Command::new("cp").arg("-r").args(&all).arg(&folder))?;
    Ok(folder)
}

/// What the binary writes about itself: manual pages and completions.
fn generate(binary: &Path, folder: &Path) -> Result<()> {
    let (man, completions) = (folder.join("man"), folder.join("completions"));
    fs::create_dir_all(&man)?;
    fs::create_dir_all(&completions)?;
    run_tool(Command::new(binary).arg("man").arg(&man))?;
    for shell in ["bash", "zsh", "fish"] {
        let script = ask(Command::new(binary).args(["completions", shell]))
            .with_context(|| format!("geofenced completions {shell} failed"))?;
        fs::write(completions.join(format!("geofenced.{shell}")), script)?;
    }
    Ok(())
}

fn pack(dist: &Path, name: &str) -> Result<()> {
    // Owned by root whoever packs it, and in one order.
    run_tool(
        Command::new("tar")
            .args(["--owner=0", "--group=0", "--numeric-owner", "--sort=name", "-czf"])
            .arg(dist.join(format!("{name}.tar.gz")))
            .arg("-C")
            .arg(dist)
            .arg(name),
    )
}

fn run_tool(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("cannot start {program}"))?;
    anyhow::ensure!(status.success(), "{program} failed: {status}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tarball_holds_the_binary_the_units_and_the_licences() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        fs::create_dir_all(at("deploy/systemd")).unwrap();
        for path in ["geofenced", "LICENSE-MIT", "deploy/systemd/geofenced.service"] {
            fs::write(at(path), path).unwrap();
        }
        collect(root.path(), &at("geofenced"), &at("dist"), "geofenced-0").unwrap();
        pack(&at("dist"), "geofenced-0").unwrap();

        let list = ask(Command::new("tar").arg("-tzf").arg(at("dist/geofenced-0.tar.gz")));
        let list = list.unwrap();
        for path in ["geofenced", "LICENSE-MIT", "deploy/systemd/geofenced.service"] {
            let entry = format!("geofenced-0/{path}");
            assert!(list.lines().any(|line| line == entry), "{entry} is not in {list}");
        }
    }
}

//! The RPM package in a root: installed, upgraded, and erased, with its scripts run inside. The root is
//! Debian's, so what the package requires is not asked for.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};

use crate::console::say;

/// `newer`: what is upgraded to; without it the package is put in once more.
pub(super) fn try_out(root: &Path, package: &Path, newer: Option<&Path>) -> Result<()> {
    let at = |path: &str| root.join(path);
    run(root, package, "--install")?;
    for path in ["usr/bin/geofenced", "etc/geofenced/config.d", "var/lib/geofenced"] {
        ensure!(at(path).exists(), "installed by rpm, and no {path}");
    }
    let groups = fs::read_to_string(at("etc/group"))?;
    ensure!(groups.contains("\ngeofenced:"), "installed by rpm, and no group");
    let enabled = at("etc/systemd/system/multi-user.target.wants/geofenced.service");
    ensure!(!enabled.exists(), "where systemd does not run, nothing enables a service");

    let config = at("etc/geofenced/config.toml");
    let changed = fs::read_to_string(&config)? + "# by the administrator\n";
    fs::write(&config, &changed)?;
    fs::write(at("var/lib/geofenced/ledger"), "evidence")?;
    match newer {
        Some(newer) => run(root, newer, "--upgrade")?,
        None => run(root, package, "--reinstall")?,
    }
    ensure!(fs::read_to_string(&config)? == changed, "an upgrade by rpm took the configuration");

    run(root, Path::new("geofenced"), "--erase")?;
    ensure!(!at("usr/bin/geofenced").exists(), "erased, and still there");
    let saved = fs::read_to_string(at("etc/geofenced/config.toml.rpmsave"));
    ensure!(saved.is_ok_and(|it| it == changed), "rpm took what the administrator wrote");
    ensure!(at("var/lib/geofenced/ledger").exists(), "rpm took the ledger");
    say("      rpm: installed, upgraded, erased; configuration and ledger stay");
    Ok(())
}

/// Fails as well where a script does, of which rpm only warns.
fn run(root: &Path, what: &Path, mode: &str) -> Result<()> {
    // With /proc inside, as long as it runs.
    let script = "mount --rbind /proc \"$1/proc\" && exec rpm --root \"$@\"";
    let mut rpm = Command::new("unshare");
    rpm.args(["--mount", "sh", "-c", script, "rpm"]).arg(root);
    rpm.args([mode, "--nodeps"]).arg(what);
    let output = rpm.env("LC_ALL", "C").output().context("cannot start rpm")?;
    let said = String::from_utf8_lossy(&output.stderr);
    let is_good = output.status.success() && !said.contains("scriptlet");
    ensure!(is_good, "rpm {mode}: {}: {said}", output.status);
    Ok(())
}

//! The Debian package: dpkg-deb packs it, lintian judges it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use super::{Arch, Stage, VERSION, template, tool};
use crate::{
    apt,
    console::{Console, ask},
};

const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];
const OVERRIDES: &str = "usr/share/lintian/overrides/geofenced";

/// How dpkg-deb compresses: `-Zxz` what is handed out, `-Znone` what is unpacked at once.
pub const SMALL: &str = "-Zxz";
pub const QUICK: &str = "-Znone";

/// Returns where it is.
pub fn pack(stage: &Stage, arch: Arch, dist: &Path, compression: &str) -> Result<PathBuf> {
    stage.write(OVERRIDES, &template("lintian-overrides", &[])?)?;
    let size = size(&stage.folder);
    let arch = arch.debian();
    let words = [("version", VERSION), ("arch", arch), ("size", size.as_str())];
    stage.write("DEBIAN/control", &template("control", &words)?)?;
    // What an administrator changed stays.
    stage.write("DEBIAN/conffiles", "/etc/geofenced/config.toml\n")?;
    for script in SCRIPTS {
        stage.write(&format!("DEBIAN/{script}"), &template(script, &[])?)?;
    }
    let deb = dist.join(format!("geofenced_{VERSION}_{arch}.deb"));
    build(stage, &deb, compression)?;
    for of_deb in ["DEBIAN", "usr/share/lintian"] {
        fs::remove_dir_all(stage.at(of_deb))?;
    }
    Ok(deb)
}

/// In kibibytes, as `control` says it.
pub fn size(folder: &Path) -> String {
    let told = ask(Command::new("du").args(["-ks", "--apparent-size"]).arg(folder));
    let told = told.unwrap_or_default();
    told.split_whitespace().next().unwrap_or("0").to_owned()
}

/// With sums of what is in it.
pub fn build(stage: &Stage, deb: &Path, compression: &str) -> Result<()> {
    let sums = Command::new("sh")
        .args(["-c", "find etc usr -type f 2>/dev/null | LC_ALL=C sort | xargs -d '\\n' md5sum"])
        .current_dir(&stage.folder)
        .output()?;
    stage.write("DEBIAN/md5sums", &String::from_utf8_lossy(&sums.stdout))?;
    stage.settle(&stage.folder)?;
    tool(
        Command::new("dpkg-deb")
            .args(["--root-owner-group", compression, "--build"])
            .arg(&stage.folder)
            .arg(deb)
            .env("SOURCE_DATE_EPOCH", stage.epoch.to_string()),
    )
}

/// No error and no warning but those that the package gives a reason for.
pub fn lint(console: &Console, deb: &Path) -> Result<()> {
    apt::install(console, &[("lintian", "judges the Debian package")])?;
    let mut lintian = Command::new("lintian");
    lintian.args(["--fail-on", "error,warning", "--tag-display-limit", "0"]);
    if crate::host::is_root() {
        lintian.arg("--allow-root");
    }
    let name = deb.file_name().unwrap_or_default().to_string_lossy().into_owned();
    console.step(&format!("lintian {name}"), lintian.arg(deb))
}

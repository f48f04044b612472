//! The Debian package: dpkg-deb packs it, lintian judges it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use super::{Stage, VERSION, template, tool};
use crate::{
    apt,
    console::{Console, ask},
};

const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];

/// How dpkg-deb compresses: `-Zxz` what is handed out, `-Znone` what is unpacked at once.
pub const SMALL: &str = "-Zxz";
pub const QUICK: &str = "-Znone";

/// Returns where it is.
pub fn pack(stage: &Stage, dist: &Path, compression: &str) -> Result<PathBuf> {
    let product = stage.product;
    let overrides = format!("usr/share/lintian/overrides/{}", product.name);
    stage.write(&overrides, &template(product, "lintian-overrides", &[])?)?;
    let size = size(&stage.folder);
    let arch = stage.arch.debian();
    let words = [("version", VERSION), ("arch", arch), ("size", size.as_str())];
    stage.write("DEBIAN/control", &template(product, "control", &words)?)?;
    // What an administrator changed stays.
    if !product.configuration.is_empty() {
        stage.write("DEBIAN/conffiles", product.configuration)?;
    }
    for script in SCRIPTS {
        stage.write(&format!("DEBIAN/{script}"), &template(product, script, &[])?)?;
    }
    let deb = dist.join(format!("{}_{VERSION}_{arch}.deb", product.name));
    build(stage, &deb, compression)?;
    Ok(deb)
}

/// In kibibytes, as `control` says it.
pub fn size(folder: &Path) -> String {
    let told = ask(Command::new("du").args(["-ks", "--apparent-size"]).arg(folder));
    let told = told.unwrap_or_default();
    told.split_whitespace().next().unwrap_or("0").to_owned()
}

/// With sums of what is in it; what only Debian knows of is taken out of the stage again.
pub fn build(stage: &Stage, deb: &Path, compression: &str) -> Result<()> {
    let sums = Command::new("sh")
        .args(["-c", "find . -type f -not -path './DEBIAN/*' -printf '%P\\n' | LC_ALL=C sort | xargs -d '\\n' md5sum"])
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
    )?;
    for of_deb in ["DEBIAN", "usr/share/lintian"] {
        fs::remove_dir_all(stage.at(of_deb))?;
    }
    Ok(())
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

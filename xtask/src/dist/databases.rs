//! The databases in a package of their own, for hosts whose geofenced is not changed: for every architecture, and
//! versioned by the date of the data.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{
    deb,
    stage::{self, Stage},
    template,
};
use crate::{console::ask, paths};

const FILES: [&str; 2] = ["country.bin", "operator.bin"];
const OVERRIDES: &str = "usr/share/lintian/overrides/geofenced-databases";
const DOC: &str = "usr/share/doc/geofenced-databases";

/// Returns where it is. `writer`: a binary that runs here and has them inside.
pub fn pack(writer: &Path, dist: &Path, epoch: u64, compression: &str) -> Result<PathBuf> {
    let stage = Stage::empty("databases", epoch)?;
    for name in FILES {
        let from = paths::root().join("monitor/assets").join(name);
        stage.copy(&from, &format!("usr/share/geofenced/databases/{name}"))?;
    }
    stage.copy(&paths::root().join("NOTICE"), &format!("{DOC}/NOTICE"))?;
    stage.write(&format!("{DOC}/copyright"), &template("databases/copyright", &[])?)?;
    let version = version(writer)?;
    let date = ask(Command::new("date").args(["-Ru", "-d"]).arg(format!("@{epoch}")));
    let words = [("version", version.as_str()), ("date", date.as_deref().unwrap_or("").trim())];
    let changelog = template("databases/changelog", &words)?;
    stage.write(&format!("{DOC}/changelog"), &changelog)?;
    stage.compress(&stage.at(&format!("{DOC}/changelog")))?;
    stage.write(OVERRIDES, &template("databases/lintian-overrides", &[])?)?;
    let words = [("version", version.as_str()), ("size", &deb::size(&stage.folder))];
    stage.write("DEBIAN/control", &template("databases/control", &words)?)?;
    for script in ["postinst", "postrm"] {
        let text = template(&format!("databases/{script}"), &[])?;
        stage.write(&format!("DEBIAN/{script}"), &text)?;
    }
    let deb = dist.join(format!("geofenced-databases_{version}_all.deb"));
    deb::build(&stage, &deb, compression)?;
    // What others have of it, who know no packages.
    let tar = dist.join(format!("geofenced-databases-{version}.tar.gz"));
    for of_deb in ["DEBIAN", "usr/share/lintian"] {
        fs::remove_dir_all(stage.at(of_deb))?;
    }
    stage.settle(&stage.folder)?;
    stage::pack(&stage.folder, &tar, epoch)?;
    Ok(deb)
}

/// The date of the newest, as `20261001`.
fn version(writer: &Path) -> Result<String> {
    let mut list = Command::new(writer);
    list.args(["--config", "/dev/null", "databases", "-o", "json"]);
    let told = ask(&mut list).context("geofenced databases failed")?;
    let dates = told.lines().filter_map(|line| {
        let it: Value = serde_json::from_str(line).ok()?;
        let is_ours = matches!(it["label"].as_str(), Some("country" | "operator"));
        let at = it["built_at"].as_str().filter(|_| is_ours && it["path"].is_null())?;
        Some(at.get(..10)?.replace('-', ""))
    });
    dates.max().context("geofenced databases names none with a date")
}

//! The databases in a package of their own, for hosts whose geofenced is not changed: for every architecture, and
//! versioned by the date of the data.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{
    Arch, deb,
    product::DATABASES,
    stage::{self, Stage},
    template,
};
use crate::console::ask;

/// Returns where it is. `writer`: a binary that runs here and has them inside.
pub fn pack(writer: &Path, dist: &Path, epoch: u64, compression: &str) -> Result<PathBuf> {
    let (product, documents) = (&DATABASES, DATABASES.documents());
    // The files are those of any architecture.
    let stage = Stage::empty(product, Arch::of_host()?, epoch)?;
    stage.write(&format!("{documents}/copyright"), &template(product, "copyright", &[])?)?;
    let version = version(writer)?;
    let date = ask(Command::new("date").args(["-Ru", "-d"]).arg(format!("@{epoch}")));
    let words = [("version", version.as_str()), ("date", date.as_deref().unwrap_or("").trim())];
    let changelog = format!("{documents}/changelog");
    stage.write(&changelog, &template(product, "changelog", &words)?)?;
    stage.compress(&stage.at(&changelog))?;
    let overrides = format!("usr/share/lintian/overrides/{}", product.name);
    stage.write(&overrides, &template(product, "lintian-overrides", &[])?)?;
    let words = [("version", version.as_str()), ("size", &deb::size(&stage.folder))];
    stage.write("DEBIAN/control", &template(product, "control", &words)?)?;
    for script in ["postinst", "postrm"] {
        stage.write(&format!("DEBIAN/{script}"), &template(product, script, &[])?)?;
    }
    let deb = dist.join(format!("{}_{version}_all.deb", product.name));
    deb::build(&stage, &deb, compression)?;
    // What others have of it, who know no packages.
    let tar = dist.join(format!("{}-{version}.tar.gz", product.name));
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

//! The RPM package: rpmbuild packs what is staged; it compiles and strips nothing.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result};

use super::{Stage, template, tool};

pub fn pack(stage: &Stage, dist: &Path, version: &str) -> Result<()> {
    let top = stage.folder.with_extension("rpm");
    if top.exists() {
        fs::remove_dir_all(&top)?;
    }
    fs::create_dir_all(&top)?;
    let file = format!("{}.spec", stage.product.name);
    let spec = top.join(&file);
    let epoch = stage.epoch.to_string();
    let words = [("version", version), ("epoch", epoch.as_str())];
    fs::write(&spec, template(stage.product, &file, &words)?)?;
    let staged = stage.folder.to_str().context("a path is not UTF-8")?;
    let define = |name: &str, value: &str| format!("{name} {value}");
    let mut rpmbuild = Command::new("rpmbuild");
    rpmbuild.args(["-bb", "--target", stage.arch.name()]).env("SOURCE_DATE_EPOCH", &epoch);
    for (name, value) in [
        ("_topdir", top.to_str().context("a path is not UTF-8")?),
        ("_rpmdir", dist.to_str().context("a path is not UTF-8")?),
        ("_rpmfilename", "%%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm"),
        ("staged", staged),
        // The same bytes wherever it is packed.
        ("_buildhost", "localhost"),
        ("use_source_date_epoch_as_buildtime", "1"),
        ("clamp_mtime_to_source_date_epoch", "1"),
    ] {
        rpmbuild.arg("--define").arg(define(name, value));
    }
    tool(rpmbuild.arg(&spec))?;
    fs::remove_dir_all(&top).with_context(|| format!("remove {}", top.display()))
}

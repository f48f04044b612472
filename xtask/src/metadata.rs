//! What cargo knows of the workspace: which test targets there are, and where their sources lie.

use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::{console::ask, host, paths};

/// The test targets of the packages, those of `monitor` by the folder under `tests/` they lie in.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct TestTargets {
    /// `tests/kernel`: real programs, real packets, root.
    pub kernel: Vec<String>,
    /// Everything else: replayed samples, no root.
    pub daemon: Vec<String>,
    /// Those of `geofenced-fleet`: ledgers, boxes and lakes, no root.
    pub fleet: Vec<String>,
}

pub fn test_targets() -> Result<TestTargets> {
    let mut cargo = host::cargo();
    cargo.args(["metadata", "--locked", "--no-deps", "--format-version", "1"]);
    let text = ask(&mut cargo).context("cargo metadata failed: run it by hand to see why")?;
    parse(&text, &paths::root().join("tests/kernel"))
}

fn parse(text: &str, kernel: &Path) -> Result<TestTargets> {
    let metadata: Value = serde_json::from_str(text).context("cargo metadata is not JSON")?;
    let mut targets = TestTargets::default();
    for package in array(&metadata, "packages") {
        let is_fleet = package["name"] == "fleet";
        if package["name"] != "monitor" && !is_fleet {
            continue;
        }
        for target in array(package, "targets") {
            if !array(target, "kind").iter().any(|kind| kind == "test") {
                continue;
            }
            let name = target["name"].as_str().context("a target without a name")?.to_owned();
            let source = normal(Path::new(target["src_path"].as_str().unwrap_or_default()));
            let list = if is_fleet {
                &mut targets.fleet
            } else if source.starts_with(kernel) {
                &mut targets.kernel
            } else {
                &mut targets.daemon
            };
            list.push(name);
        }
    }
    Ok(targets)
}

/// Without `..`: cargo writes `monitor/../tests/kernel`, as the manifest does.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => drop(normal.pop()),
            other => normal.push(other),
        }
    }
    normal
}

fn array<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_is_a_kernel_test_by_the_folder_it_lies_in() {
        let text = r#"{"packages":[
            {"name":"monitor","targets":[
                {"name":"geofenced","kind":["lib"],"src_path":"/w/monitor/src/lib.rs"},
                {"name":"egress","kind":["example"],"src_path":"/w/monitor/examples/egress.rs"},
                {"name":"replay","kind":["test"],"src_path":"/w/monitor/../tests/daemon/main.rs"},
                {"name":"capture","kind":["test"],"src_path":"/w/monitor/../tests/kernel/capture.rs"}]},
            {"name":"fleet","targets":[
                {"name":"simulated","kind":["test"],"src_path":"/w/tests/fleet/simulated.rs"}]},
            {"name":"other","targets":[
                {"name":"x","kind":["test"],"src_path":"/w/tests/kernel/x.rs"}]}]}"#;
        let targets = parse(text, Path::new("/w/tests/kernel")).unwrap();
        assert_eq!(targets.kernel, ["capture"]);
        assert_eq!(targets.daemon, ["replay"]);
        assert_eq!(targets.fleet, ["simulated"]);
    }

    #[test]
    fn what_is_not_json_is_an_error() {
        assert!(parse("error: no manifest", Path::new("/")).is_err());
    }
}

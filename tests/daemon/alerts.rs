//! The Prometheus files under `deploy/`, judged by Prometheus' own `promtool`.
#![allow(clippy::unwrap_used, reason = "a test that can't go on panics")]

use std::{path::PathBuf, process::Command};

fn deploy() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/prometheus"))
}

fn promtool(arguments: &[&str]) {
    let output = Command::new("promtool")
        .args(arguments)
        .current_dir(deploy())
        .output()
        .expect("promtool runs; it comes with: apt-get install prometheus");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
}

#[test]
fn the_alert_rules_are_well_formed() {
    promtool(&["check", "rules", "rules.yml"]);
}

#[test]
fn the_alerts_fire_when_they_should_and_only_then() {
    promtool(&["test", "rules", "rules_test.yml"]);
}

#[test]
fn the_scrape_configuration_is_valid_and_meets_the_default_address() {
    let text = std::fs::read_to_string(deploy().join("scrape.yml")).unwrap();
    assert!(text.contains(r#"targets: ["127.0.0.1:9871"]"#), "{text}");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("prometheus.yml");
    std::fs::write(&path, text).unwrap();
    promtool(&["check", "config", "--syntax-only", path.to_str().unwrap()]);
}

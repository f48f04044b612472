//! The Prometheus files under `deploy/`, judged by Prometheus' own `promtool`.

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

/// As a page's headings are called in links to them.
fn anchors(page: &str) -> Vec<String> {
    let headings = page.lines().filter_map(|line| line.strip_prefix("## "));
    headings.map(|it| it.trim().to_lowercase().replace(' ', "-")).collect()
}

#[test]
fn each_alert_leads_to_what_the_runbook_says_of_it_and_each_entry_is_of_an_alert() {
    let rules = std::fs::read_to_string(deploy().join("rules.yml")).unwrap();
    let values = |key: &str| -> Vec<String> {
        let lines = rules.lines().map(|line| line.trim().trim_start_matches("- "));
        lines.filter_map(|line| line.strip_prefix(key)).map(|it| it.trim().to_owned()).collect()
    };
    let (alerts, links) = (values("alert:"), values("runbook_url:"));
    assert!(alerts.len() > 15 && alerts.len() == links.len(), "{alerts:?}\n{links:?}");
    let page = std::fs::read_to_string(deploy().join("../../docs/runbook.md")).unwrap();
    let anchors = anchors(&page);
    for (alert, link) in alerts.iter().zip(&links) {
        let (file, anchor) = link.split_once('#').unwrap();
        assert!(file.ends_with("/docs/runbook.md"), "{alert}: {link}");
        assert_eq!(anchor, alert.to_lowercase(), "{alert}");
        assert!(anchors.iter().any(|it| it == anchor), "{alert} is not in docs/runbook.md");
    }
    for anchor in anchors {
        assert!(alerts.iter().any(|it| it.to_lowercase() == anchor), "{anchor} is no alert");
    }
}

#[test]
fn nothing_is_summed_over_what_tells_hosts_apart() {
    let rules = std::fs::read_to_string(deploy().join("rules.yml")).unwrap();
    for word in [" by (", " by(", "on (", "on(", "ignoring"] {
        let crossing =
            rules.lines().find(|line| !line.trim().starts_with('#') && line.contains(word));
        assert_eq!(crossing, None, "labels that an agent adds are lost");
    }
}

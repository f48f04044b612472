//! `doctor` and `run` in containers of every kind: namespaces of their own, made by unshare(1). What isn't seen
//! from there is said, and no tier is better than what is seen. Needs root.

use std::{
    fs,
    process::{Command, Stdio},
};

use harness::{Lab, Site};
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_geofenced");

/// What doctor says behind these words, and its exit code.
fn doctor(site: &Site, words: &[&str]) -> (Value, Option<i32>) {
    let mut all =
        words.iter().copied().chain([BINARY, "doctor", "-o", "json", "--addresses", "10"]);
    let mut command = Command::new(all.next().expect("a program"));
    command.args(all).arg("--config").arg(site.config()).stdin(Stdio::null());
    let told = command.output().expect("run doctor");
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    let errors = String::from_utf8_lossy(&told.stderr).into_owned();
    let report = serde_json::from_str(text.trim());
    (report.unwrap_or_else(|error| panic!("{error}: {text}{errors}")), told.status.code())
}

fn check<'d>(report: &'d Value, name: &str) -> &'d Value {
    let checks = report["checks"].as_array().expect("checks");
    checks.iter().find(|it| it["check"] == name).unwrap_or_else(|| panic!("no {name}: {report}"))
}

fn unseen(report: &Value) -> String {
    report["unseen"].to_string()
}

#[test]
fn on_the_host_itself_doctor_finds_the_hosts_namespaces_and_says_what_no_tier_sees() {
    let site = Site::new(BINARY);
    let (report, code) = doctor(&site, &["env"]);
    assert_eq!(code, Some(0), "{report}");
    for name in
        ["pid namespace", "user namespace", "time namespace", "network namespace", "cgroup2"]
    {
        assert_eq!(check(&report, name)["state"], "ok", "{report}");
    }
    // A machine may close its first process to root.
    assert_ne!(check(&report, "processes")["state"], "missing");
    assert!(unseen(&report).contains("DPDK"), "{report}");
    assert_eq!(report["lacks"], Value::Null);
}

#[test]
fn among_other_pids_doctor_does_not_say_that_it_sees_every_process_or_the_hosts_files() {
    let site = Site::new(BINARY);
    let (report, code) = doctor(&site, &["unshare", "--pid", "--fork", "--mount-proc"]);
    assert_eq!((code, &report["tier"]), (Some(5), &"none".into()), "{report}");
    let processes = check(&report, "processes");
    assert_eq!(processes["state"], "missing", "{report}");
    assert!(processes["found"].as_str().is_some_and(|it| it.contains("none of the host's")));
    // Of probes that load all the same nothing but that is said.
    let checks = report["checks"].as_array().expect("checks");
    if let Some(files) = checks.iter().find(|it| it["check"] == "host's files") {
        assert_eq!(files["state"], "degraded", "{report}");
    }
    assert_eq!(unseen(&report), r#"["everything"]"#);
}

#[test]
fn root_of_a_user_namespace_is_told_to_leave_it_and_not_to_become_root() {
    let site = Site::new(BINARY);
    let words = ["unshare", "--user", "--map-root-user"];
    let (report, code) = doctor(&site, &words);
    assert_eq!((code, &report["tier"]), (Some(5), &"none".into()), "{report}");
    let users = check(&report, "user namespace");
    assert!(users["found"].as_str().is_some_and(|it| it.contains("--userns=host")), "{report}");
    let mut run = Command::new(words[0]);
    run.args(&words[1..]).args([BINARY, "run", "--config"]).arg(site.config());
    let outcome = site.start_refused(run.stdin(Stdio::null()));
    assert_eq!(outcome.code, Some(5), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("--userns=host"), "{}", outcome.stderr);
}

#[test]
fn in_a_network_namespace_of_its_own_the_tier_is_degraded_and_the_hosts_interfaces_are_unseen() {
    let site = Site::new(BINARY);
    let (report, code) = doctor(&site, &["unshare", "--net"]);
    assert_eq!((code, &report["tier"]), (Some(0), &"degraded".into()), "{report}");
    let network = check(&report, "network namespace");
    assert!(network["found"].as_str().is_some_and(|it| it.contains("--network=host")), "{report}");
    assert!(unseen(&report).contains("forwarded"), "{report}");
}

#[test]
fn where_the_hierarchy_begins_at_a_container_doctor_says_that_others_are_unseen() {
    let lab = Lab::new();
    let site = Site::new(BINARY);
    // As a container's engine does it: into the cgroup, then a namespace and a mount of its own.
    let inside = "set -e; for at in $(awk '$3 == \"cgroup2\" { print $2 }' /proc/mounts); do \
                  umount -l \"$at\"; mount -t cgroup2 none \"$at\"; done; exec \"$0\" \"$@\"";
    let outside = format!(
        "echo $$ > {}/cgroup.procs && exec unshare --cgroup --mount sh -c \"$0\" \"$@\"",
        lab.cgroup.path().display()
    );
    let (report, code) = doctor(&site, &["sh", "-c", &outside, inside]);
    assert_eq!((code, &report["tier"]), (Some(0), &"degraded".into()), "{report}");
    let cgroup = check(&report, "cgroup2");
    assert_eq!(cgroup["state"], "degraded", "{report}");
    assert!(cgroup["found"].as_str().is_some_and(|it| it.contains("--cgroupns=host")), "{report}");
    assert!(unseen(&report).contains("outside of this cgroup"), "{report}");
    // A part that the configuration asks for is what it asks for.
    site.watch_only(lab.cgroup.path());
    let (report, _) = doctor(&site, &["env"]);
    assert_eq!(check(&report, "cgroup2")["state"], "ok", "{report}");
    assert!(unseen(&report).contains("outside of this cgroup"), "{report}");
    assert!(fs::metadata(lab.cgroup.path()).is_ok());
}

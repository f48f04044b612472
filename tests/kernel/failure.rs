//! What goes wrong in real life: a daemon killed in the middle, and hosts it can't run on. Each
//! refusal is one line that says what to do, with the contract's exit code. Needs root.

use std::{
    fs,
    net::TcpListener,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    process::{Command, Stdio},
};

use harness::{Lab, Outcome, Side, Site};
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_geofenced");
/// Debian's `nobody`.
const NOBODY: u32 = 65_534;

#[test]
fn a_stop_and_a_kill_9_are_told_by_every_answer_about_their_time() {
    let lab = Lab::new();
    let site = Site::new(BINARY);
    site.watch_only(lab.cgroup.path());
    let daemon = site.start();
    lab.egress("udp-sendto --to 203.0.113.1:9");
    // The ledger has the daemon's first word before that.
    let written = harness::eventually(|| site.events_in_ledger(&[]).pop());
    assert!(written.is_some(), "{}", site.log());
    daemon.kill9();
    let daemon = site.start();
    let said = site.ask(&["events", "--since", "1h", "--fail-on-gap"]);
    assert_eq!(said.code, Some(4), "{said:?}");
    assert!(said.stderr.contains("daemon ended-without-a-word"), "{said:?}");
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
    let daemon = site.start();
    for command in ["events", "summary", "coverage"] {
        let said = site.ask(&[command, "--since", "1h", "--fail-on-gap", "-o", "json"]);
        assert_eq!(said.code, Some(4), "{said:?}");
    }
    let coverage = site.ask(&["coverage", "--since", "1h", "-o", "json"]).stdout;
    let reasons: Vec<Value> = coverage
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON"))
        .filter(|gap| gap.pointer("/geofenced/gap/extent") == Some(&Value::from("blind")))
        .filter_map(|gap| gap.pointer("/geofenced/gap/reason").cloned())
        .collect();
    assert_eq!(reasons, ["not-running", "ended-without-a-word", "stopped"], "{coverage}");
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
    // Nobody answers: of a ledger alone nothing is known after its last word.
    let said = site.ask(&["events", "--since", "1h", "--fail-on-gap"]);
    assert_eq!(said.code, Some(4), "{said:?}");
}

#[test]
fn flows_that_a_killed_daemon_left_open_are_told_by_the_next() {
    let lab = Lab::new();
    let site = Site::new(BINARY);
    site.watch_only(lab.cgroup.path());
    let daemon = site.start();
    let mut held = lab.start(Side::Host, "hold-udp --to 203.0.113.1:9 --count 7");
    held.holding();
    held.send();
    let written = harness::eventually(|| {
        let events = site.events_in_ledger(&["--phase", "sent"]);
        (events.len() == 7).then_some(())
    });
    assert!(written.is_some(), "{}", site.log());
    daemon.kill9();
    let daemon = site.start();
    let told = harness::eventually(|| {
        let said = site.ask(&["events", "--since", "1h", "--fail-on-gap"]);
        said.stderr.contains("daemon open-flows: 7").then_some(())
    });
    assert!(told.is_some(), "{:?}", site.ask(&["coverage", "--since", "1h"]));
    held.finish();
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

/// Refused with this code, and with nothing but one line, which says `what`.
fn assert_refused(outcome: &Outcome, code: i32, what: &str) {
    assert_eq!(outcome.code, Some(code), "{outcome:?}");
    assert_eq!(outcome.stderr.lines().count(), 1, "one line of error: {outcome:?}");
    assert!(outcome.stderr.contains(what), "`{what}` is not in: {}", outcome.stderr);
}

fn ids(events: &[Value]) -> Vec<String> {
    let mut ids: Vec<String> = events.iter().map(|it| it["event"]["id"].to_string()).collect();
    ids.sort();
    ids
}

#[test]
fn what_was_written_before_kill_9_is_there_after_it() {
    let lab = Lab::new();
    let site = Site::new(BINARY);
    site.watch_only(lab.cgroup.path());
    let mut acknowledged: Vec<String> = Vec::new();
    for round in 1..=3 {
        let daemon = site.start();
        for port in 1..=20 {
            lab.egress(&format!("udp-sendto --to 203.0.113.{round}:{port}"));
        }
        // What the ledger shows past the daemon is written, and must stay.
        let written = harness::eventually(|| {
            let events = site.events_in_ledger(&[]);
            (events.len() == 20 * round).then_some(events)
        });
        let count = || site.events_in_ledger(&[]).len();
        let written = written.unwrap_or_else(|| panic!("{} written\n{}", count(), site.log()));
        let written = ids(&written);
        assert!(acknowledged.iter().all(|id| written.contains(id)), "round {round} lost records");
        acknowledged = written;
        daemon.kill9();
        assert_eq!(ids(&site.events(&[])), acknowledged, "with no daemon, after round {round}");
    }
    let daemon = site.start();
    assert_eq!(ids(&site.events(&[])), acknowledged);
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

#[test]
fn a_daemon_killed_in_the_middle_of_a_burst_starts_again_with_what_it_had_written() {
    let lab = Lab::new();
    let site = Site::new(BINARY);
    site.watch_only(lab.cgroup.path());
    let mut written: Vec<String> = Vec::new();
    for round in 1..=3 {
        let daemon = site.start();
        let words =
            format!("burst-new-socket --to 203.0.113.{round} --ports 1-20000 --count 20000");
        let burst = lab.start(Side::Host, &words);
        let (before, filter) = (written.len(), ["--limit", "500"]);
        let some = harness::eventually(|| {
            let now = ids(&site.events_in_ledger(&filter));
            (now.len() > before.min(499) && now != written).then_some(now)
        });
        daemon.kill9();
        drop(burst);
        let some = some.unwrap_or_else(|| panic!("nothing was written\n{}", site.log()));
        let after = ids(&site.events(&[]));
        assert!(some.iter().all(|id| after.contains(id)), "round {round} lost what was written");
        assert!(written.iter().all(|id| after.contains(id)), "round {round} lost older records");
        written = some;
    }
    assert_eq!(site.start().stop(), Some(0), "{}", site.log());
}

#[test]
fn a_busy_metrics_port_is_refused() {
    let site = Site::new(BINARY);
    let taken = TcpListener::bind(site.metrics_address()).expect("the free port");
    let outcome = site.start_refused(&mut site.command(&["run"]));
    assert_refused(&outcome, 1, &site.metrics_address().to_string());
    drop(taken);
    assert_eq!(site.start().stop(), Some(0), "{}", site.log());
}

#[test]
fn a_store_that_another_daemon_holds_is_refused() {
    let (site, other) = (Site::new(BINARY), Site::new(BINARY));
    let shared = format!("[store]\npath = {:?}\n", site.store().display().to_string());
    other.drop_in("store", &shared);
    let daemon = site.start();
    let outcome = other.start_refused(&mut other.command(&["run"]));
    assert_refused(&outcome, 1, &site.store().display().to_string());
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

#[test]
fn without_root_it_says_so() {
    let site = Site::new(BINARY);
    // Nobody may read neither the build directory nor a private temporary one.
    let binary = site.path().join("geofenced");
    fs::copy(BINARY, &binary).expect("copy the binary");
    for path in [site.path().to_owned(), site.config(), binary.clone()] {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("chmod");
    }
    fs::create_dir(site.store()).expect("make the store's directory");
    for path in [site.store(), site.path().to_owned()] {
        std::os::unix::fs::chown(&path, Some(NOBODY), Some(NOBODY)).expect("chown");
    }
    let mut command = Command::new(&binary);
    command.args(["run", "--config"]).arg(site.config()).stdin(Stdio::null());
    command.uid(NOBODY).gid(NOBODY);
    assert_refused(&site.start_refused(&mut command), 1, "root");
}

#[test]
fn without_cgroup2_it_says_what_to_mount() {
    let site = Site::new(BINARY);
    // In mounts of its own, without any cgroup2.
    let script = "set -e; for at in $(awk '$3 == \"cgroup2\" { print $2 }' /proc/mounts); do \
                  umount -l \"$at\"; done; exec \"$0\" \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, BINARY, "run", "--config"]).arg(site.config());
    assert_refused(&site.start_refused(command.stdin(Stdio::null())), 5, "cgroup2");
}

/// `geofenced run` behind `unshare` with these words.
fn unshared(site: &Site, words: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.args(words).args([BINARY, "run", "--config"]).arg(site.config()).stdin(Stdio::null());
    command
}

#[test]
fn in_a_pid_namespace_of_its_own_it_says_how_to_start_it_in_the_hosts() {
    let site = Site::new(BINARY);
    for words in [&["--pid", "--fork", "--mount-proc"][..], &["--pid", "--fork"]] {
        let outcome = site.start_refused(&mut unshared(&site, words));
        assert_refused(&outcome, 5, "--pid=host");
    }
    let mut doctor = Command::new("unshare");
    doctor.args(["--pid", "--fork", "--mount-proc", BINARY, "doctor", "--config"]);
    let told = doctor.arg(site.config()).output().expect("run doctor");
    assert_eq!(told.status.code(), Some(5));
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains("--pid=host") && told.contains("capture tier: none"), "{told}");
}

#[test]
fn in_a_time_namespace_of_its_own_times_are_the_hosts() {
    let lab = Lab::new();
    let site = Site::new(BINARY);
    site.watch_only(lab.cgroup.path());
    let words = ["--time", "--boottime", "31536000", "--monotonic", "31536000"];
    let daemon = site.start_as(&mut unshared(&site, &words));
    lab.egress("udp-sendto --to 203.0.113.5:9");
    let recent = || site.events(&["--since", "1h", "--until", "0s"]);
    let told = harness::eventually(|| recent().pop());
    let event = told.unwrap_or_else(|| panic!("{:?}\n{}", site.events(&[]), site.log()));
    assert_eq!(event["destination"]["ip"], "203.0.113.5");
    assert!(event["process"]["executable"].is_string(), "{event}");
    // A year less than its own clock would tell.
    let uptime = fs::read_to_string("/proc/uptime").expect("the host's boot clock");
    let uptime: f64 = uptime.split(' ').next().expect("two numbers").parse().expect("seconds");
    let began =
        event["geofenced"]["boot"]["ns"].as_f64().expect("the start by the boot clock") / 1e9;
    // Which is cut to hundredths.
    let now = uptime + 0.01;
    assert!((now - 3_600.0..=now).contains(&began), "{began} of {uptime}");
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

#[test]
fn in_a_time_namespace_that_it_may_not_leave_it_says_how_to_start_it() {
    let site = Site::new(BINARY);
    let words = "--time --boottime 31536000 setpriv --bounding-set=-sys_admin";
    let words: Vec<&str> = words.split(' ').collect();
    let mut command = unshared(&site, &words);
    assert_refused(&site.start_refused(&mut command), 5, "nsenter");
}

#[test]
fn bad_configuration_is_refused_with_the_place_of_the_mistake() {
    let cases = [
        ("[policy]\napproved_contries = [\"US\"]\n", "approved_countries"),
        ("[policy]\nlocal_networks = [\"10.0.0.0/40\"]\n", "10.0.0.0/40"),
        ("[policy]\napproved_countries = [\"USA\"]\n", "USA"),
        ("[geo]\ndatabase = \"/nowhere/country.mmdb\"\n", "/nowhere/country.mmdb"),
    ];
    for (text, what) in cases {
        let site = Site::new(BINARY);
        site.drop_in("bad", text);
        let outcome = site.start_refused(&mut site.command(&["run"]));
        assert_refused(&outcome, 2, what);
        let checked = site.ask(&["check"]);
        assert_refused(&checked, 2, what);
    }
}

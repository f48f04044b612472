//! What little happens wakes nobody, and nothing is missing of it: programs that start and end. Needs root.

use std::{fs, path::Path, process::Command};

use harness::{Lab, Programs, Side, Site, text};
use rustix::process::Signal;
use serde_json::Value;

/// Programs that are started.
const STARTS: u64 = 300;

/// How often the thread of this name waited.
fn waits(pid: u32, name: &str) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("threads of the daemon");
    let read = |path: &Path, file| fs::read_to_string(path.join(file)).unwrap_or_default();
    let mut paths = tasks.filter_map(Result::ok).map(|task| task.path());
    let thread = paths.find(|path| read(path, "comm").trim() == name).expect("the thread");
    let status = read(&thread, "status");
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.and_then(|count| count.trim().parse().ok()).expect("a count")
}

fn watched(lab: &Lab) -> Site {
    let site = Site::new(env!("CARGO_BIN_EXE_geofenced"));
    site.watch_only(lab.cgroup.path());
    site
}

#[test]
fn programs_that_start_and_end_do_not_wake_the_reader_of_the_ring() {
    let lab = Lab::new();
    let site = watched(&lab);
    let daemon = site.start();
    // The first of a set of cgroups are read.
    let start = |count| {
        for _ in 0..count {
            assert!(Command::new("/bin/true").status().expect("/bin/true").success());
        }
    };
    start(20);
    let before = waits(daemon.pid(), "ring");
    start(STARTS);
    let woken = waits(daemon.pid(), "ring") - before;
    // Of what others do on this machine.
    assert!(woken < STARTS / 3, "woken {woken} times for {STARTS} programs");
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

#[test]
fn a_program_that_ended_while_the_daemon_stood_still_is_told_with_its_arguments_and_cgroup() {
    let lab = Lab::new();
    let site = watched(&lab);
    let programs = Programs::new();
    let program = programs.copy("brief");
    let daemon = site.start();
    // Somebody of this cgroup was seen alive before.
    let words = "hold-udp --to 203.0.113.7:9";
    let mut first = lab.start(Side::Host, words);
    first.holding();
    let told_at = |to: &str| {
        let ask = || site.events(&["--destination", to]);
        let found = harness::eventually(|| ask().into_iter().next());
        found.unwrap_or_else(|| panic!("nothing to {to}\n{}", site.log()))
    };
    let alive = told_at("203.0.113.7");

    daemon.signal(Signal::STOP);
    let pid = Programs::run(&lab, &program, "udp sendto 203.0.113.8:9");
    daemon.signal(Signal::CONT);

    let brief: Value = told_at("203.0.113.8");
    assert_eq!(brief["process"]["pid"], pid, "{brief}");
    let words = text(&brief, "/process/command_line");
    assert!(words.ends_with("udp sendto 203.0.113.8:9"), "{brief}");
    assert_eq!(text(&brief, "/geofenced/cgroup"), text(&alive, "/geofenced/cgroup"), "{brief}");
    first.end();
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

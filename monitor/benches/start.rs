//! How long the daemon takes from its start to ready, and what it is resident with when idle: the
//! default configuration on this machine's own cgroup, with a store of its own. Needs root.
//! `cargo bench -p monitor --bench start`

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// The first start builds the image; the others map it.
const STARTS: usize = 12;
const SETTLED: Duration = Duration::from_secs(4);

fn start(directory: &Path) -> (Child, Duration) {
    let began = Instant::now();
    let mut daemon = Command::new(env!("CARGO_BIN_EXE_geofenced"))
        .args(["run", "--config"])
        .arg(directory.join("config.toml"))
        .stderr(Stdio::piped())
        .spawn()
        .expect("start the daemon");
    let mut lines = BufReader::new(daemon.stderr.take().expect("its messages")).lines();
    let is_ready = lines.any(|line| line.is_ok_and(|line| line.contains("watching")));
    let took = began.elapsed();
    assert!(is_ready, "the daemon ended before it was ready");
    // Whoever closes this pipe ends the daemon's messages, not the daemon.
    thread::spawn(move || lines.for_each(drop));
    (daemon, took)
}

fn resident_kb(daemon: &Child) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.id())).expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

fn stop(mut daemon: Child) {
    let pid = Pid::from_child(&daemon);
    kill_process(pid, Signal::TERM).expect("end the daemon");
    daemon.wait().expect("wait for the daemon");
}

fn main() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    let at = path.display();
    let text = format!(
        "[policy]\napproved_countries = [\"US\"]\n[store]\npath = \"{at}/store\"\n\
         [metrics]\nlisten = \"\"\n[api]\nsocket = \"{at}/geofenced.sock\"\n"
    );
    fs::write(path.join("config.toml"), text).expect("write the configuration");

    let mut times = Vec::new();
    let mut resident = Vec::new();
    for _ in 0..STARTS {
        let (daemon, took) = start(path);
        thread::sleep(SETTLED);
        resident.push(resident_kb(&daemon));
        times.push(took);
        stop(daemon);
    }
    let first = times.remove(0);
    times.sort_unstable();
    resident.sort_unstable();
    println!("to ready, first start: {first:.0?}");
    let (least, most) = (times[0], times[times.len() - 1]);
    println!("to ready, of {} starts: median {:.0?}", times.len(), times[times.len() / 2]);
    println!("                        {least:.0?} to {most:.0?}");
    println!("resident when idle: median {} kB", resident[resident.len() / 2]);
    println!("                    {} to {} kB", resident[0], resident[resident.len() - 1]);
}

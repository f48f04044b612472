//! geofenced at work: the daemon on this machine's cgroup root, egress of several kinds to
//! documentation addresses inside namespaces of its own, and what the daemon says of it.
//!
//! Sends nothing to a real network, and leaves nothing behind.

pub mod daemon;
mod programs;
pub mod world;

use std::{
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use serde_json::Value;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::{
    apt, build,
    console::{Console, own},
    host,
};
use daemon::Daemon;
use world::World;

/// How long the daemon has to store what the programs sent.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the demo asks the daemon, in order.
const QUESTIONS: [&str; 5] = [
    "events --verdict approved,unapproved,unknown --limit 20",
    "events --verdict unapproved --transport tcp --country RU",
    "summary --by country",
    "summary --by process --verdict unapproved",
    "locate 203.0.113.10 198.51.100.7 2001:db8:f::5",
];

pub fn run(console: &Console, args: &build::Args) -> Result<()> {
    if !host::is_root() {
        bail!("attaching probes needs root; run: sudo env \"PATH=$PATH\" cargo xtask demo");
    }
    let stop = Stop::on_signals()?;
    let done = act(console, args, &stop);
    // Interrupted, whatever failed did so because of it.
    stop.check()?;
    done
}

fn act(console: &Console, args: &build::Args, stop: &Stop) -> Result<()> {
    apt::install(console, &[("iproute2", "ip: the namespaces the demo sends in")])?;
    let geofenced = build::daemon(console, args.profile())?;
    let generator = build::example(console, "egress", args.profile())?;
    stop.check()?;

    // Dropped in reverse: the daemon, then the namespaces, then the directory.
    let directory = tempfile::Builder::new().prefix("geofenced-demo-").tempdir()?;
    let world = own("two network namespaces and a cable", World::new)?;
    let daemon =
        own("start the daemon", || Daemon::start(&geofenced, directory.path(), ("all", ""), stop))?;
    own("egress of several kinds", || {
        programs::run_all(&world, &generator, directory.path(), stop)
    })?;
    own("the daemon knows all of it", || wait_for_records(&daemon, stop))?;
    show(&daemon, stop)?;
    own("stop the daemon", || daemon.stop())
}

/// Polls, because a record is stored when its flow is seen, and again as it grows. Asks for one
/// program at a time: on a busy machine there is much that isn't the demo's.
fn wait_for_records(daemon: &Daemon, stop: &Stop) -> Result<()> {
    let started = Instant::now();
    for (name, bytes) in programs::sent() {
        loop {
            stop.check()?;
            let question = format!("events --output json --limit 1 --process {name}");
            let answer = daemon.ask(&question).output()?;
            if is_complete(&answer.stdout, bytes) {
                break;
            }
            if started.elapsed() > PATIENCE {
                let said = String::from_utf8_lossy(&answer.stderr);
                bail!(
                    "no record of {bytes} bytes of {name}: {said}; the daemon's log:\n{}",
                    daemon.log()
                );
            }
            thread::sleep(Duration::from_millis(200));
        }
    }
    Ok(())
}

/// Whether this is a record of at least so many bytes: the headers come on top.
fn is_complete(json: &[u8], bytes: u64) -> bool {
    let record: Option<Value> = serde_json::from_slice(json).ok();
    record.is_some_and(|record| record["source"]["bytes"].as_u64().unwrap_or(0) >= bytes)
}

fn show(daemon: &Daemon, stop: &Stop) -> Result<()> {
    for question in QUESTIONS {
        stop.check()?;
        println!("\n$ geofenced {question}");
        let status = daemon.ask(question).status()?;
        ensure!(status.success(), "geofenced {question} failed: {status}");
    }
    println!("\n$ curl {}/metrics", daemon.metrics_address());
    let metrics = daemon.metrics()?;
    let shown: Vec<&str> = metrics.lines().filter(|line| is_telling(line)).collect();
    ensure!(!shown.is_empty(), "no violation is counted in the metrics");
    println!("{}\n", shown.join("\n"));
    Ok(())
}

/// A series of the demo's that has counted something.
fn is_telling(line: &str) -> bool {
    let names = ["geofenced_violations_total", "geofenced_egress_flows_total"];
    names.iter().any(|name| line.starts_with(name)) && !line.ends_with(" 0")
}

/// Whether someone wants us to end; then every step returns, and what we made is dropped.
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    pub fn on_signals() -> Result<Stop> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&flag))?;
        }
        Ok(Stop(flag))
    }

    pub fn check(&self) -> Result<()> {
        ensure!(!self.0.load(Ordering::Relaxed), "interrupted; cleaned up");
        Ok(())
    }
}

/// Runs a tool that must succeed, and says what it said if it does not.
fn tool(command: &mut Command) -> Result<()> {
    let output = command.output()?;
    let program = Path::new(command.get_program()).display();
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} failed ({}): {}", output.status, said.trim());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_series_that_counted_something_are_shown() {
        assert!(is_telling("geofenced_violations_total{country=\"CN\",reason=\"country\"} 5"));
        assert!(!is_telling("geofenced_violations_total{country=\"RU\",reason=\"country\"} 0"));
        assert!(!is_telling("# HELP geofenced_violations_total Flows against the policy."));
        assert!(!is_telling("geofenced_queue_depth{queue=\"store\"} 3"));
    }

    #[test]
    fn a_record_is_awaited_until_it_holds_what_was_sent() {
        let record = br#"{"process":{"name":"backup"},"source":{"bytes":200300}}"#;
        assert!(is_complete(record, 200_000));
        assert!(!is_complete(record, 300_000));
        assert!(!is_complete(b"", 0), "no record yet");
        assert!(is_complete(b"{}", 0), "an attempt has no bytes");
    }

    #[test]
    fn a_step_after_a_signal_is_not_begun() {
        let stop = Stop(Arc::new(AtomicBool::new(false)));
        assert!(stop.check().is_ok());
        stop.0.store(true, Ordering::Relaxed);
        assert!(stop.check().is_err());
    }
}

//! `geofenced demo`: a daemon of its own on this host, programs that send to documentation addresses inside
//! network namespaces of its own, and what the daemon says of them. Sends nothing to a real network, and
//! leaves nothing behind.

mod daemon;
mod programs;
mod world;

use std::{
    fs,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use tokio::runtime::Builder;

use self::{daemon::Daemon, programs::Deed, world::World};
use super::{Failure, Outcome};
use crate::{
    cli::{DemoArgs, Exit, Global},
    shutdown::{self, Shutdown},
};

/// How long the daemon has to store what the programs sent.
const PATIENCE: Duration = Duration::from_secs(20);
const TICK: Duration = Duration::from_millis(100);

/// What the demo asks the daemon, in order. The first shows the violations.
const QUESTIONS: [&str; 5] = [
    "events --verdict approved,unapproved,unknown --limit 20",
    "events --verdict unapproved --transport tcp --country RU",
    "summary --by country",
    "summary --by process --verdict unapproved",
    "locate 203.0.113.10 198.51.100.7 2001:db8:f::5",
];

pub(super) fn run(global: &Global, args: &DemoArgs) -> Outcome {
    if let Some(name) = &args.program {
        Deed::named(name)?.run()?;
        return Ok(Exit::Fine);
    }
    if !rustix::process::geteuid().is_root() {
        let error = anyhow::anyhow!("attaching probes needs root; run: sudo geofenced demo");
        return Err(Failure { exit: Exit::Unsupported, error });
    }
    let directory = Directory::new()?;
    let (trigger, shutdown) = shutdown::channel();
    let steps = Steps { started: Instant::now(), quiet: global.quiet > 0, shutdown };
    let path = directory.0.clone();
    let demo = thread::Builder::new().name("demo".to_owned()).spawn(move || {
        let done = act(&path, &steps);
        // Interrupted, whatever failed did so because of it.
        steps.check().and(done)
    })?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let ended = async {
            while !demo.is_finished() {
                tokio::time::sleep(TICK).await;
            }
        };
        tokio::select! {
            watched = shutdown::watch_signals(&trigger, || {}) => watched,
            () = ended => Ok(()),
        }
    })?;
    // Asked to end or not: what was made is dropped there.
    demo.join().unwrap_or_else(|_| bail!("the demo broke off"))?;
    Ok(Exit::Fine)
}

/// Each step on a line of stderr with its time.
struct Steps {
    started: Instant,
    quiet: bool,
    shutdown: Shutdown,
}

impl Steps {
    /// Fails once someone wants us to end: then every step returns, and what we made is dropped.
    fn check(&self) -> Result<()> {
        ensure!(!self.shutdown.is_requested(), "interrupted; cleaned up");
        Ok(())
    }

    fn step<T>(&self, name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.check()?;
        let started = Instant::now();
        let done = work();
        if !self.quiet {
            let word = if done.is_ok() { "  ok" } else { "FAIL" };
            eprintln!("{word}  {name} ({:.1} s)", started.elapsed().as_secs_f64());
        }
        done
    }

    fn say(&self, what: &str) {
        if !self.quiet {
            eprintln!("      {what} {:.1} s after the start", self.started.elapsed().as_secs_f64());
        }
    }
}

fn act(directory: &Path, steps: &Steps) -> Result<()> {
    // Dropped in reverse: the daemon, then the namespaces.
    let world = steps.step("two network namespaces and a cable", World::new)?;
    let daemon = steps.step("start the daemon", || Daemon::start(directory))?;
    steps.step("egress of several kinds", || programs::run_all(&world, directory))?;
    steps.step("the daemon knows all of it", || wait_for_records(&daemon, steps))?;
    for (number, question) in QUESTIONS.iter().enumerate() {
        steps.check()?;
        println!("\n$ geofenced {question}");
        let status = daemon.ask(question)?.status()?;
        ensure!(status.success(), "geofenced {question} failed: {status}");
        if number == 0 {
            steps.say("the violations were shown");
        }
    }
    println!("\n$ curl {}/metrics", daemon.metrics_address());
    let metrics = daemon.metrics()?;
    let shown: Vec<&str> = metrics.lines().filter(|line| is_telling(line)).collect();
    ensure!(!shown.is_empty(), "no violation is counted in the metrics");
    println!("{}\n", shown.join("\n"));
    steps.step("stop the daemon", || daemon.stop())
}

/// Polls, because a record is stored when its flow is seen, and again as it grows. Asks for one
/// program at a time: on a busy machine there is much that isn't the demo's.
fn wait_for_records(daemon: &Daemon, steps: &Steps) -> Result<()> {
    let started = Instant::now();
    for deed in &programs::DEEDS {
        loop {
            steps.check()?;
            let question = format!("events --output json --limit 1 --process {}", deed.name);
            let answer = daemon.ask(&question)?.stdin(Stdio::null()).output()?;
            if is_complete(&answer.stdout, deed.bytes as u64) {
                break;
            }
            if started.elapsed() > PATIENCE {
                let said = String::from_utf8_lossy(&answer.stderr);
                bail!(
                    "no record of {} bytes of {}: {said}; the daemon's log:\n{}",
                    deed.bytes,
                    deed.name,
                    daemon.log()
                );
            }
            thread::sleep(TICK);
        }
    }
    Ok(())
}

/// Whether this is a record of at least so many bytes: the headers come on top.
fn is_complete(json: &[u8], bytes: u64) -> bool {
    let record: Option<Value> = serde_json::from_slice(json).ok();
    record.is_some_and(|record| record["source"]["bytes"].as_u64().unwrap_or(0) >= bytes)
}

/// A series of the demo's that has counted something.
fn is_telling(line: &str) -> bool {
    let names = ["geofenced_violations_total", "geofenced_egress_flows_total"];
    names.iter().any(|name| line.starts_with(name)) && !line.ends_with(" 0")
}

/// Everything of the demo, for root alone; gone when this is.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("geofenced-demo-{}", std::process::id()));
        let made = fs::DirBuilder::new().mode(0o700).create(&path);
        made.with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What is left lies where temporary files do.
        let _ = fs::remove_dir_all(&self.0);
    }
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
}

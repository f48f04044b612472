//! What the tests of who sent stand on: a lab with a daemon in its host, programs of their own, and
//! what was told of a destination. Each destination is used once, so that a record has one truth.

use std::process::Command;

use harness::{Lab, Programs, Site, number, text};
use serde_json::Value;

pub(crate) struct Ground {
    pub(crate) lab: Lab,
    pub(crate) site: Site,
    pub(crate) programs: Programs,
}

/// What was sent in one short run.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) pid: u64,
    pub(crate) port: u64,
    pub(crate) number: u64,
}

impl Ground {
    pub(crate) fn new() -> Self {
        let lab = Lab::new();
        let site = Site::inside(&lab.host, env!("CARGO_BIN_EXE_geofenced"));
        site.watch_only(lab.cgroup.path());
        Self { lab, site, programs: Programs::new() }
    }

    /// A rule that allows a program to send where nobody else may.
    pub(crate) fn allow(&self, name: &str, program: &str) {
        let rule = format!("name = {name:?}\nallow = true\nprocess = {program:?}\n");
        self.site.drop_in(name, &format!("[[policy.rule]]\n{rule}"));
    }

    /// Does it while this daemon watches.
    pub(crate) fn watched_by(&self, daemon: &mut Command, test: impl FnOnce()) {
        let daemon = self.site.start_as(self.lab.host.admit(daemon));
        test();
        assert_eq!(daemon.stop(), Some(0), "{}", self.site.log());
    }

    /// Has `program` start `count` short runs of these words, one a destination at `address`.
    pub(crate) fn spawn(
        &self,
        program: &str,
        before: &str,
        count: usize,
        address: &str,
        words: &str,
    ) -> Vec<Run> {
        let all = format!("{before} spawn {count} {address} {FIRST_PORT} {words}");
        let output = Programs::command(&self.lab, program, &all).output().expect("run the sender");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{all}: {}: {errors}", output.status);
        let lines = String::from_utf8(output.stdout).expect("lines in UTF-8");
        let run = |line: &str| {
            let line: Value = serde_json::from_str(line).expect("a line of JSON");
            let number = line["run"].as_u64().expect("a number");
            let pid = line["pid"].as_u64().expect("a pid");
            Run { pid, port: u64::from(FIRST_PORT) + number, number }
        };
        let runs: Vec<Run> = lines.lines().map(run).collect();
        assert_eq!(runs.len(), count, "{all}");
        runs
    }

    /// The records of `count` destinations at `address`, once each tells of a packet.
    pub(crate) fn told_at(&self, address: &str, count: usize) -> Vec<Value> {
        let ask = || self.site.events(&["--destination", address, "--phase", "sent"]);
        let told = harness::eventually(|| Some(ask()).filter(|events| events.len() >= count));
        let events = told.unwrap_or_else(|| {
            let events = ask();
            let any = self.site.events(&["--destination", address]);
            panic!(
                "{} of {count} to {address}: {:?}\n{}",
                events.len(),
                any.last(),
                self.site.log()
            )
        });
        assert_eq!(events.len(), count, "a flow to {address} is told twice");
        events
    }
}

/// Of the destinations of short runs.
pub(crate) const FIRST_PORT: u16 = 20_000;

/// What was told of short runs, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) told: usize,
    /// The executable, and the process, of another.
    pub(crate) wrong: usize,
    pub(crate) wrong_pid: usize,
    pub(crate) without: usize,
    /// Of those without: with what was passed to exec.
    pub(crate) only_claimed: usize,
    pub(crate) approved: usize,
    /// Up to three that are wrong.
    pub(crate) such_as: Vec<String>,
}

/// Compares each run's record with the executable that it had.
pub(crate) fn tally(runs: &[Run], records: &[Value], executable: impl Fn(&Run) -> String) -> Tally {
    let mut tally = Tally { told: records.len(), ..Tally::default() };
    for run in runs {
        let is_its = |event: &&Value| number(event, "/destination/port") == run.port;
        let Some(record) = records.iter().find(is_its) else { continue };
        let told = text(record, "/process/executable");
        let claimed = text(record, "/geofenced/executable_claimed");
        tally.approved += usize::from(text(record, "/geofenced/verdict") == "approved");
        let right = executable(run);
        if told.is_empty() {
            tally.without += 1;
            tally.only_claimed += usize::from(!claimed.is_empty());
        } else if told != right {
            tally.wrong += 1;
        }
        let is_other = number(record, "/process/pid") != run.pid && record.get("process").is_some();
        tally.wrong_pid += usize::from(is_other);
        if (told != right || is_other) && tally.such_as.len() < 3 {
            tally.such_as.push(format!("run {}: {told:?} for {right:?}", run.number));
        }
    }
    tally
}

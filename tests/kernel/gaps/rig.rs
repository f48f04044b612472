//! A daemon, and what its command line says of a window of time: gaps, and whether a report claims anything.

use std::{
    path::PathBuf,
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use harness::{Daemon, Lab, Outcome, Site, number, text};
use jiff::Timestamp;
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_geofenced");
pub(crate) const SEEN: &str = "geofenced_egress_flows_total";
const LOST: &str = "geofenced_events_lost_total";
pub(crate) const RING_FULL: &str = "ring-full-flow";
/// No packet of any test goes there.
const CLAIM: &str = "nothing to RU";
const HOLDS: &str = "Nothing left to RU";
/// From and to, in nanoseconds since 1970.
pub(crate) type Window = (u64, u64);

/// A daemon's host, and how it and its command line are started.
pub(crate) struct Rig {
    pub(crate) lab: Lab,
    pub(crate) site: Site,
    pub(crate) environment: Vec<(&'static str, PathBuf)>,
}

impl Rig {
    pub(crate) fn new() -> Self {
        let (lab, site) = (Lab::new(), Site::new(BINARY));
        site.watch_only(lab.cgroup.path());
        Self { lab, site, environment: Vec::new() }
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = self.site.command(words);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    pub(crate) fn start(&self) -> Daemon<'_> {
        self.site.start_as(&mut self.command(&["run"]))
    }

    pub(crate) fn ask(&self, words: &[&str]) -> Outcome {
        let output = self.command(words).output().expect("run geofenced");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        Outcome { code: output.status.code(), stdout, stderr }
    }

    /// The gaps that `coverage` tells of a window, as JSON; its exit code says whether there are any.
    pub(crate) fn gaps(&self, window: Window) -> Vec<Gap> {
        let [since, until] = [window.0, window.1].map(rfc3339);
        let words = ["--since", &since, "--until", &until, "--fail-on-gap", "-o", "json"];
        let told = self.ask(&[&["coverage"], &words[..]].concat());
        let lines = told.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON"));
        let lines: Vec<Value> = lines.collect();
        let gaps: Vec<Gap> =
            lines.iter().filter_map(|line| line.pointer("/geofenced/gap")).map(Gap::of).collect();
        let code = if gaps.is_empty() { 0 } else { 4 };
        assert_eq!(told.code, Some(code), "{told:?}\n{}", self.site.log());
        let total = lines.last().expect("a total");
        assert_eq!(number(total, "/geofenced/coverage/gaps"), gaps.len() as u64, "{told:?}");
        gaps
    }

    /// Until there is such a gap, and all such have ended.
    pub(crate) fn await_gaps(
        &self,
        window: impl Fn() -> Window,
        stage: &str,
        reason: &str,
    ) -> Vec<Gap> {
        let told = harness::eventually(|| {
            let window = window();
            let gaps = self.gaps(window);
            let (own, _) = of(&gaps, stage, reason);
            let are_over = own.iter().all(|gap| gap.to < window.1);
            (!own.is_empty() && are_over).then_some(gaps)
        });
        told.unwrap_or_else(|| panic!("{:?}\n{}", self.gaps(window()), self.site.log()))
    }

    pub(crate) fn report(&self, window: Window, form: &[&str]) -> Outcome {
        let [since, until] = [window.0, window.1].map(rfc3339);
        let words = ["report", "--claim", CLAIM, "--since", &since, "--until", &until];
        self.ask(&[&words[..], form].concat())
    }

    /// Neither page nor JSON claims anything, and both name the gap.
    pub(crate) fn refuses(&self, window: Window, reason: &str) {
        let page = self.report(window, &[]);
        assert_eq!(page.code, Some(4), "{}", page.stderr);
        assert!(!page.stdout.contains(HOLDS) && page.stdout.contains(reason), "{}", page.stderr);
        assert!(!page.stderr.contains(HOLDS), "{}", page.stderr);
        let told = self.report(window, &["-o", "json"]);
        let report: Value = serde_json::from_str(&told.stdout).expect("JSON");
        assert_eq!(text(&report, "/claims/0/standing"), "not-shown", "{}", report["claims"]);
        let gaps = report["coverage"]["gaps"].as_array().expect("gaps");
        assert!(gaps.iter().any(|gap| gap["reason"] == reason), "{gaps:?}");
    }

    pub(crate) fn is_watched(&self, window: Window) {
        assert!(window.0 < window.1, "an empty window: {window:?}");
        let gaps = self.gaps(window);
        assert!(gaps.is_empty(), "{gaps:?} in {window:?}\n{}", self.site.log());
    }

    /// There the same is claimed.
    pub(crate) fn claims(&self, window: Window) {
        self.is_watched(window);
        let page = self.report(window, &[]);
        let stderr = &page.stderr;
        assert_eq!(page.code, Some(0), "{stderr}");
        assert!(page.stdout.contains(HOLDS) && stderr.contains(HOLDS), "{stderr}");
    }

    /// Each with its start, as the ledger alone tells them.
    pub(crate) fn stored(&self, of: &str) -> Vec<(u64, Value)> {
        let nobody = self.site.path().join("nobody.sock").display().to_string();
        let words = ["events", "--destination", of, "-o", "json", "--socket", &nobody];
        let told = self.ask(&words);
        let lines = told.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON"));
        let sent = lines.filter(|it: &Value| text(it, "/geofenced/phase") == "sent");
        sent.map(|it| (parse(text(&it, "/@timestamp")), it)).collect()
    }

    pub(crate) fn lost(&self, stage: &str, reason: &str) -> u64 {
        whole(self.site.metrics().sum(LOST, &[("stage", stage), ("reason", reason)]))
    }

    /// Of flows that were made each is told or counted as lost, or may be both; of those that are told each is
    /// stored, or only added up for want of a share.
    pub(crate) fn await_flood(&self, of: &str, made: u64) {
        let mut sums = (0, 0, 0, 0);
        let is_whole = harness::eventually(|| {
            let metrics = self.site.metrics();
            let added = whole(metrics.sum(LOST, &[("reason", "share")]));
            let seen = whole(metrics.sum(SEEN, &[]));
            sums = (seen, added, self.lost("probe", RING_FULL), self.stored(of).len() as u64);
            (seen + sums.2 >= made && seen <= made && sums.3 + added == seen).then_some(())
        });
        let details = self.site.metrics().nonzero(LOST);
        assert!(is_whole.is_some(), "{sums:?} of {made}: {details:?}\n{}", self.site.log());
    }

    /// Whatever was made is stored, or counted as lost.
    pub(crate) fn await_whole(&self, of: &str, made: u64, lost: impl Fn(&Self) -> u64) -> u64 {
        let mut sums = (0, 0);
        let is_whole = harness::eventually(|| {
            sums = (self.stored(of).len() as u64, lost(self));
            (sums.0 + sums.1 >= made).then_some(())
        });
        assert!(is_whole.is_some(), "{sums:?} of {made}\n{}", self.site.log());
        assert!(sums.0 <= made, "{sums:?} of {made}");
        sums.0
    }
}

/// As `coverage` tells it.
#[derive(Clone, Debug)]
pub(crate) struct Gap {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) extent: String,
    pub(crate) cause: (String, String),
    pub(crate) count: Option<u64>,
}

impl Gap {
    pub(crate) fn of(gap: &Value) -> Self {
        let own = |pointer| text(gap, pointer).to_owned();
        Self {
            from: parse(text(gap, "/from")),
            to: parse(text(gap, "/to")),
            extent: own("/extent"),
            cause: (own("/stage"), own("/reason")),
            count: gap["count"].as_u64(),
        }
    }

    pub(crate) fn is(&self, stage: &str, reason: &str) -> bool {
        (self.cause.0.as_str(), self.cause.1.as_str()) == (stage, reason)
    }

    pub(crate) fn holds(&self, from: u64, to: u64) -> bool {
        self.from <= from && to <= self.to
    }
}

/// Of these gaps those of one cause, and their counts together.
pub(crate) fn of<'g>(gaps: &'g [Gap], stage: &str, reason: &str) -> (Vec<&'g Gap>, u64) {
    let own: Vec<&Gap> = gaps.iter().filter(|gap| gap.is(stage, reason)).collect();
    let count = own.iter().filter_map(|gap| gap.count).sum();
    (own, count)
}

/// From the first of these gaps to the last.
pub(crate) fn span(gaps: &[Gap]) -> Window {
    let from = gaps.iter().map(|gap| gap.from).min().expect("a gap");
    (from, gaps.iter().map(|gap| gap.to).max().expect("a gap"))
}

/// A counter's value.
pub(crate) fn whole(counter: f64) -> u64 {
    (counter as i64).cast_unsigned()
}

pub(crate) fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock");
    u64::try_from(now.as_nanos()).expect("a time")
}

pub(crate) fn rfc3339(ns: u64) -> String {
    Timestamp::from_nanosecond(ns.into()).expect("a time").to_string()
}

pub(crate) fn parse(text: &str) -> u64 {
    let at: Timestamp = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
    u64::try_from(at.as_nanosecond()).expect("a time")
}

//! A real daemon whose clock is set under it: records stay, say by which clock they are told, and the
//! step is told. The machine's own clock is never touched: the daemon is shown another. Needs root.

use std::{
    fs,
    path::PathBuf,
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use harness::{Lab, Site, eventually};
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_geofenced");
const YEAR: i64 = 365 * 86_400;

/// What the daemon and the command line take for the time.
struct Shifted<'s> {
    site: &'s Site,
    file: PathBuf,
}

impl Shifted<'_> {
    fn set(&self, seconds: i64, trust: &str) {
        // In one step: it is read at any time.
        let new = self.file.with_extension("new");
        fs::write(&new, format!("{seconds} {trust}\n")).expect("write the shift");
        fs::rename(new, &self.file).expect("set the shift");
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.site.command(words);
        command.env("GEOFENCED_CLOCK_SHIFT", &self.file);
        command
    }

    fn clock(&self) -> Value {
        let output = self.command(&["status", "-o", "json"]).output().expect("ask for the status");
        let status: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        status["clock"].clone()
    }

    fn await_steps(&self, steps: u64, is_trusted: bool) {
        let seen = eventually(|| {
            let clock = self.clock();
            (clock["steps"] == steps && clock["trusted"] == is_trusted).then_some(())
        });
        assert!(seen.is_some(), "{}\n{}", self.clock(), self.site.log());
    }

    /// To each destination that the ledger holds a flow to, its year and by which clock it is told.
    fn told(&self) -> Vec<(String, String, String)> {
        let events = self.site.events_in_ledger(&[]);
        let mut told: Vec<_> = events
            .iter()
            .map(|event| {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let year = text(&event["@timestamp"])[..4].to_owned();
                assert!(event["geofenced"]["boot"]["ns"].is_u64(), "{event}");
                (text(&event["destination"]["ip"]), year, text(&event["geofenced"]["clock"]))
            })
            .collect();
        told.sort();
        told
    }

    fn await_told(&self, count: usize) -> Vec<(String, String, String)> {
        let told = eventually(|| Some(self.told()).filter(|told| told.len() == count));
        told.unwrap_or_else(|| panic!("{:?}\n{}", self.told(), self.site.log()))
    }
}

fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock");
    i64::try_from(now.as_secs()).expect("a time")
}

#[test]
fn a_clock_that_is_set_takes_no_record_with_it_and_each_step_is_told() {
    let lab = Lab::new();
    let site = Site::new(BINARY);
    site.watch_only(lab.cgroup.path());
    let shifted = Shifted { site: &site, file: site.path().join("shift") };
    // 1970, an hour after it began.
    shifted.set(3_600 - now(), "untrusted");
    let daemon = site.start_as(&mut shifted.command(&["run"]));
    lab.egress("udp-sendto --to 203.0.113.1:9");
    shifted.await_told(1);
    shifted.set(0, "trusted");
    shifted.await_steps(1, true);
    lab.egress("udp-sendto --to 203.0.113.2:9");
    shifted.await_told(2);
    let metrics = site.metrics();
    assert!((metrics.sum("geofenced_clock_trusted", &[]) - 1.0).abs() < 0.1);
    assert!((metrics.sum("geofenced_clock_steps_total", &[]) - 1.0).abs() < 0.1);

    shifted.set(YEAR, "untrusted");
    shifted.await_steps(2, false);
    lab.egress("udp-sendto --to 203.0.113.3:9");
    shifted.await_told(3);
    let log = site.log();
    assert_eq!(log.matches("the clock was set from").count(), 2, "{log}");
    assert_eq!(daemon.stop(), Some(0), "{log}");

    // A daemon looks first of all for what is too old: a year ahead, and back again.
    for (seconds, trust) in [(YEAR, "untrusted"), (0, "trusted")] {
        shifted.set(seconds, trust);
        let daemon = site.start_as(&mut shifted.command(&["run"]));
        shifted.await_steps(0, trust == "trusted");
        assert_eq!(daemon.stop(), Some(0), "{}", site.log());
    }
    let output = site.ask(&["events"]);
    assert!(output.stderr.contains("the clock was set among these events"), "{output:?}");
    let told = shifted.told();
    let years: Vec<_> =
        told.iter().map(|(_, year, clock)| (year.as_str(), clock.as_str())).collect();
    assert_eq!(years[0], ("1970", "untrusted"), "{told:?}");
    let [this, next] = [years[1].0, years[2].0].map(|year| year.parse::<u32>().expect("a year"));
    assert!(next > this && this >= 2026, "{told:?}");
    assert_eq!((years[1].1, years[2].1), ("trusted", "untrusted"));
}

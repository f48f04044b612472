//! A configuration that broke between two starts: a daemon that was told to starts with the last good one
//! and says so everywhere; one that was not refuses at once. Needs root.

use std::{fs, process::Command};

use harness::{Lab, Site};
use rustix::process::Signal;
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_geofenced");
const FALLBACK: &str = "geofenced_config_fallback";

struct Broken<'s> {
    site: &'s Site,
    good: String,
}

impl<'s> Broken<'s> {
    /// A daemon ran with a good configuration, which is broken now.
    fn after_a_good_run(site: &'s Site) -> Self {
        let daemon = site.start_as(&mut unit_start(site));
        assert!(!fallback(site));
        assert_eq!(daemon.stop(), Some(0), "{}", site.log());
        let good = fs::read_to_string(site.config()).expect("read the configuration");
        let broken = Self { site, good };
        broken.write("[policy]\napproved_cuontries = [\"US\"]\n");
        broken
    }

    fn write(&self, text: &str) {
        fs::write(self.site.config(), text).expect("write the configuration");
    }
}

/// As the unit starts it.
fn unit_start(site: &Site) -> Command {
    let file = site.path().join("last-good.json").display().to_string();
    site.command(&["run", "--last-good", &file])
}

/// `--socket`: a client that can't read its configuration asks at the default one.
fn status(site: &Site) -> Value {
    let socket = site.socket().display().to_string();
    let said = site.ask(&["status", "-o", "json", "--socket", &socket]);
    serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:?}"))
}

fn fallback(site: &Site) -> bool {
    site.metrics().sum(FALLBACK, &[]) > 0.0
}

fn failures(site: &Site) -> f64 {
    site.metrics().sum("geofenced_config_reloads_total", &[("result", "failure")])
}

fn warnings(site: &Site) -> String {
    status(site)["warnings"].to_string()
}

#[test]
fn a_daemon_that_was_told_to_starts_with_the_last_good_configuration_and_says_so_until_a_reload() {
    let lab = Lab::new();
    let site = Site::new(BINARY);
    site.watch_only(lab.cgroup.path());
    let broken = Broken::after_a_good_run(&site);

    let daemon = site.start_as(&mut unit_start(&site));
    let said = site.log();
    assert!(said.contains("config.toml:2: ") && said.contains("the last good one"), "{said}");
    assert!(warnings(&site).contains("approved_cuontries"), "{}", status(&site));
    assert!(fallback(&site));
    assert_eq!(status(&site)["policy"]["approved_countries"].to_string(), "[\"US\"]");

    // A reload of what is still broken changes nothing, one of what is mended all.
    daemon.signal(Signal::HUP);
    let failed = || (failures(&site) > 0.0).then_some(());
    assert!(harness::eventually(failed).is_some(), "{}", site.log());
    assert!(fallback(&site));
    broken.write(&broken.good);
    daemon.signal(Signal::HUP);
    let mended = || (!fallback(&site)).then_some(());
    assert!(harness::eventually(mended).is_some(), "{}", site.log());
    assert!(!warnings(&site).contains("broken"), "{}", status(&site));
}

#[test]
fn a_daemon_started_by_hand_refuses_a_broken_configuration_whatever_ran_before() {
    let lab = Lab::new();
    let site = Site::new(BINARY);
    site.watch_only(lab.cgroup.path());
    let _broken = Broken::after_a_good_run(&site);
    let refused = site.start_refused(&mut site.command(&["run"]));
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("config.toml:2: "), "{refused:?}");
}

#[test]
fn a_first_start_with_a_broken_configuration_has_nothing_to_fall_back_to() {
    let site = Site::new(BINARY);
    fs::write(site.config(), "[policy]\nno = 1\n").expect("write the configuration");
    let refused = site.start_refused(&mut unit_start(&site));
    assert_eq!(refused.code, Some(2), "{refused:?}");
}

#[test]
fn a_database_that_can_not_be_read_is_replaced_by_the_embedded_one_and_the_policy_stays() {
    let lab = Lab::new();
    let site = Site::new(BINARY);
    site.watch_only(lab.cgroup.path());
    let broken = Broken::after_a_good_run(&site);
    broken.write(&broken.good);
    let database = site.path().join("country.mmdb");
    fs::write(&database, "no database").expect("write");
    site.drop_in("geo", &format!("[geo]\ndatabase = {:?}\n", database.display().to_string()));
    // The last good one must not help: it names no database.
    let other = site.path().join("last-good.json");
    fs::remove_file(other).expect("remove what was kept");

    let _daemon = site.start_as(&mut unit_start(&site));
    assert!(warnings(&site).contains("without its databases"), "{}", status(&site));
    assert_eq!(status(&site)["policy"]["approved_countries"].to_string(), "[\"US\"]");
}

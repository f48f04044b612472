//! Whole reloads, of policy and database, while as much leaves as the daemon takes in: no flow is
//! lost, and each record's verdict is that of the policy and the database it names. Needs root.

#[path = "../../monitor/src/locate/fixture.rs"]
mod fixture;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    ops::ControlFlow,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use fixture::{Value, text};
use geofenced::inside::{
    config::Config,
    event::{Record, Verdict},
    filter::Query,
    store::Reader,
};
use harness::{Daemon, Lab, Site};
use rustix::process::Signal;
use sha2::{Digest, Sha256};

const RELOADS: usize = 300;
const FLOWS_EACH_ROUND: u64 = 10_000;
/// So many flows, and one round more, may be sent that the daemon did not tell yet. What it bears at
/// once, burst.rs says; here the ring has room for all of them, whoever has the processor.
const FLOWS_AHEAD: u64 = 2 * FLOWS_EACH_ROUND;
const RING: &str = "[capture]\nring_buffer = \"64MiB\"\n";
/// Of which only the database says where it is.
const TO: &str = "203.0.113.1";
/// Where the two databases have it.
const COUNTRIES: [&str; 2] = ["CN", "US"];
/// What the two policies approve.
const APPROVED: [&str; 2] = ["US", "CN"];

/// The files that a reload reads, in either of two versions each.
struct Files<'s> {
    site: &'s Site,
    databases: [Vec<u8>; 2],
}

impl<'s> Files<'s> {
    fn new(site: &'s Site) -> Self {
        let config = fs::read_to_string(site.config()).expect("read the configuration");
        let elsewhere = config.replace("203.0.113.0/24", "192.0.2.0/24");
        fs::write(site.config(), elsewhere).expect("write the configuration");
        // One user sends it all, and has only a share of the store.
        site.drop_in("store", "[store]\nmax_size = \"64GiB\"\n");
        site.drop_in("ring", RING);
        let file = site.path().join("country.mmdb");
        site.drop_in("geo", &format!("[geo]\ndatabase = {:?}\n", file.display().to_string()));
        let databases = COUNTRIES.map(|code| {
            let record = Value::Map(vec![("country_code".to_owned(), text(code))]);
            fixture::mmdb("Test-Country", &[("203.0.113.0/24", record)])
        });
        let files = Self { site, databases };
        files.put(0, 0);
        files
    }

    /// Renamed into place, as whoever updates a database should: never half of a file is there.
    fn put(&self, policy: usize, database: usize) {
        let approved = APPROVED[policy];
        self.site.drop_in("policy", &format!("[policy]\napproved_countries = [{approved:?}]\n"));
        let [new, file] = ["new", "country.mmdb"].map(|name| self.site.path().join(name));
        fs::write(&new, &self.databases[database]).expect("write the database");
        fs::rename(new, file).expect("put the database");
    }

    /// The hash by which records name each policy.
    fn policies(&self) -> [[u8; 32]; 2] {
        [0, 1].map(|policy| {
            self.put(policy, 0);
            Config::load(&self.site.config()).expect("the configuration").policy.sha256
        })
    }

    /// The same of each database.
    fn databases(&self) -> [[u8; 32]; 2] {
        self.databases.each_ref().map(|bytes| Sha256::digest(bytes).into())
    }
}

/// Each changes the policy, the database or both.
fn versions(reload: usize) -> (usize, usize) {
    [(1, 0), (1, 1), (0, 0), (1, 1), (0, 1), (0, 0)][reload % 6]
}

fn reload(site: &Site, daemon: &Daemon<'_>, count: usize) {
    daemon.signal(Signal::HUP);
    let reloads = || site.metrics().sum("geofenced_config_reloads_total", &[("result", "success")]);
    let done = harness::eventually(|| (reloads() > count as f64 - 0.5).then_some(()));
    assert!(done.is_some(), "reload {count}: {} are done\n{}", reloads(), site.log());
}

/// Sends until told to stop, as fast as the daemon takes it in; says how many flows it made.
fn send(lab: &Lab, site: &Site, done: &AtomicBool) -> u64 {
    let mut made = 0;
    for round in 0.. {
        if done.load(Ordering::Relaxed) {
            break;
        }
        // New sockets begin new flows at ports that were used before.
        let first = 10_000 + round % 2 * FLOWS_EACH_ROUND;
        let last = first + FLOWS_EACH_ROUND - 1;
        let words = format!(
            "burst-new-socket --to {TO} --ports {first}-{last} --bytes 10 --count {FLOWS_EACH_ROUND}"
        );
        made += lab.egress(&words).flows_made;
        let told = || site.metrics().sum("geofenced_egress_flows_total", &[]);
        let is_near =
            harness::eventually(|| (told() + FLOWS_AHEAD as f64 > made as f64).then_some(()));
        assert!(is_near.is_some(), "of {made} flows {} are told\n{}", told(), site.log());
    }
    made
}

#[test]
fn three_hundred_reloads_under_traffic_lose_no_flow_and_no_record_contradicts_what_it_rests_on() {
    let lab = Lab::new();
    let site = Site::new(env!("CARGO_BIN_EXE_geofenced"));
    site.watch_only(lab.cgroup.path());
    let files = Files::new(&site);
    let (policies, databases) = (files.policies(), files.databases());
    files.put(0, 0);
    let daemon = site.start();

    let done = AtomicBool::new(false);
    let made = thread::scope(|scope| {
        let sending = scope.spawn(|| send(&lab, &site, &done));
        for count in 1..=RELOADS {
            let (policy, database) = versions(count - 1);
            files.put(policy, database);
            reload(&site, &daemon, count);
        }
        done.store(true, Ordering::Relaxed);
        sending.join().expect("the generator")
    });
    let metrics = site.metrics();
    assert_eq!(metrics.nonzero("geofenced_events_lost_total"), Vec::<String>::new());
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());

    let mut by_rules: BTreeMap<(usize, usize), u64> = BTreeMap::new();
    let mut flows = BTreeSet::new();
    each_record(&site, |record| {
        let rests_on = record.provenance.as_deref().expect("what it rests on");
        let is = |hash: &[u8; 32]| databases.iter().position(|it| it == hash);
        let policy = policies.iter().position(|it| *it == rests_on.policy_sha256);
        let database = rests_on.databases.iter().find_map(|it| is(&it.sha256));
        let (policy, database) = (policy.expect("a policy"), database.expect("a database"));
        let is_approved = COUNTRIES[database] == APPROVED[policy];
        let expected = if is_approved { Verdict::Approved } else { Verdict::Unapproved };
        let country = record.place.country.code().map(|code| code.to_string());
        assert_eq!(country.as_deref(), Some(COUNTRIES[database]), "{record:?}");
        assert_eq!(record.judgement.verdict, expected, "{record:?}");
        *by_rules.entry((policy, database)).or_default() += 1;
        flows.insert(record.egress.flow);
    });
    println!("{made} flows in {RELOADS} reloads, by policy and database: {by_rules:?}");
    assert_eq!(flows.len() as u64, made);
    assert_eq!(by_rules.len(), 4, "{by_rules:?}");
}

/// Each flow that went to [`TO`].
fn each_record(site: &Site, mut each: impl FnMut(Record)) {
    let reader = Reader::open(&site.store()).expect("open the store");
    let told = reader.query(&Query::default(), |record| {
        if record.egress.remote.is_some_and(|to| to.ip().to_string() == TO) {
            each(record);
        }
        ControlFlow::Continue(())
    });
    told.expect("read the store");
}

//! How long it takes from a packet that goes where it must not to an object in a bucket that tells of it: a real
//! daemon with its probes, `geofenced-fleet ship` beside it, and an S3 that is looked at all the time. Needs root.
//!
//! `urgent FLEET DAEMON PACKAGES COUNT`

#[path = "../weed.rs"]
mod weed;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use futures_util::TryStreamExt as _;
use geofenced::fleet::{Entry, shipped};
use harness::{Lab, Side, Site};
use object_store::{
    ObjectStore as _, ObjectStoreExt as _,
    aws::{AmazonS3, AmazonS3Builder},
    path::Path as Key,
};
use weed::{Programs, Weed};

/// What is promised.
const MOST: Duration = Duration::from_secs(5);
const LOOK_EACH: Duration = Duration::from_millis(20);
/// For how long the last one is waited for.
const PATIENCE: Duration = Duration::from_mins(1);
/// One after the other, at no multiple of what anybody here counts by.
const SEND_EACH: Duration = Duration::from_millis(271);

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [fleet, daemon, packages, count] = &words[..] else { panic!("see the head of the file") };
    let count: usize = count.parse().expect("a number");
    let root = tempfile::tempdir().expect("a directory");
    let programs = Programs { fleet: fleet.into(), packages: packages.into() };
    let weed = Weed::start(root.path(), &programs);
    let lab = Lab::new();
    let site = Site::new(daemon);
    site.watch_only(lab.cgroup.path());
    let _daemon = site.start();
    let _ship = Shipping(ship(fleet, &weed, &site, &root.path().join("state")));
    let seen = thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..count {
                let to = format!("udp-sendto --to 203.0.113.{}:9", 1 + number % 250);
                lab.start(Side::Host, &to).finish();
                thread::sleep(SEND_EACH);
            }
        });
        look(&weed, count)
    });
    let mut ms: Vec<u128> = seen.values().map(Duration::as_millis).collect();
    ms.sort_unstable();
    let at = |part: usize| ms[(ms.len() * part / 100).min(ms.len() - 1)];
    println!(
        "{} violations, from the packet to an object that can be read: median {} ms, p99 {} ms, at most {} ms",
        ms.len(),
        at(50),
        at(99),
        at(100)
    );
    assert_eq!(ms.len(), count, "not all were told of");
    assert!(at(99) < MOST.as_millis(), "that is too long");
}

struct Shipping(Child);

impl Drop for Shipping {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ship(fleet: &str, weed: &Weed, site: &Site, state: &Path) -> Child {
    let mut ship = Command::new(fleet);
    ship.arg("ship").arg("--store").arg(site.store()).arg("--state").arg(state);
    ship.args(["--to", "s3://fleet/field"]).envs(weed.environment());
    ship.stdout(Stdio::null()).spawn().expect("geofenced-fleet ship")
}

fn bucket(weed: &Weed) -> AmazonS3 {
    // An earlier one stays as it is.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let all = weed.environment().into_iter();
    let it: BTreeMap<&str, &str> = all.collect();
    AmazonS3Builder::new()
        .with_endpoint(it["AWS_ENDPOINT"])
        .with_access_key_id(it["AWS_ACCESS_KEY_ID"])
        .with_secret_access_key(it["AWS_SECRET_ACCESS_KEY"])
        .with_region(it["AWS_REGION"])
        .with_bucket_name("fleet")
        .with_client_options(object_store::ClientOptions::new().with_allow_http(true))
        .build()
        .expect("a bucket")
}

/// Each flow that an urgent object tells of, and how long after its first packet that was read there.
fn look(weed: &Weed, count: usize) -> BTreeMap<u128, Duration> {
    let store = bucket(weed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let (mut known, mut seen) = (BTreeSet::new(), BTreeMap::new());
    let (folder, mut last) = (Key::from("field"), Instant::now());
    while seen.len() < count && last.elapsed() < PATIENCE {
        let listed = store.list(Some(&folder)).try_collect::<Vec<_>>();
        for object in runtime.block_on(listed).expect("list the bucket") {
            let key = object.location;
            if !key.as_ref().contains("/urgent/") || !known.insert(key.clone()) {
                continue;
            }
            let read = runtime.block_on(async { store.get(&key).await?.bytes().await });
            let read = read.expect("read an object");
            let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
            for entry in
                shipped::loose_blocks(&read).iter().filter_map(|it| it.entries(&read)).flatten()
            {
                let Entry::Flow(record) = entry else { continue };
                let began = Duration::from_nanos(record.egress.started_at.0);
                if record.is_violation() {
                    seen.entry(record.egress.flow.0).or_insert(now.saturating_sub(began));
                    last = Instant::now();
                }
            }
        }
        thread::sleep(LOOK_EACH);
    }
    seen
}

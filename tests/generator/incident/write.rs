//! The planned entries as a store, by the store's own code.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use geofenced::inside::{
    config::{Config, Policy, RecordMode, StoreConfig},
    event::{Entry, Notice, Timestamp},
    evidence::KeyName,
    store::Store,
};

use super::plan;

const CADENCE_NS: u64 = 19 * 60 * 1_000_000_000;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures")
}

fn policy(file: &str) -> Policy {
    Config::load(&fixtures().join(file)).expect("the configuration of the fixture").policy
}

/// By the policies that lie beside the fixture.
pub(crate) fn planned() -> Vec<Entry> {
    plan::entries(&policy("incident.before.toml"), &policy("incident.toml"))
}

pub(crate) fn write(root: &Path, entries: impl IntoIterator<Item = Entry>) {
    let config = StoreConfig {
        path: root.to_owned(),
        record: RecordMode::All,
        retention: Duration::from_hours(24 * 365 * 100),
        max_bytes: 1 << 30,
        sync: Duration::from_secs(10),
        shipping: None,
    };
    let name = KeyName::parse("gs-1").expect("a name");
    let mut store = Store::open_named(&config, name).expect("a store");
    let mut sealed = Timestamp(0);
    for entry in entries {
        store.append(&entry).expect("append");
        // As seldom as `verify` lets pass: each takes room.
        if let Entry::Notice { at, notice: Notice::Alive } = &entry
            && at.0 - sealed.0 >= CADENCE_NS
        {
            store.seal().expect("seal");
            sealed = *at;
        }
    }
    store.seal().expect("seal");
    store.close().expect("close");
}

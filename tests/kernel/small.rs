//! A machine with 64 MiB for the daemon: by its sizes alone it starts, watches and stays below, also where a ledger is to
//! be indexed anew. Needs root and the memory controller.

#[path = "../../monitor/benches/store/generator.rs"]
mod generator;
#[path = "../../monitor/benches/store/host.rs"]
mod host;

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use generator::{Generator, START};
use geofenced::inside::{
    config::{RecordMode, StoreConfig},
    event::Entry,
    store::{Options, Store},
};
use harness::{Daemon, Lab, Memory, Site};
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_geofenced");
const MOST: u64 = 64 << 20;

/// With its memory bounded from its first instruction on.
fn start<'a>(site: &'a Site, memory: &Memory) -> Daemon<'a> {
    let mut command = Command::new("sh");
    let script = format!("echo $$ > {} && exec \"$0\" \"$@\"", memory.members().display());
    command.args(["-c", &script, BINARY, "run", "--config"]).arg(site.config());
    site.start_as(command.stdin(Stdio::null()))
}

#[test]
fn in_64_mib_from_its_start_the_daemon_takes_small_tables_and_tells_what_leaves() {
    let lab = Lab::new();
    let memory = Memory::at_most(MOST);
    let site = Site::new(BINARY);
    site.watch_only(lab.cgroup.path());
    let daemon = start(&site, &memory);
    let status = site.ask(&["status", "-o", "table"]).stdout;
    assert!(status.contains("of 1024"), "{status}\n{}", site.log());
    let told = status.lines().find(|it| it.contains("bytes of memory at the start"));
    assert!(told.is_some_and(|it| it.ends_with(&format!(" {MOST}"))), "{status}");
    let truth = lab.egress("udp-sendto --to 203.0.113.5:9");
    let event = harness::eventually(|| site.events_of(truth.pid).pop());
    let account = memory.account();
    println!("{account}");
    let event = event.unwrap_or_else(|| panic!("{account}\n{}", site.log()));
    assert_eq!(event["geofenced"]["verdict"], "unapproved", "{event}");
    assert_eq!(memory.killed(), 0, "{account}");
    assert_eq!(daemon.stop(), Some(0), "{account} {}", site.log());
}

#[test]
fn check_says_which_sizes_follow_from_the_memory_of_who_asks() {
    let memory = Memory::at_most(MOST);
    let site = Site::new(BINARY);
    let script = format!("echo $$ > {} && exec \"$0\" \"$@\"", memory.members().display());
    let mut command = Command::new("sh");
    command.args(["-c", &script, BINARY, "check", "--config"]).arg(site.config());
    let said = command.output().expect("run check");
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("1024 flows") && said.contains("the 64 MiB that its cgroup"), "{said}");
}

const RECORDS: usize = 120_000;
/// Tests run beside it, and this build is larger than what is handed out: with 64 MiB it would be at the edge.
const MOST_WITH_A_LEDGER: u64 = 72 << 20;

/// As an earlier version left it: without an index that this one understands.
fn write_ledger(path: &Path) {
    let config = StoreConfig {
        path: path.to_owned(),
        record: RecordMode::All,
        retention: Duration::from_hours(24 * 365 * 100),
        max_bytes: 512 << 20,
        sync: Duration::from_secs(10),
        shipping: None,
    };
    let options = Options { index: None, ..Options::of(&config) };
    let mut store = Store::open_with(&config, options).expect("a store");
    let mut generator = host::of_a_host(Generator::new(RECORDS, 30), START);
    for _ in 0..RECORDS {
        store.append(&Entry::Flow(generator.next_state())).expect("appended");
    }
    store.close().expect("closed");
}

#[test]
fn in_72_mib_a_large_ledger_is_indexed_and_the_daemon_lives() {
    let lab = Lab::new();
    let memory = Memory::at_most(MOST_WITH_A_LEDGER);
    let site = Site::new(BINARY);
    site.watch_only(lab.cgroup.path());
    site.drop_in("store", "[store]\nrecord = \"all\"\nretention = \"36500d\"\n");
    write_ledger(&site.store());
    let daemon = start(&site, &memory);
    // What it goes on for at least is less than a tenth of these.
    let is_indexed = || {
        let status = site.ask(&["status", "-o", "json"]);
        let account = memory.account();
        assert_eq!(memory.killed(), 0, "{account}");
        assert_eq!(status.code, Some(0), "{} {account}\n{}", status.stderr, site.log());
        let status: Value = serde_json::from_str(&status.stdout).expect("its status");
        let index = status["store"]["index"].as_str().expect("how far it is").to_owned();
        let behind: u64 = index.split(' ').next()?.parse().unwrap_or(0);
        (behind < 40).then_some(index)
    };
    let indexed = harness::eventually(is_indexed);
    println!("{indexed:?} {}", memory.account());
    assert!(indexed.is_some(), "{}", site.log());
    let count = site.ask(&["summary", "--by", "process", "--limit", "1", "-o", "json"]);
    assert_eq!(count.code, Some(0), "{}", count.stderr);
    assert_eq!(memory.killed(), 0, "{}", memory.account());
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

//! A machine with 64 MiB for the daemon: by its sizes alone it starts, watches and stays below. Needs root and the
//! memory controller.

use std::process::{Command, Stdio};

use harness::{Lab, Memory, Site};

const BINARY: &str = env!("CARGO_BIN_EXE_geofenced");
const MOST: u64 = 64 << 20;

#[test]
fn in_64_mib_from_its_start_the_daemon_takes_small_tables_and_tells_what_leaves() {
    let lab = Lab::new();
    let memory = Memory::at_most(MOST);
    let site = Site::new(BINARY);
    site.watch_only(lab.cgroup.path());
    let mut command = Command::new("sh");
    let script = format!("echo $$ > {} && exec \"$0\" \"$@\"", memory.members().display());
    command.args(["-c", &script, BINARY, "run", "--config"]).arg(site.config());
    let daemon = site.start_as(command.stdin(Stdio::null()));
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

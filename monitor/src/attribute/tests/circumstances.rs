//! What the probes tell of an exec by themselves, when `/proc` comes too late.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use monitor_ebpf::sample::{ExecSample, Owner, path_end};

use super::{
    super::fake::{SEC, exec, fork, owner, seen},
    curl, host, named, user,
};

const SET: u64 = 0x1234_5678_9abc_def0;

fn leader(pid: u32) -> Owner {
    Owner { started_ns: 5 * SEC, executed_ns: 6 * SEC, ..user(owner(pid, "curl", 6 * SEC), 1000) }
}

/// As the probes tell it where the kernel's BTF says how to read all of it.
fn told(pid: u32, arguments: &[u8], cgroups: u64) -> ExecSample {
    let mut sample = seen(exec(leader(pid), "/usr/bin/curl"), path_end::ROOT, &["curl", "bin"]);
    sample.arguments[..arguments.len()].copy_from_slice(arguments);
    sample.argument_bytes = arguments.len() as u32;
    sample.netns = 4_026_531_999;
    sample.cgroups = cgroups;
    sample
}

#[test]
fn a_program_that_ended_before_anyone_looked_has_its_arguments_and_its_network_namespace() {
    let (_proc, mut processes) = host();
    processes.learn_fork(&fork(10, 77, 5 * SEC));
    processes.learn_exec(&told(77, b"curl\0-s\0https://example.org\0", 0));
    let process = named(&mut processes, leader(77));
    assert_eq!(process.command_line.as_deref(), Some("curl -s https://example.org"));
    assert_eq!(process.netns, Some(4_026_531_999));
}

#[test]
fn arguments_that_the_kernel_told_do_not_rest_on_a_reading_that_is_taken_back() {
    let (proc, mut processes) = host();
    processes.procfs.now_ns = || 6 * SEC;
    processes.learn_fork(&fork(10, 77, 5 * SEC));
    // Renamed by itself since.
    proc.put(&curl(77));
    processes.learn_exec(&told(77, b"tool\0--first\0", 0));
    let before = named(&mut processes, leader(77));
    assert_eq!(before.command_line.as_deref(), Some("tool --first"));
    processes.learn_exec(&exec(Owner { touched_ns: 6 * SEC + 1, ..leader(77) }, "/usr/bin/next"));
    assert_eq!(processes.corrections(), []);
}

#[test]
fn cgroups_that_were_read_once_are_known_by_their_number_and_the_probes_are_told_so() {
    let (proc, mut processes) = host();
    let known = Arc::new(AtomicU64::new(0));
    let tell = Arc::clone(&known);
    processes.set_know_cgroups(Box::new(move |set| tell.store(set, Ordering::Relaxed)));
    processes.learn_fork(&fork(10, 77, 5 * SEC));
    proc.put(&curl(77));
    processes.learn_exec(&told(77, b"curl\0", SET));
    assert_eq!(known.load(Ordering::Relaxed), SET);
    // This one is gone, and came from where nobody knows its parent's.
    processes.learn_exec(&told(78, b"curl\0", SET));
    let process = named(&mut processes, leader(78));
    assert_eq!(process.cgroup.as_deref(), Some("/user.slice/user-1000.slice/session-3.scope"));
}

#[test]
fn where_a_process_went_after_its_exec_is_not_taken_for_where_it_executed() {
    let (proc, mut processes) = host();
    let known = Arc::new(AtomicU64::new(0));
    let tell = Arc::clone(&known);
    processes.set_know_cgroups(Box::new(move |set| tell.store(set, Ordering::Relaxed)));
    processes.learn_fork(&fork(10, 77, 5 * SEC));
    let mut moved = curl(77);
    moved.cgroup = "0::/system.slice/run-1.scope\n";
    proc.put(&moved);
    processes.learn_exec(&told(77, b"curl\0", SET));
    assert_eq!(known.load(Ordering::Relaxed), 0);
}

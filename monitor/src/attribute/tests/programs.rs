//! Which program a process is, by what the probes tell of its execs and by `/proc`.

use monitor_ebpf::sample::{EgressSample, Owner, SenderSample, path_end};

use super::{
    super::fake::{Fields, SEC, SEEN_DEVICE, exec, fork, owner, seen, sent},
    claim, curl, host,
    known::pids,
    named, user,
};
use std::sync::Arc;

use crate::event::{FileId, Origin};

#[test]
fn a_program_that_exits_at_once_is_named_by_the_file_that_the_kernel_saw() {
    let (_proc, mut processes) = host();
    for (pid, filename, names, expected) in [
        (77, "/usr/bin/curl", &["curl", "bin", "usr"][..], "/usr/bin/curl"),
        (78, "./one", &["one", "ann", "home"], "/home/ann/one"),
        (79, "/dev/fd/3", &["two"], "/two"),
    ] {
        processes.learn_fork(&fork(10, pid, 5 * SEC));
        let leader = |at| Owner {
            started_ns: 5 * SEC,
            executed_ns: 6 * SEC,
            ..user(owner(pid, "renamed", at), 1000)
        };
        processes.learn_exec(&seen(exec(leader(6 * SEC), filename), path_end::ROOT, names));
        let process = named(&mut processes, leader(7 * SEC));
        assert_eq!(claim(&process), (Some(expected), None), "{filename}");
        assert_eq!(process.file.id, Some(FileId { device: SEEN_DEVICE, inode: 4711 }));
        // Nothing is known of such a file from the host's root.
        assert!(!process.file.is_hosts);
    }
}

#[test]
fn a_file_in_no_directory_has_its_name_and_one_whose_path_is_too_long_a_claim() {
    let (_proc, mut processes) = host();
    let leader = |pid| Owner { executed_ns: 6 * SEC, ..user(owner(pid, "x", 6 * SEC), 1000) };
    processes.learn_exec(&seen(exec(leader(77), "/dev/fd/3"), path_end::DETACHED, &["memfd:tool"]));
    processes.learn_exec(&seen(exec(leader(78), "/long"), path_end::UNKNOWN, &[]));
    assert_eq!(claim(&named(&mut processes, leader(77))), (Some("/memfd:tool"), None));
    assert_eq!(claim(&named(&mut processes, leader(78))), (None, Some("/long")));
}

#[test]
fn what_proc_showed_shortly_before_an_exec_is_taken_back() {
    let (proc, mut processes) = host();

    processes.procfs.now_ns = || 6 * SEC;
    processes.learn_fork(&fork(10, 77, 5 * SEC));
    proc.put(&curl(77));
    let tool = |at, executed_ns| Owner {
        started_ns: 5 * SEC,
        executed_ns,
        ..user(owner(77, "tool", at), 1000)
    };
    // The tool sent and executed curl, all before its own exec was read.
    processes.learn_exec(&exec(tool(5 * SEC + 1, 5 * SEC + 1), "./tool"));
    let before = named(&mut processes, tool(5 * SEC + 2, 5 * SEC + 1));
    processes.learn_fork(&fork(77, 78, 5 * SEC + 3));
    processes.learn_exec(&exec(tool(5 * SEC + 4, 5 * SEC + 4), "/usr/bin/curl"));
    let corrections = processes.corrections();
    let (was, is) = corrections.first().unwrap();
    assert!(Arc::ptr_eq(was, &before));
    assert_eq!(claim(is), (None, Some("./tool")));
    // So is what a child has of it.
    let child = Owner { started_ns: 5 * SEC + 3, ..user(owner(78, "tool", 6 * SEC), 1000) };
    assert_eq!(claim(&named(&mut processes, child)), (None, Some("./tool")));
    let after = named(&mut processes, tool(7 * SEC, 5 * SEC + 4));
    assert_eq!(claim(&after), (Some("/usr/bin/curl"), None));
}

#[test]
fn proc_is_believed_only_of_the_exec_that_was_the_last() {
    let (proc, mut processes) = host();
    processes.set_last_exec(Box::new(|_| 7 * SEC));
    proc.put(&curl(77));
    let tool = |executed_ns| Owner { executed_ns, ..user(owner(77, "x", 8 * SEC), 1000) };
    assert_eq!(claim(&named(&mut processes, tool(6 * SEC))), (None, None));
    assert_eq!(claim(&named(&mut processes, tool(7 * SEC))), (Some("/usr/bin/curl"), None));
    assert_eq!(processes.counters().unenriched, 1);
}

#[test]
fn a_subflow_that_the_kernel_makes_is_of_who_made_the_connection() {
    let (proc, mut processes) = host();
    let flags = 0x0020_8040;
    proc.put(&Fields { pid: 60, parent: 2, comm: "kworker/0:1", flags, ..Fields::default() });
    let of = |cookie, connection_cookie, owner| {
        let mut sample = EgressSample { connection_cookie, ..sent(owner) };
        (sample.flow.cookie, sample.flow.transport) = (cookie, 6);
        sample
    };
    let (shell, worker) =
        (user(owner(10, "bash", 5 * SEC), 1000), owner(60, "kworker/0:1", 6 * SEC));
    assert_eq!(pids(&mut processes, &of(8, 5, shell)), (Some(10), None));
    let (origin, sender) = processes.attribute(&of(9, 5, worker));
    assert_eq!((origin, sender.process().unwrap().pid), (Origin::Process, 10));
    // Of a connection nobody knows, it stays the kernel's.
    assert_eq!(processes.attribute(&of(9, 6, worker)).0, Origin::Kernel);
    // Who sends on the connection sends by each of them.
    let sender = SenderSample { cookie: 5, owner: shell, ..SenderSample::default() };
    assert_eq!(processes.learn_sender(&sender).unwrap().0, [8, 9]);
}

#[test]
fn a_touch_by_a_program_that_is_forgotten_does_not_make_it_the_latest() {
    let (_proc, mut processes) = host();
    let at = |executed_ns| Owner {
        started_ns: 5 * SEC,
        executed_ns,
        ..user(owner(77, "x", executed_ns + 1), 1000)
    };
    processes.learn_fork(&fork(10, 77, 5 * SEC));
    for number in 1..20 {
        let sample = exec(at(6 * SEC + number), "/usr/bin/curl");
        processes.learn_exec(&seen(sample, path_end::ROOT, &["curl", "bin", "usr"]));
    }
    assert_eq!(claim(&named(&mut processes, at(6 * SEC + 1))), (None, None));
    // A child is what its parent is now.
    processes.learn_fork(&fork(77, 78, 7 * SEC));
    let child = Owner { started_ns: 7 * SEC, ..user(owner(78, "x", 8 * SEC), 1000) };
    assert_eq!(claim(&named(&mut processes, child)), (Some("/usr/bin/curl"), None));
}

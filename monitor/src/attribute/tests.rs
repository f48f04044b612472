//! Attribution as a whole: samples in, names out, over a fabricated `/proc` and over the real one.

mod circumstances;
mod holders;
mod known;
mod programs;

use std::{
    hint::black_box,
    io::{Read, Write},
    process::{Command, Stdio},
    time::Instant,
};

use monitor_ebpf::sample::{EgressSample, Owner, path};

use super::{
    fake::{FakeProc, Fields, SEC, comm, exec, exit, fork, owner, ran, sent},
    *,
};
use crate::event::{Attribution, Origin, PARENTS_MAX, User};

const EPOCH: u64 = 1_700_000_000 * SEC;

fn over(proc: &FakeProc) -> Processes {
    let passwd = proc.path().join("passwd");
    std::fs::write(&passwd, "root:x:0:\nann:x:1000:\n_chrony:x:107:\n").unwrap();
    Processes::with(proc.procfs(), passwd, BootOffset { wall_at_boot_ns: EPOCH }, 1000)
}

/// The process that is named for `owner`.
fn named(processes: &mut Processes, owner: Owner) -> Arc<Process> {
    match processes.attribute(&sent(owner)) {
        (
            Origin::Process,
            Sender::Process { process, attribution: Attribution::Socket, creator: None },
        ) => process,
        other => panic!("no process by its socket: {other:?}"),
    }
}

fn shell() -> Fields<'static> {
    Fields {
        pid: 10,
        parent: 1,
        comm: "bash",
        uid: 1000,
        executable: Some("/usr/bin/bash"),
        command_line: b"-bash\0",
        cgroup: "0::/user.slice/user-1000.slice/session-3.scope\n",
        ..Fields::default()
    }
}

fn curl(pid: u32) -> Fields<'static> {
    Fields {
        pid,
        parent: 10,
        start_ticks: 500,
        comm: "curl",
        executable: Some("/usr/bin/curl"),
        command_line: b"curl\0https://example.org\0",
        ..shell()
    }
}

/// A host with init and a shell, scanned.
fn host() -> (FakeProc, Processes) {
    let proc = FakeProc::new();
    proc.put(&Fields {
        pid: 1,
        start_ticks: 1,
        comm: "systemd",
        executable: Some("/usr/lib/systemd/systemd"),
        command_line: b"/sbin/init\0",
        cgroup: "0::/init.scope\n",
        ..Fields::default()
    });
    proc.put(&shell());
    let mut processes = over(&proc);
    assert_eq!(processes.scan().unwrap(), 2);
    (proc, processes)
}

fn user(owner: Owner, uid: u32) -> Owner {
    Owner { uid, ..owner }
}

#[test]
fn a_program_that_runs_is_named_with_all_its_circumstances() {
    let (proc, mut processes) = host();
    processes.learn_fork(&fork(10, 77, 5 * SEC));
    proc.put(&curl(77));
    let born = |at| Owner {
        started_ns: 5 * SEC,
        executed_ns: 6 * SEC,
        ..user(owner(77, "curl", at), 1000)
    };
    processes.learn_exec(&exec(born(6 * SEC), "/usr/bin/curl"));
    let process = named(&mut processes, born(7 * SEC));
    assert_eq!(process.pid, 77);
    assert_eq!(&*process.name, "curl");
    assert_eq!(process.executable.as_deref(), Some("/usr/bin/curl"));
    assert_eq!(process.command_line.as_deref(), Some("curl https://example.org"));
    assert_eq!(process.started_at, Some(Timestamp(EPOCH + 5 * SEC)));
    assert_eq!(process.user, User { id: 1000, name: Some("ann".into()) });
    assert_eq!(process.unit.as_deref(), Some("session-3.scope"));
    assert_eq!(process.cgroup.as_deref(), Some("/user.slice/user-1000.slice/session-3.scope"));
    assert_eq!(process.container, None);
    assert_eq!(process.netns, Some(4_026_531_840));
    let parents: Vec<_> = process.parents.iter().map(|one| (one.pid, &*one.name)).collect();
    assert_eq!(parents, [(10, "bash"), (1, "systemd")]);
    assert_eq!(process.parents[0].command_line.as_deref(), Some("-bash"));
    assert_eq!(process.parents[1].started_at, Some(Timestamp(EPOCH + SEC / 100)));
    assert_eq!(processes.counters(), Counters::default());
}

#[test]
fn a_program_that_sends_once_and_exits_at_once_is_named_by_its_exec() {
    let (_proc, mut processes) = host();
    let leader = |at| user(owner(77, "curl", at), 1000);
    // The shell sent before, so that its cgroup is known by id.
    named(&mut processes, user(owner(10, "bash", 4 * SEC), 1000));
    processes.learn_fork(&fork(10, 77, 5 * SEC));
    processes.learn_exec(&exec(leader(6 * SEC), "/usr/bin/curl"));
    processes.forget(&exit(77, 8 * SEC));
    let process = named(&mut processes, leader(7 * SEC));
    assert_eq!(&*process.name, "curl");
    // Nobody saw the file: what was passed to execve is a claim.
    assert_eq!(claim(&process), (None, Some("/usr/bin/curl")));
    assert_eq!(process.command_line, None);
    assert_eq!(process.unit.as_deref(), Some("session-3.scope"));
    assert_eq!(process.netns, Some(4_026_531_840));
    assert_eq!(process.parents[0].pid, 10);
}

/// What a process executed, and what it only claims.
fn claim(process: &Process) -> (Option<&str>, Option<&str>) {
    (process.executable.as_deref(), process.executable_claimed.as_deref())
}

#[test]
fn a_program_that_is_a_zombie_already_is_named_by_its_exec() {
    let (proc, mut processes) = host();
    let leader = |at| user(owner(77, "curl", at), 1000);
    named(&mut processes, user(owner(10, "bash", 4 * SEC), 1000));
    processes.learn_fork(&fork(10, 77, 5 * SEC));
    proc.put(&Fields { executable: None, command_line: b"", cgroup: "0::/\n", ..curl(77) });
    processes.learn_exec(&exec(leader(6 * SEC), "/usr/bin/curl"));
    let process = named(&mut processes, leader(7 * SEC));
    assert_eq!(claim(&process), (None, Some("/usr/bin/curl")));
    assert_eq!(process.unit.as_deref(), Some("session-3.scope"));
    assert_eq!(process.netns, Some(4_026_531_840));
}

#[test]
fn an_exec_after_the_touch_does_not_rename_it() {
    let (proc, mut processes) = host();
    processes.learn_fork(&fork(10, 77, 5 * SEC));
    proc.put(&Fields { pid: 77, start_ticks: 500, parent: 10, ..shell() });
    let before = user(owner(77, "bash", 6 * SEC), 1000);
    let first = named(&mut processes, before);
    proc.put(&curl(77));
    processes.learn_exec(&exec(user(owner(77, "curl", 7 * SEC), 1000), "/usr/bin/curl"));
    let after = named(&mut processes, user(owner(77, "curl", 8 * SEC), 1000));
    let again = named(&mut processes, before);
    assert_eq!(first.executable.as_deref(), Some("/usr/bin/bash"));
    assert_eq!(after.executable.as_deref(), Some("/usr/bin/curl"));
    assert!(Arc::ptr_eq(&first, &again), "{again:?}");
}

#[test]
fn a_pid_used_again_is_not_mistaken_for_its_predecessor() {
    let (_proc, mut processes) = host();
    let first = |at| Owner { started_ns: 5 * SEC, ..user(owner(77, "curl", at), 1000) };
    let second = |at| Owner { started_ns: 9 * SEC, ..user(owner(77, "wget", at), 1000) };
    processes.learn_fork(&fork(10, 77, 5 * SEC));
    processes.learn_exec(&exec(first(6 * SEC), "/usr/bin/curl"));
    processes.forget(&exit(77, 8 * SEC));
    processes.learn_fork(&fork(10, 77, 9 * SEC));
    processes.learn_exec(&exec(second(10 * SEC), "/usr/bin/wget"));
    for start in [0, 1] {
        // With the start in the sample, and by time alone.
        let seen = |owner: Owner| Owner { started_ns: owner.started_ns * start, ..owner };
        let executed = |owner: Owner, at| Owner { executed_ns: at * start, ..owner };
        let one = named(&mut processes, executed(seen(first(7 * SEC)), 6 * SEC));
        let two = named(&mut processes, executed(seen(second(11 * SEC)), 10 * SEC));
        assert_eq!(claim(&one), (None, Some("/usr/bin/curl")));
        assert_eq!(claim(&two), (None, Some("/usr/bin/wget")));
        assert_eq!(one.started_at, Some(Timestamp(EPOCH + 5 * SEC)));
        assert_eq!(two.started_at, Some(Timestamp(EPOCH + 9 * SEC)));
    }
}

#[test]
fn a_pid_used_again_unseen_is_not_mistaken_for_its_predecessor_either() {
    let (proc, mut processes) = host();
    processes.learn_fork(&fork(10, 77, 5 * SEC));
    processes.learn_exec(&exec(user(owner(77, "curl", 6 * SEC), 1000), "/usr/bin/curl"));
    processes.forget(&exit(77, 8 * SEC));
    // Fork and exec of the successor were lost. It is in /proc, and its samples know its start.
    proc.put(&Fields { start_ticks: 900, comm: "wget", executable: None, ..curl(77) });
    let successor = Owner { started_ns: 9 * SEC, ..user(owner(77, "wget", 10 * SEC), 1000) };
    assert_eq!(&*named(&mut processes, successor).name, "wget");
    // Another one, known by nothing but the time of its touch.
    processes.forget(&exit(77, 11 * SEC));
    proc.put(&Fields { start_ticks: 1200, comm: "nc", executable: None, ..curl(77) });
    let process = named(&mut processes, user(owner(77, "nc", 13 * SEC), 1000));
    assert_eq!(&*process.name, "nc");
    assert_eq!(process.started_at, Some(Timestamp(EPOCH + 12 * SEC)));
    // What /proc shows was started after this touch, so it says nothing of it.
    let late = named(&mut processes, user(owner(77, "dig", 11 * SEC + 5), 1000));
    assert_eq!(&*late.name, "dig");
    assert_eq!(late.executable, None);
}

#[test]
fn a_process_that_was_never_told_of_is_read_from_proc() {
    let (proc, mut processes) = host();
    proc.put(&curl(77));
    let process = named(&mut processes, user(owner(77, "curl", 7 * SEC), 1000));
    assert_eq!(process.executable.as_deref(), Some("/usr/bin/curl"));
    assert_eq!(process.parents.len(), 2);
    assert_eq!(processes.counters().unenriched, 0);
    proc.remove(77);
    let again = named(&mut processes, user(owner(77, "curl", 8 * SEC), 1000));
    assert!(Arc::ptr_eq(&process, &again));
}

#[test]
fn a_name_is_no_proof_of_a_program_and_none_against_it() {
    let (proc, mut processes) = host();
    proc.put(&curl(77));
    let process = named(&mut processes, user(owner(77, "renamed", 7 * SEC), 1000));
    assert_eq!(&*process.name, "renamed");
    assert_eq!(claim(&process), (Some("/usr/bin/curl"), None));
    // A child that renamed itself is still its parent's program: it executed nothing.
    processes.learn_fork(&fork(10, 78, 5 * SEC));
    let child = Owner { started_ns: 5 * SEC, ..user(owner(78, "curl", 7 * SEC), 1000) };
    let process = named(&mut processes, child);
    assert_eq!((&*process.name, claim(&process)), ("curl", (Some("/usr/bin/bash"), None)));
}

#[test]
fn a_process_that_is_gone_unseen_is_named_by_the_sample_alone() {
    let (_proc, mut processes) = host();
    let gone = user(owner(99, "flash", 7 * SEC), 107);
    let process = named(&mut processes, gone);
    assert_eq!((process.pid, &*process.name), (99, "flash"));
    assert_eq!(process.user, User { id: 107, name: Some("_chrony".into()) });
    assert_eq!(process.started_at, None);
    assert_eq!((&process.executable, &process.cgroup), (&None, &None));
    assert!(Arc::ptr_eq(&process, &named(&mut processes, gone)));
    assert_eq!(processes.counters().unenriched, 1);
    processes.expire(60 * SEC);
    assert_eq!(processes.entries(), (2, 1000));
}

#[test]
fn a_worker_thread_keeps_the_name_of_its_process() {
    let (proc, mut processes) = host();
    proc.put(&curl(77));
    let leader = named(&mut processes, user(owner(77, "curl", 6 * SEC), 1000));
    let worker = Owner { tid: 79, comm: comm("iou-wrk-77"), ..owner(77, "", 7 * SEC) };
    let same = named(&mut processes, user(worker, 1000));
    assert!(Arc::ptr_eq(&leader, &same));
    // Also when the worker is the first to be heard of.
    proc.put(&curl(78));
    let worker = Owner { tid: 80, comm: comm("iou-sqp-78"), ..owner(78, "", 7 * SEC) };
    assert_eq!(&*named(&mut processes, user(worker, 1000)).name, "curl");
}

#[test]
fn a_daemon_that_drops_its_privileges_is_named_with_the_user_it_sent_as() {
    let (proc, mut processes) = host();
    let chronyd = Fields {
        pid: 77,
        parent: 1,
        start_ticks: 500,
        comm: "chronyd",
        executable: Some("/usr/sbin/chronyd"),
        cgroup: "0::/system.slice/chrony.service\n",
        ..Fields::default()
    };
    proc.put(&chronyd);
    processes.learn_exec(&exec(owner(77, "chronyd", 5 * SEC), "/usr/sbin/chronyd"));
    let root = owner(77, "chronyd", 6 * SEC);
    assert_eq!(named(&mut processes, root).user.name.as_deref(), Some("root"));
    proc.put(&Fields { uid: 107, ..chronyd });
    let dropped = named(&mut processes, user(owner(77, "chronyd", 7 * SEC), 107));
    assert_eq!(dropped.user, User { id: 107, name: Some("_chrony".into()) });
    assert_eq!(dropped.executable.as_deref(), Some("/usr/sbin/chronyd"));
    assert_eq!(dropped.unit.as_deref(), Some("chrony.service"));
    // And gone: what was known of it stays, but for the user.
    proc.remove(77);
    let gone = named(&mut processes, user(owner(77, "chronyd", 8 * SEC), 1000));
    assert_eq!(gone.executable.as_deref(), Some("/usr/sbin/chronyd"));
    assert_eq!(gone.unit.as_deref(), Some("chrony.service"));
    assert_eq!(gone.user.id, 1000);
}

#[test]
fn a_process_moved_to_another_cgroup_is_named_with_the_new_unit_or_with_none() {
    let (proc, mut processes) = host();
    proc.put(&curl(77));
    let at = |cgroup_id, at_ns| Owner { cgroup_id, ..user(owner(77, "curl", at_ns), 1000) };
    assert_eq!(named(&mut processes, at(1, 6 * SEC)).unit.as_deref(), Some("session-3.scope"));
    proc.put(&Fields { cgroup: "0::/system.slice/run-1.scope\n", ..curl(77) });
    assert_eq!(named(&mut processes, at(2, 7 * SEC)).unit.as_deref(), Some("run-1.scope"));
    proc.remove(77);
    let unknown = named(&mut processes, at(3, 8 * SEC));
    assert_eq!((&unknown.unit, &unknown.cgroup), (&None, &None));
    assert_eq!(unknown.executable.as_deref(), Some("/usr/bin/curl"));
}

#[test]
fn a_lost_exec_is_made_good_from_proc_and_never_guessed() {
    let (proc, mut processes) = host();
    let lost = |pid| Owner {
        started_ns: 5 * SEC,
        executed_ns: 6 * SEC,
        ..user(owner(pid, "curl", 7 * SEC), 1000)
    };
    processes.learn_fork(&fork(10, 77, 5 * SEC));
    proc.put(&curl(77));
    let process = named(&mut processes, lost(77));
    assert_eq!(process.executable.as_deref(), Some("/usr/bin/curl"));
    assert_eq!(process.started_at, Some(Timestamp(EPOCH + 5 * SEC)));
    // Gone as well: the name is known, the program is not, and it is not the parent's.
    processes.learn_fork(&fork(10, 78, 5 * SEC));
    let process = named(&mut processes, lost(78));
    assert_eq!((&*process.name, claim(&process)), ("curl", (None, None)));
    assert_eq!(process.parents[0].pid, 10);
}

#[test]
fn a_lost_fork_is_made_good_by_the_exec() {
    let (proc, mut processes) = host();
    proc.put(&curl(77));
    let leader = |at| Owner { started_ns: 5 * SEC, ..user(owner(77, "curl", at), 1000) };
    processes.learn_exec(&exec(leader(6 * SEC), "/usr/bin/curl"));
    let process = named(&mut processes, leader(7 * SEC));
    assert_eq!(process.parents.len(), 2);
    assert_eq!(process.command_line.as_deref(), Some("curl https://example.org"));
}

#[test]
fn a_process_whose_leader_exited_goes_on_by_its_threads() {
    let (proc, mut processes) = host();
    proc.put(&curl(77));
    let first = named(&mut processes, user(owner(77, "curl", 6 * SEC), 1000));
    processes.forget(&exit(77, 7 * SEC));
    proc.put(&Fields { executable: None, command_line: b"", ..curl(77) });
    let thread = Owner { tid: 79, ..user(owner(77, "worker", 8 * SEC), 1000) };
    let later = named(&mut processes, thread);
    assert_eq!(later.executable, first.executable);
    assert_eq!(later.name, first.name);
    processes.expire(7 * SEC + ENDED_KEPT_NS + 1);
    assert!(Arc::ptr_eq(&later, &named(&mut processes, thread)));
}

#[test]
fn a_thread_that_executes_takes_over_from_its_leader() {
    let (proc, mut processes) = host();
    proc.put(&curl(77));
    processes.learn_fork(&fork(10, 77, 5 * SEC));
    // The kernel ends the leader first.
    processes.forget(&exit(77, 6 * SEC));
    processes.learn_exec(&exec(user(owner(77, "curl", 6 * SEC + 1), 1000), "/usr/bin/curl"));
    processes.expire(100 * SEC);
    let process = named(&mut processes, user(owner(77, "curl", 101 * SEC), 1000));
    assert_eq!(process.executable.as_deref(), Some("/usr/bin/curl"));
    assert_eq!(process.started_at, Some(Timestamp(EPOCH + 5 * SEC)));
}

#[test]
fn of_a_long_line_of_parents_the_nearest_are_told() {
    let (_proc, mut processes) = host();
    for pid in 100..110 {
        let parent = if pid == 100 { 10 } else { pid - 1 };
        processes.learn_fork(&fork(parent, pid, 5 * SEC + u64::from(pid)));
    }
    let process = named(&mut processes, user(owner(109, "bash", 7 * SEC), 1000));
    let pids: Vec<_> = process.parents.iter().map(|one| one.pid).collect();
    assert_eq!(pids, [108, 107, 106, 105]);
    assert_eq!(process.parents.len(), PARENTS_MAX);
}

#[test]
fn parents_that_go_round_in_circles_end() {
    let proc = FakeProc::new();
    proc.put(&Fields { pid: 50, parent: 51, ..Fields::default() });
    proc.put(&Fields { pid: 51, parent: 50, ..Fields::default() });
    let mut processes = over(&proc);
    processes.scan().unwrap();
    assert!(named(&mut processes, owner(50, "some", 5 * SEC)).parents.len() <= PARENTS_MAX);
}

#[test]
fn the_table_stays_bounded_under_a_flood_of_forks() {
    let (_proc, mut processes) = host();
    for at in 0..50_000_u64 {
        processes.learn_fork(&fork(10, 100 + at as u32, 5 * SEC + at));
        processes.forget(&exit(100 + at as u32, 5 * SEC + at + 1));
    }
    assert_eq!(processes.entries(), (1000, 1000));
    assert_eq!(processes.counters().evicted, 50_000 + 2 - 1000);
    assert_eq!(&*named(&mut processes, user(owner(10, "bash", 90 * SEC), 1000)).name, "bash");
}

#[test]
fn proc_that_is_missing_is_an_error_that_names_it() {
    let mut processes =
        Processes::with(Procfs::at("/nonexistent"), "/etc/passwd", BootOffset::now(), 10);
    let error = processes.scan().unwrap_err().to_string();
    assert!(error.starts_with("can't list /nonexistent: "), "{error}");
    assert!(!error.contains('\n'));
}

#[test]
fn the_clock_translates_to_wall_time() {
    let clock = BootOffset { wall_at_boot_ns: 5 };
    assert_eq!(clock.wall(7), Timestamp(12));
    // 2020-01-01: whatever the machine, it was booted later.
    assert!(BootOffset::now().wall_at_boot_ns > 1_577_836_800 * SEC);
}

#[test]
fn real_children_are_named_from_the_real_proc() {
    let mut processes = Processes::new();
    assert!(processes.scan().unwrap() > 1);
    let mut child = Command::new("sh")
        .args(["-c", "echo ready; read line; exec cat -"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let now = |clock: BootOffset| BootOffset::now().wall_at_boot_ns.abs_diff(clock.wall_at_boot_ns);
    assert!(now(processes.clock) < 60 * SEC, "the wall clock was set during the test");
    let started_ns = Procfs::host().read(child.id()).unwrap().started_ns;
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut answer = [0; 6];
    stdout.read_exact(&mut answer).unwrap();

    let before = started_ns + SEC;
    let shell = named(&mut processes, owner(child.id(), "sh", before));
    // cat answers only after its exec, so /proc shows it by then.
    stdin.write_all(b"go\nanswer\n").unwrap();
    stdout.read_exact(&mut answer).unwrap();
    processes.learn_exec(&exec(owner(child.id(), "cat", before + SEC), "/usr/bin/cat"));
    let cat = named(&mut processes, owner(child.id(), "cat", before + 2 * SEC));
    drop(stdin);
    child.wait().unwrap();
    processes.forget(&exit(child.id(), before + 3 * SEC));

    assert_eq!((&*shell.name, &*cat.name), ("sh", "cat"));
    assert_eq!(cat.command_line.as_deref(), Some("cat -"));
    assert_eq!(shell.command_line.as_deref(), Some("sh -c echo ready; read line; exec cat -"));
    assert_eq!(cat.parents[0].pid, std::process::id());
    assert_eq!(cat.started_at, shell.started_at);
    // It was read shortly before another exec, so nobody can know that it is of the shell.
    let again = named(&mut processes, owner(child.id(), "sh", before));
    assert_eq!((&*again.name, claim(&again)), ("sh", (None, None)));
}

/// Prints the cost of a hit; asserts that none of them allocates a process anew.
#[test]
fn a_known_process_is_named_by_sharing_what_is_known() {
    let (_proc, mut processes) = host();
    for pid in 100..600 {
        processes.learn_fork(&fork(10, pid, 5 * SEC + u64::from(pid)));
    }
    let samples: Vec<_> =
        (100..600).map(|pid| sent(user(owner(pid, "bash", 7 * SEC), 1000))).collect();
    let first: Vec<_> = samples.iter().map(|sample| processes.attribute(sample).1).collect();
    let began = Instant::now();
    let rounds = 400;
    for _ in 0..rounds {
        for sample in &samples {
            black_box(processes.attribute(black_box(sample)));
        }
    }
    let each = began.elapsed() / (rounds * samples.len() as u32);
    eprintln!("attribute(), known process: {each:?}");
    for (sample, first) in samples.iter().zip(first) {
        let (_, again) = processes.attribute(sample);
        match (first, again) {
            (Sender::Process { process: one, .. }, Sender::Process { process: two, .. }) => {
                assert!(Arc::ptr_eq(&one, &two));
            }
            other => panic!("{other:?}"),
        }
    }
}

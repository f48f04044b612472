//! Many processes, each of which sends. The same each time.

use monitor_ebpf::sample::{EgressSample, ExecSample, Owner};

use super::samples::{PROGRAMS, executed, owner, sent};

/// One of many: each has a program, a cgroup and a number of its own.
fn owner_of(number: u64) -> Owner {
    let tgid = 10_000 + number as u32;
    Owner { tgid, tid: tgid, cgroup_id: 1 + number, ..owner(number) }
}

pub(super) fn process(number: u64) -> ExecSample {
    let mut exec = executed().nth((number % PROGRAMS) as usize).expect("a program");
    let arguments = format!("program{}\0--number\0{number}\0", number % PROGRAMS);
    (exec.process, exec.argument_bytes) = (owner_of(number), arguments.len() as u32);
    exec.arguments[..arguments.len()].copy_from_slice(arguments.as_bytes());
    (exec.netns, exec.cgroups, exec.inode) = (4_026_531_840, 1 + number, 7 + number % PROGRAMS);
    exec
}

pub(super) fn sent_by(number: u64) -> EgressSample {
    EgressSample { owner: owner_of(number), ..sent(number) }
}

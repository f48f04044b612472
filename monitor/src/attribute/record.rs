//! Composes a `Process` from what a sample tells, what `/proc` tells and what was known before.
//! Pure: decides whom to believe, reads nothing.

use std::sync::Arc;

use monitor_ebpf::sample::{ExecSample, Owner};

use super::{procfs::Reading, table::View};
use crate::event::{Ancestor, ExecutedFile, Process, Timestamp, User};

/// What the caller looked up.
#[derive(Debug)]
pub(super) struct Learned {
    pub(super) parents: Vec<Ancestor>,
    pub(super) user: User,
    pub(super) started_at: Option<Timestamp>,
}

/// What a new showing of a process means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// The program is the same.
    View,
    /// It executed something and that was not told.
    Program,
}

/// As `/proc` tells it.
pub(super) fn read(reading: Reading, learned: Learned) -> Process {
    let Learned { parents, user, started_at } = learned;
    let cgroup = reading.cgroup;
    Process {
        pid: reading.pid,
        name: reading.comm.into(),
        executable: reading.executable.map(Into::into),
        executable_claimed: None,
        file: ExecutedFile::default(),
        command_line: reading.command_line.map(Into::into),
        started_at,
        parents,
        user,
        unit: cgroup.as_ref().and_then(|cgroup| cgroup.unit.clone()),
        container: cgroup.as_ref().and_then(|cgroup| cgroup.container.clone()),
        cgroup: cgroup.map(|cgroup| cgroup.path),
        netns: reading.netns,
    }
}

/// As the sample alone tells it.
pub(super) fn sampled(owner: &Owner, learned: Learned) -> Process {
    Process {
        pid: owner.tgid,
        name: comm(owner).into(),
        executable: None,
        executable_claimed: None,
        file: ExecutedFile::default(),
        command_line: None,
        started_at: learned.started_at,
        parents: learned.parents,
        user: learned.user,
        unit: None,
        container: None,
        cgroup: None,
        netns: None,
    }
}

/// As `/proc` tells it of a process that was not known. Where its name is another one by now, it
/// may have executed something since: then its program is not claimed.
pub(super) fn discovered(owner: &Owner, reading: Reading, learned: Learned) -> Process {
    let name = comm(owner);
    let is_same = !is_leader(owner) || reading.is_kernel_thread || name == reading.comm;
    let process = read(reading, learned);
    if is_same {
        return process;
    }
    Process { name: name.into(), executable: None, command_line: None, ..process }
}

/// After an exec. `/proc` is believed unless it shows another program already, which executed
/// after this one; a process that is gone keeps the file name of the exec and the cgroup of before.
pub(super) fn executed(
    sample: &ExecSample,
    reading: Option<Reading>,
    before: Option<&View>,
    learned: Learned,
) -> Process {
    let owner = &sample.process;
    let len = (sample.filename_bytes as usize).min(sample.filename.len());
    let filename = String::from_utf8_lossy(until_nul(&sample.filename[..len]));
    let filename: Option<Arc<str>> = (!filename.is_empty()).then(|| filename.as_ref().into());
    let name = comm(owner);
    // A zombie still has its name, but neither program nor, with cgroup v1, cgroup.
    let is_alive =
        |reading: &Reading| reading.executable.is_some() || reading.command_line.is_some();
    let (process, is_it) = match reading.filter(is_alive) {
        Some(reading) => {
            let is_it =
                name == reading.comm || filename.as_deref() == reading.executable.as_deref();
            (read(reading, learned), is_it)
        }
        None => (placed(sampled(owner, learned), owner, before), false),
    };
    if is_it {
        let executable = process.executable.clone().or(filename);
        return Process { name: name.into(), executable, ..process };
    }
    Process { name: name.into(), executable: filename, command_line: None, ..process }
}

/// A known program that shows another name, user, cgroup or network namespace than before.
pub(super) fn shown(
    owner: &Owner,
    reading: Option<Reading>,
    before: &View,
    inherited: bool,
    user: User,
) -> (Process, Change) {
    let known = &before.process;
    let name = if is_leader(owner) { comm(owner) } else { known.name.to_string() };
    let renamed = *name != *known.name;
    let kept = Learned { parents: known.parents.clone(), user, started_at: known.started_at };
    match reading {
        Some(reading) if reading.executable.as_deref() == known.executable.as_deref() => {
            let name = if is_leader(owner) { name } else { reading.comm.clone() };
            (Process { name: name.into(), ..read(reading, kept) }, Change::View)
        }
        // Another program, by the name of the one who touched: the exec was lost on the way.
        Some(reading) if renamed && reading.comm == name => (read(reading, kept), Change::Program),
        // Gone, or another program since the touch. A fork that was renamed without an exec that
        // we know of may have had one: then its parent's program is not claimed for it.
        _ => {
            let is_known = !(renamed && inherited);
            let process = Process {
                name: name.into(),
                executable: known.executable.clone().filter(|_| is_known),
                command_line: known.command_line.clone().filter(|_| is_known),
                ..sampled(owner, kept)
            };
            (placed(process, owner, Some(before)), Change::View)
        }
    }
}

/// With cgroup and network namespace of before, where the sample does not say that they changed.
fn placed(process: Process, owner: &Owner, before: Option<&View>) -> Process {
    let Some(View { mark, process: known }) = before else { return process };
    let same_cgroup = mark.is_none_or(|mark| mark.cgroup_id == owner.cgroup_id);
    let same_netns = mark.is_none_or(|mark| {
        mark.netns_cookie == owner.netns_cookie || mark.netns_cookie == 0 || owner.netns_cookie == 0
    });
    Process {
        unit: known.unit.clone().filter(|_| same_cgroup),
        container: known.container.clone().filter(|_| same_cgroup),
        cgroup: known.cgroup.clone().filter(|_| same_cgroup),
        netns: known.netns.filter(|_| same_netns),
        ..process
    }
}

/// The name is that of the process only when its leader touched the socket: worker threads, such as
/// the `iou-wrk-*` of `io_uring`, have their own.
fn is_leader(owner: &Owner) -> bool {
    owner.tid == owner.tgid
}

fn comm(owner: &Owner) -> String {
    String::from_utf8_lossy(until_nul(&owner.comm)).into_owned()
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|&byte| byte == 0).next().unwrap_or(bytes)
}

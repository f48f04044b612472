//! Composes a `Process` from what a sample tells, what `/proc` tells and what was known before.
//! Pure: decides whom to believe, reads nothing. A name is no proof: a process chooses its own.

use std::sync::Arc;

use monitor_ebpf::sample::{ExecSample, Owner, path_end};

use super::{
    cgroup::Cgroup,
    procfs::{self, Reading},
};
use crate::event::{Ancestor, ExecutedFile, FileId, Process, Timestamp, User};

/// What the caller looked up.
#[derive(Debug)]
pub(super) struct Learned {
    pub(super) parents: Vec<Ancestor>,
    pub(super) user: User,
    pub(super) started_at: Option<Timestamp>,
}

/// What a process executed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Executed {
    pub(super) path: Option<Arc<str>>,
    pub(super) claimed: Option<Arc<str>>,
    pub(super) file: ExecutedFile,
    pub(super) command_line: Option<Arc<str>>,
}

impl Executed {
    /// Of a known process.
    pub(super) fn of(process: &Process) -> Self {
        Self {
            path: process.executable.clone(),
            claimed: process.executable_claimed.clone(),
            file: process.file.clone(),
            command_line: process.command_line.clone(),
        }
    }
}

/// Where a process belongs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Whereabouts {
    pub(super) cgroup: Option<Cgroup>,
    pub(super) netns: Option<u64>,
}

/// A process whose program is `executed`.
pub(super) fn process(
    pid: u32,
    name: &str,
    executed: Executed,
    whereabouts: Whereabouts,
    learned: Learned,
) -> Process {
    let Learned { parents, user, started_at } = learned;
    let cgroup = whereabouts.cgroup;
    Process {
        pid,
        name: name.into(),
        executable: executed.path,
        executable_claimed: executed.claimed,
        file: executed.file,
        command_line: executed.command_line,
        started_at,
        parents,
        user,
        unit: cgroup.as_ref().and_then(|cgroup| cgroup.unit.clone()),
        container: cgroup.as_ref().and_then(|cgroup| cgroup.container.clone()),
        cgroup: cgroup.map(|cgroup| cgroup.path),
        netns: whereabouts.netns,
    }
}

/// As `/proc` tells it; `file` is what its executable was found to be.
pub(super) fn read(reading: Reading, file: ExecutedFile, learned: Learned) -> Process {
    let executed = Executed {
        path: reading.executable.map(Into::into),
        claimed: None,
        file,
        command_line: reading.command_line.map(Into::into),
    };
    let whereabouts = Whereabouts { cgroup: reading.cgroup, netns: reading.netns };
    process(reading.pid, &reading.comm, executed, whereabouts, learned)
}

/// What a sample of an exec says by itself.
pub(super) struct Told {
    pub(super) claimed: Option<Arc<str>>,
    /// As the kernel has it, where its BTF says how to read it.
    pub(super) file: Option<FileId>,
    /// Only with `file`: by which way it was reached.
    pub(super) path: Option<Arc<str>>,
    pub(super) command_line: Option<Arc<str>>,
    pub(super) netns: Option<u64>,
}

impl Told {
    pub(super) fn of(sample: &ExecSample) -> Self {
        let len = (sample.filename_bytes as usize).min(sample.filename.len());
        let filename = String::from_utf8_lossy(until_nul(&sample.filename[..len]));
        let is_told = sample.inode != 0;
        Self {
            claimed: (!filename.is_empty()).then(|| filename.as_ref().into()),
            file: is_told.then(|| FileId { device: device(sample.device), inode: sample.inode }),
            path: if is_told { path(sample) } else { None },
            command_line: command_line(sample).map(Into::into),
            netns: (sample.netns != 0).then(|| sample.netns.into()),
        }
    }
}

/// The kernel's number of a device as stat(2) gives it (`MAJOR`, `MINOR`: `include/linux/kdev_t.h`).
fn device(kernels: u32) -> u64 {
    rustix::fs::makedev(kernels >> 20, kernels & 0x000f_ffff)
}

fn command_line(sample: &ExecSample) -> Option<String> {
    procfs::command_line(sample.arguments.get(..sample.argument_bytes as usize)?)
}

/// `None`: it did not fit, or could not be read.
fn path(sample: &ExecSample) -> Option<Arc<str>> {
    let bytes = sample.path.get(..sample.path_bytes as usize)?.strip_suffix(&[0])?;
    let names: Vec<_> = bytes.split(|byte| *byte == 0).rev().map(String::from_utf8_lossy).collect();
    // One that is in no directory is written as `/proc` writes it.
    let is_told = matches!(sample.path_end, path_end::ROOT | path_end::DETACHED);
    is_told.then(|| format!("/{}", names.join("/")).into())
}

/// A known program that shows another name, user, cgroup or network namespace than before.
pub(super) fn shown(
    owner: &Owner,
    known: &Process,
    executed: Executed,
    whereabouts: Whereabouts,
    user: User,
) -> Process {
    let name = name(owner).unwrap_or_else(|| known.name.to_string());
    let parents = known.parents.clone();
    let learned = Learned { parents, user, started_at: known.started_at };
    process(owner.tgid, &name, executed, whereabouts, learned)
}

/// The name is that of the process only when its leader touched the socket: worker threads, such as
/// the `iou-wrk-*` of `io_uring`, have their own.
pub(super) fn name(owner: &Owner) -> Option<String> {
    (owner.tid == owner.tgid).then(|| comm(owner))
}

pub(super) fn comm(owner: &Owner) -> String {
    String::from_utf8_lossy(until_nul(&owner.comm)).into_owned()
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|&byte| byte == 0).next().unwrap_or(bytes)
}

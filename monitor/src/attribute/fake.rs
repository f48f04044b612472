//! A fabricated `/proc` and samples, for the tests of this module alone.

use std::{fs, os::unix::fs::symlink, path::Path};

use monitor_ebpf::sample::{
    EgressSample, ExecSample, ExitSample, FILENAME_BYTES, ForkSample, Owner, Runner, kind,
    ownership,
};
use tempfile::TempDir;
use zerocopy::FromZeros as _;

use super::Procfs;
use crate::event::{ExecutedFile, Process, User};

pub(super) const SEC: u64 = 1_000_000_000;

pub(super) struct FakeProc(TempDir);

#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    pub(super) pid: u32,
    pub(super) tgid: Option<u32>,
    pub(super) parent: u32,
    pub(super) start_ticks: u64,
    pub(super) flags: u32,
    pub(super) comm: &'a str,
    pub(super) uid: u32,
    pub(super) executable: Option<&'a str>,
    pub(super) command_line: &'a [u8],
    pub(super) cgroup: &'a str,
    pub(super) netns: u64,
    pub(super) sockets: &'a [u64],
}

impl Default for Fields<'_> {
    fn default() -> Self {
        Self {
            pid: 1,
            tgid: None,
            parent: 0,
            start_ticks: 100,
            flags: 0x0040_0100,
            comm: "some",
            uid: 0,
            executable: None,
            command_line: b"",
            cgroup: "0::/\n",
            netns: 4_026_531_840,
            sockets: &[],
        }
    }
}

impl FakeProc {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn procfs(&self) -> Procfs {
        Procfs::at(self.path())
    }

    pub(super) fn remove(&self, pid: u32) {
        fs::remove_dir_all(self.path().join(pid.to_string())).unwrap();
    }

    /// Creates the process, or replaces it.
    pub(super) fn put(&self, fields: &Fields<'_>) {
        let directory = self.path().join(fields.pid.to_string());
        if directory.exists() {
            self.remove(fields.pid);
        }
        for part in ["ns", "fd", "net"] {
            fs::create_dir_all(directory.join(part)).unwrap();
        }
        let Fields { pid, parent, flags, comm, start_ticks, uid, .. } = fields;
        let stat = format!(
            "{pid} ({comm}) S {parent} {pid} {pid} 0 -1 {flags} 0 0 0 0 1 2 0 0 20 0 1 0 {start_ticks} 4096 100 18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
        );
        fs::write(directory.join("stat"), stat).unwrap();
        let tgid = fields.tgid.unwrap_or(*pid);
        let status =
            format!("Name:\t{comm}\nTgid:\t{tgid}\nPPid:\t{parent}\nUid:\t{uid}\t0\t0\t0\n");
        fs::write(directory.join("status"), status).unwrap();
        fs::write(directory.join("cmdline"), fields.command_line).unwrap();
        fs::write(directory.join("cgroup"), fields.cgroup).unwrap();
        if let Some(executable) = fields.executable {
            symlink(executable, directory.join("exe")).unwrap();
        }
        symlink(format!("net:[{}]", fields.netns), directory.join("ns/net")).unwrap();
        symlink("mnt:[4026531841]", directory.join("ns/mnt")).unwrap();
        symlink("/", directory.join("root")).unwrap();
        symlink("/dev/null", directory.join("fd/0")).unwrap();
        for (at, inode) in fields.sockets.iter().enumerate() {
            symlink(format!("socket:[{inode}]"), directory.join(format!("fd/{}", at + 3))).unwrap();
        }
    }

    /// Writes `/proc/PID/net/NAME` with a heading and these lines.
    pub(super) fn net(&self, pid: u32, name: &str, lines: &[String]) {
        let path = self.path().join(pid.to_string()).join("net").join(name);
        fs::write(path, format!("  sl  local_address ...\n{}\n", lines.join("\n"))).unwrap();
    }
}

/// A process of which only pid and name matter.
pub(super) fn process(pid: u32, name: &str) -> Process {
    Process {
        pid,
        name: name.into(),
        executable: None,
        executable_claimed: None,
        file: ExecutedFile::default(),
        command_line: None,
        started_at: None,
        parents: Vec::new(),
        user: User { id: 0, name: None },
        unit: None,
        container: None,
        cgroup: None,
        netns: None,
    }
}

pub(super) fn comm(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    let len = name.len().min(15);
    bytes[..len].copy_from_slice(&name.as_bytes()[..len]);
    bytes
}

/// The leader of `tgid`, which touched a socket at `touched_ns`.
pub(super) fn owner(tgid: u32, name: &str, touched_ns: u64) -> Owner {
    Owner {
        tgid,
        tid: tgid,
        comm: comm(name),
        cgroup_id: 1,
        netns_cookie: 1,
        touched_ns,
        ..Owner::default()
    }
}

pub(super) fn sent(owner: Owner) -> EgressSample {
    EgressSample {
        kind: kind::EGRESS,
        ownership: ownership::USER,
        at_ns: owner.touched_ns + 1,
        owner,
        ..EgressSample::default()
    }
}

pub(super) fn fork(parent_tgid: u32, child_tgid: u32, at_ns: u64) -> ForkSample {
    ForkSample { kind: kind::FORK, parent_tgid, child_tgid, reserved: 0, at_ns }
}

pub(super) fn exit(tgid: u32, at_ns: u64) -> ExitSample {
    ExitSample { kind: kind::EXIT, tgid, at_ns }
}

/// `process.touched_ns` is the exec, by a kernel without BTF. The tracepoint can't tell a network namespace.
pub(super) fn exec(process: Owner, path: &str) -> ExecSample {
    let mut filename = [0; FILENAME_BYTES];
    filename[..path.len()].copy_from_slice(path.as_bytes());
    ExecSample {
        kind: kind::EXEC,
        filename_bytes: path.len() as u32,
        process: Owner { netns_cookie: 0, executed_ns: process.touched_ns, ..process },
        filename,
        ..ExecSample::new_zeroed()
    }
}

/// Device of the files of [`seen`].
pub(super) const SEEN_DEVICE: u64 = 254 << 8 | 3;

/// The same by a kernel whose BTF says how to read the file: its names on the way up.
pub(super) fn seen(mut sample: ExecSample, path_end: u32, names: &[&str]) -> ExecSample {
    let path: String = names.iter().flat_map(|name| [*name, "\0"]).collect();
    sample.path[..path.len()].copy_from_slice(path.as_bytes());
    ExecSample {
        path_bytes: path.len() as u32,
        path_end,
        device: 254 << 20 | 3,
        inode: 4711,
        mount_ns: 4_026_531_841,
        links: 1,
        ..sample
    }
}

/// Who ran, by pid alone.
pub(super) fn ran(tgid: u32) -> Runner {
    Runner { tgid, uid: Runner::UNASKED, ..Runner::default() }
}

//! The one place that reads `/proc`: what it says of one process, and of who holds which socket.
//! Judges nothing and keeps nothing; what can't be read is absent.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use procfs::{
    FromRead,
    process::{Stat, StatFlags},
};
use rustc_hash::FxHashMap;
use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, ResolveFlags, Statx, StatxFlags, getxattr, makedev, openat,
    openat2, readlinkat, statx,
};

use super::{cgroup::Cgroup, place::Place};
use crate::{clock, event::FileId};

/// Most bytes of a command line that are kept; what `ps` shows is shorter.
pub const COMMAND_LINE_MAX: u64 = 4096;
/// Most bytes that are read of any other file of a process.
const FILE_MAX: u64 = 64 * 1024;
/// What Linux appends to the path of a file, or of a cgroup, that was removed meanwhile.
const DELETED: &str = " (deleted)";

/// `/proc`, or for tests a directory that looks like it.
#[derive(Clone, Debug)]
pub struct Procfs {
    root: PathBuf,
    tick_ns: u64,
    /// The boot clock; 0 for what only looks like `/proc`, which has no time.
    pub(super) now_ns: fn() -> u64,
}

/// One process as `/proc` shows it at the time of reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) pid: u32,
    pub(super) parent: u32,
    /// Boot clock, cut to clock ticks (10 ms).
    pub(super) started_ns: u64,
    pub(super) is_kernel_thread: bool,
    pub(super) comm: String,
    /// The real user id, as the probes tell it.
    pub(super) uid: u32,
    /// The path of the file that was executed. A removed file keeps its path.
    pub(super) executable: Option<String>,
    /// That file, whatever it is called.
    pub(super) file: Option<FileId>,
    pub(super) command_line: Option<String>,
    pub(super) cgroup: Option<Cgroup>,
    pub(super) netns: Option<u64>,
    /// Inode of the mount namespace.
    pub(super) mount_ns: Option<u64>,
    /// Path in the hierarchy of cgroup v2.
    pub(super) unified: Option<String>,
    /// Boot clock, when it was read.
    pub(super) read_ns: u64,
}

impl Procfs {
    /// This host's.
    pub fn host() -> Self {
        Self { now_ns: clock::boot_ns, ..Self::at("/proc") }
    }

    /// Whether other users' processes can be looked at: init's executable, which is nobody's but
    /// root's to see.
    pub fn sees_others(&self) -> bool {
        fs::read_link(self.root.join("1/exe")).is_ok()
    }

    /// Whether the kernel knows this kind of file system, mounted or not.
    pub fn knows_file_system(&self, kind: &str) -> bool {
        let known = fs::read_to_string(self.root.join("filesystems")).unwrap_or_default();
        known.lines().any(|line| line.rsplit('\t').next() == Some(kind))
    }

    /// Whether the kernel lists the packet sockets of this network namespace, and whether it can
    /// make `AF_XDP` sockets.
    pub fn has_below_ip(&self) -> (bool, bool) {
        let me = std::process::id();
        let has_packet = self.root.join(me.to_string()).join("net/packet").exists();
        let is_xdp = |line: String| line.starts_with("XDP ");
        (has_packet, self.net_lines(me, "protocols").any(is_xdp))
    }

    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            tick_ns: 1_000_000_000 / procfs::ticks_per_second().max(1),
            now_ns: || 0,
        }
    }

    pub fn path(&self) -> &Path {
        &self.root
    }

    /// Every process that is there.
    pub(super) fn pids(&self) -> io::Result<Vec<u32>> {
        let entries = fs::read_dir(&self.root)?.filter_map(Result::ok);
        Ok(entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
    }

    /// `None`: it is gone, or is a thread of another process.
    ///
    /// All is read below one open directory, which stays bound to the process that was there when
    /// it was opened: what another process with the same pid says can't be mixed in.
    pub(super) fn read(&self, pid: u32) -> Option<Reading> {
        let directory = openat(
            CWD,
            self.root.join(pid.to_string()),
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .ok()?;
        let open = |name: &str| -> Option<File> {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            openat(&directory, name, flags, Mode::empty()).ok().map(File::from)
        };
        let read = |name: &str, limit: u64| -> Option<Vec<u8>> {
            let mut bytes = Vec::new();
            open(name)?.take(limit).read_to_end(&mut bytes).ok()?;
            Some(bytes)
        };
        let link = |name: &str| -> Option<String> {
            let target = readlinkat(&directory, name, Vec::new()).ok()?;
            Some(String::from_utf8_lossy(target.as_bytes()).into_owned())
        };

        let (executable, file) = executed(&directory, link("exe"));
        let stat = Stat::from_read(open("stat")?.take(FILE_MAX)).ok()?;
        let status = Status::parse(&read("status", FILE_MAX)?)?;
        if status.tgid != pid {
            return None;
        }
        let cgroup = read("cgroup", FILE_MAX);
        let cgroup = cgroup.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        Some(Reading {
            pid,
            parent: u32::try_from(stat.ppid).unwrap_or(0),
            started_ns: stat.starttime.saturating_mul(self.tick_ns),
            is_kernel_thread: stat.flags & StatFlags::PF_KTHREAD.bits() != 0,
            comm: stat.comm,
            uid: status.uid,
            executable,
            file,
            command_line: read("cmdline", COMMAND_LINE_MAX).and_then(|bytes| command_line(&bytes)),
            cgroup: cgroup.as_deref().and_then(Cgroup::parse),
            netns: link("ns/net").and_then(|target| bracketed(&target, "net:")),
            mount_ns: link("ns/mnt").and_then(|target| bracketed(&target, "mnt:")),
            unified: cgroup.as_deref().and_then(unified),
            read_ns: (self.now_ns)(),
        })
    }

    /// Of this process, below the mount of cgroup v2.
    pub fn own_cgroup(&self) -> Option<String> {
        let text = fs::read_to_string(self.root.join("self/cgroup")).ok()?;
        unified(&text)
    }

    /// Whether threads of a process go on whose leader ended: it is there, and was started then.
    pub(super) fn has_threads(&self, pid: u32, is_it: impl Fn(u64) -> bool) -> bool {
        let path = self.root.join(pid.to_string()).join("stat");
        let stat = File::open(path).ok().and_then(|file| Stat::from_read(file.take(FILE_MAX)).ok());
        stat.is_some_and(|stat| {
            stat.num_threads > 1 && is_it(stat.starttime.saturating_mul(self.tick_ns))
        })
    }

    /// The file that a process executes, to be read.
    pub(super) fn open_executable(&self, pid: u32) -> Option<File> {
        File::open(self.root.join(pid.to_string()).join("exe")).ok()
    }

    /// Whether this process is in the mount namespace of the first: a namespace has mounts, and numbers
    /// of them, of its own.
    pub(super) fn shares_mounts(&self) -> bool {
        let root = |process: &str| {
            let table = File::open(self.root.join(process).join("mountinfo")).ok()?;
            let lines = BufReader::new(table).lines().map_while(Result::ok);
            let at_root = |line: &String| line.split(' ').nth(4) == Some("/");
            let line = lines.filter(at_root).last()?;
            line.split(' ').next().map(str::to_owned)
        };
        root("1").is_some_and(|first| root("self") == Some(first))
    }

    /// The device that the first process has mounted there (proc(5), `mountinfo`).
    pub(super) fn device_of_mount(&self, mount: u64) -> Option<u64> {
        let table = File::open(self.root.join("1/mountinfo")).ok().map(BufReader::new)?;
        table.lines().map_while(Result::ok).find_map(|line| {
            let mut fields = line.split(' ');
            let is_it = fields.next()?.parse() == Ok(mount);
            let (major, minor) = fields.nth(1)?.split_once(':')?;
            is_it.then_some(makedev(major.parse().ok()?, minor.parse().ok()?))
        })
    }

    /// Inode of the network namespace of a process.
    pub(super) fn netns(&self, pid: u32) -> Option<u64> {
        self.namespace(&pid.to_string(), "net")
    }

    /// Inode of a namespace of a process, or of `self`.
    pub(super) fn namespace(&self, process: &str, kind: &str) -> Option<u64> {
        let target = fs::read_link(self.root.join(process).join("ns").join(kind)).ok()?;
        bracketed(target.to_str()?, &format!("{kind}:"))
    }

    /// The pid that this process is shown under, if it is.
    pub(super) fn own_pid(&self) -> Option<u32> {
        fs::read_link(self.root.join("self")).ok()?.to_str()?.parse().ok()
    }

    /// Lines of `/proc/PID/net/NAME` after the heading; none where the file is missing.
    pub(super) fn net_lines(&self, pid: u32, name: &str) -> impl Iterator<Item = String> {
        let path = self.root.join(pid.to_string()).join("net").join(name);
        let lines = File::open(path).ok().map(|file| BufReader::new(file).lines());
        lines.into_iter().flatten().skip(1).map_while(Result::ok)
    }

    /// Calls `each` with the inode of every socket the process holds, and the path of the
    /// descriptor; returns the descriptors looked at.
    pub(super) fn sockets(&self, pid: u32, mut each: impl FnMut(u64, &Path)) -> usize {
        let path = self.root.join(pid.to_string()).join("fd");
        let Ok(entries) = fs::read_dir(path) else { return 0 };
        let mut seen = 0;
        for entry in entries.filter_map(Result::ok) {
            seen += 1;
            let path = entry.path();
            let Ok(target) = fs::read_link(&path) else { continue };
            if let Some(inode) = target.to_str().and_then(|text| bracketed(text, "socket:")) {
                each(inode, &path);
            }
        }
        seen
    }
}

impl Procfs {
    /// Where a process holds a socket, if it does.
    pub(super) fn place(&self, tgid: u32, inode: u64) -> Option<Place> {
        let mut place = None;
        self.sockets(tgid, |held, path| {
            if held == inode {
                place = Place::at(path, tgid, inode);
            }
        });
        place
    }

    /// The same place, or another of the same process, if it holds the socket now.
    pub(super) fn still(&self, place: Place) -> Option<Place> {
        let Place { tgid, descriptor, inode } = place;
        let path = self.root.join(format!("{tgid}/fd/{descriptor}"));
        let target = fs::read_link(path).ok();
        let held = target.and_then(|it| bracketed(it.to_str()?, "socket:"));
        if held == Some(inode) { Some(place) } else { self.place(tgid, inode) }
    }
}

/// Whether the socket of a descriptor is of this protocol, by the kernel's name for it.
pub(super) fn is_of(descriptor: &Path, protocol: &str) -> bool {
    let mut name = [0; 32];
    // The name ends with a NUL.
    getxattr(descriptor, "system.sockprotoname", &mut name)
        .is_ok_and(|len| name.get(..len) == Some(format!("{protocol}\0").as_bytes()))
}

/// The part of `/proc/PID/status` that `stat` lacks.
struct Status {
    tgid: u32,
    uid: u32,
}

impl Status {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        let fields: FxHashMap<&str, &str> =
            text.lines().filter_map(|line| line.split_once(':')).collect();
        let first = |key| fields.get(key)?.split_ascii_whitespace().next()?.parse().ok();
        Some(Self { tgid: first("Tgid")?, uid: first("Uid")? })
    }
}

/// Path and identity of the file that a process executes, by the target of the link to it. The kernel
/// appends to the path of a file that was removed what may as well be the end of its name: where the
/// process ended before the file could be looked at, its path is not known.
fn executed(process: &OwnedFd, target: Option<String>) -> (Option<String>, Option<FileId>) {
    let found = statx(process, "exe", AtFlags::STATX_DONT_SYNC, StatxFlags::BASIC_STATS).ok();
    let file = found.as_ref().map(file_id);
    let Some(target) = target else { return (None, file) };
    let Some(kept) = target.strip_suffix(DELETED) else { return (Some(target), file) };
    let Some(found) = found else { return (None, None) };
    // One with another name left may have lost this one.
    let is_its_name = found.stx_nlink > 0 && file_at(process, &target) == file;
    let path = if is_its_name { target.as_str() } else { kept };
    (Some(path.to_owned()), file)
}

/// The file that a path leads to in the root of a process.
fn file_at(process: &OwnedFd, path: &str) -> Option<FileId> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let root = openat(process, "root", flags | OFlags::DIRECTORY, Mode::empty()).ok()?;
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file = openat2(root, path, flags, Mode::empty(), inside).ok()?;
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    statx(file, "", flags, StatxFlags::BASIC_STATS).ok().as_ref().map(file_id)
}

/// As stat(2) tells it.
fn file_id(found: &Statx) -> FileId {
    FileId { device: makedev(found.stx_dev_major, found.stx_dev_minor), inode: found.stx_ino }
}

/// The line of cgroup v2, `0::PATH`.
fn unified(text: &str) -> Option<String> {
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    Some(path.strip_suffix(DELETED).unwrap_or(path).to_owned())
}

/// Arguments joined by spaces; `None` for kernel threads and zombies, which have none.
pub(super) fn command_line(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().rposition(|&byte| byte != 0)? + 1;
    let spaced: Vec<u8> =
        bytes[..end].iter().map(|&byte| if byte == 0 { b' ' } else { byte }).collect();
    Some(String::from_utf8_lossy(&spaced).into_owned())
}

/// `4026531840` from `net:[4026531840]`.
fn bracketed(target: &str, kind: &str) -> Option<u64> {
    target.strip_prefix(kind)?.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests;

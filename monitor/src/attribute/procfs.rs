//! The one place that reads `/proc`: what it says of one process, and of who holds which socket.
//! Judges nothing and keeps nothing; what can't be read is absent.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use procfs::{
    FromRead,
    process::{Stat, StatFlags},
};
use rustc_hash::FxHashMap;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, getxattr, makedev, openat, readlinkat, statat};

use super::{cgroup::Cgroup, now_ns};
use crate::event::FileId;

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
    /// The link's target. A removed file keeps its path.
    pub(super) executable: Option<String>,
    pub(super) command_line: Option<String>,
    pub(super) cgroup: Option<Cgroup>,
    pub(super) netns: Option<u64>,
    /// What `executable` leads to.
    pub(super) file: Option<FileId>,
    /// Path in the hierarchy of cgroup v2.
    pub(super) unified: Option<String>,
    /// Boot clock, when it was read.
    pub(super) read_ns: u64,
}

impl Procfs {
    /// This host's.
    pub fn host() -> Self {
        Self { now_ns: || now_ns(rustix::time::ClockId::Boottime), ..Self::at("/proc") }
    }

    /// Whether other users' processes can be looked at: init's executable, which is nobody's but
    /// root's to see.
    pub fn sees_others(&self) -> bool {
        fs::read_link(self.root.join("1/exe")).is_ok()
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

        let stat = Stat::from_read(open("stat")?.take(FILE_MAX)).ok()?;
        let status = Status::parse(&read("status", FILE_MAX)?)?;
        if status.tgid != pid {
            return None;
        }
        let cgroup = read("cgroup", FILE_MAX);
        let cgroup = cgroup.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let file = statat(&directory, "exe", AtFlags::empty()).ok();
        Some(Reading {
            pid,
            parent: u32::try_from(stat.ppid).unwrap_or(0),
            started_ns: stat.starttime.saturating_mul(self.tick_ns),
            is_kernel_thread: stat.flags & StatFlags::PF_KTHREAD.bits() != 0,
            comm: stat.comm,
            uid: status.uid,
            executable: link("exe").map(without_deleted),
            command_line: read("cmdline", COMMAND_LINE_MAX).and_then(|bytes| command_line(&bytes)),
            cgroup: cgroup.as_deref().and_then(Cgroup::parse),
            netns: link("ns/net").and_then(|target| bracketed(&target, "net:")),
            file: file.map(|it| FileId { device: it.st_dev, inode: it.st_ino }),
            unified: cgroup.as_deref().and_then(unified),
            read_ns: (self.now_ns)(),
        })
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
        let target = fs::read_link(self.root.join(pid.to_string()).join("ns/net")).ok()?;
        bracketed(target.to_str()?, "net:")
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

/// A program whose own name ends so is shown without it: the kernel leaves no way to tell.
fn without_deleted(path: String) -> String {
    match path.strip_suffix(DELETED) {
        Some(kept) => kept.to_owned(),
        None => path,
    }
}

/// The line of cgroup v2, `0::PATH`.
fn unified(text: &str) -> Option<String> {
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    Some(path.strip_suffix(DELETED).unwrap_or(path).to_owned())
}

/// Arguments joined by spaces; `None` for kernel threads and zombies, which have none.
fn command_line(bytes: &[u8]) -> Option<String> {
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
mod tests {
    use std::{
        io::Write,
        process::{Command, Stdio},
    };

    use super::*;
    use crate::attribute::fake::{FakeProc, Fields};

    #[test]
    fn a_process_is_read_with_all_that_proc_tells_of_it() {
        let proc = FakeProc::new();
        proc.put(&Fields {
            pid: 42,
            parent: 7,
            start_ticks: 1234,
            comm: "odd) name(",
            uid: 1000,
            executable: Some("/usr/bin/odd (deleted)"),
            command_line: b"/usr/bin/odd\0--flag\0a b\0",
            cgroup: "0::/system.slice/odd.service\n",
            netns: 4_026_531_840,
            ..Fields::default()
        });
        let reading = proc.procfs().read(42).unwrap();
        assert_eq!(reading.parent, 7);
        assert_eq!(reading.started_ns, 12_340_000_000);
        assert_eq!(reading.comm, "odd) name(");
        assert_eq!(reading.uid, 1000);
        assert_eq!(reading.executable.as_deref(), Some("/usr/bin/odd"));
        assert_eq!(reading.command_line.as_deref(), Some("/usr/bin/odd --flag a b"));
        assert_eq!(reading.netns, Some(4_026_531_840));
        assert_eq!(reading.cgroup.unwrap().unit.as_deref(), Some("odd.service"));
        assert!(!reading.is_kernel_thread);
    }

    #[test]
    fn a_kernel_thread_has_neither_executable_nor_command_line() {
        let proc = FakeProc::new();
        let flags = 0x0020_8040;
        proc.put(&Fields { pid: 9, parent: 2, comm: "kworker/0:1", flags, ..Fields::default() });
        let reading = proc.procfs().read(9).unwrap();
        assert!(reading.is_kernel_thread);
        assert_eq!(reading.executable, None);
        assert_eq!(reading.command_line, None);
    }

    #[test]
    fn a_thread_is_not_taken_for_a_process() {
        let proc = FakeProc::new();
        proc.put(&Fields { pid: 43, tgid: Some(42), ..Fields::default() });
        assert_eq!(proc.procfs().read(43), None);
    }

    #[test]
    fn a_long_command_line_is_cut_and_bad_utf8_replaced() {
        let proc = FakeProc::new();
        let mut long = vec![b'x'; 10_000];
        long[0] = 0xff;
        proc.put(&Fields { pid: 5, command_line: &long, ..Fields::default() });
        let line = proc.procfs().read(5).unwrap().command_line.unwrap();
        assert!(line.starts_with('\u{fffd}'));
        assert_eq!(line.chars().count() as u64, COMMAND_LINE_MAX);
    }

    #[test]
    fn malformed_files_are_no_process() {
        let proc = FakeProc::new();
        proc.put(&Fields { pid: 5, ..Fields::default() });
        for (name, bytes) in
            [("stat", &b"5 (x"[..]), ("stat", b""), ("status", b"Uid:\tx\n"), ("status", b"\xff")]
        {
            let path = proc.path().join("5").join(name);
            let whole = fs::read(&path).unwrap();
            fs::write(&path, bytes).unwrap();
            assert_eq!(proc.procfs().read(5), None, "{name}");
            fs::write(&path, whole).unwrap();
        }
        assert!(proc.procfs().read(5).is_some());
    }

    #[test]
    fn a_real_child_is_read_from_the_real_proc() {
        let mut child = Command::new("cat")
            .arg("-")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let procfs = Procfs::host();
        // It answers when its exec is over; before, /proc may show it without arguments.
        child.stdin.as_mut().unwrap().write_all(b"?").unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let reading = procfs.read(child.id()).unwrap();
        let me = procfs.read(std::process::id()).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(reading.comm, "cat");
        assert_eq!(reading.parent, std::process::id());
        assert_eq!(reading.command_line.as_deref(), Some("cat -"));
        assert!(reading.executable.unwrap().starts_with('/'));
        assert!(reading.started_ns >= me.started_ns);
        assert!(reading.netns.is_some());
        assert_eq!(procfs.read(child.id()), None);
    }
}

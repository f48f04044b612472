//! Runs a command as systemd would under the unit: with its capabilities and system calls, and a
//! file system that is read-only but for one directory.

use std::{
    collections::BTreeSet,
    io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

use capctl::{Cap, CapSet, bounding, prctl};
use rustix::{
    mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change, mount_remount},
    thread::{UnshareFlags, unshare_unsafe},
};

use super::syscalls;

/// What `ProtectSystem=strict`, `ProtectKernelTunables=` and `ProtectControlGroups=` close.
/// Of `/sys` and below, each mount.
const ROOT: &str = "/";
const TUNABLES: &str = "/proc/sys";
const TRACEFS: &str = "/sys/kernel/tracing";

pub(crate) struct Restrictions {
    capabilities: CapSet,
    filter: Vec<libc::sock_filter>,
    writable: PathBuf,
    read_only: Vec<PathBuf>,
}

/// What comes of a system call that is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// `SystemCallErrorNumber=EPERM`.
    Fails,
    /// As where a unit says nothing of it; in tests, so that none goes unseen.
    Ends,
}

impl Restrictions {
    pub(crate) fn new(
        capabilities: CapSet,
        (allowed, refused): (&BTreeSet<String>, Refused),
        writable: &Path,
    ) -> Self {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let mounted = mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(Path::new);
        let of_sys = mounted.filter(|path| path.starts_with("/sys"));
        let read_only =
            [ROOT, TUNABLES, TRACEFS].map(Path::new).into_iter().chain(of_sys).map(Path::to_owned);
        let read_only = read_only.collect();
        let writable = writable.to_owned();
        Self {
            capabilities,
            filter: filter(&syscalls::numbers(allowed), refused),
            writable,
            read_only,
        }
    }

    pub(crate) fn apply(self, command: &mut Command) -> &mut Command {
        // SAFETY: after the fork only system calls are made, on values that were prepared before
        // it; no lock is taken and nothing is freed.
        unsafe { command.pre_exec(move || self.enter()) }
    }

    fn enter(&self) -> io::Result<()> {
        // SAFETY: the child has one thread, and no descriptors or memory are unshared.
        unsafe { unshare_unsafe(UnshareFlags::NEWNS) }?;
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
        // As sys-kernel-tracing.mount does where the unit runs.
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        mount("tracefs", TRACEFS, "tracefs", flags, None)
            .or_else(|error| if error == rustix::io::Errno::BUSY { Ok(()) } else { Err(error) })?;
        mount_bind(&self.writable, &self.writable)?;
        mount_bind(TUNABLES, TUNABLES)?;
        for path in &self.read_only {
            mount_remount(path, MountFlags::BIND | MountFlags::RDONLY, "")?;
        }
        for cap in Cap::iter().filter(|&cap| !self.capabilities.has(cap)) {
            match bounding::ensure_dropped(cap) {
                // A kernel older than the library does not know its newest.
                Err(error) if error.code() == libc::EINVAL => {}
                result => result.map_err(|error| errno(&error))?,
            }
        }
        prctl::set_no_new_privs().map_err(|error| errno(&error))?;
        install(&self.filter)
    }
}

fn errno(error: &capctl::Error) -> io::Error {
    io::Error::from_raw_os_error(error.code())
}

/// A filter that lets these calls of the native architecture through.
fn filter(numbers: &[u32], refused: Refused) -> Vec<libc::sock_filter> {
    // linux/audit.h; offsets in struct seccomp_data.
    const AUDIT_ARCH_X86_64: u32 = 0xC000_003E;
    const NUMBER: u32 = 0;
    const ARCHITECTURE: u32 = 4;
    if numbers.is_empty() {
        return Vec::new();
    }
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let load = |offset| statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset);
    let equals = |k, jt, jf| libc::sock_filter {
        jt,
        jf,
        ..statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, k)
    };
    let answer = |action| statement(libc::BPF_RET | libc::BPF_K, action);
    let refuse = match refused {
        Refused::Fails => libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs(),
        Refused::Ends => libc::SECCOMP_RET_KILL_PROCESS,
    };
    let mut program =
        vec![load(ARCHITECTURE), equals(AUDIT_ARCH_X86_64, 1, 0), answer(refuse), load(NUMBER)];
    for &number in numbers {
        program.extend([equals(number, 0, 1), answer(libc::SECCOMP_RET_ALLOW)]);
    }
    program.push(answer(refuse));
    program
}

fn install(filter: &[libc::sock_filter]) -> io::Result<()> {
    if filter.is_empty() {
        return Ok(());
    }
    let len = u16::try_from(filter.len()).map_err(io::Error::other)?;
    let program = libc::sock_fprog { len, filter: filter.as_ptr().cast_mut() };
    // SAFETY: the kernel copies the `len` instructions behind `filter`, which live until it
    // returns, and writes to none.
    let result =
        unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

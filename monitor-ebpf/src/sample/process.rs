//! Processes: as they are told, and as tables remember them.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A process at the moment it touched a socket.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Owner {
    pub tgid: u32,
    pub tid: u32,
    pub uid: u32,
    pub gid: u32,
    pub comm: [u8; 16],
    /// cgroup v2 id (the inode of its directory).
    pub cgroup_id: u64,
    /// 0 where the hook can't ask for it.
    pub netns_cookie: u64,
    /// When the process was forked; 0 if that was before the probes, or is not known any more.
    pub started_ns: u64,
    /// When it last executed a program, which numbers its programs; 0 if it has not since its fork, or
    /// since the probes, or that is not known any more.
    pub executed_ns: u64,
    /// When it touched the socket.
    pub touched_ns: u64,
}

/// Who ran when a packet left.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Runner {
    /// 0: nobody is told.
    pub tgid: u32,
    /// [`Runner::UNASKED`] where the hook can't ask.
    pub uid: u32,
    /// 0 where the hook can't ask.
    pub cgroup_id: u64,
    /// As in [`Owner`].
    pub started_ns: u64,
    /// As in [`Owner`].
    pub executed_ns: u64,
}

impl Runner {
    pub const UNASKED: u32 = u32::MAX;
}

/// Value of the table of process starts, by tgid.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ProcessStart {
    /// 0: before the probes.
    pub started_ns: u64,
    /// As in [`Owner`].
    pub executed_ns: u64,
    pub parent_tgid: u32,
    pub reserved: u32,
}

/// Longest file name an exec sample carries.
pub const FILENAME_BYTES: usize = 256;
/// Longest path that is told whole.
pub const PATH_BYTES: usize = 1024;
/// Longest name of a file (`NAME_MAX`) and its NUL.
pub const NAME_BYTES: usize = 256;

/// Longest arguments that are told, all together: a power of two.
pub const ARGUMENT_BYTES: usize = 512;

/// [`ExecSample::path_end`]: where the way up from the file ended.
pub mod path_end {
    /// It is not known, or too long.
    pub const UNKNOWN: u32 = 0;
    /// At the root of the process's mount namespace.
    pub const ROOT: u32 = 1;
    /// At a file that is in no directory, such as `memfd_create(2)` makes.
    pub const DETACHED: u32 = 2;
}

/// A process became another program.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ExecSample {
    pub kind: u32,
    /// Bytes of `filename` in use; `FILENAME_BYTES` may mean that it was cut.
    pub filename_bytes: u32,
    /// The process; `executed_ns` is when it did.
    pub process: Owner,
    /// 0 if unknown.
    pub parent_tgid: u32,
    /// Bytes of `path` in use.
    pub path_bytes: u32,
    /// [`path_end`].
    pub path_end: u32,
    /// `super_block.s_dev`: major number in the upper 12 bits.
    pub device: u32,
    /// Of the file that was mapped; 0: the kernel's BTF does not say where it is.
    pub inode: u64,
    /// Inode of the mount namespace.
    pub mount_ns: u32,
    /// Names that the file still has; 0: it was removed.
    pub links: u32,
    /// Inode of the network namespace; 0: not known.
    pub netns: u32,
    /// Bytes of `arguments` in use; 0: they could not be read, or have more than fits.
    pub argument_bytes: u32,
    /// The same number: the same cgroups in every hierarchy; 0: not known.
    pub cgroups: u64,
    /// What was passed to execve(2).
    pub filename: [u8; FILENAME_BYTES],
    /// The names on the way from the file up, each with a NUL.
    pub path: [u8; PATH_BYTES + NAME_BYTES],
    /// As they were given, each with a NUL.
    pub arguments: [u8; ARGUMENT_BYTES],
}

/// A process (never a thread) was forked.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ForkSample {
    pub kind: u32,
    pub parent_tgid: u32,
    pub child_tgid: u32,
    pub reserved: u32,
    pub at_ns: u64,
}

/// The leader of a process exited.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ExitSample {
    pub kind: u32,
    pub tgid: u32,
    pub at_ns: u64,
}

//! Where a socket is held: by which process, under which descriptor. A value; reads nothing.

use std::path::Path;

/// A descriptor of a process, and the socket behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) tgid: u32,
    pub(super) descriptor: u32,
    pub(super) inode: u64,
}

impl Place {
    /// `descriptor`: its path below `/proc/PID/fd`.
    pub(super) fn at(descriptor: &Path, tgid: u32, inode: u64) -> Option<Self> {
        let descriptor = descriptor.file_name()?.to_str()?.parse().ok()?;
        Some(Self { tgid, descriptor, inode })
    }
}

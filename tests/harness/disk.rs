//! A small disk of a test's own, mounted where only the test's thread and what it starts see it: however
//! the test ends, nothing of it stays behind.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use rustix::thread::{UnshareFlags, unshare_unsafe};

#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
    /// What it lies in.
    _image: Option<tempfile::NamedTempFile>,
}

/// Twice what btrfs wants.
const IMAGE_BYTES: u64 = 256 << 20;

impl Disk {
    /// Mounts a tmpfs at this path, for this thread and the processes and threads that it starts from
    /// here on.
    pub fn tmpfs(path: &Path, options: &str) -> Self {
        unshare_at(path);
        let disk = Self { path: path.to_owned(), _image: None };
        let what = ["-t", "tmpfs", "-o", options, "disk"];
        crate::tool(Command::new("mount").args(what).arg(path));
        disk
    }

    /// The same, of a file system with a quota: what is more fails with `EDQUOT`. Of btrfs, whose quotas
    /// need nothing of the kernel's own.
    pub fn with_quota(path: &Path, limit: &str) -> Self {
        unshare_at(path);
        let image = tempfile::NamedTempFile::new().expect("make an image");
        image.as_file().set_len(IMAGE_BYTES).expect("make it large");
        crate::tool(Command::new("mkfs.btrfs").args(["-q", "-M"]).arg(image.path()));
        let mut mount = Command::new("mount");
        crate::tool(mount.args(["-t", "btrfs", "-o", "loop"]).arg(image.path()).arg(path));
        let disk = Self { path: path.to_owned(), _image: Some(image) };
        crate::tool(Command::new("btrfs").args(["quota", "enable"]).arg(path));
        disk.allow(limit);
        disk
    }

    /// Another quota.
    pub fn allow(&self, limit: &str) {
        crate::tool(Command::new("btrfs").args(["qgroup", "limit", limit]).arg(&self.path));
    }

    /// Mounts it anew with other options, as soon as nothing is in the way.
    pub fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        let done = crate::eventually(|| {
            let mut mount = Command::new("mount");
            let output = mount.args(["-o", &options]).arg(&self.path).output().expect("run mount");
            output.status.success().then_some(())
        });
        assert!(done.is_some(), "{} is not remounted with {options}", self.path.display());
    }
}

/// In a mount namespace of this thread's own.
fn unshare_at(path: &Path) {
    std::fs::create_dir_all(path).expect("make the place of the disk");
    // SAFETY: a new mount namespace for this thread alone touches no descriptor table.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::FS) }
        .expect("unshare(CLONE_NEWNS): root?");
    crate::tool(Command::new("mount").args(["--make-rprivate", "/"]));
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(&self.path).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("harness: {} stays mounted until the test ends", self.path.display());
        }
    }
}

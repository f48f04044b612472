//! Files as the host's first process sees them: whether a path leads to a file there, and which of the
//! policy's paths lead to one. A process may show any file under any path in a mount namespace or root
//! of its own; here it can't. Reads no content.

use std::{
    fs::File,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::Path,
    sync::Arc,
};

use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, ResolveFlags, StatxFlags, makedev, openat, openat2, statx,
};

use super::procfs::Procfs;
use crate::event::{ExecutedFile, FileId};

/// Root of the host, as its first process has it.
const ROOT: &str = "1/root";

#[derive(Debug, Default)]
pub(super) struct HostFiles {
    /// `None`: it is not ours to see, and no file is the host's.
    root: Option<OwnedFd>,
    procfs: Option<Procfs>,
    /// Paths that rules name, and the file each leads to now.
    ruled: Vec<(Arc<str>, Option<Found>)>,
}

/// A file that a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Found {
    id: FileId,
    mount: u64,
}

impl HostFiles {
    /// Whether the host's root can be looked into. If not, no file is known to be the host's.
    pub(super) fn is_seen(&self) -> bool {
        self.root.is_some()
    }

    pub(super) fn new(procfs: &Procfs) -> Self {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = |path: &Path| openat(CWD, path, flags, Mode::empty());
        // Of a first process that shows nobody its root, it is known whether its mounts are ours.
        let root = open(&procfs.path().join(ROOT))
            .ok()
            .or_else(|| procfs.shares_mounts().then(|| open(Path::new("/")).ok()).flatten());
        Self { root, procfs: Some(procfs.clone()), ruled: Vec::new() }
    }

    /// The paths that the policy's rules name. Returns whether any leads to another file than before.
    pub(super) fn set_ruled(&mut self, paths: &[Arc<str>]) -> bool {
        self.ruled = paths.iter().map(|path| (Arc::clone(path), None)).collect();
        self.refresh()
    }

    /// Looks again where the policy's paths lead. Returns whether any leads elsewhere.
    pub(super) fn refresh(&mut self) -> bool {
        let found: Vec<_> = self.ruled.iter().map(|(path, _)| self.find(path)).collect();
        let mut has_changed = false;
        for ((_, known), found) in self.ruled.iter_mut().zip(found) {
            has_changed |= *known != found;
            *known = found;
        }
        has_changed
    }

    /// What is known of a file that was executed under this path.
    pub(super) fn identify(&self, path: Option<&str>, id: Option<FileId>) -> ExecutedFile {
        let Some(id) = id else { return ExecutedFile::default() };
        let is_hosts = path.and_then(|path| self.find(path)).is_some_and(|it| self.is(it, id));
        let known_as = self.known_as(id, path);
        ExecutedFile { id: Some(id), is_hosts, known_as, ..ExecutedFile::default() }
    }

    /// The policy's paths that lead to this file, other than its own.
    pub(super) fn known_as(&self, id: FileId, own: Option<&str>) -> Option<Arc<[Arc<str>]>> {
        let is_it = |found: &Option<Found>| found.is_some_and(|it| self.is(it, id));
        let others = self.ruled.iter().filter(|(path, found)| is_it(found) && own != Some(path));
        let others: Vec<_> = others.map(|(path, _)| Arc::clone(path)).collect();
        (!others.is_empty()).then(|| others.into())
    }

    fn find(&self, path: &str) -> Option<Found> {
        let relative = Path::new(path).strip_prefix("/").ok()?;
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let file = openat2(self.root.as_ref()?, relative, flags, Mode::empty(), resolve).ok()?;
        found(file.as_fd())
    }

    /// The file that a path leads to, to be read.
    pub(super) fn open(&self, path: &str) -> Option<File> {
        let relative = Path::new(path).strip_prefix("/").ok()?;
        // Never waits for the other end of what is no file.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        openat2(self.root.as_ref()?, relative, flags, Mode::empty(), resolve).ok().map(File::from)
    }

    /// Whether an open file is this one.
    pub(super) fn is_file(&self, file: BorrowedFd<'_>, id: FileId) -> bool {
        found(file).is_some_and(|found| self.is(found, id))
    }

    /// The device that the kernel itself has for a file may be another than stat(2) gives: btrfs
    /// gives one a subvolume, overlayfs one a layer.
    fn is(&self, found: Found, id: FileId) -> bool {
        let device = || self.procfs.as_ref()?.device_of_mount(found.mount);
        found.id == id || (found.id.inode == id.inode && device() == Some(id.device))
    }
}

fn found(file: BorrowedFd<'_>) -> Option<Found> {
    let wanted = StatxFlags::INO | StatxFlags::MNT_ID;
    let stat = statx(file, "", AtFlags::EMPTY_PATH, wanted).ok()?;
    let device = makedev(stat.stx_dev_major, stat.stx_dev_minor);
    Some(Found { id: FileId { device, inode: stat.stx_ino }, mount: stat.stx_mnt_id })
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    fn id(path: &Path) -> FileId {
        let stat = rustix::fs::stat(path).unwrap();
        FileId { device: stat.st_dev, inode: stat.st_ino }
    }

    /// Paths below a folder, as text.
    fn text(path: &Path) -> Arc<str> {
        path.to_str().unwrap().into()
    }

    #[test]
    fn a_file_is_the_hosts_where_its_path_leads_to_it_there() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (folder.path().join("one"), folder.path().join("other"));
        fs::write(&one, "1").unwrap();
        fs::write(&other, "2").unwrap();
        let hosts = HostFiles::new(&Procfs::host());
        assert!(hosts.identify(one.to_str(), Some(id(&one))).is_hosts);
        // Another file that somebody shows under its path.
        assert!(!hosts.identify(one.to_str(), Some(id(&other))).is_hosts);
        assert!(!hosts.identify(Some("/nonexistent"), Some(id(&one))).is_hosts);
        assert!(!hosts.identify(one.to_str(), None).is_hosts);
    }

    #[test]
    fn a_policys_path_stands_for_the_file_it_leads_to_whatever_that_is_called() {
        let folder = tempfile::tempdir().unwrap();
        let [file, link, hard] =
            ["python3.11", "python3", "python"].map(|it| folder.path().join(it));
        fs::write(&file, "1").unwrap();
        symlink("python3.11", &link).unwrap();
        fs::hard_link(&file, &hard).unwrap();
        let mut hosts = HostFiles::new(&Procfs::host());
        assert!(hosts.set_ruled(&[text(&link), text(&hard), text(&file), "/nonexistent".into()]));
        let found = hosts.identify(file.to_str(), Some(id(&file)));
        assert_eq!(found.known_as.as_deref(), Some(&[text(&link), text(&hard)][..]));
        // Replaced, as an upgrade does: the old file is the path's no more.
        let before = id(&file);
        fs::write(folder.path().join("new"), "2").unwrap();
        fs::rename(folder.path().join("new"), &file).unwrap();
        assert!(hosts.refresh() && !hosts.refresh());
        assert!(!hosts.identify(file.to_str(), Some(before)).is_hosts);
        let known_as = hosts.known_as(before, file.to_str());
        assert_eq!(known_as.as_deref(), Some(&[text(&hard)][..]));
    }
}

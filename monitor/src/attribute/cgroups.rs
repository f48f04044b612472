//! Paths of cgroups by their numbers, as the kernel has them: what a sample says cannot be another's
//! by the time it is read. Knows one hierarchy, that of cgroup v2; interprets no path.

use std::{
    fs::File,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    path::Path,
    sync::Arc,
};

use rustc_hash::FxHashMap;

/// Cgroups remembered; a host that has more is asked again.
const KNOWN_MAX: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Cgroups {
    /// `None`: no hierarchy of v2 was found, or nobody was asked.
    mount: Option<Mount>,
    /// Below the mount. The numbers are never used again.
    known: FxHashMap<u64, Option<Arc<str>>>,
}

#[derive(Debug)]
struct Mount {
    directory: File,
    path: Box<str>,
}

impl Cgroups {
    /// `mount`: where the hierarchy of cgroup v2 is mounted.
    pub(super) fn at(mount: &Path) -> Self {
        let directory = File::open(mount).ok();
        let mount = directory.zip(mount.to_str());
        let mount = mount.map(|(directory, path)| Mount { directory, path: path.into() });
        Self { mount, known: FxHashMap::default() }
    }

    /// `/system.slice/chrony.service`; `None` where it is gone and was never asked for before.
    pub(super) fn path(&mut self, id: u64) -> Option<Arc<str>> {
        if let Some(known) = self.known.get(&id) {
            return known.clone();
        }
        let path = self.mount.as_ref()?.path(id);
        if self.known.len() >= KNOWN_MAX {
            self.known.clear();
        }
        self.known.insert(id, path.clone());
        path
    }
}

/// `FILEID_KERNFS` (include/linux/exportfs.h): the handle is the number of the node (Linux 5.5).
const KERNFS: i32 = 0xfe;

#[repr(C)]
struct Handle {
    bytes: u32,
    kind: i32,
    id: [u8; 8],
}

impl Mount {
    fn path(&self, id: u64) -> Option<Arc<str>> {
        let mut handle = Handle { bytes: 8, kind: KERNFS, id: id.to_ne_bytes() };
        let flags = libc::O_PATH | libc::O_CLOEXEC;
        // SAFETY: the handle is of the kind that the call takes, and outlives it.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_open_by_handle_at,
                self.directory.as_raw_fd(),
                &raw mut handle,
                flags,
            )
        };
        let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0)?;
        // SAFETY: the call made it for us.
        let found = unsafe { OwnedFd::from_raw_fd(fd) };
        let link = format!("/proc/self/fd/{}", found.as_raw_fd());
        let path = std::fs::read_link(link).ok()?;
        let below = path.to_str()?.strip_prefix(&*self.path)?;
        // One that was removed while processes are in it.
        let below = below.strip_suffix(" (deleted)").unwrap_or(below);
        Some(if below.is_empty() { "/".into() } else { below.into() })
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::MetadataExt as _};

    use super::*;

    #[test]
    fn a_cgroup_is_found_by_its_number_and_remembered_when_it_is_gone() {
        let mount = crate::probe::find_cgroup(None).unwrap();
        let name = format!("geofenced-test-{}", std::process::id());
        let directory = mount.join(&name);
        fs::create_dir(&directory).unwrap();
        let id = fs::metadata(&directory).unwrap().ino();
        let mut cgroups = Cgroups::at(&mount);
        let found = cgroups.path(id);
        fs::remove_dir(&directory).unwrap();
        assert_eq!(found.as_deref(), Some(format!("/{name}").as_str()));
        assert_eq!(cgroups.path(id), found);
        assert_eq!(Cgroups::at(&mount).path(id), None);
        let root = fs::metadata(&mount).unwrap().ino();
        assert_eq!(cgroups.path(root).as_deref(), Some("/"));
    }

    #[test]
    fn without_a_hierarchy_no_cgroup_has_a_path() {
        assert_eq!(Cgroups::default().path(1), None);
        assert_eq!(Cgroups::at(Path::new("/nonexistent")).path(1), None);
    }
}

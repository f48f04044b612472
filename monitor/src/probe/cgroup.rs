//! Finds the cgroup2 hierarchy, wherever it is mounted.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
};

use super::ProbeError;

/// `CGROUP2_SUPER_MAGIC` (`include/uapi/linux/magic.h`).
const CGROUP2_MAGIC: libc::c_long = 0x6367_7270;

/// The cgroup to attach to: `wanted`, absolute or below the mount; else the root of the hierarchy.
pub fn find(wanted: Option<&Path>) -> Result<PathBuf, ProbeError> {
    let root = mount_point().ok_or(ProbeError::NoCgroup2)?;
    let Some(wanted) = wanted else { return Ok(root) };
    let path = if wanted.is_absolute() { wanted.to_owned() } else { root.join(wanted) };
    match rustix::fs::statfs(&path) {
        Ok(fs) if fs.f_type == CGROUP2_MAGIC => Ok(path),
        Ok(_) => Err(ProbeError::NotACgroup { path }),
        Err(error) => Err(ProbeError::Cgroup { path, source: error.into() }),
    }
}

/// Whether every process of the host is below this cgroup. Only the root of the whole hierarchy has no type
/// (`cgroup.type`, cgroups(7)); that of a container's mount has one.
pub fn is_whole(path: &Path) -> bool {
    !path.join("cgroup.type").exists()
}

/// First cgroup2 entry of the mount table (proc(5), `/proc/pid/mountinfo`).
fn mount_point() -> Option<PathBuf> {
    let table = BufReader::new(File::open("/proc/self/mountinfo").ok()?);
    table.lines().map_while(Result::ok).find_map(|line| parse_mount(&line))
}

fn parse_mount(line: &str) -> Option<PathBuf> {
    let (before, after) = line.split_once(" - ")?;
    if after.split(' ').next()? != "cgroup2" {
        return None;
    }
    // Blanks in a path are written as octal escapes.
    let path = before.split(' ').nth(4)?.replace("\\040", " ");
    Some(PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_hierarchys_root_has_no_type() {
        let directory = tempfile::tempdir().unwrap();
        assert!(is_whole(directory.path()));
        std::fs::write(directory.path().join("cgroup.type"), "domain\n").unwrap();
        assert!(!is_whole(directory.path()));
    }

    #[test]
    fn the_unified_mount_is_found_on_a_hybrid_host() {
        let v1 = "30 25 0:26 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids";
        let v2 = "31 25 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw";
        assert_eq!(parse_mount(v1), None);
        assert_eq!(parse_mount(v2), Some("/sys/fs/cgroup/unified".into()));
    }
}

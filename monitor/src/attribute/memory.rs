//! How much memory this process may take: what its cgroups allow, of either version, or else what the machine
//! has. Reads the kernel's files and remembers nothing.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::Procfs;
use crate::config::Memory;

/// The least of all that bounds this process.
pub fn of(procfs: &Procfs) -> Memory {
    let machine = rustix::system::sysinfo();
    let machine = machine.totalram.saturating_mul(machine.mem_unit.max(1).into());
    match bound(procfs) {
        Some(bytes) if bytes < machine => Memory { bytes, is_bounded: true },
        _ => Memory { bytes: machine, is_bounded: false },
    }
}

/// Of the process's cgroup and of each above it, as far as they are shown.
fn bound(procfs: &Procfs) -> Option<u64> {
    let read = |name: &str| fs::read_to_string(procfs.path().join("self").join(name)).ok();
    let (cgroups, mounts) = (read("cgroup")?, read("mountinfo")?);
    let bounds = mounts.lines().filter_map(Mount::parse).filter_map(|mount| {
        let own = cgroups.lines().find_map(|line| mount.own(line))?;
        mount.least_above(own)
    });
    bounds.min()
}

/// Where limits of memory are shown.
struct Mount<'a> {
    /// The part of the hierarchy that is mounted there.
    root: &'a str,
    at: PathBuf,
    is_unified: bool,
}

impl<'a> Mount<'a> {
    /// A line of `mountinfo` (proc(5)).
    fn parse(line: &'a str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let mut kind = after.split(' ');
        let is_unified = match (kind.next()?, kind.nth(1)?) {
            ("cgroup2", _) => true,
            ("cgroup", options) if options.split(',').any(|it| it == "memory") => false,
            _ => return None,
        };
        let mut fields = before.split(' ').skip(3);
        let (root, at) = (fields.next()?, fields.next()?.replace("\\040", " ").into());
        Some(Self { root, at, is_unified })
    }

    /// The path in a line of `cgroup`, if it is one of this hierarchy.
    fn own<'l>(&self, line: &'l str) -> Option<&'l str> {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let is_it = if self.is_unified {
            controllers.is_empty()
        } else {
            controllers.split(',').any(|it| it == "memory")
        };
        is_it.then_some(path)
    }

    fn least_above(&self, own: &str) -> Option<u64> {
        let name = if self.is_unified { "memory.max" } else { "memory.limit_in_bytes" };
        // Of a container whose part of the hierarchy is mounted, the path is still the host's.
        let below = own.strip_prefix(self.root.trim_end_matches('/')).unwrap_or_default();
        let own = self.at.join(below.trim_start_matches('/'));
        let all = own.ancestors().take_while(|path| path.starts_with(&self.at));
        all.filter_map(|path| limit(&path.join(name))).min()
    }
}

/// `max` is none; in version 1 none is a number larger than any machine.
fn limit(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attribute::fake::FakeProc;

    /// Of files below a folder of their own, which stands for the mounts.
    fn found(cgroup: &str, mount: &str, files: &[(&str, &str)]) -> Option<u64> {
        let proc = FakeProc::new();
        let (own, mounted) = (proc.path().join("self"), proc.path().join("mounted"));
        for (path, text) in files {
            let path = mounted.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        fs::create_dir_all(&own).unwrap();
        fs::write(own.join("cgroup"), cgroup).unwrap();
        let mount = mount.replace("AT", &mounted.display().to_string());
        fs::write(own.join("mountinfo"), mount).unwrap();
        bound(&proc.procfs())
    }

    const UNIFIED: &str = "31 25 0:27 / AT rw - cgroup2 cgroup2 rw\n";

    #[test]
    fn the_least_of_the_cgroups_above_counts() {
        let files = [("a/b/memory.max", "max\n"), ("a/memory.max", "67108864\n")];
        assert_eq!(found("0::/a/b\n", UNIFIED, &files), Some(64 << 20));
        let files = [("a/b/memory.max", "1048576\n"), ("a/memory.max", "67108864\n")];
        assert_eq!(found("0::/a/b\n", UNIFIED, &files), Some(1 << 20));
        // Another's.
        assert_eq!(found("0::/c\n", UNIFIED, &files), None);
    }

    #[test]
    fn in_version_1_it_is_the_controller_of_memory() {
        let mounts = "30 25 0:26 / AT/cpu rw - cgroup cgroup rw,cpu\n\
                      31 25 0:27 / AT/memory rw - cgroup cgroup rw,memory\n";
        let files =
            [("memory/a/memory.limit_in_bytes", "9\n"), ("cpu/a/memory.limit_in_bytes", "1\n")];
        assert_eq!(found("4:memory:/a\n3:cpu:/a\n0::/\n", mounts, &files), Some(9));
    }

    #[test]
    fn of_a_container_whose_part_alone_is_mounted_the_limit_is_at_the_mount() {
        let mount = UNIFIED.replace(" / ", " /docker/1 ");
        let files = [("memory.max", "7\n")];
        assert_eq!(found("0::/docker/1\n", &mount, &files), Some(7));
        // A namespace of its own shows it as the root.
        assert_eq!(found("0::/\n", UNIFIED, &files), Some(7));
    }

    #[test]
    fn without_a_bound_it_is_what_the_machine_has() {
        let memory = of(&FakeProc::new().procfs());
        assert!(!memory.is_bounded && memory.bytes > 1 << 20, "{memory:?}");
    }
}

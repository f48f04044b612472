//! A bound on the memory of who is taken inside, as `MemoryMax=` of a unit: by whichever hierarchy has
//! the controller.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

static MADE: AtomicU32 = AtomicU32::new(0);

#[derive(Debug)]
pub struct Memory {
    path: PathBuf,
}

impl Memory {
    pub fn at_most(bytes: u64) -> Self {
        let mounts = fs::read_to_string("/proc/mounts").expect("read /proc/mounts");
        let found = mounts.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(' ').collect();
            let has_it = |list: &str| list.split([' ', ',', '\n']).any(|it| it == "memory");
            match fields[2] {
                "cgroup" if has_it(fields[3]) => Some((fields[1], "memory.limit_in_bytes")),
                "cgroup2" => {
                    let enabled = Path::new(fields[1]).join("cgroup.subtree_control");
                    has_it(&fs::read_to_string(enabled).ok()?).then_some((fields[1], "memory.max"))
                }
                _ => None,
            }
        });
        let (mount, limit) = found.expect("no controller of memory");
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("geofenced-test-memory-{}-{number}", std::process::id());
        let path = Path::new(mount).join(name);
        fs::create_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        fs::write(path.join(limit), bytes.to_string()).expect("bound the memory");
        Self { path }
    }

    /// Moves a process inside: what it takes from here on is bounded. What it has stays where it is.
    pub fn take(&self, pid: u32) {
        fs::write(self.path.join("cgroup.procs"), pid.to_string()).expect("move a process");
    }

    /// Where a process writes its pid to be inside from its start on.
    pub fn members(&self) -> PathBuf {
        self.path.join("cgroup.procs")
    }

    /// Processes that the kernel ended for want of memory.
    pub fn killed(&self) -> u64 {
        let read = |name| fs::read_to_string(self.path.join(name)).unwrap_or_default();
        let text = read("memory.oom_control") + &read("memory.events");
        let counts = text.lines().filter_map(|line| line.strip_prefix("oom_kill "));
        counts.filter_map(|count| count.trim().parse::<u64>().ok()).sum()
    }

    /// What the kernel says of it, for messages of tests.
    pub fn account(&self) -> String {
        let read = |name| fs::read_to_string(self.path.join(name)).unwrap_or_default();
        let most = read("memory.max_usage_in_bytes") + &read("memory.peak");
        format!("most {}; {}", most.trim(), read("memory.stat").replace('\n', " "))
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // Busy until the last member is reaped.
        if crate::eventually(|| fs::remove_dir(&self.path).ok()).is_none() {
            eprintln!("harness: {} is still in use", self.path.display());
        }
    }
}

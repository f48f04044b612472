//! A cgroup of the test's own, so that a daemon can be told to watch nothing else.

use std::{
    fs::{self, File, Permissions},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

static MADE: AtomicU32 = AtomicU32::new(0);

#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
    members: Arc<File>,
}

impl Cgroup {
    pub fn new() -> Self {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let path = mount().join(format!("geofenced-test-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let members = File::options().write(true).open(path.join("cgroup.procs"));
        Self { members: Arc::new(members.expect("open cgroup.procs")), path }
    }

    /// One below this one, which each user may enter; drop it first.
    pub fn inside(&self, name: &str) -> Self {
        let path = self.path.join(name);
        fs::create_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        // Who moves needs the right to do so at both ends and above.
        for directory in [&self.path, &path] {
            let members = directory.join("cgroup.procs");
            fs::set_permissions(members, Permissions::from_mode(0o666)).expect("chmod");
        }
        let members = File::options().write(true).open(path.join("cgroup.procs"));
        Self { members: Arc::new(members.expect("open cgroup.procs")), path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its path below the mount, as `/proc/PID/cgroup` has it.
    pub fn name(&self) -> String {
        let below = self.path.strip_prefix(mount()).expect("below the mount");
        format!("/{}", below.display())
    }

    /// Lets `command` start inside.
    pub fn admit<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        let members = Arc::clone(&self.members);
        let enter = move || rustix::io::write(&members, b"0").map(drop).map_err(Into::into);
        // SAFETY: between fork and exec the closure makes one system call and allocates nothing.
        unsafe { command.pre_exec(enter) }
    }
}

impl Default for Cgroup {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Busy until the last member is reaped.
        let gone = crate::eventually(|| fs::remove_dir(&self.path).ok());
        if gone.is_none() {
            eprintln!("harness: {} is still in use", self.path.display());
        }
    }
}

/// Where the cgroup v2 hierarchy is mounted.
fn mount() -> PathBuf {
    let mounts = fs::read_to_string("/proc/mounts").expect("read /proc/mounts");
    let mut fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let found = fields.find(|fields| fields.get(2) == Some(&"cgroup2"));
    found.map(|fields| PathBuf::from(fields[1])).expect("no cgroup2 is mounted")
}

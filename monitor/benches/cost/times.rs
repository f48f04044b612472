//! The kernel's own run times of programs (`kernel.bpf_stats_enabled`), by what proc(5) says of a descriptor
//! of each.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::fd::{AsFd as _, AsRawFd as _},
};

use aya::programs::loaded_programs;

const STATISTICS: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// The kernel looks at a clock around each program while this lives.
pub(super) struct Statistics(String);

impl Statistics {
    pub(super) fn on() -> Self {
        let before = fs::read_to_string(STATISTICS).expect("the kernel's statistics");
        fs::write(STATISTICS, "1").expect("turn the kernel's statistics on; as root");
        Self(before)
    }
}

impl Drop for Statistics {
    fn drop(&mut self) {
        let _ = fs::write(STATISTICS, &self.0);
    }
}

/// Run time in nanoseconds and number of runs, by hook.
pub(super) type Times = BTreeMap<&'static str, (u64, u64)>;

/// By how their programs begin: what a kernel allows decides which of several is loaded.
const HOOKS: [&str; 12] = [
    "connect4",
    "device_ingress",
    "link_send",
    "packet_egress",
    "packet_ingress",
    "process_exec",
    "process_exit",
    "process_fork",
    "sendmsg4",
    "sock_create",
    "sock_release",
    "uplink_egress",
];

/// Of the programs with these ids.
pub(super) fn of(ids: &BTreeSet<u32>) -> Times {
    let mut times = Times::new();
    for info in loaded_programs().flatten().filter(|it| ids.contains(&it.id())) {
        let (Some(name), Ok(descriptor)) = (info.name_as_str(), info.fd()) else { continue };
        let Some(hook) = HOOKS.into_iter().find(|hook| name.starts_with(hook)) else { continue };
        let number = descriptor.as_fd().as_raw_fd();
        let text = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap_or_default();
        let field = |field: &str| -> u64 {
            let value = text.lines().find_map(|line| line.strip_prefix(field));
            value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
        };
        let known = times.entry(hook).or_default();
        known.0 += field("run_time_ns:");
        known.1 += field("run_cnt:");
    }
    times
}

/// Ids of the programs that a process holds.
pub(super) fn held_by(pid: u32) -> BTreeSet<u32> {
    let folder = fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("the process's descriptors");
    let id = |text: &str| {
        text.lines().find_map(|line| line.strip_prefix("prog_id:")?.trim().parse().ok())
    };
    folder.flatten().filter_map(|it| id(&fs::read_to_string(it.path()).ok()?)).collect()
}

pub(super) fn spent(before: &Times, after: &Times) -> Times {
    let since = |(hook, (time, runs)): (&&'static str, &(u64, u64))| {
        let (earlier, earlier_runs) = before.get(hook).copied().unwrap_or_default();
        (*hook, (time - earlier, runs - earlier_runs))
    };
    after.iter().map(since).collect()
}

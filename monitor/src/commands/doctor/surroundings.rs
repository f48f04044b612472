//! Where `doctor` itself runs: whether the processes, times, users, interfaces and cgroups it sees are the
//! host's or a container's. Loads no probe.

use std::path::Path;

use super::Check;
use crate::{
    attribute::{
        AttributeError, Procfs,
        namespaces::{self, Clocks},
    },
    probe,
};

/// What no probe of any kernel could see.
pub(super) const NEVER: &str = "what a device sends without the kernel's network stack (DPDK, RDMA, a modem's own programs), and what is inside what is encrypted";

/// Without these the daemon does not start: whether processes, times and users are those that the probes tell.
pub(super) fn needed() -> [Check; 3] {
    let host = Procfs::host();
    let pids = namespaces::pids(&host).map(|()| "the host's");
    let users = namespaces::users(&host).map(|()| "the host's");
    let time = namespaces::join_time(&host).map(|clocks| match clocks {
        Clocks::Hosts => "the host's",
        Clocks::Joined => "of its own; the daemon leaves it",
    });
    let check = |name: &str, requires: &str, outcome: Result<&str, AttributeError>| {
        let (state, found, lost) = match outcome {
            Ok(found) => ("ok", found.to_owned(), ""),
            Err(error) => ("missing", error.to_string(), "everything: the daemon does not start"),
        };
        of(name, state, requires, found, lost)
    };
    [
        check("pid namespace", "the host's, and its proc", pids),
        check("user namespace", "the host's", users),
        check("time namespace", "the host's, or CAP_SYS_ADMIN to join it", time),
    ]
}

/// Whether what is watched is the whole host. In a container with a cgroup namespace of its own the
/// hierarchy seems to begin at the container.
pub(super) fn cgroup(wanted: Option<&Path>) -> Check {
    const OUTSIDE: &str = "what processes outside of this cgroup send by sockets";
    let (state, found, lost) = match probe::find_cgroup(wanted) {
        Ok(path) if probe::is_whole_cgroup(&path) => ("ok", path.display().to_string(), ""),
        // That is what the configuration asks for.
        Ok(path) if wanted.is_some() => ("ok", format!("{}, a part", path.display()), OUTSIDE),
        Ok(path) => {
            let found = format!(
                "{} is a container's part of the hierarchy: start it with the host's (`--cgroupns=host`)",
                path.display()
            );
            ("degraded", found, OUTSIDE)
        }
        Err(error) => ("missing", error.to_string(), "everything"),
    };
    of("cgroup2", state, "cgroup2 hierarchy, wherever mounted; its root", found, lost)
}

/// Whether the interfaces are the host's.
pub(super) fn network() -> Check {
    let (state, found, lost) = match namespaces::is_hosts_network(&Procfs::host()) {
        Some(true) => ("ok", "the host's", ""),
        Some(false) => (
            "degraded",
            "of its own: start it in the host's (containers: `--network=host`; Kubernetes: `hostNetwork: true`)",
            "what leaves by the host's interfaces without a socket of a process: forwarded, injected, around the queues; whether what was sent left",
        ),
        None => (
            "degraded",
            "can't be told from here (another PID namespace, or no CAP_SYS_PTRACE)",
            "perhaps what leaves by the host's interfaces",
        ),
    };
    of("network namespace", state, "the host's; another's interfaces are not seen", found, lost)
}

/// Whether every process can be looked at: those of other users, and outside of this container.
pub(super) fn processes() -> Check {
    let host = Procfs::host();
    let (state, found, lost) = match (namespaces::pids(&host), host.sees_others()) {
        (Err(_), _) => (
            "missing",
            "only those of this PID namespace; none of the host's outside of it",
            "who sends, of all processes outside of this container",
        ),
        (Ok(()), true) => ("ok", "every process is visible", ""),
        (Ok(()), false) => {
            ("degraded", "hidden", "executable and command line of other users' processes")
        }
    };
    of("processes", state, "proc of the host without hidepid, or CAP_SYS_PTRACE", found, lost)
}

/// What nobody sees here, and what nobody sees anywhere.
pub(super) fn unseen<'c>(tier: &str, checks: &'c [Check]) -> Vec<&'c str> {
    if tier == "none" {
        return vec!["everything"];
    }
    let lost = checks.iter().map(|it| it.lost.as_str()).filter(|lost| !lost.is_empty());
    let mut unseen: Vec<&str> = Vec::new();
    for it in lost.chain([NEVER]) {
        if !unseen.contains(&it) {
            unseen.push(it);
        }
    }
    unseen
}

fn of(
    name: &str,
    state: &'static str,
    requires: &str,
    found: impl Into<String>,
    lost: &str,
) -> Check {
    Check {
        name: name.into(),
        state,
        requires: requires.into(),
        found: found.into(),
        lost: lost.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tier_says_what_it_does_not_see_once_and_none_sees_nothing() {
        let checks = [
            of("a", "degraded", "", "", "bytes that came back"),
            of("b", "degraded", "", "", "bytes that came back"),
            of("c", "ok", "", "", ""),
        ];
        assert_eq!(unseen("degraded", &checks), ["bytes that came back", NEVER]);
        assert_eq!(unseen("full", &checks[2..]), [NEVER]);
        assert_eq!(unseen("none", &checks), ["everything"]);
    }
}

//! Whether this process sees the host as it is: every process, under the pid that the probes tell, and the
//! host's clocks. Leaves a time namespace of its own, and no other.

use std::{fs::File, io, os::fd::AsFd as _};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::{AttributeError, Procfs};

/// `PROC_PID_INIT_INO` and `PROC_TIME_INIT_INO` (`include/linux/proc_ns.h`): the namespaces that the kernel
/// began with, in which the probes tell pids and times.
const PIDS: u64 = 0xefff_fffc;
const TIME: u64 = 0xefff_fffa;
/// `PROC_USER_INIT_INO`: capabilities in it are those that loading a probe takes.
const USERS: u64 = 0xefff_fffd;

/// Which clocks this process has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clocks {
    Hosts,
    /// The host's, by leaving a namespace with others.
    Joined,
}

/// Whether the capabilities of this process are the host's. Root of another user namespace may load no probe,
/// and reads the users of others as nobody.
pub fn users(procfs: &Procfs) -> Result<(), AttributeError> {
    match procfs.namespace("self", "user") {
        Some(namespace) if namespace != USERS => Err(AttributeError::OtherUsers),
        _ => Ok(()),
    }
}

/// Whether this process is in the host's network namespace, whose interfaces it then sees; `None` where that
/// can't be told. Its number is none that is agreed on: kthreadd is always in it.
pub fn is_hosts_network(procfs: &Procfs) -> Option<bool> {
    pids(procfs).ok()?;
    Some(procfs.namespace("self", "net")? == procfs.namespace("2", "net")?)
}

/// Whether this process and its `/proc` are in the host's PID namespace.
pub fn pids(procfs: &Procfs) -> Result<(), AttributeError> {
    if procfs.namespace("self", "pid").is_some_and(|namespace| namespace != PIDS) {
        return Err(AttributeError::OtherPids);
    }
    // Each `/proc` shows the namespace of who mounted it.
    if procfs.own_pid() != Some(std::process::id()) {
        return Err(AttributeError::OtherProc { path: procfs.path().into() });
    }
    Ok(())
}

/// Sees to it that this process has the host's clocks. Before any thread is started: the kernel lets one
/// that has several join none.
pub fn join_time(procfs: &Procfs) -> Result<Clocks, AttributeError> {
    // Kernels before 5.6, or without CONFIG_TIME_NS, have but one.
    if procfs.namespace("self", "time").is_none_or(|namespace| namespace == TIME) {
        return Ok(Clocks::Hosts);
    }
    let join = || -> io::Result<()> {
        // Of kthreadd, which is always there and never in another; init may be closed to root, too.
        let hosts = File::open(procfs.path().join("2/ns/time"))?;
        move_into_link_name_space(hosts.as_fd(), Some(LinkNameSpaceType::Time))?;
        match procfs.namespace("self", "time") {
            Some(TIME) => Ok(()),
            _ => Err(io::Error::other("kthreadd's is not the host's")),
        }
    };
    join().map(|()| Clocks::Joined).map_err(|error| AttributeError::OtherTime { error })
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;
    use crate::attribute::fake::{FakeProc, Fields};

    /// `/proc` in which `self` is this pid, in these namespaces.
    fn proc_of(pid: u32, pids: u64, time: u64) -> FakeProc {
        let proc = FakeProc::new();
        proc.put(&Fields { pid, ..Fields::default() });
        symlink(pid.to_string(), proc.path().join("self")).unwrap();
        let namespaces = proc.path().join(format!("{pid}/ns"));
        symlink(format!("pid:[{pids}]"), namespaces.join("pid")).unwrap();
        symlink(format!("time:[{time}]"), namespaces.join("time")).unwrap();
        proc
    }

    #[test]
    fn the_hosts_pids_are_those_of_the_first_namespace_with_a_proc_of_it() {
        let me = std::process::id();
        assert!(pids(&proc_of(me, PIDS, TIME).procfs()).is_ok());
        let own = pids(&proc_of(me, 4_026_532_200, TIME).procfs());
        assert!(matches!(own, Err(AttributeError::OtherPids)), "{own:?}");
        // Shown by a /proc of a namespace in which it has another pid, or none.
        let others = pids(&proc_of(me + 1, PIDS, TIME).procfs());
        assert!(matches!(others, Err(AttributeError::OtherProc { .. })), "{others:?}");
        let none = pids(&FakeProc::new().procfs());
        assert!(matches!(none, Err(AttributeError::OtherProc { .. })), "{none:?}");
    }

    #[test]
    fn a_kernel_without_namespaces_has_the_hosts() {
        let me = std::process::id();
        let proc = proc_of(me, PIDS, TIME);
        for name in ["pid", "time"] {
            fs::remove_file(proc.path().join(format!("{me}/ns/{name}"))).unwrap();
        }
        assert!(pids(&proc.procfs()).is_ok());
        assert_eq!(join_time(&proc.procfs()).unwrap(), Clocks::Hosts);
    }

    #[test]
    fn users_of_another_namespace_are_not_the_hosts() {
        let of = |users: u64| {
            let proc = proc_of(std::process::id(), PIDS, TIME);
            let namespaces = proc.path().join(format!("{}/ns", std::process::id()));
            symlink(format!("user:[{users}]"), namespaces.join("user")).unwrap();
            users_of(&proc)
        };
        assert!(of(USERS).is_ok());
        assert!(matches!(of(4_026_532_203), Err(AttributeError::OtherUsers)));
        // A kernel without CONFIG_USER_NS.
        assert!(users_of(&proc_of(std::process::id(), PIDS, TIME)).is_ok());
    }

    fn users_of(proc: &FakeProc) -> Result<(), AttributeError> {
        users(&proc.procfs())
    }

    #[test]
    fn the_hosts_network_is_that_of_kthreadd_and_unknown_among_other_pids() {
        let of = |pids: u64, own: u64| {
            let me = std::process::id();
            let proc = FakeProc::new();
            proc.put(&Fields { pid: me, netns: own, ..Fields::default() });
            proc.put(&Fields { pid: 2, netns: 4_026_531_833, ..Fields::default() });
            symlink(me.to_string(), proc.path().join("self")).unwrap();
            symlink(format!("pid:[{pids}]"), proc.path().join(format!("{me}/ns/pid"))).unwrap();
            is_hosts_network(&proc.procfs())
        };
        assert_eq!(of(PIDS, 4_026_531_833), Some(true));
        assert_eq!(of(PIDS, 4_026_532_204), Some(false));
        assert_eq!(of(4_026_532_200, 4_026_531_833), None);
    }

    #[test]
    fn other_clocks_that_can_not_be_left_are_refused_with_what_to_do() {
        let me = std::process::id();
        assert_eq!(join_time(&proc_of(me, PIDS, TIME).procfs()).unwrap(), Clocks::Hosts);
        let error = join_time(&proc_of(me, PIDS, 4_026_532_201).procfs()).unwrap_err();
        assert!(error.to_string().contains("nsenter"), "{error}");
    }
}

//! Gives up, once the probes are attached, every privilege that the running daemon does not need.
//! Never gains one, and knows nothing of what the daemon does.

use std::io;

use capctl::{Cap, CapSet, CapState, ambient, bounding, prctl};
use landlock::{AccessFs, Ruleset, RulesetAttr as _, RulesetStatus};
use thiserror::Error;

/// What the running daemon needs.
///
/// - `BPF`: to read and clear entries of its own maps by descriptor. Linux before 5.19 asks for it
///   wherever `kernel.unprivileged_bpf_disabled` is set, as distributions do. Never `SYS_ADMIN` in
///   its stead: `CAP_BPF` is as old (5.8) as the boot clock that the probes need.
/// - `SYS_PTRACE`: `/proc/PID/{exe,ns,fd}` of processes with other users or more capabilities.
/// - `DAC_READ_SEARCH`: to enter `/proc/PID/fd` of other users.
pub const NEEDED: [Cap; 3] = [Cap::BPF, Cap::SYS_PTRACE, Cap::DAC_READ_SEARCH];

#[derive(Debug, Error)]
pub enum SandboxError {
    #[error(
        "can't give up capabilities ({step}: {error}); start geofenced without a seccomp filter or container that forbids capset and prctl"
    )]
    Refused { step: &'static str, error: capctl::Error },
}

/// What is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Effective and permitted: those of [`NEEDED`] that the process had.
    pub kept: CapSet,
    /// Of [`NEEDED`], what the process never had: that work will be refused by the kernel.
    pub missing: CapSet,
    /// Whether the bounding set is empty. It stays as it was where `CAP_SETPCAP` is missing, as
    /// under the systemd unit, which bounds it itself; `no_new_privs` closes that way either way.
    pub bounding_empty: bool,
}

/// Drops all capabilities but [`NEEDED`], empties the inheritable, ambient and bounding sets and
/// sets `no_new_privs`. The user stays the same.
///
/// The kernel keeps capabilities by thread and offers no way to change another's: call it before
/// any other thread is started, which then inherits what is left. The process stays dumpable:
/// otherwise its own `/proc/self` would belong to root and be closed to a service user.
pub fn confine() -> Result<Report, SandboxError> {
    confine_to(&NEEDED)
}

/// The same for a thread that needs others.
pub fn confine_to(needed: &[Cap]) -> Result<Report, SandboxError> {
    let refused = |step| move |error| SandboxError::Refused { step, error };
    prctl::set_no_new_privs().map_err(refused("no_new_privs"))?;

    let needed: CapSet = needed.iter().copied().collect();
    let had = CapState::get_current().map_err(refused("capget"))?;
    ambient::clear().map_err(refused("ambient set"))?;
    // First the bounding set: emptying it takes CAP_SETPCAP, which goes with the next step.
    let bounding_empty = match bounding::clear() {
        Ok(()) => true,
        Err(error) if error.code() == libc::EPERM => false,
        Err(error) => return Err(refused("bounding set")(error)),
    };
    let kept = had.permitted & needed;
    let state = CapState { effective: kept, permitted: kept, inheritable: CapSet::empty() };
    state.set_current().map_err(refused("capset"))?;
    Ok(Report { kept, missing: needed - kept, bounding_empty })
}

/// From here on this thread, and no other, can't open a file to read it. Takes no privilege, but
/// Landlock (Linux 5.13).
pub fn read_no_files() -> io::Result<()> {
    let restrict =
        || Ruleset::default().handle_access(AccessFs::ReadFile)?.create()?.restrict_self();
    match restrict().map_err(io::Error::other)?.ruleset {
        RulesetStatus::NotEnforced => Err(io::ErrorKind::Unsupported.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, process::Command, thread};

    use super::*;

    /// What a program executed by this thread may do.
    fn executed_may() -> (CapSet, CapSet, bool) {
        let output = Command::new("cat").arg("/proc/self/status").output().unwrap();
        let status = String::from_utf8(output.stdout).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            u64::from_str_radix(line.trim(), 16).unwrap()
        };
        let set = |name| {
            let bits = field(name);
            Cap::iter().filter(|&cap| bits & 1 << (cap as u8) != 0).collect::<CapSet>()
        };
        (set("CapPrm:"), set("CapBnd:"), field("NoNewPrivs:") == 1)
    }

    // Capabilities are each thread's own, so a test confines a thread and no other test.

    #[test]
    fn nothing_but_the_needed_is_left_to_the_thread_and_to_what_it_executes() {
        thread::spawn(|| {
            let had = CapState::get_current().unwrap();
            let report = confine().unwrap();
            let has = CapState::get_current().unwrap();
            let needed: CapSet = NEEDED.into_iter().collect();
            assert_eq!(has.permitted, had.permitted & needed);
            assert_eq!(has.effective, has.permitted);
            assert!(has.inheritable.is_empty());
            assert!(ambient::probe().is_none_or(|set| set.is_empty()));
            assert_eq!((report.kept, report.missing), (has.permitted, needed - has.permitted));
            let (permitted, bounding, no_new_privs) = executed_may();
            assert!(no_new_privs);
            if had.effective.has(Cap::SETPCAP) {
                assert!(report.bounding_empty);
                assert!(permitted.is_empty() && bounding.is_empty(), "{permitted:?} {bounding:?}");
            }
        })
        .join()
        .unwrap();
    }

    #[test]
    fn without_setpcap_nothing_is_won_by_executing_a_program() {
        thread::spawn(|| {
            let mut state = CapState::get_current().unwrap();
            for set in [&mut state.effective, &mut state.permitted] {
                set.drop(Cap::SETPCAP);
            }
            state.set_current().unwrap();
            let report = confine().unwrap();
            assert_eq!(report.bounding_empty, bounding::probe().is_empty());
            let (permitted, _, no_new_privs) = executed_may();
            assert!(no_new_privs);
            assert!((permitted - report.kept).is_empty(), "{permitted:?}");
        })
        .join()
        .unwrap();
    }

    #[test]
    fn what_reads_no_files_is_one_thread() {
        let readable = || File::open("/proc/self/status").is_ok();
        let restricted = thread::spawn(move || (read_no_files(), readable())).join().unwrap();
        assert!(readable());
        match restricted {
            (Ok(()), can_read) => assert!(!can_read),
            (Err(error), can_read) => assert!(can_read, "{error}"),
        }
    }

    #[test]
    fn a_thread_started_after_is_confined_as_well() {
        thread::spawn(|| {
            let report = confine().unwrap();
            let child = thread::spawn(|| CapState::get_current().unwrap());
            assert_eq!(child.join().unwrap().permitted, report.kept);
        })
        .join()
        .unwrap();
    }
}

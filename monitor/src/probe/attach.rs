//! Attaches each program: the table of probes, and what became of each.

use std::{fmt, fs::File, io, os::fd::AsFd as _, path::Path, sync::Arc};

use aya::{
    Ebpf,
    programs::{Program, TracePoint},
};
use monitor_ebpf::{names::program, tracepoint};

use super::{
    ProbeError,
    link::{At, Link},
    load::{SILENT, Variant, load_ahead, load_variant, problem},
    tracefs,
};

/// Where a program goes.
#[derive(Clone, Copy, Debug)]
pub enum Hook {
    /// An address or a socket of a cgroup's member.
    Cgroup,
    /// Its packets.
    CgroupSkb,
    Tracepoint(&'static str, &'static str),
    /// tc, at the interfaces that are there.
    Interfaces,
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cgroup => f.write_str("cgroup"),
            Self::CgroupSkb => f.write_str("cgroup, packets"),
            Self::Interfaces => f.write_str("interfaces (tc)"),
            Self::Tracepoint(category, event) => write!(f, "tracepoint {category}:{event}"),
        }
    }
}

/// One probe: its program, its hook, and what is not seen without it.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    pub name: &'static str,
    pub hook: Hook,
    /// What the kernel must have.
    pub requirement: &'static str,
    pub lost_without: &'static str,
    /// Without it the daemon refuses to run.
    pub essential: bool,
}

const fn cgroup(name: &'static str, requirement: &'static str, lost: &'static str) -> Probe {
    Probe { name, hook: Hook::Cgroup, requirement, lost_without: lost, essential: false }
}

const fn interface(name: &'static str, lost: &'static str) -> Probe {
    let requirement = "CONFIG_NET_CLS_BPF and CONFIG_NET_SCH_INGRESS, or Linux 6.6 (tcx)";
    Probe { name, hook: Hook::Interfaces, requirement, lost_without: lost, essential: false }
}

const SOCK: &str = "CONFIG_CGROUP_BPF, Linux 5.9";
const ADDRESS: &str = "CONFIG_CGROUP_BPF, Linux 4.18";
const SKB: &str = "CONFIG_CGROUP_BPF, Linux 5.8 (sk_storage, ring buffer)";
const TRACE: &str = "CONFIG_TRACEPOINTS, tracefs";

/// Every probe, in the order of attaching: processes first, so that no socket's owner is unknown
/// that could be known.
pub const PROBES: [Probe; 14] = [
    Probe {
        name: program::PROCESS_FORK,
        hook: Hook::Tracepoint("task", "task_newtask"),
        requirement: TRACE,
        lost_without: "who a short-lived fork was; a reused pid is told apart by /proc only",
        essential: false,
    },
    Probe {
        name: program::PROCESS_EXEC,
        hook: Hook::Tracepoint("sched", "sched_process_exec"),
        requirement: TRACE,
        lost_without: "the executable of programs that exit before /proc is read",
        essential: false,
    },
    Probe {
        name: program::PROCESS_EXIT,
        hook: Hook::Tracepoint("sched", "sched_process_exit"),
        requirement: TRACE,
        lost_without: "when processes ended; their records are kept longer",
        essential: false,
    },
    Probe {
        name: program::LINK_SEND,
        hook: Hook::Tracepoint("sock", "sock_send_length"),
        requirement: "Linux 6.3 (of use from 6.10), tracefs",
        lost_without: "who sends around the queue (PACKET_QDISC_BYPASS); told is who could",
        essential: false,
    },
    cgroup(program::SOCK_CREATE, SOCK, "the creator of sockets, and so the process of raw egress"),
    cgroup(program::SOCK_RELEASE, SOCK, "the end of flows; they end by idle time"),
    cgroup(program::CONNECT4, ADDRESS, "attempts, and the user of handed-over IPv4 sockets"),
    cgroup(program::CONNECT6, ADDRESS, "attempts, and the user of handed-over IPv6 sockets"),
    cgroup(program::SENDMSG4, ADDRESS, "attempts by unconnected IPv4 datagrams, and their user"),
    cgroup(program::SENDMSG6, ADDRESS, "attempts by unconnected IPv6 datagrams, and their user"),
    interface(
        program::UPLINK_EGRESS,
        "what is forwarded, injected or tunnelled, and what came back to it; last fragments",
    ),
    interface(program::DEVICE_INGRESS, "from which device forwarded packets come"),
    Probe {
        name: program::PACKET_INGRESS,
        hook: Hook::CgroupSkb,
        requirement: SKB,
        lost_without: "bytes that came back",
        essential: false,
    },
    Probe {
        name: program::PACKET_EGRESS,
        hook: Hook::CgroupSkb,
        requirement: SKB,
        lost_without: "everything: no packet is seen",
        essential: true,
    },
];

/// What became of one probe.
#[derive(Clone, Debug)]
pub struct Attachment {
    pub probe: &'static Probe,
    /// With which program; `Err` says why not, in one line.
    pub outcome: Result<Variant, String>,
}

impl Variant {
    /// Where it is attached, which one it is, and why no better one.
    pub fn told(&self, probe: &Probe) -> String {
        let mut told = probe.hook.to_string();
        if self.name != probe.name {
            told.push_str(", ");
            told.push_str(self.name);
        }
        if let Some(why) = &self.better_refused {
            told.push_str("; this kernel refused ");
            told.push_str(why);
        }
        told
    }
}

/// Kernels of before still see all that leaves: a host without it is not degraded.
fn is_extra(probe: &Probe) -> bool {
    probe.name == program::LINK_SEND
}

/// How much of the host is seen, in one word: `full`, `degraded`, or `none`.
pub fn tier(attachments: &[Attachment]) -> &'static str {
    tier_of(attachments.iter().map(|it| (it.probe.name, it.outcome.is_ok())))
}

/// The same of each probe's name and whether it is attached.
pub const TIERS: [&str; 3] = ["full", "degraded", "none"];

pub fn tier_of<'p>(probes: impl Iterator<Item = (&'p str, bool)>) -> &'static str {
    let (mut is_any, mut is_degraded) = (false, false);
    for (name, is_attached) in probes {
        is_any = true;
        let Some(probe) = PROBES.iter().find(|probe| probe.name == name) else { continue };
        if !is_attached && probe.essential {
            return "none";
        }
        is_degraded |= !is_attached && !is_extra(probe);
    }
    match (is_any, is_degraded) {
        (false, _) => "none",
        (true, true) => "degraded",
        (true, false) => "full",
    }
}

/// A program at a hook of the cgroup, to be looked after.
#[derive(Debug)]
pub(super) struct Guarded {
    pub(super) probe: &'static str,
    /// The variant of it.
    pub(super) program: &'static str,
    pub(super) at: At,
    pub(super) cgroup: Arc<File>,
    pub(super) link: Option<Link>,
}

/// Loads and attaches every probe that this kernel takes; an essential one that it refuses is an
/// error.
pub(super) fn attach_all(
    ebpf: &mut Ebpf,
    cgroup: &Path,
) -> Result<(Vec<Attachment>, Vec<Guarded>), ProbeError> {
    let cgroup_file = File::open(cgroup)
        .map_err(|source| ProbeError::Cgroup { path: cgroup.to_owned(), source })?;
    let cgroup_file = Arc::new(cgroup_file);
    let mut guarded = Vec::new();
    load_ahead(ebpf);
    let traced = std::thread::scope(|scope| {
        let attaching = scope.spawn(|| attach_tracepoints(ebpf));
        attaching.join().unwrap_or_default()
    });
    let mut attachments = traced;
    for probe in PROBES.iter().filter(|probe| !matches!(probe.hook, Hook::Tracepoint(..))) {
        let outcome = match probe.hook {
            // Attached by who follows the interfaces.
            Hook::Interfaces => load_variant(ebpf, probe.name).map_err(|error| problem(&error)),
            _ => attach_cgroup(ebpf, probe, &cgroup_file).map(|(it, variant)| {
                guarded.push(it);
                variant
            }),
        };
        if let (Err(problem), true) = (&outcome, probe.essential) {
            return Err(if is_not_permitted(problem) {
                ProbeError::NotPermitted
            } else {
                ProbeError::Program { name: probe.name, problem: problem.clone() }
            });
        }
        attachments.push(Attachment { probe, outcome });
    }
    Ok((attachments, guarded))
}

/// Links stack: other tools' programs, and a second daemon's, stay attached.
fn attach_cgroup(
    ebpf: &mut Ebpf,
    probe: &Probe,
    cgroup: &Arc<File>,
) -> Result<(Guarded, Variant), String> {
    let at = hook_of(probe.name).ok_or("it has no hook")?;
    let variant = load_variant(ebpf, probe.name).map_err(|error| problem(&error))?;
    let name = variant.name;
    let attach = || {
        let program = ebpf.program(name).ok_or(io::ErrorKind::NotFound)?;
        let program = program.fd().map_err(io::Error::other)?.as_fd();
        Link::at_cgroup(program, cgroup.as_fd(), at)
    };
    let link = attach().map_err(|error| format!("can't be attached: {error}"))?;
    let guarded = Guarded {
        probe: probe.name,
        program: name,
        at,
        cgroup: Arc::clone(cgroup),
        link: Some(link),
    };
    Ok((guarded, variant))
}

fn hook_of(probe: &str) -> Option<At> {
    Some(match probe {
        program::SOCK_CREATE => At::SockCreate,
        program::SOCK_RELEASE => At::SockRelease,
        program::CONNECT4 => At::Connect4,
        program::CONNECT6 => At::Connect6,
        program::SENDMSG4 => At::Sendmsg4,
        program::SENDMSG6 => At::Sendmsg6,
        program::PACKET_INGRESS => At::PacketIngress,
        program::PACKET_EGRESS => At::PacketEgress,
        _ => return None,
    })
}

/// Whether the programs for interfaces are loaded.
pub(super) fn has_interfaces(ebpf: &Ebpf) -> bool {
    let names = [program::UPLINK_EGRESS, program::UPLINK_EGRESS_NAMED, program::DEVICE_INGRESS];
    names.into_iter().filter(|name| is_loaded(ebpf, name)).count() >= 2
}

/// Whether this program for interfaces is loaded.
pub(super) fn is_loaded(ebpf: &Ebpf, name: &str) -> bool {
    match ebpf.program(name) {
        Some(Program::SchedClassifier(program)) => program.fd().is_ok(),
        _ => false,
    }
}

/// Runs on a thread of its own, which may leave for a mount namespace where tracefs is mounted.
fn attach_tracepoints(ebpf: &mut Ebpf) -> Vec<Attachment> {
    let tracefs = tracefs::provide();
    let traced = PROBES.iter().filter_map(|probe| match probe.hook {
        Hook::Tracepoint(category, event) => Some((probe, category, event)),
        _ => None,
    });
    traced
        .map(|(probe, category, event)| {
            let outcome = match &tracefs {
                Ok(tracefs) => offsets_fit(tracefs, category, event)
                    .and_then(|()| attach_tracepoint(ebpf, probe.name, category, event))
                    .map(|()| Variant { name: probe.name, better_refused: None }),
                Err(error) => Err(format!(
                    "tracefs is not mounted and can't be: {error}; mount it with `mount -t tracefs tracefs /sys/kernel/tracing`"
                )),
            };
            Attachment { probe, outcome }
        })
        .collect()
}

fn attach_tracepoint(
    ebpf: &mut Ebpf,
    name: &str,
    category: &str,
    event: &str,
) -> Result<(), String> {
    let attach = |program: &mut TracePoint| {
        program.load()?;
        program.attach(category, event).map(drop)
    };
    match ebpf.program_mut(name) {
        Some(Program::TracePoint(program)) => attach(program).map_err(|error| problem(&error)),
        _ => Err("the object has no such program".into()),
    }
}

/// A field that moved would be read wrongly and silently: such a kernel gets no tracepoint.
fn offsets_fit(tracefs: &Path, category: &str, event: &str) -> Result<(), String> {
    let expected = tracepoint::EXPECTED.iter().filter(|it| it.0 == category && it.1 == event);
    for (_, _, field, offset) in expected {
        match tracefs::field_offset(tracefs, category, event, field) {
            Some(found) if found == *offset => {}
            Some(found) => {
                return Err(format!("{event}.{field} is at byte {found}, not {offset}"));
            }
            None => return Err(format!("tracefs has no {category}/{event} with a field {field}")),
        }
    }
    Ok(())
}

/// What the verifier refuses it refuses to everybody, by the same numbers.
fn is_not_permitted(problem: &str) -> bool {
    let is_refused = problem.contains("os error 1)") || problem.contains("os error 13)");
    is_refused && (!problem.contains("BPF_PROG_LOAD") || problem.contains(SILENT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_not_load_a_program_is_told_from_a_program_that_nobody_may_load() {
        let refused = "the BPF_PROG_LOAD syscall returned Permission denied (os error 13): ";
        assert!(is_not_permitted(&format!("{refused}{SILENT}")));
        assert!(is_not_permitted("can't be attached: Operation not permitted (os error 1)"));
        assert!(!is_not_permitted(&format!("{refused}combined stack size is 544. Too large")));
        assert!(!is_not_permitted("Invalid argument (os error 22)"));
    }
}

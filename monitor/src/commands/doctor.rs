//! `doctor`: what this kernel and host allow. Loads and attaches each probe for a moment, so that
//! the answer is the kernel's own and not a guess by its version.

use std::{io::Write, net::IpAddr, path::Path, thread};

use monitor_ebpf::places::UNASKED;
use serde::Serialize;

use super::{Failure, Outcome, load, out, run::failure};
use crate::{
    attribute::{Processes, Procfs},
    cli::{DoctorArgs, Exit, Global, Output},
    config::Config,
    netns,
    probe::{self, Attachment, Kernel, PROBES, ProbeError, Trial},
    rules::Rules,
    table::{printable, small},
};

mod surroundings;

const HEAD: [&str; 4] = ["CHECK", "STATE", "REQUIRES", "FOUND"];

/// One thing that was looked at. `state` is `ok`, `degraded` or `missing`.
#[derive(Debug, Serialize)]
struct Check {
    #[serde(rename = "check")]
    name: String,
    state: &'static str,
    requires: String,
    found: String,
    /// What is not seen; empty while it is ok.
    lost: String,
}

/// The answer in one line of JSON.
#[derive(Debug, Serialize)]
struct Diagnosis<'a> {
    tier: &'a str,
    kernel: &'a str,
    /// What nobody sees here, in words: of this tier, and of any.
    unseen: Vec<&'a str>,
    /// The option that this kernel was built without, if it is to blame.
    #[serde(skip_serializing_if = "Option::is_none")]
    lacks: Option<&'a str>,
    checks: &'a [Check],
}

pub(super) fn run(global: &Global, args: DoctorArgs) -> Outcome {
    let config = load::config(global)?;
    let kernel = kernel_release();
    // First of all: no thread may be started before.
    let host = surroundings::needed();
    let is_elsewhere = host.iter().any(|it| it.state != "ok");
    let mut checks = vec![surroundings::cgroup(config.capture.cgroup.as_deref())];
    checks.extend(host);
    checks.push(surroundings::network());
    let is_partial = checks.iter().any(|it| it.state == "degraded");
    let mut lacks = None;
    let attached = attach(&config);
    let (tier, exit) = match &attached {
        Ok(source) => {
            checks.extend(source.attachments().iter().map(probe_check));
            (probe::tier(source.attachments()), Exit::Fine)
        }
        // Without privileges nothing is known of the kernel: that is no diagnosis. But where none could help,
        // one has to leave.
        Err(ProbeError::NotPermitted) if !is_elsewhere => {
            return Err(failure(ProbeError::NotPermitted));
        }
        Err(error) => {
            lacks = super::run::lacks(error);
            checks.push(Check {
                name: "probes".into(),
                state: "missing",
                requires: lacks.map_or(format!("{} programs", PROBES.len()), str::to_owned),
                found: error.to_string(),
                lost: "everything: the host can't be monitored".into(),
            });
            ("none", Exit::Unsupported)
        }
    };
    let (tier, exit) = match tier {
        _ if is_elsewhere => ("none", Exit::Unsupported),
        "full" if is_partial => ("degraded", exit),
        tier => (tier, exit),
    };
    let sees_senders = attached.as_ref().is_ok_and(Kernel::sees_link_senders);
    if let Ok(kernel) = &attached {
        checks.extend(identity(kernel, !is_elsewhere));
    }
    drop(attached);
    checks.push(class_tables(&config, args.addresses)?);
    checks.extend([tracing_file_system(), surroundings::processes()]);
    checks.extend(around(sees_senders));
    let unseen = surroundings::unseen(tier, &checks);
    print(global, &Diagnosis { tier, kernel: &kernel, unseen, lacks, checks: &checks })?;
    Ok(exit)
}

/// The probes of interfaces in a network namespace of its own: put before those of a daemon that runs, they would
/// take packets from it for a moment, and it would tell so.
fn attach(config: &Config) -> Result<Kernel, ProbeError> {
    let mut capture = config.capture.clone();
    let names = config.names.clone();
    let apart = thread::spawn(move || {
        let own = netns::leave().is_ok();
        capture.interfaces = Some(own.then(|| netns::LOOPBACK.to_owned()).into_iter().collect());
        Kernel::attach(&capture, &names)
    });
    match apart.join() {
        Ok(attached) => attached,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn probe_check(attachment: &Attachment) -> Check {
    let probe = attachment.probe;
    let (state, found, lost) = match &attachment.outcome {
        Ok(it) if it.better_refused.is_some() => {
            ("degraded", it.told(probe), "who sent, where another process made the socket")
        }
        Ok(it) => ("ok", it.told(probe), ""),
        Err(problem) if probe.essential => ("missing", problem.clone(), probe.lost_without),
        Err(problem) => ("degraded", problem.clone(), probe.lost_without),
    };
    Check {
        name: probe.name.into(),
        state,
        requires: probe.requirement.into(),
        found,
        lost: lost.into(),
    }
}

/// Puts the tables of the configured databases into the kernel for a moment: it must find the classes
/// and verdicts that the daemon finds.
fn class_tables(config: &Config, most: usize) -> Result<Check, Failure> {
    let rules = Rules::new(config.policy.clone(), load::locator(config)?);
    let (state, found, lost) = match try_tables(&rules, most) {
        Ok((tried, 0)) => ("ok", format!("{tried} addresses as the daemon finds them"), ""),
        Ok((tried, wrong)) => {
            ("degraded", format!("{wrong} of {tried} addresses wrong"), "a verdict in the kernel")
        }
        Err(error) => ("degraded", error.to_string(), "a verdict in the kernel; the daemon judges"),
    };
    Ok(Check {
        name: "class tables".into(),
        state,
        requires: "maps that can be mapped (Linux 5.5), 25 MB of the kernel's memory".into(),
        found,
        lost: lost.into(),
    })
}

/// How many addresses were tried, and for how many the kernel's answer is not the daemon's.
fn try_tables(rules: &Rules, most: usize) -> Result<(usize, usize), ProbeError> {
    let (trial, mut places) = Trial::load()?;
    let (tables, verdicts) = (rules.locator.image().tables(), rules.verdicts());
    places.put(&tables, &verdicts)?;
    let addresses: Vec<IpAddr> = tables.seams(most).chain(all_over(most)).collect();
    let mut wrong = 0;
    trial.ask(&addresses, |address, answer| {
        let class = tables.class(address);
        let verdict = verdicts.get(usize::from(class)).copied().flatten();
        let is_same = answer.class == class && answer.verdict == verdict;
        // It may always leave an address to the daemon.
        wrong += usize::from(!is_same && answer.class != UNASKED);
    })?;
    Ok((addresses.len(), wrong))
}

/// `most` addresses of each family, the same ones each time.
fn all_over(most: usize) -> impl Iterator<Item = IpAddr> {
    // Multiples of the golden ratio lie evenly (Knuth, TAOCP 3, 6.4).
    let spread = |at: usize| (at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let v4 = (0..most).map(move |at| IpAddr::V4(((spread(at) >> 32) as u32).into()));
    // Global unicast, `2000::/3`: there is nothing to find elsewhere.
    let v6 = (0..most).map(move |at| 1_u128 << 125 | u128::from(spread(at)) << 61);
    v4.chain(v6.map(|address| IpAddr::V6(address.into())))
}

fn tracing_file_system() -> Check {
    let mounted = ["/sys/kernel/tracing/events", "/sys/kernel/debug/tracing/events"];
    let found = match mounted.into_iter().find(|path| Path::new(path).is_dir()) {
        Some(path) => path.trim_end_matches("/events").to_owned(),
        None => "not mounted; the daemon mounts it for itself while it attaches".to_owned(),
    };
    let requires = "CONFIG_TRACING; for the process probes".into();
    Check { name: "tracefs".into(), state: "ok", requires, found, lost: String::new() }
}

/// How it is known what a process executed, whose file that is, and who sends on a connection.
fn identity(kernel: &Kernel, is_hosts: bool) -> [Check; 3] {
    const BTF: &str = "CONFIG_DEBUG_INFO_BTF";
    let check = |name: &str, requires: &str, is_known: bool, found: [&str; 2], lost: &str| Check {
        name: name.into(),
        state: if is_known { "ok" } else { "degraded" },
        requires: requires.into(),
        found: found[usize::from(!is_known)].into(),
        lost: if is_known { String::new() } else { lost.into() },
    };
    [
        check(
            "executables",
            BTF,
            kernel.tells_executables(),
            ["the file, by the kernel at each exec", "by proc, while the process lives"],
            "what a program is that ends at once: it is only claimed",
        ),
        check(
            "senders",
            &format!("{BTF}, link_send"),
            kernel.sees_senders(),
            ["who sends on each TCP connection", "who connected, or listens"],
            "who sends on a TCP connection that another made",
        ),
        check(
            "host's files",
            "the first process's root, by CAP_SYS_PTRACE",
            // The first process of another PID namespace has another root.
            is_hosts && Processes::new().sees_host_files(),
            ["rules for a process mean the host's file", "the host's root is hidden"],
            "whose file a program is: no rule for a process can allow",
        ),
    ]
}

/// What goes around every probe: who is named for it, and how its bytes are known.
fn around(sees_senders: bool) -> [Check; 2] {
    const BYTES: &str = "bytes by each uplink's own count; fentry not used";
    let (has_packet, has_xdp) = Procfs::host().has_below_ip();
    let who = match (sees_senders, has_packet) {
        (true, _) => "the sender is named",
        (false, true) => "who holds such a socket is named",
        (false, false) => "nobody is named",
    };
    let is_blind = !sees_senders && !has_packet;
    let xdp = if has_xdp { "the holder is named" } else { "no such socket on this kernel" };
    [
        Check {
            name: "packet_bypass".into(),
            state: if is_blind { "degraded" } else { "ok" },
            requires: "link_send and Linux 6.10, or CONFIG_PACKET with proc".into(),
            found: format!("{who}; {BYTES}"),
            lost: if is_blind { "who sends around the queue" } else { "" }.into(),
        },
        Check {
            name: "xdp_sockets".into(),
            state: "ok",
            requires: "proc".into(),
            found: if has_xdp { format!("{xdp}; {BYTES}") } else { xdp.into() },
            lost: String::new(),
        },
    ]
}

fn kernel_release() -> String {
    let release = rustix::system::uname();
    release.release().to_string_lossy().into_owned()
}

fn print(global: &Global, diagnosis: &Diagnosis<'_>) -> anyhow::Result<()> {
    let mut out = out::stdout();
    match global.output {
        Output::Json => out::json_line(&mut out, diagnosis)?,
        Output::Csv => {
            out::csv_head(&mut out, ["check", "state", "requires", "found", "lost"])?;
            for it in diagnosis.checks {
                let cells = [&it.name, it.state, &it.requires, &it.found, &it.lost];
                out::csv_line(&mut out, cells)?;
            }
        }
        Output::Table => {
            let rows = diagnosis.checks.iter().map(|it| {
                vec![
                    it.name.clone(),
                    it.state.to_owned(),
                    it.requires.clone(),
                    printable(&it.found).into_owned(),
                ]
            });
            out::table(&mut out, &small(&HEAD, rows))?;
            for it in diagnosis.checks.iter().filter(|it| !it.lost.is_empty()) {
                writeln!(out, "without {}, not seen: {}", it.name, it.lost)?;
            }
            if let Some(option) = diagnosis.lacks {
                writeln!(out, "this kernel was built without {option}")?;
            }
            writeln!(out, "in any tier, not seen: {}", surroundings::NEVER)?;
            writeln!(out, "kernel {}, capture tier: {}", diagnosis.kernel, diagnosis.tier)?;
        }
    }
    out.flush()?;
    Ok(())
}

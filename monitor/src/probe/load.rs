//! Loads programs. The verifier takes most of the time of a start, so the dear ones are loaded ahead,
//! several at once; what can't be loaded then is left to its own probe to tell. Attaches nothing.

use std::{
    num::NonZero,
    sync::{Mutex, PoisonError},
    thread,
};

use aya::{
    Ebpf, EbpfLoader,
    programs::{Program, ProgramError},
};
use monitor_ebpf::names::program;

use crate::sandbox;

/// Dearest first, so that no thread is left with one at the end.
const AHEAD: [&str; 8] = [
    program::PACKET_EGRESS_WHOLE,
    program::UPLINK_EGRESS_NAMED,
    program::CONNECT4,
    program::CONNECT6,
    program::SENDMSG4,
    program::SENDMSG6,
    program::PACKET_INGRESS,
    program::DEVICE_INGRESS,
];
const THREADS_MAX: usize = 4;
/// Of what was refused before the verifier looked at it.
pub(super) const SILENT: &str = "the verifier says nothing";

/// Without the kernel's BTF, of which the loader needs nothing.
pub(super) fn loader() -> EbpfLoader<'static> {
    // A new loader reads and parses it, whoever wants it or not: 20 ms and 11 MB. It does without
    // where it can't read it.
    let unread = || {
        if let Err(error) = sandbox::read_no_files() {
            tracing::debug!("the kernel's BTF is read for nothing: {error}");
        }
        EbpfLoader::new()
    };
    let mut loader = thread::spawn(unread).join().unwrap_or_else(|_| EbpfLoader::new());
    loader.btf(None);
    loader
}

pub(super) fn load_ahead(ebpf: &mut Ebpf) {
    let place = |name: &str| AHEAD.iter().position(|it| *it == name);
    let mut programs: Vec<(usize, &mut Program)> =
        ebpf.programs_mut().filter_map(|(name, it)| Some((place(name)?, it))).collect();
    programs.sort_unstable_by_key(|(place, _)| *place);
    let rest = Mutex::new(programs.into_iter());
    let next = || rest.lock().unwrap_or_else(PoisonError::into_inner).next();
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(THREADS_MAX);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((place, program)) = next() {
                    if let Err(error) = ensure(program) {
                        let why = problem(&error);
                        tracing::debug!("{} is not loaded ahead: {why}", AHEAD[place]);
                    }
                }
            });
        }
    });
}

/// The program of a probe that a kernel took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    pub name: &'static str,
    /// Why it refused one that tells more, where that asks for nothing that this kernel lacks.
    pub better_refused: Option<String>,
}

/// Loads the variant of a program that this kernel takes, and says which.
pub(super) fn load_variant(ebpf: &mut Ebpf, name: &'static str) -> Result<Variant, ProgramError> {
    // Those that ask more first.
    let variants: &[&'static str] = match name {
        program::PACKET_EGRESS => &[program::PACKET_EGRESS_WHOLE, program::PACKET_EGRESS_NAMED],
        program::UPLINK_EGRESS => &[program::UPLINK_EGRESS_NAMED],
        _ => &[],
    };
    let mut better_refused = None;
    for variant in variants {
        let program = ebpf.program_mut(variant).ok_or(ProgramError::UnexpectedProgramType);
        match program.and_then(ensure) {
            Ok(()) => return Ok(Variant { name: variant, better_refused }),
            Err(error) => {
                let why = problem(&error);
                if !lacks_helper(&why) && better_refused.is_none() {
                    better_refused = Some(format!("{variant}: {why}"));
                }
            }
        }
    }
    ensure(ebpf.program_mut(name).ok_or(ProgramError::UnexpectedProgramType)?)?;
    Ok(Variant { name, better_refused })
}

/// An error in one line: of a program that was refused, with the verifier's last word.
pub(super) fn problem(error: &ProgramError) -> String {
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            let log = verifier_log.to_string();
            let last = last_word(&log);
            format!("the BPF_PROG_LOAD syscall returned {io_error}: {last}")
        }
        error => one_line(error),
    }
}

/// What the verifier said before it counted up what it had done.
fn last_word(log: &str) -> &str {
    const SUMS: [&str; 5] =
        ["processed ", "verification time ", "stack depth ", "max_states", "insns processed"];
    let is_said = |line: &&str| !line.is_empty() && !SUMS.iter().any(|it| line.starts_with(it));
    let last = log.lines().map(str::trim).rfind(is_said).unwrap_or(SILENT);
    last.get(..300).unwrap_or(last)
}

/// Whether a program was refused for a helper that came with a later kernel, by the words of kernels from
/// 5.10 on (`check_helper_call` in kernel/bpf/verifier.c).
pub(super) fn lacks_helper(problem: &str) -> bool {
    ["unknown func", "invalid func", "cannot use helper"].iter().any(|it| problem.contains(it))
}

/// An error with its sources, without line breaks.
pub(super) fn one_line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    let line = text.lines().next().unwrap_or_default();
    line.chars().take(300).collect()
}

fn ensure(program: &mut Program) -> Result<(), ProgramError> {
    if program.fd().is_ok() {
        return Ok(());
    }
    match program {
        Program::CgroupSkb(program) => program.load(),
        Program::CgroupSock(program) => program.load(),
        Program::CgroupSockAddr(program) => program.load(),
        Program::SchedClassifier(program) => program.load(),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_has_the_verifiers_last_word_and_not_what_it_counted() {
        let log = "func#0 @0\ncombined stack size of 3 calls is 544. Too large\n\
                   verification time 10 usec\nstack depth 432+64+48\nprocessed 9 insns (limit 1000000)\n";
        assert_eq!(last_word(log), "combined stack size of 3 calls is 544. Too large");
        assert_eq!(last_word(""), SILENT);
    }

    #[test]
    fn a_kernel_that_lacks_a_helper_is_told_from_one_that_refuses_what_it_could_run() {
        for log in [
            "unknown func bpf_get_current_pid_tgid#14\nprocessed 700 insns\n",
            "program of this type cannot use helper bpf_get_current_uid_gid#15\n",
            "invalid func unknown#211\n",
        ] {
            assert!(lacks_helper(last_word(log)), "{log}");
        }
        for log in [
            "combined stack size of 3 calls is 544. Too large\n",
            "BPF program is too large. Processed 1000001 insn\n",
            "",
        ] {
            assert!(!lacks_helper(last_word(log)), "{log}");
        }
    }
}

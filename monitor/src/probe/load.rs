//! Loads programs. The verifier takes most of the time of a start, so the dear ones are loaded ahead,
//! several at once; what can't be loaded then is left to its own probe to tell. Attaches nothing.

use std::{
    num::NonZero,
    sync::{Mutex, PoisonError},
    thread,
};

use aya::{
    Ebpf,
    programs::{Program, ProgramError},
};
use monitor_ebpf::names::program;

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
                        tracing::debug!("{} is not loaded ahead: {error}", AHEAD[place]);
                    }
                }
            });
        }
    });
}

/// Loads the variant of a program that this kernel takes, and says which.
pub(super) fn load_variant(
    ebpf: &mut Ebpf,
    name: &'static str,
) -> Result<&'static str, ProgramError> {
    // Those that ask more first.
    let variants: &[&'static str] = match name {
        program::PACKET_EGRESS => &[program::PACKET_EGRESS_WHOLE, program::PACKET_EGRESS_NAMED],
        program::UPLINK_EGRESS => &[program::UPLINK_EGRESS_NAMED],
        _ => &[],
    };
    for variant in variants {
        if let Some(program) = ebpf.program_mut(variant)
            && ensure(program).is_ok()
        {
            return Ok(variant);
        }
    }
    ensure(ebpf.program_mut(name).ok_or(ProgramError::UnexpectedProgramType)?)?;
    Ok(name)
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

//! The lookup of the probes by itself, for tests, `doctor` and benchmarks: runs it on addresses of
//! one's choice (`BPF_PROG_TEST_RUN`). Attaches nothing.

use std::{net::IpAddr, time::Duration};

use aya::{
    Ebpf, VerifierLogLevel,
    programs::{ProgramError, SchedClassifier, TestRun as _, TestRunOptions},
};
use monitor_ebpf::{
    names::{map, program},
    places::CLASSIFIED,
};

use super::{ProbeError, kernel::OBJECT, load::loader, places::Places};
use crate::{decode::verdict, event::Verdict};

const ETHERNET: usize = 14;
const ANSWERS: usize = ETHERNET + 16 * CLASSIFIED;
const PACKET: usize = ANSWERS + 8 * CLASSIFIED;

/// What the probes say of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Classified {
    pub class: u16,
    pub verdict: Option<Verdict>,
    /// As [`Places::put`] returned it.
    pub generation: u32,
}

/// The loaded lookup; tables and verdicts are the caller's to put.
#[derive(Debug)]
pub struct Trial {
    ebpf: Ebpf,
}

impl Trial {
    pub fn load() -> Result<(Self, Places), ProbeError> {
        let mut ebpf = loader()
            .verifier_log_level(VerifierLogLevel::DISABLE)
            // Not used here, and as small as they can be.
            .map_max_entries(map::SAMPLES, 1 << 16)
            .map_max_entries(map::FLOWS, 1)
            .load(OBJECT)?;
        for name in [program::CLASSIFY, program::CLASSIFY_NOTHING] {
            classifier(&mut ebpf, name)
                .and_then(SchedClassifier::load)
                .map_err(|error| problem(name, &error))?;
        }
        let places = Places::take(&mut ebpf)?;
        Ok((Self { ebpf }, places))
    }

    /// Asks for each address; several are looked up in one run.
    pub fn ask(
        &self,
        addresses: &[IpAddr],
        mut each: impl FnMut(IpAddr, Classified),
    ) -> Result<(), ProbeError> {
        for some in addresses.chunks(CLASSIFIED) {
            let packet = packet(some);
            let mut answers = [0; PACKET];
            self.run(program::CLASSIFY, &packet, &mut answers, 1)?;
            for (address, answer) in some.iter().zip(answers[ANSWERS..].chunks_exact(8)) {
                let [low, high] = answer.as_chunks::<4>().0 else { continue };
                let low = u32::from_ne_bytes(*low);
                let answer = Classified {
                    class: low as u16,
                    verdict: verdict((low >> 16) as u8),
                    generation: u32::from_ne_bytes(*high),
                };
                each(*address, answer);
            }
        }
        Ok(())
    }

    /// How long it takes to look up [`CLASSIFIED`] addresses, and how long the same takes without
    /// looking.
    pub fn cost(
        &self,
        addresses: &[IpAddr],
        repeat: u32,
    ) -> Result<(Duration, Duration), ProbeError> {
        let packet = packet(addresses);
        let mut answers = [0; PACKET];
        let mut time = |name| self.run(name, &packet, &mut answers, repeat);
        Ok((time(program::CLASSIFY)?, time(program::CLASSIFY_NOTHING)?))
    }

    /// Returns how long one run took.
    fn run(
        &self,
        name: &'static str,
        packet: &[u8; PACKET],
        answers: &mut [u8; PACKET],
        repeat: u32,
    ) -> Result<Duration, ProbeError> {
        let options = TestRunOptions {
            data_in: Some(packet),
            data_out: Some(answers),
            repeat,
            ..TestRunOptions::new()
        };
        let program = self.ebpf.program(name).ok_or(ProgramError::NotLoaded);
        let program = program.and_then(<&SchedClassifier>::try_from);
        let run = program.and_then(|it| it.test_run(options));
        run.map(|run| run.duration).map_err(|error| problem(name, &error))
    }
}

fn classifier<'e>(ebpf: &'e mut Ebpf, name: &str) -> Result<&'e mut SchedClassifier, ProgramError> {
    ebpf.program_mut(name).ok_or(ProgramError::NotLoaded)?.try_into()
}

fn problem(name: &'static str, error: &ProgramError) -> ProbeError {
    ProbeError::Program { name, problem: super::load::one_line(error) }
}

/// At most as many addresses as fit in; the rest is zero.
fn packet(addresses: &[IpAddr]) -> [u8; PACKET] {
    let mut packet = [0; PACKET];
    for (to, address) in packet[ETHERNET..ANSWERS].chunks_exact_mut(16).zip(addresses) {
        let address = match address {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => *address,
        };
        to.copy_from_slice(&address.octets());
    }
    packet
}

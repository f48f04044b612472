//! What the probes would have told: flows of some programs to some hundred destinations. The same each time.

use std::{net::Ipv4Addr, ops::Range, time::Duration};

use geofenced::inside::probe::{ProbeError, Source};
use monitor_ebpf::{
    loss::Loss,
    sample::{
        EgressSample, ExecSample, FlowCounters, FlowKey, Owner, kind, ownership, path, path_end,
        phase,
    },
};
use zerocopy::FromZeros as _;

pub(super) const PROGRAMS: u64 = 64;
const DESTINATIONS: u64 = 251;
/// By the source's clock.
pub(super) const START_NS: u64 = 1_000_000_000_000;
pub(super) const SECOND_NS: u64 = 1_000_000_000;
/// Between a flow and the next.
pub(super) const BETWEEN_NS: u64 = 1_000;

pub(super) fn key(number: u64) -> FlowKey {
    // All over the IPv4 addresses that are given to somebody.
    let first = 1 + (number % DESTINATIONS) * 211 % 222;
    let address = Ipv4Addr::new(first as u8, (number % 7) as u8, 113, 7);
    FlowKey {
        cookie: number + 1,
        remote: address.to_ipv6_mapped().octets(),
        remote_port: 443,
        transport: 17,
        ..FlowKey::default()
    }
}

pub(super) fn owner(number: u64) -> Owner {
    let mut comm = [0; 16];
    let name = format!("program{}", number % PROGRAMS);
    comm[..name.len()].copy_from_slice(name.as_bytes());
    let (started_ns, executed_ns) = (START_NS - 2, START_NS - 1);
    let tgid = 1000 + (number % PROGRAMS) as u32;
    Owner { tgid, tid: tgid, uid: 1000, comm, started_ns, executed_ns, ..Owner::default() }
}

/// What the processes said of themselves before they sent.
pub(super) fn executed() -> impl Iterator<Item = ExecSample> {
    (0..PROGRAMS).map(|number| {
        let mut exec = ExecSample::new_zeroed();
        exec.kind = kind::EXEC;
        (exec.process, exec.parent_tgid) = (owner(number), 1);
        let path = format!("/usr/bin/program{number}");
        exec.filename_bytes = path.len() as u32;
        exec.filename[..path.len()].copy_from_slice(path.as_bytes());
        let names = format!("program{number}\0bin\0usr\0");
        (exec.path_bytes, exec.path_end) = (names.len() as u32, path_end::ROOT);
        exec.path[..names.len()].copy_from_slice(names.as_bytes());
        exec
    })
}

/// A socket without a process's end: its first packet, as an interface's program tells it.
pub(super) fn sent(number: u64) -> EgressSample {
    EgressSample {
        kind: kind::EGRESS,
        phase: phase::SENT,
        ownership: ownership::USER,
        socket_type: 2,
        path: path::SOCKET,
        at_ns: START_NS + number * BETWEEN_NS,
        flow: key(number),
        local: Ipv4Addr::new(192, 168, 1, 7).to_ipv6_mapped().octets(),
        local_port: 40_000,
        sent_bytes: 128,
        sent_packets: 1,
        owner: owner(number),
        ..EgressSample::default()
    }
}

/// The counters of so many flows, of which some grew since they were read last.
pub(super) struct Counted {
    pub(super) flows: Range<u64>,
    /// Each of so many; 0: none.
    pub(super) grows_each: u64,
    pub(super) now_ns: u64,
    pub(super) sweeps: u64,
}

impl Source for Counted {
    fn wait(&mut self, _timeout: Duration) -> Result<bool, ProbeError> {
        Ok(false)
    }

    fn drain(&mut self, _most: usize, _each: &mut dyn FnMut(&[u8])) -> usize {
        0
    }

    fn sweep(&mut self, each: &mut dyn FnMut(FlowKey, FlowCounters)) -> Result<(), ProbeError> {
        self.sweeps += 1;
        for number in self.flows.clone() {
            let grown = match self.grows_each {
                0 => 0,
                each if number % each == 0 => self.sweeps,
                _ => 0,
            };
            let counters = FlowCounters {
                sent_bytes: 128 * (1 + grown),
                sent_packets: 1 + grown,
                first_ns: START_NS,
                last_ns: self.now_ns,
                confirmed: 1,
                path: path::SOCKET,
                ..FlowCounters::default()
            };
            each(key(number), counters);
        }
        Ok(())
    }

    fn forget(&mut self, _flows: &[FlowKey]) -> Result<(), ProbeError> {
        Ok(())
    }

    fn losses(&self) -> Result<[u64; Loss::ALL.len()], ProbeError> {
        Ok([0; Loss::ALL.len()])
    }

    fn now_ns(&self) -> u64 {
        self.now_ns
    }
}

//! Samples as they lie in the ring, and what flows are told with besides their first packet.

use monitor_ebpf::sample::{EgressSample, FlowKey, ForkSample, SocketEndSample, kind, phase};
use zerocopy::{Immutable, IntoBytes};

use super::samples::{BETWEEN_NS, START_NS, sent};

pub(super) fn attempt(number: u64) -> EgressSample {
    EgressSample {
        phase: phase::ATTEMPT,
        local: [0; 16],
        local_port: 0,
        sent_bytes: 0,
        sent_packets: 0,
        ..sent(number)
    }
}

pub(super) fn end(number: u64) -> SocketEndSample {
    let EgressSample { flow: FlowKey { cookie, .. }, at_ns, owner, .. } = sent(number);
    SocketEndSample { kind: kind::SOCKET_END, tgid: owner.tgid, at_ns, cookie }
}

pub(super) fn fork(number: u64) -> ForkSample {
    let at_ns = START_NS + number * BETWEEN_NS;
    let child_tgid = 100_000 + number as u32;
    ForkSample { kind: kind::FORK, parent_tgid: 1, child_tgid, reserved: 0, at_ns }
}

/// One after the other, as they lie in the ring.
#[derive(Default)]
pub(super) struct Ring {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Ring {
    pub(super) fn push(&mut self, sample: &(impl IntoBytes + Immutable)) {
        self.bytes.extend_from_slice(sample.as_bytes());
        self.ends.push(self.bytes.len());
    }

    pub(super) fn samples(&self) -> impl Iterator<Item = &[u8]> {
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        begins.zip(&self.ends).map(|(begin, end)| &self.bytes[begin..*end])
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }
}

//! What an interface sent by the kernel's own count, beside what its program saw: the rest went around
//! every hook. Arithmetic only.

use std::time::{Duration, Instant};

use monitor_ebpf::sample::Interface;

use super::roles::{Link, Wanted};
use crate::probe::Bypassed;

/// What is different by then was so before the watch began.
const BASELINE: Duration = Duration::from_secs(5);
/// What a card may add to each packet that the kernel does not hand it: padding to the shortest
/// frame (a bare TCP acknowledgement lacks 6 bytes), preamble-less framing and checksum.
const CARD_ADDS_BYTES: u64 = 24;

pub(super) struct Comparison {
    since: Instant,
    /// Ours before the kernel's was asked for.
    marked: Option<Interface>,
    before: Option<Baseline>,
    first_packets: Option<u64>,
    pub(super) bypassed: Bypassed,
}

/// Sent by the kernel's count less sent by ours, when the watch began: of the quietest moment, as
/// the two are not read at once.
#[derive(Clone, Copy)]
struct Baseline {
    /// What passed while the kernel was asked.
    gap: u64,
    /// Bytes and packets, where the kernel cuts GSO packets before it counts, and where not.
    cut: (i128, i128),
    whole: (i128, i128),
}

impl Baseline {
    fn improve(&mut self, new: Self) {
        let max = |a: (i128, i128), b: (i128, i128)| (a.0.max(b.0), a.1.max(b.1));
        if new.gap < self.gap {
            *self = new;
        } else if new.gap == self.gap {
            (self.cut, self.whole) = (max(self.cut, new.cut), max(self.whole, new.whole));
        }
    }
}

impl Comparison {
    pub(super) fn new(ifindex: u32) -> Self {
        Self {
            since: Instant::now(),
            marked: None,
            before: None,
            first_packets: None,
            bypassed: Bypassed { ifindex, ..Bypassed::default() },
        }
    }

    /// What passed while the program was not there, or not first, is no bypass: told already.
    pub(super) fn begin_anew(&mut self) {
        let bypassed = self.bypassed;
        *self = Self { bypassed, ..Self::new(bypassed.ifindex) };
    }

    /// To be called before the kernel is asked for its counts.
    pub(super) fn mark(&mut self, counted: Interface) {
        self.marked = Some(counted);
    }

    /// What the kernel says was sent, beside what the probe saw. A lower bound: what a queue drops
    /// after the probe hides as much. `counted`: read after the kernel's count, so that it can only
    /// be ahead.
    pub(super) fn compare(&mut self, link: &Link, wanted: &Wanted, counted: &Interface) {
        let first = *self.first_packets.get_or_insert(link.sent_packets);
        let sent_packets = link.sent_packets.saturating_sub(first);
        let is_cut = is_segmenting(counted, sent_packets);
        let is_software = wanted.is_software;
        let excess = |counted: &Interface, is_cut: bool| {
            let (bytes, packets) = if is_software && !is_cut {
                (counted.link_bytes, counted.frames)
            } else {
                (counted.wire_bytes, counted.packets)
            };
            let packets = i128::from(link.sent_packets) - i128::from(packets);
            (i128::from(link.sent_bytes) - i128::from(bytes), packets)
        };
        // The first counts of the kernel are from before the program was there.
        let Some(marked) = self.marked else { return };
        let gap = counted.wire_bytes.saturating_sub(marked.wire_bytes);
        // Counted before the kernel was asked: more than this had not left around the program.
        let new = Baseline { gap, cut: excess(&marked, true), whole: excess(&marked, false) };
        let before = self.before.get_or_insert(new);
        if self.since.elapsed() < BASELINE {
            before.improve(new);
            return;
        }
        let before = if is_cut { before.cut } else { before.whole };
        let (bytes, packets) = excess(counted, is_cut);
        let tolerated = if is_software { 0 } else { counted.packets * CARD_ADDS_BYTES };
        let natural = |number: i128| u64::try_from(number).unwrap_or(0);
        let bytes = natural(bytes - before.0 - i128::from(tolerated));
        // Where packets are counted otherwise than bytes: as few as there can be.
        let packets = natural(packets - before.1).clamp(bytes.min(1), bytes);
        let headers = packets.saturating_mul(wanted.header_bytes.into());
        let bypassed = &mut self.bypassed;
        bypassed.bytes = bypassed.bytes.max(bytes.saturating_sub(headers));
        bypassed.packets = bypassed.packets.max(packets);
    }
}

/// Whether a device without hardware has GSO packets cut before it counts them, as it does with its
/// own GSO switched off: then it sends nearer to as many packets as there are segments.
fn is_segmenting(counted: &Interface, sent_packets: u64) -> bool {
    let further = counted.packets.saturating_sub(counted.frames);
    further > 0 && sent_packets.saturating_sub(counted.frames) * 2 >= further
}

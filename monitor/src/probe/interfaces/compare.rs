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
/// What a card adds is put up with for about so many packets; then what was added is known, and more
/// than that of later ones is not: else room to hide in would grow with every packet.
const WINDOW_PACKETS: u64 = 10_000;

pub(super) struct Comparison {
    since: Instant,
    /// Ours before the kernel's was asked for.
    marked: Option<Interface>,
    before: Option<Baseline>,
    /// Takes the place of `before` once it is as old as a baseline must be.
    next: Option<(Instant, Baseline)>,
    first_packets: Option<u64>,
    /// Of the windows before this one.
    settled: Bypassed,
    pub(super) bypassed: Bypassed,
}

/// Sent by the kernel's count less sent by ours, when the watch began: of the quietest moment, as
/// the two are not read at once.
#[derive(Clone, Copy)]
struct Baseline {
    /// What passed while the kernel was asked.
    gap: u64,
    /// Packets that the program had seen when it began.
    packets: u64,
    /// Bytes and packets, where the kernel cuts GSO packets before it counts, and where not.
    cut: (i128, i128),
    whole: (i128, i128),
}

impl Baseline {
    fn improve(&mut self, new: Self) {
        if new.gap < self.gap {
            *self = Self { packets: self.packets, ..new };
        } else if new.gap == self.gap {
            self.widen(new);
        }
    }

    /// With what either of two moments allows: a card may tell its counts seconds late, and would seem
    /// to have sent less before a quiet moment than it did.
    fn widen(&mut self, new: Self) {
        let max = |a: (i128, i128), b: (i128, i128)| (a.0.max(b.0), a.1.max(b.1));
        (self.cut, self.whole) = (max(self.cut, new.cut), max(self.whole, new.whole));
    }
}

impl Comparison {
    pub(super) fn new(ifindex: u32) -> Self {
        Self {
            since: Instant::now(),
            marked: None,
            before: None,
            next: None,
            first_packets: None,
            settled: Bypassed { ifindex, ..Bypassed::default() },
            bypassed: Bypassed { ifindex, ..Bypassed::default() },
        }
    }

    /// What passed while the program was not there, or not first, is no bypass: told already.
    pub(super) fn begin_anew(&mut self) {
        let bypassed = self.bypassed;
        *self = Self { settled: bypassed, bypassed, ..Self::new(bypassed.ifindex) };
    }

    /// To be called before the kernel is asked for its counts.
    pub(super) fn mark(&mut self, counted: Interface) {
        self.marked = Some(counted);
    }

    /// What the kernel says was sent, beside what the probe saw. A lower bound: what a queue drops
    /// after the probe hides as much. `counted`: read after the kernel's count, so that it can only
    /// be ahead.
    pub(super) fn compare(&mut self, link: &Link, wanted: &Wanted, counted: &Interface) {
        self.compare_at(Instant::now(), link, wanted, counted);
    }

    fn compare_at(&mut self, now: Instant, link: &Link, wanted: &Wanted, counted: &Interface) {
        let first = *self.first_packets.get_or_insert(link.sent_packets);
        let sent_packets = link.sent_packets.saturating_sub(first);
        let is_cut = is_segmenting(counted, sent_packets);
        let is_software = wanted.is_software;
        let excess = |counted: &Interface, is_cut: bool| {
            let (bytes, packets) = if is_software && !is_cut {
                (counted.link_bytes, counted.frames)
            } else {
                (counted.wire_bytes(), counted.packets())
            };
            let packets = i128::from(link.sent_packets) - i128::from(packets);
            (i128::from(link.sent_bytes) - i128::from(bytes), packets)
        };
        // The first counts of the kernel are from before the program was there.
        let Some(marked) = self.marked else { return };
        let gap = counted.wire_bytes().saturating_sub(marked.wire_bytes());
        // Counted before the kernel was asked: more than this had not left around the program.
        let new = Baseline {
            gap,
            packets: marked.packets(),
            cut: excess(&marked, true),
            whole: excess(&marked, false),
        };
        let before = self.before.get_or_insert(new);
        if now.duration_since(self.since) < BASELINE {
            before.improve(new);
            return;
        }
        let seen_packets = counted.packets().saturating_sub(before.packets);
        let before = if is_cut { before.cut } else { before.whole };
        let (bytes, packets) = excess(counted, is_cut);
        let tolerated = if is_software { 0 } else { seen_packets * CARD_ADDS_BYTES };
        let natural = |number: i128| u64::try_from(number).unwrap_or(0);
        let bytes = natural(bytes - before.0 - i128::from(tolerated));
        // Where packets are counted otherwise than bytes: as few as there can be.
        let packets = natural(packets - before.1).clamp(bytes.min(1), bytes);
        let headers = packets.saturating_mul(wanted.header_bytes.into());
        let (bypassed, settled) = (&mut self.bypassed, &self.settled);
        bypassed.bytes = bypassed.bytes.max(settled.bytes + bytes.saturating_sub(headers));
        bypassed.packets = bypassed.packets.max(settled.packets + packets);
        if !is_software && seen_packets >= WINDOW_PACKETS {
            self.begin_window(now, new);
        }
    }

    /// The next window begins with a baseline of its own, taken while this one goes on.
    fn begin_window(&mut self, now: Instant, new: Baseline) {
        let (since, next) = self.next.get_or_insert((now, new));
        next.widen(new);
        if now.duration_since(*since) >= BASELINE {
            self.before = self.next.take().map(|(_, next)| next);
            self.settled = self.bypassed;
        }
    }
}

/// Whether a device without hardware has GSO packets cut before it counts them, as it does with its
/// own GSO switched off: then it sends nearer to as many packets as there are segments.
fn is_segmenting(counted: &Interface, sent_packets: u64) -> bool {
    let further = counted.cut_packets;
    further > 0 && sent_packets.saturating_sub(counted.frames) * 2 >= further
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: u64 = 1000;

    /// A card that adds so many bytes to each packet, and what is sent by it.
    struct Card {
        adds: u64,
        /// It tells its counts every so many seconds.
        every: u64,
        seconds: u64,
        sent: (u64, u64),
        told: (u64, u64),
        seen: Interface,
        comparison: Comparison,
    }

    impl Card {
        fn new(adds: u64, every: u64) -> Self {
            Self {
                adds,
                every,
                seconds: 0,
                sent: (0, 0),
                told: (0, 0),
                seen: Interface::default(),
                comparison: Comparison::new(1),
            }
        }

        /// A second later: what went around the program by then, as it is known.
        fn second(&mut self, packets: u64, around: u64) -> u64 {
            self.sent.0 += packets * (PACKET + self.adds) + around;
            self.sent.1 += packets + around.div_ceil(PACKET);
            self.seen.link_bytes += packets * PACKET;
            self.seen.frames += packets;
            self.seconds += 1;
            if self.seconds.is_multiple_of(self.every) {
                self.told = self.sent;
            }
            let (sent_bytes, sent_packets) = self.told;
            let link = Link { index: 1, sent_bytes, sent_packets, ..Link::default() };
            let wanted = Wanted { header_bytes: 14, is_compared: true, ..Wanted::default() };
            let now = self.comparison.since + Duration::from_secs(self.seconds);
            self.comparison.mark(self.seen);
            self.comparison.compare_at(now, &link, &wanted, &self.seen);
            self.comparison.bypassed.bytes
        }
    }

    #[test]
    fn what_went_around_is_seen_after_ten_million_packets_as_after_few() {
        for adds in [0, 4, CARD_ADDS_BYTES] {
            let mut card = Card::new(adds, 1);
            for _ in 0..1_000 {
                assert_eq!(card.second(10_000, 0), 0);
            }
            let seen = card.second(1_000, 10_000_000);
            // What a card may have added to the packets of a few seconds, and link headers.
            assert!(10_000_000 - seen < 3_000_000, "{adds}: {seen}");
            // What was seen stays seen, and a later window adds what is its own.
            for _ in 0..100 {
                assert!(card.second(10_000, 0) >= seen);
            }
            let before = card.comparison.bypassed.bytes;
            let after = card.second(1_000, 10_000_000);
            assert!(after - before > 7_000_000, "{adds}: {before} {after}");
        }
    }

    #[test]
    fn a_card_that_tells_its_counts_seconds_late_is_no_bypass() {
        let mut card = Card::new(4, 3);
        for second in 0..2_000 {
            // Bursts and silence by turns.
            let packets = if second % 7 < 4 { 20_000 } else { 0 };
            assert_eq!(card.second(packets, 0), 0, "after {second} s");
        }
    }
}

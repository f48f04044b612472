//! What went around every hook: bytes that an interface counted and no hook saw become flows without
//! a destination, of whoever can have sent them. It accuses nobody on a guess: where several can
//! have sent, the bytes are nobody's and each of them is told as an attempt.

use std::sync::Arc;

use monitor_ebpf::sample::{
    EgressSample, FlowCounters, FlowKey, LinkSender, NO_SOCKET, path, phase,
};
use rustc_hash::FxHashMap;

use super::Pipeline;
use crate::{
    attribute::LinkFamily,
    event::{Attribution, Origin, Process, Sender, Transport},
    probe::{Bypassed, Source},
};

/// How long before bytes are noticed they may have been sent: interfaces are read once a second,
/// and this is done once a second.
const WINDOW_NS: u64 = 3_000_000_000;

/// What the flows of a process, or of a socket, are kept apart by.
#[derive(Clone, Copy)]
enum What {
    /// Bytes left.
    Sent,
    /// It is one of several that can have sent.
    Suspected,
    /// It is there, and could send.
    Exists,
}

/// What a process sent on sockets below IP and no hook saw, and when the last of it was noticed.
#[derive(Clone, Copy, Debug, Default)]
struct Unseen {
    /// As it was last read.
    last: LinkSender,
    /// What hooks saw of sends that may be told only later.
    ahead_bytes: u64,
    ahead_sends: u64,
    bytes: u64,
    sends: u64,
    grew_ns: u64,
    /// What of it was told.
    told: Bypassed,
}

/// More than any link header with its VLAN tags: some processes make it themselves, others don't.
const LINK_HEADER_MAX: u64 = 24;
/// A packet is seen before its send is told: so much of a process may be between the two when they
/// are read. What hooks see beyond it (link headers, segments, rings) excuses no later send.
const AHEAD_BYTES_MAX: u64 = 1 << 16;
const AHEAD_SENDS_MAX: u64 = 8;

/// What of `sent` was not seen, and what was seen ahead, at most `most`.
fn unseen(sent: u64, seen: u64, ahead: u64, most: u64) -> (u64, u64) {
    let seen = seen.saturating_add(ahead);
    (sent.saturating_sub(seen), seen.saturating_sub(sent).min(most))
}

impl Unseen {
    fn read(&mut self, sender: &LinkSender, now: u64) {
        let last = self.last;
        // Its entry was pushed out of the table, or the pid is another process's.
        let is_anew = sender.started_ns != last.started_ns
            || sender.bytes < last.bytes
            || sender.sends < last.sends
            || sender.seen_bytes < last.seen_bytes
            || sender.seen_packets < last.seen_packets;
        let last = if is_anew { LinkSender::default() } else { last };
        let (sent, seen) = (sender.bytes - last.bytes, sender.seen_bytes - last.seen_bytes);
        let (bytes, ahead_bytes) = unseen(sent, seen, self.ahead_bytes, AHEAD_BYTES_MAX);
        let (sent, seen) = (sender.sends - last.sends, sender.seen_packets - last.seen_packets);
        let (sends, ahead_sends) = unseen(sent, seen, self.ahead_sends, AHEAD_SENDS_MAX);
        (self.ahead_bytes, self.ahead_sends, self.last) = (ahead_bytes, ahead_sends, *sender);
        if bytes > 0 || sends > 0 {
            self.bytes += bytes;
            self.sends += sends;
            self.grew_ns = now;
        }
    }

    /// Whether it sent of late what was not told yet.
    fn is_open(&self, now: u64) -> bool {
        let told = self.told.bytes + self.told.packets * LINK_HEADER_MAX;
        let is_untold = self.sends > self.told.packets || self.bytes > told;
        is_untold && self.grew_ns + WINDOW_NS >= now
    }
}

#[derive(Debug, Default)]
pub(super) struct Bypasses {
    /// By interface.
    told: FxHashMap<u32, Bypassed>,
    /// By process.
    unseen: FxHashMap<u32, Unseen>,
    counters: FxHashMap<FlowKey, FlowCounters>,
}

impl Bypasses {
    pub(super) fn forget(&mut self, over: &[FlowKey]) {
        if !self.counters.is_empty() {
            self.counters.retain(|key, _| !over.contains(key));
        }
    }

    /// What went around since this was last asked.
    fn growth(&mut self, now: Bypassed) -> Bypassed {
        let before = self.told.entry(now.ifindex).or_default();
        if now.bytes < before.bytes || now.packets < before.packets {
            *before = Bypassed::default();
        }
        let growth = Bypassed {
            ifindex: now.ifindex,
            bytes: now.bytes - before.bytes,
            packets: now.packets - before.packets,
        };
        // Packets alone are not told; they are when bytes are.
        if growth.bytes > 0 {
            *before = now;
        }
        growth
    }

    /// Interfaces that are gone.
    fn forget_gone(&mut self, there: &[Bypassed]) {
        self.told.retain(|ifindex, _| there.iter().any(|it| it.ifindex == *ifindex));
    }

    fn notice(&mut self, senders: &[(u32, LinkSender)], now: u64) {
        self.unseen.retain(|tgid, _| senders.iter().any(|(known, _)| known == tgid));
        for (tgid, sender) in senders {
            self.unseen.entry(*tgid).or_default().read(sender, now);
        }
    }
}

fn key(what: What, id: u64, ifindex: u32) -> FlowKey {
    let mut remote = [0; 16];
    remote[..4].copy_from_slice(&ifindex.to_ne_bytes());
    FlowKey {
        cookie: NO_SOCKET | id,
        remote,
        remote_port: 0,
        local_port: what as u16,
        transport: Transport::UNKNOWN.0,
        malformed: 0,
        via: 0,
    }
}

impl Pipeline {
    /// About every second, before flows are settled.
    pub(super) fn report_bypassed(&mut self, source: &dyn Source, now: u64) {
        self.processes.look_below_ip(now);
        self.report_xdp_sockets(now);
        let senders = source.link_senders();
        self.bypasses.notice(senders.as_deref().unwrap_or_default(), now);
        let bypassed = source.bypassed();
        self.bypasses.forget_gone(&bypassed);
        for there in bypassed {
            let growth = self.bypasses.growth(there);
            if growth.bytes == 0 {
                continue;
            }
            let mut suspects = self.suspects(there.ifindex, senders.is_some(), now);
            if suspects.len() == 1
                && let Some((process, attribution)) = suspects.pop()
            {
                let id = key(What::Sent, process.pid.into(), there.ifindex);
                if let Some(unseen) = self.bypasses.unseen.get_mut(&process.pid) {
                    unseen.told.bytes += growth.bytes;
                    unseen.told.packets += growth.packets;
                }
                self.add_bypassed(id, growth, sender(process, attribution), now);
                continue;
            }
            self.add_bypassed(key(What::Sent, 0, there.ifindex), growth, Sender::Nobody, now);
            let nothing = Bypassed { ifindex: there.ifindex, ..Bypassed::default() };
            for (process, attribution) in suspects {
                let id = key(What::Suspected, process.pid.into(), there.ifindex);
                self.add_bypassed(id, nothing, sender(process, attribution), now);
            }
        }
    }

    /// Such a socket is made to go around everything, so that it is told that there is one.
    fn report_xdp_sockets(&mut self, now: u64) {
        let xdp = self.processes.below_ip().filter(|socket| socket.family == LinkFamily::Xdp);
        let held: Vec<(u64, Arc<Process>)> =
            xdp.filter_map(|socket| Some((socket.inode, socket.process.clone()?))).collect();
        for (inode, process) in held {
            let id = key(What::Exists, inode, 0);
            self.add_bypassed(id, Bypassed::default(), sender(process, Attribution::Procfs), now);
        }
    }

    /// Who can have sent by this interface, each process once. `is_reported`: the kernel tells who
    /// sends; else whoever holds a socket that could.
    fn suspects(
        &mut self,
        ifindex: u32,
        is_reported: bool,
        now: u64,
    ) -> Vec<(Arc<Process>, Attribution)> {
        let mut suspects: Vec<(Arc<Process>, Attribution)> = Vec::new();
        for (tgid, unseen) in &self.bypasses.unseen {
            if unseen.is_open(now)
                && let Some(process) = self.processes.by_pid(*tgid, now, unseen.last.started_ns)
                && self.processes.is_here(&process)
            {
                suspects.push((process, Attribution::Socket));
            }
        }
        for socket in self.processes.below_ip().filter(|socket| socket.reaches(ifindex)) {
            // An AF_XDP socket sends without a call.
            if let Some(process) = &socket.process
                && (!is_reported || socket.family == LinkFamily::Xdp)
                && !suspects.iter().any(|(known, _)| known.pid == process.pid)
            {
                suspects.push((Arc::clone(process), Attribution::Procfs));
            }
        }
        suspects
    }

    fn add_bypassed(&mut self, flow: FlowKey, more: Bypassed, sender: Sender, now: u64) {
        let new = FlowCounters { first_ns: now, path: path::BYPASS, ..FlowCounters::default() };
        let counters = self.bypasses.counters.entry(flow).or_insert(new);
        counters.sent_bytes += more.bytes;
        counters.sent_packets += more.packets;
        counters.last_ns = now;
        let counters = *counters;
        if self.flows.look(&flow).is_some() {
            self.flows.count(&flow, &counters, now);
            return;
        }
        let sample = EgressSample {
            phase: if counters.sent_bytes > 0 { phase::SENT } else { phase::ATTEMPT },
            at_ns: now,
            flow,
            sent_bytes: counters.sent_bytes,
            sent_packets: counters.sent_packets,
            path: path::BYPASS,
            ifindex: more.ifindex,
            ..EgressSample::default()
        };
        self.add(&sample, Origin::PacketSocket, sender);
    }
}

fn sender(process: Arc<Process>, attribution: Attribution) -> Sender {
    Sender::Process { process, attribution, creator: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn sent(bytes: u64, sends: u64, seen_packets: u64) -> LinkSender {
        let seen_bytes = seen_packets * 100;
        LinkSender { bytes, sends, seen_bytes, seen_packets, started_ns: 7 }
    }

    fn open(bypasses: &Bypasses, now: u64) -> Vec<u32> {
        let open = bypasses.unseen.iter().filter(|(_, unseen)| unseen.is_open(now));
        open.map(|(tgid, _)| *tgid).collect()
    }

    #[test]
    fn only_sends_that_no_hook_saw_make_a_suspect_and_only_for_a_while() {
        let mut bypasses = Bypasses::default();
        let now = 100 * SECOND;
        bypasses.notice(&[(1, sent(300, 3, 3)), (2, sent(300, 3, 2)), (3, sent(0, 1, 0))], now);
        let mut suspects = open(&bypasses, now);
        suspects.sort_unstable();
        assert_eq!(suspects, [2, 3]);
        assert_eq!(open(&bypasses, now + 2 * WINDOW_NS), [0; 0]);
    }

    #[test]
    fn what_was_told_of_a_sender_makes_it_no_suspect_of_what_another_sends() {
        let mut bypasses = Bypasses::default();
        let now = 100 * SECOND;
        bypasses.notice(&[(2, sent(3 * 1042, 3, 0))], now);
        let told = Bypassed { ifindex: 1, bytes: 3 * 1028, packets: 3 };
        bypasses.unseen.get_mut(&2).unwrap().told = told;
        assert_eq!(open(&bypasses, now), [0; 0]);
        bypasses.notice(&[(2, sent(4 * 1042, 4, 0))], now + SECOND);
        assert_eq!(open(&bypasses, now + SECOND), [2]);
    }

    #[test]
    fn an_interface_that_counts_anew_has_no_growth() {
        let mut bypasses = Bypasses::default();
        let at = |bytes, packets| Bypassed { ifindex: 3, bytes, packets };
        assert_eq!(bypasses.growth(at(500, 2)), at(500, 2));
        assert_eq!(bypasses.growth(at(700, 3)), at(200, 1));
        assert_eq!(bypasses.growth(at(0, 0)), at(0, 0));
        assert_eq!(bypasses.growth(at(40, 1)), at(40, 1));
    }

    #[test]
    fn packets_without_bytes_are_told_with_the_next_bytes() {
        let mut bypasses = Bypasses::default();
        let at = |bytes, packets| Bypassed { ifindex: 3, bytes, packets };
        assert_eq!(bypasses.growth(at(0, 2)), at(0, 2));
        assert_eq!(bypasses.growth(at(90, 3)), at(90, 3));
        assert_eq!(bypasses.growth(at(90, 4)), at(0, 1));
        assert_eq!(bypasses.growth(at(130, 5)), at(40, 2));
    }

    #[test]
    fn an_interface_that_is_gone_is_forgotten() {
        let mut bypasses = Bypasses::default();
        let at = |ifindex| Bypassed { ifindex, bytes: 50, packets: 1 };
        for ifindex in [3, 4] {
            assert_eq!(bypasses.growth(at(ifindex)), at(ifindex));
        }
        bypasses.forget_gone(&[at(4)]);
        assert_eq!(bypasses.growth(at(3)), at(3));
        assert_eq!(bypasses.growth(at(4)).bytes, 0);
    }

    #[test]
    fn what_hooks_saw_more_than_was_sent_hides_no_later_bypass() {
        let mut bypasses = Bypasses::default();
        let now = 100 * SECOND;
        // A ring: one send of 5000 packets.
        bypasses.notice(&[(2, sent(490_000, 1, 5_000))], now);
        assert_eq!(open(&bypasses, now), [0; 0]);
        bypasses.notice(&[(2, sent(490_000 + 20 * 5_000, 21, 5_000))], now + SECOND);
        assert_eq!(open(&bypasses, now + SECOND), [2]);
    }

    #[test]
    fn a_packet_that_is_seen_before_its_send_is_told_makes_no_suspect() {
        let mut bypasses = Bypasses::default();
        for (second, (sends, seen)) in
            [(9, 10), (19, 20), (30, 30), (40, 40)].into_iter().enumerate()
        {
            let now = (100 + second as u64) * SECOND;
            bypasses.notice(&[(2, sent(sends * 100, sends, seen))], now);
            assert_eq!(open(&bypasses, now), [0; 0]);
        }
    }
}

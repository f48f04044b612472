//! The entry of a flow: counted, confirmed, and begun where no socket's hook began it. Reads no packet.

use aya_ebpf::bindings::__sk_buff;
use monitor_ebpf::{
    loss::Loss,
    sample::{FlowCounters, FlowKey, NO_SOCKET, flags, once, ownership, path, phase},
    share::NOBODY,
};

use super::{
    emit::{self, Passage},
    kernel::Packet,
    maps::{self, FLOWS, NOEXIST, add},
    places, shares,
};

#[inline(always)]
pub fn count(counters: *mut FlowCounters, packet: &Packet, now: u64) {
    // SAFETY: a value of the table; the verifier proved the pointer.
    unsafe {
        add(&raw mut (*counters).sent_bytes, packet.bytes);
        add(&raw mut (*counters).sent_packets, packet.packets);
        (*counters).last_ns = now;
    }
}

/// Notes that an interface was given a packet of the flow. `false`: the socket's hook saw none go out
/// there, so that this one is not the socket's as it sent it, whatever it once named or sent to
/// itself: only what the hook counted is told by it.
#[inline(always)]
pub fn confirm(counters: *mut FlowCounters) -> bool {
    // SAFETY: a value of the table; the verifier proved the pointer.
    let counters = unsafe { &mut *counters };
    let is_counted = counters.path == path::SOCKET && counters.sent_packets != 0;
    if is_counted && counters.confirmed == 0 {
        counters.confirmed = 1;
    }
    is_counted
}

/// A flow that no socket stands for, with its first packet.
#[inline(always)]
pub fn begin(
    skb: *mut __sk_buff,
    key: &FlowKey,
    packet: &Packet,
    passage: Passage,
    local: &([u8; 16], u16),
    now: u64,
) {
    let (answer, uid) = (places::ask(&key.remote), NOBODY);
    let account = shares::take(uid, answer.verdict);
    if account == shares::REFUSED {
        shares::add_up(key, uid, answer, packet.bytes, packet.packets);
        return;
    }
    let counters = FlowCounters {
        sent_bytes: packet.bytes,
        sent_packets: packet.packets,
        received_bytes: 0,
        received_packets: 0,
        first_ns: now,
        last_ns: now,
        path: passage.path,
        account,
        ..FlowCounters::default()
    };
    let is_counted = FLOWS.insert(key, &counters, NOEXIST).is_ok();
    if !is_counted {
        shares::give_back(account);
        if let Some(counters) = FLOWS.get_ptr_mut(key) {
            // Another CPU was first.
            count(counters, packet, now);
            return;
        }
        maps::count(Loss::FlowTableFull);
        if shares::is_known(key, once::SENT) {
            return;
        }
    }
    let flow = emit::Flow {
        key,
        phase: phase::SENT,
        ownership: if passage.runner.tgid == 0 { ownership::NONE } else { ownership::USER },
        via: (skb, packet.via_at),
        socket_type: 0,
        icmp_type: packet.icmp_type,
        local: &local.0,
        local_port: local.1,
        listener_cookie: 0,
        sent_bytes: counters.sent_bytes,
        sent_packets: counters.sent_packets,
        at_ns: now,
        netns_inode: 0,
        connection_cookie: 0,
        way_out: 0,
        passage,
        answer,
        uid,
        flags: if is_counted { 0 } else { flags::UNCOUNTED },
    };
    // If it is not told, its next packet tries again.
    if !emit::egress(&flow, None) && is_counted && FLOWS.remove(key).is_ok() {
        shares::give_back(account);
    }
}

/// Stands for a socket where there is none: by address.
#[inline(always)]
pub fn stranger(address: &[u8; 16]) -> u64 {
    NO_SOCKET | mix(address)
}

/// A number that stands for an address.
#[inline(always)]
pub fn mix(address: &[u8; 16]) -> u64 {
    let mut high = [0; 8];
    high.copy_from_slice(&address[..8]);
    let mut low = [0; 8];
    low.copy_from_slice(&address[8..]);
    let mut mixed = u64::from_ne_bytes(high).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^= mixed >> 29;
    mixed ^= u64::from_ne_bytes(low);
    mixed = mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^= mixed >> 32;
    mixed.wrapping_mul(0x94d0_49bb_1331_11eb)
}

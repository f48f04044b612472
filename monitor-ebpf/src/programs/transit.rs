//! Packets on their way through this host: as they came, by `skb->hash`, which leads from what leaves to it,
//! whatever NAT made of the packet. Counts nothing.

use aya_ebpf::bindings::__sk_buff;
use monitor_ebpf::sample::{FlowKey, Transit};

use super::{flow, kernel::Packet, maps::TRANSITS};

/// What became the packet that leaves.
#[inline(always)]
pub fn of(skb: *mut __sk_buff, packet: &Packet) -> Option<&'static Transit> {
    // SAFETY: a context field.
    let hash = unsafe { (&raw const (*skb).hash).read_volatile() };
    // SAFETY: a value of the table; the verifier proved the pointer.
    let transit = unsafe { &*TRANSITS.get_ptr(&hash)? };
    let is_its = transit.transport == packet.transport
        && (transit.destination == packet.destination
            || transit.destination_port == packet.destination_port);
    is_its.then_some(transit)
}

/// Whether it is the packet that comes in.
#[inline(always)]
pub fn is_of(transit: &Transit, packet: &Packet) -> bool {
    transit.source == packet.source
        && transit.destination == packet.destination
        && transit.source_port == packet.source_port
        && transit.destination_port == packet.destination_port
        && transit.transport == packet.transport
        && transit.malformed == packet.malformed
}

/// Of the 5-tuple; never 0, which means that there is none.
#[inline(always)]
pub fn digest(packet: &Packet) -> u32 {
    let ports = u64::from(packet.source_port) << 32
        | u64::from(packet.destination_port) << 8
        | u64::from(packet.transport);
    let mut mixed =
        flow::mix(&packet.source) ^ flow::mix(&packet.destination).rotate_left(17) ^ ports;
    mixed = mixed.wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^= mixed >> 33;
    mixed = mixed.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    (mixed >> 32) as u32 | 1
}

/// The flow that it is of, if it comes from a socket in another network namespace of this host.
#[inline(always)]
pub fn socket_key(transit: &Transit, via: u16) -> FlowKey {
    FlowKey {
        cookie: transit.cookie,
        remote: transit.destination,
        remote_port: transit.destination_port,
        local_port: 0,
        transport: transit.transport,
        malformed: transit.malformed,
        via,
    }
}

//! Fragments at an interface: by which ports the rest of a packet goes, and what of them no hook of a socket
//! counted. Tells nothing by itself.

use monitor_ebpf::sample::{FlowCounters, FlowKey, FragmentKey, FragmentPorts};

use super::{
    flow::confirm,
    kernel::{Fragment, Packet},
    maps::{FLOWS, FRAGMENTS, add},
};

#[inline(always)]
pub fn join(packet: &mut Packet) {
    let (id, is_first) = match packet.fragment {
        Fragment::Whole => return,
        Fragment::First { id } => (id, true),
        Fragment::Later { id } => (id, false),
    };
    let key = FragmentKey {
        source: packet.source,
        destination: packet.destination,
        id,
        transport: u32::from(packet.transport),
    };
    if is_first {
        let ports = FragmentPorts {
            source_port: packet.source_port,
            destination_port: packet.destination_port,
        };
        let _ = FRAGMENTS.insert(&key, &ports, 0);
    } else if let Some(ports) = FRAGMENTS.get_ptr(&key) {
        // SAFETY: a value of the table; the verifier proved the pointer.
        let ports = unsafe { *ports };
        packet.source_port = ports.source_port;
        packet.destination_port = ports.destination_port;
    }
}

/// The rest of a packet that its socket cut by hand: the socket's hook told it without the ports that are
/// known here from its beginning, or from that of another with the same number.
#[inline(always)]
pub fn is_handmade_rest(key: &FlowKey, packet: &Packet) -> bool {
    if !matches!(packet.fragment, Fragment::Later { .. }) || key.cookie == 0 {
        return false;
    }
    let Some(counters) = FLOWS.get_ptr_mut(&FlowKey { remote_port: 0, ..*key }) else {
        return false;
    };
    // SAFETY: a value of the table; the verifier proved the pointer.
    let is_handmade = unsafe { (*counters).fragmented } != 0;
    is_handmade && confirm(counters)
}

/// A packet that its socket's hook counted before it was cut in pieces: each piece has headers of
/// its own. IPv4 copies its header, IPv6 adds an extension to each (RFC 8200, 4.5).
#[inline(always)]
pub fn count(counters: *mut FlowCounters, packet: &Packet) {
    const FRAGMENT: u64 = 8;
    // SAFETY: a value of the table; the verifier proved the pointer.
    if unsafe { (*counters).fragmented } != 0 {
        return;
    }
    let (bytes, packets) = match (packet.fragment, is_v4(&packet.source)) {
        (Fragment::First { .. }, false) => (FRAGMENT, 0),
        (Fragment::Later { .. }, false) => (40 + FRAGMENT, 1),
        (Fragment::Later { .. }, true) => (20, 1),
        _ => return,
    };
    // SAFETY: a value of the table; the verifier proved the pointer.
    unsafe {
        add(&raw mut (*counters).sent_bytes, bytes);
        add(&raw mut (*counters).sent_packets, packets);
    }
}

#[inline(always)]
fn is_v4(address: &[u8; 16]) -> bool {
    address[..12] == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]
}

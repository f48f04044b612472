//! What names a destination: questions to port 53 and what comes back, and the first bytes of TLS
//! and QUIC, also where they begin late or in pieces. It copies what looks right and interprets
//! nothing; user space does.

use aya_ebpf::{Global, bindings::__sk_buff};
use monitor_ebpf::{
    loss::Loss,
    sample::{
        ANSWERS, FlowCounters, FlowKey, HELLO_BYTES, HELLO_PACKETS, NAME_PAYLOADS, NAMING_DONE,
        NAMING_LOOKS, PLAIN_BYTES, PLAIN_PACKETS, QUIC_LEAST, QUIC_PACKETS, SCRAP, SocketOwner,
        UNANSWERED, stream, told,
    },
    settings::naming,
};

use super::{
    direct, emit,
    kernel::{self, Packet, TCP, UDP},
    maps::{self, FLOWS},
};

/// Bits of [`naming`]; user space sets it before load.
#[unsafe(no_mangle)]
static NAMING: Global<u8> = Global::new(naming::ANSWERS);

const DNS: u16 = 53;
/// Long header with the fixed bit (RFC 9000, 17.2), and where a version keeps the type Initial.
const LONG_HEADER: u8 = 0xc0;
const VERSION_1: [u8; 4] = [0, 0, 0, 1];
const VERSION_2: [u8; 4] = [0x6b, 0x33, 0x43, 0xcf];
/// A record of handshake (RFC 8446, 5.1), and the message that begins one (4).
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SYN: u8 = 2;

#[inline(always)]
fn is_concerned(packet: &Packet) -> bool {
    (packet.transport == TCP || packet.transport == UDP) && packet.transport_at != 0
}

/// The payload of a TCP or UDP packet.
struct Payload {
    is_tcp: bool,
    at: u32,
    /// At least 1.
    bytes: u32,
    /// TCP's; else 0.
    sequence: u32,
}

#[inline(always)]
fn payload(skb: *mut __sk_buff, transport: u8, transport_at: u32) -> Option<Payload> {
    let is_tcp = kernel::forgotten(skb, u32::from(transport)) == u32::from(TCP);
    let transport_at = kernel::forgotten(skb, transport_at);
    let mut at = transport_at + 8;
    let mut sequence = 0;
    if is_tcp {
        // From the sequence number to the flags.
        let header: [u8; 10] = kernel::load(skb, transport_at + 4)?;
        sequence = u32::from_be_bytes([header[0], header[1], header[2], header[3]]);
        // What a SYN carries (RFC 7413) begins behind it.
        if header[9] & SYN != 0 {
            sequence = sequence.wrapping_add(1);
        }
        at = transport_at + u32::from(header[8] >> 4) * 4;
    }
    at = kernel::forgotten(skb, at);
    let (length, _) = kernel::lengths(skb);
    (length > at).then(|| Payload { is_tcp, at, bytes: length - at, sequence })
}

/// A packet of a known flow came in.
#[inline(always)]
pub fn arrive(skb: *mut __sk_buff, packet: &Packet, flow: &FlowKey, counters: *mut FlowCounters) {
    if packet.source_port != DNS || !is_concerned(packet) {
        return;
    }
    let wanted = NAMING.load();
    if wanted == 0 {
        return;
    }
    let Some(payload) = payload(skb, packet.transport, packet.transport_at) else { return };
    if !payload.is_tcp {
        let Some(header) = kernel::load::<12>(skb, payload.at) else { return };
        let is_answer = header[2] & 0xf8 == 0x80;
        let is_empty = header[6] | header[7] == 0;
        if !is_answer || (is_empty && wanted & naming::QUERIES == 0) {
            return;
        }
    }
    // SAFETY: a value of the table; the verifier proved the pointer.
    unsafe {
        if (*counters).naming_state == 0 {
            maps::count(Loss::NameExcess);
            return;
        }
        (*counters).naming_state -= 1;
        (*counters).naming = 0;
    }
    let storage = kernel::storage(kernel::packet_socket(skb).socket, false);
    tell(skb, told::ANSWER, &payload, flow, storage.as_deref());
}

/// Whether a packet that comes in may be told for what it says.
#[inline(always)]
pub fn may_answer(packet: &Packet) -> bool {
    packet.source_port == DNS && NAMING.load() != 0
}

/// Whether a packet that goes out names nothing, as [`leave`] finds; then it is counted as looked at.
/// `payload`: of `direct::Plain`.
#[inline(always)]
pub fn has_none(counters: *mut FlowCounters, flow: &FlowKey, payload: u32) -> bool {
    // SAFETY: a value of the table; the verifier proved the pointer.
    let counters = unsafe { &mut *counters };
    if NAMING.load() == 0 || counters.naming >= NAMING_LOOKS || payload == direct::NOTHING {
        return true;
    }
    let is_long = payload as u8 & LONG_HEADER == LONG_HEADER;
    if flow.transport != UDP || flow.remote_port == DNS || is_long {
        return false;
    }
    begin_datagrams(counters);
    true
}

/// A packet goes out: what [`leave`] needs to know of it. 0: it names nothing.
#[inline(always)]
pub fn outline(packet: &Packet) -> u32 {
    if NAMING.load() == 0 || !is_concerned(packet) {
        return 0;
    }
    packet.transport_at << 8 | u32::from(packet.transport)
}

/// A packet of a known flow goes out; the first one too, which made it known.
#[inline(always)]
pub fn leave(skb: *mut __sk_buff, outline: u32, flow: &FlowKey) {
    if outline == 0 {
        return;
    }
    let Some(counters) = FLOWS.get_ptr_mut(flow) else { return };
    // SAFETY: a value of the table; the verifier proved the pointer.
    let counters = unsafe { &mut *counters };
    let Some(payload) = payload(skb, outline as u8, outline >> 8) else { return };
    let storage = kernel::storage(kernel::packet_socket(skb).socket, false);
    // One for both: 512 bytes of stack are all.
    let mut first = [0; 16];
    let what = if flow.remote_port == DNS {
        ask(counters)
    } else if payload.is_tcp {
        match &storage {
            // It was accepted: its other side chose where to.
            Some(storage) if storage.cookie != flow.cookie && storage.cookie != 0 => {
                counters.naming = NAMING_DONE;
                0
            }
            _ => look_at_stream(skb, &payload, counters, &mut first),
        }
    } else {
        look_at_datagram(skb, &payload, counters, &mut first)
    };
    let what = kernel::forgotten(skb, u32::from(what)) as u8;
    if what != 0 {
        tell(skb, what, &payload, flow, storage.as_deref());
    }
}

/// Something goes to a name server.
#[inline(always)]
fn ask(counters: &mut FlowCounters) -> u8 {
    if counters.naming >= UNANSWERED {
        maps::count(Loss::NameExcess);
        return 0;
    }
    counters.naming += 1;
    counters.naming_state = counters.naming_state.saturating_add(ANSWERS);
    told::QUERY
}

/// What a segment is ([`told`], 0: nothing that names).
#[inline(always)]
fn look_at_stream(
    skb: *mut __sk_buff,
    payload: &Payload,
    counters: &mut FlowCounters,
    first: &mut [u8; 16],
) -> u8 {
    let Some(there) = kernel::load_into(skb, payload.at, payload.bytes, first) else { return 0 };
    let is_first = counters.naming == 0;
    counters.naming += 1;
    if is_first {
        counters.naming_left = PLAIN_PACKETS;
        counters.naming_until = payload.sequence.wrapping_add(PLAIN_BYTES);
    }
    let is_within = |until: u32| (payload.sequence.wrapping_sub(until) as i32) < 0;
    let is_plain = counters.naming_state == stream::PLAIN;
    let is_hello = first[0] == HANDSHAKE
        && (there < 2 || first[1] == 3)
        && (there < 6 || first[5] == CLIENT_HELLO);
    if is_hello && (is_plain || !is_within(counters.naming_until)) {
        let record = u32::from(u16::from_be_bytes([first[3], first[4]]));
        let message = u32::from_be_bytes([0, first[6], first[7], first[8]]) + 4;
        // One that goes on in a further record ends nobody knows where.
        let is_known = there >= 9 && record >= message;
        let bytes = if is_known { message + 5 } else { HELLO_BYTES };
        counters.naming_state = if is_known && is_first { stream::WHOLE } else { stream::TLS };
        counters.naming_left = HELLO_PACKETS;
        counters.naming_until = payload.sequence.wrapping_add(bytes);
        if is_known && is_first && payload.bytes >= bytes {
            counters.naming = NAMING_DONE;
        }
    } else if !is_within(counters.naming_until) {
        if counters.naming_state == stream::WHOLE {
            counters.naming = NAMING_DONE;
        }
        return 0;
    }
    if counters.naming_left == 0 {
        return 0;
    }
    let is_plain = counters.naming_state == stream::PLAIN;
    if is_plain || payload.bytes >= SCRAP || payload.sequence & 7 == 0 {
        counters.naming_left -= 1;
    } else if counters.naming > 1 {
        counters.naming -= 1;
    }
    if is_plain { told::PLAIN } else { told::TLS }
}

#[inline(always)]
fn begin_datagrams(counters: &mut FlowCounters) {
    if counters.naming == 0 {
        counters.naming_left = QUIC_PACKETS;
    }
    counters.naming += 1;
}

/// What a datagram is.
#[inline(always)]
fn look_at_datagram(
    skb: *mut __sk_buff,
    payload: &Payload,
    counters: &mut FlowCounters,
    first: &mut [u8; 16],
) -> u8 {
    begin_datagrams(counters);
    let Some(there) = kernel::load_into(skb, payload.at, payload.bytes, first) else { return 0 };
    if there < 5 {
        return 0;
    }
    let version = [first[1], first[2], first[3], first[4]];
    let kind = first[0] >> 4 & 3;
    let is_told = match version {
        VERSION_1 => kind == 0,
        VERSION_2 => kind == 1,
        // A server answers one that it does not know with those that it does.
        _ => version != [0; 4] && payload.bytes >= QUIC_LEAST,
    };
    if first[0] & LONG_HEADER != LONG_HEADER || !is_told || counters.naming_left == 0 {
        return 0;
    }
    counters.naming_left -= 1;
    told::QUIC
}

#[inline(always)]
fn tell(
    skb: *mut __sk_buff,
    what: u8,
    payload: &Payload,
    flow: &FlowKey,
    storage: Option<&SocketOwner>,
) {
    let name =
        emit::Name { what, at: payload.at, bytes: payload.bytes, sequence: payload.sequence };
    const SMALL: usize = NAME_PAYLOADS[0];
    const MIDDLE: usize = NAME_PAYLOADS[1];
    const LARGE: usize = NAME_PAYLOADS[2];
    const LARGEST: usize = NAME_PAYLOADS[3];
    if payload.bytes <= SMALL as u32 {
        emit::name::<SMALL>(skb, &name, flow, storage);
    } else if payload.bytes <= MIDDLE as u32 {
        emit::name::<MIDDLE>(skb, &name, flow, storage);
    } else if payload.bytes <= LARGE as u32 {
        emit::name::<LARGE>(skb, &name, flow, storage);
    } else {
        emit::name::<LARGEST>(skb, &name, flow, storage);
    }
}

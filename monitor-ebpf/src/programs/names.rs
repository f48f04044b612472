//! What names a destination: answers from port 53 to sockets that had asked there, and the first
//! bytes of TLS and QUIC. It copies what looks right and interprets nothing; user space does.

use aya_ebpf::{Global, bindings::__sk_buff};
use monitor_ebpf::{
    sample::{
        FlowCounters, FlowKey, NAME_PAYLOADS, NAMING_DONE, NAMING_PACKETS, NameHead, SocketOwner,
        kind, told,
    },
    settings::naming,
};

use super::{
    emit,
    kernel::{self, Packet, PacketSocket, TCP, UDP},
};

/// Bits of [`naming`]; user space sets it before load.
#[unsafe(no_mangle)]
static NAMING: Global<u8> = Global::new(naming::ANSWERS);

const DNS: u16 = 53;
/// Long header with the fixed bit (RFC 9000, 17.2), and where a version keeps the type Initial.
const LONG_HEADER: u8 = 0xc0;
const VERSION_1: [u8; 4] = [0, 0, 0, 1];
const VERSION_2: [u8; 4] = [0x6b, 0x33, 0x43, 0xcf];

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
fn payload(skb: *mut __sk_buff, packet: &Packet) -> Option<Payload> {
    let is_tcp = kernel::forgotten(skb, u32::from(packet.transport)) == u32::from(TCP);
    let transport_at = kernel::forgotten(skb, packet.transport_at);
    let mut at = transport_at + 8;
    let mut sequence = 0;
    if is_tcp {
        // From the sequence number to the length of the header.
        let header: [u8; 9] = kernel::load(skb, transport_at + 4)?;
        sequence = u32::from_be_bytes([header[0], header[1], header[2], header[3]]);
        at = transport_at + u32::from(header[8] >> 4) * 4;
    }
    at = kernel::forgotten(skb, at);
    let (length, _) = kernel::lengths(skb);
    (length > at).then(|| Payload { is_tcp, at, bytes: length - at, sequence })
}

/// A packet of a known flow came in.
#[inline(always)]
pub fn arrive(skb: *mut __sk_buff, packet: &Packet, flow: &FlowKey) {
    if packet.source_port != DNS || !is_concerned(packet) {
        return;
    }
    let wanted = NAMING.load();
    if wanted == 0 {
        return;
    }
    let Some(payload) = payload(skb, packet) else { return };
    if !payload.is_tcp {
        let Some(header) = kernel::load::<12>(skb, payload.at) else { return };
        let is_answer = header[2] & 0xf8 == 0x80;
        let is_empty = header[6] | header[7] == 0;
        if !is_answer || (is_empty && wanted & naming::QUERIES == 0) {
            return;
        }
    }
    let storage = kernel::storage(kernel::packet_socket(skb).socket, false);
    tell(skb, told::ANSWER, &payload, flow, storage.as_deref());
}

/// A packet goes out whose flow is known: connect or sendmsg made it so, before the first packet.
#[inline(always)]
pub fn leave(
    skb: *mut __sk_buff,
    packet: &Packet,
    socket: &PacketSocket,
    flow: &FlowKey,
    counters: *mut FlowCounters,
) {
    // SAFETY: a value of the table; the verifier proved the pointer.
    let seen = unsafe { (*counters).naming };
    let wanted = NAMING.load();
    let is_query = packet.destination_port == DNS && wanted & naming::QUERIES != 0;
    if wanted == 0 || (seen >= NAMING_PACKETS && !is_query) || !is_concerned(packet) {
        return;
    }
    let is_query = kernel::forgotten(skb, u32::from(is_query)) != 0;
    let Some(payload) = payload(skb, packet) else { return };
    let (what, seen) =
        if is_query { (told::QUERY, NAMING_DONE) } else { look(skb, &payload, seen) };
    // SAFETY: a value of the table; the verifier proved the pointer.
    unsafe { (*counters).naming = seen };
    if what != 0 {
        let storage = kernel::storage(socket.socket, false);
        tell(skb, what, &payload, flow, storage.as_deref());
    }
}

/// What the payload is ([`told`], 0: nothing that names), and how far the flow is looked at then.
#[inline(always)]
fn look(skb: *mut __sk_buff, payload: &Payload, seen: u8) -> (u8, u8) {
    if payload.is_tcp {
        if seen > 0 {
            return (told::TLS, seen + 1);
        }
        let Some(first) = kernel::load::<6>(skb, payload.at) else { return (0, NAMING_DONE) };
        // A record of handshake (RFC 8446, 5.1) that begins with a ClientHello (4).
        if first[0] != 0x16 || first[1] != 3 || first[5] != 1 {
            return (0, NAMING_DONE);
        }
        let record = u32::from(u16::from_be_bytes([first[3], first[4]])) + 5;
        return (told::TLS, if payload.bytes >= record { NAMING_DONE } else { 1 });
    }
    let Some(first) = kernel::load::<5>(skb, payload.at) else { return (0, NAMING_DONE) };
    let version = [first[1], first[2], first[3], first[4]];
    let kind = first[0] >> 4 & 3;
    let is_initial = first[0] & LONG_HEADER == LONG_HEADER
        && ((version == VERSION_1 && kind == 0) || (version == VERSION_2 && kind == 1));
    if is_initial { (told::QUIC, seen + 1) } else { (0, NAMING_DONE) }
}

#[inline(always)]
fn tell(
    skb: *mut __sk_buff,
    what: u8,
    payload: &Payload,
    flow: &FlowKey,
    storage: Option<&SocketOwner>,
) {
    let mut head = NameHead {
        kind: kind::NAME,
        what,
        reserved: [0; 3],
        at_ns: kernel::now_ns(),
        flow: *flow,
        started_ns: 0,
        tgid: 0,
        sequence: payload.sequence,
        payload_bytes: payload.bytes,
        bytes: 0,
    };
    if let Some(storage) = storage {
        let owner = if storage.user.tgid == 0 { &storage.creator } else { &storage.user };
        head.tgid = owner.tgid;
        head.started_ns = owner.started_ns;
    }
    const SMALL: usize = NAME_PAYLOADS[0];
    const MIDDLE: usize = NAME_PAYLOADS[1];
    const LARGE: usize = NAME_PAYLOADS[2];
    if payload.bytes <= SMALL as u32 {
        emit::name::<SMALL>(&head, skb, payload.at);
    } else if payload.bytes <= MIDDLE as u32 {
        emit::name::<MIDDLE>(&head, skb, payload.at);
    } else {
        emit::name::<LARGE>(&head, skb, payload.at);
    }
}

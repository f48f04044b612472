//! The known path: a packet of a flow that is in the table, in the shape that nearly all have, counted by as
//! little as can be. Each function says whether it did all that there is to do; if not, it did nothing, and
//! the hook goes its whole way. Tells nothing.

use aya_ebpf::bindings::__sk_buff;
use monitor_ebpf::{
    sample::{FlowCounters, FlowKey, Interface, SocketOwner, known, once, path, side},
    settings,
};

use super::{
    direct::{self, Plain},
    flow,
    kernel::{self, Packet},
    maps::{FLOWS, FORGOTTEN, ONCE, add},
    mark, names, transit,
};

/// Places in the packet's own memory.
const FORGOTTEN_BEFORE: usize = 1;
const NAMED: usize = 2;

/// Whether the packet's destination was the one that its socket named last: then it is in no table that an
/// attempt was told.
#[inline(always)]
pub fn was_named(skb: *mut __sk_buff) -> bool {
    kernel::kept::<NAMED>(skb) != 0
}

/// A packet leaves its socket.
#[inline(always)]
pub fn leaves(skb: *mut __sk_buff) -> bool {
    kernel::keep::<NAMED>(skb, 0);
    let Some(plain) = Plain::bare(skb) else { return false };
    let packet = &plain.packet;
    let socket = kernel::packet_socket(skb);
    if socket.socket.is_null() || socket.socket_type == kernel::SOCK_RAW {
        return false;
    }
    let key = key(kernel::cookie(skb), packet.destination, packet.destination_port, packet);
    // Before the table is asked: what is removed from it later is counted later.
    kernel::keep::<FORGOTTEN_BEFORE>(skb, forgotten(key.cookie).into());
    let Some(counters) = FLOWS.get_ptr_mut(&key) else {
        if let Some(storage) = kernel::storage(socket.socket, false)
            && forget(storage, &key)
        {
            kernel::keep::<NAMED>(skb, 1);
        }
        return false;
    };
    let (_, way) = kernel::way_out(skb);
    // SAFETY: a value of the table; the verifier proved the pointer.
    let (sent, path) = unsafe { ((*counters).sent_packets, (*counters).path) };
    if sent == 0 || path != way || !names::has_none(counters, &key, plain.payload) {
        return false;
    }
    // SAFETY: as above.
    unsafe {
        add(&raw mut (*counters).sent_bytes, packet.bytes);
        add(&raw mut (*counters).sent_packets, 1);
    }
    touch(counters);
    if let Some(storage) = kernel::storage(socket.socket, false) {
        note(storage, counters, &key, kernel::kept::<FORGOTTEN_BEFORE>(skb) as u16);
    }
    true
}

/// A packet comes in for a socket.
#[inline(always)]
pub fn arrives(skb: *mut __sk_buff) -> bool {
    let Some(plain) = Plain::bare(skb) else { return false };
    let packet = &plain.packet;
    if names::may_answer(packet) {
        return false;
    }
    let key = key(kernel::cookie(skb), packet.source, packet.source_port, packet);
    let Some(counters) = FLOWS.get_ptr_mut(&key) else { return false };
    // SAFETY: a value of the table; the verifier proved the pointer.
    unsafe {
        add(&raw mut (*counters).received_bytes, packet.bytes);
        add(&raw mut (*counters).received_packets, 1);
    }
    touch(counters);
    true
}

/// A packet leaves by an interface that leads outside: its socket's hook has just counted it into a flow of
/// which an interface was given a packet before, or it is on its way through, of a flow that is known.
#[inline(always)]
pub fn goes_out(skb: *mut __sk_buff, interface: *mut Interface) -> bool {
    // SAFETY: values of the table; the verifier proved the pointer.
    let (link_bytes, flags) = unsafe {
        (
            (&raw const (*interface).header_bytes).read_volatile(),
            (&raw const (*interface).flags).read_volatile(),
        )
    };
    if flags != side::OUTSIDE || link_bytes != direct::ETHERNET || mark::is_any(skb) {
        return false;
    }
    let Some(plain) = Plain::framed(skb) else { return false };
    let packet = &plain.packet;
    let is_known =
        if kernel::has_socket(skb) { is_noted(skb, packet) } else { passes_through(skb, packet) };
    if is_known {
        let bytes = u64::from(kernel::lengths(skb).0);
        // SAFETY: as above.
        unsafe {
            add(&raw mut (*interface).link_bytes, bytes);
            add(&raw mut (*interface).frames, 1);
        }
    }
    is_known
}

/// Whether its socket's hook counted a packet like this last.
#[inline(always)]
fn is_noted(skb: *mut __sk_buff, packet: &Packet) -> bool {
    let Some(socket) = kernel::origin(skb, packet) else { return false };
    let Some(storage) = kernel::storage(socket, false) else { return false };
    Place::new(&packet.destination, packet.destination_port, packet.transport)
        .is_in(storage, known::COUNTED)
}

#[inline(always)]
fn passes_through(skb: *mut __sk_buff, packet: &Packet) -> bool {
    let Some(transit) = transit::of(skb, packet) else { return false };
    if transit.cookie != 0 {
        // Of a socket in another network namespace of this host: if its hook counts it, nothing else does.
        let socket = transit::socket_key(transit, 0);
        if let Some(counters) = FLOWS.get_ptr_mut(&socket)
            && flow::confirm(counters)
        {
            return true;
        }
    }
    let mut key =
        key(flow::stranger(&transit.source), packet.destination, packet.destination_port, packet);
    key.local_port = transit.source_port;
    let Some(counters) = FLOWS.get_ptr_mut(&key) else { return false };
    // SAFETY: a value of the table; the verifier proved the pointer.
    unsafe {
        add(&raw mut (*counters).sent_bytes, packet.bytes);
        add(&raw mut (*counters).sent_packets, 1);
    }
    touch(counters);
    true
}

#[inline(always)]
fn key(cookie: u64, remote: [u8; 16], remote_port: u16, packet: &Packet) -> FlowKey {
    FlowKey {
        cookie,
        remote,
        remote_port,
        local_port: 0,
        transport: packet.transport,
        malformed: 0,
        via: 0,
    }
}

/// The time of the newest packet: the clock that is read here may be behind what began the flow.
#[inline(always)]
fn touch(counters: *mut FlowCounters) {
    let now = kernel::recently_ns();
    // SAFETY: a value of the table; the verifier proved the pointer.
    unsafe {
        if now > (*counters).last_ns {
            (*counters).last_ns = now;
        }
    }
}

/// For the interface that the packet is on its way to.
#[inline(always)]
fn note(storage: &mut SocketOwner, counters: *mut FlowCounters, key: &FlowKey, forgotten: u16) {
    if storage.known & known::ATTEMPTED != 0 {
        // Its packets may go elsewhere than it names, so that this is named again.
        return;
    }
    // SAFETY: a value of the table; the verifier proved the pointer.
    let is_confirmed = unsafe { (*counters).confirmed != 0 && (*counters).path == path::SOCKET };
    if is_confirmed {
        write(storage, known::COUNTED, &Place::of(key), forgotten);
    } else if storage.known != 0 {
        storage.known = 0;
    }
}

/// A packet to there begins a flow, or is in none. Whether it was the destination that was named last.
#[inline(always)]
fn forget(storage: &mut SocketOwner, key: &FlowKey) -> bool {
    let place = Place::of(key);
    let is_named = place.is_in(storage, known::ATTEMPTED);
    if is_named || storage.known & known::COUNTED != 0 {
        storage.known = 0;
    }
    is_named
}

/// Whether the socket sent there last, or named it and sent nothing since, and user space did not forget it.
#[inline(always)]
pub fn is_last(storage: &SocketOwner, key: &FlowKey) -> bool {
    let place = Place::of(key);
    let is_there = place.is_in(storage, known::COUNTED) || place.is_in(storage, known::ATTEMPTED);
    // Who inherited it sent nothing.
    is_there && storage.cookie == key.cookie && storage.forgotten == forgotten(key.cookie)
}

/// Whether the socket named it last, and sent nothing there.
#[inline(always)]
pub fn is_attempted(storage: &SocketOwner, key: &FlowKey) -> bool {
    Place::of(key).is_in(storage, known::ATTEMPTED)
}

/// Remembers that an attempt at a flow was told, until its packet comes: at the socket, where that takes next
/// to nothing; and what was there before in the table, if nothing went there.
#[inline(always)]
pub fn attempt(storage: Option<&mut SocketOwner>, key: &FlowKey) {
    let Some(storage) = storage else {
        // LRU: it fails only for want of memory, and then the attempt is told again.
        let _ = ONCE.insert(key, &once::ATTEMPT, 0);
        return;
    };
    let forgotten = forgotten(key.cookie);
    if storage.known & known::ATTEMPTED != 0 && storage.forgotten == forgotten {
        let before = FlowKey {
            cookie: key.cookie,
            remote: Place::remote(storage),
            remote_port: (storage.known >> 32) as u16,
            local_port: 0,
            transport: (storage.known >> 48) as u8,
            malformed: 0,
            via: 0,
        };
        let _ = ONCE.insert(&before, &once::ATTEMPT, 0);
    }
    write(storage, known::ATTEMPTED, &Place::of(key), forgotten);
}

#[inline(always)]
fn forgotten(cookie: u64) -> u16 {
    let count = FORGOTTEN.get_ptr(cookie as u32 & (settings::FORGOTTEN - 1));
    // SAFETY: a value of the map, read whole.
    count.map_or(0, |count| unsafe { count.read_volatile() } as u16)
}

/// Written only where it changes: most packets find what they would write.
#[inline(always)]
fn write(storage: &mut SocketOwner, what: u64, place: &Place, forgotten: u16) {
    if !place.is_in(storage, what) {
        let word = &raw mut storage.known;
        // SAFETY: a field of the storage. Another CPU finds nothing rather than half of it.
        unsafe { word.write_volatile(0) };
        (storage.known_high, storage.known_low) = (place.high, place.low);
        storage.forgotten = forgotten;
        // SAFETY: as above.
        unsafe { word.write_volatile(what | place.word) };
    } else if storage.forgotten != forgotten {
        storage.forgotten = forgotten;
    }
}

/// A destination as `SocketOwner` has it.
struct Place {
    word: u64,
    high: u64,
    low: u64,
}

impl Place {
    #[inline(always)]
    fn of(key: &FlowKey) -> Self {
        Self::new(&key.remote, key.remote_port, key.transport)
    }

    #[inline(always)]
    fn new(remote: &[u8; 16], port: u16, transport: u8) -> Self {
        let (high, low) = direct::halves(remote);
        let word = u64::from(port) << 32 | u64::from(transport) << 48;
        if high == 0 && low & 0xffff_ffff == 0xffff_0000 {
            Self { word: word | low >> 32, high: 0, low: 0 }
        } else {
            Self { word: word | known::V6, high, low }
        }
    }

    #[inline(always)]
    fn is_in(&self, storage: &SocketOwner, what: u64) -> bool {
        storage.known == what | self.word
            && (self.word & known::V6 == 0
                || (storage.known_high == self.high && storage.known_low == self.low))
    }

    #[inline(always)]
    fn remote(storage: &SocketOwner) -> [u8; 16] {
        if storage.known & known::V6 != 0 {
            direct::joined(storage.known_high, storage.known_low)
        } else {
            direct::mapped(storage.known as u32)
        }
    }
}

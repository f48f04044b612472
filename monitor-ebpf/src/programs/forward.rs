//! tc hooks at interfaces: what leaves without an inet socket whose packets the cgroup's hooks see,
//! each packet once. They always let it pass, and change nothing of it but `skb->hash`, which leads
//! from a packet that leaves to the one that came in, before NAT, and `skb->tc_index` (`mark`).

use aya_ebpf::{
    bindings::__sk_buff,
    helpers::generated::{bpf_get_hash_recalc, bpf_set_hash},
    macros::classifier,
    programs::TcContext,
};
use monitor_ebpf::sample::{FlowKey, Interface, Transit, path, side};

use super::{
    direct::{self, Plain},
    emit::Passage,
    flow, fragments,
    frame::{self, Opened},
    headers,
    kernel::{self, Packet, Sender},
    known, link,
    maps::{self, FLOWS, INTERFACES, TRANSITS, TUNNELS},
    mark::{self, Above},
    shares, transit,
};

/// `TC_ACT_UNSPEC`, `TCX_NEXT`: the next program decides.
const NEXT: i32 = -1;

#[classifier]
pub fn uplink_egress(context: TcContext) -> i32 {
    leave::<false>(context.skb.skb);
    NEXT
}

/// For kernels where a tc program may ask who runs: right for packet sockets, which send at once.
#[classifier]
pub fn uplink_egress_named(context: TcContext) -> i32 {
    leave::<true>(context.skb.skb);
    NEXT
}

/// Where clients are, or a tunnel ends: remembers the packet as it came, before NAT.
#[classifier]
pub fn device_ingress(context: TcContext) -> i32 {
    let skb = context.skb.skb;
    mark::clear(skb);
    if let Some(interface) = interface(skb) {
        let bytes = link_bytes(interface);
        if bytes == direct::ETHERNET
            && let Some(plain) = Plain::framed(skb)
        {
            enter(skb, interface, &plain.packet);
            return NEXT;
        }
        let opened = open(skb, bytes);
        if opened.is_ip()
            && let Some(packet) = read(skb, opened)
        {
            enter(skb, interface, &packet);
        }
    }
    NEXT
}

/// Counts what goes back to a client, where it belongs to a flow of one.
#[inline(always)]
fn come_back(packet: &Packet) {
    let key = FlowKey {
        cookie: flow::stranger(&packet.destination),
        remote: packet.source,
        remote_port: packet.source_port,
        local_port: packet.destination_port,
        transport: packet.transport,
        malformed: packet.malformed,
        via: 0,
    };
    let Some(counters) = FLOWS.get_ptr_mut(&key) else { return };
    // SAFETY: a value of the table; the verifier proved the pointer.
    unsafe {
        maps::add(&raw mut (*counters).received_bytes, packet.bytes);
        maps::add(&raw mut (*counters).received_packets, packet.packets);
        (*counters).last_ns = kernel::now_ns();
    }
}

#[inline(always)]
fn interface(skb: *mut __sk_buff) -> Option<*mut Interface> {
    INTERFACES.get_ptr_mut(&ifindex(skb))
}

/// Bytes of its link header, without VLAN tags.
#[inline(always)]
fn link_bytes(interface: *mut Interface) -> u32 {
    // SAFETY: a value of the table; the verifier proved the pointer.
    unsafe { (*interface).header_bytes }
}

#[inline(always)]
fn ifindex(skb: *mut __sk_buff) -> u32 {
    // SAFETY: a context field.
    unsafe { (&raw const (*skb).ifindex).read_volatile() }
}

/// What is before IP, by the link header; nothing where there is none.
#[inline(always)]
fn open(skb: *mut __sk_buff, link_bytes: u32) -> Opened {
    if link_bytes >= 14 { frame::open(skb, link_bytes) } else { Opened::bare(skb, link_bytes) }
}

/// The IP packet, its ports also where only its first fragment has them.
#[inline(always)]
fn read(skb: *mut __sk_buff, opened: Opened) -> Option<Packet> {
    let mut packet = headers::packet::<true>(skb, opened.at(), opened.is_v6())?;
    fragments::join(&mut packet);
    packet.forget(skb);
    Some(packet)
}

#[inline(always)]
fn enter(skb: *mut __sk_buff, interface: *mut Interface, packet: &Packet) {
    let mut transit = Transit {
        source: packet.source,
        destination: packet.destination,
        source_port: packet.source_port,
        destination_port: packet.destination_port,
        ifindex: ifindex(skb),
        cookie: kernel::cookie(skb),
        mac: [0; 6],
        transport: packet.transport,
        malformed: packet.malformed,
    };
    let mut hash = transit::digest(packet);
    // A flow that another has the place of takes the next; a third pushes the first out.
    for _ in 0..2 {
        match TRANSITS.get_ptr(&hash) {
            // SAFETY: a value of the table; the verifier proved the pointer.
            Some(known) if unsafe { !transit::is_of(&*known, packet) } => {
                hash = hash.rotate_left(16).wrapping_mul(0x9e37_79b1) | 1;
            }
            // The first interface says more than the bridge behind it.
            Some(_) => {
                set_hash(skb, hash);
                return;
            }
            None => break,
        }
    }
    // SAFETY: a value of the table; the verifier proved the pointer.
    if unsafe { (*interface).header_bytes } >= 14
        && let Some(mac) = kernel::load::<6>(skb, 6)
    {
        transit.mac = mac;
    }
    let _ = TRANSITS.insert(&hash, &transit, 0);
    set_hash(skb, hash);
}

#[inline(always)]
fn set_hash(skb: *mut __sk_buff, hash: u32) {
    // SAFETY: the helper takes the program's context.
    unsafe { bpf_set_hash(skb, hash) };
}

/// What is to be done with what leaves.
mod todo {
    /// No device above has seen it.
    pub const FIRST: u32 = 1;
    /// To be counted as an answer, if it is one.
    pub const COME_BACK: u32 = 2;
    pub const TELL: u32 = 4;
    pub const TELL_FRAME: u32 = 8;
}

/// Bits of [`todo`]. `own`: bits of the interface that it leaves by.
#[inline(always)]
fn treatment(skb: *mut __sk_buff, opened: Opened, own: u32) -> u32 {
    // Whoever gets what belies its link header goes by that, and finds no such addresses. Of an inet
    // socket it is the packet that its hook told.
    let is_frame = !opened.is_ip() || (opened.is_belied(skb) && !frame::is_of_inet_socket(skb));
    let tell = if is_frame { todo::TELL_FRAME } else { todo::TELL };
    let todo = match mark::of(skb) {
        Some(Above::Upper) => 0,
        // What a tunnel's device was given is inside another packet by now, if there is no such
        // wrapping that shows what is inside.
        Some(Above::Tunnel) if !opened.is_ip() || opened.is_wrapped() => 0,
        Some(Above::Tunnel) => tell,
        None if own & side::OUTSIDE != 0 => todo::FIRST | tell,
        // It goes to who is here: no way out, but an answer perhaps.
        None if came_from_outside(skb) => todo::FIRST | todo::COME_BACK,
        // What began the other way is told all the same: who is outside could send first, so that
        // what goes to it seemed to come back.
        None => todo::FIRST | todo::COME_BACK | tell,
    };
    // However it came about.
    kernel::forgotten(skb, todo)
}

#[inline(always)]
fn came_from_outside(skb: *mut __sk_buff) -> bool {
    // SAFETY: a context field.
    let from = unsafe { (&raw const (*skb).ingress_ifindex).read_volatile() };
    from != 0 && flags(from) & side::OUTSIDE != 0
}

/// Bits of [`side`]; none of an interface that is not watched.
#[inline(always)]
fn flags(ifindex: u32) -> u32 {
    // SAFETY: a value of the table; the verifier proved the pointer.
    INTERFACES.get_ptr(&ifindex).map_or(0, |it| unsafe { (*it).flags })
}

/// Read anew each time: what the verifier learnt of them by a branch would multiply the ways from there.
#[inline(always)]
fn flags_of(interface: *mut Interface) -> u32 {
    // SAFETY: a value of the table; the verifier proved the pointer.
    unsafe { (&raw const (*interface).flags).read_volatile() }
}

/// Notes at the packet, for devices below, that it was told here.
#[inline(always)]
fn go_on(skb: *mut __sk_buff, interface: *mut Interface) {
    let own = flags_of(interface);
    if own & side::TUNNEL != 0 {
        mark::put(skb, Above::Tunnel);
    } else if own & side::UPPER != 0 {
        mark::put(skb, Above::Upper);
    }
}

#[inline(always)]
fn leave<const NAMED: bool>(skb: *mut __sk_buff) {
    let Some(interface) = interface(skb) else { return };
    if known::goes_out(skb, interface) {
        return;
    }
    let (bytes, segments) = kernel::lengths(skb);
    let bytes = u64::from(bytes);
    let opened = open(skb, link_bytes(interface));
    let todo = treatment(skb, opened, flags_of(interface));
    let packet = if opened.is_ip() { read(skb, opened) } else { None };
    let segments = packet.as_ref().map_or(segments.max(1).into(), |it| it.packets);
    let todo = kernel::forgotten(skb, todo);
    if NAMED && todo & todo::FIRST != 0 && kernel::is_of_packet_socket(skb) {
        link::passes(bytes, segments);
    }
    // SAFETY: values of the table; the verifier proved the pointer. The helper takes the context.
    unsafe {
        maps::add(&raw mut (*interface).link_bytes, bytes);
        maps::add(&raw mut (*interface).frames, 1);
        maps::add(&raw mut (*interface).cut_packets, segments - 1);
        if flags_of(interface) & side::TUNNEL != 0 {
            let hash = bpf_get_hash_recalc(skb);
            let _ = TUNNELS.insert(&hash, &ifindex(skb), 0);
        }
    }
    match packet {
        Some(packet) if todo & todo::TELL_FRAME == 0 => {
            if segments > 1 {
                let sent = packet.bytes + u64::from(opened.at()) * packet.packets;
                // SAFETY: as above.
                unsafe { maps::add(&raw mut (*interface).cut_bytes, sent - bytes) };
            }
            if todo & todo::COME_BACK != 0 {
                come_back(&packet);
            }
            let todo = kernel::forgotten(skb, todo);
            if todo & todo::TELL != 0 {
                account::<NAMED>(skb, interface, &packet);
            }
        }
        _ if todo & (todo::TELL | todo::TELL_FRAME) != 0 => frame::leave::<NAMED>(skb, opened),
        _ => {}
    }
    go_on(skb, interface);
}

/// Counts the packet, unless its socket's hook did.
#[inline(always)]
fn account<const NAMED: bool>(skb: *mut __sk_buff, interface: *mut Interface, packet: &Packet) {
    let sender = kernel::sender::<NAMED>(skb, packet);
    let mut passage = Passage { ifindex: ifindex(skb), ..Passage::default() };
    let mut local = (packet.source, packet.source_port);
    let mut key = FlowKey {
        cookie: kernel::cookie(skb),
        remote: packet.destination,
        remote_port: packet.destination_port,
        local_port: 0,
        transport: packet.transport,
        malformed: packet.malformed,
        via: packet.via,
    };
    if sender == Sender::Control {
        key.local_port = packet.source_port;
    }
    if fragments::is_handmade_rest(&key, packet) {
        return;
    }
    let mut is_moved = false;
    let known = if key.cookie == 0 { None } else { FLOWS.get_ptr_mut(&key) };
    if let Some(counters) = known {
        // SAFETY: a value of the table; the verifier proved the pointer.
        let path = unsafe { (*counters).path };
        if (path != path::SOCKET && path != path::LOOPBACK) || sender == Sender::TimeWait {
            flow::count(counters, packet, kernel::now_ns());
            return;
        }
        if flow::confirm(counters) {
            fragments::count(counters, packet);
            return;
        }
        is_moved = sender == Sender::Socket;
    } else if key.cookie != 0 {
        is_moved = sender == Sender::Socket && is_another(skb, &key, packet);
    }
    match sender {
        Sender::Packet => {
            passage.path = path::PACKET;
            if NAMED {
                passage.runner = kernel::runner::<false>();
            }
        }
        Sender::Control => passage.path = path::KERNEL,
        // The listener's hook counts it (Linux 6.5; before, nobody does).
        Sender::Handshake => return,
        Sender::Socket | Sender::TimeWait if !is_moved => {
            // SAFETY: a value of the table; the verifier proved the pointer.
            unsafe { maps::add(&raw mut (*interface).unaccounted_bytes, packet.bytes) };
            return;
        }
        // Its socket sent it elsewhere, and this host translated it on its way.
        Sender::Socket | Sender::TimeWait => {
            key.cookie = flow::stranger(&packet.source);
            key.local_port = packet.source_port;
            passage.path = path::KERNEL;
        }
        Sender::Wrapped => wrap(skb, packet, &mut key, &mut passage),
        Sender::Nobody => {
            if !pass_through(skb, packet, &mut key, &mut passage, &mut local) {
                return;
            }
        }
    }
    let now = kernel::now_ns();
    match FLOWS.get_ptr_mut(&key) {
        Some(counters) => flow::count(counters, packet, now),
        None => flow::begin(skb, &key, packet, passage, &local, now),
    }
}

/// Of a socket's packet that no flow is known of, whether it is none that its hook saw as it is: the socket
/// named another address, or the packet was cut within its headers, so that nobody can read them.
#[inline(always)]
fn is_another(skb: *mut __sk_buff, key: &FlowKey, packet: &Packet) -> bool {
    if packet.malformed != 0 {
        return true;
    }
    shares::is_only_attempted(key).unwrap_or_else(|| {
        let storage = kernel::storage(kernel::packet_socket(skb).socket, false);
        storage.is_some_and(|storage| known::is_attempted(storage, key))
    })
}

/// A packet of nobody's: forwarded, out of a tunnel device, or the kernel's own. `false`: it comes
/// from a socket in another network namespace of this host, whose hook counts it.
#[inline(always)]
fn pass_through(
    skb: *mut __sk_buff,
    packet: &Packet,
    key: &mut FlowKey,
    passage: &mut Passage,
    local: &mut ([u8; 16], u16),
) -> bool {
    if let Some(transit) = transit::of(skb, packet) {
        if transit.cookie != 0 {
            let socket = transit::socket_key(transit, packet.via);
            if let Some(counters) = FLOWS.get_ptr_mut(&socket)
                && flow::confirm(counters)
            {
                return false;
            }
        }
        key.cookie = flow::stranger(&transit.source);
        key.local_port = transit.source_port;
        *local = (transit.source, transit.source_port);
        passage.path = path::FORWARDED;
        passage.mac = transit.mac;
        passage.from_ifindex = transit.ifindex;
        return true;
    }
    wrap(skb, packet, key, passage);
    let is_encapsulation = matches!(packet.transport, 4 | 41 | 47 | 50 | 51 | 115);
    if passage.from_ifindex == 0 && !is_encapsulation {
        key.local_port = packet.source_port;
        // SAFETY: a context field.
        passage.from_ifindex = unsafe { (&raw const (*skb).ingress_ifindex).read_volatile() };
        // It came in where nobody looks: by the one uplink, and goes back by a tunnel.
        passage.path = if passage.from_ifindex == 0 { path::KERNEL } else { path::FORWARDED };
    }
    true
}

/// The outer packet of a tunnel. Its source port changes with what is inside (VXLAN), so the flow
/// is told without.
#[inline(always)]
fn wrap(skb: *mut __sk_buff, packet: &Packet, key: &mut FlowKey, passage: &mut Passage) {
    key.cookie = flow::stranger(&packet.source);
    passage.path = path::TUNNEL;
    // SAFETY: a context field.
    let hash = unsafe { (&raw const (*skb).hash).read_volatile() };
    if let Some(ifindex) = TUNNELS.get_ptr(&hash) {
        // SAFETY: a value of the table; the verifier proved the pointer.
        let ifindex = unsafe { *ifindex };
        // Itself, where the packet is about to be wrapped.
        if ifindex != passage.ifindex {
            passage.from_ifindex = ifindex;
        }
    }
}

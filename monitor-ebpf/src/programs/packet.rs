//! Cgroup packet hooks: every packet of an inet socket, out (told when its flow is new) and in
//! (counted for flows that are known). They always let it pass.

use aya_ebpf::{bindings::__sk_buff, macros::cgroup_skb, programs::SkBuffContext};
use aya_log_ebpf::debug;
use monitor_ebpf::{
    loss::Loss,
    places::verdict,
    sample::{
        FlowCounters, FlowKey, NAMING_LOOKS, Runner, SocketOwner, flags, once, ownership, phase,
    },
};

use super::{
    emit,
    flow::count,
    headers,
    kernel::{self, IPV6, Packet, PacketSocket, TCP},
    known, layout,
    maps::{self, FLOWS, NOEXIST, ONCE, add},
    names, places, shares,
};

const PASS: i32 = 1;
/// Where in the packet's own memory it is noted what may name in it.
const OUTLINE: usize = 1;

#[cgroup_skb(egress)]
pub fn packet_egress(context: SkBuffContext) -> i32 {
    egress::<NOBODY>(&context);
    PASS
}

/// For kernels where a packet program may ask who runs.
#[cgroup_skb(egress)]
pub fn packet_egress_named(context: SkBuffContext) -> i32 {
    egress::<BY_PID>(&context);
    PASS
}

/// For kernels where it may also ask as which user, and in which cgroup.
#[cgroup_skb(egress)]
pub fn packet_egress_whole(context: SkBuffContext) -> i32 {
    egress::<WHOLE>(&context);
    PASS
}

/// What a packet program may ask of who runs.
const NOBODY: u8 = 0;
const BY_PID: u8 = 1;
const WHOLE: u8 = 2;

#[inline(always)]
fn egress<const ASKED: u8>(context: &SkBuffContext) {
    let skb = context.skb.skb;
    if known::leaves(skb) {
        return;
    }
    match headers::packet::<true>(skb, 0, is_v6(skb)) {
        Some(mut packet) => {
            packet.forget(skb);
            leave::<ASKED>(skb, &packet);
        }
        None => {
            maps::count(Loss::PacketMalformed);
            debug!(context, "a packet of {} bytes has no readable IP header", context.len());
        }
    }
}

/// By what the kernel goes, whatever a raw socket wrote into the header.
#[inline(always)]
fn is_v6(skb: *mut __sk_buff) -> bool {
    kernel::protocol(skb) == IPV6
}

#[cgroup_skb(ingress)]
pub fn packet_ingress(context: SkBuffContext) -> i32 {
    let skb = context.skb.skb;
    if known::arrives(skb) {
        return PASS;
    }
    if let Some(packet) = headers::packet::<false>(skb, 0, is_v6(skb)) {
        let key = FlowKey {
            cookie: kernel::cookie(skb),
            remote: packet.source,
            remote_port: packet.source_port,
            local_port: 0,
            transport: packet.transport,
            malformed: packet.malformed,
            via: 0,
        };
        let counters = FLOWS.get_ptr_mut(&key).or_else(|| handshake(skb, key));
        if let Some(counters) = counters.or_else(|| answered(skb, &key)) {
            // SAFETY: a value of the table; the verifier proved the pointer.
            unsafe {
                add(&raw mut (*counters).received_bytes, packet.bytes);
                add(&raw mut (*counters).received_packets, packet.packets);
                (*counters).last_ns = kernel::now_ns();
            }
            names::arrive(skb, &packet, &key, counters);
        } else {
            maps::count_without_flow(packet.packets, packet.bytes);
        }
    } else {
        maps::count(Loss::PacketMalformed);
    }
    PASS
}

/// What reaches an accepted socket before it has sent anything belongs to the flow that its
/// listener began, which it will take over.
#[inline(always)]
fn handshake(skb: *mut __sk_buff, mut key: FlowKey) -> Option<*mut FlowCounters> {
    if key.transport != TCP {
        return None;
    }
    let storage = kernel::storage(kernel::packet_socket(skb).socket, false)?;
    if storage.cookie == key.cookie {
        return None;
    }
    key.cookie = storage.cookie;
    FLOWS.get_ptr_mut(&key)
}

/// An answer where only an attempt was told: what was sent went to another address, to which this host
/// translates.
#[inline(always)]
fn answered(skb: *mut __sk_buff, key: &FlowKey) -> Option<*mut FlowCounters> {
    let storage = kernel::storage(kernel::packet_socket(skb).socket, false)?;
    if !known::is_attempted(storage, key) && ONCE.get_ptr(key).is_none() {
        return None;
    }
    let account = shares::take(shares::holder(Some(storage)), verdict::LOCAL);
    if account == shares::REFUSED {
        return None;
    }
    let first_ns = kernel::now_ns();
    let counters = FlowCounters { first_ns, last_ns: first_ns, account, ..FlowCounters::default() };
    if FLOWS.insert(key, &counters, NOEXIST).is_err() {
        shares::give_back(account);
    }
    FLOWS.get_ptr_mut(key)
}

/// The stack is full: of 512 bytes, 448 here where it is asked who runs, 48 in `stops4` and 16 in `look`.
/// With more, kernels refuse the programs that ask, and the one that doesn't is loaded in their place.
#[inline(always)]
fn leave<const ASKED: u8>(skb: *mut __sk_buff, packet: &Packet) {
    let way = way(skb, packet);
    let socket = kernel::packet_socket(skb);
    let mut key = FlowKey {
        cookie: kernel::cookie(skb),
        remote: packet.destination,
        remote_port: packet.destination_port,
        local_port: 0,
        transport: packet.transport,
        malformed: packet.malformed,
        via: packet.via,
    };
    // Kernels that can't say who runs give the verifier no room for the question.
    if packet.is_control(socket.socket_type)
        && (ASKED == NOBODY || !kernel::is_owned(socket.socket))
    {
        key.local_port = packet.source_port;
    }
    let now = kernel::now_ns();
    kernel::keep::<OUTLINE>(skb, names::outline(packet));
    if let Some(counters) = FLOWS.get_ptr_mut(&key) {
        // SAFETY: a value of the table; the verifier proved the pointer.
        let (is_first, looks) = unsafe { ((*counters).sent_packets == 0, (*counters).naming) };
        if looks >= NAMING_LOOKS {
            kernel::keep::<OUTLINE>(skb, 0);
        }
        count(counters, packet, now);
        if begins(counters, &way, is_first) {
            // Two CPUs may both be first; user space takes the second telling for nothing new.
            let storage = kernel::storage(socket.socket, false);
            let first = FlowCounters {
                sent_bytes: packet.bytes,
                sent_packets: packet.packets,
                ..FlowCounters::default()
            };
            // SAFETY: a value of the table; the verifier proved the pointer.
            let account = unsafe { (*counters).account };
            let told = Telling {
                storage: storage.as_deref(),
                listener_cookie: 0,
                runner: runner::<ASKED>(skb, packet),
                way: &way,
                answer: places::ask(&key.remote),
                uid: kernel::forgotten(skb, shares::holder(storage.as_deref())),
                flags: 0,
            };
            // As in `begin`: lost once, and told when it sends again.
            if !tell(skb, &key, packet, &socket, &told, &first, now) && FLOWS.remove(&key).is_ok() {
                shares::give_back(account);
            }
        }
    } else {
        let from = (&way, runner::<ASKED>(skb, packet));
        begin::<ASKED>(skb, &key, packet, &socket, from, now);
    }
    names::leave(skb, kernel::kept::<OUTLINE>(skb), &key);
}

/// Whether a known flow is to be told: it sends for the first time, or the first time by another way
/// than loopback.
#[inline(always)]
fn begins(counters: *mut FlowCounters, way: &Way, is_first: bool) -> bool {
    // SAFETY: a value of the table; the verifier proved the pointer.
    let counters = unsafe { &mut *counters };
    let Way { path, fragmented, .. } = *way;
    // Of the two, loopback is the greater.
    let begins = is_first || counters.path > path;
    if begins {
        counters.path = path;
    }
    // From the first on that it makes: it may have sent whole packets before.
    counters.fragmented |= fragmented;
    begins
}

/// By which way a packet leaves its socket, and in what shape.
struct Way {
    /// The interface that it is on its way to.
    out: u32,
    /// Of [`path`].
    path: u8,
    /// Not 0: it is a fragment already.
    fragmented: u8,
}

#[inline(always)]
fn way(skb: *mut __sk_buff, packet: &Packet) -> Way {
    let (out, path) = kernel::way_out(skb);
    // However they came about.
    let path = kernel::forgotten(skb, path.into()) as u8;
    let fragmented = kernel::forgotten(skb, packet.is_fragment().into()) as u8;
    Way { out, path, fragmented }
}

/// Who runs, where that is who sends. TCP sends when acknowledgements and timers let it, whoever
/// runs then; and what came in by an interface and was wrapped here is nobody's on this host.
#[inline(always)]
fn runner<const ASKED: u8>(skb: *mut __sk_buff, packet: &Packet) -> Runner {
    if ASKED == NOBODY || packet.is_tcp() || kernel::came_in(skb) {
        return Runner::default();
    }
    if ASKED == WHOLE { kernel::runner::<true>() } else { kernel::runner::<false>() }
}

#[inline(always)]
fn begin<const ASKED: u8>(
    skb: *mut __sk_buff,
    key: &FlowKey,
    packet: &Packet,
    socket: &PacketSocket,
    (way, runner): (&Way, Runner),
    now: u64,
) {
    let storage = kernel::storage(socket.socket, true);
    let answer = places::ask(&key.remote);
    let uid = kernel::forgotten(skb, shares::holder(storage.as_deref()));
    let account = shares::take(uid, answer.verdict);
    if account == shares::REFUSED {
        shares::add_up(key, uid, answer, packet.bytes, packet.packets);
        return;
    }
    let mut counters = FlowCounters {
        sent_bytes: packet.bytes,
        sent_packets: packet.packets,
        received_bytes: 0,
        received_packets: 0,
        first_ns: now,
        last_ns: now,
        path: way.path,
        fragmented: way.fragmented,
        account,
        ..FlowCounters::default()
    };
    let mut listener_cookie = 0;
    let storage = storage.map(|storage| {
        storage.has_flows = 1;
        if storage.cookie == 0 {
            // Older than the probes: nobody is known, but its end and its children will be.
            storage.cookie = key.cookie;
        } else if storage.cookie != key.cookie && packet.is_tcp() {
            listener_cookie = adopt(key, storage.cookie, &mut counters);
        }
        &*storage
    });
    let is_counted = FLOWS.insert(key, &counters, NOEXIST).is_ok();
    if is_counted {
        if !known::was_named(skb) {
            let _ = ONCE.remove(key);
        }
    } else {
        shares::give_back(account);
        if let Some(counters) = FLOWS.get_ptr_mut(key) {
            // Another CPU was first.
            count(counters, packet, now);
            return;
        }
        maps::count(Loss::FlowTableFull);
        // Kernels that can't say who runs give the verifier no room for another way from here.
        if ASKED == NOBODY || shares::is_known(key, once::SENT) {
            return;
        }
    }
    let flags = kernel::forgotten(skb, if is_counted { 0 } else { flags::UNCOUNTED });
    let told = Telling { storage, listener_cookie, runner, way, answer, uid, flags };
    // If it is not told, its next packet tries again.
    if !tell(skb, key, packet, socket, &told, &counters, now)
        && flags == 0
        && FLOWS.remove(key).is_ok()
    {
        shares::give_back(account);
    }
}

/// An accepted socket continues the flow that its listener's SYN-ACK began.
#[inline(always)]
fn adopt(key: &FlowKey, listener_cookie: u64, counters: &mut FlowCounters) -> u64 {
    let mut handshake = *key;
    handshake.cookie = listener_cookie;
    let Some(before) = FLOWS.get_ptr(&handshake) else { return 0 };
    // SAFETY: a value of the table; the verifier proved the pointer.
    let before = unsafe { *before };
    counters.sent_bytes += before.sent_bytes;
    counters.sent_packets += before.sent_packets;
    counters.received_bytes += before.received_bytes;
    counters.received_packets += before.received_packets;
    counters.first_ns = before.first_ns;
    if FLOWS.remove(&handshake).is_ok() {
        shares::give_back(before.account);
    }
    listener_cookie
}

/// What is told of a flow besides what its packet says.
struct Telling<'a> {
    storage: Option<&'a SocketOwner>,
    listener_cookie: u64,
    runner: Runner,
    way: &'a Way,
    answer: places::Answer,
    uid: u32,
    flags: u32,
}

#[inline(always)]
fn tell(
    skb: *mut __sk_buff,
    key: &FlowKey,
    packet: &Packet,
    socket: &PacketSocket,
    told: &Telling<'_>,
    sent: &FlowCounters,
    at_ns: u64,
) -> bool {
    let ownership = match told.storage {
        None => ownership::NONE,
        Some(storage) if storage.creator.tgid == 0 && storage.user.tgid == 0 => ownership::NONE,
        Some(storage) if storage.cookie != key.cookie || socket.listening => ownership::LISTENER,
        Some(storage) if storage.user.tgid != 0 => ownership::USER,
        Some(_) => ownership::CREATOR,
    };
    let flow = emit::Flow {
        key,
        phase: phase::SENT,
        ownership,
        via: (skb, packet.via_at),
        socket_type: socket.socket_type,
        icmp_type: packet.icmp_type,
        local: &packet.source,
        local_port: packet.source_port,
        listener_cookie: told.listener_cookie,
        sent_bytes: sent.sent_bytes,
        sent_packets: sent.sent_packets,
        at_ns,
        netns_inode: layout::netns_inode(socket.socket),
        connection_cookie: layout::connection_cookie(socket.socket, packet.transport),
        way_out: told.way.out,
        passage: emit::Passage {
            path: told.way.path,
            runner: told.runner,
            ..emit::Passage::default()
        },
        answer: told.answer,
        uid: told.uid,
        flags: told.flags,
    };
    emit::egress(&flow, told.storage)
}

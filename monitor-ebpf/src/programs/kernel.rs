//! The only reader of the kernel's stable structures `__sk_buff` and `bpf_sock`, and of helper results;
//! `named` reads `bpf_sock_addr`. Nothing here needs BTF or a struct offset of one kernel; `layout` is for
//! those.

use core::{arch::asm, ffi::c_void, mem::MaybeUninit};

use aya_ebpf::{
    Global,
    bindings::{__sk_buff, bpf_sock},
    helpers::{
        bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_current_uid_gid,
        generated::{
            bpf_get_current_cgroup_id, bpf_get_netns_cookie, bpf_get_socket_cookie,
            bpf_ktime_get_boot_ns, bpf_ktime_get_coarse_ns, bpf_sk_fullsock, bpf_sk_storage_get,
            bpf_skb_load_bytes,
        },
    },
};
use monitor_ebpf::{
    sample::{Owner, ProcessStart, Runner, SocketOwner, path},
    settings,
};

use super::maps::{EXECUTIONS, OWNERS, STARTS, SUSPENDED};

/// `BPF_SK_STORAGE_GET_F_CREATE` (`include/uapi/linux/bpf.h`).
const CREATE: u64 = 1;

#[inline(always)]
pub fn now_ns() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_ktime_get_boot_ns() }
}

/// Whether there is a clock that is cheaper to read (Linux 5.11). User space sets it before load.
#[unsafe(no_mangle)]
static COARSE: Global<u8> = Global::new(0);

/// The same, up to a tick of the kernel ago.
#[inline(always)]
pub fn recently_ns() -> u64 {
    if COARSE.load() != 0
        && let Some(suspended) = SUSPENDED.get_ptr(0)
    {
        // SAFETY: a value of the map, read whole; a helper without arguments.
        return unsafe { bpf_ktime_get_coarse_ns().wrapping_add(suspended.read_volatile()) };
    }
    now_ns()
}

/// Cookie of the socket behind a `__sk_buff`, `bpf_sock_addr` or `bpf_sock` context; 0 if none.
#[inline(always)]
pub fn cookie<T>(context: *mut T) -> u64 {
    // SAFETY: the helper takes the program's context.
    unsafe { bpf_get_socket_cookie(context.cast()) }
}

/// Storage of a full socket, made if `create`. `None` where there is none or no memory for it.
///
/// The socket is the context itself in sock programs, and `bpf_sock_addr.sk` in address programs.
#[inline(always)]
pub fn storage(socket: *mut bpf_sock, create: bool) -> Option<&'static mut SocketOwner> {
    if socket.is_null() {
        return None;
    }
    let flags = if create { CREATE } else { 0 };
    let map = (&raw const OWNERS).cast_mut().cast::<c_void>();
    // SAFETY: the verifier checks map and socket; a null initial value means zeroes.
    let value = unsafe { bpf_sk_storage_get(map, socket.cast(), core::ptr::null_mut(), flags) };
    // SAFETY: null or a value of the map's type, which lives as long as the socket.
    unsafe { value.cast::<SocketOwner>().as_mut() }
}

/// Whether somebody is known to have made the socket, or to use it.
#[inline(always)]
pub fn is_owned(socket: *mut bpf_sock) -> bool {
    storage(socket, false).is_some_and(|it| it.creator.tgid != 0 || it.user.tgid != 0)
}

/// The current process. `netns_cookie` is for the caller's context to ask.
#[inline(always)]
pub fn current(touched_ns: u64) -> Owner {
    let pid_tgid = bpf_get_current_pid_tgid();
    let uid_gid = bpf_get_current_uid_gid();
    let tgid = (pid_tgid >> 32) as u32;
    let start = start(tgid);
    Owner {
        tgid,
        tid: pid_tgid as u32,
        uid: uid_gid as u32,
        gid: (uid_gid >> 32) as u32,
        comm: bpf_get_current_comm().unwrap_or([0; 16]),
        // SAFETY: a helper without arguments.
        cgroup_id: unsafe { bpf_get_current_cgroup_id() },
        netns_cookie: 0,
        started_ns: start.started_ns,
        executed_ns: start.executed_ns,
        touched_ns,
    }
}

/// The current process, as much as tells it from another: with user and cgroup if `WHOLE`.
#[inline(always)]
pub fn runner<const WHOLE: bool>() -> Runner {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let start = start(tgid);
    Runner {
        tgid,
        uid: if WHOLE { bpf_get_current_uid_gid() as u32 } else { Runner::UNASKED },
        // SAFETY: a helper without arguments.
        cgroup_id: if WHOLE { unsafe { bpf_get_current_cgroup_id() } } else { 0 },
        started_ns: start.started_ns,
        executed_ns: start.executed_ns,
    }
}

/// Whether this is the owner as it was when it touched the socket, as far as was asked.
#[inline(always)]
pub fn is_same(runner: &Runner, owner: &Owner) -> bool {
    runner.tgid == owner.tgid
        && runner.executed_ns == owner.executed_ns
        && (runner.uid == Runner::UNASKED
            || (runner.uid == owner.uid && runner.cgroup_id == owner.cgroup_id))
}

/// When a process was forked and when it last executed a program; zeroes if that was before the
/// probes.
#[inline(always)]
pub fn start(tgid: u32) -> ProcessStart {
    // SAFETY: an LRU slot may be given to another key under us; what fits no process is then refused
    // by user space, which compares it.
    unsafe { STARTS.get(tgid) }.copied().unwrap_or_default()
}

/// Where it is counted that this process executes a program. Other processes are counted there too: if it did
/// not change, this one is what it was.
#[inline(always)]
pub fn executions(tgid: u32) -> Option<*mut u64> {
    EXECUTIONS.get_ptr_mut(tgid & (settings::EXECUTIONS - 1))
}

#[inline(always)]
pub fn netns_cookie<T>(context: *mut T) -> u64 {
    // SAFETY: the helper takes the program's context.
    unsafe { bpf_get_netns_cookie(context.cast()) }
}

#[inline(always)]
pub fn mapped(address: [u8; 4]) -> [u8; 16] {
    let mut out = [0; 16];
    out[10] = 0xff;
    out[11] = 0xff;
    out[12..].copy_from_slice(&address);
    out
}

/// `enum { BPF_TCP_LISTEN = 10 }` (`include/uapi/linux/bpf.h`).
const LISTEN: u32 = 10;
pub const SOCK_RAW: u8 = 3;
/// Values of [`protocol`] (`linux/if_ether.h`).
pub const IPV4: u16 = 0x0800;
pub const IPV6: u16 = 0x86dd;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;

/// `BPF_TCP_TIME_WAIT`, `BPF_TCP_NEW_SYN_RECV` (`include/uapi/linux/bpf.h`).
const TIME_WAIT: u32 = 6;
const NEW_SYN_RECV: u32 = 12;
/// `AF_PACKET` (`include/linux/socket.h`).
const AF_PACKET: u32 = 17;

/// The socket behind a packet, as far as it is wanted.
pub struct PacketSocket {
    /// Null where there is none, or none that is whole.
    pub socket: *mut bpf_sock,
    pub socket_type: u8,
    pub listening: bool,
}

#[inline(always)]
pub fn packet_socket(skb: *mut __sk_buff) -> PacketSocket {
    // SAFETY: a context field.
    let socket = unsafe { (*skb).__bindgen_anon_2.sk };
    if socket.is_null() {
        return PacketSocket { socket, socket_type: 0, listening: false };
    }
    // SAFETY: a socket of the context, not null.
    let socket = unsafe { bpf_sk_fullsock(socket) };
    if socket.is_null() {
        return PacketSocket { socket, socket_type: 0, listening: false };
    }
    // SAFETY: fields of a full socket; the verifier rewrites each load.
    let (kind, state) = unsafe {
        ((&raw const (*socket).type_).read_volatile(), (&raw const (*socket).state).read_volatile())
    };
    PacketSocket { socket, socket_type: kind as u8, listening: state == LISTEN }
}

/// Ethertype of what the packet is for the kernel.
#[inline(always)]
pub fn protocol(skb: *mut __sk_buff) -> u16 {
    // SAFETY: a context field.
    let protocol = unsafe { (&raw const (*skb).protocol).read_volatile() };
    u16::from_be(protocol as u16)
}

/// Of [`path`]: routing chose the interface that it is on its way to. In each network namespace this number
/// is that of loopback, and of no other.
#[inline(always)]
pub fn way_out(skb: *mut __sk_buff) -> (u32, u8) {
    const LOOPBACK: u32 = 1;
    // SAFETY: a context field.
    let out = unsafe { (&raw const (*skb).ifindex).read_volatile() };
    (out, if out == LOOPBACK { path::LOOPBACK } else { path::SOCKET })
}

/// Whether the packet, or what it wraps, came in by an interface.
#[inline(always)]
pub fn came_in(skb: *mut __sk_buff) -> bool {
    // SAFETY: a context field.
    (unsafe { (&raw const (*skb).ingress_ifindex).read_volatile() }) != 0
}

/// What a packet at an interface says of where it is from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// No socket of this network namespace, or none at all.
    Nobody,
    /// What is left of a closed connection.
    TimeWait,
    /// A connection that is not accepted yet.
    Handshake,
    /// An `AF_PACKET` socket.
    Packet,
    /// The kernel's own, for many connections.
    Control,
    /// The packet is none that this socket makes: it was wrapped since.
    Wrapped,
    Socket,
}

#[inline(always)]
pub fn is_of_packet_socket(skb: *mut __sk_buff) -> bool {
    // SAFETY: a context field.
    let socket = unsafe { (*skb).__bindgen_anon_2.sk };
    // SAFETY: a field that every kind of socket has; the verifier rewrites the load.
    !socket.is_null() && unsafe { (&raw const (*socket).family).read_volatile() } == AF_PACKET
}

#[inline(always)]
pub fn sender<const NAMED: bool>(skb: *mut __sk_buff, packet: &Packet) -> Sender {
    // SAFETY: a context field.
    let socket = unsafe { (*skb).__bindgen_anon_2.sk };
    if socket.is_null() {
        return Sender::Nobody;
    }
    // SAFETY: fields that every kind of socket has; the verifier rewrites each load.
    let (family, state) = unsafe {
        (
            (&raw const (*socket).family).read_volatile(),
            (&raw const (*socket).state).read_volatile(),
        )
    };
    if family == AF_PACKET {
        return Sender::Packet;
    }
    match state {
        TIME_WAIT => return Sender::TimeWait,
        NEW_SYN_RECV => return Sender::Handshake,
        _ => {}
    }
    // SAFETY: a socket of the context, not null.
    let socket = unsafe { bpf_sk_fullsock(socket) };
    if socket.is_null() {
        return Sender::Socket;
    }
    // SAFETY: fields of a full socket; the verifier rewrites each load.
    let (kind, protocol, port) = unsafe {
        (
            (&raw const (*socket).type_).read_volatile(),
            (&raw const (*socket).protocol).read_volatile(),
            (&raw const (*socket).src_port).read_volatile(),
        )
    };
    // As the hook of the socket does, which asks on the same kernels.
    if packet.is_control(kind as u8) && !(NAMED && is_owned(socket)) {
        return Sender::Control;
    }
    let is_raw = kind == u32::from(SOCK_RAW);
    let is_other_port = packet.source_port != 0 && port != u32::from(packet.source_port);
    if !is_raw && (protocol != u32::from(packet.transport) || is_other_port) {
        return Sender::Wrapped;
    }
    Sender::Socket
}

/// The socket that a packet of TCP or UDP is of, as this one sent it: as [`sender`] has it.
#[inline(always)]
pub fn origin(skb: *mut __sk_buff, packet: &Packet) -> Option<*mut bpf_sock> {
    let PacketSocket { socket, socket_type, .. } = packet_socket(skb);
    if socket.is_null() || socket_type == SOCK_RAW {
        return None;
    }
    // SAFETY: fields of a full socket; the verifier rewrites each load.
    let (protocol, port) = unsafe {
        (
            (&raw const (*socket).protocol).read_volatile(),
            (&raw const (*socket).src_port).read_volatile(),
        )
    };
    let is_its = protocol == u32::from(packet.transport) && port == u32::from(packet.source_port);
    is_its.then_some(socket)
}

#[inline(always)]
pub fn has_socket(skb: *mut __sk_buff) -> bool {
    // SAFETY: a context field.
    !unsafe { (*skb).__bindgen_anon_2.sk }.is_null()
}

/// What a packet's headers say.
pub struct Packet {
    pub source: [u8; 16],
    pub destination: [u8; 16],
    pub source_port: u16,
    pub destination_port: u16,
    pub transport: u8,
    pub icmp_type: u8,
    /// IP bytes as sent: each segment of a GSO packet has headers of its own.
    pub bytes: u64,
    pub packets: u64,
    pub fragment: Fragment,
    /// Where the transport's header begins; 0: in another fragment, or behind what can't be read.
    pub transport_at: u32,
    /// As in `FlowKey`.
    pub malformed: u8,
    /// As in `FlowKey`.
    pub via: u16,
    /// Where the address is that this is the digest of: how many bytes it has, and above 8 bits its place.
    pub via_at: u32,
}

impl Packet {
    /// A TCP segment from a raw socket that nobody made is from the kernel's control socket
    /// (`tcp_v4_send_reset`, `tcp_v4_send_ack`), which speaks for every closed or half-closed local
    /// port.
    #[inline(always)]
    pub fn is_control(&self, socket_type: u8) -> bool {
        self.transport == TCP && socket_type == SOCK_RAW
    }

    /// However it came about: see [`forgotten`].
    #[inline(always)]
    pub fn forget(&mut self, skb: *mut __sk_buff) {
        self.transport_at = forgotten(skb, self.transport_at);
        self.packets = forgotten(skb, self.packets as u32).into();
        let ports = u32::from(self.source_port) << 16 | u32::from(self.destination_port);
        let ports = forgotten(skb, ports);
        (self.source_port, self.destination_port) = ((ports >> 16) as u16, ports as u16);
        let kinds = u32::from(self.transport) << 8
            | u32::from(self.icmp_type)
            | u32::from(self.malformed) << 16;
        let kinds = forgotten(skb, kinds);
        (self.transport, self.icmp_type) = ((kinds >> 8) as u8, kinds as u8);
        self.malformed = (kinds >> 16) as u8;
        self.via = forgotten(skb, self.via.into()) as u16;
        self.via_at = forgotten(skb, self.via_at);
    }

    #[inline(always)]
    pub fn is_fragment(&self) -> bool {
        self.fragment != Fragment::Whole
    }

    #[inline(always)]
    pub fn is_tcp(&self) -> bool {
        self.transport == TCP
    }
}

/// `skb->len`, and how many segments it will be; 0: one, or nobody counted them yet.
#[inline(always)]
pub fn lengths(skb: *mut __sk_buff) -> (u32, u32) {
    // SAFETY: context fields; volatile so that they are loaded as they are declared, 32 bits wide.
    unsafe {
        ((&raw const (*skb).len).read_volatile(), (&raw const (*skb).gso_segs).read_volatile())
    }
}

/// Whether a packet is a part of one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fragment {
    Whole,
    First { id: u32 },
    Later { id: u32 },
}

#[inline(always)]
pub fn load<const N: usize>(skb: *mut __sk_buff, at: u32) -> Option<[u8; N]> {
    let mut bytes = MaybeUninit::<[u8; N]>::uninit();
    // SAFETY: the helper writes exactly N bytes, or fails.
    let failed = unsafe { bpf_skb_load_bytes(skb.cast(), at, bytes.as_mut_ptr().cast(), N as u32) };
    // SAFETY: written, by the above.
    if failed == 0 { Some(unsafe { bytes.assume_init() }) } else { None }
}

/// Keeps a value beside [`forgotten`]'s, until [`kept`]: the stack is short of room. There is some for 5
/// words; `AT`: from 1 on.
#[inline(always)]
pub fn keep<const AT: usize>(skb: *mut __sk_buff, value: u32) {
    // SAFETY: a context field for the program's own use, as there.
    unsafe {
        asm!(
            "*(u32 *)({skb} + {cb}) = {value}",
            skb = in(reg) skb,
            cb = const core::mem::offset_of!(__sk_buff, cb) + 4 * AT,
            value = in(reg) u64::from(value),
        );
    }
}

#[inline(always)]
pub fn kept<const AT: usize>(skb: *mut __sk_buff) -> u32 {
    let value: u64;
    // SAFETY: as above.
    unsafe {
        asm!(
            "{value} = *(u32 *)({skb} + {cb})",
            skb = in(reg) skb,
            cb = const core::mem::offset_of!(__sk_buff, cb) + 4 * AT,
            value = out(reg) value,
        );
    }
    value as u32
}

/// The same value, of which the verifier knows nothing any more. What it knows of values multiplies
/// the ways through what follows, above all on 5.10: forgotten, they are one.
#[inline(always)]
pub fn forgotten(skb: *mut __sk_buff, value: u32) -> u32 {
    let mut forgotten: u64 = value.into();
    // SAFETY: a context field for the program's own use; the kernel saves and restores it. In
    // assembly, since LLVM computes the field's address where it is used often, and the verifier
    // wants the context as it was given.
    unsafe {
        asm!(
            "*(u32 *)({skb} + {cb}) = {value}",
            "{value} = *(u32 *)({skb} + {cb})",
            skb = in(reg) skb,
            cb = const core::mem::offset_of!(__sk_buff, cb),
            value = inout(reg) forgotten,
        );
    }
    forgotten as u32
}

/// `N` bytes or fewer from `at` on into `to`: exactly `bytes`, at least 1. `N` is a power of two.
#[inline(always)]
pub fn load_into<const N: usize>(
    skb: *mut __sk_buff,
    at: u32,
    bytes: u32,
    to: &mut [u8; N],
) -> Option<u32> {
    let mut last = u64::from(bytes.min(N as u32)).wrapping_sub(1);
    // SAFETY: a register to itself. It hides from the compiler what the verifier is shown below; an
    // instruction, since a line without one breaks the line information.
    unsafe { asm!("{0} = {0}", inout(reg) last, options(nomem, nostack, preserves_flags)) };
    let bytes = (last & (N as u64 - 1)) as u32 + 1;
    // SAFETY: the helper writes exactly `bytes` of N, or fails.
    let failed = unsafe { bpf_skb_load_bytes(skb.cast(), at, to.as_mut_ptr().cast(), bytes) };
    (failed == 0).then_some(bytes)
}

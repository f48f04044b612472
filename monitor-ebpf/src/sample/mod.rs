//! What the probes write: ring-buffer samples and the values of the flow and owner tables.
//!
//! Every struct is plain bytes with no hidden padding (zerocopy refuses it) and starts, where it is
//! a sample, with its [`kind`]. Times are nanoseconds of `CLOCK_BOOTTIME` (`bpf_ktime_get_boot_ns`,
//! Linux 5.8). Addresses are 16 bytes, IPv4 as `::ffff:a.b.c.d`; ports are in host order.

mod naming;
mod process;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub use self::{naming::*, process::*};

/// First word of each sample.
pub mod kind {
    pub const EGRESS: u32 = 1;
    pub const SOCKET_END: u32 = 2;
    pub const EXEC: u32 = 3;
    pub const FORK: u32 = 4;
    pub const EXIT: u32 = 5;
    pub const NAME: u32 = 6;
    pub const SENDER: u32 = 7;
}

/// [`EgressSample::phase`].
pub mod phase {
    /// connect(2) or sendmsg(2) named the destination; no packet yet.
    pub const ATTEMPT: u8 = 0;
    /// The flow's first packet went out.
    pub const SENT: u8 = 1;
}

/// [`EgressSample::flags`].
pub mod flags {
    /// The flow table was full: nobody counts what the flow sends from now on.
    pub const UNCOUNTED: u32 = 1;
}

/// [`EgressSample::ownership`]: how the owner in the sample is known.
pub mod ownership {
    /// No owner is stored at the socket: older than the probes, or the kernel's own.
    pub const NONE: u8 = 0;
    /// The last process that called connect or sendmsg on this very socket.
    pub const USER: u8 = 1;
    /// Only who created the socket is known.
    pub const CREATOR: u8 = 2;
    /// The owner was cloned from the listener: the socket was accepted.
    pub const LISTENER: u8 = 3;
}

/// [`FlowCounters::path`] and [`EgressSample::path`]: which hook counts the flow, and why there.
pub mod path {
    /// The packet hooks of the cgroup: the packets have an inet socket of this host.
    pub const SOCKET: u8 = 0;
    /// tc: came in by another interface.
    pub const FORWARDED: u8 = 1;
    /// tc: from an `AF_PACKET` socket.
    pub const PACKET: u8 = 2;
    /// tc: the outer packet of a tunnel.
    pub const TUNNEL: u8 = 3;
    /// tc: the kernel's own, without a socket that the cgroup's hooks are called for.
    pub const KERNEL: u8 = 4;
    /// No hook: it went around them all, and user space tells it by an interface's own count.
    pub const BYPASS: u8 = 5;
    /// tc: a frame in which no IP is found, of a socket.
    pub const FRAME: u8 = 6;
    /// The same, came in by another interface.
    pub const FRAME_FORWARDED: u8 = 7;
    /// The same, the kernel's own.
    pub const FRAME_KERNEL: u8 = 8;
    /// As [`SOCKET`], but the way out is loopback: nothing leaves, whatever the address.
    pub const LOOPBACK: u8 = 9;
}

/// [`Interface::flags`].
pub mod side {
    /// What enters it leaves again, wrapped, by another interface.
    pub const TUNNEL: u32 = 1;
    /// What comes in by it comes from outside.
    pub const OUTSIDE: u32 = 2;
    /// What leaves by it leaves again, as it is, by one below.
    pub const UPPER: u32 = 4;
}

/// [`FlowKey::transport`] of frames, whose ethertype is the remote port. IANA reserves it.
pub const FRAME_TRANSPORT: u8 = 255;
/// [`FlowKey::local_port`] of frames: no packet of that transport has ports.
pub const FRAME_PORT: u16 = 1;

/// Set in [`FlowKey::cookie`] where there is no socket: the rest is a hash of the source address,
/// before NAT where the packet came in by another interface. Socket cookies count up from 1 and
/// never get here.
pub const NO_SOCKET: u64 = 1 << 63;

/// A flow: one socket to one remote address and port over one transport.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct FlowKey {
    /// `bpf_get_socket_cookie`; equals `ss -e`'s `sk:`.
    pub cookie: u64,
    pub remote: [u8; 16],
    pub remote_port: u16,
    /// 0, but for the kernel's control sockets, which speak for many local ports, and for flows
    /// without a socket.
    pub local_port: u16,
    /// IANA protocol number.
    pub transport: u8,
    /// 1: its packets have headers that can't be read, and are a flow of their own. The addresses are
    /// where the kernel takes them from, the transport is that of the first header that can't be read.
    pub malformed: u8,
    /// Not 0: a digest of [`EgressSample::via`], since by each way it is a flow of its own.
    pub via: u16,
}

/// Counters of a flow, updated by the packet programs and read by user space.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct FlowCounters {
    /// IP bytes as sent, headers of each segment included.
    pub sent_bytes: u64,
    pub sent_packets: u64,
    pub received_bytes: u64,
    pub received_packets: u64,
    pub first_ns: u64,
    pub last_ns: u64,
    /// [`path`]: who counts it.
    pub path: u8,
    /// Packets with payload that were looked at for a name; [`NAMING_DONE`] if there is no more to
    /// see. To a name server: questions told since it last answered.
    pub naming: u8,
    /// Of these, how many may still be told.
    pub naming_left: u8,
    /// Of a stream, [`stream`]. To a name server: answers that are still told.
    pub naming_state: u8,
    /// TCP's sequence number up to which a stream is told.
    pub naming_until: u32,
    /// Where the share is that this entry is of ([`crate::share::slot`]).
    pub account: u32,
    /// Not 0: an interface was given a packet of it, as the tc programs saw.
    pub confirmed: u8,
    /// Not 0: its socket makes fragments by hand, and the cgroup's hooks see each of them.
    pub fragmented: u8,
    pub reserved: [u8; 2],
}

/// What is remembered of a flow that is in no table.
pub mod once {
    /// An attempt at it was told.
    pub const ATTEMPT: u32 = 1;
    /// A packet of it was told or added up.
    pub const SENT: u32 = 2;
}

/// Key of the table of sums.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct UnitemisedKey {
    /// [`crate::share::NOBODY`] where there is none.
    pub uid: u32,
    /// As in [`EgressSample`], as are class and verdict.
    pub generation: u32,
    pub class: u16,
    pub verdict: u8,
    pub reserved: u8,
}

/// Value of the table of sums: what left and is told by nothing else, since its user's share of the
/// flow table or the ring was used up.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Unitemised {
    /// One that was forgotten meanwhile counts again.
    pub flows: u64,
    pub packets: u64,
    pub bytes: u64,
}

/// Value of the socket storage. Cloned to accepted sockets by the kernel (`BPF_F_CLONE`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SocketOwner {
    /// The socket this was written at: differs from the reader's in an accepted socket.
    pub cookie: u64,
    pub creator: Owner,
    /// The last user; `tgid` 0 while only the creator is known.
    pub user: Owner,
    /// Whether the end of this socket is of interest.
    pub has_flows: u16,
    /// How often user space had forgotten flows, as far as that is counted together with this socket's, when
    /// `known` was in the table.
    pub forgotten: u16,
    /// How often processes executed programs, as far as that is counted together with the user's, when it
    /// touched the socket last.
    pub executions: u32,
    /// In one word that no other CPU sees half of ([`known`]): the flow that this socket's hook counted a
    /// packet into last, if an interface was given one of it before; or the destination that was named last,
    /// to which nothing went yet; else 0.
    pub known: u64,
    /// Its remote address, of IPv6, as it lies in memory.
    pub known_high: u64,
    pub known_low: u64,
}

/// [`SocketOwner::known`]: the address of IPv4 in the low half, above it the port, the transport, and these.
pub mod known {
    pub const COUNTED: u64 = 1 << 56;
    pub const ATTEMPTED: u64 = 1 << 57;
    pub const V6: u64 = 1 << 58;
}

/// A new flow, or an attempt at one.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct EgressSample {
    pub kind: u32,
    pub phase: u8,
    pub ownership: u8,
    /// `SOCK_STREAM` 1, `SOCK_DGRAM` 2, `SOCK_RAW` 3; 0 unknown.
    pub socket_type: u8,
    /// First byte of an ICMP or ICMPv6 message.
    pub icmp_type: u8,
    pub at_ns: u64,
    pub flow: FlowKey,
    /// Where its packets go as well, by a routing header or a source route: `flow` has the worst address
    /// of the two. As it stands in the packet, IPv4 in the first 4 bytes; zero: nowhere.
    pub via: [u8; 16],
    /// Source address; zero while it is not chosen (attempts).
    pub local: [u8; 16],
    pub local_port: u16,
    /// Of the device that a forwarded packet came from; else zero.
    pub mac: [u8; 6],
    /// Interface that it left by; 0 where the hook is none of an interface.
    pub ifindex: u32,
    /// Interface that it came in by, or that of the tunnel; 0 if neither.
    pub from_ifindex: u32,
    /// [`path`].
    pub path: u8,
    /// `places::verdict` of the class, without the policy's rules.
    pub verdict: u8,
    /// Of the remote address; `places::UNASKED` where the probes say nothing.
    pub class: u16,
    /// `places::active`, as it was.
    pub generation: u32,
    /// Inode of the socket's network namespace; 0 where the kernel's BTF does not say where it is.
    pub netns_inode: u32,
    /// Bits of [`flags`].
    pub flags: u32,
    /// Interface that the cgroup's hook saw the packet on its way to, by its number in the socket's
    /// network namespace; else 0.
    pub way_out: u32,
    pub reserved: u32,
    /// What the flow sent up to now: its first packet, or the handshake it continues.
    pub sent_bytes: u64,
    pub sent_packets: u64,
    /// Cookie of the listener whose SYN-ACK this flow continues; else 0.
    pub listener_cookie: u64,
    /// Of the Multipath TCP connection that this socket is a subflow of; else 0.
    pub connection_cookie: u64,
    /// If another than `owner`, or `owner` as another program, user or elsewhere. Never for TCP, whose
    /// packets leave whoever runs.
    pub runner: Runner,
    /// By [`ownership`]: the user, else the creator or listener's owner.
    pub owner: Owner,
    pub creator: Owner,
}

/// Value of the table of interfaces, by index. User space sets the first two, the probes count.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Interface {
    /// Bytes of the link header before the IP header, without VLAN tags.
    pub header_bytes: u32,
    /// Bits of [`side`].
    pub flags: u32,
    /// What left by it, of any protocol, as the kernel's own statistics count it: the link header
    /// included, a GSO packet once.
    pub link_bytes: u64,
    /// Packets, as they count.
    pub frames: u64,
    /// What a card that segments counts besides, since each segment has headers of its own.
    pub cut_bytes: u64,
    /// Segments but for the first of each.
    pub cut_packets: u64,
    /// IP bytes of packets with a socket that no flow is known of.
    pub unaccounted_bytes: u64,
}

impl Interface {
    /// As a card that segments counts.
    #[inline]
    pub const fn wire_bytes(&self) -> u64 {
        self.link_bytes + self.cut_bytes
    }

    /// Segments of a GSO packet each.
    #[inline]
    pub const fn packets(&self) -> u64 {
        self.frames + self.cut_packets
    }
}

/// Value of the table of packets on their way through, by `skb->hash`: the packet before NAT.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Transit {
    pub source: [u8; 16],
    pub destination: [u8; 16],
    pub source_port: u16,
    pub destination_port: u16,
    pub ifindex: u32,
    /// Of the socket in another network namespace of this host; else 0.
    pub cookie: u64,
    pub mac: [u8; 6],
    pub transport: u8,
    /// As in [`FlowKey`].
    pub malformed: u8,
}

/// Value of the table of processes that send on sockets below IP, by tgid.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct LinkSender {
    /// By whatever way: also what a hook saw and counted. With the link header where the process
    /// made it; 0 for `AF_XDP`.
    pub bytes: u64,
    /// Calls.
    pub sends: u64,
    /// Of these, what passed the program of an interface; its link header included.
    pub seen_bytes: u64,
    pub seen_packets: u64,
    /// When the process was forked; 0 if that was before the probes.
    pub started_ns: u64,
}

/// Key of the table of fragmented packets.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct FragmentKey {
    pub source: [u8; 16],
    pub destination: [u8; 16],
    /// Identification (RFC 791, RFC 8200).
    pub id: u32,
    pub transport: u32,
}

/// Value of the table of fragmented packets: what only the first fragment has.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct FragmentPorts {
    pub source_port: u16,
    pub destination_port: u16,
}

/// close(2) of a socket that had flows; queued data may still leave.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SocketEndSample {
    pub kind: u32,
    /// Who closed it last; a kernel thread where the kernel did it later, for whoever it was.
    pub tgid: u32,
    pub at_ns: u64,
    pub cookie: u64,
}

/// Somebody sends on a TCP socket, who did not send on it last.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SenderSample {
    pub kind: u32,
    pub reserved: u32,
    /// Of the socket that was sent on: of Multipath TCP, the connection's.
    pub cookie: u64,
    /// `touched_ns` is after the first send.
    pub owner: Owner,
}

const _: () = {
    assert!(size_of::<FlowKey>() == 32);
    assert!(size_of::<FlowCounters>() == 64);
    assert!(size_of::<Owner>() == 72);
    // With the kernel's 72 bytes before it, it takes 256.
    assert!(size_of::<SocketOwner>() == 184);
    assert!(size_of::<ProcessStart>() == 24);
    assert!(size_of::<EgressSample>() == 328);
    assert!(size_of::<Interface>() == 48);
    assert!(size_of::<UnitemisedKey>() == 12);
    assert!(size_of::<Unitemised>() == 24);
    assert!(size_of::<Transit>() == 56);
    assert!(size_of::<LinkSender>() == 40);
    assert!(size_of::<FragmentKey>() == 40);
    assert!(size_of::<SocketEndSample>() == 24);
    assert!(size_of::<ExecSample>() == 1664 + ARGUMENT_BYTES);
    assert!(size_of::<SenderSample>() == 88);
    assert!(size_of::<Runner>() == 32);
    assert!(size_of::<ForkSample>() == 24);
    assert!(size_of::<ExitSample>() == 16);
    assert!(size_of::<NameHead>() == 80);
    assert!(size_of::<NameSample<512>>() == 80 + 512);
};

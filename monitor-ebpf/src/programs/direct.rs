//! A packet in the shape that nearly all have, read where it lies and not by a helper's copy: whole, of TCP or
//! UDP, without options of IP or extension headers, not to be cut in segments. Whatever else a packet is,
//! `headers` reads it.

use core::arch::asm;

use aya_ebpf::bindings::__sk_buff;

use super::kernel::{Fragment, IPV4, IPV6, Packet, TCP, UDP, lengths};

/// Of the link header that is read here.
pub const ETHERNET: u32 = 14;
const UDP_BYTES: u32 = 8;
const TCP_BYTES: u32 = 20;

pub struct Plain {
    pub packet: Packet,
    /// What it carries, but for the kernel's own headers: [`NOTHING`], [`SOMETHING`], or above it the first
    /// byte of a datagram.
    pub payload: u32,
}

pub const NOTHING: u32 = 0;
pub const SOMETHING: u32 = 1 << 8;

impl Plain {
    /// Of a cgroup program's packet.
    #[inline(always)]
    pub fn bare(skb: *mut __sk_buff) -> Option<Self> {
        let (data, end) = bounds(skb);
        // SAFETY: a context field.
        let protocol = unsafe { (&raw const (*skb).protocol).read_volatile() } as u16;
        read::<0>(skb, data, end, protocol)
    }

    /// Of a tc program's frame, if its link header is one of Ethernet.
    #[inline(always)]
    pub fn framed(skb: *mut __sk_buff) -> Option<Self> {
        let (data, end) = bounds(skb);
        if data + u64::from(ETHERNET) > end {
            return None;
        }
        let protocol = half::<12>(data);
        read::<ETHERNET>(skb, data, end, protocol)
    }
}

/// Where the part of the packet that lies in one piece begins and ends. In assembly: the verifier takes
/// nothing but these very loads for that.
#[inline(always)]
fn bounds(skb: *mut __sk_buff) -> (u64, u64) {
    let (data, end): (u64, u64);
    // SAFETY: context fields.
    unsafe {
        asm!(
            "{data} = *(u32 *)({skb} + {data_at})",
            "{end} = *(u32 *)({skb} + {end_at})",
            skb = in(reg) skb,
            data = out(reg) data,
            end = out(reg) end,
            data_at = const core::mem::offset_of!(__sk_buff, data),
            end_at = const core::mem::offset_of!(__sk_buff, data_end),
            options(nostack, preserves_flags),
        );
    }
    (data, end)
}

macro_rules! load {
    ($name:ident $kind:ty, $code:literal) => {
        /// The verifier proves that it is there.
        #[inline(always)]
        fn $name<const AT: i32>(packet: u64) -> $kind {
            let value: u64;
            // SAFETY: a load from the packet, in assembly since it may be unaligned.
            unsafe {
                asm!(concat!("{value} = *(", $code, " *)({packet} + {at})"), packet = in(reg) packet,
                    value = out(reg) value, at = const AT, options(nostack, preserves_flags));
            }
            value as $kind
        }
    };
}

load!(byte u8, "u8");
load!(half u16, "u16");
load!(word u32, "u32");
load!(double u64, "u64");

/// `protocol`: as it lies in memory, as is all that is read.
#[inline(always)]
fn read<const AT: u32>(skb: *mut __sk_buff, data: u64, end: u64, protocol: u16) -> Option<Plain> {
    // SAFETY: a context field.
    if unsafe { (&raw const (*skb).gso_size).read_volatile() } != 0 {
        return None;
    }
    let at = data + u64::from(AT);
    if protocol == IPV4.to_be() {
        const HEADER: u32 = 20;
        if at + u64::from(HEADER + UDP_BYTES) > end {
            return None;
        }
        // Whole: neither more fragments nor an offset.
        if byte::<0>(at) != 0x45 || half::<6>(at) & 0x3fff_u16.to_be() != 0 {
            return None;
        }
        let addresses = (mapped(word::<12>(at)), mapped(word::<16>(at)));
        carry(skb, (at + u64::from(HEADER), end), AT, HEADER, byte::<9>(at), addresses)
    } else if protocol == IPV6.to_be() {
        const HEADER: u32 = 40;
        if at + u64::from(HEADER + UDP_BYTES) > end || byte::<0>(at) >> 4 != 6 {
            return None;
        }
        let addresses =
            (joined(double::<8>(at), double::<16>(at)), joined(double::<24>(at), double::<32>(at)));
        carry(skb, (at + u64::from(HEADER), end), AT, HEADER, byte::<6>(at), addresses)
    } else {
        None
    }
}

#[inline(always)]
fn carry(
    skb: *mut __sk_buff,
    (at, end): (u64, u64),
    link_bytes: u32,
    header: u32,
    transport: u8,
    (source, destination): ([u8; 16], [u8; 16]),
) -> Option<Plain> {
    let (length, _) = lengths(skb);
    let transport_at = link_bytes + header;
    let payload = if transport == UDP {
        if length <= transport_at + UDP_BYTES {
            NOTHING
        } else if at + u64::from(UDP_BYTES) + 1 > end {
            return None;
        } else {
            SOMETHING | u32::from(byte::<8>(at))
        }
    } else if transport == TCP {
        if at + u64::from(TCP_BYTES) > end {
            return None;
        }
        let bytes = u32::from(byte::<12>(at) >> 4) * 4;
        if length > transport_at + bytes { SOMETHING } else { NOTHING }
    } else {
        return None;
    };
    let packet = Packet {
        source,
        destination,
        source_port: u16::from_be(half::<0>(at)),
        destination_port: u16::from_be(half::<2>(at)),
        transport,
        icmp_type: 0,
        bytes: u64::from(length - link_bytes),
        packets: 1,
        fragment: Fragment::Whole,
        transport_at,
        malformed: 0,
        via: 0,
        via_at: 0,
    };
    Some(Plain { packet, payload })
}

/// The address of IPv4 as it lies in memory.
#[inline(always)]
pub fn mapped(address: u32) -> [u8; 16] {
    let [a, b, c, d] = address.to_ne_bytes();
    joined(0, u64::from_ne_bytes([0, 0, 0xff, 0xff, a, b, c, d]))
}

#[inline(always)]
pub fn joined(high: u64, low: u64) -> [u8; 16] {
    let mut address = [0; 16];
    address[..8].copy_from_slice(&high.to_ne_bytes());
    address[8..].copy_from_slice(&low.to_ne_bytes());
    address
}

/// What [`joined`] joins.
#[inline(always)]
pub fn halves(address: &[u8; 16]) -> (u64, u64) {
    let (mut high, mut low) = ([0; 8], [0; 8]);
    high.copy_from_slice(&address[..8]);
    low.copy_from_slice(&address[8..]);
    (u64::from_ne_bytes(high), u64::from_ne_bytes(low))
}

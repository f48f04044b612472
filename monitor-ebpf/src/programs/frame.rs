//! What is between a link header and IP, and frames that hold no IP which can be found: these are told
//! by their ethertype, as of whoever sends them. Reads link layers only.

use aya_ebpf::bindings::__sk_buff;
use monitor_ebpf::{
    loss::Loss,
    sample::{FRAME_PORT, FRAME_TRANSPORT, FlowKey, path},
};

use super::{
    emit::Passage,
    flow,
    kernel::{self, Fragment, IPV4, IPV6, Packet},
    maps::{self, FLOWS},
};

const ARP: u16 = 0x0806;
const RARP: u16 = 0x8035;
/// 802.1Q, 802.1ad, and what was used before it.
const VLANS: [u16; 5] = [0x8100, 0x88a8, 0x9100, 0x9200, 0x9300];
const PPPOE_SESSION: u16 = 0x8864;
const MPLS: [u16; 2] = [0x8847, 0x8848];
/// LACP, marker and OAM: the kernel's own.
const SLOW: u16 = 0x8809;
/// `ETH_P_802_2` (`linux/if_ether.h`): stands for every frame with a length where its type would be.
const LLC: u16 = 0x0004;
/// A number up to this is a length (IEEE 802.3, 3.2.6).
const LENGTH_MAX: u16 = 1500;
/// Protocols of PPP (RFC 1661; RFC 3032 for MPLS).
const PPP_IPV4: u16 = 0x0021;
const PPP_IPV6: u16 = 0x0057;
const PPP_MPLS: u16 = 0x0281;

/// Headers that are opened one after the other: four VLAN tags and a session, or as many labels.
const LAYERS: usize = 7;
/// An ARP packet for Ethernet and IPv4, and what the shortest frame pads it to.
const ARP_BYTES: u32 = 28;
const ARP_PADDED_BYTES: u32 = 46;

const AF_UNSPEC: u32 = 0;
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;

/// What is before IP, or what can't be opened: in one word, since each that the verifier knows
/// something of multiplies the ways through what follows.
#[derive(Clone, Copy)]
pub struct Opened(u64);

impl Opened {
    const IP: u64 = 1 << 48;
    const WRAPPED: u64 = 1 << 49;
    const HAS_LINK: u64 = 1 << 50;

    #[inline(always)]
    fn new(skb: *mut __sk_buff, at: u32, ethertype: u16, flags: u64) -> Self {
        let at = kernel::forgotten(skb, at);
        let high = kernel::forgotten(skb, u32::from(ethertype) | (flags >> 32) as u32);
        Self(u64::from(at) | u64::from(high) << 32)
    }

    /// Without a link header: IP, as far as anybody knows. What a packet socket calls it is its own word,
    /// and whoever reads behind such a device goes by what the packet says.
    #[inline(always)]
    pub fn bare(skb: *mut __sk_buff, at: u32) -> Self {
        let mut ethertype = kernel::protocol(skb);
        if (ethertype != IPV4 && ethertype != IPV6) || kernel::is_of_packet_socket(skb) {
            ethertype = if version(skb, at) == 6 { IPV6 } else { IPV4 };
        }
        Self::new(skb, at, ethertype, Self::IP)
    }

    /// Where what is told begins: IP, or what can't be opened.
    #[inline(always)]
    pub fn at(self) -> u32 {
        self.0 as u32
    }

    #[inline(always)]
    pub fn is_ip(self) -> bool {
        self.0 & Self::IP != 0
    }

    /// Whether more than VLAN tags is before the IP header.
    #[inline(always)]
    pub fn is_wrapped(self) -> bool {
        self.0 & Self::WRAPPED != 0
    }

    /// Of IP, whether it is that of version 6.
    #[inline(always)]
    pub fn is_v6(self) -> bool {
        self.ethertype() == IPV6
    }

    #[inline(always)]
    fn ethertype(self) -> u16 {
        (self.0 >> 32) as u16
    }

    /// Whether it is of the other version of IP than its link header says.
    #[inline(always)]
    pub fn is_belied(self, skb: *mut __sk_buff) -> bool {
        let expected = if self.is_v6() { 6 } else { 4 };
        self.0 & Self::HAS_LINK != 0 && version(skb, self.at()) != expected
    }
}

/// What the packet at `at` says is its version of IP.
#[inline(always)]
fn version(skb: *mut __sk_buff, at: u32) -> u8 {
    kernel::load::<1>(skb, at).map_or(0, |first| first[0] >> 4)
}

/// Looks for IP behind a link header of `at` bytes.
#[inline(always)]
pub fn open(skb: *mut __sk_buff, at: u32) -> Opened {
    let (mut at, mut kind) = (at, 0);
    let (ethertype, flags) = match layers(skb, &mut at, &mut kind) {
        Ok(true) => (kind, Opened::IP | Opened::WRAPPED),
        Ok(false) => (kind, Opened::IP),
        Err(ethertype) => (ethertype, 0),
    };
    Opened::new(skb, at, ethertype, flags | Opened::HAS_LINK)
}

/// `at` grows by what is before IP. `Ok(true)`: by more than VLAN tags. `Err`: the ethertype of what
/// can't be opened.
#[inline(always)]
fn layers(skb: *mut __sk_buff, at: &mut u32, kind: &mut u16) -> Result<bool, u16> {
    let mut is_wrapped = false;
    let Some(first) = kernel::load::<2>(skb, *at - 2) else { return Err(0) };
    *kind = u16::from_be_bytes(first);
    for _ in 0..LAYERS {
        if *kind == IPV4 || *kind == IPV6 {
            return Ok(is_wrapped);
        }
        if VLANS.contains(kind) {
            let Some(tag) = kernel::load::<4>(skb, *at) else { return Err(*kind) };
            *kind = u16::from_be_bytes([tag[2], tag[3]]);
            *at += 4;
        } else if *kind == PPPOE_SESSION {
            let Some(h) = kernel::load::<8>(skb, *at) else { return Err(*kind) };
            *kind = match u16::from_be_bytes([h[6], h[7]]) {
                PPP_IPV4 => IPV4,
                PPP_IPV6 => IPV6,
                PPP_MPLS => MPLS[0],
                _ => return Err(*kind),
            };
            (*at, is_wrapped) = (*at + 8, true);
        } else if MPLS.contains(kind) {
            let Some(h) = kernel::load::<5>(skb, *at) else { return Err(*kind) };
            if h[2] & 1 != 0 {
                *kind = match h[4] >> 4 {
                    4 => IPV4,
                    6 => IPV6,
                    _ => return Err(*kind),
                };
            }
            (*at, is_wrapped) = (*at + 4, true);
        } else if *kind <= LENGTH_MAX {
            let Some(h) = kernel::load::<8>(skb, *at) else { return Err(LLC) };
            // SNAP with the organization of ethertypes (RFC 1042), or of bridged ones (802.1H).
            let is_snap = h[0] == 0xaa && h[1] == 0xaa && h[2] == 3 && h[3] == 0 && h[4] == 0;
            if !is_snap || (h[5] != 0 && h[5] != 0xf8) {
                return Err(LLC);
            }
            *kind = u16::from_be_bytes([h[6], h[7]]);
            (*at, is_wrapped) = (*at + 8, true);
        } else {
            return Err(*kind);
        }
        *at = kernel::forgotten(skb, *at);
    }
    Err(*kind)
}

/// Tells and counts a frame: its bytes are what could not be opened.
#[inline(always)]
pub fn leave<const NAMED: bool>(skb: *mut __sk_buff, opened: Opened) {
    let (bytes, _) = kernel::lengths(skb);
    let (at, ethertype) = (opened.at(), opened.ethertype());
    let has_mac = opened.0 & Opened::HAS_LINK != 0;
    let mut passage = Passage::default();
    let mut mac = [0; 16];
    // SAFETY: context fields.
    unsafe {
        passage.ifindex = (&raw const (*skb).ifindex).read_volatile();
        passage.from_ifindex = (&raw const (*skb).ingress_ifindex).read_volatile();
    }
    let mut cookie = kernel::cookie(skb);
    match family(skb) {
        // What an inet socket sent was told where it did; the kernel's own test packets.
        Some(AF_UNSPEC | AF_INET | AF_INET6) => {
            if opened.is_ip() {
                maps::count(Loss::PacketMalformed);
            }
            return;
        }
        Some(_) => {
            passage.path = path::FRAME;
            if NAMED {
                passage.runner = kernel::runner::<false>();
            }
        }
        None => {
            let is_forwarded = passage.from_ifindex != 0;
            if is_housekeeping(skb, ethertype, at, bytes, is_forwarded) {
                maps::count_housekeeping();
                return;
            }
            passage.path = if is_forwarded { path::FRAME_FORWARDED } else { path::FRAME_KERNEL };
            if has_mac && let Some(source) = kernel::load::<6>(skb, 6) {
                passage.mac = if is_forwarded { source } else { [0; 6] };
                mac[10..].copy_from_slice(&source);
            }
            cookie = flow::stranger(&mac);
        }
    }
    let key = FlowKey {
        cookie,
        remote: [0; 16],
        remote_port: ethertype,
        local_port: FRAME_PORT,
        transport: FRAME_TRANSPORT,
        malformed: 0,
        via: 0,
    };
    let frame = Packet {
        source: [0; 16],
        destination: [0; 16],
        source_port: 0,
        destination_port: ethertype,
        transport: FRAME_TRANSPORT,
        icmp_type: 0,
        bytes: u64::from(bytes.saturating_sub(at)),
        packets: 1,
        fragment: Fragment::Whole,
        transport_at: 0,
        malformed: 0,
        via: 0,
        via_at: 0,
    };
    let now = kernel::now_ns();
    match FLOWS.get_ptr_mut(&key) {
        Some(counters) => flow::count(counters, &frame, now),
        None => flow::begin(skb, &key, &frame, passage, &([0; 16], 0), now),
    }
}

/// Family of the socket, if there is one.
#[inline(always)]
fn family(skb: *mut __sk_buff) -> Option<u32> {
    // SAFETY: a context field.
    let socket = unsafe { (*skb).__bindgen_anon_2.sk };
    // SAFETY: a field that every kind of socket has; the verifier rewrites the load.
    (!socket.is_null()).then(|| unsafe { (&raw const (*socket).family).read_volatile() })
}

#[inline(always)]
pub fn is_of_inet_socket(skb: *mut __sk_buff) -> bool {
    // Also the kernel's own test packets.
    matches!(family(skb), Some(AF_UNSPEC | AF_INET | AF_INET6))
}

/// What no program sent and IP, bridges and bonds can't do without: ARP as it is by itself, also of
/// who is bridged; of this kernel's own, also spanning tree and link aggregation.
#[inline(always)]
fn is_housekeeping(
    skb: *mut __sk_buff,
    ethertype: u16,
    at: u32,
    bytes: u32,
    is_forwarded: bool,
) -> bool {
    if ethertype == ARP || ethertype == RARP {
        return is_plain_arp(skb, at, bytes);
    }
    !is_forwarded && (ethertype == LLC || ethertype == SLOW)
}

/// Nothing but zeros behind it.
#[inline(always)]
fn is_plain_arp(skb: *mut __sk_buff, at: u32, bytes: u32) -> bool {
    let body = bytes.wrapping_sub(at);
    if body == ARP_BYTES {
        return true;
    }
    if body != ARP_PADDED_BYTES {
        return false;
    }
    match kernel::load::<18>(skb, at + ARP_BYTES) {
        Some(padding) => {
            let mut any = 0;
            for byte in padding {
                any |= byte;
            }
            any == 0
        }
        None => false,
    }
}

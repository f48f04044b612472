//! A packet as its headers say it, of either version of IP: addresses, ports, fragments, whether they can be
//! read, and its bytes on the wire. Knows no socket; what a routing header names is `route`'s to read.

use aya_ebpf::bindings::__sk_buff;

use super::{
    kernel::{Fragment, Packet, TCP, forgotten, lengths, load, mapped},
    route::{self, Route},
};

const SCTP: u8 = 132;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
/// An IPv6 extension header, as transports are numbered.
const ROUTING: u8 = 43;
/// Most IPv6 extension headers that are walked to the transport header: one of each kind, and destination
/// options twice (RFC 8200, 4.1).
const EXTENSIONS_MAX: usize = 5;

/// What the headers of IP say.
struct Network {
    source: [u8; 16],
    destination: [u8; 16],
    transport: u8,
    /// As in `kernel::Packet`.
    transport_at: u32,
    fragment: Fragment,
    malformed: u8,
    via: u16,
    via_at: u32,
}

impl Network {
    /// It goes elsewhere than its header says, or as well.
    #[inline(always)]
    fn follow<const BYTES: usize>(&mut self, skb: *mut __sk_buff, at: u32, route: Route) {
        if let Some(to) = load::<BYTES>(skb, at + route.to()) {
            self.destination[16 - BYTES..].copy_from_slice(&to);
        }
        if route.via() != 0 {
            self.via = route.digest();
            self.via_at = (at + route.via()) << 8 | BYTES as u32;
        }
        if route.is_malformed() {
            self.malformed = 1;
        }
    }
}

/// A packet of this version of IP, whose header begins at `at`: 0 in cgroup programs, behind the link
/// header in tc's. The version is what the kernel goes by, whatever the packet says of itself. `None`
/// where there is no room for the fixed header. `ROUTED`: its destination is the worst of those that it is
/// told to go to.
#[inline(always)]
pub fn packet<const ROUTED: bool>(skb: *mut __sk_buff, at: u32, is_v6: bool) -> Option<Packet> {
    let network = if is_v6 { ipv6::<ROUTED>(skb, at)? } else { ipv4::<ROUTED>(skb, at)? };
    let Network { source, destination, transport, transport_at, fragment, malformed, via, via_at } =
        network;
    let mut packet = Packet {
        source,
        destination,
        source_port: 0,
        destination_port: 0,
        transport,
        icmp_type: 0,
        bytes: 0,
        packets: 1,
        fragment,
        transport_at,
        malformed,
        via,
        via_at,
    };
    match transport {
        // TCP, UDP, DCCP, SCTP, UDP-Lite: ports come first.
        6 | 17 | 33 | 132 | 136 if transport_at != 0 => {
            if let Some(ports) = load::<4>(skb, transport_at) {
                packet.source_port = u16::from_be_bytes([ports[0], ports[1]]);
                packet.destination_port = u16::from_be_bytes([ports[2], ports[3]]);
            }
        }
        ICMP | ICMPV6 if transport_at != 0 => {
            packet.icmp_type = load::<1>(skb, transport_at).map_or(0, |byte| byte[0]);
        }
        _ => {}
    }
    measure(skb, &mut packet, at, transport_at);
    Some(packet)
}

/// Bytes and packets on the wire. A GSO packet is one skb with one set of headers; its segments
/// carry them each (`skb_segment`). How many there will be follows from their size, by which the kernel
/// cuts: their number is not filled in where a guest's card left the cutting to this host.
#[inline(always)]
fn measure(skb: *mut __sk_buff, packet: &mut Packet, at: u32, transport_at: u32) {
    /// `GSO_BY_FRAGS` (`include/linux/skbuff.h`): the pieces have sizes of their own.
    const BY_FRAGMENTS: u32 = 0xffff;
    let (bytes, segments) = lengths(skb);
    packet.bytes = u64::from(bytes.saturating_sub(at));
    // SAFETY: a context field.
    let size = unsafe { (&raw const (*skb).gso_size).read_volatile() };
    if size != 0 && transport_at != 0 {
        let header = match packet.transport {
            TCP => load::<1>(skb, transport_at + 12).map_or(20, |byte| u32::from(byte[0] >> 4) * 4),
            SCTP => 12,
            _ => 8,
        };
        let header = forgotten(skb, header);
        let payload = bytes.saturating_sub(transport_at + header);
        // Of what is inside a tunnel's packet nobody knows the headers here.
        let is_plain = packet.transport == TCP || segments == 0;
        let segments = if is_plain && size != BY_FRAGMENTS {
            payload.div_ceil(size).max(1)
        } else {
            segments.max(1)
        };
        packet.packets = forgotten(skb, segments).into();
        packet.bytes += (packet.packets - 1) * u64::from(transport_at.saturating_sub(at) + header);
    }
}

#[inline(always)]
fn ipv4<const ROUTED: bool>(skb: *mut __sk_buff, at: u32) -> Option<Network> {
    let h: [u8; 20] = load(skb, at)?;
    let id = u32::from(u16::from_be_bytes([h[4], h[5]]));
    // Version 4, and a length of 20 to 60 bytes that are there.
    let length = u32::from(h[0] & 15) * 4;
    let malformed = !(0x45..=0x4f).contains(&h[0]) || at + length > lengths(skb).0;
    let fragment = if malformed {
        Fragment::Whole
    } else if (h[6] & 0x1f) | h[7] != 0 {
        Fragment::Later { id }
    } else if h[6] & 0x20 != 0 {
        Fragment::First { id }
    } else {
        Fragment::Whole
    };
    let is_here = !malformed && !matches!(fragment, Fragment::Later { .. });
    let mut network = Network {
        source: mapped([h[12], h[13], h[14], h[15]]),
        destination: mapped([h[16], h[17], h[18], h[19]]),
        transport: h[9],
        transport_at: if is_here { at + length } else { 0 },
        fragment,
        malformed: malformed.into(),
        via: 0,
        via_at: 0,
    };
    if ROUTED && length > 20 && !malformed {
        network.follow::<4>(skb, at, route::of4(skb, at, length));
        if network.malformed != 0 {
            network.transport_at = 0;
            network.fragment = Fragment::Whole;
        }
    }
    Some(network)
}

#[inline(always)]
fn ipv6<const ROUTED: bool>(skb: *mut __sk_buff, at: u32) -> Option<Network> {
    let h: [u8; 40] = load(skb, at)?;
    let mut source = [0; 16];
    source.copy_from_slice(&h[8..24]);
    let mut destination = [0; 16];
    destination.copy_from_slice(&h[24..40]);
    let mut network = Network {
        source,
        destination,
        transport: h[6],
        transport_at: at + 40,
        fragment: Fragment::Whole,
        malformed: 1,
        via: 0,
        via_at: 0,
    };
    if h[0] >> 4 == 6 {
        let mut routing = 0;
        network.malformed = (!extensions(skb, &mut network, &mut routing)).into();
        routing = forgotten(skb, routing);
        if ROUTED && routing != 0 && network.malformed == 0 {
            network.follow::<16>(skb, at, route::of6(skb, at, routing.wrapping_sub(at)));
            if network.malformed != 0 {
                network.transport = ROUTING;
            }
        }
    }
    if network.malformed != 0 {
        network.transport_at = 0;
        network.fragment = Fragment::Whole;
    }
    Some(network)
}

/// Walks to the transport's header. `false`: there is an extension that can't be read, or one too many.
/// `routing`: where the routing header is that leads elsewhere.
#[inline(always)]
fn extensions(skb: *mut __sk_buff, network: &mut Network, routing: &mut u32) -> bool {
    let (length, _) = lengths(skb);
    for _ in 0..EXTENSIONS_MAX {
        let at = network.transport_at;
        // Hop-by-hop, routing, destination options: length in 8 bytes, less the first. A fragment's has
        // none, and a zero there.
        if !matches!(network.transport, 0 | 43 | 60 | 44) {
            return true;
        }
        let Some(extension) = load::<8>(skb, at) else { return false };
        if network.transport == 44 {
            let id = u32::from_be_bytes([extension[4], extension[5], extension[6], extension[7]]);
            network.transport = extension[0];
            if extension[2] != 0 || extension[3] & 0xf8 != 0 {
                network.fragment = Fragment::Later { id };
                network.transport_at = 0;
                // Where that leads stands in another fragment.
                return network.transport != ROUTING;
            }
            network.fragment = Fragment::First { id };
            network.transport_at = at + 8;
        } else {
            let end = at + (u32::from(extension[1]) + 1) * 8;
            if end > length {
                return false;
            }
            if network.transport == ROUTING && extension[3] != 0 {
                // A second one can't be read: the first is done with when it counts.
                if *routing != 0 {
                    return false;
                }
                *routing = at;
            }
            network.transport = extension[0];
            network.transport_at = end;
        }
    }
    !matches!(network.transport, 0 | 43 | 60 | 44)
}

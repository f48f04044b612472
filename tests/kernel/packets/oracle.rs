//! What a packet says of its flow, as another parser reads it (the crate `etherparse`): what the
//! probes must have told of it.

#[path = "route.rs"]
mod route;

use etherparse::{
    Ipv4HeaderSlice, Ipv6FragmentHeaderSlice, Ipv6HeaderSlice, Ipv6RawExtHeaderSlice,
};

pub(crate) use route::Rank;

/// Into what the kernel is to cut it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cut {
    /// Their number, where somebody counted them.
    pub(crate) segments: u32,
    /// The payload of each; 0: no GSO packet.
    pub(crate) size: u32,
}

/// What must be told of one packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flow {
    /// IPv4 as `::ffff:a.b.c.d`.
    pub(crate) source: [u8; 16],
    pub(crate) destination: [u8; 16],
    pub(crate) transport: u8,
    /// Zero where the packet has none, or not here.
    pub(crate) ports: (u16, u16),
    pub(crate) icmp_type: u8,
    pub(crate) bytes: u64,
    pub(crate) packets: u64,
    pub(crate) fragment: Option<Fragment>,
    /// Of the IP and transport headers, which each segment has.
    pub(crate) headers: u64,
    pub(crate) is_malformed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Fragment {
    pub(crate) id: u32,
    pub(crate) is_first: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// There is no room for the fixed part of an IP header.
    Short,
    Flow(Flow),
}

/// The probes walk no further.
const EXTENSIONS_MAX: usize = 5;

const ROUTING: u8 = 43;

/// What stands behind the IP headers.
struct Network {
    source: [u8; 16],
    destination: [u8; 16],
    transport: u8,
    /// Bytes of the IP headers.
    length: usize,
    fragment: Option<Fragment>,
    is_malformed: bool,
}

/// `is_v6`: what the kernel takes it for; `rank`: which address is worse than another.
pub(crate) fn judge(rank: Rank, packet: &[u8], is_v6: bool, cut: Cut) -> Verdict {
    if packet.len() < if is_v6 { 40 } else { 20 } {
        return Verdict::Short;
    }
    let network = if is_v6 { ipv6(packet, rank) } else { ipv4(packet, rank) };
    flow(&network, packet, cut)
}

fn flow(network: &Network, packet: &[u8], cut: Cut) -> Verdict {
    let is_later = network.fragment.is_some_and(|it| !it.is_first);
    let is_elsewhere = is_later || network.is_malformed;
    let rest = if is_elsewhere { &[] } else { &packet[network.length..] };
    let has_ports = matches!(network.transport, 6 | 17 | 33 | 132 | 136);
    let ports = match rest.first_chunk::<4>() {
        Some([a, b, c, d]) if has_ports => {
            (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]))
        }
        _ => (0, 0),
    };
    let is_icmp = matches!(network.transport, 1 | 58);
    let transport_bytes = match (network.transport, rest.get(12)) {
        (6, Some(offset)) => u64::from(offset >> 4) * 4,
        (6, None) => 20,
        (132, _) => 12,
        _ => 8,
    };
    let headers = network.length as u64 + transport_bytes;
    let payload = (packet.len() as u64).saturating_sub(headers);
    // Of what may be inside of another transport, the number is believed where there is one.
    let segments = match (cut.size, network.transport, cut.segments) {
        (0, _, _) => 1,
        (size, 6, _) | (size, _, 0) => payload.div_ceil(size.into()),
        (_, _, segments) => segments.into(),
    };
    let further = if is_elsewhere { 0 } else { segments.saturating_sub(1) };
    Verdict::Flow(Flow {
        source: network.source,
        destination: network.destination,
        transport: network.transport,
        ports,
        icmp_type: rest.first().copied().filter(|_| is_icmp).unwrap_or(0),
        bytes: packet.len() as u64 + further * headers,
        packets: 1 + further,
        fragment: network.fragment,
        headers,
        is_malformed: network.is_malformed,
    })
}

/// With the addresses that stand where those of its version do.
fn malformed(packet: &[u8], is_v6: bool, transport: u8) -> Network {
    let address = |at: usize| {
        let mut address = [0; 16];
        if is_v6 {
            address.copy_from_slice(&packet[at..at + 16]);
        } else {
            address[10..12].copy_from_slice(&[0xff, 0xff]);
            address[12..].copy_from_slice(&packet[at..at + 4]);
        }
        address
    };
    let (source, destination) = if is_v6 { (8, 24) } else { (12, 16) };
    Network {
        source: address(source),
        destination: address(destination),
        transport,
        length: 0,
        fragment: None,
        is_malformed: true,
    }
}

fn ipv4(packet: &[u8], rank: Rank) -> Network {
    let Ok(header) = Ipv4HeaderSlice::from_slice(packet) else {
        return malformed(packet, false, packet[9]);
    };
    let offset = header.fragments_offset().value();
    let fragment = Fragment { id: header.identification().into(), is_first: offset == 0 };
    let route = route::v4(packet, header.slice().len(), rank);
    let destination = route::address(packet, &route.to);
    if route.is_malformed {
        return Network { destination, ..malformed(packet, false, header.protocol().0) };
    }
    Network {
        source: header.source_addr().to_ipv6_mapped().octets(),
        destination,
        transport: header.protocol().0,
        length: header.slice().len(),
        fragment: (offset > 0 || header.more_fragments()).then_some(fragment),
        is_malformed: false,
    }
}

fn ipv6(packet: &[u8], rank: Rank) -> Network {
    let Ok(header) = Ipv6HeaderSlice::from_slice(packet) else {
        return malformed(packet, true, packet[6]);
    };
    let mut network = Network {
        source: header.source(),
        destination: header.destination(),
        transport: header.next_header().0,
        length: header.slice().len(),
        fragment: None,
        is_malformed: false,
    };
    let mut routing = None;
    for extensions in 0.. {
        let rest = &packet[network.length..];
        let transport = network.transport;
        if !matches!(transport, 0 | 43 | 60 | 44) {
            break;
        }
        if extensions == EXTENSIONS_MAX {
            return malformed(packet, true, transport);
        }
        if transport == 44 {
            let Ok(extension) = Ipv6FragmentHeaderSlice::from_slice(rest) else {
                return malformed(packet, true, transport);
            };
            network.transport = extension.next_header().0;
            network.length += extension.slice().len();
            let is_first = extension.fragment_offset().value() == 0;
            network.fragment = Some(Fragment { id: extension.identification(), is_first });
            if !is_first && network.transport == ROUTING {
                return malformed(packet, true, ROUTING);
            }
            if !is_first {
                break;
            }
        } else {
            let Ok(extension) = Ipv6RawExtHeaderSlice::from_slice(rest) else {
                return malformed(packet, true, transport);
            };
            if transport == ROUTING && extension.slice()[3] != 0 {
                let end = network.length + extension.slice().len();
                if routing.replace(network.length..end).is_some() {
                    return malformed(packet, true, transport);
                }
            }
            network.transport = extension.next_header().0;
            network.length += extension.slice().len();
        }
    }
    let Some(routing) = routing else { return network };
    let route = route::v6(packet, routing, rank);
    let destination = route::address(packet, &route.to);
    if route.is_malformed {
        return Network { destination, ..malformed(packet, true, ROUTING) };
    }
    Network { destination, ..network }
}

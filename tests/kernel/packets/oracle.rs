//! What a packet says of its flow, as another parser reads it (the crate `etherparse`): what the
//! probes must have told of it. It does not judge packets that the two may read differently.

use etherparse::{
    Ipv4HeaderSlice, Ipv6FragmentHeaderSlice, Ipv6HeaderSlice, Ipv6RawExtHeaderSlice,
};

use crate::made::Cut;

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
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Fragment {
    pub(crate) id: u32,
    pub(crate) is_first: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// No IP packet with a readable header.
    Malformed,
    Flow(Flow),
    /// Readable in part, or longer than the probes look: they may say what they like.
    Open,
}

/// The probes walk no further.
const EXTENSIONS_MAX: usize = 4;

/// What stands behind the IP headers.
struct Network {
    source: [u8; 16],
    destination: [u8; 16],
    transport: u8,
    /// Bytes of the IP headers.
    length: usize,
    fragment: Option<Fragment>,
}

pub(crate) fn judge(packet: &[u8], cut: Cut) -> Verdict {
    let Some(first) = packet.first() else { return Verdict::Malformed };
    let network = match (first >> 4, packet.len()) {
        (4, 20..) => ipv4(packet),
        (6, 40..) => ipv6(packet),
        _ => return Verdict::Malformed,
    };
    network.map_or(Verdict::Open, |network| flow(&network, packet, cut))
}

fn flow(network: &Network, packet: &[u8], cut: Cut) -> Verdict {
    let is_later = network.fragment.is_some_and(|it| !it.is_first);
    let rest = if is_later { &[] } else { &packet[network.length..] };
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
    let further = if is_later { 0 } else { segments.saturating_sub(1) };
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
    })
}

fn ipv4(packet: &[u8]) -> Option<Network> {
    let header = Ipv4HeaderSlice::from_slice(packet).ok()?;
    let offset = header.fragments_offset().value();
    let fragment = Fragment { id: header.identification().into(), is_first: offset == 0 };
    Some(Network {
        source: header.source_addr().to_ipv6_mapped().octets(),
        destination: header.destination_addr().to_ipv6_mapped().octets(),
        transport: header.protocol().0,
        length: header.slice().len(),
        fragment: (offset > 0 || header.more_fragments()).then_some(fragment),
    })
}

fn ipv6(packet: &[u8]) -> Option<Network> {
    let header = Ipv6HeaderSlice::from_slice(packet).ok()?;
    let mut network = Network {
        source: header.source(),
        destination: header.destination(),
        transport: header.next_header().0,
        length: header.slice().len(),
        fragment: None,
    };
    for _ in 0..EXTENSIONS_MAX {
        let rest = &packet[network.length..];
        match network.transport {
            0 | 43 | 60 => {
                let extension = Ipv6RawExtHeaderSlice::from_slice(rest).ok()?;
                network.transport = extension.next_header().0;
                network.length += extension.slice().len();
            }
            44 => {
                let extension = Ipv6FragmentHeaderSlice::from_slice(rest).ok()?;
                network.transport = extension.next_header().0;
                network.length += extension.slice().len();
                let is_first = extension.fragment_offset().value() == 0;
                network.fragment = Some(Fragment { id: extension.identification(), is_first });
                if !is_first {
                    break;
                }
            }
            _ => break,
        }
    }
    Some(network)
}

/// The IP packet of a frame, as far as six VLAN tags are looked behind; `None`: it is no IP.
pub(crate) fn behind_link(frame: &[u8]) -> Option<(usize, &[u8])> {
    let mut at = 14;
    let kind = |at: usize| Some(u16::from_be_bytes(*frame.get(at..)?.first_chunk()?));
    for _ in 0..6 {
        if matches!(kind(at - 2)?, 0x8100 | 0x88a8 | 0x9100 | 0x9200 | 0x9300) {
            kind(at + 2)?;
            at += 4;
        }
    }
    matches!(kind(at - 2)?, 0x0800 | 0x86dd).then(|| (at, frame.get(at..).unwrap_or_default()))
}

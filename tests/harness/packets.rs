//! Packets and frames byte by byte, for what no socket would make. Sends nothing.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The lab's host, on its way to the internet.
pub const HOST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
/// To everybody, from nobody's card: addresses of a frame.
pub const LINK: [u8; 12] = [255, 255, 255, 255, 255, 255, 2, 0, 0x5e, 0, 0x53, 0x77];
pub const UDP: u8 = 17;
/// IPv6 extension headers.
pub const HOP_BY_HOP: u8 = 0;
pub const ROUTING: u8 = 43;
pub const FRAGMENT: u8 = 44;
pub const OPTIONS: u8 = 60;

/// UDP from port 40000 to port 9, without a checksum.
pub fn datagram(payload: u16) -> Vec<u8> {
    let mut datagram: Vec<u8> =
        [40_000, 9, payload + 8, 0].iter().flat_map(|word: &u16| word.to_be_bytes()).collect();
    datagram.resize(usize::from(payload) + 8, b'x');
    datagram
}

/// An IPv6 packet; `next`: what `rest` begins with.
pub fn v6(from: Ipv6Addr, to: Ipv6Addr, next: u8, rest: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((rest.len() as u16).to_be_bytes());
    packet.extend([next, 64]);
    packet.extend(from.octets());
    packet.extend(to.octets());
    packet.extend(rest);
    packet
}

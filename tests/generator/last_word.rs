//! What is told wrongly where the first word is believed: packets that a guest leaves to this host to
//! cut, and fragments made by hand. It sends; it measures nothing.

use std::{
    fs::File,
    io::{self, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    process::Command,
    thread,
    time::Duration,
};

use crate::{
    Kind, Options,
    packet::checksum,
    socket::{Socket, check},
    truth::{Flow, Truth},
};

const SOURCE_PORT: u16 = 40_078;

pub(crate) fn make(kind: Kind, options: &Options) -> io::Result<Truth> {
    if kind == Kind::TapSegments { tap_segments(options) } else { fragments_by_hand(options) }
}

fn v4(to: SocketAddr) -> io::Result<Ipv4Addr> {
    match to.ip() {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(_) => Err(io::Error::other("only IPv4 packets are made here")),
    }
}

fn ipv4_header(
    source: Ipv4Addr,
    to: Ipv4Addr,
    transport: u8,
    fragment: u16,
    rest: usize,
) -> Vec<u8> {
    let mut header = vec![0x45, 0];
    header.extend(((20 + rest) as u16).to_be_bytes());
    header.extend([0x12, 0x34]);
    header.extend(fragment.to_be_bytes());
    header.extend([64, transport, 0, 0]);
    header.extend(source.octets());
    header.extend(to.octets());
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    header
}

/// A datagram in two fragments, each a packet of a raw socket.
fn fragments_by_hand(options: &Options) -> io::Result<Truth> {
    const MORE: u16 = 0x2000;
    let to = options.target()?;
    let payload = options.payload();
    let mut datagram = Vec::new();
    datagram.extend(SOURCE_PORT.to_be_bytes());
    datagram.extend(to.port().to_be_bytes());
    datagram.extend(((8 + payload.len()) as u16).to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(&payload);
    let (first, rest) = datagram.split_at(datagram.len() / 16 * 8);
    let socket = Socket::open(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_RAW)?;
    let offset = (first.len() / 8) as u16;
    for (part, fragment) in [(first, MORE), (rest, offset)] {
        let source = Ipv4Addr::UNSPECIFIED;
        let mut packet =
            ipv4_header(source, v4(to)?, libc::IPPROTO_UDP as u8, fragment, part.len());
        packet.extend(part);
        socket.send_to(&packet, 0, SocketAddr::new(to.ip(), 0))?;
    }
    let flow = Flow::sent(to, "udp", options.bytes);
    Ok(Truth::of(vec![Flow { source_port: Some(SOURCE_PORT), ..flow }]))
}

/// One TCP packet of a guest behind a TAP device, which leaves it to this host to cut it into segments
/// of 1,000 bytes.
fn tap_segments(options: &Options) -> io::Result<Truth> {
    /// `TUNSETIFF`, `IFF_TAP | IFF_NO_PI | IFF_VNET_HDR`, `TUNSETOFFLOAD`, `TUN_F_CSUM | TUN_F_TSO4`
    /// (`linux/if_tun.h`).
    const TUNSETIFF: libc::Ioctl = 0x4004_54ca;
    const TAP: i16 = 0x5002;
    const DEVICE: &str = "gftap0";
    const GUEST: Ipv4Addr = Ipv4Addr::new(192, 168, 79, 2);
    const SEGMENT: u16 = 1000;
    // SAFETY: the path is a C string.
    let fd = check(unsafe { libc::open(c"/dev/net/tun".as_ptr(), libc::O_RDWR) })?;
    // SAFETY: the kernel just gave us this descriptor, nobody else has it.
    let mut device = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
    // SAFETY: all zeros is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(DEVICE.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    request.ifr_ifru.ifru_flags = TAP;
    // SAFETY: the request lives through the call.
    check(unsafe { libc::ioctl(device.as_raw_fd(), TUNSETIFF, &raw mut request) })?;
    let address = "02:00:5e:00:53:79";
    for words in [
        format!("link set {DEVICE} address {address}"),
        format!("address add 192.168.79.1/24 dev {DEVICE}"),
        format!("link set {DEVICE} up"),
    ] {
        let status = Command::new("ip").args(words.split(' ')).status()?;
        if !status.success() {
            return Err(io::Error::other(format!("ip {words}: {status}")));
        }
    }
    thread::sleep(Duration::from_millis(options.linger));
    let to = options.target()?;
    let payload = options.payload();
    let mut tcp = Vec::new();
    tcp.extend(SOURCE_PORT.to_be_bytes());
    tcp.extend(to.port().to_be_bytes());
    tcp.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0x10, 0, 0, 0, 0, 0]);
    // Partial: the pseudo header's alone (`VIRTIO_NET_HDR_F_NEEDS_CSUM`).
    let mut pseudo = Vec::new();
    pseudo.extend(GUEST.octets());
    pseudo.extend(v4(to)?.octets());
    pseudo.extend([0, libc::IPPROTO_TCP as u8]);
    pseudo.extend(((tcp.len() + payload.len()) as u16).to_be_bytes());
    tcp[16..18].copy_from_slice(&(!checksum(&pseudo)).to_be_bytes());
    // `struct virtio_net_hdr`: needs a checksum, TCP over IPv4.
    let mut frame = vec![1, 1];
    for number in [14 + 20 + tcp.len() as u16, SEGMENT, 14 + 20, 16] {
        frame.extend(number.to_ne_bytes());
    }
    frame.extend([0x02, 0, 0x5e, 0, 0x53, 0x79, 0x02, 0, 0x5e, 0, 0x53, 0x80, 8, 0]);
    let rest = tcp.len() + payload.len();
    frame.extend(ipv4_header(GUEST, v4(to)?, libc::IPPROTO_TCP as u8, 0, rest));
    frame.extend(tcp);
    frame.extend(&payload);
    device.write_all(&frame)?;
    thread::sleep(Duration::from_millis(50));
    let flow = Flow::sent(to, "tcp", options.bytes);
    Ok(Truth::of(vec![Flow { source_port: Some(SOURCE_PORT), ..flow }]))
}

//! What leaves without an inet socket: packet sockets in their ways of sending, and a TUN device into
//! which packets are written as if they had come in by it.

use std::{
    fs::File,
    io::{self, Write},
    mem,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    process::Command,
    ptr, slice, thread,
    time::Duration,
};

use crate::{
    Kind, Options, calls, given,
    packet::checksum,
    socket::{Socket, check, length},
    truth::{Flow, Truth},
};

const SOURCE_PORT: u16 = 40_077;
const ETHERNET_IPV4: u16 = 0x0800;
const BROADCAST: [u8; 6] = [0xff; 6];
/// The addresses of the TUN device and of who is behind it.
const TUN: (&str, &str) = ("tun77", "10.99.77.1/24");
const BEHIND_TUN: Ipv4Addr = Ipv4Addr::new(10, 99, 77, 2);

/// A UDP datagram with its IPv4 header.
fn datagram(options: &Options, from: Ipv4Addr) -> io::Result<(Vec<u8>, Truth)> {
    let to = options.target()?;
    let IpAddr::V4(address) = to.ip() else {
        return Err(io::Error::other("only IPv4 headers are made here"));
    };
    let payload = options.payload();
    let total = (28 + payload.len()) as u16;
    let mut packet = vec![0x45, 0];
    packet.extend_from_slice(&total.to_be_bytes());
    packet.extend_from_slice(&[0, 1, 0, 0, 64, libc::IPPROTO_UDP as u8, 0, 0]);
    packet.extend_from_slice(&from.octets());
    packet.extend_from_slice(&address.octets());
    let sum = checksum(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    for word in [SOURCE_PORT, to.port(), total - 20, 0] {
        packet.extend_from_slice(&word.to_be_bytes());
    }
    packet.extend_from_slice(&payload);
    let flow = Flow { source_port: Some(SOURCE_PORT), ..Flow::sent(to, "udp", options.bytes) };
    Ok((packet, Truth::of(vec![flow])))
}

fn source(options: &Options) -> io::Result<Ipv4Addr> {
    match options.from {
        Some(IpAddr::V4(from)) => Ok(from),
        _ => Err(io::Error::other("this kind needs --from, an IPv4 address")),
    }
}

/// Index of the interface to send by.
pub(crate) fn interface(options: &Options) -> io::Result<u32> {
    let name = std::ffi::CString::new(options.device.as_str())?;
    // SAFETY: the name is a C string.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    if index == 0 { Err(io::Error::last_os_error()) } else { Ok(index) }
}

/// A datagram as it is on the wire.
pub(crate) fn frame(options: &Options) -> io::Result<(Vec<u8>, Truth)> {
    let (packet, truth) = datagram(options, source(options)?)?;
    Ok((ethernet(&packet), truth))
}

pub(crate) fn link_address(options: &Options) -> io::Result<libc::sockaddr_ll> {
    let index = interface(options)?;
    // SAFETY: all zeros is a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = ETHERNET_IPV4.to_be();
    address.sll_ifindex = index.cast_signed();
    address.sll_halen = 6;
    address.sll_addr[..6].copy_from_slice(&BROADCAST);
    Ok(address)
}

pub(crate) fn send(socket: &Socket, frame: &[u8], to: &libc::sockaddr_ll) -> io::Result<()> {
    let len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    let (data, to) = (frame.as_ptr().cast(), ptr::from_ref(to).cast());
    // SAFETY: both pointers and lengths describe live values.
    length(unsafe { libc::sendto(socket.raw(), data, frame.len(), 0, to, len) })?;
    Ok(())
}

/// Destination, source (left to be zero, as nobody answers), and type.
fn ethernet(packet: &[u8]) -> Vec<u8> {
    let mut frame = BROADCAST.to_vec();
    frame.extend_from_slice(&[0; 6]);
    frame.extend_from_slice(&ETHERNET_IPV4.to_be_bytes());
    frame.extend_from_slice(packet);
    frame
}

/// With a link header of the kernel's or, as `PacketRaw`, of our own; as `PacketBypass` past the queues, and
/// with them past tc (`PACKET_QDISC_BYPASS`).
pub(crate) fn packet(options: &Options, kind: Kind) -> io::Result<Truth> {
    let (packet, truth) = datagram(options, source(options)?)?;
    let is_raw = kind == Kind::PacketRaw;
    let socket_kind = if is_raw { libc::SOCK_RAW } else { libc::SOCK_DGRAM };
    let socket = Socket::open(libc::AF_PACKET, socket_kind, 0)?;
    if kind == Kind::PacketBypass {
        calls::set_option(socket.raw(), libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, 1)?;
    }
    let frame = if is_raw { layered(options, &packet)? } else { packet };
    let to = link_address(options)?;
    for _ in 0..options.count {
        send(&socket, &frame, &to)?;
    }
    // Whoever looks for the sender later must find it.
    thread::sleep(Duration::from_millis(options.linger));
    Ok(truth)
}

/// A frame with whatever layers between its addresses and what it carries.
fn layered(options: &Options, packet: &[u8]) -> io::Result<Vec<u8>> {
    let layers = given::bytes(&options.layers)?;
    let mut frame = BROADCAST.to_vec();
    frame.extend_from_slice(&[2, 0, 0x5e, 0, 0x53, 0x77]);
    frame.extend_from_slice(&layers);
    frame.extend_from_slice(if options.bare { &packet[28..] } else { packet });
    Ok(frame)
}

/// One frame through a ring that the kernel reads (`PACKET_TX_RING`, `packet_mmap`).
pub(crate) fn transmit_ring(options: &Options) -> io::Result<Truth> {
    const BLOCK: usize = 4096;
    /// Where the frame's data begins (`TPACKET_HDRLEN` less `sockaddr_ll`, version 1).
    const DATA: usize = 32;
    let (packet, truth) = datagram(options, source(options)?)?;
    let socket = Socket::open(libc::AF_PACKET, libc::SOCK_DGRAM, 0)?;
    let request = libc::tpacket_req {
        tp_block_size: BLOCK as u32,
        tp_block_nr: 1,
        tp_frame_size: BLOCK as u32,
        tp_frame_nr: 1,
    };
    let size = size_of::<libc::tpacket_req>() as libc::socklen_t;
    let (level, name) = (libc::SOL_PACKET, libc::PACKET_TX_RING);
    let value = (&raw const request).cast();
    // SAFETY: pointer and length describe one live request.
    check(unsafe { libc::setsockopt(socket.raw(), level, name, value, size) })?;
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping of the ring just made, of its size.
    let ring =
        unsafe { libc::mmap(ptr::null_mut(), BLOCK, access, libc::MAP_SHARED, socket.raw(), 0) };
    if ring == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the block just mapped, which nobody else writes to.
    let frame = unsafe { slice::from_raw_parts_mut(ring.cast::<u8>(), BLOCK) };
    let tp_len = mem::offset_of!(libc::tpacket_hdr, tp_len);
    frame[tp_len..tp_len + 4].copy_from_slice(&(packet.len() as u32).to_ne_bytes());
    frame[DATA..DATA + packet.len()].copy_from_slice(&packet);
    // SAFETY: the header's first field; the kernel looks at the rest once it says so.
    unsafe { ring.cast::<libc::c_ulong>().write_volatile(libc::TP_STATUS_SEND_REQUEST.into()) };
    send(&socket, &[], &link_address(options)?)?;
    Ok(truth)
}

/// Makes a TUN device, and writes a packet into it that comes from somebody behind it.
pub(crate) fn tun_inject(options: &Options) -> io::Result<Truth> {
    /// `TUNSETIFF`, `IFF_TUN | IFF_NO_PI` (`linux/if_tun.h`).
    const TUNSETIFF: libc::Ioctl = 0x4004_54ca;
    const TUN_NO_PI: i16 = 0x1001;
    let (packet, truth) = datagram(options, BEHIND_TUN)?;
    // SAFETY: the path is a C string.
    let fd = check(unsafe { libc::open(c"/dev/net/tun".as_ptr(), libc::O_RDWR) })?;
    // SAFETY: the kernel just gave us this descriptor, nobody else has it.
    let mut device = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
    // SAFETY: all zeros is a valid ifreq.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(TUN.0.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    request.ifr_ifru.ifru_flags = TUN_NO_PI;
    // SAFETY: the request lives through the call.
    check(unsafe { libc::ioctl(device.as_raw_fd(), TUNSETIFF, &raw mut request) })?;
    for words in [format!("address add {} dev {}", TUN.1, TUN.0), format!("link set {} up", TUN.0)]
    {
        let status = Command::new("ip").args(words.split(' ')).status()?;
        if !status.success() {
            return Err(io::Error::other(format!("ip {words}: {status}")));
        }
    }
    // The daemon may take up to a second to see the device.
    thread::sleep(Duration::from_millis(options.linger));
    device.write_all(&packet)?;
    thread::sleep(Duration::from_millis(50));
    Ok(truth)
}

/// Where nobody is asked for an answer.
pub(crate) fn multicast(options: &Options) -> io::Result<Truth> {
    let to: SocketAddr = "239.77.0.1:9".parse().map_err(io::Error::other)?;
    let socket = std::net::UdpSocket::bind(options.source(to))?;
    socket.send_to(&options.payload(), to)?;
    let local = socket.local_addr()?;
    Ok(Truth::of(vec![Flow::sent(to, "udp", options.bytes).from(local)]))
}

//! Many short flows as fast as the machine can. Only flows that really left are counted.

use std::{
    collections::HashSet,
    io::{self, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
};

use crate::{Options, hold, truth::Truth, udp};

/// Where the flow of this number goes: through all ports of an address, then to the next address.
fn destination(options: &Options, number: u64) -> io::Result<SocketAddr> {
    let (first, last) = (u64::from(*options.ports.start()), u64::from(*options.ports.end()));
    let ports = last - first + 1;
    options.target()?;
    let address = options.to[((number / ports) % options.to.len() as u64) as usize];
    Ok(SocketAddr::new(address.ip(), (first + number % ports) as u16))
}

/// Each socket must meet each destination once at most, else fewer flows are made than asked for.
pub(crate) fn shared_sockets(options: &Options) -> io::Result<Truth> {
    let first = options.target()?;
    let many = options.sockets.max(1) as u64;
    let ports = u64::from(*options.ports.end() - *options.ports.start()) + 1;
    if options.count > many * ports * options.to.len() as u64 {
        return Err(io::Error::other("too few sockets, addresses and ports for --count flows"));
    }
    let sockets: Vec<UdpSocket> =
        (0..many).map(|_| udp::bound(options, first)).collect::<Result<_, _>>()?;
    let payload = options.payload();
    for number in 0..options.count {
        let socket = &sockets[(number % many) as usize];
        socket.send_to(&payload, destination(options, number / many)?)?;
    }
    if options.keep {
        hold::wait_to_send()?;
    }
    Ok(Truth::made(options.count))
}

pub(crate) fn new_socket(options: &Options) -> io::Result<Truth> {
    let payload = options.payload();
    for number in 0..options.count {
        let to = destination(options, number)?;
        udp::bound(options, to)?.send_to(&payload, to)?;
    }
    Ok(Truth::made(options.count))
}

pub(crate) fn tcp(options: &Options) -> io::Result<Truth> {
    let payload = options.payload();
    let addresses: HashSet<_> = options.to.iter().collect();
    if addresses.is_empty() {
        return Err(io::Error::other("this kind needs --to"));
    }
    for number in 0..options.count {
        let to = options.to[(number % options.to.len() as u64) as usize];
        TcpStream::connect(to)?.write_all(&payload)?;
    }
    Ok(Truth::made(options.count))
}

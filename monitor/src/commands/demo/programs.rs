//! The programs of the demo: names of this binary's own, each with one kind of egress to the documentation
//! addresses. To no other address does any of them send.

use std::{
    env, fs,
    io::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    os::fd::AsFd as _,
    path::Path,
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use rustix::net::{AddressFamily, SendFlags, SocketType, ipproto, sendto, socket};

use super::world::{PORT, World};

const MESSAGE: &[u8] = &[b'.'; 1024];
/// Of an echo request (RFC 792): type, code, checksum (the kernel writes it), identifier, sequence.
const ECHO_REQUEST: [u8; 8] = [8, 0, 0, 0, 0, 0, 0, 1];
/// For experiments (RFC 3692).
const EXPERIMENT: u8 = 253;

/// What one of the programs does.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Deed {
    pub(super) name: &'static str,
    to: IpAddr,
    how: How,
    /// Of payload.
    pub(super) bytes: usize,
}

#[derive(Debug, PartialEq, Eq)]
enum How {
    Stream,
    /// By a socket of IPv6 to an address of IPv4 (RFC 4291, 2.5.5.2).
    MappedStream,
    Datagram(u16),
    /// The socket knows where to, and sends nothing.
    Attempt(u16),
    Echo,
    Protocol,
}

const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

const fn v6(last: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, last))
}

const fn deed(name: &'static str, to: IpAddr, how: How, bytes: usize) -> Deed {
    Deed { name, to, how, bytes }
}

/// The policy of [`super::daemon`] says which country each of these addresses is in.
pub(super) static DEEDS: [Deed; 8] = [
    deed("photo-sync", v4(203, 0, 113, 10), How::Stream, 48_000),
    deed("chat-client", v6(5), How::Stream, 900),
    deed("backup", v4(198, 51, 100, 7), How::Stream, 200_000),
    deed("old-library", v4(203, 0, 113, 11), How::MappedStream, 500),
    deed("telemetry", v4(203, 0, 113, 77), How::Datagram(8125), 120),
    deed("camera", v4(203, 0, 113, 1), How::Echo, 0),
    deed("tunneller", v6(9), How::Protocol, 256),
    deed("resolver", v4(203, 0, 113, 99), How::Attempt(53), 0),
];

impl Deed {
    pub(super) fn named(name: &str) -> Result<&'static Deed> {
        let known = DEEDS.iter().find(|deed| deed.name == name);
        known.with_context(|| format!("{name} is no program of the demo"))
    }

    /// In the namespace that this process was started in.
    pub(super) fn run(&self) -> Result<()> {
        match self.how {
            How::Stream => stream(SocketAddr::new(self.to, PORT), self.bytes),
            How::MappedStream => {
                let IpAddr::V4(to) = self.to else { unreachable!("only IPv4 is mapped") };
                stream(SocketAddr::new(to.to_ipv6_mapped().into(), PORT), self.bytes)
            }
            How::Datagram(port) => {
                let sent = any(self.to)?.send_to(&MESSAGE[..self.bytes], (self.to, port))?;
                ensure!(sent == self.bytes, "{sent} of {} bytes were sent", self.bytes);
                Ok(())
            }
            How::Attempt(port) => Ok(any(self.to)?.connect((self.to, port))?),
            How::Echo => raw(self.to, ipproto::ICMP, &with_checksum(ECHO_REQUEST)),
            How::Protocol => {
                let protocol = rustix::net::Protocol::from_raw(
                    u32::from(EXPERIMENT).try_into().context("a protocol of 0")?,
                );
                raw(self.to, protocol, &MESSAGE[..self.bytes])
            }
        }
    }
}

fn stream(to: SocketAddr, bytes: usize) -> Result<()> {
    let mut stream = TcpStream::connect(to).with_context(|| format!("connecting to {to}"))?;
    let mut left = bytes;
    while left > 0 {
        let part = left.min(MESSAGE.len());
        stream.write_all(&MESSAGE[..part])?;
        left -= part;
    }
    Ok(())
}

fn any(to: IpAddr) -> Result<UdpSocket> {
    let own: IpAddr =
        if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    Ok(UdpSocket::bind((own, 0))?)
}

/// By a raw socket (raw(7)): the kernel writes the header of IP.
fn raw(to: IpAddr, protocol: rustix::net::Protocol, message: &[u8]) -> Result<()> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket(family, SocketType::RAW, Some(protocol))?;
    let sent = sendto(socket.as_fd(), message, SendFlags::empty(), &SocketAddr::new(to, 0))?;
    ensure!(sent == message.len(), "{sent} of {} bytes were sent", message.len());
    Ok(())
}

/// Of RFC 1071, of which a raw socket writes none.
fn with_checksum(mut message: [u8; 8]) -> [u8; 8] {
    let words =
        message.chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let sum: u32 = words.sum();
    let folded = !((sum & 0xffff) + (sum >> 16)) as u16;
    message[2..4].copy_from_slice(&folded.to_be_bytes());
    message
}

/// Runs each to its end, one after the other, under a name of its own: a program's name is its file's.
pub(super) fn run_all(world: &World, directory: &Path) -> Result<()> {
    let binary = directory.join("program");
    fs::copy(env::current_exe()?, &binary).context("a copy of this program")?;
    for deed in &DEEDS {
        let path = directory.join(deed.name);
        fs::hard_link(&binary, &path)?;
        let mut command = Command::new(&path);
        command.args(["demo", "--as", deed.name]);
        let status = world.run(command)?;
        ensure!(status.success(), "{} failed: {status}", deed.name);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_program_sends_to_documentation_addresses_only() {
        for deed in &DEEDS {
            let to = deed.to.to_string();
            let documentation = ["203.0.113.", "198.51.100.", "2001:db8:f::"];
            assert!(documentation.iter().any(|net| to.starts_with(net)), "{} to {to}", deed.name);
        }
    }

    #[test]
    fn names_are_distinct_and_fit_the_kernels_fifteen_bytes() {
        let names: BTreeSet<&str> = DEEDS.iter().map(|deed| deed.name).collect();
        assert_eq!(names.len(), DEEDS.len());
        assert!(names.iter().all(|name| name.len() <= 15));
    }

    #[test]
    fn an_echo_request_adds_up_to_ones() {
        let words = with_checksum(ECHO_REQUEST);
        let sum: u32 =
            words.chunks_exact(2).map(|it| u32::from(u16::from_be_bytes([it[0], it[1]]))).sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
    }
}

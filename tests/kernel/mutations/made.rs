//! Packets and frames from a seed: real ones of many shapes, and the same with bytes changed, cut off or put
//! in. It knows where they may go, and nothing of who tells them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// By which socket it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// A packet socket.
    Frame,
    /// A raw socket, which is told the header; the kernel routes by another address of the pool.
    Raw,
}

/// Source of each frame of a packet socket: by it they are known from the kernel's own.
pub(crate) const MARK: [u8; 6] = [2, 0, 0x5e, 0, 0x53, 0x77];

/// Who sends, and whom its frames go to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    pub(crate) v4: Ipv4Addr,
    pub(crate) v6: Ipv6Addr,
    pub(crate) router: [u8; 6],
}

/// xorshift64*: the same everywhere for the same seed.
pub(crate) struct Made {
    state: u64,
    ends: Ends,
}

impl Made {
    pub(crate) fn new(seed: u64, ends: Ends) -> Self {
        Self { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, ends }
    }

    fn next(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn byte(&mut self) -> u8 {
        self.next() as u8
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.byte()).collect()
    }

    /// One line for the generator. `is_meant`: whether to send it, by its way.
    pub(crate) fn line(&mut self, is_meant: impl Fn(Way, &[u8]) -> bool) -> String {
        let way = self.one_of(&[Way::Frame, Way::Raw]);
        loop {
            let is_v6 = self.below(2) == 0;
            let (to, bytes) = match way {
                Way::Frame => ("frame".to_owned(), self.frame()),
                Way::Raw => {
                    // At times the wrong one for the socket.
                    let is_right = self.below(12) != 0;
                    let packet = self.packet(is_v6 == is_right);
                    (self.address(is_v6).to_string(), self.changed(packet, 0))
                }
            };
            if is_meant(way, &bytes) {
                return format!("{to} {}\n", harness::digits(&bytes));
            }
        }
    }

    /// In CN or US, over IPv6 in RU or US.
    fn address(&mut self, is_v6: bool) -> IpAddr {
        let last = 1 + self.below(20) as u16;
        let is_approved = self.below(2) == 0;
        match (is_v6, is_approved) {
            (false, false) => Ipv4Addr::new(203, 0, 113, last as u8).into(),
            (false, true) => Ipv4Addr::new(198, 51, 100, last as u8).into(),
            (true, _) => {
                let part = if is_approved { 0xa } else { 0 };
                Ipv6Addr::new(0x2001, 0xdb8, 0xf, part, 0, 0, 0, last).into()
            }
        }
    }

    fn packet(&mut self, is_v6: bool) -> Vec<u8> {
        let to = self.address(is_v6);
        let protocol = self.one_of(&[1, 6, 17, 17, 33, 47, 50, 58, 132, 136, 253]);
        let count = self.below(80);
        let mut payload = self.bytes(count);
        if payload.len() >= 4 {
            // From and to few ports, so that flows have more than one packet.
            let ports = [0x9c, 0x40 | (payload[1] & 3), 0, 9 + (payload[3] & 3)];
            payload[..4].copy_from_slice(&ports);
        }
        match to {
            IpAddr::V4(to) => self.v4(to, protocol, &payload),
            IpAddr::V6(to) => self.v6(to, protocol, &payload),
        }
    }

    fn v4(&mut self, to: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let words = if self.below(4) == 0 { self.below(11) } else { 0 };
        let total = (20 + words * 4 + payload.len()) as u16;
        let fragment = self.one_of(&[0_u16, 0, 0, 0x4000, 0x2000, 0x2010, 0x0020]);
        let mut packet = vec![0x45 + words as u8, 0];
        packet.extend(total.to_be_bytes());
        packet.extend((self.below(50) as u16).to_be_bytes());
        packet.extend(fragment.to_be_bytes());
        packet.extend([64, protocol, 0, 0]);
        packet.extend(self.ends.v4.octets());
        packet.extend(to.octets());
        // Nothing but "no operation", which routers let pass.
        packet.extend(vec![1; words * 4]);
        let sum = checksum(&packet);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet.extend(payload);
        packet
    }

    fn v6(&mut self, to: Ipv6Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let count = if self.below(2) == 0 { self.below(8) } else { 0 };
        let mut kinds: Vec<u8> = (0..count).map(|_| self.one_of(&[0, 43, 44, 60, 60])).collect();
        kinds.push(protocol);
        let mut rest = Vec::new();
        for pair in kinds.windows(2) {
            let words = if pair[0] == 44 { 0 } else { self.below(3) };
            let start = rest.len();
            rest.extend([pair[1], words as u8]);
            // A fragment's offset of 0, or an option of padding.
            rest.extend(if pair[0] == 44 { [0, 1] } else { [1, (4 + words * 8) as u8] });
            rest.resize(start + 8 + words * 8, 0);
        }
        rest.extend(payload);
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend((rest.len() as u16).to_be_bytes());
        packet.extend([kinds[0], 64]);
        packet.extend(self.ends.v6.octets());
        packet.extend(to.octets());
        packet.extend(rest);
        packet
    }

    fn frame(&mut self) -> Vec<u8> {
        let is_v6 = self.below(2) == 0;
        let (packet, ip) = (self.packet(is_v6), if is_v6 { "86dd" } else { "0800" });
        let ppp = if is_v6 { "0057" } else { "0021" };
        let plain_arp = "0806000108000604000102005e0053770a4d00020000000000000a4d0001";
        let (layers, holds_ip) = match self.below(16) {
            0 => (format!("81000007{ip}"), true),
            1 => (format!("88a8000181000007{ip}"), true),
            2 => (format!("91000007{ip}"), true),
            3 => (format!("8864110000010082{ppp}"), true),
            4 => ("8847000100ff000201ff".to_owned(), true),
            5 => (format!("0088aaaa03000000{ip}"), true),
            6 => ("88b5".to_owned(), false),
            7 => (plain_arp.to_owned(), false),
            8 => ("004442420300".to_owned(), false),
            9 => (format!("{:04x}", self.below(0x1_0000)), true),
            _ => (ip.to_owned(), true),
        };
        let mut frame = self.ends.router.to_vec();
        frame.extend(MARK);
        let digit = |at: usize| u8::from_str_radix(&layers[at..at + 2], 16).unwrap_or_default();
        frame.extend((0..layers.len() / 2).map(|at| digit(at * 2)));
        if holds_ip {
            frame.extend(packet);
        } else {
            let count = self.below(60);
            frame.extend(self.bytes(count));
        }
        self.changed(frame, 12)
    }

    /// Half of them as they are. What is before `from` stays.
    fn changed(&mut self, mut bytes: Vec<u8>, from: usize) -> Vec<u8> {
        if self.below(2) == 0 {
            return bytes;
        }
        for _ in 0..self.below(4) {
            // Mostly where the headers are.
            let end = if self.below(3) == 0 { bytes.len() } else { bytes.len().min(from + 50) };
            let at = from + self.below(end - from);
            bytes[at] = self.byte();
        }
        if self.below(5) == 0 {
            let at = from + self.below(bytes.len() - from);
            let count = 1 + self.below(12);
            let more = self.bytes(count);
            bytes.splice(at..at, more);
        }
        if self.below(4) == 0 {
            bytes.truncate(from + 2 + self.below(bytes.len() - from - 1));
        }
        bytes
    }
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes.chunks(2).map(|it| u32::from(it[0]) << 8 | u32::from(it[1])).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

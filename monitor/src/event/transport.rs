//! Transports by their IANA numbers, and their names.

use std::fmt;

/// An IANA protocol number. Its `Display` is the contract's `network.transport`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Transport(pub u8);

impl Transport {
    pub const ICMP: Self = Self(1);
    pub const TCP: Self = Self(6);
    pub const UDP: Self = Self(17);
    pub const ICMPV6: Self = Self(58);
    pub const SCTP: Self = Self(132);
    /// IANA reserves it, so that no packet has it: of flows whose packets nobody could read.
    pub const UNKNOWN: Self = Self(255);

    /// Protocols with a name of their own (IANA protocol-numbers, keywords in lower case).
    pub const NAMED: [(u8, &'static str); 17] = [
        (1, "icmp"),
        (2, "igmp"),
        (4, "ipv4"),
        (6, "tcp"),
        (17, "udp"),
        (33, "dccp"),
        (41, "ipv6"),
        (47, "gre"),
        (50, "esp"),
        (51, "ah"),
        (58, "ipv6-icmp"),
        (89, "ospf"),
        (103, "pim"),
        (112, "vrrp"),
        (132, "sctp"),
        (136, "udplite"),
        (255, "unknown"),
    ];

    pub fn name(self) -> Option<&'static str> {
        Self::NAMED.iter().find(|(number, _)| *number == self.0).map(|(_, name)| *name)
    }

    /// By name or number.
    pub fn parse(text: &str) -> Option<Self> {
        let lower = text.to_ascii_lowercase();
        let lower = if lower == "icmpv6" { "ipv6-icmp" } else { &lower };
        let named = Self::NAMED.iter().find(|(_, name)| *name == lower);
        named.map_or_else(|| lower.parse().ok().map(Self), |(number, _)| Some(Self(*number)))
    }

    /// Whether its header begins with source and destination port.
    pub const fn has_ports(self) -> bool {
        matches!(self.0, 6 | 17 | 33 | 132 | 136)
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}
/// Whether what a socket sent left by an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Way {
    /// One was seen to get it; also where the hook itself is one of an interface.
    #[default]
    Confirmed,
    /// None that is watched was seen to get it, and perhaps none is on the way.
    Unconfirmed,
    /// It went by loopback, whatever its address: it never left.
    Loopback,
}

//! Addresses that mean something by themselves: special ranges, and IPv6 addresses that carry the
//! IPv4 address where the traffic really goes. No data beyond the RFCs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Traffic to these does not leave the networks of this host's owner: `local`.
///
/// Not among them, though no country either: documentation (RFC 5737, 3849), benchmarking
/// (RFC 2544) and reserved (RFC 1112 section 4) ranges; they are only unlocated.
pub(super) fn local_range(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => local_range4(address),
        IpAddr::V6(address) => local_range6(address),
    }
}

fn local_range4(address: Ipv4Addr) -> Option<&'static str> {
    match address.octets() {
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Some("private (RFC 1918)"),
        [127, ..] => Some("loopback (RFC 1122)"),
        [169, 254, ..] => Some("link-local (RFC 3927)"),
        [224..=239, ..] => Some("multicast (RFC 5771)"),
        [100, 64..=127, ..] => Some("shared, behind a carrier's NAT (RFC 6598)"),
        // Linux sends what goes to 0.0.0.0 to itself.
        [0, 0, 0, 0] => Some("unspecified (RFC 1122)"),
        [255, 255, 255, 255] => Some("broadcast (RFC 919)"),
        _ => None,
    }
}

fn local_range6(address: Ipv6Addr) -> Option<&'static str> {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some("unspecified (RFC 4291)"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some("loopback (RFC 4291)"),
        [0xfe80..=0xfebf, ..] => Some("link-local (RFC 4291)"),
        [0xfc00..=0xfdff, ..] => Some("unique-local (RFC 4193)"),
        [0xff00..=0xffff, ..] => Some("multicast (RFC 4291)"),
        _ => None,
    }
}

/// All that [`local_range`] knows, as networks.
pub(super) fn local_networks() -> impl Iterator<Item = IpNet> {
    const V4: [([u8; 4], u8); 9] = [
        ([0, 0, 0, 0], 32),
        ([10, 0, 0, 0], 8),
        ([100, 64, 0, 0], 10),
        ([127, 0, 0, 0], 8),
        ([169, 254, 0, 0], 16),
        ([172, 16, 0, 0], 12),
        ([192, 168, 0, 0], 16),
        ([224, 0, 0, 0], 4),
        ([255, 255, 255, 255], 32),
    ];
    const V6: [(u128, u8); 5] =
        [(0, 128), (1, 128), (0xfc << 120, 7), (0xfe8 << 116, 10), (0xff << 120, 8)];
    let v4 = V4.into_iter().map(|(at, length)| Ipv4Net::new_assert(at.into(), length).into());
    v4.chain(V6.into_iter().map(|(at, length)| Ipv6Net::new_assert(at.into(), length).into()))
}

/// All that [`carried`] takes something out of, as networks.
pub(super) fn carrying_networks() -> impl Iterator<Item = IpNet> {
    const NETWORKS: [(u128, u8); 3] =
        [(0x0064_ff9b << 96, 96), (0x2002 << 112, 16), (0x2001 << 112, 32)];
    NETWORKS.into_iter().map(|(at, length)| Ipv6Net::new_assert(at.into(), length).into())
}

/// How an IPv6 address carries an IPv4 one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Carrier {
    /// `64:ff9b::/96`, RFC 6052 section 2.1.
    Nat64,
    /// `2002::/16`, RFC 3056 section 2.
    SixToFour,
    /// `2001::/32`, RFC 4380 section 4: the client's address, its bits inverted.
    Teredo,
}

impl Carrier {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nat64 => "NAT64 (RFC 6052)",
            Self::SixToFour => "6to4 (RFC 3056)",
            Self::Teredo => "Teredo (RFC 4380)",
        }
    }

    /// Whether a private address inside can be reached this way: a NAT64 gateway may lead into the
    /// private network behind it; 6to4 and Teredo only ever cross the Internet.
    pub(super) const fn reaches_private(self) -> bool {
        matches!(self, Self::Nat64)
    }
}

/// The carried address. `address` is canonical: `::ffff:a.b.c.d` (RFC 4291 section 2.5.5.2) is none
/// of these, it *is* the IPv4 address.
pub(super) fn carried(address: IpAddr) -> Option<(Carrier, IpAddr)> {
    let IpAddr::V6(address) = address else { return None };
    let bits = u128::from(address);
    let (carrier, inner) = match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, _, _] => (Carrier::Nat64, bits as u32),
        [0x2002, ..] => (Carrier::SixToFour, (bits >> 80) as u32),
        [0x2001, 0, ..] => (Carrier::Teredo, !(bits as u32)),
        _ => return None,
    };
    Some((carrier, Ipv4Addr::from(inner).into()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn some_address() -> impl Strategy<Value = IpAddr> {
        let networks: Vec<IpNet> = local_networks().chain(carrying_networks()).collect();
        let inside = (prop::sample::select(networks), any::<u128>()).prop_map(|(network, host)| {
            // In it, or just outside.
            let host = (host & 3).wrapping_sub(1);
            match network {
                IpNet::V4(network) => {
                    let at = [network.network(), network.broadcast()][(host & 1) as usize];
                    IpAddr::V4(u32::from(at).wrapping_add(host as u32).into())
                }
                IpNet::V6(network) => {
                    let at = [network.network(), network.broadcast()][(host & 1) as usize];
                    IpAddr::V6(u128::from(at).wrapping_add(host).into())
                }
            }
        });
        prop_oneof![inside, any::<u32>().prop_map(|at| IpAddr::V4(at.into()))]
    }

    proptest! {
        #[test]
        fn the_networks_are_what_the_ranges_are(address in some_address()) {
            let is_in = |mut networks: Box<dyn Iterator<Item = IpNet>>| {
                networks.any(|network| network.contains(&address))
            };
            prop_assert_eq!(local_range(address).is_some(), is_in(Box::new(local_networks())));
            prop_assert_eq!(carried(address).is_some(), is_in(Box::new(carrying_networks())));
        }
    }

    #[test]
    fn the_bounds_of_each_local_range_are_the_rfcs() {
        let local = [
            "0.0.0.0",
            "10.0.0.0",
            "10.255.255.255",
            "100.64.0.0",
            "100.127.255.255",
            "127.0.0.1",
            "169.254.0.0",
            "172.16.0.0",
            "172.31.255.255",
            "192.168.0.0",
            "224.0.0.0",
            "239.255.255.255",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::",
            "febf::1",
            "fc00::",
            "fdff::1",
            "ff02::1",
        ];
        let other = [
            "0.0.0.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "128.0.0.0",
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "192.167.255.255",
            "192.169.0.0",
            "223.255.255.255",
            "240.0.0.0",
            "192.0.2.1",
            "198.51.100.1",
            "203.0.113.1",
            "::2",
            "fe7f::",
            "fec0::",
            "fbff::",
            "fe00::",
            "2001:db8::1",
        ];
        for address in local {
            assert!(local_range(address.parse().unwrap()).is_some(), "{address}");
        }
        for address in other {
            assert!(local_range(address.parse().unwrap()).is_none(), "{address}");
        }
    }

    #[test]
    fn a_carried_address_is_taken_out() {
        let carried = |text: &str| carried(text.parse::<IpAddr>().unwrap());
        let dns: IpAddr = "8.8.8.8".parse().unwrap();
        assert_eq!(carried("64:ff9b::808:808"), Some((Carrier::Nat64, dns)));
        assert_eq!(carried("2002:808:808::1"), Some((Carrier::SixToFour, dns)));
        // The example of RFC 4380 section 5.2.2 has 192.0.2.45 as the client.
        let client = "192.0.2.45".parse().unwrap();
        let teredo = carried("2001:0:4136:e378:8000:63bf:3fff:fdd2");
        assert_eq!(teredo, Some((Carrier::Teredo, client)));
        for other in ["64:ff9b:1::808:808", "2001:4860:4860::8888", "::808:808", "8.8.8.8"] {
            assert_eq!(carried(other), None, "{other}");
        }
    }
}

//! A set of networks, asked for the longest that contains an address. Must stay cheap when empty.

use std::net::IpAddr;

use ipnet::IpNet;
use rustc_hash::FxHashMap;

/// Values by network. One hash lookup for each prefix length in use.
#[derive(Clone, Debug)]
pub(super) struct Networks<T> {
    values: FxHashMap<IpNet, T>,
    /// Longest first.
    lengths4: Vec<u8>,
    lengths6: Vec<u8>,
}

impl<T> Networks<T> {
    /// Of equal networks the last stays.
    pub(super) fn new(values: impl IntoIterator<Item = (IpNet, T)>) -> Self {
        let values: FxHashMap<IpNet, T> =
            values.into_iter().map(|(network, value)| (network.trunc(), value)).collect();
        let lengths = |is_v4: bool| {
            let family = values.keys().filter(|n| matches!(n, IpNet::V4(_)) == is_v4);
            let mut lengths: Vec<u8> = family.map(IpNet::prefix_len).collect();
            lengths.sort_unstable_by(|a, b| b.cmp(a));
            lengths.dedup();
            lengths
        };
        Self { lengths4: lengths(true), lengths6: lengths(false), values }
    }

    pub(super) fn longest(&self, address: IpAddr) -> Option<(IpNet, &T)> {
        let lengths = if address.is_ipv4() { &self.lengths4 } else { &self.lengths6 };
        lengths.iter().find_map(|length| {
            let network = IpNet::new(address, *length).ok()?.trunc();
            self.values.get(&network).map(|value| (network, value))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_longest_network_is_what_a_search_of_all_finds(
            nets in prop::collection::vec((any::<u8>(), 0_u8..=32), 0..20), host in any::<[u8; 2]>(),
        ) {
            // Few first octets, so that networks nest.
            let net = |(octet, length): &(u8, u8)| {
                IpNet::new([octet & 3, octet >> 2, 0, 0].into(), *length).unwrap().trunc()
            };
            let all: Vec<IpNet> = nets.iter().map(net).collect();
            let address = IpAddr::from([host[0] & 3, host[1] & 0x3f, 0, 0]);
            let expected = all.iter().filter(|net| net.contains(&address)).max_by_key(|net| net.prefix_len());
            let networks = Networks::new(all.iter().map(|net| (*net, *net)));
            prop_assert_eq!(networks.longest(address).map(|(net, _)| net), expected.copied());
        }
    }

    #[test]
    fn families_do_not_mix() {
        let networks = Networks::new([("::/0".parse().unwrap(), ())]);
        assert!(networks.longest("10.0.0.1".parse().unwrap()).is_none());
        assert!(networks.longest("2001:db8::1".parse().unwrap()).is_some());
    }
}

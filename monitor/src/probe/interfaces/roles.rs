//! What each interface is to this host, from the kernel's lists of links and routes alone: pure.

use std::collections::{BTreeMap, BTreeSet};

/// A link, as far as it matters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    /// `IFLA_INFO_KIND`; empty for hardware.
    pub(super) kind: String,
    pub(super) is_loopback: bool,
    /// Packets can pass by it.
    pub(super) is_up: bool,
    /// Its packets begin with an Ethernet header.
    pub(super) is_ethernet: bool,
    /// The link below a VLAN or macvlan.
    pub(super) lower: Option<u32>,
    pub(super) sent_bytes: u64,
    pub(super) sent_packets: u64,
}

/// What an interface is watched as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// What leaves by it leaves for good.
    Uplink,
    /// The same, but wrapped it leaves again, by an uplink; programs may put packets in.
    Tunnel,
    /// Clients of this host are there.
    Device,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) name: String,
    pub(super) role: Role,
    pub(super) header_bytes: u32,
    /// What comes in by it may leave by another uplink.
    pub(super) is_entrance: bool,
    /// Its `tx_bytes` count a GSO packet once, as software does.
    pub(super) is_software: bool,
}

const ETHERNET_BYTES: u32 = 14;

/// Kinds of links that wrap what they are given (`rtnl_link_ops.kind`).
const TUNNELS: [&str; 17] = [
    "tun",
    "wireguard",
    "vxlan",
    "geneve",
    "gre",
    "gretap",
    "ip6gre",
    "ip6gretap",
    "erspan",
    "ipip",
    "ip6tnl",
    "sit",
    "vti",
    "vti6",
    "xfrm",
    "gtp",
    "ppp",
];

fn is_tunnel(link: &Link) -> bool {
    // A tap is a cable to a virtual machine.
    TUNNELS.contains(&link.kind.as_str()) && !(link.kind == "tun" && link.is_ethernet)
}

/// `routed`: links that a route with a gateway, or a default route, leads through. `listed`: the
/// uplinks by name, where the configuration names them.
pub(super) fn wanted(
    links: &[Link],
    routed: &BTreeSet<u32>,
    listed: Option<&[String]>,
) -> BTreeMap<u32, Wanted> {
    let is_external = |link: &Link| match listed {
        Some(names) => names.contains(&link.name),
        None => routed.contains(&link.index),
    };
    let externals: BTreeSet<u32> =
        links.iter().filter(|link| is_external(link)).map(|link| link.index).collect();
    // What leaves by a VLAN leaves by the link below as well: count it there.
    let is_uplink = |link: &Link| {
        externals.contains(&link.index)
            && link.lower.is_none_or(|lower| lower == link.index || !externals.contains(&lower))
    };
    let uplinks = links.iter().filter(|link| is_uplink(link) && !is_tunnel(link)).count();
    links
        .iter()
        .filter(|link| !link.is_loopback)
        .map(|link| {
            let role = if is_tunnel(link) {
                Role::Tunnel
            } else if is_uplink(link) {
                Role::Uplink
            } else {
                Role::Device
            };
            let wanted = Wanted {
                name: link.name.clone(),
                role,
                header_bytes: if link.is_ethernet { ETHERNET_BYTES } else { 0 },
                // One uplink alone is no way through: all that comes in by it is for this host or
                // its clients.
                is_entrance: role != Role::Uplink || uplinks > 1,
                is_software: !link.kind.is_empty(),
            };
            (link.index, wanted)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, name: &str, kind: &str) -> Link {
        Link {
            index,
            name: name.into(),
            kind: kind.into(),
            is_ethernet: !matches!(kind, "wireguard" | "tun"),
            ..Link::default()
        }
    }

    fn roles(links: &[Link], routed: &[u32], listed: Option<&[&str]>) -> Vec<(String, Role)> {
        let routed = routed.iter().copied().collect();
        let listed: Option<Vec<String>> =
            listed.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
        let wanted = wanted(links, &routed, listed.as_deref());
        wanted.into_values().map(|it| (it.name, it.role)).collect()
    }

    fn named(expected: &[(&str, Role)]) -> Vec<(String, Role)> {
        expected.iter().map(|(name, role)| ((*name).to_owned(), *role)).collect()
    }

    #[test]
    fn the_way_to_the_gateway_is_the_uplink_and_the_rest_are_devices() {
        let mut lo = link(1, "lo", "");
        lo.is_loopback = true;
        let links = [lo, link(2, "eth0", ""), link(3, "wlan0", ""), link(4, "docker0", "bridge")];
        let expected = [("eth0", Role::Uplink), ("wlan0", Role::Device), ("docker0", Role::Device)];
        assert_eq!(roles(&links, &[2], None), named(&expected));
    }

    #[test]
    fn a_list_in_the_configuration_replaces_the_routes() {
        let links = [link(2, "eth0", ""), link(3, "wlan0", "")];
        let expected = [("eth0", Role::Device), ("wlan0", Role::Uplink)];
        assert_eq!(roles(&links, &[2], Some(&["wlan0"])), named(&expected));
    }

    #[test]
    fn tunnels_are_told_by_their_kind_but_a_tap_is_a_cable() {
        let mut tap = link(4, "tap0", "tun");
        tap.is_ethernet = true;
        let links = [link(2, "wg0", "wireguard"), link(3, "tun0", "tun"), tap];
        let expected = [("wg0", Role::Tunnel), ("tun0", Role::Tunnel), ("tap0", Role::Device)];
        assert_eq!(roles(&links, &[2, 3], None), named(&expected));
    }

    #[test]
    fn a_vlan_is_no_uplink_where_the_link_below_is_one() {
        let mut vlan = link(3, "eth0.7", "vlan");
        vlan.lower = Some(2);
        let links = [link(2, "eth0", ""), vlan];
        let both = [("eth0", Role::Uplink), ("eth0.7", Role::Device)];
        assert_eq!(roles(&links, &[2, 3], None), named(&both));
        let vlan_alone = [("eth0", Role::Device), ("eth0.7", Role::Uplink)];
        assert_eq!(roles(&links, &[3], None), named(&vlan_alone));
    }

    #[test]
    fn an_uplink_is_an_entrance_only_beside_another() {
        let links = [link(2, "eth0", ""), link(3, "wwan0", "")];
        let entrances = |routed: &[u32]| {
            let wanted = wanted(&links, &routed.iter().copied().collect(), None);
            wanted.values().map(|it| it.is_entrance).collect::<Vec<_>>()
        };
        assert_eq!(entrances(&[2]), [false, true]);
        assert_eq!(entrances(&[2, 3]), [true, true]);
    }
}

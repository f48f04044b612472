//! What each interface is to this host, from the kernel's lists of links and routes alone: pure.

use std::collections::{BTreeMap, BTreeSet};

use monitor_ebpf::sample::side;

/// A link, as far as it matters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    /// As it is shown: what is no text is escaped.
    pub(super) name: String,
    /// Other names of it, as they are shown.
    pub(super) other_names: Vec<String>,
    /// `name` is what the kernel calls it, and not only how it is shown.
    pub(super) is_named_in_text: bool,
    /// `IFLA_INFO_KIND`; empty for hardware.
    pub(super) kind: String,
    pub(super) is_loopback: bool,
    /// Packets can pass by it.
    pub(super) is_up: bool,
    /// Its packets begin with an Ethernet header.
    pub(super) is_ethernet: bool,
    /// The link below a VLAN or macvlan.
    pub(super) lower: Option<u32>,
    /// The bridge, bond or VRF that it is a part of.
    pub(super) master: Option<u32>,
    /// The other end of a pair, where that is in this network namespace, too.
    pub(super) peer: Option<u32>,
    pub(super) sent_bytes: u64,
    pub(super) sent_packets: u64,
}

/// What leaves by any interface leaves this host, unless a socket's hook told it; what is wanted of
/// one says what else is to be known of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) name: String,
    pub(super) is_named_in_text: bool,
    /// What comes in by it comes from outside: handed on to who is here, it does not leave.
    pub(super) is_outside: bool,
    /// What leaves by it is wrapped and leaves again; programs may put packets in.
    pub(super) is_tunnel: bool,
    /// What leaves by it leaves again by one below, as it is.
    pub(super) is_upper: bool,
    /// What leaves by it comes in by another of this network namespace.
    pub(super) is_internal: bool,
    pub(super) header_bytes: u32,
    /// What comes in by it may leave by another.
    pub(super) is_entrance: bool,
    /// Its `tx_bytes` count a GSO packet once, as software does.
    pub(super) is_software: bool,
    /// Its `tx_bytes` are all that it was given, and when.
    pub(super) is_compared: bool,
}

impl Wanted {
    /// Bits of [`side`].
    pub(super) fn flags(&self) -> u32 {
        let bit = |is_set: bool, bit| if is_set { bit } else { 0 };
        bit(self.is_tunnel, side::TUNNEL)
            | bit(self.is_outside, side::OUTSIDE)
            | bit(self.is_upper, side::UPPER)
    }
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
    TUNNELS.contains(&link.kind.as_str()) && !is_tap(link)
}

/// A cable to a virtual machine.
fn is_tap(link: &Link) -> bool {
    link.kind == "tun" && link.is_ethernet
}

/// A cable to a guest of this host, as far as its kind tells.
fn is_to_guest(link: &Link) -> bool {
    is_tap(link) || link.kind == "veth"
}

/// Whether the configuration means this link by `name`.
fn is_called(link: &Link, name: &str) -> bool {
    link.name == name || link.other_names.iter().any(|it| it == name)
}

/// Names of the configuration by which no link goes.
pub(super) fn unknown<'l>(links: &[Link], listed: &'l [String]) -> Vec<&'l str> {
    let is_known = |name: &&String| links.iter().any(|link| is_called(link, name));
    listed.iter().filter(|name| !is_known(name)).map(String::as_str).collect()
}

/// `routed`: links that a route with a gateway, or a default route, leads through. `listed`: the
/// links to the outside by name, where the configuration names them. Both say where packets come
/// from; what leaves is told wherever it leaves.
pub(super) fn wanted(
    links: &[Link],
    routed: &BTreeSet<u32>,
    listed: Option<&[String]>,
) -> BTreeMap<u32, Wanted> {
    let is_external = |link: &Link| match listed {
        Some(names) => names.iter().any(|name| is_called(link, name)),
        None => routed.contains(&link.index),
    };
    let externals: BTreeSet<u32> =
        links.iter().filter(|link| is_external(link)).map(|link| link.index).collect();
    let masters: BTreeSet<u32> = links.iter().filter_map(|link| link.master).collect();
    let bridges: BTreeSet<u32> =
        links.iter().filter(|link| link.kind == "bridge").map(|link| link.index).collect();
    // Below one that leads outside there is the same way out once more.
    let below: BTreeSet<u32> = links
        .iter()
        .filter(|link| externals.contains(&link.index))
        .filter_map(|link| link.lower)
        .chain(
            links
                .iter()
                .filter(|link| link.master.is_some_and(|it| externals.contains(&it)))
                .map(|link| link.index),
        )
        .collect();
    let is_exit = |link: &Link| externals.contains(&link.index) && !below.contains(&link.index);
    let exits = links.iter().filter(|link| is_exit(link) && !is_tunnel(link)).count();
    // One alone is no way through: all that comes in by it is for this host or who is here.
    let is_only_exit = |link: &Link| {
        let leads_out = externals.contains(&link.index) || below.contains(&link.index);
        leads_out && exits <= 1 && !is_tunnel(link) && !is_to_guest_port(link, &bridges)
    };
    links
        .iter()
        .filter(|link| !link.is_loopback)
        .map(|link| {
            let is_tunnel = is_tunnel(link);
            let is_port = link.master.is_some_and(|it| bridges.contains(&it));
            let is_upper = !is_tunnel && (link.lower.is_some() || masters.contains(&link.index));
            let wanted = Wanted {
                name: link.name.clone(),
                is_named_in_text: link.is_named_in_text,
                // A card among the ports of a bridge leads away from who is at the others.
                is_outside: externals.contains(&link.index) || (is_port && !is_to_guest(link)),
                is_tunnel,
                is_upper,
                is_internal: link.peer.is_some(),
                header_bytes: if link.is_ethernet { ETHERNET_BYTES } else { 0 },
                is_entrance: !is_only_exit(link),
                is_software: !link.kind.is_empty(),
                // A tap counts what the machine behind it has read.
                is_compared: !is_tunnel && !is_upper && !is_tap(link) && link.peer.is_none(),
            };
            (link.index, wanted)
        })
        .collect()
}

/// A guest's port of a bridge: what comes in by it leaves by another port.
fn is_to_guest_port(link: &Link, bridges: &BTreeSet<u32>) -> bool {
    link.master.is_some_and(|it| bridges.contains(&it)) && is_to_guest(link)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, name: &str, kind: &str) -> Link {
        Link {
            index,
            name: name.into(),
            is_named_in_text: true,
            kind: kind.into(),
            is_ethernet: !matches!(kind, "wireguard" | "tun"),
            ..Link::default()
        }
    }

    fn port(index: u32, name: &str, kind: &str, master: u32) -> Link {
        Link { master: Some(master), ..link(index, name, kind) }
    }

    fn wanted_of(links: &[Link], routed: &[u32], listed: Option<&[&str]>) -> Vec<Wanted> {
        let routed = routed.iter().copied().collect();
        let listed: Option<Vec<String>> =
            listed.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
        wanted(links, &routed, listed.as_deref()).into_values().collect()
    }

    /// Names of those that are so.
    fn names(of: &[Wanted], is_so: impl Fn(&Wanted) -> bool) -> Vec<&str> {
        of.iter().filter(|it| is_so(it)).map(|it| it.name.as_str()).collect()
    }

    #[test]
    fn what_comes_from_outside_comes_by_the_way_to_the_gateway() {
        let mut lo = link(1, "lo", "");
        lo.is_loopback = true;
        let links = [lo, link(2, "eth0", ""), link(3, "wlan0", ""), link(4, "docker0", "bridge")];
        let all = wanted_of(&links, &[2], None);
        assert_eq!(names(&all, |_| true), ["eth0", "wlan0", "docker0"]);
        assert_eq!(names(&all, |it| it.is_outside), ["eth0"]);
    }

    #[test]
    fn a_list_in_the_configuration_replaces_the_routes_by_whatever_name() {
        let mut wlan = link(3, "wlan0", "");
        wlan.other_names = vec!["wlx001122334455".into()];
        let links = [link(2, "eth0", ""), wlan];
        for name in ["wlan0", "wlx001122334455"] {
            let all = wanted_of(&links, &[2], Some(&[name]));
            assert_eq!(names(&all, |it| it.is_outside), ["wlan0"]);
        }
    }

    #[test]
    fn a_name_in_the_configuration_by_which_no_link_goes_is_told() {
        let mut eth = link(2, "eth0", "");
        eth.other_names = vec!["enp1s0".into()];
        let listed = ["eth0", "enp1s0", "wann"].map(str::to_owned);
        assert_eq!(unknown(&[eth], &listed), ["wann"]);
    }

    #[test]
    fn tunnels_are_told_by_their_kind_but_a_tap_is_a_cable() {
        let mut tap = link(4, "tap0", "tun");
        tap.is_ethernet = true;
        let links = [link(2, "wg0", "wireguard"), link(3, "tun0", "tun"), tap];
        let all = wanted_of(&links, &[2, 3], None);
        assert_eq!(names(&all, |it| it.is_tunnel), ["wg0", "tun0"]);
    }

    #[test]
    fn what_has_a_link_below_marks_what_it_was_given() {
        let mut vlan = link(3, "eth0.7", "vlan");
        vlan.lower = Some(2);
        let links = [
            link(2, "eth0", ""),
            vlan,
            link(4, "br0", "bridge"),
            port(5, "eth1", "", 4),
            link(6, "br1", "bridge"),
        ];
        let all = wanted_of(&links, &[2, 3], None);
        assert_eq!(names(&all, |it| it.is_upper), ["eth0.7", "br0"]);
    }

    #[test]
    fn a_card_in_a_bridge_leads_outside_and_a_guest_in_it_does_not() {
        let mut tap = port(4, "tap0", "tun", 2);
        tap.is_ethernet = true;
        let links =
            [link(2, "br0", "bridge"), port(3, "eth0", "", 2), tap, port(5, "veth1", "veth", 2)];
        let all = wanted_of(&links, &[2], None);
        assert_eq!(names(&all, |it| it.is_outside), ["br0", "eth0"]);
        assert_eq!(names(&all, |it| it.is_entrance), ["tap0", "veth1"]);
    }

    #[test]
    fn a_cable_between_two_bridges_of_this_host_is_no_way_out() {
        let mut patch = port(3, "patch0", "veth", 2);
        patch.peer = Some(4);
        let links = [link(2, "br0", "bridge"), patch];
        let all = wanted_of(&links, &[2], None);
        assert_eq!(names(&all, |it| it.is_internal), ["patch0"]);
    }

    #[test]
    fn a_way_out_is_an_entrance_only_beside_another() {
        let links = [link(2, "eth0", ""), link(3, "wwan0", "")];
        let entrances = |routed: &[u32]| {
            let all = wanted_of(&links, routed, None);
            all.iter().map(|it| it.is_entrance).collect::<Vec<_>>()
        };
        assert_eq!(entrances(&[2]), [false, true]);
        assert_eq!(entrances(&[2, 3]), [true, true]);
    }
}

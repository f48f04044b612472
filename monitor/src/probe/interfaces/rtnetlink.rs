//! The kernel's lists of links and routes, and word of their changes (rtnetlink(7)). Reads only.

use std::{
    collections::BTreeSet,
    io,
    net::{Ipv4Addr, Ipv6Addr},
};

use futures_util::TryStreamExt as _;
use rtnetlink::{
    Handle, IpVersion, MulticastGroup, RouteMessageBuilder, new_multicast_connection,
    packet_route::{
        link::{LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage},
        route::{RouteAttribute, RouteMessage, RouteType},
    },
};
use tokio::sync::mpsc;

use super::roles::Link;

/// Changes that are not yet looked at; more of them say nothing that one does not.
const CHANGES: usize = 16;

/// A connection to the kernel.
#[derive(Debug)]
pub(super) struct Rtnetlink {
    handle: Handle,
    changes: mpsc::Receiver<()>,
}

impl Rtnetlink {
    /// Must be called inside a runtime, which then drives it.
    pub(super) fn open() -> io::Result<Self> {
        let groups = [MulticastGroup::Link, MulticastGroup::Ipv4Route, MulticastGroup::Ipv6Route];
        let (connection, handle, mut messages) = new_multicast_connection(&groups)?;
        let (sender, changes) = mpsc::channel(CHANGES);
        tokio::spawn(connection);
        tokio::spawn(async move {
            // An overrun of the socket arrives as a message, too: it is a change like any other.
            while messages.recv().await.is_ok() {
                if matches!(sender.try_send(()), Err(mpsc::error::TrySendError::Closed(()))) {
                    return;
                }
            }
        });
        Ok(Self { handle, changes })
    }

    /// Until something changed. `false`: nothing will ever be told again.
    pub(super) async fn changed(&mut self) -> bool {
        let is_some = self.changes.recv().await.is_some();
        while self.changes.try_recv().is_ok() {}
        is_some
    }

    pub(super) async fn links(&self) -> Result<Vec<Link>, rtnetlink::Error> {
        let messages: Vec<LinkMessage> = self.handle.link().get().execute().try_collect().await?;
        Ok(messages.iter().map(link).collect())
    }

    /// Links with a way out: a default route, or one by a gateway.
    pub(super) async fn routed(&self) -> Result<BTreeSet<u32>, rtnetlink::Error> {
        let mut routed = BTreeSet::new();
        for version in [IpVersion::V4, IpVersion::V6] {
            let wanted = match version {
                IpVersion::V4 => RouteMessageBuilder::<Ipv4Addr>::new().build(),
                IpVersion::V6 => RouteMessageBuilder::<Ipv6Addr>::new().build(),
            };
            let mut routes = self.handle.route().get(wanted).execute();
            while let Some(route) = routes.try_next().await? {
                ways_out(&route, &mut routed);
            }
        }
        Ok(routed)
    }
}

fn link(message: &LinkMessage) -> Link {
    let mut link = Link {
        index: message.header.index,
        is_loopback: message.header.flags.contains(LinkFlags::Loopback),
        is_up: message.header.flags.contains(LinkFlags::Up),
        is_ethernet: message.header.link_layer_type == LinkLayerType::Ether,
        ..Link::default()
    };
    let mut is_elsewhere = false;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Stats64(stats) => {
                link.sent_bytes = stats.tx_bytes;
                link.sent_packets = stats.tx_packets;
            }
            LinkAttribute::Link(index) => link.lower = Some(*index),
            LinkAttribute::LinkNetNsId(_) => is_elsewhere = true,
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    if let LinkInfo::Kind(kind) = info {
                        link.kind = kind.to_string();
                    }
                }
            }
            _ => {}
        }
    }
    if is_elsewhere || link.kind == "veth" {
        // The other end of a pair, or a link of another namespace, whose numbers are others.
        link.lower = None;
    }
    link
}

fn ways_out(route: &RouteMessage, routed: &mut BTreeSet<u32>) {
    /// `RT_TABLE_LOCAL` (rtnetlink(7)).
    const LOCAL: u8 = 255;
    if route.header.kind != RouteType::Unicast || route.header.table == LOCAL {
        return;
    }
    let is_gateway = |attribute: &RouteAttribute| {
        matches!(attribute, RouteAttribute::Gateway(_) | RouteAttribute::Via(_))
    };
    let is_default = route.header.destination_prefix_length == 0;
    let mut is_out = is_default || route.attributes.iter().any(is_gateway);
    for attribute in &route.attributes {
        if let RouteAttribute::MultiPath(hops) = attribute {
            for hop in hops {
                if is_default || hop.attributes.iter().any(is_gateway) {
                    routed.insert(hop.interface_index);
                }
            }
        }
        // A next hop object: its gateway is not in the route.
        is_out |= matches!(attribute, RouteAttribute::NhId(_));
    }
    for attribute in &route.attributes {
        if let (RouteAttribute::Oif(index), true) = (attribute, is_out) {
            routed.insert(*index);
        }
    }
}

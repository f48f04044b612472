//! The kernel's lists of links and routes, and word of their changes (rtnetlink(7)). Reads only.
//!
//! Links are read here, attribute by attribute: a name may hold any byte but a few, and the crate
//! refuses a whole list for one that is no text.

use std::{
    collections::BTreeSet,
    io,
    net::{Ipv4Addr, Ipv6Addr},
};

use futures_util::{FutureExt as _, TryStreamExt as _};
use rtnetlink::{
    Handle, IpVersion, RouteMessageBuilder, new_connection,
    packet_core::{
        NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NetlinkMessage, NetlinkPayload,
        NlasIterator,
    },
    packet_route::{
        RouteNetlinkMessage,
        link::LinkMessage,
        route::{RouteAttribute, RouteMessage, RouteType},
    },
    sys::{
        AsyncSocket as _, AsyncSocketExt as _, Socket, SocketAddr, TokioSocket,
        protocols::NETLINK_ROUTE,
    },
};

use super::roles::Link;

/// `RTNLGRP_LINK`, `RTNLGRP_IPV4_IFADDR`, `RTNLGRP_IPV4_ROUTE`, `RTNLGRP_IPV6_ROUTE`, `RTNLGRP_NEXTHOP`
/// (`linux/rtnetlink.h`): with an address or a next hop routes go that nobody is told of.
const GROUPS: [u32; 5] = [1, 5, 7, 11, 32];
/// More than the kernel puts into one piece of an answer; what is cut of a change's word tells as
/// much.
const PIECE: usize = 1 << 16;

/// Types of messages (`linux/netlink.h`, `linux/rtnetlink.h`).
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWLINK: u16 = 16;
const RTM_NEWSTATS: u16 = 92;
const RTM_GETSTATS: u16 = 94;

/// A connection to the kernel.
pub(super) struct Rtnetlink {
    handle: Handle,
    changes: TokioSocket,
    piece: Vec<u8>,
}

impl Rtnetlink {
    /// Must be called inside a runtime, which then drives it.
    pub(super) fn open() -> io::Result<Self> {
        let (connection, handle, _) = new_connection()?;
        tokio::spawn(connection);
        let mut changes = TokioSocket::new(NETLINK_ROUTE)?;
        changes.socket_mut().bind_auto()?;
        for group in GROUPS {
            changes.socket_mut().add_membership(group)?;
        }
        Ok(Self { handle, changes, piece: Vec::with_capacity(PIECE) })
    }

    /// Until something changed. An overrun of the socket is a change like any other.
    pub(super) async fn changed(&mut self) -> io::Result<()> {
        self.piece.clear();
        let mut told = Some(self.changes.recv(&mut self.piece).await);
        // More of them say nothing that one does not.
        while let Some(one) = told {
            match one {
                Err(error) if error.raw_os_error() != Some(libc::ENOBUFS) => return Err(error),
                _ => self.piece.clear(),
            }
            told = self.changes.recv(&mut self.piece).now_or_never();
        }
        Ok(())
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

/// Every link of this network namespace. Takes no privilege, and answers at once.
pub(super) fn links() -> io::Result<Vec<Link>> {
    Asked::open()?.links()
}

/// A socket on which links are asked for.
pub(super) struct Asked(Socket);

impl Asked {
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self(socket))
    }

    /// After an error what is left of the answer may come as another's: ask on a new one.
    pub(super) fn links(&self) -> io::Result<Vec<Link>> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_DUMP | NLM_F_REQUEST;
        let asked = RouteNetlinkMessage::GetLink(LinkMessage::default());
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(asked));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        let mut links = Vec::new();
        self.ask(&bytes, |kind, message| {
            if kind == RTM_NEWLINK {
                links.extend(link(message));
            }
        })?;
        Ok(links)
    }

    /// What links sent by now, a fifth of the work of [`Self::links`]. `false`: they are not the ones that
    /// are there.
    pub(super) fn count(&self, links: &mut [Link]) -> io::Result<bool> {
        let (mut seen, mut is_known) = (0, true);
        self.ask(&get_stats(), |kind, message| {
            if kind == RTM_NEWSTATS {
                seen += 1;
                is_known &= count(message, links);
            }
        })?;
        Ok(is_known && seen == links.len())
    }

    fn ask(&self, question: &[u8], mut each: impl FnMut(u16, &[u8])) -> io::Result<()> {
        self.0.send(question, 0)?;
        loop {
            let (piece, _) = self.0.recv_from_full()?;
            if read(&piece, &mut each)? {
                return Ok(());
            }
        }
    }
}

/// One piece of the answer. `true`: the last.
fn read(mut piece: &[u8], each: &mut impl FnMut(u16, &[u8])) -> io::Result<bool> {
    while let Ok(message) = NetlinkBuffer::new_checked(piece) {
        match message.message_type() {
            NLMSG_DONE => return Ok(true),
            NLMSG_ERROR => {
                let code = message.payload().first_chunk().map_or(0, |it| i32::from_ne_bytes(*it));
                return Err(io::Error::from_raw_os_error(code.wrapping_neg()));
            }
            kind => each(kind, message.payload()),
        }
        let length = (message.length() as usize).next_multiple_of(4);
        piece = piece.get(length..).unwrap_or_default();
    }
    Ok(false)
}

/// `struct if_stats_msg` (`linux/if_link.h`): family, padding (24 bits), index, what is wanted.
const IF_STATS_MSG: usize = 12;
/// The attribute that is wanted, and the bit that says so: `struct rtnl_link_stats64`.
const IFLA_STATS_LINK_64: u16 = 1;

/// The crate knows no such message.
fn get_stats() -> Vec<u8> {
    let length = 16 + IF_STATS_MSG;
    let mut message = Vec::with_capacity(length);
    message.extend((length as u32).to_ne_bytes());
    message.extend(RTM_GETSTATS.to_ne_bytes());
    message.extend((NLM_F_DUMP | NLM_F_REQUEST).to_ne_bytes());
    // Number and sender, then the family and the index of all.
    message.extend([0; 16]);
    message.extend((1_u32 << (IFLA_STATS_LINK_64 - 1)).to_ne_bytes());
    message
}

/// Puts what a link sent beside its name. `false`: it is not among them, or that can't be read.
fn count(message: &[u8], links: &mut [Link]) -> bool {
    let index = message.get(4..).and_then(|it| it.first_chunk()).map(|it| u32::from_ne_bytes(*it));
    let Some(link) = links.iter_mut().find(|link| Some(link.index) == index) else { return false };
    let attributes = attributes(message.get(IF_STATS_MSG..).unwrap_or_default());
    let mut stats = attributes.filter(|(kind, _)| *kind == IFLA_STATS_LINK_64);
    stats.next().is_some_and(|(_, value)| sent(value, link))
}

/// From `struct rtnl_link_stats64`: packets and bytes that came, then those that left.
fn sent(stats: &[u8], link: &mut Link) -> bool {
    let long = |at: usize| stats.get(at * 8..)?.first_chunk().map(|it| u64::from_ne_bytes(*it));
    let (Some(packets), Some(bytes)) = (long(1), long(3)) else { return false };
    (link.sent_packets, link.sent_bytes) = (packets, bytes);
    true
}

/// Attributes of a link (`linux/if_link.h`).
mod ifla {
    pub(super) const IFNAME: u16 = 3;
    pub(super) const LINK: u16 = 5;
    pub(super) const MASTER: u16 = 10;
    pub(super) const LINKINFO: u16 = 18;
    pub(super) const STATS64: u16 = 23;
    pub(super) const LINK_NETNSID: u16 = 37;
    pub(super) const PROP_LIST: u16 = 52;
    pub(super) const ALT_IFNAME: u16 = 53;
    /// Within [`LINKINFO`].
    pub(super) const INFO_KIND: u16 = 1;
}

/// Behind `struct ifinfomsg`: family, a byte of padding, type (16 bits), index, flags, change.
const IFINFOMSG: usize = 16;

fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    NlasIterator::new(bytes).map_while(Result::ok).filter_map(|attribute| {
        let (kind, length) = (attribute.kind(), usize::from(attribute.length()));
        Some((kind, attribute.into_inner().get(4..length)?))
    })
}

fn link(message: &[u8]) -> Option<Link> {
    let number = |at: usize| Some(u32::from_ne_bytes(*message.get(at..)?.first_chunk()?));
    let layer = u16::from_ne_bytes(*message.get(2..)?.first_chunk()?);
    let flags = number(8)?;
    let is_set = |flag: libc::c_int| flags & flag.cast_unsigned() != 0;
    let mut link = Link {
        index: number(4)?,
        is_loopback: is_set(libc::IFF_LOOPBACK),
        is_up: is_set(libc::IFF_UP),
        is_ethernet: layer == libc::ARPHRD_ETHER,
        ..Link::default()
    };
    let mut is_elsewhere = false;
    for (kind, value) in attributes(message.get(IFINFOMSG..)?) {
        let number = || value.first_chunk().map(|it| u32::from_ne_bytes(*it));
        match kind {
            ifla::IFNAME => (link.name, link.is_named_in_text) = shown(value),
            ifla::LINK => link.lower = number(),
            ifla::MASTER => link.master = number(),
            ifla::LINK_NETNSID => is_elsewhere = true,
            ifla::STATS64 => {
                sent(value, &mut link);
            }
            ifla::LINKINFO => {
                let info = attributes(value).find(|(kind, _)| *kind == ifla::INFO_KIND);
                link.kind = info.map(|(_, kind)| shown(kind).0).unwrap_or_default();
            }
            ifla::PROP_LIST => {
                let names = attributes(value).filter(|(kind, _)| *kind == ifla::ALT_IFNAME);
                link.other_names = names.map(|(_, name)| shown(name).0).collect();
            }
            _ => {}
        }
    }
    // The number of a link of another namespace says nothing here; and that of itself nothing new.
    let lower = link.lower.take().filter(|it| !is_elsewhere && *it != 0 && *it != link.index);
    if link.kind == "veth" {
        link.peer = lower;
    } else {
        link.lower = lower;
    }
    Some(link)
}

/// A name for people, and whether it is the name: bytes that are no text are escaped, as `\xff`.
fn shown(bytes: &[u8]) -> (String, bool) {
    let bytes = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().escape_ascii().map(char::from));
    }
    (text, std::str::from_utf8(bytes).is_ok())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_no_text_is_shown_with_its_bytes_escaped() {
        assert_eq!(shown(b"wan\0"), ("wan".into(), true));
        assert_eq!(shown(b"w\xffn\0"), ("w\\xffn".into(), false));
        assert_eq!(shown("größe".as_bytes()), ("größe".into(), true));
    }

    #[test]
    fn the_links_of_this_namespace_are_read_with_their_kind_and_names() {
        let links = links().unwrap();
        let lo = links.iter().find(|link| link.is_loopback).unwrap();
        assert_eq!((lo.name.as_str(), lo.kind.as_str(), lo.is_ethernet), ("lo", "", false));
    }

    #[test]
    fn what_is_cut_or_senseless_is_no_link_and_no_panic() {
        let mut message = vec![0; 16];
        message.extend_from_slice(&[8, 0, 3, 0, b'e', b't', b'h', 0, 200, 0, 5, 0]);
        for length in 0..message.len() {
            let _ = link(&message[..length]);
        }
        assert_eq!(link(&message).unwrap().name, "eth");
        assert!(!read(&message, &mut |_, _| {}).unwrap());
        let mut links = [Link { index: 7, ..Link::default() }];
        let mut stats = vec![0; IF_STATS_MSG];
        stats[4] = 7;
        stats.extend_from_slice(&[36, 0, 1, 0]);
        (0..32).for_each(|byte| stats.push(byte));
        for length in 0..stats.len() {
            assert!(!count(&stats[..length], &mut links), "{length}");
        }
        assert!(count(&stats, &mut links));
        assert_eq!(links[0].sent_bytes, u64::from_ne_bytes([24, 25, 26, 27, 28, 29, 30, 31]));
        stats[4] = 8;
        assert!(!count(&stats, &mut links));
    }

    #[test]
    fn what_links_sent_is_asked_for_again_and_again_and_a_link_that_came_or_went_is_noticed() {
        let asked = Asked::open().unwrap();
        let mut links = asked.links().unwrap();
        for _ in 0..3 {
            let before = links.clone();
            for link in &mut links {
                (link.sent_bytes, link.sent_packets) = (0, 0);
            }
            // Another may come just then.
            if asked.count(&mut links).unwrap() {
                let is_counted = |(it, before): (&Link, &Link)| it.sent_bytes >= before.sent_bytes;
                assert!(links.iter().zip(&before).all(is_counted), "{links:?} {before:?}");
            }
        }
        let others = Link { index: u32::MAX, ..Link::default() };
        assert!(!asked.count(&mut [links.clone(), vec![others]].concat()).unwrap());
        assert!(!asked.count(&mut links[1..]).unwrap());
    }
}

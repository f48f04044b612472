//! What is known of an address without asking a database: overrides of the configuration, networks
//! it calls local, special ranges, forms that carry another address. The builder of the image and
//! the explanation of an answer both ask here, so they can't differ.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv6Addr},
};

use ipnet::IpNet;

use super::{Source, networks::Networks, special, special::Carrier};
use crate::{
    config::Geo,
    event::{Country, CountryCode},
};

/// What an override says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) country: Option<CountryCode>,
    pub(super) operator: Option<Named>,
}

/// An operator as an override names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) asn: Option<u32>,
    pub(super) name: Option<std::sync::Arc<str>>,
}

#[derive(Clone, Debug)]
pub(super) struct Layers {
    overrides: Networks<Known>,
    local: Networks<()>,
    /// All of them, for their bounds.
    bounds: Vec<IpNet>,
}

/// What the layers say of one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layer<'a> {
    /// `None`: the database is to be asked. Never `Unlocated` but for a private address where
    /// nothing private can be reached.
    pub(super) country: Option<(Country, Source<'a>)>,
    pub(super) operator: Option<(&'a Named, IpNet)>,
}

/// A range of keys of which the layers say the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment<'a> {
    pub(super) start: u64,
    pub(super) said: Said<'a>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said<'a> {
    Layer(Layer<'a>),
    /// The upper half of the address does not decide.
    Unasked,
}

impl Layers {
    /// `local`: networks that are local besides the special ranges.
    pub(super) fn new(geo: &Geo, local: &[IpNet]) -> Self {
        let overrides = geo.overrides.iter().map(|it| {
            let named = it.operator.is_some() || it.asn.is_some();
            let operator = named.then(|| Named { asn: it.asn, name: it.operator.clone() });
            (it.network, Known { country: it.country, operator })
        });
        let networks = geo.overrides.iter().map(|it| it.network).chain(local.iter().copied());
        Self {
            overrides: Networks::new(overrides),
            local: Networks::new(local.iter().map(|network| (*network, ()))),
            bounds: networks.chain(special::local_networks()).collect(),
        }
    }

    /// `address` is canonical, and `carried` what it carries.
    pub(super) fn of(&self, address: IpAddr, carried: Option<(Carrier, IpAddr)>) -> Layer<'_> {
        let inner = carried.map_or(address, |(_, inner)| inner);
        let known =
            self.overrides.longest(address).or_else(|| carried.and(self.overrides.longest(inner)));
        let country = match known {
            Some((network, Known { country: Some(code), .. })) => {
                Some((Country::Known(*code), Source::Override(network)))
            }
            _ => self.ground(address, carried),
        };
        let operator = known.and_then(|(net, known)| Some((known.operator.as_ref()?, net)));
        Layer { country, operator }
    }

    fn ground(
        &self,
        address: IpAddr,
        carried: Option<(Carrier, IpAddr)>,
    ) -> Option<(Country, Source<'_>)> {
        let inner = carried.map_or(address, |(_, inner)| inner);
        if let Some((network, ())) =
            self.local.longest(address).or_else(|| self.local.longest(inner))
        {
            return Some((Country::Local, Source::LocalNetwork(network)));
        }
        let range = special::local_range(inner)?;
        let reached = carried.is_none_or(|(carrier, _)| carrier.reaches_private());
        let country = if reached { Country::Local } else { Country::Unlocated };
        Some((country, Source::SpecialRange(range)))
    }

    /// Of IPv4, in order, the first at 0. Keys are addresses.
    pub(super) fn segments4(&self) -> Vec<Segment<'_>> {
        let mut starts = BTreeSet::from([0]);
        for network in &self.bounds {
            let IpNet::V4(network) = network else { continue };
            starts.insert(u64::from(u32::from(network.network())));
            starts.insert(u64::from(u32::from(network.broadcast())) + 1);
        }
        starts.remove(&(1 << 32));
        let segment = |start: u64| {
            let address = IpAddr::from((start as u32).to_be_bytes());
            Segment { start, said: Said::Layer(self.of(address, None)) }
        };
        starts.into_iter().map(segment).collect()
    }

    /// Of IPv6. Keys are upper halves.
    pub(super) fn segments6(&self) -> Vec<Segment<'_>> {
        let finer = self.finer();
        let mut starts: BTreeSet<u64> = BTreeSet::from([0]);
        let networks = self.bounds.iter().copied().chain(special::carrying_networks());
        for network in networks {
            let IpNet::V6(network) = network else { continue };
            starts.insert(upper_half(network.network()));
            starts.extend(upper_half(network.broadcast()).checked_add(1));
        }
        let segment = |start: u64| {
            let address = IpAddr::from(Ipv6Addr::from(u128::from(start) << 64));
            let unasked = finer.contains(&start) || special::carried(address).is_some();
            let said = if unasked { Said::Unasked } else { Said::Layer(self.of(address, None)) };
            Segment { start, said }
        };
        starts.into_iter().map(segment).collect()
    }

    /// Upper halves within which more is known of some addresses than of others.
    pub(super) fn finer(&self) -> BTreeSet<u64> {
        let networks = self.bounds.iter().filter_map(|network| match network {
            IpNet::V6(network) if network.prefix_len() > 64 => Some(upper_half(network.network())),
            _ => None,
        });
        networks.collect()
    }
}

fn upper_half(address: Ipv6Addr) -> u64 {
    (u128::from(address) >> 64) as u64
}

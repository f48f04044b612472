//! Selectors that policy rules and query filters share: what each accepts and what it matches.

mod idn;
mod sender;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use ipnet::IpNet;

pub use self::sender::{
    ContainerSelector, ProcessSelector, ProgramSelector, ScriptSelector, UnitSelector, parse_sha256,
};
use crate::event::{Lookup, Operator, Place, User};

/// A destination: a network, or a name with its subdomains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DestinationSelector {
    Network(IpNet),
    /// Lower case, without the final dot.
    Domain(Arc<str>),
}

impl DestinationSelector {
    /// An address, a CIDR or a domain name; the error says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Network(address.to_canonical().into()));
        }
        if text.contains('/') {
            return text
                .parse::<IpNet>()
                .map(|net| Self::Network(net.trunc()))
                .map_err(|_| format!("`{text}` is not a network such as 203.0.113.0/24"));
        }
        let no_name = || format!("`{text}` is no address, network or domain name");
        let name = idn::to_ascii(text.trim_end_matches('.')).ok_or_else(no_name)?;
        let is_label = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        // A name whose last label is a number is a mistyped address (RFC 3696 section 2).
        let last_is_number =
            name.rsplit('.').next().is_some_and(|label| label.bytes().all(|b| b.is_ascii_digit()));
        if name.is_empty() || last_is_number || !name.split('.').all(is_label) {
            return Err(no_name());
        }
        Ok(Self::Domain(name.into()))
    }

    /// By any name, whoever says it.
    pub fn matches(&self, remote: SocketAddr, place: &Place) -> bool {
        match self {
            Self::Network(net) => net.contains(&remote.ip()),
            Self::Domain(domain) => place.names().any(|name| is_within(name, domain)),
        }
    }

    /// Whether it is a domain, and this name is in it.
    pub fn holds(&self, name: &str) -> bool {
        matches!(self, Self::Domain(domain) if is_within(name, domain))
    }

    /// A lookup by its question, or by an address of its answer.
    pub fn matches_lookup(&self, lookup: &Lookup) -> bool {
        match self {
            Self::Network(net) => {
                lookup.answer.iter().flatten().any(|address| net.contains(address))
            }
            Self::Domain(domain) => is_within(&lookup.name, domain),
        }
    }
}

/// Whether a name is the domain or below it.
fn is_within(name: &str, domain: &str) -> bool {
    let name = name.trim_end_matches('.');
    name.len() >= domain.len()
        && name.is_char_boundary(name.len() - domain.len())
        && name[name.len() - domain.len()..].eq_ignore_ascii_case(domain)
        && (name.len() == domain.len() || name.as_bytes()[name.len() - domain.len() - 1] == b'.')
}

/// An operator: `AS64500`, or part of the organisation's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OperatorSelector {
    Asn(u32),
    /// Lower case.
    Name(Arc<str>),
}

impl OperatorSelector {
    pub fn parse(text: &str) -> Result<Self, String> {
        let digits = text.strip_prefix("AS").or_else(|| text.strip_prefix("as"));
        if let Some(asn) = digits.and_then(|digits| digits.parse().ok()) {
            return Ok(Self::Asn(asn));
        }
        if text.trim().is_empty() {
            return Err("an operator is `AS64500` or part of a name, not nothing".into());
        }
        Ok(Self::Name(text.to_lowercase().into()))
    }

    pub fn matches(&self, operator: Option<&Operator>) -> bool {
        let Some(operator) = operator else { return false };
        match self {
            Self::Asn(asn) => operator.asn == Some(*asn),
            Self::Name(part) => operator
                .name
                .as_deref()
                .is_some_and(|name| name.to_lowercase().contains(part.as_ref())),
        }
    }
}

/// A user by number or by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserSelector {
    Id(u32),
    Name(Arc<str>),
}

impl UserSelector {
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("a user is a name or a number, not nothing".into());
        }
        Ok(text.parse().map_or_else(|_| Self::Name(text.into()), Self::Id))
    }

    pub fn matches(&self, user: &User) -> bool {
        match self {
            Self::Id(id) => user.id == *id,
            Self::Name(name) => user.name.as_ref() == Some(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Country, Domain, DomainSource};

    fn place(domain: &str) -> Place {
        Place {
            country: Country::Unlocated,
            second: None,
            operator: None,
            server_name: None,
            via: None,
            domain: Some(Domain {
                name: domain.into(),
                source: DomainSource::Dns,
                is_trusted: false,
            }),
        }
    }

    #[test]
    fn a_domain_matches_itself_and_its_subdomains_and_no_lookalike() {
        let selector = DestinationSelector::parse("Example.com.").unwrap();
        let anywhere: SocketAddr = "203.0.113.1:443".parse().unwrap();
        assert!(selector.matches(anywhere, &place("example.com")));
        assert!(selector.matches(anywhere, &place("api.EXAMPLE.com.")));
        assert!(!selector.matches(anywhere, &place("badexample.com")));
        assert!(!selector.matches(anywhere, &place("example.com.evil.org")));
    }

    #[test]
    fn a_name_in_other_letters_matches_as_dns_holds_it() {
        let selector = DestinationSelector::parse("B\u{fc}cher.example").unwrap();
        let anywhere: SocketAddr = "203.0.113.1:443".parse().unwrap();
        assert!(selector.matches(anywhere, &place("www.xn--bcher-kva.example")));
    }

    #[test]
    fn a_mistyped_address_is_no_domain() {
        for wrong in ["203.0.113", "203.0.113.300", "10.0.0.0/40", "a b", ""] {
            assert!(DestinationSelector::parse(wrong).is_err(), "{wrong}");
        }
    }
}

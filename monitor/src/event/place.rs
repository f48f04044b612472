//! Where a destination is, whose, and which of its names is shown.

use std::{fmt, net::IpAddr, sync::Arc};

use super::{Domain, DomainSource, ServerName};

/// An ISO 3166-1 alpha-2 code, upper case. (`XK`, Kosovo, is user-assigned there and accepted.)
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CountryCode([u8; 2]);

impl CountryCode {
    /// `None` unless it is two ASCII letters. Whether the code is assigned is `locate`'s to know.
    pub fn new(text: &str) -> Option<Self> {
        match text.as_bytes() {
            [a, b] if a.is_ascii_alphabetic() && b.is_ascii_alphabetic() => {
                Some(Self([a.to_ascii_uppercase(), b.to_ascii_uppercase()]))
            }
            _ => None,
        }
    }
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("??")
    }
    pub const fn bytes(self) -> [u8; 2] {
        self.0
    }
}

impl fmt::Display for CountryCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for CountryCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Country {
    Known(CountryCode),
    /// The database has no country for the address.
    Unlocated,
    /// Loopback, link-local, multicast, private, unique-local, or named in the configuration.
    Local,
}

impl Country {
    pub fn code(self) -> Option<CountryCode> {
        match self {
            Self::Known(code) => Some(code),
            Self::Unlocated | Self::Local => None,
        }
    }
}

/// Who runs an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Operator {
    pub asn: Option<u32>,
    pub name: Option<Arc<str>>,
    /// Of control where that is known to be another than that of registration.
    pub country: Option<CountryCode>,
    /// The address is announced from many places: where it is says nothing.
    pub is_anycast: bool,
}

/// Where, whose, and by what name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub country: Country,
    /// What a second country database says, where there is one.
    pub second: Option<CountryCode>,
    pub operator: Option<Arc<Operator>>,
    /// What a name server said.
    pub domain: Option<Domain>,
    /// What the flow's own stream says.
    pub server_name: Option<ServerName>,
    pub via: Option<Box<Via>>,
}

impl Place {
    /// Of an address that nobody could read.
    pub fn unknown() -> Self {
        Self {
            country: Country::Unlocated,
            second: None,
            operator: None,
            domain: None,
            server_name: None,
            via: None,
        }
    }
}

impl Place {
    /// Every name that is known, whoever says it.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        let asked_for = self.domain.as_ref().map(|domain| &domain.name);
        asked_for.into_iter().chain(self.server_name.as_ref().and_then(ServerName::name))
    }

    /// The name that is shown where there is room for one: what the process asked for is what it
    /// meant; what it writes to the other side is nearer than what others asked for.
    pub fn shown(&self) -> Option<(&Arc<str>, DomainSource)> {
        let asked_for = self.domain.as_ref().map(|domain| (&domain.name, domain.source));
        let said = self.server_name.as_ref();
        let said = said.and_then(|said| Some((said.name()?, said.source())));
        match asked_for {
            Some((_, DomainSource::Dns)) => asked_for,
            _ => said.or(asked_for),
        }
    }

    /// How the name that is shown is known, or that there is one which could not be read.
    pub fn shown_source(&self) -> Option<DomainSource> {
        let unread = || self.server_name.as_ref().map(ServerName::source);
        self.shown().map(|(_, source)| source).or_else(unread)
    }
}

/// The other address that the packets of a flow are told to go to, by a routing header or a source route:
/// of the two, the flow's own is the one that the probes found the worse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Via {
    /// Canonical.
    pub address: IpAddr,
    /// Its own names and ways are none.
    pub place: Place,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(asked_for: Option<DomainSource>, said: Option<ServerName>) -> Place {
        let domain = |source| Domain { name: "asked.example".into(), source, is_trusted: false };
        Place { domain: asked_for.map(domain), server_name: said, ..Place::unknown() }
    }

    #[test]
    fn what_the_process_asked_for_is_shown_before_what_it_says_and_that_before_what_others_asked() {
        let said = || ServerName::Said { name: "said.example".into(), source: DomainSource::Sni };
        let shown = |place: Place| place.shown().map(|(name, _)| name.to_string());
        let by = |asked_for| shown(place(asked_for, Some(said())));
        assert_eq!(by(Some(DomainSource::Dns)).as_deref(), Some("asked.example"));
        assert_eq!(by(Some(DomainSource::DnsHost)).as_deref(), Some("said.example"));
        assert_eq!(by(None).as_deref(), Some("said.example"));
        let others = place(Some(DomainSource::DnsHost), None);
        assert_eq!(shown(others).as_deref(), Some("asked.example"));
    }

    #[test]
    fn a_name_that_could_not_be_read_is_said_where_no_other_is_known() {
        let unread = place(None, Some(ServerName::Undetermined));
        assert_eq!((unread.shown(), unread.names().count()), (None, 0));
        assert_eq!(unread.shown_source(), Some(DomainSource::Undetermined));
        let asked = place(Some(DomainSource::Dns), Some(ServerName::Undetermined));
        assert_eq!(asked.shown_source(), Some(DomainSource::Dns));
        assert_eq!(place(None, None).shown_source(), None);
    }
}

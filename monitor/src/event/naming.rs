//! By what names a destination goes, who says each, and which of them is shown. Says nothing of what
//! a name is good for: that is the judge's to know.

use std::sync::Arc;

use super::Place;

/// What an answer of DNS said: a name that somebody asked for, and that led to this address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Domain {
    /// Lower case, without the final dot; what no host name has is escaped.
    pub name: Arc<str>,
    pub source: DomainSource,
    /// A resolver that the configuration trusts said so, in the host's own network namespace, to
    /// this very process.
    pub is_trusted: bool,
}

/// What a flow's own stream says of where it goes: whatever its sender wrote there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ServerName {
    Said {
        /// As [`Domain::name`].
        name: Arc<str>,
        source: DomainSource,
    },
    /// There is one, or may be, and it could not be read.
    Undetermined,
}

/// How the name of a destination is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DomainSource {
    /// An answer of DNS to the very process.
    Dns,
    /// An answer of DNS to another process in the same network namespace.
    DnsHost,
    /// The server name in the flow's TLS `ClientHello`.
    Sni,
    /// The same in its QUIC Initial.
    Quic,
    /// Nobody could read it.
    Undetermined,
}

impl ServerName {
    /// `None` where it could not be read.
    pub fn name(&self) -> Option<&Arc<str>> {
        match self {
            Self::Said { name, .. } => Some(name),
            Self::Undetermined => None,
        }
    }

    pub fn source(&self) -> DomainSource {
        match self {
            Self::Said { source, .. } => *source,
            Self::Undetermined => DomainSource::Undetermined,
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

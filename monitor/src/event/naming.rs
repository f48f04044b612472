//! By what names a destination goes, and who says each. Says nothing of what a name is good for: that
//! is the judge's to know.

use std::{fmt, sync::Arc};

use super::words::words;

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

words!(DomainSource {
    Dns = "dns",
    DnsHost = "dns-host",
    Sni = "sni",
    Quic = "quic",
    Undetermined = "undetermined",
});

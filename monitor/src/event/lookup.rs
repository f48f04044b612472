//! What was asked of a resolver.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use super::{Host, Sender, Timestamp, Transport};

/// A question to a resolver, or its answer. Told only where the configuration asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    pub at: Timestamp,
    pub sender: Sender,
    /// The resolver.
    pub server: SocketAddr,
    pub transport: Transport,
    /// The name asked for.
    pub name: Arc<str>,
    /// The type of record asked for: `A`, `AAAA`, `HTTPS`, `TYPE123`.
    pub kind: Arc<str>,
    /// The addresses answered, which may be none; `None`: this is the question.
    pub answer: Option<Vec<IpAddr>>,
    /// As that of [`super::Provenance`].
    pub host: Option<Arc<Host>>,
}

//! The stored form of lookups.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{
    error::FormError,
    sender::{StoredSender, sender_from_stored, sender_to_stored},
    socket::{StoredSocket, socket_from_stored, socket_to_stored},
    tables::{Interner, Tables},
    text::Text,
};
use crate::event::{Lookup, Timestamp, Transport};

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredLookup {
    at: u64,
    process: StoredSender,
    server: StoredSocket,
    transport: u8,
    name: Text,
    kind: Text,
    answer: Option<Vec<IpAddr>>,
}

pub(super) fn lookup_to_stored(lookup: &Lookup, into: &mut Interner) -> StoredLookup {
    StoredLookup {
        at: lookup.at.0,
        process: sender_to_stored(&lookup.sender, into),
        server: socket_to_stored(lookup.server),
        transport: lookup.transport.0,
        name: into.text(&lookup.name),
        kind: into.text(&lookup.kind),
        answer: lookup.answer.clone(),
    }
}

pub(super) fn lookup_from_stored(
    lookup: &StoredLookup,
    tables: &Tables<'_>,
) -> Result<Lookup, FormError> {
    Ok(Lookup {
        at: Timestamp(lookup.at),
        sender: sender_from_stored(lookup.process, tables)?,
        server: socket_from_stored(&lookup.server).ok_or(FormError::Unknown("server"))?,
        transport: Transport(lookup.transport),
        name: tables.texts.text(lookup.name)?,
        kind: tables.texts.text(lookup.kind)?,
        answer: lookup.answer.clone(),
        host: None,
    })
}

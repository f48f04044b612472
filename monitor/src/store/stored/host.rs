//! The stored form of the host that wrote: told once a block, as a basis is; later entries refer to that.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    again::{Learnt, Told},
    error::FormError,
    text::{Text, TextInterner, Texts},
};
use crate::event::Host;

/// As a notice and a basis have it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct StoredHost {
    name: Text,
    id: Option<[u8; 32]>,
}

/// As lookups have it, which rest on nothing.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum StoredBy {
    /// The next one of the block, counted from 0.
    Told(StoredHost),
    /// One that was told.
    Again(u32),
}

pub(super) fn host_to_stored(host: &Host, texts: &mut TextInterner) -> StoredHost {
    StoredHost { name: texts.text(&host.name), id: host.id }
}

pub(super) fn host_from_stored(
    stored: &StoredHost,
    texts: &Texts<'_>,
) -> Result<Arc<Host>, FormError> {
    Ok(Arc::new(Host { name: texts.text(stored.name)?, id: stored.id }))
}

pub(super) fn by_to_stored(
    host: &Arc<Host>,
    told: &mut Told<Arc<Host>>,
    texts: &mut TextInterner,
) -> StoredBy {
    match told.again(Arc::clone(host)) {
        Some(at) => StoredBy::Again(at),
        None => StoredBy::Told(host_to_stored(host, texts)),
    }
}

/// To be asked for every lookup of a block, in order.
pub(super) fn by_from_stored(
    stored: &StoredBy,
    learnt: &mut Learnt<Arc<Host>>,
    texts: &Texts<'_>,
) -> Result<Arc<Host>, FormError> {
    match stored {
        StoredBy::Again(at) => learnt.get(*at),
        StoredBy::Told(host) => Ok(learnt.learn(host_from_stored(host, texts)?)),
    }
}

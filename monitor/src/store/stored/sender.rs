//! The stored form of who sends, in flows and lookups.

use super::{
    error::FormError,
    tables::{Interner, Tables},
    words::{attribution, attribution_code},
};
use crate::event::Sender;

/// Position in the process table, and the attribution.
pub(super) type StoredSender = Option<(u32, u8)>;

pub(super) fn sender_to_stored(sender: &Sender, into: &mut Interner) -> StoredSender {
    match sender {
        Sender::Process { process, attribution, .. } => {
            Some((into.process(process), attribution_code(*attribution)))
        }
        Sender::Nobody => None,
    }
}

pub(super) fn sender_from_stored(
    sender: StoredSender,
    tables: &Tables,
) -> Result<Sender, FormError> {
    Ok(match sender {
        Some((at, by)) => {
            let (process, attribution) = (tables.processes.process(at)?, attribution(by)?);
            Sender::Process { process, attribution, creator: None }
        }
        None => Sender::Nobody,
    })
}

//! The store as the writer thread uses it.

use super::{
    lost::Lost,
    store::{Failure, Ledger, LedgerSize},
};
use crate::{
    event::Entry,
    store::{Store, StoreError},
};

impl Ledger for Store {
    type Error = StoreError;
    fn append(&mut self, entry: &Entry) -> Result<(), StoreError> {
        Self::append(self, entry)
    }
    fn write(&mut self) -> Result<(), StoreError> {
        Self::write(self)
    }
    fn sync(&mut self) -> Result<(), StoreError> {
        Self::sync(self)
    }
    fn failure(error: &StoreError) -> Failure {
        match error {
            _ if error.is_full() => Failure::Full,
            _ if error.is_read_only() => Failure::ReadOnly,
            _ => Failure::Other,
        }
    }
    fn make_room(&mut self) -> Result<Lost, StoreError> {
        let deleted = Self::make_room(self)?;
        let (flows, notices) = (deleted.flows, deleted.notices);
        // The store tells itself when that was.
        Ok(Lost { events: deleted.entries - notices, flows, notices, since: None })
    }
    fn seal(&mut self) -> Result<(), StoreError> {
        Self::seal(self)
    }
    fn retain(&mut self) -> Result<(), StoreError> {
        Self::retain(self).map(drop)
    }
    fn size(&self) -> Result<LedgerSize, StoreError> {
        let stats = self.reader().stats()?;
        let signed = self.evidence().get();
        Ok(LedgerSize {
            signed: signed.as_ref().map_or(0, |signed| signed.checkpoint.size),
            signed_at: signed.and_then(|signed| signed.at),
            bytes: stats.ledger_bytes + stats.index_bytes,
            records: stats.flow_states + stats.rollups + stats.notices,
            flows: stats.flows,
            oldest: stats.oldest,
        })
    }
}

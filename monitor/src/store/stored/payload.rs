//! The payload of a block before compression: base time, tables, entries. Filled entry by entry; read
//! back into entries.

use super::{
    entry::{StoredEntry, from_stored, to_stored},
    error::FormError,
    tables::{Interner, StoredTables, Tables},
};
use crate::event::Entry;

/// A payload being filled.
#[derive(Debug, Default)]
pub(in crate::store) struct Payload {
    base: u64,
    interner: Interner,
    entries: Vec<u8>,
}

impl Payload {
    pub(in crate::store) fn push(&mut self, entry: &Entry) {
        if let (true, Entry::Flow(record)) = (self.base == 0, entry) {
            self.base = record.egress.started_at.0;
        }
        let stored = to_stored(entry, self.base, &mut self.interner);
        let buffer = std::mem::take(&mut self.entries);
        self.entries = encode(&stored, buffer);
    }

    /// About how long it is.
    pub(in crate::store) fn bytes(&self) -> usize {
        self.entries.len() + self.interner.bytes()
    }

    /// Texts that were too long.
    pub(in crate::store) fn texts_cut(&self) -> u64 {
        self.interner.texts.cut()
    }

    pub(in crate::store) fn finish(mut self) -> Vec<u8> {
        let mut raw = encode(&self.base, Vec::with_capacity(self.entries.len() * 2));
        raw = encode(&self.interner.stored(), raw);
        // Entries were encoded against `base` as it was then: those before the first flow have none.
        raw.extend_from_slice(&self.entries);
        raw
    }
}

fn encode(value: &impl serde::Serialize, into: Vec<u8>) -> Vec<u8> {
    // Serializing these types to memory has no way to fail: no maps of unknown length, no
    // serializer errors of their own.
    postcard::to_extend(value, into).expect("stored forms always serialize")
}

/// The entries of a payload, of which there are `count`.
pub(in crate::store) fn decode(raw: &[u8], count: usize) -> Result<Vec<Entry>, FormError> {
    let (base, rest) = take::<u64>(raw)?;
    let (tables, mut rest) = take::<StoredTables<'_>>(rest)?;
    let mut tables = Tables::from_stored(&tables)?;
    // Each takes a byte at least.
    let mut entries = Vec::with_capacity(count.min(rest.len()));
    for _ in 0..count {
        let (entry, after) = take::<StoredEntry>(rest)?;
        entries.push(from_stored(entry, base, &mut tables)?);
        rest = after;
    }
    if rest.is_empty() { Ok(entries) } else { Err(FormError::Malformed) }
}

fn take<'a, T: serde::Deserialize<'a>>(bytes: &'a [u8]) -> Result<(T, &'a [u8]), FormError> {
    postcard::take_from_bytes(bytes).map_err(|_| FormError::Malformed)
}

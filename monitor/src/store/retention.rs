//! Retention: whole segments go, oldest first, never the one that is written. Nothing else deletes.

use std::{fs, io, path::Path};

use super::{
    error::{StoreCounters, StoreError},
    index::Index,
    ledger::{self, segment_path},
    query::Reader,
};
use crate::event::Timestamp;

/// What retention deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deleted {
    pub segments: u64,
    pub bytes: u64,
    /// Entries in them: states of flows, roll-ups and notices.
    pub entries: u64,
}

/// Deletes segments whose entries are all older than `oldest`, and then as many as it takes to have
/// ledger and index in `max_bytes`.
pub(super) fn apply(
    reader: &Reader,
    index: Option<&Index>,
    active: u32,
    oldest: Timestamp,
    max_bytes: u64,
) -> Result<Deleted, StoreError> {
    let directory = reader.ledger();
    let mut deleted = Deleted::default();
    let segments = ledger::list(directory).map_err(StoreError::io("list", directory))?;
    let mut sizes = Vec::new();
    for segment in segments {
        let path = segment_path(directory, segment);
        let bytes = fs::metadata(&path).map_err(StoreError::io("read", &path))?.len();
        sizes.push((segment, bytes));
    }
    let mut ledger_bytes: u64 = sizes.iter().map(|(_, bytes)| bytes).sum();
    for (segment, bytes) in sizes.into_iter().filter(|(segment, _)| *segment < active) {
        let totals = reader.totals(segment)?;
        let is_expired = totals.last < oldest.0;
        if !is_expired && ledger_bytes + bytes_below(&reader.index_path()) <= max_bytes {
            break;
        }
        let path = segment_path(directory, segment);
        fs::remove_file(&path).map_err(StoreError::io("remove", &path))?;
        if let Some(index) = index {
            index.forget_below(segment + 1);
        }
        ledger_bytes -= bytes;
        deleted.segments += 1;
        deleted.bytes += bytes;
        deleted.entries += totals.flows + totals.rollups + totals.notices;
    }
    if deleted.segments > 0 {
        ledger::sync_directory(directory).map_err(StoreError::io("sync", directory))?;
        StoreCounters::add(&reader.counters().segments_deleted, deleted.segments);
    }
    Ok(deleted)
}

/// Bytes of all files below a directory; 0 where there is none.
pub(super) fn bytes_below(directory: &Path) -> u64 {
    let entries = |directory: &Path| -> io::Result<u64> {
        let mut bytes = 0;
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            // Files come and go while the index works.
            bytes += match entry.metadata() {
                Ok(it) if it.is_dir() => bytes_below(&entry.path()),
                Ok(it) => it.len(),
                Err(_) => 0,
            };
        }
        Ok(bytes)
    };
    entries(directory).unwrap_or(0)
}

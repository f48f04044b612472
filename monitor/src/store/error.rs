//! What can go wrong with the store, each in one line that says what to do; and its counters.
//! It maps nothing to metrics: the caller does.

use std::{
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// Why the store can't do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(
        "store {path} is locked by another daemon{}; stop that one or set another [store] path",
        pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default(),
        path = path.display()
    )]
    Locked { path: PathBuf, pid: Option<u32> },
    #[error(
        "no store at {}; start the daemon, or set [store] path to where it keeps its ledger",
        path.display()
    )]
    Missing { path: PathBuf },
    #[error(
        "{} was written by a newer version (format {found}, this one knows {known}); upgrade geofenced",
        path.display()
    )]
    Newer { path: PathBuf, found: u32, known: u32 },
    #[error("the answer is cut: the index contradicted segment {segment} half way; ask again")]
    Contradicted { segment: u32 },
    #[error("the answer is cut: the daemon ends, or who asked is gone")]
    Stopped,
    #[error("cannot {operation} {}: {source}{}", path.display(), hint(source))]
    Io { operation: &'static str, path: PathBuf, source: io::Error },
}

impl StoreError {
    pub(super) fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { operation, path, source }
    }

    /// Whether there was no room for it.
    pub fn is_full(&self) -> bool {
        let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
        self.kind().is_some_and(|kind| full.contains(&kind))
    }

    /// Whether nothing can be written there.
    pub fn is_read_only(&self) -> bool {
        self.kind() == Some(io::ErrorKind::ReadOnlyFilesystem)
    }

    fn kind(&self) -> Option<io::ErrorKind> {
        match self {
            Self::Io { source, .. } => Some(source.kind()),
            _ => None,
        }
    }

    /// A stable word for what was attempted: `open`, `write`, `sync`, `read`, ...
    pub fn operation(&self) -> &'static str {
        match self {
            Self::Io { operation, .. } => operation,
            Self::Contradicted { .. } | Self::Stopped => "read",
            Self::Locked { .. } | Self::Missing { .. } | Self::Newer { .. } => "open",
        }
    }
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; free some space or lower [store] max_size: what was acknowledged is safe"
        }
        io::ErrorKind::PermissionDenied => {
            "; run as root, or as the user and group that own the store"
        }
        io::ErrorKind::ReadOnlyFilesystem => "; set [store] path to a writable place",
        io::ErrorKind::FileTooLarge => "; raise the file size limit (ulimit -f) of this process",
        _ => "",
    }
}

/// Counts since the process started, shared by the store and its readers.
#[derive(Debug, Default)]
pub struct StoreCounters {
    /// Entries taken by `append`.
    pub entries_appended: AtomicU64,
    /// Entries in blocks that are safely on disk.
    pub entries_synced: AtomicU64,
    pub blocks_synced: AtomicU64,
    /// Writes, syncs or segment creations that failed (and are tried again with the next).
    pub write_errors: AtomicU64,
    /// Texts cut to the longest that is stored.
    pub texts_cut: AtomicU64,
    /// Stretches of a ledger file that could not be read as blocks, each time one was met.
    pub blocks_corrupt: AtomicU64,
    /// Blocks that don't continue the hash chain, met on open.
    pub chain_breaks: AtomicU64,
    /// Segments that retention deleted.
    pub segments_deleted: AtomicU64,
    /// Index databases set aside because they were damaged, incomplete or of another ledger.
    pub index_set_aside: AtomicU64,
    /// Of those, the ones in which the index crate panicked.
    pub index_panics: AtomicU64,
    /// Failures of the index crate or its files; queries fell back to the ledger.
    pub index_errors: AtomicU64,
    /// Torn ends that were cut off on open.
    pub tails_cut: AtomicU64,
    /// Checkpoints signed.
    pub checkpoints_signed: AtomicU64,
    /// Leaves or checkpoints that could not be written or signed (and are tried again).
    pub evidence_errors: AtomicU64,
    /// Ledgers that were not what had been signed, met on open.
    pub rollbacks: AtomicU64,
    /// Segments that retention deleted though they were to be shipped first.
    pub segments_unshipped: AtomicU64,
    /// No count, but how much is kept now only because it was not shipped.
    waiting_bytes: AtomicU64,
}

/// What [`StoreCounters`] count, in the words of the metric.
pub const STORE_EVENTS: [&str; 16] = [
    "entry-appended",
    "entry-synced",
    "block-synced",
    "write-error",
    "text-cut",
    "block-corrupt",
    "chain-break",
    "segment-deleted",
    "index-set-aside",
    "index-panic",
    "index-error",
    "tail-cut",
    "checkpoint-signed",
    "evidence-error",
    "rollback",
    "segment-unshipped",
];

impl StoreCounters {
    /// In the order of [`STORE_EVENTS`].
    pub fn counts(&self) -> [u64; STORE_EVENTS.len()] {
        // With every name, so that none is forgotten.
        let Self {
            entries_appended,
            entries_synced,
            blocks_synced,
            write_errors,
            texts_cut,
            blocks_corrupt,
            chain_breaks,
            segments_deleted,
            index_set_aside,
            index_panics,
            index_errors,
            tails_cut,
            checkpoints_signed,
            evidence_errors,
            rollbacks,
            segments_unshipped,
            waiting_bytes: _,
        } = self;
        [
            entries_appended,
            entries_synced,
            blocks_synced,
            write_errors,
            texts_cut,
            blocks_corrupt,
            chain_breaks,
            segments_deleted,
            index_set_aside,
            index_panics,
            index_errors,
            tails_cut,
            checkpoints_signed,
            evidence_errors,
            rollbacks,
            segments_unshipped,
        ]
        .map(|counter| counter.load(Ordering::Relaxed))
    }

    /// Bytes that retention keeps only because they were not shipped.
    pub fn waiting_bytes(&self) -> u64 {
        self.waiting_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn waits(&self, bytes: u64) {
        self.waiting_bytes.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_a_full_disk_and_a_failed_one_is_neither_full_nor_read_only() {
        let error =
            |number| StoreError::io("write", Path::new("/x"))(io::Error::from_raw_os_error(number));
        for full in [libc::ENOSPC, libc::EDQUOT] {
            assert!(error(full).is_full() && !error(full).is_read_only());
        }
        assert!(error(libc::EROFS).is_read_only() && !error(libc::EROFS).is_full());
        assert!(!error(libc::EIO).is_full() && !error(libc::EIO).is_read_only());
    }
}

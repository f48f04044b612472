//! The store's queue, and what its writer needs of the ledger. The queue never waits: full, it drops and
//! counts. Only at the end, when nothing else is kept waiting, it waits for a while.

use std::{
    fmt,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{self, Receiver, Sender, SyncSender, TrySendError},
    },
    thread,
    time::{Duration, Instant},
};

use prometheus::IntGauge;

pub use super::lost::STAGE;
use super::lost::{Counter, Lost, Untold};
use crate::{
    event::{Entry, Timestamp},
    metrics::Metrics,
};

/// Entries that wait for the ledger: some seconds of a slow card at a busy host's rate.
pub const QUEUE_ENTRIES: usize = 131_072;
/// Where the kernel counts few flows, memory is short.
const QUEUE_LEAST: usize = 4_096;
/// How long the last entries, all together, wait for room in a full queue.
const CLOSE_PATIENCE: Duration = Duration::from_secs(20);
const CLOSE_POLL: Duration = Duration::from_millis(5);

pub const QUEUE_FULL: &str = "queue-full";
/// The writer ended with entries it could not write.
pub const UNWRITTEN: &str = "unwritten";
/// `operation` of `store_errors_total`.
pub const OPERATIONS: [&str; 7] =
    ["append", "write", "sync", "make-room", "retain", "size", "seal"];
/// It was written, and had to go before its time for what is newer: the disk is full.
pub const GAVE_WAY: &str = "gave-way";

/// Why the ledger takes nothing; what is lost meanwhile is counted by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No room, or none within a quota.
    Full,
    ReadOnly,
    Other,
}

impl Failure {
    pub const ALL: [Self; 3] = [Self::Full, Self::ReadOnly, Self::Other];

    /// `reason` of the loss.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Full => "disk-full",
            Self::ReadOnly => "read-only",
            Self::Other => "disk-failed",
        }
    }
}

/// Why the store can lose something.
pub fn losses() -> impl Iterator<Item = &'static str> {
    [QUEUE_FULL, UNWRITTEN, GAVE_WAY].into_iter().chain(Failure::ALL.map(Failure::reason))
}

/// How much the ledger holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LedgerSize {
    pub bytes: u64,
    pub records: u64,
    /// Flows of which the first state is there.
    pub flows: u64,
    /// Blocks of the last checkpoint; and when it was signed, if by this process.
    pub signed: u64,
    pub signed_at: Option<Timestamp>,
    pub oldest: Option<Timestamp>,
}

impl LedgerSize {
    pub(super) fn meter(&self, metrics: &Metrics) {
        metrics.store_bytes.set(i64::try_from(self.bytes).unwrap_or(i64::MAX));
        metrics.store_records.set(i64::try_from(self.records).unwrap_or(i64::MAX));
        metrics.store_flows.set(i64::try_from(self.flows).unwrap_or(i64::MAX));
        let oldest = self.oldest.map_or(0, Timestamp::secs);
        metrics.store_oldest_timestamp_seconds.set(oldest.cast_signed());
        metrics.checkpoint_size.set(self.signed.cast_signed());
        if let Some(at) = self.signed_at {
            metrics.checkpoint_timestamp_seconds.set(at.secs().cast_signed());
        }
    }
}

/// What the writer needs of the store.
pub trait Ledger: Send + 'static {
    type Error: fmt::Display;
    /// Takes the entry into the current block. After an error it is not taken; those before it are
    /// kept.
    fn append(&mut self, entry: &Entry) -> Result<(), Self::Error>;
    /// Everything appended can be read. After an error as with [`Self::sync`].
    fn write(&mut self) -> Result<(), Self::Error>;
    /// Everything appended is safe on disk. After an error nothing is forgotten: the next call
    /// writes it again.
    fn sync(&mut self) -> Result<(), Self::Error>;
    fn failure(error: &Self::Error) -> Failure;
    /// Gives up what is worth least, after an error for want of room; what that was safe is gone.
    fn make_room(&mut self) -> Result<Lost, Self::Error>;
    /// Signs for all that was appended.
    fn seal(&mut self) -> Result<(), Self::Error>;
    /// Removes what is too old or too much.
    fn retain(&mut self) -> Result<(), Self::Error>;
    fn size(&self) -> Result<LedgerSize, Self::Error>;
}

/// An entry, and whom to tell whether it is safe.
#[derive(Debug)]
pub(super) struct Note {
    pub(super) entry: Box<Entry>,
    pub(super) done: Sender<bool>,
}

/// Wakes the writer. `None`: it ends.
pub(super) type Waker = Arc<Mutex<Option<SyncSender<Handed>>>>;

/// What both ends know besides the queue.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Dropped and not yet told to the ledger.
    pub(super) untold: Untold,
    /// The ledger takes nothing.
    pub(super) is_failing: AtomicBool,
    /// Entries that were put into the queue.
    handed: AtomicU64,
    /// Of these, how many were taken out and can be read.
    pub(super) readable: Mutex<u64>,
    pub(super) is_more_readable: Condvar,
    /// Whose senders wait.
    pub(super) notes: Mutex<Vec<Note>>,
    pub(super) seals: Mutex<Seals>,
    pub(super) is_sealed: Condvar,
}

/// How often somebody asked that all be signed, and how often that was done.
#[derive(Debug, Default)]
pub(super) struct Seals {
    pub(super) asked: u64,
    pub(super) done: u64,
}

/// What goes through the queue: an entry, or that somebody asks for those before.
pub(super) type Handed = Option<Box<Entry>>;

/// How far the store is with what it was handed. An entry that failed to the end can never be read.
#[derive(Clone, Debug)]
pub struct Progress(Arc<Shared>);

impl Progress {
    /// Waits until as many can be read. `false`: they can't yet, and may not be for long.
    pub(super) fn wait(&self, handed: u64, until: Instant) -> bool {
        let readable = self.0.readable.lock().unwrap_or_else(PoisonError::into_inner);
        let left = until.saturating_duration_since(Instant::now());
        let waited = self.0.is_more_readable.wait_timeout_while(readable, left, |readable| {
            *readable < handed && !self.0.is_failing.load(Ordering::Relaxed)
        });
        let (readable, _) = waited.unwrap_or_else(PoisonError::into_inner);
        *readable >= handed
    }

    /// Asks that all which was handed over be signed; the number of the question. The writer sees it when it
    /// wakes.
    pub(super) fn ask_to_seal(&self) -> u64 {
        let mut seals = self.0.seals.lock().unwrap_or_else(PoisonError::into_inner);
        seals.asked += 1;
        seals.asked
    }

    /// Waits until that was done, or tried.
    pub(super) fn wait_sealed(&self, asked: u64, until: Instant) -> bool {
        let seals = self.0.seals.lock().unwrap_or_else(PoisonError::into_inner);
        let left = until.saturating_duration_since(Instant::now());
        let waited = self.0.is_sealed.wait_timeout_while(seals, left, |seals| seals.done < asked);
        let (seals, _) = waited.unwrap_or_else(PoisonError::into_inner);
        seals.done >= asked
    }
}

/// The pipeline's end of the queue.
#[derive(Debug)]
pub struct StoreQueue {
    /// Boxed: the channel keeps room for all of its entries from the start.
    entries: SyncSender<Handed>,
    shared: Arc<Shared>,
    capacity: i64,
    depth: IntGauge,
    /// Until then the last entries wait for room.
    closing: Option<Instant>,
    lost_full: Counter,
    lost_gone: Counter,
    waker: Waker,
}

impl Drop for StoreQueue {
    fn drop(&mut self) {
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl StoreQueue {
    pub(super) fn waker(&self) -> (Arc<Shared>, Waker) {
        (Arc::clone(&self.shared), Arc::clone(&self.waker))
    }

    pub(super) fn push(&self, entry: Entry) {
        if let Some(until) = self.closing {
            while self.depth.get() >= self.capacity && Instant::now() < until {
                thread::sleep(CLOSE_POLL);
            }
        }
        // Before the entry can be taken out again: the gauge must never fall below 0.
        self.depth.inc();
        let (lost, entry) = match self.entries.try_send(Some(Box::new(entry))) {
            Ok(()) => {
                self.shared.handed.fetch_add(1, Ordering::Release);
                return;
            }
            Err(TrySendError::Full(entry)) => (&self.lost_full, entry),
            Err(TrySendError::Disconnected(entry)) => (&self.lost_gone, entry),
        };
        self.depth.dec();
        let Some(entry) = entry else { return };
        lost.add(Lost::of(&entry));
        self.shared.untold.add(Lost::of(&entry));
    }

    pub(super) fn progress(&self) -> Progress {
        Progress(Arc::clone(&self.shared))
    }

    /// Has written what was handed over, and returns how many entries that are.
    pub(super) fn ask_to_write(&self) -> u64 {
        // A full queue keeps the writer writing.
        let _ = self.entries.try_send(None);
        self.shared.handed.load(Ordering::Acquire)
    }

    pub(super) fn room(&self) -> usize {
        usize::try_from(self.capacity - self.depth.get()).unwrap_or(0)
    }

    /// The ledger takes nothing: what can wait is better kept where it adds up.
    pub(super) fn is_failing(&self) -> bool {
        self.shared.is_failing.load(Ordering::Relaxed)
    }

    /// Nothing else is kept waiting from here on: what comes now waits a while for room.
    pub(super) fn close(&mut self) {
        self.closing.get_or_insert_with(|| Instant::now() + CLOSE_PATIENCE);
    }
}

/// Entries that wait at most.
pub fn queue_entries(max_flows: u32) -> usize {
    (max_flows as usize / 4).clamp(QUEUE_LEAST, QUEUE_ENTRIES)
}

/// The queue, its other end, and what both know.
pub(super) fn queue(
    metrics: &Metrics,
    capacity: usize,
) -> (StoreQueue, Receiver<Handed>, Arc<Shared>) {
    let (sender, receiver) = mpsc::sync_channel(capacity);
    let shared = Arc::new(Shared::default());
    let queue = StoreQueue {
        waker: Arc::new(Mutex::new(Some(sender.clone()))),
        entries: sender,
        shared: Arc::clone(&shared),
        capacity: i64::try_from(capacity).unwrap_or(i64::MAX),
        depth: metrics.queue_depth.with_label_values(&[STAGE]),
        closing: None,
        lost_full: Counter::new(metrics, QUEUE_FULL),
        lost_gone: Counter::new(metrics, UNWRITTEN),
    };
    metrics.queue_capacity.with_label_values(&[STAGE]).set(queue.capacity);
    (queue, receiver, shared)
}

//! The store's queue and the thread that empties it into the ledger. The queue never waits: full, it
//! drops and counts. The thread never gives up: what fails is counted and tried again.

use std::{
    fmt, io,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError},
    },
    thread,
    time::{Duration, Instant},
};

use prometheus::{IntCounter, IntGauge};

use crate::{
    clock::Clock,
    event::{Entry, Moment, Notice},
    metrics::Metrics,
};

/// Entries that wait for the ledger: some seconds of a slow card at a busy host's rate.
pub const QUEUE_ENTRIES: usize = 65_536;
/// Entries that one sync acknowledges at most.
pub const BATCH_ENTRIES: usize = 16_384;
/// An entry waits for its sync at most this long.
pub const SYNC_INTERVAL: Duration = Duration::from_millis(200);
/// How often old segments are looked for.
pub const RETENTION_INTERVAL: Duration = Duration::from_mins(1);
/// How often the size of the store is measured.
const SIZE_INTERVAL: Duration = Duration::from_secs(5);
/// Waits between tries of a failing ledger; the last one repeats.
const BACK_OFF: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(2),
    Duration::from_secs(5),
];
/// Tries of a failing ledger once the daemon is ending: it must end.
const LAST_TRIES: usize = 3;
/// How long the last entries wait for room in a full queue.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);
const CLOSE_POLL: Duration = Duration::from_millis(5);

pub const STAGE: &str = "store";
pub const QUEUE_FULL: &str = "queue-full";
/// The writer ended with entries it could not write.
pub const UNWRITTEN: &str = "unwritten";
/// `operation` of `store_errors_total`.
pub const OPERATIONS: [&str; 4] = ["append", "sync", "retain", "size"];

/// How much the ledger holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LedgerSize {
    pub bytes: u64,
    pub records: u64,
}

/// What the writer needs of the store.
pub trait Ledger: Send + 'static {
    type Error: fmt::Display;
    /// Takes the entry into the current block. After an error it is not taken; those before it are
    /// kept.
    fn append(&mut self, entry: &Entry) -> Result<(), Self::Error>;
    /// Everything appended is safe on disk. After an error nothing is forgotten: the next call
    /// writes it again.
    fn sync(&mut self) -> Result<(), Self::Error>;
    /// Removes what is too old or too much.
    fn retain(&mut self) -> Result<(), Self::Error>;
    fn size(&self) -> Result<LedgerSize, Self::Error>;
}

/// What both ends know besides the queue.
#[derive(Debug, Default)]
struct Shared {
    /// Dropped and not yet told to the ledger.
    untold: AtomicU64,
    /// No entry will come any more.
    is_closing: AtomicBool,
    /// Entries that were put into the queue.
    handed: AtomicU64,
    /// Of these, how many were taken out and are safe.
    safe: Mutex<u64>,
    is_safer: Condvar,
}

/// How far the store is with what it was handed. An entry that failed to the end is never safe.
#[derive(Clone, Debug)]
pub struct Progress(Arc<Shared>);

impl Progress {
    /// Entries that it was handed so far.
    pub(super) fn handed(&self) -> u64 {
        self.0.handed.load(Ordering::Acquire)
    }

    /// Waits until as many are safe on disk. `false`: they are not yet.
    pub(super) fn wait(&self, handed: u64, until: Instant) -> bool {
        let safe = self.0.safe.lock().unwrap_or_else(PoisonError::into_inner);
        let left = until.saturating_duration_since(Instant::now());
        let waited = self.0.is_safer.wait_timeout_while(safe, left, |safe| *safe < handed);
        let (safe, _) = waited.unwrap_or_else(PoisonError::into_inner);
        *safe >= handed
    }
}

/// The pipeline's end of the queue.
#[derive(Debug)]
pub struct StoreQueue {
    /// Boxed: the channel keeps room for all of its entries from the start.
    entries: SyncSender<Box<Entry>>,
    shared: Arc<Shared>,
    capacity: i64,
    depth: IntGauge,
    lost_full: IntCounter,
    lost_gone: IntCounter,
}

impl StoreQueue {
    pub(super) fn push(&self, entry: Entry) {
        // Before the entry can be taken out again: the gauge must never fall below 0.
        self.depth.inc();
        match self.entries.try_send(Box::new(entry)) {
            Ok(()) => {
                self.shared.handed.fetch_add(1, Ordering::Release);
                return;
            }
            Err(TrySendError::Full(_)) => self.lost_full.inc(),
            Err(TrySendError::Disconnected(_)) => self.lost_gone.inc(),
        }
        self.depth.dec();
        self.shared.untold.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn progress(&self) -> Progress {
        Progress(Arc::clone(&self.shared))
    }

    pub(super) fn room(&self) -> usize {
        usize::try_from(self.capacity - self.depth.get()).unwrap_or(0)
    }

    /// As [`Self::push`], but waits a while for room: for the last entries, when nothing else is
    /// kept waiting.
    pub(super) fn push_last(&self, entry: Entry) {
        let until = Instant::now() + CLOSE_PATIENCE;
        while self.depth.get() >= self.capacity && Instant::now() < until {
            thread::sleep(CLOSE_POLL);
        }
        self.push(entry);
    }
}

impl Drop for StoreQueue {
    fn drop(&mut self) {
        self.shared.is_closing.store(true, Ordering::Release);
    }
}

/// The thread; it ends when every [`StoreQueue`] is dropped and the rest is written.
#[derive(Debug)]
pub struct StoreWriter(thread::JoinHandle<bool>);

impl StoreWriter {
    /// Waits for the rest to be written. `false` if it was not, or the thread broke.
    pub fn join(self) -> bool {
        self.0.join().unwrap_or(false)
    }
}

/// Starts the writer thread.
pub fn spawn<L: Ledger>(ledger: L, metrics: Arc<Metrics>) -> io::Result<(StoreQueue, StoreWriter)> {
    spawn_with(ledger, metrics, QUEUE_ENTRIES, host_clock)
}

pub(super) fn spawn_with<L: Ledger>(
    ledger: L,
    metrics: Arc<Metrics>,
    capacity: usize,
    now: fn() -> Moment,
) -> io::Result<(StoreQueue, StoreWriter)> {
    let (sender, receiver) = mpsc::sync_channel(capacity);
    let shared = Arc::new(Shared::default());
    let lost = &metrics.events_lost_total;
    let queue = StoreQueue {
        entries: sender,
        shared: Arc::clone(&shared),
        capacity: i64::try_from(capacity).unwrap_or(i64::MAX),
        depth: metrics.queue_depth.with_label_values(&[STAGE]),
        lost_full: lost.with_label_values(&[STAGE, QUEUE_FULL]),
        lost_gone: lost.with_label_values(&[STAGE, UNWRITTEN]),
    };
    metrics.store_writable.set(1);
    let writer = Writer {
        ledger,
        depth: queue.depth.clone(),
        metrics,
        shared,
        now,
        began: Vec::new(),
        unsynced: 0,
        taken: 0,
        sized_at: None,
        is_ending: false,
        has_given_up: false,
    };
    let thread =
        thread::Builder::new().name("store".into()).spawn(move || writer.run(&receiver))?;
    Ok((queue, StoreWriter(thread)))
}

fn host_clock() -> Moment {
    Clock::host().now()
}

struct Writer<L> {
    ledger: L,
    metrics: Arc<Metrics>,
    depth: IntGauge,
    shared: Arc<Shared>,
    now: fn() -> Moment,
    /// Kernel times of the flows that began and are not safe yet, by the boot clock.
    began: Vec<u64>,
    /// Entries appended and not safe yet.
    unsynced: u64,
    /// Entries taken out of the queue.
    taken: u64,
    sized_at: Option<Instant>,
    is_ending: bool,
    /// The ledger failed to the end.
    has_given_up: bool,
}

impl<L: Ledger> Writer<L> {
    /// Whether everything was written.
    fn run(mut self, queue: &Receiver<Box<Entry>>) -> bool {
        let mut retained_at: Option<Instant> = None;
        while !self.is_ending {
            if is_due(retained_at, RETENTION_INTERVAL) {
                self.attempt("retain", L::retain);
                retained_at = Some(Instant::now());
            }
            if is_due(self.sized_at, SIZE_INTERVAL) {
                self.tell_size();
            }
            match queue.recv_timeout(SIZE_INTERVAL) {
                Ok(first) => self.write_batch(first, queue),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => self.is_ending = true,
            }
        }
        if self.has_given_up {
            self.leave_unwritten(queue);
        } else if self.append_losses() {
            self.sync();
        }
        self.tell_size();
        !self.has_given_up
    }

    /// Appends what comes within one interval, then syncs once for all of it.
    fn write_batch(&mut self, first: Box<Entry>, queue: &Receiver<Box<Entry>>) {
        let until = Instant::now() + SYNC_INTERVAL;
        let mut next = Some(first);
        let mut count = 0;
        while let Some(entry) = next.take() {
            self.append(&entry);
            self.depth.dec();
            self.taken += 1;
            count += 1;
            if count == BATCH_ENTRIES || self.is_ending {
                break;
            }
            match queue.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(entry) => next = Some(entry),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => self.is_ending = true,
            }
        }
        if !self.has_given_up {
            self.append_losses();
            self.sync();
        }
    }

    fn append(&mut self, entry: &Entry) {
        self.unsynced += 1;
        if self.persist("append", |ledger| ledger.append(entry))
            && let Entry::Flow(record) = entry
            && record.egress.revision == 0
            && let Some(timeline) = record.timeline
        {
            self.began.push(timeline.boot_ns(record.egress.last_at));
        }
    }

    /// The ledger itself tells what it did not get.
    fn append_losses(&mut self) -> bool {
        let count = self.shared.untold.swap(0, Ordering::Relaxed);
        if count == 0 {
            return false;
        }
        let (stage, reason) = (STAGE.into(), QUEUE_FULL.into());
        let notice = Notice::Lost { stage, reason, count };
        self.append(&Entry::Notice { at: (self.now)().wall(), notice });
        true
    }

    fn sync(&mut self) {
        if !self.persist("sync", L::sync) {
            return;
        }
        self.unsynced = 0;
        *self.shared.safe.lock().unwrap_or_else(PoisonError::into_inner) = self.taken;
        self.shared.is_safer.notify_all();
        let now = (self.now)().boot_ns;
        for at in self.began.drain(..) {
            let seconds = Duration::from_nanos(now.saturating_sub(at)).as_secs_f64();
            self.metrics.event_latency_seconds.observe(seconds);
        }
    }

    /// Tries until it succeeds; once no more entries come, only a few times: then the end.
    fn persist(
        &mut self,
        operation: &'static str,
        mut run: impl FnMut(&mut L) -> Result<(), L::Error>,
    ) -> bool {
        let (mut tries, mut last_tries) = (0, 0);
        while self.attempt(operation, &mut run).is_none() {
            last_tries += usize::from(self.shared.is_closing.load(Ordering::Acquire));
            if last_tries >= LAST_TRIES {
                (self.is_ending, self.has_given_up) = (true, true);
                return false;
            }
            thread::sleep(BACK_OFF[tries.min(BACK_OFF.len() - 1)]);
            tries += 1;
        }
        true
    }

    fn attempt<T>(
        &mut self,
        operation: &'static str,
        run: impl FnOnce(&mut L) -> Result<T, L::Error>,
    ) -> Option<T> {
        let is_writing = matches!(operation, "append" | "sync");
        let outcome = run(&mut self.ledger);
        if is_writing {
            self.metrics.store_writable.set(i64::from(outcome.is_ok()));
        }
        match outcome {
            Ok(value) => Some(value),
            Err(error) => {
                self.metrics.store_errors_total.with_label_values(&[operation]).inc();
                tracing::error!("store: {operation} failed, trying again: {error}");
                None
            }
        }
    }

    /// What a ledger that fails to the end leaves behind.
    fn leave_unwritten(&self, queue: &Receiver<Box<Entry>>) {
        let unwritten = queue.try_iter().count() as u64 + self.unsynced;
        self.metrics.events_lost_total.with_label_values(&[STAGE, UNWRITTEN]).inc_by(unwritten);
        self.depth.set(0);
        tracing::error!("store: {unwritten} entries could not be written");
    }

    fn tell_size(&mut self) {
        self.sized_at = Some(Instant::now());
        if let Some(size) = self.attempt("size", |ledger| ledger.size()) {
            self.metrics.store_bytes.set(i64::try_from(size.bytes).unwrap_or(i64::MAX));
            self.metrics.store_records.set(i64::try_from(size.records).unwrap_or(i64::MAX));
        }
    }
}

fn is_due(last: Option<Instant>, interval: Duration) -> bool {
    last.is_none_or(|at| at.elapsed() >= interval)
}

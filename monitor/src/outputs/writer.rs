//! The thread that empties the store's queue into the ledger. It never gives up and never lets the queue
//! wait for a ledger that fails: what fails is tried again, now and then; what comes meanwhile is held, so
//! much of it as there is room for, and the rest is counted and told once the ledger takes something.

use std::{
    io,
    sync::{
        Arc, PoisonError,
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use prometheus::IntGauge;

use super::{
    backlog::Backlog,
    due::{Due, is_due},
    lost::{Counter, Lost},
    store::{
        self, Failure, GAVE_WAY, Handed, Ledger, Note, QUEUE_FULL, STAGE, Shared, StoreQueue,
        UNWRITTEN, queue_entries,
    },
};
use crate::{
    clock::Clock,
    event::{Entry, Moment},
    metrics::Metrics,
};

/// Entries that are written at once at most.
const BATCH_ENTRIES: usize = 16_384;
/// While entries come one after the other, they are let gather for so long: each waking of this thread costs
/// the pipeline, which does it, more than to hand an entry over.
const GATHERING: Duration = Duration::from_millis(2);
/// Longer ago, the last was one of its own.
const NEAR: Duration = Duration::from_millis(10);
/// How often old segments are looked for.
const RETENTION_INTERVAL: Duration = Duration::from_mins(1);
/// How often the size of the store is measured.
const SIZE_INTERVAL: Duration = Duration::from_secs(5);
/// Waits between tries of a failing ledger; the last one repeats.
const BACK_OFF: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(2),
    Duration::from_secs(5),
];
/// Where room that was made did not help, others took it: so soon no more is given up.
const UNHELPFUL: Duration = Duration::from_mins(1);
/// A disk can be full for ever: the log is told again after so long.
const SAY_AGAIN: Duration = Duration::from_hours(1);
/// Tries of a failing ledger once the daemon is ending: it must end.
const LAST_TRIES: usize = 3;

/// Since when the ledger fails, and how.
#[derive(Debug)]
struct Trouble {
    failure: Failure,
    since: Instant,
    tries: usize,
    again_at: Instant,
    /// Room was made at the last try.
    made_room_at: Option<Instant>,
}

/// The thread; it ends when every [`StoreQueue`] is dropped and the rest is written.
#[derive(Debug)]
pub struct StoreWriter(pub(super) thread::JoinHandle<bool>);

impl StoreWriter {
    /// Waits for the rest to be written. `false` if it was not, or the thread broke.
    pub fn join(self) -> bool {
        self.0.join().unwrap_or(false)
    }
}

/// Starts the writer thread. `max_flows`: flows the kernel can count; `sync`: how long what is no
/// violation may wait to be safe on disk.
pub fn spawn<L: Ledger>(
    ledger: L,
    metrics: Arc<Metrics>,
    max_flows: u32,
    sync: Duration,
) -> io::Result<(StoreQueue, StoreWriter)> {
    spawn_with(ledger, metrics, queue_entries(max_flows), sync, || Clock::host().now())
}

pub(super) fn spawn_with<L: Ledger>(
    ledger: L,
    metrics: Arc<Metrics>,
    capacity: usize,
    sync: Duration,
    now: fn() -> Moment,
) -> io::Result<(StoreQueue, StoreWriter)> {
    let (queue, receiver, shared) = store::queue(&metrics, capacity);
    metrics.store_writable.set(1);
    let depth = metrics.queue_depth.with_label_values(&[STAGE]);
    let writer = Writer::new(ledger, metrics, depth, shared, Due::new(sync), now);
    let thread =
        thread::Builder::new().name("store".into()).spawn(move || writer.run(&receiver))?;
    Ok((queue, StoreWriter(thread)))
}

struct Writer<L> {
    ledger: L,
    metrics: Arc<Metrics>,
    depth: IntGauge,
    shared: Arc<Shared>,
    now: fn() -> Moment,
    due: Due,
    /// Kernel times of the flows that began and can't be read yet, by the boot clock.
    began: Vec<u64>,
    /// Entries appended and not safe yet, as they are counted.
    unsynced: Lost,
    /// Entries taken out of the queue.
    taken: u64,
    sized_at: Option<Instant>,
    retained_at: Option<Instant>,
    is_ending: bool,
    trouble: Option<Trouble>,
    backlog: Backlog,
    /// Lost by reason, and not yet told to the ledger.
    lost: [Lost; Failure::ALL.len()],
    /// When the log was told of a failure.
    said: Option<(Failure, Instant)>,
}

impl<L: Ledger> Writer<L> {
    fn new(
        ledger: L,
        metrics: Arc<Metrics>,
        depth: IntGauge,
        shared: Arc<Shared>,
        due: Due,
        now: fn() -> Moment,
    ) -> Self {
        Self {
            ledger,
            metrics,
            depth,
            shared,
            now,
            due,
            began: Vec::new(),
            unsynced: Lost::default(),
            taken: 0,
            sized_at: None,
            retained_at: None,
            is_ending: false,
            trouble: None,
            backlog: Backlog::default(),
            lost: [Lost::default(); Failure::ALL.len()],
            said: None,
        }
    }

    /// Whether everything was written.
    fn run(mut self, queue: &Receiver<Handed>) -> bool {
        let mut took_at = None;
        while !self.is_ending {
            self.keep_house();
            match queue.recv_timeout(self.patience()) {
                Ok(first) => {
                    if took_at.is_some_and(|at: Instant| at.elapsed() < NEAR) {
                        thread::sleep(GATHERING);
                    }
                    self.take_what_is_there(first, queue);
                    took_at = Some(Instant::now());
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => self.is_ending = true,
            }
            self.write_what_is_due();
        }
        self.take_notes();
        if self.trouble.is_none() {
            self.note_losses();
            self.sync();
        }
        let mut in_vain = 0;
        while self.trouble.is_some() && in_vain < LAST_TRIES {
            thread::sleep(BACK_OFF[in_vain.min(BACK_OFF.len() - 1)]);
            let held = self.backlog.len();
            self.try_again();
            in_vain = if self.backlog.len() < held { 0 } else { in_vain + 1 };
        }
        if self.trouble.is_none() && self.note_losses() {
            self.sync();
        }
        let is_whole = self.trouble.is_none();
        if !is_whole {
            self.leave_unwritten();
        }
        self.meter_size();
        is_whole
    }

    /// What is due whether or not something comes.
    fn keep_house(&mut self) {
        if is_due(self.retained_at, RETENTION_INTERVAL) {
            self.attempt("retain", L::retain);
            self.retained_at = Some(Instant::now());
        }
        if is_due(self.sized_at, SIZE_INTERVAL) {
            self.meter_size();
        }
        if self.trouble.as_ref().is_some_and(|it| it.again_at <= Instant::now()) {
            self.try_again();
        }
        self.seal_if_asked();
    }

    /// In trouble whoever asks waits in vain, and is not kept longer than that.
    fn seal_if_asked(&mut self) {
        let shared = Arc::clone(&self.shared);
        let asked = {
            let seals = shared.seals.lock().unwrap_or_else(PoisonError::into_inner);
            if seals.done == seals.asked {
                return;
            }
            seals.asked
        };
        if self.trouble.is_none() {
            self.note_losses();
            if self.sync() {
                self.attempt("seal", L::seal);
                self.meter_size();
            }
        }
        shared.seals.lock().unwrap_or_else(PoisonError::into_inner).done = asked;
        shared.is_sealed.notify_all();
    }

    fn patience(&self) -> Duration {
        let at = self.trouble.as_ref().map_or_else(|| self.due.next(), |it| Some(it.again_at));
        let left = at.map(|at| at.saturating_duration_since(Instant::now()));
        left.unwrap_or(SIZE_INTERVAL).min(SIZE_INTERVAL)
    }

    /// Takes what waits. Somebody who asks has all before it written at once.
    fn take_what_is_there(&mut self, first: Handed, queue: &Receiver<Handed>) {
        let (mut next, mut count) = (Some(first), 0);
        while let Some(handed) = next.take() {
            match handed {
                Some(entry) => {
                    self.due.took(&entry, Instant::now());
                    self.take(entry);
                    self.depth.dec();
                    self.taken += 1;
                    count += 1;
                }
                None if self.trouble.is_none() && self.due.is_unwritten() => {
                    self.make_readable();
                }
                None => {}
            }
            if count < BATCH_ENTRIES {
                next = queue.try_recv().ok();
            } else if self.trouble.is_none() {
                self.make_readable();
            }
        }
    }

    fn write_what_is_due(&mut self) {
        self.take_notes();
        let now = Instant::now();
        if self.trouble.is_some() {
            return;
        }
        if self.due.is_sync_due(now) {
            self.note_losses();
            self.sync();
        } else if self.due.is_write_due(now) {
            self.make_readable();
        }
    }

    /// Those that somebody waits for: synced at once. A ledger that fails is not given them, so that who waits
    /// knows that they are not there.
    fn take_notes(&mut self) {
        let notes =
            std::mem::take(&mut *self.shared.notes.lock().unwrap_or_else(PoisonError::into_inner));
        if notes.is_empty() {
            return;
        }
        let is_taken = self.trouble.is_none();
        let mut waiting = Vec::with_capacity(notes.len());
        for Note { entry, done } in notes {
            if is_taken {
                self.take(entry);
            }
            waiting.push(done);
        }
        let is_safe = is_taken && self.trouble.is_none() && self.sync();
        for done in waiting {
            // Who waited may have gone.
            let _ = done.send(is_safe);
        }
    }

    fn take(&mut self, entry: Box<Entry>) {
        if self.trouble.is_some() {
            self.hold(entry);
        } else if let Err(entry) = self.append(entry) {
            self.backlog.put_back(entry);
        }
    }

    /// What has no room any more is counted by why the ledger fails.
    fn hold(&mut self, entry: Box<Entry>) {
        let lost = self.backlog.push(entry);
        let failure = self.trouble.as_ref().map_or(Failure::Other, |it| it.failure);
        self.lost[failure as usize] += lost;
        Counter::new(&self.metrics, failure.reason()).add(lost);
    }

    /// Gives it back if the ledger did not take it.
    fn append(&mut self, entry: Box<Entry>) -> Result<(), Box<Entry>> {
        if !self.write("append", |ledger| ledger.append(&entry)) {
            return Err(entry);
        }
        self.unsynced += Lost::of(&entry);
        if let Entry::Flow(record) = &*entry
            && record.egress.revision == 0
            && let Some(timeline) = record.timeline
        {
            self.began.push(timeline.boot_ns(record.egress.last_at));
        }
        Ok(())
    }

    /// The ledger itself tells what it did not get; whether there was such.
    fn note_losses(&mut self) -> bool {
        let full = self.shared.untold.take();
        let failed =
            Failure::ALL.map(|it| (it.reason(), std::mem::take(&mut self.lost[it as usize])));
        let all = [(QUEUE_FULL, full)].into_iter().chain(failed);
        let at = (self.now)().wall();
        let mut is_any = false;
        for entry in all.flat_map(|(reason, lost)| lost.notes(reason, at)) {
            self.take(Box::new(entry));
            is_any = true;
        }
        is_any
    }

    /// What was taken can be read, and outlives this process; it is not safe from a loss of power yet.
    fn make_readable(&mut self) {
        self.note_losses();
        if self.write("write", L::write) {
            self.due.wrote();
            self.tell_readable();
            self.meter_latency();
        }
    }

    fn tell_readable(&self) {
        if self.backlog.len() == 0 {
            *self.shared.readable.lock().unwrap_or_else(PoisonError::into_inner) = self.taken;
            self.shared.is_more_readable.notify_all();
        }
    }

    fn sync(&mut self) -> bool {
        if !self.write("sync", L::sync) {
            return false;
        }
        self.unsynced = Lost::default();
        self.due.synced();
        self.tell_readable();
        self.meter_latency();
        true
    }

    /// Until a query can show it. That it is safe from a loss of power, too, takes as long as the
    /// configuration lets it.
    fn meter_latency(&mut self) {
        let now = (self.now)().boot_ns;
        for at in self.began.drain(..) {
            let seconds = Duration::from_nanos(now.saturating_sub(at)).as_secs_f64();
            self.metrics.event_latency_seconds.observe(seconds);
        }
    }

    /// Writes what is pending and what is held, or fails again.
    fn try_again(&mut self) {
        if self.trouble.as_ref().is_some_and(|it| it.failure == Failure::Full) {
            self.make_room();
        }
        if !self.sync() {
            return;
        }
        // The time of the loss ends with the word of it: that comes before what was held.
        let Some(trouble) = self.trouble.take() else { return };
        self.note_losses();
        while self.trouble.is_none()
            && let Some(entry) = self.backlog.pop()
        {
            if let Err(entry) = self.append(entry) {
                self.backlog.put_back(entry);
            }
        }
        if self.trouble.is_some() || !self.sync() {
            return;
        }
        self.shared.is_failing.store(false, Ordering::Relaxed);
        let seconds = trouble.since.elapsed().as_secs();
        if seconds > 0 {
            tracing::info!("store: it writes again, after {seconds} s");
        }
    }

    fn make_room(&mut self) {
        let made_at = self.trouble.as_ref().and_then(|it| it.made_room_at);
        if !is_due(made_at, UNHELPFUL) {
            return;
        }
        let Some(gone) = self.attempt("make-room", L::make_room) else { return };
        if let Some(trouble) = self.trouble.as_mut().filter(|_| gone != Lost::default()) {
            trouble.made_room_at = Some(Instant::now());
        }
        Counter::new(&self.metrics, GAVE_WAY).add(gone);
    }

    /// Appends or syncs; a failure is told once, and begins or goes on with trouble.
    fn write(
        &mut self,
        operation: &'static str,
        run: impl FnOnce(&mut L) -> Result<(), L::Error>,
    ) -> bool {
        let Err(error) = run(&mut self.ledger) else {
            self.metrics.store_writable.set(1);
            return true;
        };
        self.metrics.store_errors_total.with_label_values(&[operation]).inc();
        let (failure, now) = (L::failure(&error), Instant::now());
        self.shared.is_failing.store(true, Ordering::Relaxed);
        if self.said.is_none_or(|(said, at)| said != failure || at.elapsed() > SAY_AGAIN) {
            tracing::error!("store: {operation} failed, and is tried again: {error}");
            self.said = Some((failure, now));
        }
        let mut trouble = self.trouble.take().unwrap_or(Trouble {
            failure,
            since: now,
            tries: 0,
            again_at: now,
            made_room_at: None,
        });
        // At once the first time: room may be made.
        if trouble.tries > 0 {
            self.metrics.store_writable.set(0);
            trouble.again_at = now + BACK_OFF[(trouble.tries - 1).min(BACK_OFF.len() - 1)];
        }
        trouble.failure = failure;
        trouble.tries += 1;
        self.trouble = Some(trouble);
        false
    }

    fn attempt<T>(
        &mut self,
        operation: &'static str,
        run: impl FnOnce(&mut L) -> Result<T, L::Error>,
    ) -> Option<T> {
        match run(&mut self.ledger) {
            Ok(value) => Some(value),
            Err(error) => {
                self.metrics.store_errors_total.with_label_values(&[operation]).inc();
                tracing::error!("store: {operation} failed, trying again: {error}");
                None
            }
        }
    }

    /// What a ledger that fails to the end leaves behind.
    fn leave_unwritten(&mut self) {
        let mut lost = self.backlog.drain();
        lost += self.unsynced;
        Counter::new(&self.metrics, UNWRITTEN).add(lost);
        let Lost { events, notices, .. } = lost;
        tracing::error!("store: {events} events and {notices} notices could not be written");
    }

    fn meter_size(&mut self) {
        self.sized_at = Some(Instant::now());
        if let Some(size) = self.attempt("size", |ledger| ledger.size()) {
            size.meter(&self.metrics);
        }
    }
}

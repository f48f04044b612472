//! What queries are shown beside the ledger: what the pipeline counted and did not store yet. Made when
//! somebody asks, of one moment, and gone with the last answer that needs it. Whoever asks wakes the
//! pipeline and gives it nothing else.

use std::{
    fmt,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::store::Progress;
use crate::{
    event::{Record, Rollup},
    metrics::Metrics,
};

/// Flows of one snapshot at most, some 20 MB: those beyond are shown as they were stored last, which is
/// a minute ago at most.
pub const FLOWS_MAX: usize = 32_768;
/// How long an answer waits for the pipeline, and then for the store.
const PATIENCE: Duration = Duration::from_secs(2);

/// Nothing is said of what was watched until it is known what was lost.
const TOLD_PATIENCE: Duration = Duration::from_secs(10);

/// How long a disk may take for two syncs before nobody waits for it any more.
const SEAL_PATIENCE: Duration = Duration::from_secs(20);

/// `reason` of what an answer lacks.
pub const BUSY: &str = "pipeline-busy";
pub const UNWRITTEN: &str = "store-behind";
pub const ROOM: &str = "room";
pub const REASONS: [&str; 3] = [BUSY, UNWRITTEN, ROOM];

/// What was counted and not stored at one moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Each newer than any state of it in the ledger.
    pub flows: Arc<[Record]>,
    /// Of which the ledger holds nothing.
    pub rollups: Vec<Rollup>,
    /// Flows for which there was no room.
    pub left_out: u64,
    /// Entries that the store was given before.
    pub handed: u64,
    /// Times that roll-ups were given to it before.
    pub flushes: u64,
}

#[derive(Debug, Default)]
struct State {
    /// Questions so far, and up to which they are answered.
    asked: u64,
    answered: u64,
    waiting: usize,
    latest: Option<Arc<Snapshot>>,
    /// Nobody will answer.
    is_over: bool,
}

/// Between queries and the pipeline.
pub struct View {
    state: Mutex<State>,
    changed: Condvar,
    wake: Box<dyn Fn() + Send + Sync>,
    stored: Progress,
    flushes: Arc<AtomicU64>,
    metrics: Arc<Metrics>,
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").finish_non_exhaustive()
    }
}

impl View {
    /// `wake` ends the pipeline's waiting for samples.
    pub fn new(
        wake: Box<dyn Fn() + Send + Sync>,
        outputs: &super::Outputs,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (stored, flushes) = outputs.progress();
        let (state, changed) = (Mutex::default(), Condvar::new());
        Self { state, changed, wake, stored, flushes, metrics }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lack(&self, reason: &str, count: u64) {
        self.metrics.answers_behind_total.with_label_values(&[reason]).inc_by(count);
    }

    /// What is counted now; all that was handed to the store before is in the ledger. Waits for both,
    /// a while; nothing once the pipeline has ended, since then the ledger holds everything.
    pub fn ask(&self) -> Arc<Snapshot> {
        let until = Instant::now() + PATIENCE;
        let Some(snapshot) = self.wait(until) else { return Arc::default() };
        self.lack(ROOM, snapshot.left_out);
        if !self.stored.wait(snapshot.handed, until) {
            self.lack(UNWRITTEN, 1);
        }
        snapshot
    }

    /// Has all written that the pipeline has to tell by now, losses above all; whether it is.
    pub fn tell(&self) -> bool {
        let until = Instant::now() + TOLD_PATIENCE;
        match self.wait(until) {
            Some(snapshot) => self.stored.wait(snapshot.handed, until),
            None => self.lock().is_over,
        }
    }

    /// Has all signed that was handed to the store by now; whether it was, or was tried.
    pub fn seal(&self) -> bool {
        let asked = self.stored.ask_to_seal();
        // What is asked of the pipeline wakes the writer, too.
        self.ask();
        self.stored.wait_sealed(asked, Instant::now() + SEAL_PATIENCE)
    }

    fn wait(&self, until: Instant) -> Option<Arc<Snapshot>> {
        let mut state = self.lock();
        if state.is_over {
            return None;
        }
        state.asked += 1;
        state.waiting += 1;
        let own = state.asked;
        drop(state);
        (self.wake)();
        let unanswered = |state: &mut State| state.answered < own && !state.is_over;
        let left = until.saturating_duration_since(Instant::now());
        let waited = self.changed.wait_timeout_while(self.lock(), left, unanswered);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.waiting -= 1;
        let is_answered = state.answered >= own;
        let snapshot = state.latest.clone().filter(|_| is_answered);
        if state.waiting == 0 {
            state.latest = None;
        }
        if !is_answered && !state.is_over {
            self.lack(BUSY, 1);
        }
        snapshot
    }

    /// Whether roll-ups were handed to the store since: then the ledger and the snapshot both may have
    /// them.
    pub fn has_flushed_since(&self, snapshot: &Snapshot) -> bool {
        self.flushes.load(Ordering::SeqCst) != snapshot.flushes
    }

    /// For the pipeline: up to which question somebody waits.
    pub fn asked(&self) -> Option<u64> {
        let state = self.lock();
        (state.waiting > 0 && state.answered < state.asked).then_some(state.asked)
    }

    /// For the pipeline: answers up to this question.
    pub fn answer(&self, asked: u64, snapshot: Snapshot) {
        let mut state = self.lock();
        state.answered = asked;
        state.latest = (state.waiting > 0).then(|| Arc::new(snapshot));
        self.changed.notify_all();
    }

    /// For the pipeline: it answers no more.
    pub fn close(&self) {
        self.lock().is_over = true;
        self.changed.notify_all();
    }
}

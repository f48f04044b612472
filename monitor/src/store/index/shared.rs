//! What the thread that follows the ledger and the queries share, and its locks. It opens no database.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{period::Period, sums::SumsBuilder};
use crate::store::{error::StoreCounters, ledger::Progress};

/// When a group is written, and when databases are closed.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A group is written when the ledger is this many blocks ahead,
    pub group_blocks: u64,
    /// or this many entries.
    pub group_entries: u64,
    /// A database nobody used for this long is closed.
    pub idle: Duration,
    /// Most databases that are open at once (one more while a closed one is still read from).
    pub open: usize,
    /// Sums may have one in so many of the rows that they have where there is memory enough.
    pub one_in: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            group_blocks: 256,
            group_entries: 16_384,
            idle: Duration::from_secs(20),
            open: 3,
            one_in: 1,
        }
    }
}

/// What the following thread and the queries share.
#[derive(Debug)]
pub(super) struct Shared {
    pub root: PathBuf,
    pub ledger: PathBuf,
    pub limits: Limits,
    pub counters: Arc<StoreCounters>,
    /// Held by whoever opens, closes, seals or removes databases, which takes its time. Taken before
    /// `state`, and never by the writer of the ledger.
    pub files: Mutex<()>,
    /// Held for a moment: nothing is read or written meanwhile.
    pub state: Mutex<State>,
    /// Of the segment that is being indexed. Held while a block is added, and with no other lock.
    pub building: Mutex<SumsBuilder>,
    /// Told to the thread: there is something to do.
    pub work: Condvar,
    /// Told by the thread: there is nothing left to do.
    pub rest: Condvar,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub progress: Progress,
    /// The progress when the thread looked last.
    pub seen: Progress,
    pub stop: bool,
    pub idle: bool,
    /// Segments went.
    pub is_surplus: bool,
    /// The disk is full: nothing is written.
    pub has_no_room: bool,
    /// All is to be removed.
    pub is_yielding: bool,
    pub yielded_at: Option<Instant>,
    pub periods: BTreeMap<u32, Period>,
}

impl Shared {
    pub(super) fn new(
        root: &Path,
        ledger: &Path,
        limits: Limits,
        progress: Progress,
        counters: Arc<StoreCounters>,
    ) -> Self {
        Self {
            root: root.to_owned(),
            ledger: ledger.to_owned(),
            limits,
            counters,
            files: Mutex::new(()),
            state: Mutex::new(State { progress, ..State::default() }),
            building: Mutex::default(),
            work: Condvar::new(),
            rest: Condvar::new(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // State is changed in single steps: a panic between them leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A panic while it was added to is the thread's end: it is not gone on with.
    pub(super) fn building(&self) -> MutexGuard<'_, SumsBuilder> {
        self.building.lock().unwrap_or_else(|broken| {
            let mut building = broken.into_inner();
            *building = SumsBuilder::default();
            building
        })
    }

    pub(super) fn lock_files(&self) -> MutexGuard<'_, ()> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn ask_thread(&self, ask: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        ask(&mut state);
        state.idle = false;
        self.work.notify_one();
    }
}

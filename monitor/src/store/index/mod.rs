//! The index: finds blocks of the ledger by what is in them. It can be thrown away: it holds nothing
//! that the ledger does not, and whatever is wrong with it, the answer is "not covered" and the
//! query reads the ledger. Only `database` names the index crate.

mod database;
mod databases;
mod finder;
mod follow;
mod group;
mod period;
mod seal;
mod shared;
mod sums;
mod terms;

use std::{
    collections::BTreeSet,
    path::Path,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::{
    error::{StoreCounters, StoreError},
    files::{bytes_below, make_directory},
    ledger::Progress,
};
pub(super) use finder::Finder;
pub use finder::IndexStats;
pub(super) use group::BlockEntry;
use period::period_of;
pub use shared::Limits;
use shared::{Shared, State};
pub(super) use sums::{
    COLUMNS, DEVICE, Dictionary, HOUR, HOUR_NS, Key, Needs, OPERATOR, PORT, RolledBy, RolledUp,
    Sum, Sums, TO, WHAT, WHO, blank, learning,
};
pub(super) use terms::Sought;

/// How long all the index is waited for to be removed, and how long it stays away at least.
const YIELD_PATIENCE: Duration = Duration::from_secs(2);
const YIELD_REST: Duration = Duration::from_mins(10);

/// Handle of the index; the thread that follows the ledger ends with it.
#[derive(Debug)]
pub(super) struct Index {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Index {
    /// Starts following the ledger in a thread of its own.
    pub(super) fn start(
        root: &Path,
        ledger: &Path,
        limits: Limits,
        progress: Progress,
        counters: Arc<StoreCounters>,
    ) -> Result<Self, StoreError> {
        make_directory(root)?;
        let shared = Arc::new(Shared::new(root, ledger, limits, progress, counters));
        let followed = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("store-index".into())
            .spawn(move || follow::run(&followed))
            .map_err(StoreError::io("start a thread for", root))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    pub(super) fn finder(&self) -> Finder {
        Finder::of(&self.shared)
    }

    /// The ledger is durable up to here.
    pub(super) fn publish(&self, progress: Progress) {
        let mut state = self.shared.lock();
        state.progress = progress;
        if follow::is_behind(&state, self.shared.limits) {
            state.idle = false;
            self.shared.work.notify_one();
        }
    }

    /// Segments were deleted: what knows of none that is left is to go.
    pub(super) fn segments_went(&self) {
        self.shared.ask_thread(|state| state.is_surplus = true);
    }

    /// Whether the disk has room for more of it.
    pub(super) fn there_is_room(&self, is_room: bool) {
        let mut state = self.shared.lock();
        let is_resting = state.yielded_at.is_some_and(|at| at.elapsed() < YIELD_REST);
        state.has_no_room = !is_room || is_resting;
        self.shared.work.notify_one();
    }

    /// Removes all of it, where the disk has no room for the ledger; `false` if nothing was removed
    /// within a while.
    pub(super) fn yield_room(&self) -> bool {
        let before = bytes_below(&self.shared.root);
        if before == 0 {
            return false;
        }
        self.shared.ask_thread(|state| {
            (state.is_yielding, state.has_no_room) = (true, true);
            state.yielded_at = Some(Instant::now());
        });
        let state = self.shared.lock();
        let left = |state: &mut State| state.is_yielding && !state.stop;
        drop(self.shared.rest.wait_timeout_while(state, YIELD_PATIENCE, left));
        bytes_below(&self.shared.root) < before
    }

    /// Waits until everything due is indexed; false if that took longer than `timeout`.
    pub(super) fn wait(&self, timeout: Duration) -> bool {
        let state = self.shared.lock();
        let waited = self.shared.rest.wait_timeout_while(state, timeout, |state| !state.idle);
        waited.is_ok_and(|(_, result)| !result.timed_out())
    }

    /// As if a database took its time to open or to close.
    #[cfg(test)]
    pub(super) fn busy(&self) -> std::sync::MutexGuard<'_, ()> {
        self.shared.lock_files()
    }

    fn stop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.work.notify_one();
        if let Some(thread) = self.thread.take() {
            // It catches the index crate's panics; one of its own has been reported by the hook.
            let _ = thread.join();
        }
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Bytes of what knows of one of these segments.
pub(super) fn bytes_of(root: &Path, segments: &[u32]) -> u64 {
    let periods: BTreeSet<u32> = segments.iter().map(|segment| period_of(*segment)).collect();
    let of = |period: &u32| {
        let database = period::path_in(root, *period);
        let seal = std::fs::metadata(seal::path(&database)).map_or(0, |it| it.len());
        bytes_below(&database) + seal
    };
    periods.iter().map(of).sum()
}

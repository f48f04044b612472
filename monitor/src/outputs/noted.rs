//! Notices that somebody waits for until they are safe on the disk. They go to the store's writer beside its
//! queue; whoever waits never keeps the writer from ending.

use std::{
    sync::{Arc, PoisonError, mpsc},
    time::Duration,
};

use super::store::{Note, Shared, StoreQueue, Waker};
use crate::event::Entry;

/// A disk that takes longer is stuck.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    #[error("the daemon is ending")]
    Ending,
    #[error("the store takes nothing now, see `geofenced status`; nothing is noted for certain")]
    Failing,
    #[error("the disk does not answer; whether it was noted, `geofenced mark list` shows")]
    Stuck,
}

/// Hands notices to the writer.
#[derive(Clone, Debug)]
pub struct Noter {
    shared: Arc<Shared>,
    queue: Waker,
}

impl Noter {
    pub(super) fn of(queue: &StoreQueue) -> Self {
        let (shared, queue) = queue.waker();
        Self { shared, queue }
    }

    /// Returns once it is safe on the disk, or why it is not known to be. Blocks.
    pub fn note(&self, entry: Entry) -> Result<(), NoteError> {
        let (done, is_done) = mpsc::channel();
        {
            let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(queue) = &*queue else { return Err(NoteError::Ending) };
            let mut notes = self.shared.notes.lock().unwrap_or_else(PoisonError::into_inner);
            notes.push(Note { entry: Box::new(entry), done });
            drop(notes);
            // A full queue keeps the writer writing.
            let _ = queue.try_send(None);
        }
        match is_done.recv_timeout(PATIENCE) {
            Ok(true) => Ok(()),
            Ok(false) => Err(NoteError::Failing),
            Err(mpsc::RecvTimeoutError::Timeout) => Err(NoteError::Stuck),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(NoteError::Ending),
        }
    }
}

//! Notices that somebody waits for until they are safe on the disk. They go to the store's writer beside its
//! queue; whoever waits never keeps the writer from ending.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Sender, SyncSender},
    },
    time::Duration,
};

use super::store::{Handed, Shared};
use crate::event::Entry;

/// A disk that takes longer is stuck.
const PATIENCE: Duration = Duration::from_secs(30);

/// An entry, and whom to tell whether it is safe.
#[derive(Debug)]
pub(super) struct Note {
    pub(super) entry: Box<Entry>,
    pub(super) done: Sender<bool>,
}

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
    /// Wakes the writer. `None`: it ends.
    queue: Arc<Mutex<Option<SyncSender<Handed>>>>,
}

impl Noter {
    pub(super) fn new(shared: &Arc<Shared>, queue: SyncSender<Handed>) -> Self {
        Self { shared: Arc::clone(shared), queue: Arc::new(Mutex::new(Some(queue))) }
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

    /// The writer ends with its queue.
    pub(super) fn close(&self) {
        *self.queue.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

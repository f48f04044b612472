//! Puts marks into the ledger, one after the other, and knows those that are there.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::noted::{NoteError, Noter};
use crate::{
    event::{Entry, Mark, Notice},
    marks::{Intervals, MarkError},
    store::{Reader, StoreError},
};

#[derive(Debug, thiserror::Error)]
pub enum MarkingError {
    /// It is for who asks to correct.
    #[error("{0}")]
    Wrong(#[from] MarkError),
    #[error("{0}")]
    NotNoted(#[from] NoteError),
    #[error("{0}")]
    Unreadable(#[from] StoreError),
}

/// The marks of a ledger that is written.
#[derive(Debug)]
pub struct Marking {
    reader: Reader,
    noter: Noter,
    known: RwLock<Arc<Intervals>>,
    /// Held by who puts one there: two must not start the same.
    turn: Mutex<()>,
}

impl Marking {
    /// With what is in the ledger already.
    pub fn new(reader: Reader, noter: Noter) -> Self {
        let marking = Self { reader, noter, known: RwLock::default(), turn: Mutex::new(()) };
        if let Err(error) = marking.read() {
            tracing::warn!("marks can't be read: {error}");
        }
        marking
    }

    fn read(&self) -> Result<Arc<Intervals>, StoreError> {
        let marks = self.reader.marks()?;
        let read = Arc::new(Intervals::of(marks.iter().map(Arc::as_ref)));
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&read);
        Ok(read)
    }

    /// As they were when the last one was put there.
    pub fn known(&self) -> Arc<Intervals> {
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns once the mark is safe on the disk. Blocks.
    pub fn put(&self, mark: Mark) -> Result<(), MarkingError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        // What failed before may have been written since.
        self.read()?.check(&mark)?;
        let at = mark.moment.wall();
        self.noter.note(Entry::Notice { at, notice: Notice::Mark(Arc::new(mark)) })?;
        self.read()?;
        Ok(())
    }
}

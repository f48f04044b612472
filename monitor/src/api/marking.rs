//! Marks on the socket: which there are, and one more. What a mark may say is `ecs`' to know, whether it fits to
//! what runs the store's.

use std::sync::Arc;

use crate::{
    clock::Clock,
    ecs::MarkFields,
    event::Mark,
    marks::Intervals,
    outputs::marking::{Marking, MarkingError},
};

/// Bytes of what is asked for.
pub(super) const REQUEST_MAX: usize = 256 * 1024;

/// Where marks are put.
pub trait Marks: Send + Sync {
    /// As they were when the last one was put.
    fn known(&self) -> Arc<Intervals>;
    /// Returns once it is safe on the disk. Blocks.
    fn put(&self, mark: Mark) -> Result<(), MarkRefusal>;
}

/// Why a mark was not put, in one line.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{problem}")]
pub struct MarkRefusal {
    pub problem: String,
    /// By who asks: what it says fits not to what runs.
    pub is_wrong: bool,
}

impl Marks for Marking {
    fn known(&self) -> Arc<Intervals> {
        Self::known(self)
    }
    fn put(&self, mark: Mark) -> Result<(), MarkRefusal> {
        Self::put(self, mark).map_err(|error| MarkRefusal {
            is_wrong: matches!(error, MarkingError::Wrong(_)),
            problem: error.to_string(),
        })
    }
}

/// What a body asks for, as of now.
pub(super) fn asked(body: &[u8]) -> Result<Mark, String> {
    let fields: MarkFields<'_> = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    fields.at(Clock::host().now())
}

//! The live stream: a bounded ring that each listener reads at its own pace. The slow one loses, is
//! told so and counted by the API; the pipeline never waits.

use std::sync::Arc;

use tokio::sync::broadcast;

use super::{Delivery, Output};
use crate::event::Record;

/// Records that the slowest listener may lag behind.
pub const RING_RECORDS: usize = 4096;
/// `stage` of what listeners lose.
pub const STAGE: &str = "live";

pub type Sender = broadcast::Sender<Arc<Record>>;

pub fn channel() -> Sender {
    broadcast::Sender::new(RING_RECORDS)
}

#[derive(Debug)]
pub(super) struct Stream(pub(super) Sender);

impl Output for Stream {
    /// To whoever listens; nobody is fine, and then nothing is kept.
    fn deliver(&mut self, told: &Delivery) {
        if self.0.receiver_count() > 0 {
            let _ = self.0.send(Arc::clone(&told.record));
        }
    }
}

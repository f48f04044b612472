//! The stored form of a timeline: by which clock a flow's start is told. It changes when somebody sets
//! the clock, so a block tells each once, with the first record that has it; later ones refer to that.

use serde::{Deserialize, Serialize};

use super::{
    again::{Learnt, Told},
    error::FormError,
};
use crate::event::{BootId, Timeline};

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum StoredTimeline {
    /// The next one of the block, counted from 0.
    Told { boot: [u8; 16], wall_at_boot_ns: i64, is_trusted: bool },
    /// One that was told.
    Again(u32),
}

pub(super) fn timeline_to_stored(timeline: Timeline, told: &mut Told<Timeline>) -> StoredTimeline {
    if let Some(at) = told.again(timeline) {
        return StoredTimeline::Again(at);
    }
    let Timeline { boot, wall_at_boot_ns, is_trusted } = timeline;
    StoredTimeline::Told { boot: boot.0, wall_at_boot_ns, is_trusted }
}

/// To be asked for every entry of a block, in order.
pub(super) fn timeline_from_stored(
    stored: &StoredTimeline,
    learnt: &mut Learnt<Timeline>,
) -> Result<Timeline, FormError> {
    match *stored {
        StoredTimeline::Again(at) => learnt.get(at),
        StoredTimeline::Told { boot, wall_at_boot_ns, is_trusted } => {
            Ok(learnt.learn(Timeline { boot: BootId(boot), wall_at_boot_ns, is_trusted }))
        }
    }
}

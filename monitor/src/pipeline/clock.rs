//! What the pipeline makes of the clock: records are told by it, and when it is set or its being
//! trusted changes the ledger, the log and the metrics are told. Reads no clock itself.

use super::Pipeline;
use crate::{
    event::{Entry, Moment, Notice, Timestamp},
    when,
};

impl Pipeline {
    /// Before the sweep that goes by it, and once before the first sample.
    pub fn look_at_clock(&mut self, now: &Moment) {
        let is_trusted = now.timeline.is_trusted;
        let mut notices = self.steps.look(now);
        if self.timeline.is_none() {
            notices.push(Notice::ClockRead(*now));
        }
        if self.timeline != Some(now.timeline) {
            self.timeline = Some(now.timeline);
        }
        self.metrics.clock_trusted.set(i64::from(is_trusted));
        for notice in notices {
            if let Notice::ClockStepped { from, to } = notice {
                self.metrics.clock_steps_total.inc();
                tracing::warn!(
                    "the clock was set from {} to {}",
                    when::rfc3339(from),
                    when::rfc3339(to)
                );
            } else {
                let (trust, boot) = (if is_trusted { "" } else { "not " }, now.timeline.boot);
                tracing::info!("the clock is {trust}synchronised; boot {boot}");
            }
            self.outputs.note(Entry::Notice { at: now.wall(), notice });
        }
    }

    /// The last time that the wall clock was set: from and to.
    pub fn last_step(&self) -> Option<(Timestamp, Timestamp)> {
        self.steps.last()
    }
}

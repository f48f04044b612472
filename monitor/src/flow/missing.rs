//! Flows that the kernel counts though no sample told of them: whether the sample is on its way, or was
//! lost. Decides by how far the samples were taken in, never by time alone.

use monitor_ebpf::sample::FlowKey;
use rustc_hash::FxHashMap;

use super::{BootNs, SECOND};
use crate::probe::{Mark, Progress};

/// How long a flow must have been counted before its sample can be asked for: the probes count first and
/// submit then, which takes microseconds.
const SUBMITTED_AFTER: BootNs = 2 * SECOND;

/// Flows that are looked into at once. Of more, most are on their way; the rest is looked into later.
const SUSPECTS_MAX: usize = 1 << 15;

#[derive(Debug, Default)]
pub(super) struct Missing {
    /// By the sweep that is on, and by the one before. One that was not seen again is forgotten.
    suspects: FxHashMap<FlowKey, Suspect>,
    before: FxHashMap<FlowKey, Suspect>,
    progress: Progress,
}

#[derive(Clone, Copy, Debug)]
struct Suspect {
    since: BootNs,
    /// Its sample lies below, if there is one.
    below: Option<Mark>,
}

impl Missing {
    /// A sweep begins. `progress`: of before it reads any counters.
    pub(super) fn begin(&mut self, progress: Progress) {
        self.before = std::mem::take(&mut self.suspects);
        self.progress = progress;
    }

    /// Of a flow that is counted and was not told of. `true`: all that was submitted has been taken in,
    /// and its sample was not among it.
    pub(super) fn is_lost(&mut self, key: &FlowKey, now: BootNs) -> bool {
        let known = self.suspects.get(key).or_else(|| self.before.get(key)).copied();
        let mut suspect = known.unwrap_or(Suspect { since: now, below: None });
        if now.saturating_sub(suspect.since) >= SUBMITTED_AFTER {
            let below = *suspect.below.get_or_insert(self.progress.submitted);
            if self.progress.taken_in.has_reached(below) {
                self.suspects.remove(key);
                self.before.remove(key);
                return true;
            }
        }
        if self.suspects.len() < SUSPECTS_MAX {
            self.suspects.insert(*key, suspect);
        }
        false
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.suspects.is_empty() && self.before.is_empty()
    }
}

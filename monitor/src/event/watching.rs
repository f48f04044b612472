//! What watched: the program, its probes, and what it went by.

use std::sync::Arc;

use super::{DatabaseId, Moment};

/// A probe, and why it is not attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watcher {
    pub name: Arc<str>,
    pub missing: Option<Arc<str>>,
}

/// What watches from here on, whole: whoever reads it needs no notice before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watching {
    pub version: Arc<str>,
    /// Release of the kernel.
    pub kernel: Arc<str>,
    pub probes: Vec<Watcher>,
    /// Where what leaves is seen, by name and in order.
    pub interfaces: Vec<Arc<str>>,
    pub clock: Moment,
    /// By how much the wall clock may be wrong at most, as the kernel says; `None`: it is not synchronised.
    pub tolerance_ns: Option<u64>,
    pub policy_sha256: [u8; 32],
    pub databases: Vec<DatabaseId>,
}

impl Watching {
    /// Whether it is the same, whatever time it is.
    pub fn is_as(&self, other: &Self) -> bool {
        let Self { clock, tolerance_ns, .. } = other;
        let is_trusted = self.clock.timeline.is_trusted == clock.timeline.is_trusted;
        let of_now = Self { clock: *clock, tolerance_ns: *tolerance_ns, ..self.clone() };
        is_trusted && self.clock.timeline.boot == clock.timeline.boot && of_now == *other
    }
}

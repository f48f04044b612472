//! Tells the ledger who watches and by what: when it begins, when it changes, and again from time to time.

use std::sync::Arc;

use super::Pipeline;
use crate::{
    clock,
    event::{Moment, Notice, Watcher, Watching},
};

/// What does not change while the daemon runs.
#[derive(Clone, Debug)]
pub struct Watchers {
    pub version: Arc<str>,
    pub kernel: Arc<str>,
    pub probes: Vec<Watcher>,
}

impl Pipeline {
    /// `None`: nothing is told.
    pub fn watch_as(&mut self, watchers: Option<Watchers>) {
        self.watchers = watchers;
    }

    /// `again`: also where nothing changed.
    pub fn note_watching(&mut self, now: &Moment, again: bool) {
        let Some(watching) = self.watching(now) else { return };
        if again || !self.watching_told.as_ref().is_some_and(|told| told.is_as(&watching)) {
            let watching = Arc::new(watching);
            self.watching_told = Some(Arc::clone(&watching));
            self.note(now.wall(), Notice::Watching(watching));
        }
    }

    fn watching(&self, now: &Moment) -> Option<Watching> {
        let Watchers { version, kernel, probes } = self.watchers.clone()?;
        let names = self.seen.keys().filter_map(|index| self.interfaces.get(index).cloned());
        let mut interfaces: Vec<Arc<str>> = names.collect();
        interfaces.sort();
        let provenance = self.rules.provenance();
        Some(Watching {
            version,
            kernel,
            probes,
            interfaces,
            clock: *now,
            tolerance_ns: clock::tolerance_ns().filter(|_| now.timeline.is_trusted),
            policy_sha256: provenance.policy_sha256,
            databases: provenance.databases.clone(),
        })
    }
}

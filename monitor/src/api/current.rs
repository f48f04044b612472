//! The ledger and, beside it, what the pipeline has counted since: what a running daemon answers from.

use std::sync::Arc;

use super::{Each, EventSource, IsOver, PoliciesInForce, PolicyText, SourceError};
use crate::{
    coverage::{Alive, Coverage},
    event::{Lookup, Record, Rollup, Timestamp},
    filter::{Filter, Query},
    outputs::view::{Snapshot, View},
    store::Reader,
    summary::Totals,
};

#[derive(Clone, Debug)]
pub struct Current {
    reader: Reader,
    view: Arc<View>,
    /// Of one moment from here on.
    snapshot: Option<Arc<Snapshot>>,
}

impl Current {
    pub fn new(reader: Reader, view: Arc<View>) -> Self {
        Self { reader, view, snapshot: None }
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.clone().unwrap_or_else(|| self.view.ask())
    }
}

impl EventSource for Current {
    fn until(self: Arc<Self>, is_over: IsOver) -> Arc<dyn EventSource> {
        Arc::new(Self { reader: self.reader.until(is_over), ..Self::clone(&self) })
    }
    fn of_now(&self) -> Option<Arc<dyn EventSource>> {
        Some(Arc::new(Self { snapshot: Some(self.snapshot()), ..self.clone() }))
    }
    fn is_still_so(&self) -> bool {
        self.snapshot.as_ref().is_none_or(|it| !self.view.has_flushed_since(it))
    }
    fn query(&self, query: &Query, each: Each<'_, Record>) -> Result<(), SourceError> {
        let flows = Arc::clone(&self.snapshot().flows);
        EventSource::query(&self.reader.beside(flows), query, each)
    }
    fn totals(&self, query: &Query, totals: &mut dyn Totals) -> Result<(), SourceError> {
        let flows = Arc::clone(&self.snapshot().flows);
        EventSource::totals(&self.reader.beside(flows), query, totals)
    }
    fn rollups(&self, filter: &Filter, each: Each<'_, Rollup>) -> Result<(), SourceError> {
        let snapshot = self.snapshot();
        let mut has_enough = false;
        EventSource::rollups(&self.reader, filter, &mut |rollup| {
            let told = each(rollup);
            has_enough = told.is_break();
            told
        })?;
        // Else the ledger may have had them already: rather late than twice.
        if !has_enough && !self.view.has_flushed_since(&snapshot) {
            let mut matching = snapshot.rollups.iter().filter(|it| filter.matches_rollup(it));
            let _ = matching.try_for_each(|it| each(it.clone()));
        }
        Ok(())
    }
    fn lookups(&self, query: &Query, each: Each<'_, Lookup>) -> Result<(), SourceError> {
        EventSource::lookups(&self.reader, query, each)
    }
    fn policy(&self, begins: &str) -> Result<Option<PolicyText>, SourceError> {
        EventSource::policy(&self.reader, begins)
    }
    fn policies(
        &self,
        window: (Option<Timestamp>, Timestamp),
    ) -> Result<PoliciesInForce, SourceError> {
        EventSource::policies(&self.reader, window)
    }
    fn coverage(
        &self,
        window: (Option<Timestamp>, Timestamp),
        alive: Option<Alive>,
    ) -> Result<Coverage, SourceError> {
        EventSource::coverage(&self.reader, window, alive)
    }
}

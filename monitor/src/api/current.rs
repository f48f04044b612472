//! The ledger and, beside it, what the pipeline has counted since: what a running daemon answers from.

use std::sync::Arc;

use super::{Each, EventSource, IsOver, PoliciesInForce, PolicyText, SourceError};
use crate::{
    coverage::{Alive, Coverage, Watched},
    event::{FlowIds, Lookup, Mark, Record, Rollup, Timestamp},
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

    /// Of one moment. What the index adds up is to be no newer than the snapshot.
    fn of_a_moment(&self) -> (Reader, Arc<Snapshot>) {
        match &self.snapshot {
            Some(snapshot) => (self.reader.clone(), Arc::clone(snapshot)),
            None => (self.reader.as_of_now(), self.view.ask()),
        }
    }
}

impl EventSource for Current {
    fn until(self: Arc<Self>, is_over: IsOver) -> Arc<dyn EventSource> {
        Arc::new(Self { reader: self.reader.until(is_over), ..Self::clone(&self) })
    }
    fn of_now(&self) -> Option<Arc<dyn EventSource>> {
        let (reader, snapshot) = self.of_a_moment();
        Some(Arc::new(Self { reader, snapshot: Some(snapshot), ..self.clone() }))
    }
    fn is_still_so(&self) -> bool {
        self.snapshot.as_ref().is_none_or(|it| !self.view.has_flushed_since(it))
    }
    fn one_in(&self) -> usize {
        self.reader.one_in()
    }
    fn query(&self, query: &Query, each: Each<'_, Record>) -> Result<(), SourceError> {
        let flows = Arc::clone(&self.snapshot().flows);
        EventSource::query(&self.reader.beside(flows), query, each)
    }
    fn states(&self, ids: FlowIds, each: Each<'_, Record>) -> Result<(), SourceError> {
        let flows = Arc::clone(&self.snapshot().flows);
        EventSource::states(&self.reader.beside(flows), ids, each)
    }
    fn totals(&self, query: &Query, totals: &mut dyn Totals) -> Result<(), SourceError> {
        let (reader, snapshot) = self.of_a_moment();
        EventSource::totals(&reader.beside(Arc::clone(&snapshot.flows)), query, totals)
    }
    fn rollup_totals(&self, filter: &Filter, totals: &mut dyn Totals) -> Result<(), SourceError> {
        let snapshot = self.snapshot();
        EventSource::rollup_totals(&self.reader, filter, totals)?;
        // As below.
        if !self.view.has_flushed_since(&snapshot) {
            let matching = snapshot.rollups.iter().filter(|it| filter.matches_rollup(it));
            matching.for_each(|it| totals.rollup(it));
        }
        Ok(())
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
    fn marks(&self) -> Result<Vec<Arc<Mark>>, SourceError> {
        EventSource::marks(&self.reader)
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
    fn watching(
        &self,
        window: (Option<Timestamp>, Timestamp),
    ) -> Result<Vec<Watched>, SourceError> {
        EventSource::watching(&self.reader, window)
    }
    fn coverage(
        &self,
        window: (Option<Timestamp>, Timestamp),
        alive: Option<Alive>,
    ) -> Result<Coverage, SourceError> {
        let alive = alive.map(|it| Alive { is_told: self.view.tell(), ..it });
        EventSource::coverage(&self.reader, window, alive)
    }
}

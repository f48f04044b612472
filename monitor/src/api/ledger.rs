//! The store's reader as a source of the API and of the command line.

use std::sync::Arc;

use super::{Each, EventSource, IsOver, PoliciesInForce, PolicyInForce, PolicyText, SourceError};
use crate::{
    coverage::{Alive, Coverage, Watched},
    devices::Leases,
    ecs::{Time, hex},
    event::{FlowIds, Lookup, Mark, Record, Rollup, Timestamp},
    filter::{Filter, Query},
    store::{Reader, StoreError},
    summary::Totals,
};

impl From<StoreError> for SourceError {
    fn from(error: StoreError) -> Self {
        Self(error.to_string())
    }
}

impl EventSource for Reader {
    fn until(self: Arc<Self>, is_over: IsOver) -> Arc<dyn EventSource> {
        Arc::new(Self::until(&self, is_over))
    }
    fn leases(&self) -> Leases {
        if self.is_elsewhere() { Leases::default() } else { Leases::read() }
    }
    fn one_in(&self) -> usize {
        Self::one_in(self)
    }
    fn query(&self, query: &Query, each: Each<'_, Record>) -> Result<(), SourceError> {
        Self::query(self, query, each)?;
        Ok(())
    }
    fn states(&self, ids: FlowIds, each: Each<'_, Record>) -> Result<(), SourceError> {
        Self::states(self, ids, each)?;
        Ok(())
    }
    fn totals(&self, query: &Query, totals: &mut dyn Totals) -> Result<(), SourceError> {
        Self::in_window(self, query, totals)?;
        Ok(())
    }
    fn rollups(&self, filter: &Filter, each: Each<'_, Rollup>) -> Result<(), SourceError> {
        Self::rollups(self, filter, each)?;
        Ok(())
    }
    fn rollup_totals(&self, filter: &Filter, totals: &mut dyn Totals) -> Result<(), SourceError> {
        Self::rollups_in_window(self, filter, totals)?;
        Ok(())
    }
    fn lookups(&self, query: &Query, each: Each<'_, Lookup>) -> Result<(), SourceError> {
        Self::lookups(self, query, each)?;
        Ok(())
    }
    fn marks(&self) -> Result<Vec<Arc<Mark>>, SourceError> {
        Ok(Self::marks(self)?)
    }
    fn policy(&self, begins: &str) -> Result<Option<PolicyText>, SourceError> {
        let found = Self::policy(self, begins)?;
        Ok(found.map(|(sha256, text)| PolicyText { sha256, text }))
    }
    fn policies(
        &self,
        window: (Option<Timestamp>, Timestamp),
    ) -> Result<PoliciesInForce, SourceError> {
        let (found, untold) = Self::policies(self, window)?;
        let told = found.into_iter().map(|it| PolicyInForce {
            noted_at: Time(it.noted_at),
            sha256: hex(&it.sha256),
            text: it.text,
        });
        Ok(PoliciesInForce { policies: told.collect(), untold })
    }
    fn watching(
        &self,
        window: (Option<Timestamp>, Timestamp),
    ) -> Result<Vec<Watched>, SourceError> {
        Ok(Self::watching(self, window)?)
    }
    fn coverage(
        &self,
        window: (Option<Timestamp>, Timestamp),
        alive: Option<Alive>,
    ) -> Result<Coverage, SourceError> {
        Ok(Self::coverage(self, window, alive)?)
    }
}

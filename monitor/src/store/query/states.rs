//! Every state that is stored of some flows, in the ledger's order: what a query tells only the latest of.

use std::ops::ControlFlow;

use super::Reader;
use crate::{
    event::{FlowIds, Record, Timestamp},
    filter::Filter,
    store::{error::StoreError, scan::QueryStats, stored::Wanted},
};

impl Reader {
    /// A state that is being stored may be told twice.
    pub fn states(
        &self,
        ids: FlowIds,
        mut each: impl FnMut(Record) -> ControlFlow<()>,
    ) -> Result<QueryStats, StoreError> {
        let [from, to] = ids.starts();
        let until = to.0.checked_add(1).map(Timestamp);
        let filter = Filter { since: Some(from), until, ..Filter::default() };
        let mut stats = QueryStats::default();
        for (number, is_newest) in self.segments_with(&filter, |it| it.flows)? {
            let mut blocks = Vec::new();
            self.scan.walk(number, 0, is_newest, &mut stats, |at, head| {
                let summary = &head.summary;
                // An id begins with the start of its flow, and all states of one share it.
                if summary.flows > 0 && summary.first <= to.0 && from.0 <= summary.latest_start {
                    blocks.push((at, *head));
                }
            })?;
            let Some(segment) = self.scan.segment(number)? else { continue };
            for (at, head) in blocks {
                self.scan.go_on()?;
                let wanted = Wanted::Begun(&filter, from.0, to.0);
                for state in self.scan.flows(&segment, (at, &head), wanted, &mut stats)? {
                    let record = state.record.filter(|_| ids.holds(state.flow));
                    let Some(record) = record else { continue };
                    stats.matched += 1;
                    if each(*record).is_break() {
                        return Ok(stats);
                    }
                }
            }
        }
        let beside = self.beside.iter().filter(|record| ids.holds(record.egress.flow));
        let _ = beside.cloned().try_for_each(each);
        Ok(stats)
    }
}

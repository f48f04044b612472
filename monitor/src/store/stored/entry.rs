//! The stored form of an entry of the ledger, whatever it is.

use serde::{Deserialize, Serialize};

use super::{
    basis::{Basis, StoredBasis, basis_from_stored, basis_to_stored},
    error::FormError,
    executed::StoredExecuted,
    flow::{
        StoredExtra, StoredFlow, extras_to_stored, flow_from_stored, flow_to_stored, learn_executed,
    },
    host::{StoredBy, by_from_stored, by_to_stored},
    lookup::{StoredLookup, lookup_from_stored, lookup_to_stored},
    notice::{StoredNotice, notice_from_stored, notice_to_stored},
    rollup::{StoredRollup, rollup_from_stored, rollup_to_stored},
    tables::{Interner, Tables},
};
use crate::event::{Entry, Lookup, Rollup, Timestamp};

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum StoredEntry {
    Flow(StoredFlow),
    Rollup(StoredRollup),
    Notice {
        at: u64,
        notice: StoredNotice,
    },
    /// A flow with what only some flows have.
    FlowWith(StoredFlow, Vec<StoredExtra>),
    /// A roll-up with what it rests on.
    RollupWith(StoredRollup, StoredBasis),
    Lookup(StoredLookup),
    /// A lookup with what is told of its process for the first time in the block.
    LookupWith(StoredLookup, Vec<StoredExecuted>),
    /// The same, and who wrote it.
    LookupBy(StoredLookup, Vec<StoredExecuted>, StoredBy),
}

/// `base` is the block's base time; texts, processes and operators go into the tables.
pub(super) fn to_stored(entry: &Entry, base: u64, into: &mut Interner) -> StoredEntry {
    match entry {
        Entry::Flow(record) => {
            let flow = flow_to_stored(record, base, into);
            let extras = extras_to_stored(record, into);
            if extras.is_empty() {
                StoredEntry::Flow(flow)
            } else {
                StoredEntry::FlowWith(flow, extras)
            }
        }
        Entry::Rollup(rollup) => {
            let stored = rollup_to_stored(rollup, &mut into.texts);
            let basis = Basis::of_rollup(rollup.provenance.as_ref());
            if basis.is_none() {
                StoredEntry::Rollup(stored)
            } else {
                let basis = basis_to_stored(&basis, &mut into.bases, &mut into.texts);
                StoredEntry::RollupWith(stored, basis)
            }
        }
        Entry::Notice { at, notice } => {
            StoredEntry::Notice { at: at.0, notice: notice_to_stored(notice, &mut into.texts) }
        }
        Entry::Lookup(lookup) => {
            let stored = lookup_to_stored(lookup, into);
            let executed = into.take_executed();
            if let Some(host) = &lookup.host {
                let by = by_to_stored(host, &mut into.hosts, &mut into.texts);
                StoredEntry::LookupBy(stored, executed, by)
            } else if executed.is_empty() {
                StoredEntry::Lookup(stored)
            } else {
                StoredEntry::LookupWith(stored, executed)
            }
        }
    }
}

pub(super) fn from_stored(
    entry: StoredEntry,
    base: u64,
    tables: &mut Tables<'_>,
) -> Result<Entry, FormError> {
    Ok(match entry {
        StoredEntry::Flow(flow) => Entry::Flow(flow_from_stored(&flow, &[], base, tables)?),
        StoredEntry::FlowWith(flow, extras) => {
            learn_executed(&extras, tables)?;
            Entry::Flow(flow_from_stored(&flow, &extras, base, tables)?)
        }
        StoredEntry::Rollup(rollup) => Entry::Rollup(rollup_from_stored(&rollup, &tables.texts)?),
        StoredEntry::RollupWith(rollup, basis) => {
            let basis = basis_from_stored(&basis, &mut tables.bases, &tables.texts)?;
            let provenance = basis.provenance.clone();
            Entry::Rollup(Rollup { provenance, ..rollup_from_stored(&rollup, &tables.texts)? })
        }
        StoredEntry::Notice { at, notice } => {
            let notice = notice_from_stored(notice, &tables.texts)?;
            Entry::Notice { at: Timestamp(at), notice }
        }
        StoredEntry::Lookup(lookup) => Entry::Lookup(lookup_from_stored(&lookup, tables)?),
        StoredEntry::LookupWith(lookup, executed) => {
            executed.into_iter().try_for_each(|it| tables.processes.learn(it))?;
            Entry::Lookup(lookup_from_stored(&lookup, tables)?)
        }
        StoredEntry::LookupBy(lookup, executed, by) => {
            executed.into_iter().try_for_each(|it| tables.processes.learn(it))?;
            let host = Some(by_from_stored(&by, &mut tables.hosts, &tables.texts)?);
            Entry::Lookup(Lookup { host, ..lookup_from_stored(&lookup, tables)? })
        }
    })
}

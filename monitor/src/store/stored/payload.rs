//! The payload of a block before compression: base time, tables, entries. Filled entry by entry; read
//! back into entries, or into those flows alone that somebody wants.

use super::{
    entry::{StoredEntry, from_stored, to_stored},
    error::FormError,
    flow::{flow_from_stored, glance_at, learn_executed, pass_by},
    tables::{Interner, StoredTables, Tables},
};
use crate::{
    event::{Entry, FlowId, Glance, Record},
    filter::Filter,
};

/// A payload being filled.
#[derive(Debug, Default)]
pub(in crate::store) struct Payload {
    base: u64,
    interner: Interner,
    entries: Vec<u8>,
}

impl Payload {
    pub(in crate::store) fn push(&mut self, entry: &Entry) {
        if let (true, Entry::Flow(record)) = (self.base == 0, entry) {
            self.base = record.egress.started_at.0;
        }
        let stored = to_stored(entry, self.base, &mut self.interner);
        let buffer = std::mem::take(&mut self.entries);
        self.entries = encode(&stored, buffer);
    }

    /// About how long it is.
    pub(in crate::store) fn bytes(&self) -> usize {
        self.entries.len() + self.interner.bytes()
    }

    /// Texts that were too long.
    pub(in crate::store) fn texts_cut(&self) -> u64 {
        self.interner.texts.cut()
    }

    pub(in crate::store) fn finish(mut self) -> Vec<u8> {
        let mut raw = encode(&self.base, Vec::with_capacity(self.entries.len() * 2));
        raw = encode(&self.interner.stored(), raw);
        // Entries were encoded against `base` as it was then: those before the first flow have none.
        raw.extend_from_slice(&self.entries);
        raw
    }
}

fn encode(value: &impl serde::Serialize, into: Vec<u8>) -> Vec<u8> {
    // Serializing these types to memory has no way to fail: no maps of unknown length, no
    // serializer errors of their own.
    postcard::to_extend(value, into).expect("stored forms always serialize")
}

/// The entries of a payload, of which there are `count`.
pub(in crate::store) fn decode(raw: &[u8], count: usize) -> Result<Vec<Entry>, FormError> {
    let mut entries = Vec::with_capacity(count.min(raw.len()));
    each_entry(raw, count, |entry, base, tables| {
        entries.push(from_stored(entry, base, tables)?);
        Ok(())
    })?;
    Ok(entries)
}

/// Which of a block's flows are asked for.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) enum Wanted<'a> {
    /// Those that match.
    Matching(&'a Filter),
    /// Those that match and began from one instant to another, both included.
    Begun(&'a Filter, u64, u64),
    /// Those at these places, ascending.
    At(&'a [u16]),
    Nothing,
}

/// A state of a flow in a block.
#[derive(Debug)]
pub(in crate::store) struct FlowState {
    /// Its place among the entries.
    pub entry: u16,
    pub flow: FlowId,
    pub revision: u32,
    /// If it is wanted.
    pub record: Option<Box<Record>>,
}

/// The states of flows in a payload, in order. Only what is wanted is decoded, so a query that finds
/// little takes a third of the time.
pub(in crate::store) fn flows(
    raw: &[u8],
    count: usize,
    wanted: Wanted<'_>,
) -> Result<Vec<FlowState>, FormError> {
    let mut states = Vec::with_capacity(count.min(raw.len()));
    let mut place = 0;
    each_entry(raw, count, |entry, base, tables| {
        let entry_at = place;
        place += 1;
        let (flow, extras) = match entry {
            StoredEntry::Flow(flow) => (flow, Vec::new()),
            StoredEntry::FlowWith(flow, extras) => (flow, extras),
            // What it tells of its process holds for flows, too.
            other => return from_stored(other, base, tables).map(drop),
        };
        learn_executed(&extras, tables)?;
        let is_decoded = match wanted {
            Wanted::Matching(filter) => flow.may_match(&extras, base, filter, tables),
            Wanted::Begun(filter, from, to) => {
                (from..=to).contains(&flow.started(base))
                    && flow.may_match(&extras, base, filter, tables)
            }
            Wanted::At(places) => places.binary_search(&entry_at).is_ok(),
            Wanted::Nothing => false,
        };
        let mut record = None;
        if is_decoded {
            let decoded = flow_from_stored(&flow, &extras, base, tables)?;
            let is_wanted = match wanted {
                Wanted::Matching(filter) | Wanted::Begun(filter, ..) => filter.matches(&decoded),
                Wanted::At(_) | Wanted::Nothing => true,
            };
            record = is_wanted.then(|| Box::new(decoded));
        } else {
            pass_by(&extras, tables)?;
        }
        let (flow, revision) = flow.identity(base);
        states.push(FlowState { entry: entry_at, flow, revision, record });
        Ok(())
    })?;
    Ok(states)
}

/// An entry as it is seen at a glance.
#[derive(Debug)]
pub enum Seen<'a> {
    Flow(&'a Glance<'a>),
    Other(&'a Entry),
}

/// Shows the entries of a payload, in order. Some may have been shown when it turns out to be malformed.
pub(in crate::store) fn glances(
    raw: &[u8],
    count: usize,
    mut each: impl FnMut(Seen<'_>),
) -> Result<(), FormError> {
    each_entry(raw, count, |entry, base, tables| {
        let (flow, extras) = match entry {
            StoredEntry::Flow(flow) => (flow, Vec::new()),
            StoredEntry::FlowWith(flow, extras) => (flow, extras),
            other => {
                each(Seen::Other(&from_stored(other, base, tables)?));
                return Ok(());
            }
        };
        glance_at(&flow, &extras, base, tables, |glance| each(Seen::Flow(glance)))
    })
}

fn each_entry<'a>(
    raw: &'a [u8],
    count: usize,
    mut each: impl FnMut(StoredEntry, u64, &mut Tables<'a>) -> Result<(), FormError>,
) -> Result<(), FormError> {
    let (base, rest) = take::<u64>(raw)?;
    let (tables, mut rest) = take::<StoredTables<'_>>(rest)?;
    let mut tables = Tables::from_stored(tables)?;
    for _ in 0..count {
        let (entry, after) = take::<StoredEntry>(rest)?;
        each(entry, base, &mut tables)?;
        rest = after;
    }
    if rest.is_empty() { Ok(()) } else { Err(FormError::Malformed) }
}

fn take<'a, T: serde::Deserialize<'a>>(bytes: &'a [u8]) -> Result<(T, &'a [u8]), FormError> {
    postcard::take_from_bytes(bytes).map_err(|_| FormError::Malformed)
}

//! The tables of a block: each text, process and operator is stored once, and decoded once into an
//! `Arc` that its records share. It keeps nothing beyond one block.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use super::{
    basis::Basis,
    executed::{StoredExecuted, executed_to_stored},
    record::{
        RecordError, StoredOperator, StoredProcess, operator_from_stored, operator_to_stored,
        process_from_stored, process_to_stored,
    },
};
use crate::event::{Operator, Process, Timeline};

/// Longest text that is stored; the kernel's longest path is 4096.
pub(super) const TEXT_MAX: usize = 32 << 10;

/// The tables as they stand in the payload.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredTables<'a> {
    #[serde(borrow)]
    pub texts: Vec<&'a str>,
    pub processes: Vec<StoredProcess>,
    pub operators: Vec<StoredOperator>,
}

/// Tables of a block that is being filled.
#[derive(Debug, Default)]
pub(super) struct Interner {
    texts: Vec<Arc<str>>,
    text_at: FxHashMap<Arc<str>, u32>,
    processes: Vec<StoredProcess>,
    process_at: FxHashMap<Arc<Process>, u32>,
    operators: Vec<StoredOperator>,
    operator_at: FxHashMap<Arc<Operator>, u32>,
    basis_at: FxHashMap<Basis, u32>,
    timeline_at: FxHashMap<Timeline, u32>,
    /// Of processes that the entry in hand refers to for the first time.
    executed: Vec<StoredExecuted>,
    bytes: usize,
    cut: u64,
}

impl Interner {
    pub(super) fn text(&mut self, text: &Arc<str>) -> u32 {
        if text.len() > TEXT_MAX {
            self.cut += 1;
            let mut end = TEXT_MAX;
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            return self.text(&text[..end].into());
        }
        if let Some(at) = self.text_at.get(text) {
            return *at;
        }
        let at = self.texts.len() as u32;
        self.bytes += text.len() + 1;
        self.texts.push(Arc::clone(text));
        self.text_at.insert(Arc::clone(text), at);
        at
    }

    pub(super) fn maybe(&mut self, text: Option<&Arc<str>>) -> Option<u32> {
        text.map(|text| self.text(text))
    }

    pub(super) fn process(&mut self, process: &Arc<Process>) -> u32 {
        if let Some(at) = self.process_at.get(process) {
            return *at;
        }
        let at = self.processes.len() as u32;
        let stored = process_to_stored(process, self);
        self.bytes += size_of::<StoredProcess>();
        self.processes.push(stored);
        let executed = executed_to_stored(at, process, self);
        self.executed.extend(executed);
        self.process_at.insert(Arc::clone(process), at);
        at
    }

    /// What the entry must tell of the processes that are new with it.
    pub(super) fn take_executed(&mut self) -> Vec<StoredExecuted> {
        std::mem::take(&mut self.executed)
    }

    pub(super) fn operator(&mut self, operator: &Arc<Operator>) -> u32 {
        if let Some(at) = self.operator_at.get(operator) {
            return *at;
        }
        let at = self.operators.len() as u32;
        let stored = operator_to_stored(operator, self);
        self.bytes += size_of::<StoredOperator>();
        self.operators.push(stored);
        self.operator_at.insert(Arc::clone(operator), at);
        at
    }

    /// The position of what was told before; from now on it was.
    pub(super) fn basis_told(&mut self, basis: &Basis) -> Option<u32> {
        if let Some(at) = self.basis_at.get(basis) {
            return Some(*at);
        }
        self.basis_at.insert(basis.clone(), self.basis_at.len() as u32);
        None
    }

    /// As [`Self::basis_told`].
    pub(super) fn timeline_told(&mut self, timeline: Timeline) -> Option<u32> {
        let next = self.timeline_at.len() as u32;
        let at = *self.timeline_at.entry(timeline).or_insert(next);
        (at != next).then_some(at)
    }

    /// About what the tables will add to the payload before compression.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Texts that were cut to [`TEXT_MAX`].
    pub(super) fn cut(&self) -> u64 {
        self.cut
    }

    pub(super) fn stored(&mut self) -> StoredTables<'_> {
        StoredTables {
            texts: self.texts.iter().map(AsRef::as_ref).collect(),
            processes: std::mem::take(&mut self.processes),
            operators: std::mem::take(&mut self.operators),
        }
    }
}

/// Tables of a block that was read.
#[derive(Debug, Default)]
pub(super) struct Tables {
    texts: Vec<Arc<str>>,
    processes: Vec<Arc<Process>>,
    operators: Vec<Arc<Operator>>,
    /// Those of the entries decoded so far.
    bases: Vec<Arc<Basis>>,
    timelines: Vec<Timeline>,
    /// Operators by position, as those of anycast addresses.
    anycast: FxHashMap<u32, Arc<Operator>>,
}

impl Tables {
    pub(super) fn from_stored(stored: &StoredTables<'_>) -> Result<Self, RecordError> {
        let texts = stored.texts.iter().map(|text| Arc::from(*text)).collect();
        let mut tables = Self { texts, ..Self::default() };
        for process in &stored.processes {
            let process = process_from_stored(process, &tables)?;
            tables.processes.push(Arc::new(process));
        }
        for operator in &stored.operators {
            let operator = operator_from_stored(operator, &tables)?;
            tables.operators.push(Arc::new(operator));
        }
        Ok(tables)
    }

    pub(super) fn text(&self, at: u32) -> Result<Arc<str>, RecordError> {
        self.texts.get(at as usize).cloned().ok_or(RecordError::Dangling)
    }

    pub(super) fn maybe(&self, at: Option<u32>) -> Result<Option<Arc<str>>, RecordError> {
        at.map(|at| self.text(at)).transpose()
    }

    pub(super) fn process(&self, at: u32) -> Result<Arc<Process>, RecordError> {
        self.processes.get(at as usize).cloned().ok_or(RecordError::Dangling)
    }

    /// Puts another in its place, for all entries from now on.
    pub(super) fn amend_process(&mut self, at: u32, process: Process) -> Result<(), RecordError> {
        let place = self.processes.get_mut(at as usize).ok_or(RecordError::Dangling)?;
        *place = Arc::new(process);
        Ok(())
    }

    pub(super) fn operator(&self, at: u32) -> Result<Arc<Operator>, RecordError> {
        self.operators.get(at as usize).cloned().ok_or(RecordError::Dangling)
    }

    /// The same operator, of an address that is announced from many places.
    pub(super) fn anycast(&mut self, at: u32) -> Result<Arc<Operator>, RecordError> {
        if let Some(operator) = self.anycast.get(&at) {
            return Ok(Arc::clone(operator));
        }
        let operator = Operator { is_anycast: true, ..(*self.operator(at)?).clone() };
        Ok(Arc::clone(self.anycast.entry(at).or_insert(Arc::new(operator))))
    }

    pub(super) fn basis(&self, at: u32) -> Result<Arc<Basis>, RecordError> {
        self.bases.get(at as usize).cloned().ok_or(RecordError::Dangling)
    }

    pub(super) fn timeline(&self, at: u32) -> Result<Timeline, RecordError> {
        self.timelines.get(at as usize).copied().ok_or(RecordError::Dangling)
    }

    pub(super) fn learn_timeline(&mut self, timeline: Timeline) {
        self.timelines.push(timeline);
    }

    pub(super) fn learn_basis(&mut self, basis: Basis) -> Arc<Basis> {
        let basis = Arc::new(basis);
        self.bases.push(Arc::clone(&basis));
        basis
    }
}

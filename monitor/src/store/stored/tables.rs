//! The tables of a block: each text, process and operator is stored once, and decoded once at most
//! into an `Arc` that its records share. It keeps nothing beyond one block.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    again::{Learnt, Told},
    basis::Basis,
    error::FormError,
    executed::StoredExecuted,
    place::{OperatorInterner, Operators, StoredOperator},
    process::{ProcessInterner, Processes, StoredProcess},
    text::{Text, TextInterner, Texts},
};
use crate::event::{Host, Operator, Process, Timeline};

/// The tables as they stand in the payload.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredTables<'a> {
    #[serde(borrow)]
    texts: Vec<&'a str>,
    processes: Vec<StoredProcess>,
    operators: Vec<StoredOperator>,
}

/// Tables of a block that is being filled.
#[derive(Debug, Default)]
pub(super) struct Interner {
    pub texts: TextInterner,
    processes: ProcessInterner,
    operators: OperatorInterner,
    pub bases: Told<Basis>,
    pub timelines: Told<Timeline>,
    pub hosts: Told<Arc<Host>>,
}

impl Interner {
    pub(super) fn text(&mut self, text: &Arc<str>) -> Text {
        self.texts.text(text)
    }

    pub(super) fn maybe(&mut self, text: Option<&Arc<str>>) -> Option<Text> {
        self.texts.maybe(text)
    }

    pub(super) fn process(&mut self, process: &Arc<Process>) -> u32 {
        self.processes.process(process, &mut self.texts)
    }

    /// What the entry must tell of the processes that are new with it.
    pub(super) fn take_executed(&mut self) -> Vec<StoredExecuted> {
        self.processes.take_executed()
    }

    pub(super) fn operator(&mut self, operator: &Arc<Operator>) -> u32 {
        self.operators.operator(operator, &mut self.texts)
    }

    /// About what the tables will add to the payload before compression.
    pub(super) fn bytes(&self) -> usize {
        self.texts.bytes() + self.processes.bytes() + self.operators.bytes()
    }

    pub(super) fn stored(&mut self) -> StoredTables<'_> {
        StoredTables {
            processes: self.processes.take_stored(),
            operators: self.operators.take_stored(),
            texts: self.texts.stored(),
        }
    }
}

/// Tables of a block that was read.
#[derive(Debug, Default)]
pub(super) struct Tables<'a> {
    pub texts: Texts<'a>,
    pub processes: Processes,
    pub operators: Operators,
    /// Those of the entries decoded so far.
    pub bases: Learnt<Arc<Basis>>,
    pub timelines: Learnt<Timeline>,
    pub hosts: Learnt<Arc<Host>>,
}

impl<'a> Tables<'a> {
    pub(super) fn from_stored(stored: StoredTables<'a>) -> Result<Self, FormError> {
        let texts = Texts::from_stored(stored.texts);
        let processes = Processes::from_stored(stored.processes);
        let operators = Operators::from_stored(&stored.operators, &texts)?;
        Ok(Self { texts, processes, operators, ..Self::default() })
    }

    pub(super) fn process(&self, at: u32) -> Result<Arc<Process>, FormError> {
        self.processes.process(at, &self.texts)
    }
}

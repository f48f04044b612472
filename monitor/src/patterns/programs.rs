//! Programs by number: who sends, with what it runs where it is an interpreter. It keeps a bounded number of them.

use std::{collections::HashMap, sync::Arc};

use rustc_hash::FxHashMap;

use crate::event::{Origin, Process};

/// Programs that are kept apart. What more there are is one.
const PROGRAMS_MAX: usize = 50_000;
/// Processes that are remembered by where they stand in memory.
const PROCESSES_MAX: usize = 4096;

/// A program, and what it runs.
type Program = (Arc<str>, Option<Arc<str>>);

#[derive(Debug, Default)]
pub(super) struct Programs {
    named: Vec<Program>,
    by_name: HashMap<Program, u32>,
    /// Each is kept, so that no other stands in its place.
    known: FxHashMap<*const Process, (Arc<Process>, u32)>,
}

impl Programs {
    /// Of a process; `None`: what nobody is known to have sent is named by its origin.
    pub(super) fn number(&mut self, process: Option<&Arc<Process>>, origin: Origin) -> u32 {
        let Some(process) = process else {
            return self.number_of((format!("({origin})").into(), None));
        };
        if let Some((_, number)) = self.known.get(&Arc::as_ptr(process)) {
            return *number;
        }
        let number = self.number_of((process.program(), process.script().map(Into::into)));
        if self.known.len() >= PROCESSES_MAX {
            self.known.clear();
        }
        self.known.insert(Arc::as_ptr(process), (Arc::clone(process), number));
        number
    }

    fn number_of(&mut self, program: Program) -> u32 {
        if let Some(number) = self.by_name.get(&program) {
            return *number;
        }
        let number = self.named.len() as u32;
        if self.named.len() > PROGRAMS_MAX {
            return number - 1;
        }
        let is_last = self.named.len() == PROGRAMS_MAX;
        let program = if is_last { ("(others)".into(), None) } else { program };
        self.named.push(program.clone());
        self.by_name.insert(program, number);
        number
    }

    pub(super) fn named(&self, number: u32) -> Program {
        self.named[number as usize].clone()
    }
}

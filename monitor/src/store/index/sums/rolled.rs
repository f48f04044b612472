//! Sums of a segment's roll-ups: by country and verdict, and by program and user, too, as long as there are few enough.
//! Nothing here reads or writes files.

use std::{collections::HashMap, sync::Arc};

use rustc_hash::FxHashMap;

use super::Sum;
use crate::{
    event::{Rollup, User},
    summary::{Counts, Kind},
};

/// Most programs with a user, and most rows. With more, roll-ups are told by country and verdict alone.
const PROGRAMS_MAX: usize = if cfg!(test) { 6 } else { 4096 };
const ROWS_MAX: usize = if cfg!(test) { 200 } else { 1 << 14 };

/// Who sent what was rolled up, as far as roll-ups tell.
pub(super) type Program = (Arc<str>, Option<User>);

/// What roll-ups of one row are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Rolled {
    /// Place among the programs.
    pub program: u16,
    pub kind: Kind,
}

/// What is told of the roll-ups of a segment, up to some block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RolledUp {
    pub end: u64,
    /// Blocks that are in it are numbered below this.
    pub next_block: u64,
    pub programs: Vec<Program>,
    pub rows: Vec<(Rolled, Sum)>,
}

impl RolledUp {
    /// By country and verdict alone.
    pub(super) fn of_kinds((end, next_block): (u64, u64), kinds: &[(Kind, Sum)]) -> Self {
        let rows = kinds.iter().map(|(kind, sum)| (Rolled { program: 0, kind: *kind }, *sum));
        Self { end, next_block, programs: vec![("".into(), None)], rows: rows.collect() }
    }
}

#[derive(Debug, Default)]
pub(super) struct RolledBuilder {
    kinds: FxHashMap<Kind, Sum>,
    programs: HashMap<Program, u16>,
    rows: FxHashMap<Rolled, Sum>,
    has_too_many: bool,
}

impl RolledBuilder {
    pub(super) fn add(&mut self, rollup: &Rollup) {
        let kind = Kind::of_rollup(rollup);
        let counts = Counts { flows: rollup.flows, attempts: 0, seen: [rollup.hour; 2] };
        let sum = Sum { counts, traffic: rollup.traffic };
        self.kinds.entry(kind).and_modify(|it| it.join(&sum)).or_insert(sum);
        if self.has_too_many {
            return;
        }
        let next = self.programs.len() as u16;
        let program = (Arc::clone(&rollup.program), rollup.user.clone());
        let program = *self.programs.entry(program).or_insert(next);
        let row = Rolled { program, kind };
        self.rows.entry(row).and_modify(|it| it.join(&sum)).or_insert(sum);
        if self.programs.len() > PROGRAMS_MAX || self.rows.len() > ROWS_MAX {
            (self.programs, self.rows) = Default::default();
            self.has_too_many = true;
        }
    }

    pub(super) fn kinds(&self) -> Vec<(Kind, Sum)> {
        self.kinds.iter().map(|(kind, sum)| (*kind, *sum)).collect()
    }

    /// `None`: there were too many to keep them apart by program.
    pub(super) fn told(&self, by_program: bool, end: u64, next_block: u64) -> Option<RolledUp> {
        if !by_program {
            return Some(RolledUp::of_kinds((end, next_block), &self.kinds()));
        }
        if self.has_too_many {
            return None;
        }
        let mut programs: Vec<(&Program, u16)> =
            self.programs.iter().map(|(it, at)| (it, *at)).collect();
        programs.sort_unstable_by_key(|(_, at)| *at);
        let programs = programs.into_iter().map(|(it, _)| it.clone()).collect();
        let rows = self.rows.iter().map(|(row, sum)| (*row, *sum)).collect();
        Some(RolledUp { end, next_block, programs, rows })
    }
}

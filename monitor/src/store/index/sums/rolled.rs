//! Sums of a segment's roll-ups: by country and verdict, and by program and user or by hour, too, as long as there are few
//! enough. Nothing here reads or writes files.

use std::{collections::HashMap, sync::Arc};

use rustc_hash::FxHashMap;

use super::{HOUR_NS, Sum};
use crate::{
    event::{Rollup, User},
    summary::{Counts, Kind},
};

/// Most programs with a user, and most rows. With more, roll-ups are told by country and verdict alone.
const PROGRAMS_MAX: usize = if cfg!(test) { 6 } else { 4096 };
const ROWS_MAX: usize = if cfg!(test) { 200 } else { 1 << 14 };

/// Who sent what was rolled up, as far as roll-ups tell.
pub(super) type Program = (Arc<str>, Option<User>);

/// What roll-ups are kept apart by, besides country and verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RolledBy {
    Kind,
    Program,
    Hour,
}

/// What roll-ups of one row are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Rolled {
    /// Place among the programs; 0 where they are not kept apart.
    pub program: u16,
    /// Since the epoch; 0 likewise.
    pub hour: u32,
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
    pub(super) fn of_kinds(at: (u64, u64), kinds: &[(Kind, Sum)]) -> Self {
        let rows = kinds.iter().map(|(kind, sum)| ((0, *kind), *sum));
        Self::of_hours(at, rows.collect())
    }

    pub(super) fn of_hours((end, next_block): (u64, u64), rows: Vec<(OfHour, Sum)>) -> Self {
        let rows =
            rows.into_iter().map(|((hour, kind), sum)| (Rolled { program: 0, hour, kind }, sum));
        Self { end, next_block, programs: vec![("".into(), None)], rows: rows.collect() }
    }
}

/// An hour since the epoch, and what was sent in it.
pub(super) type OfHour = (u32, Kind);

#[derive(Debug, Default)]
pub(super) struct RolledBuilder {
    kinds: FxHashMap<Kind, Sum>,
    programs: HashMap<Program, u16>,
    rows: FxHashMap<(u16, Kind), Sum>,
    has_too_many: bool,
    hours: FxHashMap<OfHour, Sum>,
    has_too_many_hours: bool,
}

impl RolledBuilder {
    pub(super) fn add(&mut self, rollup: &Rollup) {
        let kind = Kind::of_rollup(rollup);
        let counts = Counts { flows: rollup.flows, attempts: 0, seen: [rollup.hour; 2] };
        let sum = Sum { counts, traffic: rollup.traffic };
        self.kinds.entry(kind).and_modify(|it| it.join(&sum)).or_insert(sum);
        if !self.has_too_many_hours {
            let hour = ((rollup.hour.0 / HOUR_NS) as u32, kind);
            self.hours.entry(hour).and_modify(|it| it.join(&sum)).or_insert(sum);
            if self.hours.len() > ROWS_MAX {
                self.hours = FxHashMap::default();
                self.has_too_many_hours = true;
            }
        }
        if self.has_too_many {
            return;
        }
        let next = self.programs.len() as u16;
        let program = (Arc::clone(&rollup.program), rollup.user.clone());
        let program = *self.programs.entry(program).or_insert(next);
        self.rows.entry((program, kind)).and_modify(|it| it.join(&sum)).or_insert(sum);
        if self.programs.len() > PROGRAMS_MAX || self.rows.len() > ROWS_MAX {
            (self.programs, self.rows) = Default::default();
            self.has_too_many = true;
        }
    }

    pub(super) fn kinds(&self) -> Vec<(Kind, Sum)> {
        self.kinds.iter().map(|(kind, sum)| (*kind, *sum)).collect()
    }

    /// `None`: there were too many.
    pub(super) fn hours(&self) -> Option<Vec<(OfHour, Sum)>> {
        let hours = self.hours.iter().map(|(hour, sum)| (*hour, *sum));
        (!self.has_too_many_hours).then(|| hours.collect())
    }

    /// `None`: there were too many to keep them so apart.
    pub(super) fn told(&self, by: RolledBy, end: u64, next_block: u64) -> Option<RolledUp> {
        match by {
            RolledBy::Kind => return Some(RolledUp::of_kinds((end, next_block), &self.kinds())),
            RolledBy::Hour => return Some(RolledUp::of_hours((end, next_block), self.hours()?)),
            RolledBy::Program if self.has_too_many => return None,
            RolledBy::Program => {}
        }
        let mut programs: Vec<(&Program, u16)> =
            self.programs.iter().map(|(it, at)| (it, *at)).collect();
        programs.sort_unstable_by_key(|(_, at)| *at);
        let programs = programs.into_iter().map(|(it, _)| it.clone()).collect();
        let row = |program, kind| Rolled { program, hour: 0, kind };
        let rows = self.rows.iter().map(|((program, kind), sum)| (row(*program, *kind), *sum));
        Some(RolledUp { end, next_block, programs, rows: rows.collect() })
    }
}

//! The lake: tables that others' engines read, a folder a kind and day. What one segment tells is in files of its
//! own, named by it: to write it again is to write the same. It judges nothing and verifies nothing.

mod columns;
mod file;
mod flow;
mod other;
mod pages;
mod settle;

use std::path::{Path, PathBuf};

use geofenced::fleet::{Entry, Record, Timestamp, day};

pub use file::{About, LakeError, Table, name_all};
pub use flow::At;
use flow::Texts;
pub use settle::settle;

/// States of flows that wait to be sorted: some hundred bytes each.
const SORTED_ROWS: usize = 131_072;

/// What was written of a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    pub flows: u64,
    pub rollups: u64,
    pub lookups: u64,
    pub notices: u64,
}

/// What one segment tells, on its way into the lake.
#[derive(Debug)]
pub struct Pour<'l> {
    lake: &'l Path,
    /// Beginning of the names of its files.
    name: String,
    station: String,
    origin: String,
    about: About,
    flows: Vec<(Record, At)>,
    others: Vec<(Entry, At)>,
    tables: Vec<Table>,
    parts: u32,
    pub rows: Rows,
}

impl<'l> Pour<'l> {
    /// `name`: of the segment, among all that there are.
    pub fn new(
        lake: &'l Path,
        (station, origin): (&str, &str),
        name: String,
        about: About,
    ) -> Self {
        Self {
            lake,
            name,
            station: station.to_owned(),
            origin: origin.to_owned(),
            about,
            flows: Vec::new(),
            others: Vec::new(),
            tables: Vec::new(),
            parts: 0,
            rows: Rows::default(),
        }
    }

    /// One block of it, in the order of the ledger.
    pub fn block(&mut self, number: u64, entries: Vec<Entry>) -> Result<(), LakeError> {
        for (entry, it) in (0..).zip(entries) {
            let at = At { block: number, entry };
            match it {
                Entry::Flow(record) => self.flows.push((record, at)),
                other => self.others.push((other, at)),
            }
        }
        if self.flows.len() + self.others.len() >= SORTED_ROWS { self.sort() } else { Ok(()) }
    }

    fn path(&self, kind: &str, day: &str) -> PathBuf {
        let folder = self.lake.join(kind).join(format!("day={day}"));
        folder.join(format!("{}-{:02}.parquet", self.name, self.parts))
    }

    /// What waits goes into files, by day and by time.
    fn sort(&mut self) -> Result<(), LakeError> {
        let mut flows = std::mem::take(&mut self.flows);
        flows.sort_by_key(|(it, at)| (it.egress.started_at, *at));
        self.rows.flows += flows.len() as u64;
        let mut texts = Texts::new(&self.station, &self.origin);
        let ledger = other::Ledger { station: self.station.clone(), origin: self.origin.clone() };
        self.write(
            ("flows", |it: &(Record, At)| it.0.is_violation()),
            &flows,
            |it| it.0.egress.started_at,
            |(record, at), to| {
                flow::flow(record, *at, &mut texts, to);
            },
        )?;
        let mut others = std::mem::take(&mut self.others);
        others.sort_by_key(|(it, at)| (time(it), *at));
        for (kind, is_of) in KINDS {
            let of_kind: Vec<&(Entry, At)> = others.iter().filter(|it| is_of(&it.0)).collect();
            self.write(
                (kind, |_| false),
                &of_kind,
                |it| time(&it.0),
                |(entry, at), to| match entry {
                    Entry::Rollup(it) => other::rollup(it, *at, &ledger, to),
                    Entry::Lookup(it) => other::lookup(it, *at, &ledger, to),
                    Entry::Notice { at: time, notice } => {
                        other::notice(*time, notice, *at, &ledger, to);
                    }
                    Entry::Flow(_) => {}
                },
            )?;
            let count = of_kind.len() as u64;
            match kind {
                "rollups" => self.rows.rollups += count,
                "lookups" => self.rows.lookups += count,
                _ => self.rows.notices += count,
            }
        }
        self.parts += 1;
        Ok(())
    }

    /// Rows in the order of their time; those that are asked for most in groups of their own, before the others.
    fn write<T>(
        &mut self,
        (kind, is_first): (&str, fn(&T) -> bool),
        rows: &[T],
        time: impl Fn(&T) -> Timestamp,
        mut fill: impl FnMut(&T, &mut columns::Columns),
    ) -> Result<(), LakeError> {
        const DAY_NS: u64 = 86_400_000_000_000;
        for of_day in rows.chunk_by(|a, b| time(a).0 / DAY_NS == time(b).0 / DAY_NS) {
            let Some(first) = of_day.first() else { continue };
            let path = self.path(kind, &day(time(first)));
            if settle::is_settled(&path)? {
                continue;
            }
            let mut table = Table::new(path, self.about.clone());
            for first in [true, false] {
                for row in of_day.iter().filter(|it| is_first(it) == first) {
                    table.row(|to| fill(row, to))?;
                }
                table.end_group()?;
            }
            table.pause()?;
            self.tables.push(table);
        }
        Ok(())
    }

    /// All of it is in the lake when this returns `Ok`; told once more, it is the same files again. `about`: what is
    /// known of it only now.
    pub fn finish(mut self, about: &(&'static str, String)) -> Result<Rows, LakeError> {
        if !self.flows.is_empty() || !self.others.is_empty() {
            self.sort()?;
        }
        let tables = std::mem::take(&mut self.tables).into_iter();
        let finished = tables.map(|it| it.finish(vec![about.clone()]));
        name_all(self.lake, &finished.collect::<Result<Vec<_>, _>>()?)?;
        Ok(self.rows)
    }
}

type IsOf = fn(&Entry) -> bool;

const FLOWS: (&str, IsOf) = ("flows", |it| matches!(it, Entry::Flow(_)));
/// Folders of what is no flow.
const KINDS: [(&str, IsOf); 3] = [
    ("rollups", |it| matches!(it, Entry::Rollup(_))),
    ("lookups", |it| matches!(it, Entry::Lookup(_))),
    ("notices", |it| matches!(it, Entry::Notice { .. })),
];

fn time(entry: &Entry) -> Timestamp {
    match entry {
        Entry::Flow(it) => it.egress.started_at,
        Entry::Rollup(it) => it.hour,
        Entry::Lookup(it) => it.at,
        Entry::Notice { at, .. } => *at,
    }
}

//! Records as files that other programs read: a folder a day and host, in one of three forms, whole or not at
//! all. It is told records in the order of their time and holds few of them; it reads no ledger.

mod check;
mod columns;
mod files;
mod manifest;
mod ocsf;
mod rows;
mod table;

use std::{collections::BTreeMap, fmt::Write as _, io, path::PathBuf};

use serde::Serialize;

pub use check::{Checked, Fault, check, is_export};
pub use files::Folder;
use files::PartFile;
pub use manifest::{By, Custody, Made, Program, Selection};
pub use ocsf::VERSION as OCSF_VERSION;
use table::Table;

use crate::{
    ecs::{Event, HostFields, RollupEvent, day},
    event::{Record, Rollup},
    marks::Intervals,
    printable,
};

/// Files that are written at once at most: of flows one, unless the host changed its name; of roll-ups, which
/// come in the order in which they were stored, those of two days and of two names.
const OPEN_MAX: usize = 4;

/// In which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// A JSON object a line, in Elastic Common Schema names: that of `events -o json`
    Ndjson,
    /// A JSON object a line: OCSF 1.8, class Network Activity
    Ocsf,
    /// Apache Parquet: typed columns, for DuckDB, Spark and the like
    Parquet,
}

impl Form {
    /// The column that readers make of a folder's name: never one that is in the files.
    const fn host_key(self) -> &'static str {
        match self {
            Self::Ndjson => "host_name",
            Self::Ocsf | Self::Parquet => "host",
        }
    }

    const fn extension(self) -> &'static str {
        match self {
            Self::Ndjson | Self::Ocsf => "ndjson",
            Self::Parquet => "parquet",
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("{path} is not empty: choose a new directory, or an empty one")]
    NotEmpty { path: PathBuf },
    #[error("can't {action} {path}: {source}; nothing of the export stays")]
    File { action: &'static str, path: PathBuf, source: io::Error },
    #[error("a record could not be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("a file failed before; nothing of the export stays")]
    Unfinished,
    #[error("can't write {path}: {source}; nothing of the export stays")]
    Table { path: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
}

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Flows,
    Rollups,
}

/// The folder of a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Partition {
    kind: Kind,
    day: String,
    host: Option<String>,
}

/// Names of folders that readers of partitioned data take for no value.
const NO_HOST: &str = "__HIVE_DEFAULT_PARTITION__";
/// Bytes of a folder's name that are the host's.
const HOST_BYTES: usize = 200;

impl Partition {
    fn of(kind: Kind, day: String, host: Option<&HostFields<'_>>) -> Self {
        Self { kind, day, host: host.map(|it| it.name.to_string()) }
    }

    fn folder(&self, form: Form) -> PathBuf {
        let host = self.host.as_deref().map_or_else(|| NO_HOST.to_owned(), encoded);
        let within =
            PathBuf::from(format!("day={}", self.day)).join(format!("{}={host}", form.host_key()));
        match self.kind {
            Kind::Flows => within,
            Kind::Rollups => PathBuf::from("rollups").join(within),
        }
    }
}

/// As a part of a path: each byte that could be more than itself as `%XX`. A name that is too long for a
/// folder is cut; the records have it whole.
fn encoded(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        let is_plain = byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if out.len() + 3 > HOST_BYTES {
            break;
        }
        if is_plain {
            out.push(byte.into());
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// One file that is being written.
#[derive(Debug)]
enum Part {
    Lines { file: Box<PartFile>, line: Vec<u8> },
    Table(Box<Table>),
}

/// One row of a file.
#[derive(Clone, Copy, Debug)]
enum Row<'r, 'e> {
    Flow(&'r Event<'e>),
    Rollup(&'r RollupEvent<'e>),
}

/// An export that is being written.
#[derive(Debug)]
pub struct Export {
    folder: Folder,
    form: Form,
    /// Those used last are at the end.
    open: Vec<(Partition, Part)>,
    /// Files of each so far.
    parts: BTreeMap<Partition, u32>,
    pub flows: u64,
    pub rollups: u64,
}

impl Export {
    pub fn new(folder: Folder, form: Form) -> Self {
        Self { folder, form, open: Vec::new(), parts: BTreeMap::new(), flows: 0, rollups: 0 }
    }

    pub fn flow(&mut self, record: &Record, intervals: &Intervals) -> Result<(), ExportError> {
        let event = Event::marked(record, intervals);
        let day = day(record.egress.started_at);
        let partition = Partition::of(Kind::Flows, day, event.host.as_ref());
        self.row(partition, Row::Flow(&event))?;
        self.flows += 1;
        Ok(())
    }

    pub fn rollup(&mut self, rollup: &Rollup) -> Result<(), ExportError> {
        let event = RollupEvent::from(rollup);
        let partition = Partition::of(Kind::Rollups, day(rollup.hour), event.host.as_ref());
        self.row(partition, Row::Rollup(&event))?;
        self.rollups += 1;
        Ok(())
    }

    fn row(&mut self, partition: Partition, row: Row<'_, '_>) -> Result<(), ExportError> {
        match self.open.iter().position(|(open, _)| *open == partition) {
            Some(at) => {
                let used = self.open.remove(at);
                self.open.push(used);
            }
            None => self.begin(partition)?,
        }
        let form = self.form;
        match self.open.last_mut() {
            Some((_, Part::Table(table))) => table.push(row),
            Some((_, Part::Lines { file, line })) => {
                line.clear();
                match (form, row) {
                    (Form::Ocsf, row) => printable::push_json(line, &ocsf::row(row)?)?,
                    (_, Row::Flow(event)) => printable::push_json(line, event)?,
                    (_, Row::Rollup(event)) => printable::push_json(line, event)?,
                }
                line.push(b'\n');
                file.put(line)
            }
            None => Ok(()),
        }
    }

    fn begin(&mut self, partition: Partition) -> Result<(), ExportError> {
        // Flows come by time: those of another day are all there. What waits in a table is not little.
        let is_over = |it: &Partition| it.kind == Kind::Flows && it.day != partition.day;
        while let Some(at) = self.open.iter().position(|(open, _)| is_over(open)) {
            let (_, part) = self.open.remove(at);
            self.close(part)?;
        }
        if self.open.len() >= OPEN_MAX {
            let (_, part) = self.open.remove(0);
            self.close(part)?;
        }
        let number = self.parts.entry(partition.clone()).or_default();
        let name = format!("part-{number:05}.{}", self.form.extension());
        *number += 1;
        let folder = partition.folder(self.form);
        let file = self.folder.begin(&folder.join(name))?;
        let part = match self.form {
            Form::Parquet => Part::Table(Box::new(Table::new(file))),
            Form::Ndjson | Form::Ocsf => Part::Lines { file: Box::new(file), line: Vec::new() },
        };
        self.open.push((partition, part));
        Ok(())
    }

    fn close(&mut self, part: Part) -> Result<(), ExportError> {
        let file = match part {
            Part::Lines { file, .. } => *file,
            Part::Table(table) => table.close()?,
        };
        self.folder.end(file)
    }

    /// Every file is whole and safe on the disk, under the name of an unfinished one.
    pub fn finish(mut self) -> Result<Folder, ExportError> {
        for (_, part) in std::mem::take(&mut self.open) {
            self.close(part)?;
        }
        Ok(self.folder)
    }
}

#[cfg(test)]
mod tests;

//! The custody manifest of an export: who made it, when and why, of what, and the hash of each file. It is
//! written last, so an export without one is none.

use serde::Serialize;

use super::{ExportError, Folder, Form, OCSF_VERSION};
use crate::{
    coverage::Coverage,
    ecs::{HostFields, Time, hex},
    filter::RawFilter,
};

pub const MANIFEST: &str = "manifest.json";
/// Of the form below.
pub(super) const FORM_VERSION: u32 = 1;

/// By whom, where, when and why.
#[derive(Clone, Debug, Serialize)]
pub struct Made {
    pub at: Time,
    pub by: By,
    /// Where it was made, which need not be where the records were.
    pub host: HostFields<'static>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub program: Program,
}

#[derive(Clone, Debug, Serialize)]
pub struct By {
    pub uid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What sudo says of who asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sudo_user: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Program {
    pub name: &'static str,
    pub version: &'static str,
    pub commit: &'static str,
}

/// Of what.
#[derive(Clone, Debug, Serialize)]
pub struct Selection {
    /// The store that was read.
    pub store: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// Absent: up to the end of the ledger, also where a clock was ahead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
    /// As they were typed.
    pub filters: RawFilter,
    /// `false`: by these filters nothing can be said of what is only added up by hour, so it is not here.
    pub rollups: bool,
}

#[derive(Serialize)]
struct Manifest<'a> {
    geofenced_export: u32,
    made: &'a Made,
    format: Format,
    selection: &'a Selection,
    records: u64,
    rollups: u64,
    /// What of the window was watched, and where not.
    coverage: &'a Coverage,
    files: Vec<FileEntry<'a>>,
}

#[derive(Serialize)]
struct Format {
    name: Form,
    #[serde(skip_serializing_if = "Option::is_none")]
    ocsf: Option<&'static str>,
}

#[derive(Serialize)]
struct FileEntry<'a> {
    path: &'a str,
    sha256: String,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    records: Option<u64>,
}

/// What a manifest says besides the files.
#[derive(Debug)]
pub struct Custody {
    pub made: Made,
    pub form: Form,
    pub selection: Selection,
    pub flows: u64,
    pub rollups: u64,
    pub coverage: Coverage,
}

impl Custody {
    /// Writes it and gives every file its name: then the export is whole. The manifest's own hash, for whoever
    /// signs or notes it.
    pub fn seal(&self, mut folder: Folder) -> Result<String, ExportError> {
        let files = folder.written().iter().map(|it| FileEntry {
            path: &it.path,
            sha256: hex(&it.sha256),
            bytes: it.bytes,
            records: it.records,
        });
        let manifest = Manifest {
            geofenced_export: FORM_VERSION,
            made: &self.made,
            format: Format {
                name: self.form,
                ocsf: (self.form == Form::Ocsf).then_some(OCSF_VERSION),
            },
            selection: &self.selection,
            records: self.flows,
            rollups: self.rollups,
            coverage: &self.coverage,
            files: files.collect(),
        };
        let mut text = serde_json::to_vec_pretty(&manifest)?;
        text.push(b'\n');
        folder.add(MANIFEST, &text)?;
        let hash = folder.written().last().map(|it| hex(&it.sha256)).unwrap_or_default();
        folder.name(MANIFEST)?;
        Ok(hash)
    }
}

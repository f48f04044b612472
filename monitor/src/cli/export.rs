//! What `export` takes. Parsing only.

use std::path::PathBuf;

use crate::{export::Form, filter::RawFilter};

#[derive(Clone, Debug, clap::Args)]
pub struct ExportArgs {
    /// In which form
    #[arg(long, value_enum)]
    pub format: Form,
    /// Why it is made, for the manifest
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Exit with 4 if part of the period was not watched, or the ledger is not whole; the export is
    /// made all the same, and says so
    #[arg(long)]
    pub fail_on_gap: bool,
    /// A new directory, or an empty one
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
    #[command(flatten)]
    pub filter: RawFilter,
}

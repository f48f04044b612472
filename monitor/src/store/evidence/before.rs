//! Under which origins a ledger says that it was signed, where nothing else says so any more. It reads the
//! ledger and changes nothing.

use std::{path::Path, sync::Arc};

use crate::{
    event::Notice,
    evidence::PublicKey,
    store::{error::StoreError, files, scan::Scan},
};

/// In the order of the ledger.
pub(super) fn origins(root: &Path) -> Result<Vec<String>, StoreError> {
    let mut origins = Vec::new();
    let scan = Scan::new(files::ledger(root), Arc::default());
    scan.each_notice(|notice| match notice {
        Notice::RolledBack { origin, .. } => origins.push(origin.to_string()),
        Notice::Key { line, .. } => {
            origins.extend(PublicKey::parse(&line).map(|key| key.name().to_string()));
        }
        _ => {}
    })?;
    Ok(origins)
}

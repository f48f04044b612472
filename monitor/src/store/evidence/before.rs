//! Under which origins a ledger says that it was signed, where nothing else says so any more. It reads the
//! ledger and changes nothing.

use std::{path::Path, sync::Arc};

use crate::{
    event::{Entry, Notice},
    evidence::PublicKey,
    store::{
        error::StoreError,
        files,
        scan::{QueryStats, Scan},
    },
};

/// In the order of the ledger.
pub(super) fn origins(root: &Path) -> Result<Vec<String>, StoreError> {
    let scan = Scan::new(files::ledger(root), Arc::default());
    let (mut origins, mut stats) = (Vec::new(), QueryStats::default());
    for number in scan.segments()? {
        let mut blocks = Vec::new();
        scan.walk(number, 0, true, &mut stats, |at, head| {
            if head.summary.notices > 0 {
                blocks.push((at, *head));
            }
        })?;
        let Some(segment) = scan.segment(number)? else { continue };
        for (at, head) in blocks {
            for entry in scan.entries(&segment, at, &head, &mut stats)? {
                let Entry::Notice { notice, .. } = entry else { continue };
                match notice {
                    Notice::RolledBack { origin, .. } => origins.push(origin.to_string()),
                    Notice::Key { line, .. } => {
                        origins.extend(PublicKey::parse(&line).map(|key| key.name().to_string()));
                    }
                    _ => {}
                }
            }
        }
    }
    Ok(origins)
}

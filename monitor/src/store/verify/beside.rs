//! Evidence without the ledger that it is of, as it lies beside an export: leaves against what was signed and
//! witnessed. It reads no blocks, and so can say nothing of what is in them.

use std::path::Path;

use super::{
    super::error::StoreError,
    blocks::Blocks,
    check_roots,
    finding::{Finding, Kind},
    read_files, signed, witnessed,
};
use super::{Checkpoint, KeyName, PublicKey, Trust};

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Beside {
    pub findings: Vec<Finding>,
    pub leaves: u64,
    pub checkpoints: u64,
    /// The last that a known key signed, and by which.
    pub signed: Option<(Checkpoint, PublicKey)>,
    /// The last size that each witness saw, and when in seconds since the epoch.
    pub witnessed: Vec<(KeyName, u64, u64)>,
}

/// Reads `evidence/` below a directory.
pub fn verify_beside(root: &Path, trust: &Trust) -> Result<Beside, StoreError> {
    let found = read_files(root, trust)?;
    let mut findings = Vec::new();
    let (keys, witnesses) = (&trust.keys, &trust.witnesses);
    let mut all = signed::read(&found.checkpoints, keys, witnesses, false, &mut findings);
    let checkpoints = all.len() as u64;
    let last = all.last().map(|it| (it.checkpoint.clone(), it.key.clone()));
    all.extend(signed::read(&found.witnessed, keys, witnesses, true, &mut findings));
    signed::check_order(&all, &[], &mut findings);
    let leaves = found.leaves.unwrap_or_default();
    // Nothing of the ledger is to be there: what was signed decides how long it was.
    let largest = all.iter().map(|it| it.checkpoint.size).max().unwrap_or(0);
    let none = Blocks::none(largest.max(leaves.len() as u64));
    check_roots(root, &all, &leaves, &none, &mut findings)?;
    if all.is_empty() && !leaves.is_empty() {
        let detail = "nothing of it is signed by a key that was given: it could be anybody's";
        findings.push(Finding::new(Kind::NoCheckpoint, detail));
    }
    let (leaves, witnessed) = (leaves.len() as u64, witnessed(&all));
    Ok(Beside { findings, leaves, checkpoints, signed: last, witnessed })
}

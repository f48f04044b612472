//! Whether the store is what it was, by its files and public keys alone: each content is hashed again, and
//! held against its leaf, and the leaves against what was signed and witnessed. It changes nothing, and asks
//! nobody.

mod beside;
mod blocks;
mod cadence;
mod finding;
mod signed;
#[cfg(test)]
mod tests;

use std::{path::Path, sync::Arc};

pub use beside::{Beside, verify_beside};
pub use finding::{Finding, Kind};

use super::{
    error::StoreError,
    evidence::{
        checkpoints::{self, Stretch, stretches},
        keys, leaves,
    },
    files,
    scan::Scan,
};
use crate::{
    coverage::{Coverage, Integrity},
    ecs::Time,
    event::Timestamp,
    evidence::{Checkpoint, Hash, KeyName, PublicKey, WitnessKey},
};
use blocks::Blocks;
use signed::{Roots, Signed};

/// Whose word counts.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    pub keys: Vec<PublicKey>,
    pub witnesses: Vec<WitnessKey>,
    /// What a witness kept of what it saw, as signed notes.
    pub seen: Vec<u8>,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Report {
    /// Nothing: it is intact.
    pub findings: Vec<Finding>,
    /// What is worth knowing and no fault.
    pub remarks: Vec<String>,
    pub segments: u64,
    pub blocks: u64,
    pub entries: u64,
    pub bytes: u64,
    pub leaves: u64,
    pub checkpoints: u64,
    /// The last that a known key signed, and by which.
    pub signed: Option<(Checkpoint, PublicKey)>,
    /// The last size that each witness saw, and when in seconds since the epoch.
    pub witnessed: Vec<(KeyName, u64, u64)>,
    /// From the first entry to the last, what was not watched or is not kept.
    pub coverage: Coverage,
}

/// The keys that the store itself gives out: the word of whoever is to be checked.
pub fn own_keys(root: &Path) -> Result<Vec<PublicKey>, StoreError> {
    keys::published(root)
}

/// Everything that evidence is, as it stood before the ledger was read: that may be written meanwhile.
struct Files {
    leaves: Option<Vec<Hash>>,
    checkpoints: Vec<Stretch>,
    witnessed: Vec<Stretch>,
}

/// Reads all of the store. `each` is told how many bytes of the ledger were read.
pub fn verify(root: &Path, trust: &Trust, each: &mut dyn FnMut(u64)) -> Result<Report, StoreError> {
    let ledger = files::ledger(root);
    if !ledger.is_dir() {
        return Err(StoreError::Missing { path: root.to_owned() });
    }
    let found = read_files(root, trust)?;
    let mut blocks = blocks::read(&Scan::new(ledger, Arc::default()), each)?;
    let mut findings = std::mem::take(&mut blocks.findings);
    let keys = signed::known_keys(&trust.keys, &blocks.keys);
    let witnesses = &trust.witnesses;
    let mut all = signed::read(&found.checkpoints, &keys, witnesses, false, &mut findings);
    let checkpoints = all.len() as u64;
    let last = all.last().map(|it| (it.checkpoint.clone(), it.key.clone()));
    all.extend(signed::read(&found.witnessed, &keys, witnesses, true, &mut findings));
    signed::check_order(&all, &blocks.keys, &mut findings);
    let leaves = found.leaves.unwrap_or_default();
    check_roots(root, &all, &leaves, &blocks, &mut findings)?;
    findings.extend(blocks.unexplained(&findings));
    let mut remarks = Vec::new();
    check_signing(&all, &blocks, &mut findings, &mut remarks);
    for (block, origin, was) in &blocks.rolled_back {
        let mut lines = was.lines();
        let was = match (lines.next(), lines.next()) {
            (Some(origin), Some(size)) => {
                format!("what had been signed as `{origin}`, {size} blocks")
            }
            _ => "known any more: the evidence had gone".to_owned(),
        };
        let detail =
            format!("the daemon found a ledger that was not {was}, and went on as `{origin}`");
        findings.push(Finding::new(Kind::RolledBack, detail).of_blocks(*block, *block));
    }
    for finding in &mut findings {
        date(finding, &blocks);
    }
    findings.sort_by_key(|it| (it.blocks, it.segment, it.line));
    let end = Timestamp(blocks.contents.last);
    let span = (blocks.first_word.unwrap_or(end).min(end), end);
    Ok(Report {
        findings,
        remarks,
        segments: blocks.segments,
        blocks: blocks.contents.blocks,
        entries: blocks.contents.flows + blocks.contents.rollups + blocks.contents.notices,
        bytes: blocks.bytes,
        leaves: leaves.len() as u64,
        checkpoints,
        signed: last,
        witnessed: witnessed(&all),
        coverage: blocks.fold.within(span, None, Integrity::default()),
    })
}

fn read_files(root: &Path, trust: &Trust) -> Result<Files, StoreError> {
    let evidence = files::evidence(root);
    let read = |path: &Path| -> Result<Vec<u8>, StoreError> {
        let bytes = files::read(path).map_err(StoreError::io("read", path))?;
        Ok(bytes.unwrap_or_default())
    };
    let checkpoints = stretches(&read(&checkpoints::path(&evidence))?);
    let mut witnessed = stretches(&read(&checkpoints::witnessed_path(&evidence))?);
    witnessed.extend(stretches(&trust.seen));
    let leaves = leaves::read(&leaves::path(&evidence))?;
    Ok(Files { leaves, checkpoints, witnessed })
}

/// Of each origin by the leaves it had.
fn check_roots(
    root: &Path,
    all: &[Signed],
    leaves: &[Hash],
    blocks: &Blocks,
    findings: &mut Vec<Finding>,
) -> Result<(), StoreError> {
    let of_file = all.iter().rfind(|it| !it.is_witnessed_file).or(all.last());
    let current = of_file.map(|it| it.checkpoint.origin.as_str());
    let mut origins: Vec<&str> = all.iter().map(|it| it.checkpoint.origin.as_str()).collect();
    origins.sort_unstable();
    origins.dedup();
    if origins.is_empty() {
        let size = blocks.next.max(leaves.len() as u64);
        Roots { checkpoints: Vec::new(), leaves, blocks, size }.check(findings);
    }
    for origin in origins {
        let checkpoints: Vec<&Signed> =
            all.iter().filter(|it| it.checkpoint.origin == origin).collect();
        if Some(origin) == current {
            let size = blocks.next.max(leaves.len() as u64);
            Roots { checkpoints, leaves, blocks, size }.check(findings);
            continue;
        }
        // One that was given up: its leaves were set aside, its blocks may be gone.
        let number = origin.rsplit_once('/').and_then(|(_, number)| number.parse().ok());
        let path = leaves::old_path(&files::evidence(root), number.unwrap_or(1));
        let old = leaves::read(&path)?.unwrap_or_else(|| leaves.to_vec());
        let none = Blocks::none(old.len() as u64);
        Roots { checkpoints, leaves: &old, blocks: &none, size: old.len() as u64 }.check(findings);
    }
    Ok(())
}

/// That something is signed, and as often as it should be.
fn check_signing(
    all: &[Signed],
    blocks: &Blocks,
    findings: &mut Vec<Finding>,
    remarks: &mut Vec<String>,
) {
    let mut sizes: Vec<u64> = all.iter().map(|it| it.checkpoint.size).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let signed = sizes.last().copied().unwrap_or(0);
    if sizes.is_empty() && blocks.next > 0 {
        let detail = "nothing of it is signed by a key that was given: it could be anybody's";
        findings.push(Finding::new(Kind::NoCheckpoint, detail).of_blocks(0, blocks.next - 1));
        return;
    }
    // A ledger is older than its evidence where it was begun by a version that kept none.
    let begin = blocks.keys.first().map_or(0, |key| key.block);
    cadence::check(&blocks.words, begin, &sizes, findings);
    if blocks.next > signed {
        remarks.push(format!(
            "blocks {signed} to {} are not signed yet: whoever has the disk could write them anew",
            blocks.next - 1
        ));
    }
    if let Some((segment, bytes)) = blocks.tail {
        remarks.push(format!(
            "segment {segment} ends with {bytes} bytes of a block that was never finished"
        ));
    }
}

/// The latest that each witness saw.
fn witnessed(all: &[Signed]) -> Vec<(KeyName, u64, u64)> {
    let mut latest: Vec<(KeyName, u64, u64)> = Vec::new();
    for signed in all {
        for seen in &signed.witnesses {
            let size = signed.checkpoint.size;
            match latest.iter_mut().find(|it| it.0 == seen.witness) {
                Some(it) if it.1 >= size => {}
                Some(it) => *it = (seen.witness.clone(), size, seen.seconds),
                None => latest.push((seen.witness.clone(), size, seen.seconds)),
            }
        }
    }
    latest
}

/// When what it concerns was, by the blocks in it or else beside it.
fn date(finding: &mut Finding, blocks: &Blocks) {
    let (Some((first, last)), None) = (finding.blocks, finding.from) else { return };
    let before = blocks.seen.range(..=first).next_back().map(|(_, seen)| seen);
    let after = blocks.seen.range(last..).next().map(|(_, seen)| seen);
    let is_within = blocks.seen.contains_key(&first) && blocks.seen.contains_key(&last);
    let from = before.map(|seen| if is_within { seen.span.0 } else { seen.span.1 });
    let to = after.map(|seen| if is_within { seen.span.1 } else { seen.span.0 });
    (finding.from, finding.to) = (from.map(Time), to.map(Time));
    if finding.segment.is_none() && finding.line.is_none() {
        finding.segment = after.or(before).map(|seen| seen.segment);
    }
}

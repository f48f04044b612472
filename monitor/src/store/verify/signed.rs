//! What was signed, held against leaves and blocks: by whom, of what size, with what root, in what order, and
//! what a witness saw of it. It reads no ledger.

use std::collections::BTreeMap;

use super::{
    blocks::{Blocks, ToldKey},
    finding::{Finding, Kind},
};
use crate::{
    evidence::{
        Checkpoint, Cosignature, Fault, Frontier, Hash, Note, PublicKey, WitnessKey,
        note::SignatureLine,
    },
    store::evidence::{checkpoints::Stretch, keys::is_succession, leaves::NONE},
};

/// A checkpoint that a known key signed.
#[derive(Clone, Debug)]
pub(super) struct Signed {
    pub line: usize,
    pub checkpoint: Checkpoint,
    pub key: PublicKey,
    /// Of those witnesses whose key is known.
    pub witnesses: Vec<Cosignature>,
    pub is_witnessed_file: bool,
}

/// Known keys: those given, and those that follow on them by their own signature.
pub(super) fn known_keys(given: &[PublicKey], told: &[ToldKey]) -> Vec<PublicKey> {
    let mut keys = given.to_vec();
    for ToldKey { line, before, signature, .. } in told {
        let (Ok(key), Some(before), Some(signature)) = (PublicKey::parse(line), before, signature)
        else {
            continue;
        };
        let known = PublicKey::parse(before).ok().filter(|before| keys.contains(before));
        if known.is_some_and(|before| is_succession(&before, &key, signature))
            && !keys.contains(&key)
        {
            keys.push(key);
        }
    }
    keys
}

/// Those of a file that are right by themselves.
pub(super) fn read(
    stretches: &[Stretch],
    keys: &[PublicKey],
    witnesses: &[WitnessKey],
    is_witnessed_file: bool,
    findings: &mut Vec<Finding>,
) -> Vec<Signed> {
    let mut signed = Vec::new();
    let file = if is_witnessed_file { "what witnesses saw" } else { "checkpoints" };
    for Stretch { line, note, .. } in stretches {
        let verified = note.clone().and_then(|(note, checkpoint)| {
            let key = note.verify(keys)?.clone();
            Ok((cosigned(&note, witnesses)?, checkpoint, key))
        });
        match verified {
            Ok((witnesses, checkpoint, key)) => {
                signed.push(Signed { line: *line, checkpoint, key, witnesses, is_witnessed_file });
            }
            Err(fault) => {
                let kind = match fault {
                    Fault::UnknownKey => Kind::UnknownKey,
                    Fault::Signature => Kind::WrongSignature,
                    _ => Kind::UnreadableCheckpoint,
                };
                let by = signers(note.as_ref().ok().map(|(note, _)| note));
                let detail = format!("line {line} of {file}: {fault}{by}");
                findings.push(Finding::new(kind, detail).at_line(*line));
            }
        }
    }
    signed
}

fn signers(note: Option<&Note>) -> String {
    let lines = note.map(Note::signatures).unwrap_or_default();
    let names: Vec<&str> = lines.iter().map(|line: &SignatureLine| line.name.as_str()).collect();
    if names.is_empty() { String::new() } else { format!(" (signed as {})", names.join(", ")) }
}

fn cosigned(note: &Note, witnesses: &[WitnessKey]) -> Result<Vec<Cosignature>, Fault> {
    let mut seen = Vec::new();
    for line in note.signatures() {
        for witness in witnesses {
            seen.extend(Cosignature::verify(line, note.text(), witness)?);
        }
    }
    Ok(seen)
}

/// Order, sizes and keys of the checkpoints as they stand in their file; `all` has what witnesses saw, too.
pub(super) fn check_order(all: &[Signed], told: &[ToldKey], findings: &mut Vec<Finding>) {
    let mut largest: BTreeMap<&str, u64> = BTreeMap::new();
    let mut roots: BTreeMap<(&str, u64), &Hash> = BTreeMap::new();
    for Signed { line, checkpoint, key, is_witnessed_file, .. } in all {
        let Checkpoint { origin, size, root } = checkpoint;
        let largest = largest.entry(origin).or_default();
        if *size < *largest && !is_witnessed_file {
            let detail =
                format!("line {line}: a checkpoint of {size} blocks behind one of {largest}");
            findings.push(Finding::new(Kind::FallingSize, detail).at_line(*line));
        }
        *largest = (*largest).max(*size);
        if **roots.entry((origin, *size)).or_insert(root) != *root {
            let detail =
                format!("line {line}: `{origin}` signed two different ledgers of {size} blocks");
            findings.push(Finding::new(Kind::TwoOfOneSize, detail).at_line(*line));
        }
        let key = key.to_string();
        // A key signs from the block on that tells of it, until the block that tells of the next.
        let begins = told.iter().filter(|it| it.line == key).map(|it| it.block).min();
        let follows = told.iter().filter(|it| it.before.as_ref() == Some(&key));
        let ends = follows.map(|it| it.block).max().filter(|end| begins.is_none_or(|it| it < *end));
        let is_early = begins.is_some_and(|begins| *size <= begins);
        let is_late = ends.is_some_and(|ends| *size > ends + 1);
        if is_early || is_late {
            let when =
                if is_early { "before the ledger tells of" } else { "after another followed on" };
            let detail = format!("line {line}: {size} blocks are signed {when} the key {key}");
            findings.push(Finding::new(Kind::KeyOutOfTime, detail).at_line(*line));
        }
    }
}

/// Roots of one origin, held against what there is.
pub(super) struct Roots<'a> {
    pub checkpoints: Vec<&'a Signed>,
    pub leaves: &'a [Hash],
    pub blocks: &'a Blocks,
    /// Blocks of the ledger, or of its leaves where there are more.
    pub size: u64,
}

impl Roots<'_> {
    /// Checks them in the order of their sizes.
    pub(super) fn check(mut self, findings: &mut Vec<Finding>) {
        self.checkpoints.sort_by_key(|it| it.checkpoint.size);
        let by_file = self.matching(|number| self.leaves.get(number as usize).copied());
        let merged = |number: u64| {
            let seen = self.blocks.seen.get(&number).map(|seen| seen.leaf);
            seen.or_else(|| self.leaves.get(number as usize).copied())
        };
        let is_all = by_file.iter().all(|is_right| *is_right);
        let by_blocks = if is_all { by_file.clone() } else { self.matching(merged) };
        let largest = |right: &[bool]| {
            let sizes = self.checkpoints.iter().zip(right).filter(|(_, is_right)| **is_right);
            sizes.map(|(signed, _)| signed.checkpoint.size).max().unwrap_or(0)
        };
        let (of_file, of_blocks) = (largest(&by_file), largest(&by_blocks));
        self.compare(of_file, of_blocks, findings);
        self.cut(findings);
        let mut proven = 0;
        let mut is_told = false;
        for (at, signed) in self.checkpoints.iter().enumerate() {
            let Signed { line, checkpoint: Checkpoint { size, .. }, .. } = signed;
            if by_file[at] || by_blocks[at] {
                proven = *size;
                is_told = false;
            } else if *size <= self.size && !is_told {
                // Those after it have the same fault, unless one of them is right again.
                is_told = true;
                let detail = format!(
                    "line {line}: what stands as blocks {proven} to {} is not what was signed",
                    size.saturating_sub(1)
                );
                let finding = Finding::new(Kind::WrongRoot, detail).at_line(*line);
                findings.push(finding.of_blocks(proven, size.saturating_sub(1)));
            }
        }
    }

    /// Which of the checkpoints have the root of these leaves.
    fn matching(&self, leaf: impl Fn(u64) -> Option<Hash>) -> Vec<bool> {
        let mut frontier = Frontier::default();
        let mut right = Vec::new();
        for signed in &self.checkpoints {
            let Checkpoint { size, root, .. } = &signed.checkpoint;
            while frontier.size() < *size {
                let Some(leaf) = leaf(frontier.size()) else { break };
                frontier.push(leaf);
            }
            right.push(frontier.size() == *size && frontier.root() == *root);
        }
        right
    }

    /// Blocks whose leaf is another. A root that was signed says which of both is right.
    fn compare(&self, of_file: u64, of_blocks: u64, findings: &mut Vec<Finding>) {
        for (number, seen) in &self.blocks.seen {
            let Some(leaf) = self.leaves.get(*number as usize) else { break };
            let is_none = *leaf == NONE && *number < of_file;
            if *leaf == seen.leaf || is_none {
                continue;
            }
            let (kind, detail) = if *number < of_file {
                (Kind::AlteredBlock, "is not the one that was signed")
            } else if *number < of_blocks {
                (Kind::AlteredLeaf, "is what was signed, and its leaf was altered")
            } else {
                (
                    Kind::AlteredBlock,
                    "does not fit its leaf, and nothing signed says which is right",
                )
            };
            let finding = Finding::new(kind, format!("block {number} {detail}"));
            findings.push(finding.of_segment(seen.segment).of_blocks(*number, *number));
        }
    }

    /// What was signed, or has leaves, and is not there.
    fn cut(&self, findings: &mut Vec<Finding>) {
        let (ledger, leaves) = (self.blocks.next, self.leaves.len() as u64);
        let signed = self.checkpoints.iter().map(|it| it.checkpoint.size).max().unwrap_or(0);
        if leaves < signed {
            let detail = format!("{leaves} leaves are there, and {signed} were signed");
            let finding = Finding::new(Kind::CutLeaves, detail);
            findings.push(finding.of_blocks(leaves, signed - 1));
        }
        if ledger >= signed.max(leaves) {
            return;
        }
        if let Some((segment, bytes)) = self.blocks.tail {
            let detail =
                format!("blocks from {ledger} on: {bytes} bytes stand there that are no block");
            let finding = Finding::new(Kind::AlteredBlock, detail).of_segment(segment);
            findings.push(finding.of_blocks(ledger, signed.max(leaves) - 1));
            return;
        }
        let mut past = self.checkpoints.iter().filter(|it| it.is_witnessed_file);
        let past = past.rfind(|it| it.checkpoint.size > ledger);
        if let Some(past) = past {
            let seen = past.witnesses.iter().map(|it| format!("{} at {}", it.witness, it.seconds));
            let seen: Vec<String> = seen.collect();
            let by = if seen.is_empty() {
                "a witness whose key was not given".into()
            } else {
                seen.join(", ")
            };
            let detail = format!(
                "the ledger ends before block {ledger}, and {} were seen by {by}",
                past.checkpoint.size
            );
            let finding = Finding::new(Kind::CutPastWitness, detail).at_line(past.line);
            findings.push(finding.of_blocks(ledger, past.checkpoint.size - 1));
        } else {
            let what = if ledger < signed { "were signed" } else { "have leaves" };
            let last = signed.max(leaves);
            let detail = format!("the ledger ends before block {ledger}, and {last} {what}");
            findings.push(Finding::new(Kind::CutLedger, detail).of_blocks(ledger, last - 1));
        }
    }
}

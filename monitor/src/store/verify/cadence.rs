//! Whether checkpoints came as often as they should: what was never signed can be written anew by whoever
//! has the disk. Times are those of the daemon's own words, where they follow on each other.

use super::{
    blocks::{Word, WordKind},
    finding::{Finding, Kind},
};
use crate::{coverage::ALIVE_NS, ecs::Time, store::evidence::CADENCE};

/// A checkpoint waits for the sync after it is due, and a disk may be slow.
const SLACK_NS: u64 = 5 * ALIVE_NS;
/// Words further apart do not follow on each other: the host slept.
const APART_NS: u64 = 3 * ALIVE_NS;

/// `sizes`: of the checkpoints, ascending; blocks from `begin` on should be signed.
pub(super) fn check(words: &[Word], begin: u64, sizes: &[u64], findings: &mut Vec<Finding>) {
    let most = CADENCE.as_nanos() as u64 + SLACK_NS;
    let mut from = begin;
    for until in sizes.iter().copied().chain([u64::MAX]) {
        let between = words.iter().filter(|word| (from..until).contains(&word.block));
        if let Some(finding) = longest(between, most) {
            let is_tail = until == u64::MAX;
            let kind = if is_tail { Kind::UnsignedTail } else { Kind::LateCheckpoint };
            let (first, last, begins, ends) = finding;
            let minutes = (ends.0.0 - begins.0.0) / ALIVE_NS;
            let detail = format!(
                "blocks {first} to {last}: {minutes} minutes went by without a checkpoint, of which one \
                 is due every {}",
                CADENCE.as_secs() / 60
            );
            let mut finding = Finding::new(kind, detail).of_blocks(first, last);
            (finding.from, finding.to) = (Some(begins), Some(ends));
            findings.push(finding);
        }
        from = from.max(until);
    }
}

/// The first stretch of words that is longer than that: its blocks and times.
fn longest<'w>(words: impl Iterator<Item = &'w Word>, most: u64) -> Option<(u64, u64, Time, Time)> {
    let mut begun: Option<Word> = None;
    let mut last: Option<Word> = None;
    for word in words {
        let follows = last.is_some_and(|last| {
            word.kind == WordKind::Goes && word.at.0.saturating_sub(last.at.0) <= APART_NS
        });
        if !follows {
            begun = Some(*word);
        }
        last = Some(*word);
        if let Some(begun) = begun.filter(|begun| word.at.0.saturating_sub(begun.at.0) > most) {
            return Some((begun.block, word.block, Time(begun.at), Time(word.at)));
        }
    }
    None
}

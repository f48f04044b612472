//! The ledger from its first byte to its last: which blocks are there, whole and in order, with what leaf,
//! and what they tell of keys, of segments that went and of the daemon's being there. It knows no signatures.

use std::{collections::BTreeMap, ops::ControlFlow};

use super::finding::{Finding, Kind};
use crate::{
    coverage::Fold,
    event::{Entry, Notice, Timestamp},
    evidence::{self, Hash},
    store::{
        error::StoreError,
        files::segment_path,
        ledger::{
            block,
            frame::{Head, SEGMENT_HEADER_MAX, SegmentHeader, hash},
            segment::Segment,
        },
        scan::{Contents, Scan},
    },
};

/// A block that is there and whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub leaf: Hash,
    pub segment: u32,
    pub span: (Timestamp, Timestamp),
}

/// A word of the daemon that says that it watches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word {
    pub block: u64,
    pub at: Timestamp,
    pub kind: WordKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WordKind {
    /// What was before has nothing to do with what comes.
    Begins,
    Goes,
}

/// The keys that the ledger tells of, and in which block.
#[derive(Clone, Debug)]
pub(super) struct ToldKey {
    pub block: u64,
    pub line: String,
    pub before: Option<String>,
    pub signature: Option<String>,
}

/// Blocks that are not there.
#[derive(Clone, Copy, Debug)]
struct Hole {
    first: u64,
    last: u64,
    segment: u32,
    cause: Cause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// Bytes stand there that are none.
    Unreadable,
    /// Nothing does.
    Removed,
    /// Its segment is not there.
    Segment,
}

/// What the ledger says.
#[derive(Debug)]
pub(super) struct Blocks {
    pub seen: BTreeMap<u64, Seen>,
    pub findings: Vec<Finding>,
    /// Blocks of the ledger are numbered below that.
    pub next: u64,
    /// Bytes behind the last whole block of the last segment.
    pub tail: Option<(u32, u64)>,
    pub segments: u64,
    pub bytes: u64,
    pub contents: Contents,
    pub words: Vec<Word>,
    pub keys: Vec<ToldKey>,
    /// Origin, and text of the checkpoint before.
    pub rolled_back: Vec<(u64, String, String)>,
    pub fold: Fold,
    /// Since when somebody says that he watches.
    pub first_word: Option<Timestamp>,
    gone: Vec<(u64, u64)>,
    holes: Vec<Hole>,
    last_hash: Option<Hash>,
    /// Blocks at which the chain breaks, and how.
    breaks: Vec<(u64, Finding)>,
}

/// Reads all of it. `each` is told how many bytes were read.
pub(super) fn read(scan: &Scan, each: &mut dyn FnMut(u64)) -> Result<Blocks, StoreError> {
    let mut blocks = Blocks::none(0);
    let numbers = scan.segments()?;
    // Retention may take some meanwhile, and tells of it in those that come.
    let mut there = Vec::with_capacity(numbers.len());
    for number in numbers {
        let before = there.last().copied().unwrap_or(0);
        if blocks.segment(scan, number, before, each)? {
            there.push(number);
        }
    }
    let last = there.last().copied().unwrap_or(0);
    blocks.missing_segments(&there, last);
    blocks.settle();
    Ok(blocks)
}

impl Blocks {
    /// A ledger of so many blocks, of which none is there.
    pub(super) fn none(next: u64) -> Self {
        Self {
            seen: BTreeMap::new(),
            findings: Vec::new(),
            next,
            tail: None,
            segments: 0,
            bytes: 0,
            contents: Contents::default(),
            words: Vec::new(),
            keys: Vec::new(),
            rolled_back: Vec::new(),
            fold: Fold::from(Timestamp(0)),
            first_word: None,
            gone: Vec::new(),
            holes: Vec::new(),
            last_hash: None,
            breaks: Vec::new(),
        }
    }

    fn segment(
        &mut self,
        scan: &Scan,
        number: u32,
        before: u32,
        each: &mut dyn FnMut(u64),
    ) -> Result<bool, StoreError> {
        let path = segment_path(scan.ledger(), number);
        let failed = |error| StoreError::io("read", &path)(error);
        let Some(mut segment) = scan.segment(number)? else { return Ok(false) };
        let is_next = number == before + 1;
        let header = segment.header().map_err(failed)?.ok();
        self.begin(number, is_next, header.as_ref());
        let mut heads = Vec::new();
        let walked = segment.walk(0, |at, head| {
            heads.push((at, *head));
            ControlFlow::Continue(())
        });
        let walk = walked.map_err(failed)?;
        let mut expected_at = segment.blocks_at().map_err(failed)?;
        for (at, head) in heads {
            let stray = at - expected_at;
            let cause = match (stray, is_next || self.segments_block(number)) {
                (1.., _) => Cause::Unreadable,
                (0, true) => Cause::Removed,
                (0, false) => Cause::Segment,
            };
            let is_hole = self.is_new(&head, number, cause);
            if stray > 0 && !is_hole {
                self.stray(number, stray);
            }
            expected_at = at + head.block_bytes();
            self.block(&segment, at, &head, stray > 0).map_err(failed)?;
            each(head.block_bytes());
        }
        self.segments += 1;
        self.bytes += segment.bytes();
        if walk.tail > 0 {
            self.tail = Some((number, walk.tail));
        }
        Ok(true)
    }

    /// Whether a block of this segment was seen: what is missing then is missing in it.
    fn segments_block(&self, segment: u32) -> bool {
        self.seen.last_key_value().is_some_and(|(_, seen)| seen.segment == segment)
    }

    fn begin(&mut self, number: u32, is_next: bool, header: Option<&SegmentHeader>) {
        let Some(header) = header else {
            let detail = "its header is not what it was written as";
            let finding = Finding::new(Kind::AlteredSegmentHeader, detail);
            self.findings.push(finding.of_segment(number));
            self.last_hash = None;
            return;
        };
        let tail = self.tail.take();
        if header.first_block > self.next {
            let (cause, of) = match tail {
                Some((segment, _)) => (Cause::Unreadable, segment),
                None if is_next => (Cause::Removed, number),
                None => (Cause::Segment, number),
            };
            self.hole(header.first_block, of, cause);
        } else if let Some((segment, bytes)) = tail {
            self.stray(segment, bytes);
        } else if header.first_block < self.next {
            let detail =
                format!("it begins with block {}, which stands before it", header.first_block);
            let finding = Finding::new(Kind::BrokenChain, detail).of_segment(number);
            self.breaks.push((header.first_block, finding));
        }
        if is_next && self.last_hash.is_some_and(|last| last != header.previous) {
            let detail = "it does not go on from the segment before it";
            let finding = Finding::new(Kind::BrokenChain, detail).of_segment(number);
            self.breaks.push((header.first_block, finding));
        }
        let bytes = header.encode();
        debug_assert!(bytes.len() <= SEGMENT_HEADER_MAX);
        self.last_hash = Some(hash(&[&bytes]));
    }

    /// Whether blocks are missing before this one.
    fn is_new(&mut self, head: &Head, segment: u32, cause: Cause) -> bool {
        let is_hole = head.number > self.next;
        if is_hole {
            self.hole(head.number, segment, cause);
        }
        is_hole
    }

    fn hole(&mut self, until: u64, segment: u32, cause: Cause) {
        self.holes.push(Hole { first: self.next, last: until - 1, segment, cause });
        self.next = until;
        self.last_hash = None;
    }

    fn block(
        &mut self,
        segment: &Segment,
        at: u64,
        head: &Head,
        is_after_stray: bool,
    ) -> std::io::Result<()> {
        let number = head.number;
        let Some((bytes, payload)) = segment.raw(at, head)? else { return Ok(()) };
        let is_in_order = number == self.next;
        if is_in_order {
            self.next += 1;
        } else if !self.late(segment.number(), number, &evidence::leaf(&bytes, &payload)) {
            return Ok(());
        }
        self.contents.add(head);
        if is_in_order
            && !is_after_stray
            && self.last_hash.is_some_and(|last| last != head.previous)
        {
            let detail = format!("block {number} does not go on from the block before it");
            let finding = Finding::new(Kind::BrokenChain, detail);
            let finding = finding.of_segment(segment.number()).of_blocks(number, number);
            self.breaks.push((number, finding));
        }
        self.last_hash = is_in_order.then(|| hash(&[&bytes, &payload]));
        let entries = if crc32fast::hash(&payload) == head.payload_crc {
            block::entries(head, &payload).ok()
        } else {
            None
        };
        let Some(entries) = entries else {
            let detail = format!("the content of block {number} is not what its head says");
            let finding = Finding::new(Kind::AlteredBlock, detail);
            self.findings.push(finding.of_segment(segment.number()).of_blocks(number, number));
            self.last_hash = None;
            return Ok(());
        };
        let summary = &head.summary;
        let span = (summary.first.min(summary.other_first), summary.last.max(summary.other_last));
        let span = (Timestamp(span.0), Timestamp(span.1));
        let leaf = evidence::leaf(&bytes, &payload);
        self.seen.insert(number, Seen { leaf, segment: segment.number(), span });
        for entry in entries {
            if let Entry::Notice { at, notice } = entry {
                self.notice(number, at, notice);
            }
        }
        Ok(())
    }

    /// One that should have stood before. Whether it is there for the first time.
    fn late(&mut self, segment: u32, number: u64, leaf: &Hash) -> bool {
        let hole = self.holes.iter().position(|it| (it.first..=it.last).contains(&number));
        if let Some(at) = hole {
            let Hole { first, last, segment: of, cause } = self.holes.swap_remove(at);
            let rest = [(first, number.wrapping_sub(1)), (number + 1, last)];
            let rest = rest.into_iter().filter(|(from, to)| from <= to && *to != u64::MAX);
            self.holes.extend(rest.map(|(first, last)| Hole { first, last, segment: of, cause }));
            let detail = format!("block {number} stands behind blocks that come after it");
            let finding = Finding::new(Kind::SwappedBlock, detail);
            self.findings.push(finding.of_segment(segment).of_blocks(number, number));
            return true;
        }
        let is_same = self.seen.get(&number).is_some_and(|seen| seen.leaf == *leaf);
        let (kind, detail) = if is_same {
            (Kind::DuplicatedBlock, format!("block {number} stands there a second time"))
        } else {
            (Kind::AlteredBlock, format!("another block stands there as number {number}"))
        };
        self.findings
            .push(Finding::new(kind, detail).of_segment(segment).of_blocks(number, number));
        false
    }

    fn notice(&mut self, block: u64, at: Timestamp, notice: Notice) {
        self.fold.add(at, &notice);
        if !matches!(notice, Notice::Key { .. } | Notice::Gone { .. }) {
            self.first_word.get_or_insert(at);
        }
        let mut word = |kind| self.words.push(Word { block, at, kind });
        match notice {
            Notice::Started { .. } | Notice::ClockStepped { .. } => word(WordKind::Begins),
            Notice::Alive | Notice::Stopped | Notice::Reloaded { .. } => word(WordKind::Goes),
            Notice::Gone { ranges } => self.gone = ranges,
            Notice::Key { line, before, signature } => self.keys.push(ToldKey {
                block,
                line: line.to_string(),
                before: before.map(|it| it.to_string()),
                signature: signature.map(|it| it.to_string()),
            }),
            Notice::RolledBack { origin, was } => {
                self.rolled_back.push((block, origin.to_string(), was.to_string()));
            }
            _ => {}
        }
    }

    fn stray(&mut self, segment: u32, bytes: u64) {
        let detail = format!("{bytes} bytes between its blocks are no block");
        self.findings.push(Finding::new(Kind::StrayBytes, detail).of_segment(segment));
    }

    fn missing_segments(&mut self, there: &[u32], last: u32) {
        let missing = (1..last).filter(|it| there.binary_search(it).is_err());
        let is_told = |segment: &u32| {
            let segment = u64::from(*segment);
            self.gone.iter().any(|(first, last)| (*first..=*last).contains(&segment))
        };
        let untold: Vec<u32> = missing.filter(|segment| !is_told(segment)).collect();
        for segment in untold {
            let mut finding = Finding::new(
                Kind::RemovedSegment,
                format!("segment {segment} is not there, and no notice tells that it was removed"),
            );
            // Of whatever is missing next to it.
            let next = there.iter().find(|it| **it > segment).copied();
            let hole = self.holes.iter().find(|it| Some(it.segment) == next);
            if let Some(hole) = hole.filter(|it| it.cause == Cause::Segment) {
                finding = finding.of_blocks(hole.first, hole.last);
            }
            self.findings.push(finding.of_segment(segment));
        }
    }

    /// Says what the holes are.
    fn settle(&mut self) {
        for Hole { first, last, segment, cause } in std::mem::take(&mut self.holes) {
            let (kind, detail) = match cause {
                Cause::Segment => continue,
                Cause::Unreadable => {
                    (Kind::AlteredBlock, "bytes stand where it should that are no block")
                }
                Cause::Removed => (Kind::RemovedBlocks, "nothing stands where it should"),
            };
            let which = if first == last {
                format!("block {first}: {detail}")
            } else {
                format!("blocks {first} to {last}: {detail}")
            };
            let finding = Finding::new(kind, which).of_segment(segment).of_blocks(first, last);
            self.findings.push(finding);
        }
    }

    /// Breaks of the chain that nothing else explains.
    pub(super) fn unexplained(&self, findings: &[Finding]) -> Vec<Finding> {
        let is_explained = |block: u64| {
            let near = block.saturating_sub(1)..=block + 1;
            let mut concerned = findings.iter().filter_map(|finding| finding.blocks);
            concerned.any(|(first, last)| first <= *near.end() && last >= *near.start())
        };
        let breaks = self.breaks.iter().filter(|(block, _)| !is_explained(*block));
        breaks.map(|(_, finding)| finding.clone()).collect()
    }
}

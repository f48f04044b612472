//! Ledgers that are on their way to somebody: segments as bytes, the blocks at the end of one that is still
//! written, and what lies beside them. It reads; it judges nothing, and trusts nothing that it reads.

use std::{
    fs::File,
    io,
    ops::{ControlFlow, Range},
    os::unix::fs::FileExt as _,
    path::Path,
    sync::Arc,
};

use super::{
    error::StoreError,
    evidence::{checkpoints, keys, leaves},
    files,
    ledger::{
        block,
        frame::{
            BLOCK_MAGIC, Created, HEAD_BYTES, Head, HeaderFault, SEGMENT_HEADER_MAX, SegmentHeader,
            VERSION, hash, verdict_bit,
        },
        segment::Segment,
    },
    scan::Scan,
};
use crate::{
    event::{BootId, Entry, Notice, Timestamp, Verdict},
    evidence::{self, Checkpoint, Fault, Hash, Note, PublicKey},
};

/// Why bytes are no segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSegment {
    #[error("its first bytes are no header of a segment")]
    Damaged,
    #[error("it was written by a newer version (format {0}, this one knows {VERSION})")]
    Newer(u32),
}

/// What the header of a segment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beginning {
    pub segment: u32,
    /// Number of its first block.
    pub first_block: u64,
    /// Of the last block before it.
    pub previous: Hash,
    pub created: Timestamp,
    /// `None`: of a version that did not tell.
    pub boot: Option<BootId>,
}

/// A whole block within bytes of a segment.
#[derive(Clone, Copy, Debug)]
pub struct Within {
    at: usize,
    head: Head,
    pub leaf: Hash,
    /// Of the whole block: what the next one must call the one before it.
    pub hash: Hash,
}

impl Within {
    pub fn number(&self) -> u64 {
        self.head.number
    }

    /// What it says the block before it is.
    pub fn previous(&self) -> Hash {
        self.head.previous
    }

    /// Flows, roll-ups, and notices with lookups, as its head counts them.
    pub fn counts(&self) -> [u64; 3] {
        let it = &self.head.summary;
        [it.flows.into(), it.rollups.into(), it.notices.into()]
    }

    /// Earliest and latest instant of its entries; `None` where it has none.
    pub fn span(&self) -> Option<(Timestamp, Timestamp)> {
        let it = &self.head.summary;
        let (first, last) = (it.first.min(it.other_first), it.last.max(it.other_last));
        (first <= last).then_some((Timestamp(first), Timestamp(last)))
    }

    pub fn may_violate(&self) -> bool {
        self.head.summary.verdicts & verdict_bit(Verdict::Unapproved) != 0
    }

    /// Its entries; `None`: it can't be read.
    pub fn entries(&self, bytes: &[u8]) -> Option<Vec<Entry>> {
        let payload = self.payload(bytes)?;
        (crc32fast::hash(payload) == self.head.payload_crc)
            .then(|| block::entries(&self.head, payload).ok())
            .flatten()
    }

    fn payload<'b>(&self, bytes: &'b [u8]) -> Option<&'b [u8]> {
        let begin = self.at + HEAD_BYTES;
        bytes.get(begin..begin + self.head.payload_bytes as usize)
    }

    /// Head and payload.
    pub fn bytes<'b>(&self, bytes: &'b [u8]) -> Option<&'b [u8]> {
        bytes.get(self.at..self.at + self.head.block_bytes() as usize)
    }
}

/// A segment, read from its bytes.
#[derive(Debug)]
pub struct Shipped {
    pub beginning: Beginning,
    pub blocks: Vec<Within>,
    /// Bytes that are no block, between and behind them.
    pub stray_bytes: u64,
}

impl Shipped {
    pub fn read(bytes: &[u8]) -> Result<Self, NoSegment> {
        let header = SegmentHeader::decode(&bytes[..bytes.len().min(SEGMENT_HEADER_MAX)]);
        let header = header.map_err(|fault| match fault {
            HeaderFault::Damaged => NoSegment::Damaged,
            HeaderFault::Newer(version) => NoSegment::Newer(version),
        })?;
        let (blocks, stray_bytes) = blocks(bytes, header.bytes() as usize);
        let boot = match header.created {
            Created::At(moment) => Some(moment.timeline.boot),
            Created::Wall(_) => None,
        };
        let beginning = Beginning {
            segment: header.segment,
            first_block: header.first_block,
            previous: header.previous,
            created: header.created.wall(),
            boot,
        };
        Ok(Self { beginning, blocks, stray_bytes })
    }
}

/// The whole blocks of these bytes, one behind the other.
pub fn loose_blocks(bytes: &[u8]) -> Vec<Within> {
    blocks(bytes, 0).0
}

fn blocks(bytes: &[u8], from: usize) -> (Vec<Within>, u64) {
    let (mut blocks, mut stray, mut at) = (Vec::new(), 0, from);
    while at < bytes.len() {
        let rest = &bytes[at..];
        let head = Head::decode(rest).filter(|it| it.block_bytes() <= rest.len() as u64);
        if let Some(head) = head {
            let end = head.block_bytes() as usize;
            let mut own = [0; HEAD_BYTES];
            own.copy_from_slice(&rest[..HEAD_BYTES]);
            let leaf = evidence::leaf(&own, &rest[HEAD_BYTES..end]);
            blocks.push(Within { at, head, leaf, hash: hash(&[&rest[..end]]) });
            at += end;
        } else {
            let next = rest[1..].windows(BLOCK_MAGIC.len()).position(|it| it == BLOCK_MAGIC);
            let skipped = next.map_or(rest.len(), |next| next + 1);
            stray += skipped as u64;
            at += skipped;
        }
    }
    (blocks, stray)
}

/// Numbers of the segments there are, ascending. The last is the one that is written.
pub fn segments(root: &Path) -> Result<Vec<u32>, StoreError> {
    let ledger = files::ledger(root);
    files::segments(&ledger).map_err(StoreError::io("list", &ledger))
}

/// Where a segment of the store is.
pub fn path_of(root: &Path, segment: u32) -> std::path::PathBuf {
    files::segment_path(&files::ledger(root), segment)
}

/// Whether any of its blocks may tell of a violation, by the heads alone. `None`: it is gone.
pub fn may_violate(root: &Path, segment: u32) -> io::Result<Option<bool>> {
    let Some(mut segment) = Segment::open(&files::ledger(root), segment)? else { return Ok(None) };
    let mut verdicts = 0;
    segment.walk(0, |_, head| {
        verdicts |= head.summary.verdicts;
        ControlFlow::Continue(())
    })?;
    Ok(Some(verdicts & verdict_bit(Verdict::Unapproved) != 0))
}

/// A block of a segment that may still be written.
#[derive(Clone, Debug)]
pub struct Fresh {
    /// Where the next one stands.
    pub end: u64,
    pub number: u64,
    /// Head and payload, where it may tell of a violation.
    pub violating: Option<Vec<u8>>,
}

/// Calls `each` with the whole blocks from this place on, in order; `from` 0: from the first. Gives where they
/// end; `None`: the segment is gone.
pub fn fresh(
    root: &Path,
    number: u32,
    from: u64,
    mut each: impl FnMut(Fresh),
) -> io::Result<Option<u64>> {
    let Some(mut segment) = Segment::open(&files::ledger(root), number)? else { return Ok(None) };
    let mut heads = Vec::new();
    let walk = segment.walk(from, |at, head| {
        heads.push((at, *head));
        ControlFlow::Continue(())
    })?;
    for (at, head) in heads {
        let violates = head.summary.verdicts & verdict_bit(Verdict::Unapproved) != 0;
        let raw = if violates { segment.raw(at, &head)? } else { None };
        let violating = raw.map(|(head, payload)| [&head[..], &payload].concat());
        each(Fresh { end: at + head.block_bytes(), number: head.number, violating });
    }
    Ok(Some(walk.end))
}

/// That one key follows on another, as the ledger tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Succession {
    pub before: PublicKey,
    pub after: PublicKey,
    /// The line by which the one before signed for it.
    pub signature: String,
}

impl Succession {
    /// `None`: it tells of no succession, or nobody signed for it.
    pub fn of(notice: &Notice) -> Option<Self> {
        let Notice::Key { line, before, signature } = notice else { return None };
        let (before, signature) = before.as_ref().zip(signature.as_ref())?;
        let (before, after) = (PublicKey::parse(before).ok()?, PublicKey::parse(line).ok()?);
        Some(Self { before, after, signature: signature.to_string() })
    }

    /// Whether the key before did sign for it.
    pub fn is_right(&self) -> bool {
        keys::is_succession(&self.before, &self.after, &self.signature)
    }
}

/// All of which the ledger still tells. It reads all blocks with notices.
pub fn successions(root: &Path) -> Result<Vec<Succession>, StoreError> {
    let mut found = Vec::new();
    let scan = Scan::new(files::ledger(root), Arc::default());
    scan.each_notice(|notice| found.extend(Succession::of(&notice)))?;
    Ok(found)
}

/// How many bytes of signed notes the store has.
pub fn notes_length(root: &Path) -> io::Result<u64> {
    match std::fs::metadata(checkpoints::path(&files::evidence(root))) {
        Ok(about) => Ok(about.len()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

/// A part of the signed notes that the store has.
pub fn notes_within(root: &Path, range: Range<u64>) -> io::Result<Vec<u8>> {
    let file = File::open(checkpoints::path(&files::evidence(root)))?;
    let mut bytes = vec![0; range.end.saturating_sub(range.start) as usize];
    file.read_exact_at(&mut bytes, range.start)?;
    Ok(bytes)
}

/// Where a note ends, and what it is. Nothing is verified.
pub type Stretch = (usize, Result<(Note, Checkpoint), Fault>);

/// Each of them, in order.
pub fn stretches(notes: &[u8]) -> Vec<Stretch> {
    checkpoints::stretches(notes).into_iter().map(|it| (it.end, it.note)).collect()
}

/// The leaves of the origin in use, or of one that was given up, by its number.
pub fn leaves(root: &Path, given_up: Option<u64>) -> Result<Vec<Hash>, StoreError> {
    let evidence = files::evidence(root);
    let path = match given_up {
        Some(number) => leaves::old_path(&evidence, number),
        None => leaves::path(&evidence),
    };
    Ok(leaves::read(&path)?.unwrap_or_default())
}

/// The keys that the store gives out, the one in use first.
pub fn published(root: &Path) -> Result<Vec<PublicKey>, StoreError> {
    keys::published(root)
}

/// Makes a directory and those above it, durably.
pub fn make_directory(path: &Path) -> Result<(), StoreError> {
    files::make_directory(path)
}

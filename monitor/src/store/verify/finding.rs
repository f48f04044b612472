//! What a check of the store can find, in words that stay. Values only.

use serde::Serialize;

use crate::ecs::Time;

/// What is wrong. Its word is for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Its bytes are not those that its leaf was made of, or not readable.
    AlteredBlock,
    /// Others stand where it should, without a gap.
    RemovedBlocks,
    DuplicatedBlock,
    /// It stands behind one that comes after it.
    SwappedBlock,
    /// Bytes between blocks that are none.
    StrayBytes,
    AlteredSegmentHeader,
    /// A file that no notice tells of.
    RemovedSegment,
    /// A block or segment does not go on from what is before it.
    BrokenChain,
    AlteredLeaf,
    /// The file of leaves is shorter than what was signed.
    CutLeaves,
    /// The ledger is shorter than what was signed, or than its leaves.
    CutLedger,
    /// The same, of what a witness saw.
    CutPastWitness,
    UnreadableCheckpoint,
    WrongSignature,
    UnknownKey,
    /// Signed by a key that was not told of yet, or had been followed by another.
    KeyOutOfTime,
    /// A checkpoint behind one of a larger size.
    FallingSize,
    /// Two of one origin and size with different roots: two ledgers were shown.
    TwoOfOneSize,
    /// The leaves up to a size do not have the root that was signed.
    WrongRoot,
    /// The daemon found a ledger that was not what had been signed.
    RolledBack,
    /// Nothing is signed.
    NoCheckpoint,
    /// Blocks that should have had a checkpoint long before.
    LateCheckpoint,
    /// The same, at the end.
    UnsignedTail,
}

impl Kind {
    pub const fn word(self) -> &'static str {
        match self {
            Self::AlteredBlock => "altered-block",
            Self::RemovedBlocks => "removed-blocks",
            Self::DuplicatedBlock => "duplicated-block",
            Self::SwappedBlock => "swapped-block",
            Self::StrayBytes => "stray-bytes",
            Self::AlteredSegmentHeader => "altered-segment-header",
            Self::RemovedSegment => "removed-segment",
            Self::BrokenChain => "broken-chain",
            Self::AlteredLeaf => "altered-leaf",
            Self::CutLeaves => "cut-leaves",
            Self::CutLedger => "cut-ledger",
            Self::CutPastWitness => "cut-past-witness",
            Self::UnreadableCheckpoint => "unreadable-checkpoint",
            Self::WrongSignature => "wrong-signature",
            Self::UnknownKey => "unknown-key",
            Self::KeyOutOfTime => "key-out-of-time",
            Self::FallingSize => "falling-size",
            Self::TwoOfOneSize => "two-of-one-size",
            Self::WrongRoot => "wrong-root",
            Self::RolledBack => "rolled-back",
            Self::NoCheckpoint => "no-checkpoint",
            Self::LateCheckpoint => "late-checkpoint",
            Self::UnsignedTail => "unsigned-tail",
        }
    }
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub kind: Kind,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segment: Option<u32>,
    /// First and last block that it concerns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocks: Option<(u64, u64)>,
    /// A line of the file of checkpoints, or of what witnesses saw.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// Of what is in those blocks, or next to them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Time>,
    /// A sentence.
    pub detail: String,
}

impl Finding {
    pub(super) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self { kind, segment: None, blocks: None, line: None, from: None, to: None, detail }
    }

    pub(super) fn of_segment(self, segment: u32) -> Self {
        Self { segment: Some(segment), ..self }
    }

    /// From the first to the last of these.
    pub(super) fn of_blocks(self, first: u64, last: u64) -> Self {
        Self { blocks: Some((first, last)), ..self }
    }

    pub(super) fn at_line(self, line: usize) -> Self {
        Self { line: Some(line), ..self }
    }
}

//! What the ground knows of one origin, in a file beside its ledger: replaced whole, and the last thing that is
//! written of anything. What it does not tell was not done, and is done again.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use geofenced::fleet::{Coverage, Hash, Timestamp, hex, replace_file};
use serde::{Deserialize, Serialize};

use super::CollectError;

const FILE: &str = "collected.json";

/// A hash, in hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Digits(pub String);

impl From<&Hash> for Digits {
    fn from(hash: &Hash) -> Self {
        Self(hex(hash))
    }
}

/// A segment that is proven and kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Beginning of its hash.
    pub whole: String,
    /// First block, and the one behind the last.
    pub blocks: (u64, u64),
    /// What its header says of the block before, and the hash of its last.
    pub previous: Digits,
    pub last: Digits,
    /// Earliest and latest instant in it.
    pub span: Option<(u64, u64)>,
    /// Flows, roll-ups, lookups and notices of it that are in the lake.
    pub rows: [u64; 4],
    /// Blocks that the station could not read itself any more.
    pub unreadable: u64,
    /// It came with the origin before this one, and is in the lake as that one's.
    #[serde(default)]
    pub is_inherited: bool,
}

/// Two ledgers were signed under one origin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fork {
    /// The first block that differs.
    pub at: u64,
    /// Blocks of the other one.
    pub size: u64,
    pub root: Digits,
    /// What is known of the blocks from there on: boots, earliest and latest instant.
    pub boots: BTreeSet<String>,
    pub span: Option<(u64, u64)>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub struct State {
    #[serde(skip)]
    pub directory: PathBuf,
    pub origin: String,
    /// Leaves that are proven.
    pub size: u64,
    /// Bytes of the file of checkpoints that count.
    pub notes_bytes: u64,
    /// The last checkpoint, as a note, and with the ground's cosignature.
    pub note: String,
    pub cosigned: String,
    /// Keys that followed on those that are enrolled, by their signatures.
    pub keys: Vec<String>,
    /// Objects of leaves that were taken.
    pub proofs: BTreeSet<String>,
    pub held: BTreeMap<u32, Held>,
    /// Segments that the station says it removed.
    pub gone: Vec<(u64, u64)>,
    pub forks: Vec<Fork>,
    /// Objects that do not verify, and why. They are looked at again when more is known.
    pub refused: BTreeMap<String, String>,
    /// Objects that wait for others.
    pub waiting: BTreeMap<String, String>,
    /// Blocks that were told of before they were signed, by number: the beginning of their leaf.
    pub urgent: BTreeMap<u64, String>,
    /// How often anything was taken: what was refused is looked at once more after that.
    pub taken: u64,
    pub looked_at: u64,
    pub coverage: Option<Coverage>,
    /// Segments that it is of.
    pub coverage_of: u64,
}

fn bounded(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl State {
    pub fn open(directory: &Path, origin: &str) -> Result<Self, CollectError> {
        let path = directory.join(FILE);
        let state = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| CollectError::State {
                path: path.clone(),
                reason: error.to_string(),
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::default(),
            Err(source) => return Err(CollectError::Read { path, source }),
        };
        Ok(Self { directory: directory.to_owned(), origin: origin.to_owned(), ..state })
    }

    pub fn save(&self) -> Result<(), CollectError> {
        let bytes = serde_json::to_vec(self).map_err(|error| CollectError::State {
            path: self.directory.join(FILE),
            reason: error.to_string(),
        })?;
        Ok(replace_file(&self.directory.join(FILE), &bytes)?)
    }

    /// Whether the station says that it removed this segment.
    pub fn is_gone(&self, segment: u32) -> bool {
        let segment = u64::from(segment);
        self.gone.iter().any(|(first, last)| (*first..=*last).contains(&segment))
    }

    /// Segments that should stand before one that is here, and that nobody removed.
    pub fn missing_segments(&self) -> Vec<u32> {
        let last = self.held.keys().next_back().copied().unwrap_or(0);
        (1..last).filter(|it| !self.held.contains_key(it) && !self.is_gone(*it)).collect()
    }

    /// How many segments the station removed before they were here.
    pub fn removed_segments(&self) -> u64 {
        let of = |(first, last): &(u64, u64)| {
            let held = self.held.range(bounded(*first)..=bounded(*last)).count() as u64;
            (last + 1).saturating_sub(*first).saturating_sub(held)
        };
        self.gone.iter().map(of).sum()
    }

    /// Blocks that are signed and of which nothing is here: first, and the one behind the last. The end of these
    /// may be in a segment that is still written.
    pub fn missing_blocks(&self) -> Vec<(u64, u64)> {
        let (mut missing, mut next) = (Vec::new(), 0);
        let mut held: Vec<(u64, u64)> = self.held.values().map(|it| it.blocks).collect();
        held.sort_unstable();
        for (first, end) in held {
            if first > next {
                missing.push((next, first));
            }
            next = next.max(end);
        }
        if self.size > next {
            missing.push((next, self.size));
        }
        missing
    }

    /// All blocks below this number are here, or were removed by the station.
    pub fn taken_below(&self) -> u64 {
        let mut below = 0;
        let first_missing = self.missing_segments().into_iter().next().unwrap_or(u32::MAX);
        for (segment, held) in &self.held {
            if *segment > first_missing {
                break;
            }
            below = held.blocks.1;
        }
        below
    }

    /// Numbers of the segments that are here, as ranges.
    pub fn held_ranges(&self) -> Vec<(u32, u32)> {
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for segment in self.held.keys() {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == *segment => *last = *segment,
                _ => ranges.push((*segment, *segment)),
            }
        }
        ranges
    }

    pub fn span(&self) -> Option<(Timestamp, Timestamp)> {
        let spans = || self.held.values().filter_map(|it| it.span);
        let first = spans().map(|it| it.0).min()?;
        let last = spans().map(|it| it.1).max()?;
        Some((Timestamp(first), Timestamp(last)))
    }
}

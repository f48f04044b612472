//! Sends what a store holds, step by step: what violates first, then what proves, then whole segments, those with
//! violations before others. It reads the ledger and writes nothing there; an object that it sent never changes.

mod limit;
mod notes;
mod segments;
mod sent;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use geofenced::fleet::{Hash, PublicKey, StoreError, ground, hex, replace_file, shipped, tree};
use serde::{Deserialize, Serialize};

pub use limit::{Limit, parse as parse_rate};
use notes::Notes;
use segments::Sending;
use sent::Sent;

use crate::{
    depot::{Depot, DepotError},
    object::{self, Object, Short},
};

/// Blocks with violations that are told at once in one look: of a flood the first and the last. All of them come
/// with their segments.
const URGENT_MOST: usize = 32;
/// How often it is asked what the ground has.
const ASK_EACH: Duration = Duration::from_secs(30);
/// What the ground lacks, as it said before, goes once more after so long: what was sent again may be lost again.
const AGAIN_LEAST: Duration = Duration::from_mins(10);
/// Each time twice as long, up to this.
const AGAIN_MOST: Duration = Duration::from_hours(24);

#[derive(Debug, thiserror::Error)]
pub enum ShipError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Depot(#[from] DepotError),
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("no key signs this store yet: start the daemon first")]
    NoKey,
}

/// What a step did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Did {
    Urgent { blocks: usize },
    Proof { origin: String, blocks: u64 },
    Piece { segment: u32, is_last: bool },
    Heard { origin: String, taken: u64, wanted: usize },
    Nothing,
}

/// What the ground says of an origin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Leaves that it has proven.
    pub size: u64,
    /// It keeps all blocks below this number.
    pub taken: u64,
    /// Segments that it keeps: ranges, first and last.
    pub held: Vec<(u32, u32)>,
    /// Segments that should be there, and are not, or not whole.
    pub wanted: Vec<u32>,
    /// The last checkpoint with the cosignature of the ground.
    pub cosigned: String,
}

#[derive(Debug)]
pub struct Ship {
    root: PathBuf,
    state: PathBuf,
    depot: Box<dyn Depot>,
    sent: Sent,
    limit: Limit,
    sending: Option<Sending>,
    asked_at: Option<Instant>,
    notes: Notes,
    /// What the store was told to be on the ground.
    told: Option<Vec<(u32, u32)>>,
    /// By origin: when what the ground lacks goes once more although it says nothing new, and how long it was waited.
    again: BTreeMap<String, (Instant, Duration)>,
    patience: Duration,
}

impl Ship {
    pub fn open(
        root: &Path,
        state: &Path,
        depot: Box<dyn Depot>,
        limit: Limit,
    ) -> Result<Self, ShipError> {
        shipped::make_directory(state)?;
        let failed = |source| ShipError::Read { path: state.to_owned(), source };
        let sent = Sent::open(state).map_err(failed)?;
        Ok(Self {
            root: root.to_owned(),
            state: state.to_owned(),
            depot,
            sent,
            limit,
            sending: None,
            asked_at: None,
            notes: Notes::default(),
            told: None,
            again: BTreeMap::new(),
            patience: AGAIN_LEAST,
        })
    }

    /// What there is of answers is all that there will be: what the ground lacks goes now.
    pub fn at_once(mut self) -> Self {
        self.patience = Duration::ZERO;
        self
    }

    /// How long to wait, for the link's sake.
    pub fn wait(&self) -> Duration {
        self.limit.wait(Instant::now())
    }

    /// Does what matters most of what there is to do.
    pub fn step(&mut self) -> Result<Did, ShipError> {
        let keys = shipped::published(&self.root)?;
        let name = keys.first().ok_or(ShipError::NoKey)?.name().to_string();
        self.look()?;
        let is_signed = !self.notes.origins.is_empty();
        let origin = self.notes.origins.last().map_or(name, |it| it.name.clone());
        for step in
            [self.urgent(&origin)?, self.keys(&origin, &keys)?, self.proofs()?, self.hear(&origin)?]
        {
            if step != Did::Nothing {
                return Ok(step);
            }
        }
        // Nothing of it could be proven.
        if is_signed { self.piece(&origin) } else { Ok(Did::Nothing) }
    }

    fn look(&mut self) -> Result<(), ShipError> {
        let failed = |source| ShipError::Read { path: self.root.clone(), source };
        self.notes.look(&self.root).map_err(failed)
    }

    /// Blocks that tell of a violation and are not told of yet.
    fn urgent(&mut self, origin: &str) -> Result<Did, ShipError> {
        let there = shipped::segments(&self.root)?;
        let Some(active) = there.last().copied() else { return Ok(Did::Nothing) };
        let (first, mut from) = self.sent.tail.unwrap_or((active, 0));
        let (mut found, mut end) = (Vec::new(), (first, from));
        for segment in there.into_iter().filter(|it| *it >= first) {
            from = if segment == first { from } else { 0 };
            let read = shipped::fresh(&self.root, segment, from, |block| {
                found.extend(block.violating.map(|bytes| (block.number, bytes)));
                let all = found.len();
                if all > URGENT_MOST {
                    found.remove(URGENT_MOST / 2);
                }
            });
            let path = || shipped::path_of(&self.root, segment);
            let read = read.map_err(|source| ShipError::Read { path: path(), source })?;
            if let Some(read_to) = read {
                end = (segment, read_to);
            }
        }
        if self.sent.tail == Some(end) {
            return Ok(Did::Nothing);
        }
        let blocks = found.len();
        for (block, bytes) in found {
            let leaf = shipped::loose_blocks(&bytes).first().map(|it| Short::of(&it.leaf));
            let Some(leaf) = leaf else { continue };
            self.put(&Object::Urgent { block, leaf }.key(origin), &bytes)?;
        }
        self.sent.tail = Some(end);
        self.sent.save()?;
        Ok(if blocks > 0 { Did::Urgent { blocks } } else { Did::Nothing })
    }

    /// How a key that is new here follows on the one before.
    fn keys(&mut self, origin: &str, keys: &[PublicKey]) -> Result<Did, ShipError> {
        let lines: Vec<String> = keys.iter().map(ToString::to_string).collect();
        if lines.iter().all(|line| self.sent.keys.contains(line)) {
            return Ok(Did::Nothing);
        }
        if keys.len() > 1 {
            for it in shipped::successions(&self.root)? {
                let text = format!("{}\n{}\n{}\n", it.before, it.after, it.signature);
                let content = Short::of_bytes(text.as_bytes());
                self.put(&Object::Succession { content }.key(origin), text.as_bytes())?;
            }
        }
        self.sent.keys.extend(lines);
        self.sent.save()?;
        Ok(Did::Nothing)
    }

    /// Leaves and checkpoints that came since.
    fn proofs(&mut self) -> Result<Did, ShipError> {
        let origins = self.notes.origins.iter().map(|it| (it.name.clone(), it.size));
        let origins: Vec<(String, u64)> = origins.collect();
        for (name, size) in &origins {
            let (name, size) = (name.as_str(), *size);
            let of = self.sent.of(name).clone();
            if size <= of.size {
                continue;
            }
            let is_last = origins.last().is_some_and(|last| last.0 == name);
            let given_up = (!is_last).then(|| object::station_of(name).1);
            let leaves = shipped::leaves(&self.root, given_up)?;
            // A disk that was put back has other leaves than were sent: all of them tell that.
            let same = leaves.get(..of.size as usize).map(tree::root);
            let is_same = same.is_some_and(|root| of.root.is_empty() || hex(&root) == of.root);
            let from = if is_same { of.size } else { 0 };
            let root = leaves.get(..size as usize).map(|it| hex(&tree::root(it)));
            let Some(leaves) = leaves.get(from as usize..size as usize) else { continue };
            if !is_same {
                self.notes = Notes::default();
                self.look()?;
            }
            let notes = self.notes.since(&self.root, name, from);
            let failed = |source| ShipError::Read { path: self.root.clone(), source };
            let bytes = proof(from, &notes.map_err(failed)?, leaves);
            let content = Short::of_bytes(&bytes);
            let object = Object::Leaves { from, to: size, content };
            self.put(&object.key(name), &bytes)?;
            let of = self.sent.of(name);
            (of.size, of.root) = (size, root.unwrap_or_default());
            self.sent.save()?;
            self.notes.forget(name, size);
            return Ok(Did::Proof { origin: name.to_owned(), blocks: size - from });
        }
        Ok(Did::Nothing)
    }

    /// What the ground answered since, of each origin that anything was sent of.
    fn hear(&mut self, current: &str) -> Result<Did, ShipError> {
        if self.asked_at.is_some_and(|it| it.elapsed() < ASK_EACH) {
            return Ok(Did::Nothing);
        }
        let mut origins: Vec<String> = self.sent.origins.keys().cloned().collect();
        if !self.sent.origins.contains_key(current) {
            origins.push(current.to_owned());
        }
        for origin in origins {
            let did = self.hear_of(&origin, origin == current)?;
            if did != Did::Nothing {
                return Ok(did);
            }
        }
        self.tell_store(current)?;
        self.asked_at = Some(Instant::now());
        Ok(Did::Nothing)
    }

    /// The store may stop to wait for what is on the ground. It reads that by itself: nobody who ships can write there.
    fn tell_store(&mut self, current: &str) -> Result<(), ShipError> {
        let ranges = self.sent.on_the_ground(current);
        if self.told.as_ref() != Some(&ranges) {
            ground::tell(&self.state, current, &ranges)?;
            self.told = Some(ranges);
        }
        Ok(())
    }

    fn hear_of(&mut self, origin: &str, is_current: bool) -> Result<Did, ShipError> {
        let Some(bytes) = self.depot.get(&Object::Answer.key(origin))? else {
            return Ok(Did::Nothing);
        };
        let hash = Short::of_bytes(&bytes).to_string();
        let Ok(answer) = serde_json::from_slice::<Answer>(&bytes) else { return Ok(Did::Nothing) };
        let is_new = self.sent.of(origin).answer.as_ref() != Some(&hash);
        let lacks = answer.size < self.sent.of(origin).size
            || is_current && !self.sent.lost(&answer).is_empty();
        let is_due = lacks && self.is_due(origin);
        if !is_new && !is_due {
            return Ok(Did::Nothing);
        }
        let of = self.sent.of(origin);
        of.answer = Some(hash);
        of.taken = of.taken.max(answer.taken);
        of.held.clone_from(&answer.held);
        // Leaves that were lost on the way go once more.
        if answer.size < of.size {
            (of.size, of.root) = (answer.size, String::new());
            self.notes = Notes::default();
        }
        // Segments of an origin that was given up are not what they were.
        let lost = if is_current { self.sent.lost(&answer) } else { BTreeSet::new() };
        for segment in &lost {
            self.sent.segments.remove(segment);
        }
        self.sent.wanted.extend(&lost);
        if !answer.cosigned.is_empty() {
            let path = self.state.join(format!("{}.cosigned", object::folder(origin)));
            replace_file(&path, answer.cosigned.as_bytes())?;
        }
        self.sent.save()?;
        let (taken, wanted) = (answer.taken, lost.len());
        Ok(Did::Heard { origin: origin.to_owned(), taken, wanted })
    }

    /// Whether what the ground lacks of an origin goes once more; the next time it is waited longer.
    fn is_due(&mut self, origin: &str) -> bool {
        let now = Instant::now();
        let first = (now + self.patience, self.patience);
        let (at, waited) = self.again.entry(origin.to_owned()).or_insert(first);
        let is_due = now >= *at;
        if is_due {
            *waited = (*waited * 2).clamp(AGAIN_LEAST, AGAIN_MOST);
            *at = now + *waited;
        }
        is_due
    }

    fn put(&mut self, key: &str, bytes: &[u8]) -> Result<(), ShipError> {
        self.depot.put(key, bytes)?;
        self.limit.spend(bytes.len() as u64, Instant::now());
        Ok(())
    }
}

/// First line of an object of leaves.
pub const PROOF: &str = "geofenced leaves 1";

/// Leaves from a block on, and the signed notes among them.
pub fn proof(from: u64, notes: &[u8], leaves: &[Hash]) -> Vec<u8> {
    let mut bytes = format!("{PROOF}\n{from}\n{}\n{}\n", leaves.len(), notes.len()).into_bytes();
    bytes.extend_from_slice(notes);
    bytes.extend(leaves.iter().flatten());
    bytes
}

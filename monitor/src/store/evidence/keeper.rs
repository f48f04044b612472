//! Who writes leaves and signs checkpoints: only of what is durable, never two different trees of one size
//! under one origin; where the ledger is not what was signed, under another origin. It decides not when.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    before,
    checkpoints::{self, Checkpoints, stretches},
    keys::{Keys, Succession},
    leaves::{self, Leaves},
    origin, remake,
};
use crate::{
    event::{Notice, Timestamp},
    evidence::{Checkpoint, Frontier, Hash, KeyName, tree},
    store::{
        error::StoreError,
        files::{self, FILE_MODE},
    },
};

/// Blocks that the first checkpoint is of. Power may fail when they are on the disk and it is not; and what it
/// would have said of them is still true.
const FIRST_SIGNED: u64 = 1;

/// The last checkpoint, for whoever asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedHead {
    pub checkpoint: Checkpoint,
    /// When it was signed; `None`: before this process.
    pub at: Option<Timestamp>,
    /// The verifier key.
    pub key: String,
    /// The ledger was found not to be what was signed: the last origin before.
    pub rolled_back_from: Option<String>,
}

/// The head as the writer leaves it and others read it.
#[derive(Clone, Debug, Default)]
pub struct Head(Arc<Mutex<Option<SignedHead>>>);

impl Head {
    pub fn get(&self) -> Option<SignedHead> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, head: SignedHead) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(head);
    }
}

/// Who writes evidence: one, as of the ledger.
#[derive(Debug)]
pub(super) struct Keeper {
    root: PathBuf,
    keys: Keys,
    origin: String,
    frontier: Frontier,
    leaves: Leaves,
    checkpoints: Checkpoints,
    /// Size of the last checkpoint.
    signed: u64,
    rolled_back_from: Option<String>,
    head: Head,
}

/// What a store begins with, and what its ledger must tell of it.
#[derive(Debug)]
pub(super) struct Opened {
    pub keeper: Keeper,
    pub notices: Vec<Notice>,
    /// Nothing was signed here before.
    pub is_new: bool,
}

/// Evidence as it is found.
struct Found {
    leaves: Vec<Hash>,
    /// Of the current origin, or of the last there was.
    last: Option<Checkpoint>,
    /// Of the file of checkpoints: what is behind was torn.
    bytes: u64,
    is_torn: bool,
    origins: Vec<String>,
}

impl Keeper {
    /// `blocks`: durable blocks of the ledger are numbered below that.
    pub(super) fn open(
        root: &Path,
        name: &KeyName,
        blocks: u64,
        head: Head,
    ) -> Result<Opened, StoreError> {
        let directory = files::evidence(root);
        files::make_directory(&directory)?;
        let keys = Keys::open(root, name)?;
        let found = find(&directory)?;
        let mut notices: Vec<Notice> = keys.notice().into_iter().collect();

        let mut leaves =
            remake::fitted(&found.leaves[..found.leaves.len().min(blocks as usize)], blocks);
        let signed = found.last.as_ref().map_or(0, |last| last.size);
        // The last block that was signed holds the hash of the one before, and so of all: another ledger
        // has another leaf there.
        remake::remake(&files::ledger(root), signed.saturating_sub(1), &mut leaves)?;
        let mut is_whole = is_what_was_signed(root, &found, &mut leaves)?;
        let mut origins = found.origins.clone();
        if found.last.is_none() && blocks > FIRST_SIGNED {
            // Somebody may have taken the evidence away: what it promised is not known any more.
            origins = before::origins(root)?;
            is_whole = origins.is_empty();
        }
        let current = found.last.as_ref().map(|last| last.origin.as_str());
        let origin = origin::next(name, current, &origins, is_whole);
        let mut rolled_back_from = None;
        if !is_whole {
            let (from, was) = match &found.last {
                Some(last) => (last.origin.clone(), last.text()),
                None => (origins.last().cloned().unwrap_or_default(), String::new()),
            };
            keep_old_leaves(
                &directory,
                origin::generation(name, &from).unwrap_or(1),
                &found.leaves,
            )?;
            let size = found.last.as_ref().map_or(0, |last| last.size);
            tracing::error!(
                "store: the ledger is not what was signed as `{from}` ({size} blocks): files were cut, \
                 lost or put back; from here on is signed as `{origin}`"
            );
            notices.push(Notice::RolledBack { origin: origin.as_str().into(), was: was.into() });
            rolled_back_from = Some(from);
        }
        let is_new = found.last.is_none() && found.leaves.is_empty();
        let same = found.last.filter(|last| last.origin == origin);
        let keeper = Self {
            root: root.to_owned(),
            frontier: Frontier::of(&leaves),
            leaves: Leaves::set(leaves::path(&directory), &found.leaves, &leaves)?,
            checkpoints: Checkpoints::after(checkpoints::path(&directory), found.bytes),
            signed: same.as_ref().map_or(0, |last| last.size),
            rolled_back_from,
            keys,
            origin,
            head,
        };
        if let Some(checkpoint) = same {
            keeper.tell(checkpoint, None);
        }
        Ok(Opened { keeper, notices, is_new })
    }

    /// Blocks that became durable.
    pub(super) fn take(&mut self, blocks: Vec<(u64, Hash)>) {
        for (number, leaf) in blocks {
            // None is passed over, but for what nobody can know of.
            while self.frontier.size() < number {
                self.push(leaves::NONE);
            }
            if self.frontier.size() == number {
                self.push(leaf);
            }
        }
    }

    fn push(&mut self, leaf: Hash) {
        self.frontier.push(leaf);
        self.leaves.push(leaf);
    }

    /// Leaves that are not in their file.
    pub(super) fn waiting(&self) -> usize {
        self.leaves.waiting()
    }

    /// The leaves are in their file; not safe from a loss of power.
    pub(super) fn write(&mut self) -> Result<(), StoreError> {
        self.leaves.write()
    }

    /// The leaves are on the disk.
    pub(super) fn sync(&mut self) -> Result<(), StoreError> {
        self.leaves.sync()
    }

    /// There are blocks that no checkpoint is of.
    pub(super) fn is_behind(&self) -> bool {
        self.frontier.size() > self.signed || self.keys.succeeds.is_some()
    }

    /// Signs the tree as it is: all its blocks are durable. Whether something was new.
    pub(super) fn sign(&mut self, at: Timestamp) -> Result<bool, StoreError> {
        if !self.is_behind() {
            return Ok(false);
        }
        self.leaves.sync()?;
        let (origin, size) = (self.origin.clone(), self.frontier.size());
        let checkpoint = Checkpoint { origin, size, root: self.frontier.root() };
        let text = checkpoint.text();
        let mut note = self.keys.signer.sign(&text);
        if let Some(Succession { signer: Some(before), .. }) = &self.keys.succeeds {
            note += &before.line(&text);
        }
        self.checkpoints.append(&note)?;
        self.signed = size;
        self.tell(checkpoint, Some(at));
        // By now the ledger tells of the key, and where it follows on another that one has signed, too.
        self.keys.publish(&self.root)?;
        Ok(true)
    }

    fn tell(&self, checkpoint: Checkpoint, at: Option<Timestamp>) {
        self.head.set(SignedHead {
            checkpoint,
            at,
            key: self.keys.signer.public().to_string(),
            rolled_back_from: self.rolled_back_from.clone(),
        });
    }
}

fn find(directory: &Path) -> Result<Found, StoreError> {
    let leaves = leaves::read(&leaves::path(directory))?.unwrap_or_default();
    let read = |path: PathBuf| -> Result<Vec<u8>, StoreError> {
        let bytes = files::read(&path).map_err(StoreError::io("read", &path))?;
        Ok(bytes.unwrap_or_default())
    };
    let bytes = read(checkpoints::path(directory))?;
    let all = stretches(&bytes);
    let whole = all.iter().rposition(|it| it.note.is_ok()).map_or(0, |at| at + 1);
    let end = whole.checked_sub(1).map_or(0, |at| all[at].end);
    let mut told: Vec<Checkpoint> = Vec::new();
    told.extend(all.into_iter().filter_map(|it| it.note.ok()).map(|(_, checkpoint)| checkpoint));
    let origin = told.last().map(|last| last.origin.clone());
    // What a witness saw was signed, whatever became of the file.
    let witnessed = match read(checkpoints::witnessed_path(directory)) {
        Ok(bytes) => stretches(&bytes),
        // It is whoever's added it: nothing waits for it.
        Err(error) => {
            tracing::warn!("store: what witnesses saw is not looked at: {error}");
            Vec::new()
        }
    };
    let witnessed = witnessed.into_iter().filter_map(|it| it.note.ok());
    told.extend(witnessed.map(|(_, checkpoint)| checkpoint));
    let origins = told.iter().map(|it| it.origin.clone()).collect();
    let of_last =
        told.into_iter().filter(|it| origin.as_ref().is_none_or(|last| *last == it.origin));
    let last = of_last.max_by_key(|it| it.size);
    if end < bytes.len() {
        tracing::warn!("store: a checkpoint that was not written whole is dropped");
    }
    let (is_torn, bytes) = (end < bytes.len(), end as u64);
    Ok(Found { leaves, last, bytes, is_torn, origins })
}

/// Whether the ledger goes on from what was signed. Leaves that do not, though the ledger does, are made
/// again.
fn is_what_was_signed(root: &Path, found: &Found, leaves: &mut [Hash]) -> Result<bool, StoreError> {
    let is_cut = leaves.len() < found.leaves.len();
    let Some(last) = &found.last else { return Ok(true) };
    // What could not be read may have been signed for what was cut.
    if (leaves.len() as u64) < last.size || found.is_torn && is_cut {
        return Ok(false);
    }
    let size = last.size as usize;
    if tree::root(&leaves[..size]) == last.root {
        return Ok(true);
    }
    let mut remade = leaves.to_vec();
    remake::remake(&files::ledger(root), 0, &mut remade)?;
    let is_right = tree::root(&remade[..size]) == last.root;
    if is_right {
        tracing::warn!("store: leaves were altered, and are made again from the ledger");
    }
    leaves.copy_from_slice(&remade);
    Ok(is_right)
}

/// What proves the checkpoints of an origin that is given up.
fn keep_old_leaves(directory: &Path, generation: u64, leaves: &[Hash]) -> Result<(), StoreError> {
    let path = leaves::old_path(directory, generation);
    let bytes = leaves.concat();
    files::replace(&path, &bytes, FILE_MODE).map_err(StoreError::io("write", &path))
}

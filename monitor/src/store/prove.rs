//! Proofs for one who has not the ledger: that a record's block is in what was signed, and that what is signed
//! now goes on from what a witness saw. It reads the store's files and adds what witnesses signed.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    ops::ControlFlow,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown},
    path::Path,
    sync::Arc,
};

use super::{
    error::StoreError,
    evidence::{
        checkpoints::{self, stretches},
        leaves,
    },
    files::{self, FILE_MODE},
    ledger::{
        block,
        frame::{HEAD_BYTES, Head},
    },
    scan::Scan,
};
use crate::{
    event::{Entry, FlowId, Record},
    evidence::{
        self, Checkpoint, Cosignature, Fault, Hash, Note, Proof, Request, WitnessKey,
        note::SignatureLine, tree,
    },
};

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "nothing was signed here yet; the daemon signs within 15 minutes, or when asked by `geofenced witness request`"
    )]
    Unsigned,
    #[error(
        "no record {0} is in what was signed; a new one is within 15 minutes, or after `geofenced witness request`"
    )]
    NoRecord(FlowId),
    #[error("the leaves are not what was signed; `geofenced verify` says what was altered")]
    Altered,
    #[error("{0} blocks are signed, and a witness is said to have seen {1}")]
    Shorter(u64, u64),
    #[error("no checkpoint of this store is what this witness signed: {0}")]
    Cosignature(Fault),
    #[error("these bytes are no block")]
    NoBlock,
}

/// A block as it stands in the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    head: [u8; HEAD_BYTES],
    payload: Vec<u8>,
    decoded: Head,
}

impl Block {
    /// All of it and nothing else.
    pub fn parse(bytes: &[u8]) -> Result<Self, ProveError> {
        let (head, payload) = bytes.split_first_chunk().ok_or(ProveError::NoBlock)?;
        let decoded = Head::decode(head).ok_or(ProveError::NoBlock)?;
        if decoded.payload_bytes as usize != payload.len() {
            return Err(ProveError::NoBlock);
        }
        Ok(Self { head: *head, payload: payload.to_vec(), decoded })
    }

    pub fn bytes(&self) -> Vec<u8> {
        [&self.head[..], &self.payload].concat()
    }

    pub fn number(&self) -> u64 {
        self.decoded.number
    }

    pub fn leaf(&self) -> Hash {
        evidence::leaf(&self.head, &self.payload)
    }

    /// The states of flows in it.
    pub fn records(&self) -> Result<Vec<Record>, ProveError> {
        let entries = block::entries(&self.decoded, &self.payload);
        let entries = entries.map_err(|_| ProveError::NoBlock)?;
        Ok(entries.into_iter().filter_map(record).collect())
    }
}

fn record(entry: Entry) -> Option<Record> {
    match entry {
        Entry::Flow(record) => Some(record),
        _ => None,
    }
}

/// The last checkpoint, as a note, and its leaves.
struct Last {
    note: String,
    checkpoint: Checkpoint,
    leaves: Vec<Hash>,
}

fn last(root: &Path) -> Result<Last, ProveError> {
    let evidence = files::evidence(root);
    let path = checkpoints::path(&evidence);
    let bytes = files::read(&path).map_err(StoreError::io("read", &path))?.unwrap_or_default();
    let mut begin = 0;
    let mut last = None;
    for stretch in stretches(&bytes) {
        if let Ok((_, checkpoint)) = stretch.note {
            let note = String::from_utf8_lossy(&bytes[begin..stretch.end]).into_owned();
            last = Some((note, checkpoint));
        }
        begin = stretch.end;
    }
    let (note, checkpoint) = last.ok_or(ProveError::Unsigned)?;
    let mut leaves = leaves::read(&leaves::path(&evidence))?.unwrap_or_default();
    leaves.truncate(checkpoint.size as usize);
    if leaves.len() as u64 != checkpoint.size || tree::root(&leaves) != checkpoint.root {
        return Err(ProveError::Altered);
    }
    Ok(Last { note, checkpoint, leaves })
}

/// The last block that tells of a flow and was signed, and that it was.
pub fn prove(root: &Path, flow: FlowId) -> Result<(Block, Proof), ProveError> {
    let Last { note, checkpoint, leaves } = last(root)?;
    // An id begins with the start of its flow; what a head says of starts leaves most blocks unread.
    let start = (flow.0 >> 64) as u64;
    let near = |head: &Head| head.summary.first <= start && start <= head.summary.latest_start;
    let found = find(root, flow, checkpoint.size, near)?;
    let found = match found {
        None => find(root, flow, checkpoint.size, |_| true)?,
        some => some,
    };
    let block = found.ok_or(ProveError::NoRecord(flow))?;
    let index = block.number();
    let hashes = tree::inclusion(&leaves, index as usize).ok_or(ProveError::Altered)?;
    if leaves[index as usize] != block.leaf() {
        return Err(ProveError::Altered);
    }
    Ok((block, Proof { index, hashes, note }))
}

fn find(
    root: &Path,
    flow: FlowId,
    size: u64,
    may_hold: impl Fn(&Head) -> bool,
) -> Result<Option<Block>, ProveError> {
    let scan = Scan::new(files::ledger(root), Arc::default());
    for number in scan.segments()?.into_iter().rev() {
        let path = files::segment_path(scan.ledger(), number);
        let failed = |error| StoreError::io("read", &path)(error);
        let Some(mut segment) = scan.segment(number)? else { continue };
        let mut blocks = Vec::new();
        let walked = segment.walk(0, |at, head| {
            if head.number < size && head.summary.flows > 0 && may_hold(head) {
                blocks.push((at, *head));
            }
            ControlFlow::Continue(())
        });
        walked.map_err(failed)?;
        for (at, decoded) in blocks.into_iter().rev() {
            let Some((head, payload)) = segment.raw(at, &decoded).map_err(failed)? else {
                continue;
            };
            let block = Block { head, payload, decoded };
            let holds = |records: &[Record]| records.iter().any(|it| it.egress.flow == flow);
            if block.records().is_ok_and(|records| holds(&records)) {
                return Ok(Some(block));
            }
        }
    }
    Ok(None)
}

/// The last size that some witness saw, by what was added; 0: none did.
pub fn witnessed_size(root: &Path) -> Result<u64, ProveError> {
    let path = checkpoints::witnessed_path(&files::evidence(root));
    let bytes = files::read(&path).map_err(StoreError::io("read", &path))?.unwrap_or_default();
    let seen = stretches(&bytes).into_iter().filter_map(|it| it.note.ok());
    let current = last(root)?.checkpoint.origin;
    let seen = seen.filter(|(_, checkpoint)| checkpoint.origin == current);
    Ok(seen.map(|(_, checkpoint)| checkpoint.size).max().unwrap_or(0))
}

/// What a witness is asked that saw so many blocks.
pub fn request(root: &Path, old: u64) -> Result<Request, ProveError> {
    let Last { note, checkpoint, leaves } = last(root)?;
    let hashes = tree::consistency(&leaves, old as usize);
    let hashes = hashes.ok_or(ProveError::Shorter(checkpoint.size, old))?;
    Ok(Request { old, hashes, note })
}

/// What was signed last; of its signature nothing is verified.
pub fn head(root: &Path) -> Result<Checkpoint, ProveError> {
    last(root).map(|it| it.checkpoint)
}

/// Adds what a witness signed, to the checkpoint that it is of: the newest that it fits.
pub fn add(
    root: &Path,
    line: &str,
    witness: &WitnessKey,
) -> Result<(Checkpoint, Cosignature), ProveError> {
    let evidence = files::evidence(root);
    let path = checkpoints::path(&evidence);
    let bytes = files::read(&path).map_err(StoreError::io("read", &path))?.unwrap_or_default();
    let signature = SignatureLine::parse(line.trim_end()).map_err(ProveError::Cosignature)?;
    let mut fault = Fault::UnknownKey;
    let all = stretches(&bytes);
    for (at, stretch) in all.iter().enumerate().rev() {
        let Ok((note, checkpoint)) = &stretch.note else { continue };
        match Cosignature::verify(&signature, Note::text(note), witness) {
            Ok(Some(seen)) => {
                let begin = at.checked_sub(1).map_or(0, |before| all[before].end);
                let cosigned =
                    [&bytes[begin..stretch.end], line.trim_end().as_bytes(), b"\n"].concat();
                append(&checkpoints::witnessed_path(&evidence), &cosigned)?;
                return Ok((checkpoint.clone(), seen));
            }
            Ok(None) => {}
            Err(it) => fault = it,
        }
    }
    Err(ProveError::Cosignature(fault))
}

fn append(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let opened = OpenOptions::new().append(true).create(true).mode(FILE_MODE).open(path);
    let written = opened.and_then(|mut file| {
        // Root adds it, and the daemon reads it.
        if let (Some(directory), true) = (path.parent(), file.metadata()?.len() == 0) {
            let owner = fs::metadata(directory)?;
            // Who may not give it away owns it as it should be, or the daemon says that it can't read it.
            let _ = fchown(&file, Some(owner.uid()), Some(owner.gid()));
        }
        file.write_all(bytes)?;
        file.sync_all()
    });
    let synced = written.and_then(|()| path.parent().map_or(Ok(()), files::sync_directory));
    synced.map_err(StoreError::io("write", path))
}

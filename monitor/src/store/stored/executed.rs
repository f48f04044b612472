//! The stored form of what is known of the file that a process executed, and of what was only
//! claimed. Most of it is the same for all records of a process, so a block tells it once, with the
//! first entry that refers to the process; where nothing is known, nothing is written.

use serde::{Deserialize, Serialize};

use super::{
    error::FormError,
    text::{Text, TextInterner, Texts},
};
use crate::event::{ExecutedFile, FileId, Process};

/// Of one process of the block's table.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredExecuted {
    pub(super) process: u32,
    pub(super) facts: Vec<StoredFact>,
}

/// May be extended at its end.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum StoredFact {
    Claimed(Text),
    File {
        device: u64,
        inode: u64,
    },
    /// The path leads to this file from the host's root.
    OfHost,
    Sha256([u8; 32]),
}

/// `at`: position in the process table. `None`: there is nothing to tell.
pub(super) fn executed_to_stored(
    at: u32,
    process: &Process,
    texts: &mut TextInterner,
) -> Option<StoredExecuted> {
    let ExecutedFile { id, executed_ns: _, is_hosts, known_as: _, sha256 } = &process.file;
    let mut facts = Vec::new();
    let claimed = process.executable_claimed.as_ref();
    facts.extend(claimed.map(|path| StoredFact::Claimed(texts.text(path))));
    facts.extend(id.map(|FileId { device, inode }| StoredFact::File { device, inode }));
    facts.extend(is_hosts.then_some(StoredFact::OfHost));
    facts.extend(sha256.map(StoredFact::Sha256));
    (!facts.is_empty()).then_some(StoredExecuted { process: at, facts })
}

pub(super) fn add_executed(
    executed: &StoredExecuted,
    process: &mut Process,
    texts: &Texts,
) -> Result<(), FormError> {
    for fact in &executed.facts {
        match fact {
            StoredFact::Claimed(path) => process.executable_claimed = Some(texts.text(*path)?),
            StoredFact::File { device, inode } => {
                process.file.id = Some(FileId { device: *device, inode: *inode });
            }
            StoredFact::OfHost => process.file.is_hosts = true,
            StoredFact::Sha256(hash) => process.file.sha256 = Some(*hash),
        }
    }
    Ok(())
}

//! The file of leaves: 32 bytes a block, in the order of their numbers, from block 0 on. Zeros stand for a
//! block that nobody could read when its leaf was due. It signs nothing and reads no ledger.

use std::{
    fs::OpenOptions,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use crate::{
    evidence::Hash,
    store::{
        error::StoreError,
        files::{self, FILE_MODE},
    },
};

/// A block of which there is no leaf: no hash is that.
pub(in crate::store) const NONE: Hash = [0; 32];

pub(in crate::store) fn path(evidence: &Path) -> PathBuf {
    evidence.join("leaves")
}

/// Those of an origin that was given up, by its number.
pub(in crate::store) fn old_path(evidence: &Path, generation: u64) -> PathBuf {
    evidence.join(format!("leaves.{generation}"))
}

/// All of them; what is behind the last whole one is passed over. `None`: there is no file.
pub(in crate::store) fn read(path: &Path) -> Result<Option<Vec<Hash>>, StoreError> {
    let bytes = files::read(path).map_err(StoreError::io("read", path))?;
    Ok(bytes.map(|bytes| bytes.as_chunks::<32>().0.to_vec()))
}

/// The file as its writer knows it. It is open only while it is written.
#[derive(Debug)]
pub(super) struct Leaves {
    path: PathBuf,
    /// In the file.
    written: u64,
    /// Of these, on the disk.
    synced: u64,
    /// Behind those in the file.
    waiting: Vec<Hash>,
}

impl Leaves {
    /// Lets the file hold these, and no others; `found`: what it holds.
    pub(super) fn set(path: PathBuf, found: &[Hash], leaves: &[Hash]) -> Result<Self, StoreError> {
        let same = found.iter().zip(leaves).take_while(|(found, leaf)| found == leaf).count();
        if same < found.len() {
            let bytes = leaves.concat();
            let replaced = files::replace(&path, &bytes, FILE_MODE);
            replaced.map_err(StoreError::io("write", &path))?;
            let synced = leaves.len() as u64;
            return Ok(Self { path, written: synced, synced, waiting: Vec::new() });
        }
        let waiting = leaves[same..].to_vec();
        // What an earlier process wrote may not be on the disk.
        Ok(Self { path, written: same as u64, synced: 0, waiting })
    }

    pub(super) fn push(&mut self, leaf: Hash) {
        self.waiting.push(leaf);
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// All that were pushed are in the file.
    pub(super) fn write(&mut self) -> Result<(), StoreError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let opened = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(FILE_MODE)
            .open(&self.path);
        let file = opened.map_err(StoreError::io("open", &self.path))?;
        let written = file.write_all_at(&self.waiting.concat(), self.written * 32);
        written.map_err(StoreError::io("write", &self.path))?;
        self.written += self.waiting.len() as u64;
        self.waiting.clear();
        self.waiting.shrink_to(64);
        Ok(())
    }

    /// All that were pushed are on the disk.
    pub(super) fn sync(&mut self) -> Result<(), StoreError> {
        self.write()?;
        if self.synced == self.written {
            return Ok(());
        }
        let file = OpenOptions::new().write(true).open(&self.path);
        let synced = file.and_then(|file| file.sync_data()).and_then(|()| {
            // Its name, too, the first time.
            if self.synced == 0 {
                self.path.parent().map_or(Ok(()), files::sync_directory)
            } else {
                Ok(())
            }
        });
        synced.map_err(StoreError::io("sync", &self.path))?;
        self.synced = self.written;
        Ok(())
    }
}

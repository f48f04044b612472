//! The file of checkpoints: signed notes, one behind the other. It finds where each begins, whatever is
//! between them, and appends. Whether they are right is for others to say.

use std::{
    fs::OpenOptions,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use crate::{
    evidence::{Checkpoint, Fault, Note},
    store::{
        error::StoreError,
        files::{self, FILE_MODE},
    },
};

/// How a line of a signature begins.
const SIGNATURE: &str = "\u{2014} ";

pub(in crate::store) fn path(evidence: &Path) -> PathBuf {
    evidence.join("checkpoints")
}

/// The same with what witnesses signed. Only `geofenced witness add` writes it.
pub(in crate::store) fn witnessed_path(evidence: &Path) -> PathBuf {
    evidence.join("witnessed")
}

/// A stretch of the file: a note, or what should be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) struct Stretch {
    /// Its first line, counted from 1.
    pub line: usize,
    /// Where it ends in the file.
    pub end: usize,
    /// Nothing is verified.
    pub note: Result<(Note, Checkpoint), Fault>,
}

/// All of a file. A note ends where a line follows on its signatures that is none.
pub(in crate::store) fn stretches(bytes: &[u8]) -> Vec<Stretch> {
    let (mut stretches, mut begin, mut at, mut line) = (Vec::new(), 0, 0, 1);
    let (mut first_line, mut is_signed) = (1, false);
    let mut close = |begin: usize, end: usize, line: usize| {
        let note = Note::parse(&bytes[begin..end])
            .and_then(|note| Ok((note.clone(), Checkpoint::parse(note.text())?)));
        stretches.push(Stretch { line, end, note });
    };
    for text in bytes.split_inclusive(|byte| *byte == b'\n') {
        let is_signature = text.starts_with(SIGNATURE.as_bytes());
        if is_signed && !is_signature {
            close(begin, at, first_line);
            (begin, first_line) = (at, line);
        }
        is_signed = is_signature;
        at += text.len();
        line += 1;
    }
    if begin < bytes.len() {
        close(begin, bytes.len(), first_line);
    }
    stretches
}

/// The file as its writer knows it.
#[derive(Debug)]
pub(super) struct Checkpoints {
    path: PathBuf,
    bytes: u64,
    is_new: bool,
}

impl Checkpoints {
    /// Goes on behind so many bytes of it; what is behind them was never told to anybody.
    pub(super) fn after(path: PathBuf, bytes: u64) -> Self {
        Self { path, bytes, is_new: true }
    }

    /// It is on the disk when this returns `Ok`; else nothing of it counts.
    pub(super) fn append(&mut self, note: &str) -> Result<(), StoreError> {
        let opened = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(FILE_MODE)
            .open(&self.path);
        let file = opened.map_err(StoreError::io("open", &self.path))?;
        let appended = (|| {
            file.set_len(self.bytes)?;
            file.write_all_at(note.as_bytes(), self.bytes)?;
            file.sync_data()?;
            if self.is_new {
                self.path.parent().map_or(Ok(()), files::sync_directory)
            } else {
                Ok(())
            }
        })();
        if let Err(error) = appended {
            // If it stays, the next one is written over it, or opening finds it.
            let _ = file.set_len(self.bytes);
            return Err(StoreError::io("write", &self.path)(error));
        }
        self.is_new = false;
        self.bytes += note.len() as u64;
        Ok(())
    }
}

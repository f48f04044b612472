//! Whole segments, piece by piece: a link that breaks loses one piece, and what is urgent waits for one at most.

use std::{fs::File, io, os::unix::fs::FileExt as _};

use geofenced::fleet::shipped;
use sha2::{Digest as _, Sha256};

use super::{Did, Ship, ShipError};
use crate::object::{Object, Piece, Short};

const READ_BYTES: usize = 64 << 10;

/// A segment that is being sent.
#[derive(Debug)]
pub(super) struct Sending {
    segment: u32,
    whole: Short,
    offset: u64,
    total: u64,
    /// What is there by this name may be damaged.
    is_wanted: bool,
}

fn hashed(file: &File, total: u64) -> io::Result<Short> {
    let (mut hasher, mut buffer, mut at) = (Sha256::new(), vec![0; READ_BYTES], 0);
    while at < total {
        let wanted = READ_BYTES.min((total - at) as usize);
        file.read_exact_at(&mut buffer[..wanted], at)?;
        hasher.update(&buffer[..wanted]);
        at += wanted as u64;
    }
    Ok(Short::of(&hasher.finalize().into()))
}

impl Ship {
    /// The next piece of whatever segment is worth most.
    pub(super) fn piece(&mut self, origin: &str) -> Result<Did, ShipError> {
        self.compare(origin)?;
        if self.sending.is_none() {
            self.sending = self.next()?;
        }
        let Some(Sending { segment, whole, offset, total, is_wanted }) = self.sending.take() else {
            return Ok(Did::Nothing);
        };
        let path = shipped::path_of(&self.root, segment);
        let file = match File::open(&path) {
            Ok(file) => file,
            // Retention took it: the ledger tells of that.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Did::Nothing),
            Err(source) => return Err(ShipError::Read { path, source }),
        };
        let length = self.limit.piece_bytes().min(total - offset);
        let piece = Piece { segment, whole: whole.clone(), offset, length, total };
        let key = Object::Piece(piece).key(origin);
        if is_wanted || self.depot.length(&key)? != Some(length) {
            let mut bytes = vec![0; length as usize];
            file.read_exact_at(&mut bytes, offset)
                .map_err(|source| ShipError::Read { path, source })?;
            self.put(&key, &bytes)?;
        }
        let offset = offset + length;
        let is_last = offset >= total;
        if is_last {
            let leaves = self.sent.of(origin).size;
            self.sent.segments.insert(segment, (whole.to_string(), leaves));
            self.sent.wanted.remove(&segment);
            self.sent.save()?;
        } else {
            self.sending = Some(Sending { segment, whole, offset, total, is_wanted });
        }
        Ok(Did::Piece { segment, is_last })
    }

    /// Of those that have ended and were not sent: what was asked for, what violates, what is oldest.
    fn next(&mut self) -> Result<Option<Sending>, ShipError> {
        let mut there = shipped::segments(&self.root)?;
        // The last one is still written.
        there.pop();
        there.retain(|it| !self.sent.segments.contains_key(it));
        let mut chosen = there.iter().find(|it| self.sent.wanted.contains(it)).copied();
        if chosen.is_none() && there.len() > 1 {
            for segment in &there {
                let path = || shipped::path_of(&self.root, *segment);
                let violates = shipped::may_violate(&self.root, *segment)
                    .map_err(|source| ShipError::Read { path: path(), source })?;
                if violates == Some(true) {
                    chosen = Some(*segment);
                    break;
                }
            }
        }
        let Some(segment) = chosen.or(there.first().copied()) else { return Ok(None) };
        self.begin(segment)
    }

    fn begin(&self, segment: u32) -> Result<Option<Sending>, ShipError> {
        let path = shipped::path_of(&self.root, segment);
        let begun = File::open(&path).and_then(|file| {
            let total = file.metadata()?.len();
            Ok((hashed(&file, total)?, total))
        });
        match begun {
            Ok((whole, total)) => {
                let is_wanted = self.sent.wanted.contains(&segment);
                Ok(Some(Sending { segment, whole, offset: 0, total, is_wanted }))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(ShipError::Read { path, source }),
        }
    }

    /// Under another origin the ledger is not what it was: what is no longer the same goes again.
    fn compare(&mut self, origin: &str) -> Result<(), ShipError> {
        if self.sent.origin.as_deref() == Some(origin) {
            return Ok(());
        }
        for (segment, (whole, _)) in self.sent.segments.clone() {
            let now = self.begin(segment)?.map(|it| it.whole.to_string());
            if now.is_some_and(|now| now != whole) {
                self.sent.segments.remove(&segment);
            }
        }
        self.sending = None;
        self.sent.origin = Some(origin.to_owned());
        self.sent.save()?;
        Ok(())
    }
}

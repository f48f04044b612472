//! Signed notes of the store, read as they come: which are of which origin, and where they stand in their file. What
//! is kept of them does not grow with the ledger's age.

use std::{io, ops::Range, path::Path};

use geofenced::fleet::shipped;

/// Of one origin, in the order of the file.
#[derive(Debug)]
pub(super) struct OfNotes {
    pub name: String,
    /// Of its largest.
    pub size: u64,
    /// Size, and where in the file, of those that were not sent.
    notes: Vec<(u64, Range<u64>)>,
}

#[derive(Debug, Default)]
pub(super) struct Notes {
    /// So much of the file is known.
    read: u64,
    pub origins: Vec<OfNotes>,
}

impl Notes {
    /// Reads what came since.
    pub fn look(&mut self, root: &Path) -> io::Result<()> {
        let length = shipped::notes_length(root)?;
        if length < self.read {
            // Somebody put another file there.
            *self = Self::default();
        }
        if length == self.read {
            return Ok(());
        }
        let new = shipped::notes_within(root, self.read..length)?;
        let (mut begin, mut known) = (self.read, self.read);
        for (end, note) in shipped::stretches(&new) {
            let range = begin..self.read + end as u64;
            begin = range.end;
            let Ok((_, checkpoint)) = note else { continue };
            known = range.end;
            let at = self.origins.iter().position(|it| it.name == checkpoint.origin);
            let at = at.unwrap_or_else(|| {
                let name = checkpoint.origin;
                self.origins.push(OfNotes { name, size: 0, notes: Vec::new() });
                self.origins.len() - 1
            });
            let it = &mut self.origins[at];
            it.size = it.size.max(checkpoint.size);
            it.notes.push((checkpoint.size, range));
        }
        // The end may be half of a note.
        self.read = known;
        Ok(())
    }

    /// Those of an origin that are over more than so many blocks.
    pub fn since(&self, root: &Path, origin: &str, from: u64) -> io::Result<Vec<u8>> {
        let of = self.origins.iter().filter(|it| it.name == origin);
        let mut all = Vec::new();
        for (_, range) in of.flat_map(|it| &it.notes).filter(|(size, _)| *size > from) {
            all.extend(shipped::notes_within(root, range.clone())?);
        }
        Ok(all)
    }

    /// These were sent.
    pub fn forget(&mut self, origin: &str, size: u64) {
        for it in self.origins.iter_mut().filter(|it| it.name == origin) {
            it.notes.retain(|(of, _)| *of > size);
        }
    }
}

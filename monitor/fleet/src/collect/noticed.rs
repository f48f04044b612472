//! What each segment notes of its station, kept beside the ledger, so that which times were watched is told without
//! reading all of the ledger again. It can be made anew from the segments, and is where it is not right.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use geofenced::fleet::{
    Entry, Fold, Integrity, LOOK_BACK_NS, Notice, Timestamp, packed, replace_file,
    shipped::{self, Shipped},
};

use super::{CollectError, state::State};

fn path(directory: &Path, segment: u32) -> PathBuf {
    directory.join("noticed").join(format!("{segment:08}"))
}

/// Keeps what a segment notes.
pub(super) fn keep(directory: &Path, segment: u32, notices: &[Entry]) -> Result<(), CollectError> {
    let path = path(directory, segment);
    shipped::make_directory(path.parent().unwrap_or(directory))?;
    Ok(replace_file(&path, &packed::pack(notices))?)
}

fn of(directory: &Path, segment: u32) -> Result<Vec<Entry>, CollectError> {
    let read = |path: PathBuf| match fs::read(&path) {
        Ok(bytes) => Ok(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(CollectError::Read { path, source }),
    };
    if let Some(kept) = packed::unpack(&read(path(directory, segment))?) {
        return Ok(kept);
    }
    let bytes = read(shipped::path_of(directory, segment))?;
    let Ok(read) = Shipped::read(&bytes) else { return Ok(Vec::new()) };
    let entries = read.blocks.iter().filter_map(|it| it.entries(&bytes)).flatten();
    let notices: Vec<Entry> = entries.filter(|it| matches!(it, Entry::Notice { .. })).collect();
    keep(directory, segment, &notices)?;
    Ok(notices)
}

/// What of its time a station watched, by its ledger as it is kept here; told anew where more of it came.
pub(super) fn cover(state: &mut State) -> Result<(), CollectError> {
    let segments = state.held.len() as u64;
    let Some((oldest, until)) = state.span().filter(|_| segments != state.coverage_of) else {
        return Ok(());
    };
    let mut told: Option<(Timestamp, Fold)> = None;
    for segment in state.held.keys() {
        for entry in of(&state.directory, *segment)? {
            let Entry::Notice { at, notice } = entry else { continue };
            // The store's word of itself, not of whoever watches.
            if told.is_none() && !matches!(notice, Notice::Key { .. } | Notice::Gone { .. }) {
                let since = at.min(until);
                let from = Timestamp(since.0.saturating_sub(LOOK_BACK_NS));
                told = Some((since, Fold::from(from)));
            }
            if let Some((_, fold)) = &mut told {
                fold.add(at, &notice);
            }
        }
    }
    let (since, fold) = told.unwrap_or_else(|| (oldest, Fold::from(oldest)));
    state.coverage = Some(fold.within((since, until), None, integrity(state)));
    state.coverage_of = segments;
    Ok(())
}

fn integrity(state: &State) -> Integrity {
    let mut integrity = Integrity {
        damaged: 0,
        missing_segments: state.missing_segments().len() as u64,
        missing_blocks: state.held.values().map(|it| it.unreadable).sum(),
    };
    let mut before: Option<(u32, u64)> = None;
    for (segment, held) in &state.held {
        if let Some((_, end)) = before.filter(|(before, _)| before + 1 == *segment) {
            integrity.missing_blocks += held.blocks.0.saturating_sub(end);
        }
        before = Some((*segment, held.blocks.1));
    }
    integrity
}

//! A period of the ledger: some segments in a row, whose index is one database. What is known of it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use super::{
    database::Database,
    seal::{Coverage, Covered, Stamp},
};

/// Segments of one database.
const SEGMENTS: u32 = 4;
/// First segment of the period that `segment` is in.
pub(super) fn period_of(segment: u32) -> u32 {
    segment - segment.saturating_sub(1) % SEGMENTS
}

/// One database, and what is known of it.
#[derive(Debug, Default)]
pub(super) struct Period {
    pub coverage: Coverage,
    pub open: Option<Open>,
    /// Of its files when this process closed them.
    pub stamp: Option<Stamp>,
    /// It is wrong: not asked until it was rebuilt.
    pub broken: bool,
}

#[derive(Debug)]
pub(super) struct Open {
    pub database: Arc<Database>,
    pub used: Instant,
}

impl Period {
    pub(super) fn covered(&self, segment: u32) -> Option<&Covered> {
        if self.broken { None } else { self.coverage.get(&segment) }
    }

    pub(super) fn coverage(&self) -> impl Iterator<Item = (u32, &Covered)> + Clone {
        let coverage = if self.broken { None } else { Some(&self.coverage) };
        coverage.into_iter().flatten().map(|(segment, covered)| (*segment, covered))
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    pub(super) fn is_used(&self) -> bool {
        self.open.as_ref().is_some_and(|open| Arc::strong_count(&open.database) > 1)
    }
}

pub(super) fn path_in(root: &Path, period: u32) -> PathBuf {
    root.join(format!("{period:08}"))
}

//! Evidence beside the ledger: when leaves are written and checkpoints signed, and what the ledger tells of
//! it. What fails is counted and tried again: the ledger goes on without evidence.

mod before;
pub(super) mod checkpoints;
mod gone;
mod keeper;
pub(super) mod keys;
pub(super) mod leaves;
mod origin;
mod remake;
#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::{
    error::{StoreCounters, StoreError},
    ledger::Writer,
};
use crate::{
    clock::Clock,
    event::{Entry, Notice},
    evidence::{Hash, KeyName},
};
use gone::Gone;
pub use keeper::Head;
use keeper::{Keeper, Opened};

/// A block waits at most so long for a checkpoint, by the boot clock; where entries come.
pub(super) const CADENCE: Duration = Duration::from_mins(15);
/// Leaves that wait for the next checkpoint in memory.
const WAITING_MAX: usize = 4_096;
/// Where the host has no name that could be one of a key.
const NAMELESS: &str = "geofenced";

/// Blocks below this number were durable: they have a leaf. Those behind may have been, too, since leaves are
/// written later.
pub(super) fn durable_blocks(root: &Path) -> u64 {
    let leaves = leaves::read(&leaves::path(&super::files::evidence(root)));
    leaves.ok().flatten().map_or(0, |leaves| leaves.len() as u64)
}

/// The name under which this host signs.
pub fn host_name() -> KeyName {
    let name = rustix::system::uname();
    let name = name.nodename().to_str().map_err(drop);
    let name = name.and_then(|name| KeyName::parse(name).map_err(drop));
    name.or_else(|()| KeyName::parse(NAMELESS)).expect("a constant name of letters")
}

#[derive(Debug)]
pub(super) struct Evidence {
    root: PathBuf,
    name: KeyName,
    clock: Clock,
    counters: Arc<StoreCounters>,
    head: Head,
    /// `None`: it could not be opened yet.
    keeper: Option<Keeper>,
    gone: Gone,
    /// Segment of the last checkpoint, and when it was signed by the boot clock.
    signed_in: u32,
    signed_ns: u64,
    /// What just happened is to be signed with the next sync.
    is_wanted: bool,
}

impl Evidence {
    pub(super) fn new(
        root: &Path,
        name: KeyName,
        clock: Clock,
        counters: Arc<StoreCounters>,
    ) -> Self {
        Self {
            root: root.to_owned(),
            name,
            clock,
            counters,
            head: Head::default(),
            keeper: None,
            gone: Gone::default(),
            signed_in: 0,
            signed_ns: 0,
            is_wanted: true,
        }
    }

    pub(super) fn head(&self) -> Head {
        self.head.clone()
    }

    /// Opens what is there, and has the ledger tell of it.
    pub(super) fn begin(&mut self, writer: &mut Writer) {
        let progress = writer.progress();
        let opened = Keeper::open(&self.root, &self.name, progress.next_block, self.head.clone());
        let Some(Opened { keeper, notices, is_new }) = self.attempt(opened) else { return };
        self.keeper = Some(keeper);
        self.is_wanted = true;
        let gone = Gone::open(&self.root, progress.segment, is_new);
        self.gone = self.attempt(gone).unwrap_or_default();
        for notice in notices {
            if let Notice::RolledBack { .. } = notice {
                StoreCounters::add(&self.counters.rollbacks, 1);
            }
            self.note(writer, notice);
        }
        if is_new {
            self.note_gone(writer);
        }
    }

    /// Once more, where it could not be opened before.
    pub(super) fn look_again(&mut self, writer: &mut Writer) {
        if self.keeper.is_none() {
            self.begin(writer);
        }
    }

    /// Blocks that became durable.
    pub(super) fn take(&mut self, blocks: Vec<(u64, Hash)>) {
        let Some(keeper) = &mut self.keeper else { return };
        if blocks.is_empty() {
            return;
        }
        keeper.take(blocks);
        // They can be made again from the ledger. Each write of a few bytes costs a card a page.
        if keeper.waiting() >= WAITING_MAX {
            let written = keeper.write();
            self.attempt(written);
        }
    }

    /// Some entries are worth a checkpoint.
    pub(super) fn look_at(&mut self, entry: &Entry) {
        let Entry::Notice { notice, .. } = entry else { return };
        self.is_wanted |= matches!(notice, Notice::Reloaded { .. } | Notice::Stopped);
    }

    /// Whether a checkpoint is to be signed now that everything is durable.
    pub(super) fn is_due(&self, segment: u32) -> bool {
        let since = self.clock.now().boot_ns.saturating_sub(self.signed_ns);
        let is_late = u128::from(since) >= CADENCE.as_nanos();
        self.is_wanted || is_late || segment != self.signed_in
    }

    /// Signs a checkpoint, if there is something new. All that was synced is in it.
    pub(super) fn sign(&mut self, writer: &mut Writer) {
        self.take(writer.take_leaves());
        let now = self.clock.now();
        let Some(keeper) = &mut self.keeper else { return };
        let signed = keeper.sign(now.wall());
        if let Some(is_new) = self.attempt(signed) {
            StoreCounters::add(&self.counters.checkpoints_signed, is_new.into());
            self.is_wanted = false;
            self.signed_in = writer.progress().segment;
            self.signed_ns = now.boot_ns;
        }
    }

    /// Before retention removes a segment: its leaves are on the disk, and the ledger says that it is to go.
    pub(super) fn leaves_ledger(&mut self, segment: u32, writer: &mut Writer) {
        if self.keeper.is_none() {
            return;
        }
        self.gone.add(segment.into());
        self.note_gone(writer);
        // Where that fails it has to go all the same.
        let synced = writer.sync();
        self.attempt(synced);
        self.take(writer.take_leaves());
        if let Some(keeper) = &mut self.keeper {
            let synced = keeper.sync();
            self.attempt(synced);
        }
    }

    /// Segments that were removed.
    pub(super) fn went(&mut self, segments: &[u64]) {
        for segment in segments {
            self.gone.add(*segment);
        }
    }

    /// Tells the ledger which segments are gone, if it was not told yet.
    pub(super) fn note_gone(&mut self, writer: &mut Writer) {
        if self.keeper.is_some() && self.gone.is_untold() {
            let notice = Notice::Gone { ranges: self.gone.ranges().to_vec() };
            if self.note(writer, notice) {
                self.gone.told();
            }
        }
    }

    fn note(&self, writer: &mut Writer, notice: Notice) -> bool {
        let at = self.clock.now().wall();
        let noted = writer.append(&Entry::Notice { at, notice });
        self.attempt(noted).is_some()
    }

    fn attempt<T>(&self, result: Result<T, StoreError>) -> Option<T> {
        if let Err(error) = &result {
            StoreCounters::add(&self.counters.evidence_errors, 1);
            tracing::error!("store: evidence: {error}; trying again");
        }
        result.ok()
    }
}

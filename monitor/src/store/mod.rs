//! The store: a ledger that is the truth, an index that can be thrown away, queries over both.
//! One writer ([`Store`]), any number of readers ([`Reader`]). It has no policy of when to sync or
//! what to record: the caller decides. Its clock is for the age of segments alone.

mod age;
mod error;
mod evidence;
mod files;
pub mod ground;
mod index;
mod ledger;
mod lock;
mod memory;
pub mod packed;
pub mod prove;
mod query;
mod retention;
mod scan;
pub mod shipped;
mod stored;
#[cfg(test)]
mod tests;
mod unclean;
pub mod verify;

use std::{path::Path, sync::Arc, time::Duration};

pub use error::{STORE_EVENTS, StoreCounters, StoreError};
pub use evidence::Head as EvidenceHead;
pub use index::Limits as IndexLimits;
pub use ledger::Recovery;
pub use query::Reader;
pub use retention::Deleted;
pub use stored::Seen;

use crate::{
    clock::Clock,
    config::{Shipping, StoreConfig},
    event::{Entry, Notice},
    evidence::KeyName,
};
use evidence::Evidence;
pub use evidence::host_name;
use ground::Ground;
use index::Index;
use ledger::Writer;
use scan::Scan;
use unclean::Unclean;

/// The seed of a key that the file holds, as the store keeps its own; made where there is none.
pub fn seed(path: &Path) -> Result<[u8; 32], StoreError> {
    match evidence::keys::read_seed(path)? {
        Some(seed) => Ok(seed),
        None => evidence::keys::make_seed(path),
    }
}

/// Replaces a file whole and durably, as the store does its own.
pub fn replace_file(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    files::replace(path, bytes, files::FILE_MODE).map_err(StoreError::io("write", path))
}

/// A segment is this long at least, on however small a disk,
const SEGMENT_LEAST: u64 = 64 << 10;
/// and the room that there is holds so many.
const SEGMENTS_LEAST: u64 = 16;
/// More than is asked for is made room for on a full disk, for what is written meanwhile.
const SPARE_BYTES: u64 = 64 << 10;

/// How the store is cut into files. [`Options::of`] is what the daemon uses.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// A segment of the ledger ends when it is this long,
    pub segment_bytes: u64,
    /// or this old.
    pub segment_age: Duration,
    /// `None`: no index; queries read the ledger.
    pub index: Option<IndexLimits>,
}

impl Options {
    /// Segments small enough for retention to delete about a 64th of the store at a time.
    pub fn of(config: &StoreConfig) -> Self {
        const DAY: Duration = Duration::from_hours(24);
        Self {
            segment_bytes: (config.max_bytes / 64).clamp(SEGMENT_LEAST, 32 << 20),
            segment_age: (config.retention / 8).clamp(Duration::from_mins(1), DAY),
            index: Some(IndexLimits::default()),
        }
    }

    /// Where memory is short: one in so many of the rows that sums have elsewhere, so that answers which many programs
    /// and destinations make slow are rather slow than large; groups are as much smaller, and one database is open.
    pub fn sparing(mut self, one_in: usize) -> Self {
        if let Some(limits) = self.index.as_mut().filter(|_| one_in > 1) {
            limits.one_in = one_in;
            limits.group_blocks /= one_in as u64;
            limits.group_entries /= one_in as u64;
            limits.open = 1;
        }
        self
    }
}

/// The writer. Dropping it ends the index's thread; entries not synced by then are lost.
#[derive(Debug)]
pub struct Store {
    writer: Writer,
    clock: Clock,
    index: Option<Index>,
    reader: Reader,
    recovery: Recovery,
    retention: Duration,
    max_bytes: u64,
    shipping: Option<Shipping>,
    /// Of segments, with enough room on the disk.
    segment_bytes: u64,
    /// What was removed and the ledger was not told of.
    unnoted: Deleted,
    evidence: Evidence,
    /// Last: released when all else is closed.
    _lock: lock::Lock,
}

impl Store {
    /// Takes the lock, recovers the end of the ledger, goes on there. A cut tail is told by
    /// [`Store::recovery`] and as a [`Notice::Cut`] in the ledger.
    pub fn open(config: &StoreConfig) -> Result<Self, StoreError> {
        Self::open_with(config, Options::of(config))
    }

    pub fn open_with(config: &StoreConfig, options: Options) -> Result<Self, StoreError> {
        Self::open_by(config, options, Clock::host())
    }

    /// The same, its evidence signed under this name: that of the host.
    pub fn open_named(config: &StoreConfig, name: KeyName) -> Result<Self, StoreError> {
        Self::open_as(config, Options::of(config), Clock::host(), name)
    }

    /// The same, and cut into such files.
    pub fn open_named_with(
        config: &StoreConfig,
        options: Options,
        name: KeyName,
    ) -> Result<Self, StoreError> {
        Self::open_as(config, options, Clock::host(), name)
    }

    /// By the clock of a test.
    #[cfg(test)]
    pub(crate) fn open_at(config: &StoreConfig, clock: Clock) -> Result<Self, StoreError> {
        Self::open_by(config, Options::of(config), clock)
    }

    fn open_by(config: &StoreConfig, options: Options, clock: Clock) -> Result<Self, StoreError> {
        Self::open_as(config, options, clock, host_name())
    }

    fn open_as(
        config: &StoreConfig,
        options: Options,
        clock: Clock,
        name: KeyName,
    ) -> Result<Self, StoreError> {
        let root = &config.path;
        let ledger = files::ledger(root);
        files::make_directory(root)?;
        let lock = lock::take(root)?;
        files::make_directory(&ledger)?;
        let counters = Arc::new(StoreCounters::default());
        let (mut writer, recovery) = Writer::open(
            &ledger,
            evidence::durable_blocks(root),
            options.segment_bytes,
            options.segment_age,
            clock.clone(),
            Arc::clone(&counters),
        )?;
        StoreCounters::add(&counters.blocks_corrupt, recovery.corrupt);
        StoreCounters::add(&counters.chain_breaks, recovery.chain_breaks);
        StoreCounters::add(&counters.tails_cut, recovery.cuts.len() as u64);
        // A ledger that can't be read is no reason not to go on with it.
        let read = unclean::look(&Scan::new(ledger.clone(), Arc::clone(&counters)));
        if let Some(Unclean { at, flows }) = read.unwrap_or_default() {
            let notice = Notice::LostSight { flows };
            writer.append(&Entry::Notice { at, notice })?;
        }
        for (segment, bytes) in &recovery.cuts {
            let notice = Notice::Cut { segment: u64::from(*segment), bytes: *bytes };
            writer.append(&Entry::Notice { at: clock.now().wall(), notice })?;
        }
        let index = match options.index {
            Some(limits) => {
                let (directory, progress) = (files::index(root), writer.progress());
                let counters = Arc::clone(&counters);
                match Index::start(&directory, &ledger, limits, progress, counters) {
                    // It can be done without.
                    Err(error) if error.is_full() => {
                        tracing::warn!("{error}; queries read the ledger");
                        None
                    }
                    started => Some(started?),
                }
            }
            None => None,
        };
        let evidence = Evidence::new(root, name, clock.clone(), Arc::clone(&counters));
        let finder = index.as_ref().map(Index::finder);
        let one_in = options.index.map_or(1, |limits| limits.one_in);
        let reader = Reader::new(root, counters, finder).sparing(one_in);
        let mut store = Self {
            writer,
            clock,
            index,
            reader,
            recovery,
            retention: config.retention,
            max_bytes: config.max_bytes,
            shipping: config.shipping.clone(),
            segment_bytes: options.segment_bytes,
            unnoted: Deleted::default(),
            evidence,
            _lock: lock,
        };
        store.evidence.begin(&mut store.writer);
        store.fit_segments();
        Ok(store)
    }

    /// What opening met.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// Takes an entry. It is acknowledged by the next [`Store::sync`] that succeeds; queries see it once
    /// it is written. On an error this entry was not taken; those before it are kept.
    pub fn append(&mut self, entry: &Entry) -> Result<(), StoreError> {
        let result = self.writer.append(entry);
        self.publish();
        self.evidence.look_at(entry);
        result
    }

    /// Queries see every entry taken, and these outlive this process; a loss of power may take them. On an
    /// error they are kept; call it again.
    pub fn write(&mut self) -> Result<(), StoreError> {
        let result = self.writer.write();
        self.publish();
        result
    }

    /// Acknowledges every entry taken: all are on the disk when this returns `Ok`. On an error they
    /// are kept; call it again.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        self.note_removed();
        let result = self.writer.sync();
        self.publish();
        if result.is_ok() && self.evidence.is_due(self.writer.progress().segment) {
            self.evidence.sign(&mut self.writer);
        }
        result
    }

    /// Acknowledges every entry taken and signs a checkpoint of all there is.
    pub fn seal(&mut self) -> Result<(), StoreError> {
        self.sync()?;
        self.evidence.sign(&mut self.writer);
        Ok(())
    }

    /// The last checkpoint, for whoever asks at whatever time.
    pub fn evidence(&self) -> EvidenceHead {
        self.evidence.head()
    }

    /// Entries taken and not acknowledged.
    pub fn pending(&self) -> u64 {
        self.writer.pending()
    }

    fn publish(&mut self) {
        self.evidence.take(self.writer.take_leaves());
        if let Some(index) = &self.index {
            index.publish(self.writer.progress());
        }
    }

    /// A reader that shares the index. Cheap to clone; use it from threads that may block.
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    pub fn counters(&self) -> &Arc<StoreCounters> {
        self.reader.counters()
    }

    /// Waits until the index has done what is due; false if that took longer than `timeout`.
    pub fn wait_for_index(&self, timeout: Duration) -> bool {
        self.index.as_ref().is_none_or(|index| index.wait(timeout))
    }

    /// Deletes whole segments that ended too long ago or are too many, and tells the ledger which. Call
    /// it every few minutes. What it tells is acknowledged by the next sync.
    pub fn retain(&mut self) -> Result<Deleted, StoreError> {
        let now = self.clock.now();
        let active = self.writer.progress().segment;
        self.evidence.look_again(&mut self.writer);
        let ground = self.ground();
        let unshipped = self.shipping.as_ref().zip(ground.as_ref());
        let bounds = retention::Bounds {
            now,
            age: self.retention,
            bytes: self.max_bytes,
            unshipped: unshipped.map(|(shipping, ground)| (ground, shipping.keep_bytes)),
        };
        let mut deleted = Deleted::default();
        let (writer, evidence) = (&mut self.writer, &mut self.evidence);
        let result = retention::apply(
            self.reader.scan(),
            (&files::index(self.reader.path()), active),
            bounds,
            &mut deleted,
            &mut |segment| evidence.leaves_ledger(segment, writer),
        );
        self.removed(&deleted);
        result.map(|()| deleted)
    }

    /// What of the ledger is on the ground; `None`: nobody waits for that.
    fn ground(&self) -> Option<Ground> {
        let shipping = self.shipping.as_ref()?;
        let signed = self.evidence.head().get();
        let told = signed.map(|it| Ground::told(&shipping.told, &it.checkpoint.origin));
        Some(told.unwrap_or_default())
    }

    /// On a full disk: gives up the index, which comes again once there is room, then what retention
    /// would delete first, until there should be room for what is pending; at last the segment that is
    /// written. Nothing deleted: nothing is left to give up.
    pub fn make_room(&mut self) -> Result<Deleted, StoreError> {
        let progress = self.writer.progress();
        let active = progress.segment;
        let wanted = self.writer.pending_bytes() + SPARE_BYTES;
        let mut deleted = Deleted::default();
        if self.index.as_ref().is_some_and(Index::yield_room) {
            return Ok(deleted);
        }
        let mut result = retention::give_way(self.reader.scan(), active, wanted, &mut deleted);
        if result.is_ok() && deleted.segments.is_empty() {
            let (scan, durable) = (self.reader.scan(), progress.bytes);
            result = retention::give_up(scan, active, durable, SEGMENT_LEAST, &mut deleted);
            if deleted.segments.contains(&active.into()) {
                self.writer.leave_segment();
            }
        }
        self.removed(&deleted);
        result.map(|()| deleted)
    }

    fn removed(&mut self, deleted: &Deleted) {
        self.fit_segments();
        if deleted.segments.is_empty() {
            return;
        }
        if let Some(index) = &self.index {
            index.segments_went();
        }
        self.unnoted.join(deleted);
        self.evidence.went(&deleted.segments);
        self.note_removed();
    }

    /// On a full disk it may have to wait.
    fn note_removed(&mut self) {
        let at = self.clock.now().wall();
        let Some(notice) = self.unnoted.notice() else { return };
        if self.writer.append(&Entry::Notice { at, notice }).is_ok() {
            self.unnoted = Deleted::default();
            self.evidence.note_gone(&mut self.writer);
        }
    }

    /// A small disk, or what others left of one, is cut into as many segments as a store that has the
    /// room it may have: else the one that is written would soon be the only one.
    fn fit_segments(&mut self) {
        let Ok(free) = rustix::fs::statvfs(self.reader.scan().ledger()) else { return };
        let free = free.f_bavail.saturating_mul(free.f_frsize);
        let room = free.saturating_add(files::bytes_below(self.reader.scan().ledger()));
        let least = SEGMENT_LEAST.min(self.segment_bytes);
        let bytes = (room / SEGMENTS_LEAST).clamp(least, self.segment_bytes);
        self.writer.set_segment_bytes(bytes);
        if let Some(index) = &self.index {
            index.there_is_room(free >= self.index_room());
        }
    }

    /// The index does not take the last room of a disk.
    fn index_room(&self) -> u64 {
        self.max_bytes / 8
    }

    /// Acknowledges what is pending, signs it and closes the index in order.
    pub fn close(mut self) -> Result<(), StoreError> {
        self.seal()
    }
}

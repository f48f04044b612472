//! The one writer of the ledger. Whatever fails, the file is cut back to what is durable and the
//! blocks are kept to be written again: nothing acknowledged is lost, nothing is written twice.
//! Its file is open only while it is written: so nothing of it hinders a remount, and what is mounted
//! anew is found.

use std::{
    fs::OpenOptions,
    io,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::{
    block::{Builder, chain, leaves},
    frame::{Created, Hash, SEGMENT_HEADER_MAX, SegmentHeader, hash},
    recover::{End, Recovery, recover},
};
use crate::{
    clock::Clock,
    event::{Entry, Moment},
    evidence,
    store::{
        error::{StoreCounters, StoreError},
        files::{FILE_MODE, segment_path, sync_directory},
    },
};

/// Closed blocks wait for the next sync up to this many bytes; then the writer syncs by itself.
const TAIL_MAX: usize = 1 << 20;
/// A segment of another boot is gone on with while it is shorter: what it spans is not known, but a
/// host that starts again and again makes no file each time.
const OTHER_BOOT_BYTES: u64 = 16 << 10;

/// How far the ledger is durable. The index follows no further.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    pub segment: u32,
    /// Durable length of that segment.
    pub bytes: u64,
    /// Durable blocks of the whole ledger are numbered below this.
    pub next_block: u64,
    /// Entries in `segment`.
    pub entries: u64,
}

#[derive(Debug)]
pub(crate) struct Writer {
    ledger: PathBuf,
    segment_bytes: u64,
    segment_age: Duration,
    counters: Arc<StoreCounters>,
    builder: Builder,
    /// Closed blocks that are not durable yet; they belong at `progress.bytes`.
    tail: Vec<u8>,
    /// Bytes of it that are in the file already.
    written: usize,
    tail_blocks: u64,
    tail_entries: u64,
    next_block: u64,
    last_hash: Hash,
    /// Of the last durable block, or else header.
    durable_hash: Hash,
    progress: Progress,
    created: Created,
    clock: Clock,
    /// Else the next block starts a new segment.
    is_begun: bool,
    /// The file may be longer than what is durable.
    overhang: bool,
    /// Of the blocks that became durable and were not asked for yet.
    leaves: Vec<(u64, evidence::Hash)>,
}

impl Writer {
    /// Recovers the end of the ledger and goes on there. `durable`: see [`recover`].
    pub(crate) fn open(
        ledger: &Path,
        durable: u64,
        segment_bytes: u64,
        segment_age: Duration,
        clock: Clock,
        counters: Arc<StoreCounters>,
    ) -> Result<(Self, Recovery), StoreError> {
        let (end, recovery) = recover(ledger, durable)?;
        let mut writer = Self {
            ledger: ledger.to_owned(),
            segment_bytes,
            segment_age,
            counters,
            builder: Builder::default(),
            tail: Vec::new(),
            written: 0,
            tail_blocks: 0,
            tail_entries: 0,
            next_block: 0,
            last_hash: [0; 32],
            durable_hash: [0; 32],
            progress: Progress::default(),
            created: Created::At(clock.now()),
            clock,
            is_begun: false,
            overhang: false,
            leaves: Vec::new(),
        };
        if let Some(end) = end {
            writer.resume(&end);
        }
        // On a full disk it is begun with the first block, as soon as there is room.
        if !writer.is_begun
            && let Err(error) = writer.start_segment()
        {
            if !error.is_full() {
                return Err(error);
            }
            tracing::warn!("{error}");
        }
        Ok((writer, recovery))
    }

    fn resume(&mut self, end: &End) {
        self.next_block = end.next_block;
        self.last_hash = end.last_hash;
        self.durable_hash = end.last_hash;
        self.created = end.header.created;
        self.progress = Progress {
            segment: end.header.segment,
            bytes: end.bytes,
            next_block: end.next_block,
            entries: end.entries,
        };
        self.is_begun = end.writable;
    }

    pub(crate) fn progress(&self) -> Progress {
        self.progress
    }

    /// Number and leaf of each block that became durable since the last call.
    pub(crate) fn take_leaves(&mut self) -> Vec<(u64, evidence::Hash)> {
        std::mem::take(&mut self.leaves)
    }

    /// Entries taken and not yet acknowledged.
    pub(crate) fn pending(&self) -> u64 {
        self.tail_entries + self.builder.entries() as u64
    }

    /// From here on a segment ends when it is this long.
    pub(crate) fn set_segment_bytes(&mut self, bytes: u64) {
        self.segment_bytes = bytes;
    }

    /// What the next sync writes, at most.
    pub(crate) fn pending_bytes(&self) -> u64 {
        (self.tail.len() + self.builder.bytes()) as u64
    }

    /// The segment that is written was removed: what is not durable yet goes to another.
    pub(crate) fn leave_segment(&mut self) {
        self.is_begun = false;
    }

    /// Takes the entry; on an error it was not taken, and what was taken before is kept.
    pub(crate) fn append(&mut self, entry: &Entry) -> Result<(), StoreError> {
        if self.builder.is_full() {
            if self.tail.len() >= self.tail_max() {
                self.sync()?;
            } else {
                self.close_block()?;
            }
        }
        self.builder.push(entry);
        StoreCounters::add(&self.counters.entries_appended, 1);
        Ok(())
    }

    /// Everything taken is in the file when this returns `Ok`, and not yet on the disk.
    pub(crate) fn write(&mut self) -> Result<(), StoreError> {
        if self.tail.len() >= self.tail_max() {
            self.write_tail(true)?;
        }
        self.close_block()?;
        self.write_tail(false)
    }

    /// Everything taken is on the disk when this returns `Ok`. After an error call it again: the
    /// entries are kept.
    pub(crate) fn sync(&mut self) -> Result<(), StoreError> {
        // Without this order the tail would grow by a block with each failing call.
        if self.tail.len() >= self.tail_max() {
            self.write_tail(true)?;
        }
        self.close_block()?;
        self.write_tail(true)
    }

    fn tail_max(&self) -> usize {
        TAIL_MAX.min(self.segment_bytes as usize)
    }

    fn close_block(&mut self) -> Result<(), StoreError> {
        if self.builder.is_empty() {
            return Ok(());
        }
        // Blocks in the tail are chained to this segment's last: only without any can a new begin.
        if self.tail.is_empty() && (!self.is_begun || self.is_segment_full()) {
            self.start_segment()?;
        }
        let builder = std::mem::take(&mut self.builder);
        StoreCounters::add(&self.counters.texts_cut, builder.texts_cut());
        self.tail_entries += builder.entries() as u64;
        self.tail_blocks += 1;
        self.last_hash = builder.close(self.next_block, self.last_hash, &mut self.tail);
        self.next_block += 1;
        Ok(())
    }

    fn is_segment_full(&self) -> bool {
        let bytes = self.progress.bytes;
        let has_blocks = bytes > SEGMENT_HEADER_MAX as u64;
        has_blocks && (bytes >= self.segment_bytes || self.is_segment_old(&self.clock.now()))
    }

    /// Old, or begun by a clock that dates it worse than a new one would be dated.
    fn is_segment_old(&self, now: &Moment) -> bool {
        let Created::At(begun) = self.created else { return true };
        let is_of_this_boot = begun.timeline.boot == now.timeline.boot;
        let are_trusted = begun.timeline.is_trusted && now.timeline.is_trusted;
        let age = match (is_of_this_boot, are_trusted) {
            (true, _) => now.boot_ns.saturating_sub(begun.boot_ns),
            (false, true) => now.wall().0.saturating_sub(begun.wall().0),
            (false, false) => now.boot_ns,
        };
        u128::from(age) >= self.segment_age.as_nanos()
            || now.timeline.is_trusted && !begun.timeline.is_trusted
            || !is_of_this_boot && self.progress.bytes >= OTHER_BOOT_BYTES
    }

    fn write_tail(&mut self, is_synced: bool) -> Result<(), StoreError> {
        if self.tail.is_empty() || !is_synced && self.written == self.tail.len() {
            return Ok(());
        }
        if !self.is_begun {
            self.move_tail()?;
        }
        let path = segment_path(&self.ledger, self.progress.segment);
        let file = match OpenOptions::new().write(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Somebody else removed it: the missing number says so.
                self.is_begun = false;
                return self.write_tail(is_synced);
            }
            other => other.map_err(|error| {
                StoreCounters::add(&self.counters.write_errors, 1);
                StoreError::io("open", &path)(error)
            })?,
        };
        let durable = self.progress.bytes;
        let written = (|| {
            if self.overhang {
                file.set_len(durable).map_err(StoreError::io("cut", &path))?;
            }
            self.overhang = true;
            let (new, at) = (&self.tail[self.written..], durable + self.written as u64);
            file.write_all_at(new, at).map_err(StoreError::io("write", &path))?;
            if is_synced { file.sync_data().map_err(StoreError::io("sync", &path)) } else { Ok(()) }
        })();
        if let Err(error) = written {
            StoreCounters::add(&self.counters.write_errors, 1);
            // After a failed sync the kernel may take the pages for clean: they are written again.
            self.written = 0;
            self.overhang = file.set_len(durable).is_err();
            return Err(error);
        }
        self.overhang = false;
        if !is_synced {
            self.written = self.tail.len();
            return Ok(());
        }
        self.written = 0;
        StoreCounters::add(&self.counters.entries_synced, self.tail_entries);
        StoreCounters::add(&self.counters.blocks_synced, self.tail_blocks);
        self.durable_hash = self.last_hash;
        self.progress.bytes += self.tail.len() as u64;
        self.progress.next_block = self.next_block;
        self.progress.entries += self.tail_entries;
        self.leaves.extend(leaves(&self.tail));
        self.tail.clear();
        self.tail.shrink_to(64 << 10);
        self.tail_blocks = 0;
        self.tail_entries = 0;
        Ok(())
    }

    /// Begins a segment for blocks that were to stand in one that is gone.
    fn move_tail(&mut self) -> Result<(), StoreError> {
        self.written = 0;
        let (next_block, last_hash) = (self.next_block, self.last_hash);
        (self.next_block, self.last_hash) = (self.progress.next_block, self.durable_hash);
        let begun = self.start_segment();
        self.next_block = next_block;
        if begun.is_ok() {
            self.last_hash = chain(&mut self.tail, self.last_hash);
        } else {
            self.last_hash = last_hash;
        }
        begun
    }

    fn start_segment(&mut self) -> Result<(), StoreError> {
        let number = self.progress.segment + 1;
        let header = SegmentHeader {
            segment: number,
            first_block: self.next_block,
            created: Created::At(self.clock.now()),
            previous: self.last_hash,
        };
        let path = segment_path(&self.ledger, number);
        let bytes = header.encode();
        let created = (|| {
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(FILE_MODE)
                .open(&path)?;
            file.write_all_at(&bytes, 0)?;
            file.sync_all()?;
            sync_directory(&self.ledger)
        })();
        if let Err(error) = created {
            StoreCounters::add(&self.counters.write_errors, 1);
            // If it stays, opening the ledger finds a segment without blocks, or cuts it.
            let _ = std::fs::remove_file(&path);
            return Err(StoreError::io("create", &path)(error));
        }
        self.is_begun = true;
        self.last_hash = hash(&[&bytes]);
        self.durable_hash = self.last_hash;
        self.created = header.created;
        self.overhang = false;
        self.progress = Progress {
            segment: number,
            bytes: bytes.len() as u64,
            next_block: self.next_block,
            entries: 0,
        };
        Ok(())
    }
}

//! Writes class tables and verdicts to where the probes look into them: into the generation that is
//! not in force, which one word then puts in force. Knows nothing of what a class means.
//!
//! The maps are there twice, about 25 MB of the kernel's memory. They are mapped only while they are
//! written: as long as they are mapped, they count as the daemon's.

use std::{
    io, iter,
    os::fd::{AsFd, BorrowedFd},
    ptr::{self, NonNull},
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use aya::{
    Ebpf,
    maps::{Map, MapData},
};
use monitor_ebpf::{
    names::map,
    places::{
        Chunk6, Classes4, Fence6, Index4, UNASKED, V6_ABOVE, V6_BLOCK, V6_CHUNK, V6_CHUNKS,
        Verdicts, active, verdict,
    },
};
use rustix::{
    mm::{MapFlags, ProtFlags, mmap, munmap},
    param::page_size,
    thread::{MembarrierCommand, membarrier},
};
use zerocopy::FromBytes;

use super::ProbeError;
use crate::{event::Verdict, locate::tables::TablesRef};

/// After this, no program runs any more that began before.
const GRACE: Duration = Duration::from_secs(1);

/// The tables of the loaded probes. Nothing is in force until something is put there.
#[derive(Debug)]
pub struct Places {
    index4: MapData,
    classes4: MapData,
    fence6: MapData,
    chunks6: MapData,
    verdicts: MapData,
    active: Window,
    /// When the word last changed.
    changed_at: Option<Instant>,
}

impl Places {
    /// Takes the maps out of the loaded object.
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, ProbeError> {
        let mut take = |name: &'static str| match ebpf.take_map(name) {
            Some(Map::Array(data)) => Ok(data),
            _ => Err(ProbeError::Map { name, problem: "not in the object".into() }),
        };
        let active = take(map::ACTIVE)?;
        let active = Window::open(active.fd().as_fd(), 0, size_of::<u32>())
            .map_err(|error| unwritable(&error))?;
        Ok(Self {
            index4: take(map::INDEX4)?,
            classes4: take(map::CLASSES4)?,
            fence6: take(map::FENCE6)?,
            chunks6: take(map::CHUNKS6)?,
            verdicts: take(map::VERDICTS)?,
            active,
            changed_at: None,
        })
    }

    /// Puts tables and the verdict on each class in force; returns how samples will name them.
    /// Where there are more classes than verdicts, the rest have none.
    pub fn put(
        &mut self,
        tables: &TablesRef<'_>,
        verdicts: &[Option<Verdict>],
    ) -> Result<u32, ProbeError> {
        self.settle();
        let next = self.word() ^ active::TABLES;
        self.write_tables(next & active::TABLES, tables).map_err(|error| unwritable(&error))?;
        self.write_verdicts(next, verdicts)
    }

    /// The same with the tables that are in force: what a changed policy needs.
    pub fn put_verdicts(&mut self, verdicts: &[Option<Verdict>]) -> Result<u32, ProbeError> {
        self.settle();
        self.write_verdicts(self.word(), verdicts)
    }

    /// Takes everything out of force: the probes say nothing of any address.
    pub fn clear(&mut self) {
        let next = self.word().wrapping_add(active::COUNT) & !active::ON;
        self.change(next);
    }

    /// Waits until no program looks any more into what was in force before: what is put next takes
    /// its place. To put something does it first.
    pub fn settle(&mut self) {
        let changed = self.changed_at.take().map(|at| at.elapsed());
        let Some(changed) = changed.filter(|it| *it < GRACE) else { return };
        // On more than one processor it waits for just that (`synchronize_rcu`); on one for nothing.
        let several = thread::available_parallelism().is_ok_and(|count| count.get() > 1);
        if !several || membarrier(MembarrierCommand::Global).is_err() {
            thread::sleep(GRACE.saturating_sub(changed));
        }
    }

    fn word(&self) -> u32 {
        self.active.word().load(Ordering::Relaxed)
    }

    fn change(&mut self, word: u32) {
        self.active.word().store(word, Ordering::Release);
        self.changed_at = Some(Instant::now());
    }

    /// The last step: `next` has the tables to be in force.
    fn write_verdicts(
        &mut self,
        next: u32,
        verdicts: &[Option<Verdict>],
    ) -> Result<u32, ProbeError> {
        let next = next ^ active::VERDICTS;
        let slot = (next & active::VERDICTS) >> 1;
        let mut window =
            Window::of::<Verdicts>(&self.verdicts, slot, 1).map_err(|error| unwritable(&error))?;
        let table = window.value::<Verdicts>(0).map_err(|error| unwritable(&error))?;
        let verdicts = verdicts.iter().copied().chain(iter::repeat(None));
        table.verdicts.iter_mut().zip(verdicts).for_each(|(to, verdict)| *to = byte(verdict));
        let next = next.wrapping_add(active::COUNT) | active::ON;
        self.change(next);
        Ok(next)
    }

    fn write_tables(&self, slot: u32, tables: &TablesRef<'_>) -> io::Result<()> {
        let columns = tables.columns();
        let mut window = Window::of::<Index4>(&self.index4, slot, 1)?;
        let index4 = window.value::<Index4>(0)?;
        fill(&mut index4.index, columns.index);
        fill(&mut index4.starts, columns.starts);
        drop(window);

        let mut window = Window::of::<Classes4>(&self.classes4, slot, 1)?;
        fill(&mut window.value::<Classes4>(0)?.classes, columns.classes4);
        drop(window);

        let mut window = Window::of::<Fence6>(&self.fence6, slot, 1)?;
        let fence6 = window.value::<Fence6>(0)?;
        let below = columns.keys.partition_point(|key| *key < V6_ABOVE);
        let (keys, classes) = (&columns.keys[..below], &columns.classes6[..below]);
        let blocks = keys.len().div_ceil(V6_BLOCK);
        fill(&mut fence6.fence, &keys.iter().step_by(V6_BLOCK).copied().collect::<Vec<_>>());
        fence6.fence[blocks..].fill(V6_ABOVE);
        for (at, class) in (0..).zip(&mut fence6.upper) {
            *class = only_class(tables, V6_ABOVE + (at << 54), 1 << 54);
        }
        drop(window);

        let first = slot * V6_CHUNKS as u32;
        let chunks = keys.chunks(V6_CHUNK).zip(classes.chunks(V6_CHUNK));
        for (number, (keys, classes)) in (first..).zip(chunks) {
            let mut window = Window::of::<Chunk6>(&self.chunks6, number, 1)?;
            let chunk = window.value::<Chunk6>(0)?;
            fill(&mut chunk.keys, keys);
            fill(&mut chunk.classes, classes);
            let end = keys.len().next_multiple_of(V6_BLOCK);
            chunk.keys[keys.len()..end].fill(V6_ABOVE);
        }
        Ok(())
    }
}

/// As samples carry it.
fn byte(verdict: Option<Verdict>) -> u8 {
    match verdict {
        None => verdict::NONE,
        Some(Verdict::Unapproved) => verdict::UNAPPROVED,
        Some(Verdict::Unknown) => verdict::UNKNOWN,
        Some(Verdict::Approved) => verdict::APPROVED,
        Some(Verdict::Local) => verdict::LOCAL,
    }
}

/// Copies what there is; the rest stays, and nothing leads there.
fn fill<T: Copy>(to: &mut [T], from: &[T]) {
    // `TablesRef` has no more than there is room for.
    let count = from.len().min(to.len());
    to[..count].copy_from_slice(&from[..count]);
}

/// The class of all these IPv6 networks, if they are of one.
fn only_class(tables: &TablesRef<'_>, first: u64, count: u64) -> u16 {
    let keys = tables.columns().keys;
    let after = keys.partition_point(|key| *key <= first);
    let is_one = keys.get(after).is_none_or(|next| *next - first >= count);
    if is_one { tables.class6(first) } else { UNASKED }
}

fn unwritable(error: &io::Error) -> ProbeError {
    ProbeError::Map { name: "places", problem: error.to_string() }
}

/// Values of a map that can be mapped (`BPF_F_MMAPABLE`), for as long as it lives.
#[derive(Debug)]
pub(super) struct Window {
    /// Begins at a page's bound.
    mapping: NonNull<u8>,
    mapped: usize,
    /// Inside it.
    values: NonNull<u8>,
    bytes: usize,
}

// SAFETY: it owns its mapping, which any thread may use.
unsafe impl Send for Window {}
// SAFETY: what is shared of it are atomic words and counters; the rest takes it whole.
unsafe impl Sync for Window {}

impl Window {
    /// `count` values from this one on.
    pub(super) fn of<T>(map: &MapData, first: u32, count: usize) -> io::Result<Self> {
        // The kernel keeps values at multiples of 8 bytes, which these sizes are.
        const { assert!(size_of::<T>().is_multiple_of(8)) };
        Self::open(map.fd().as_fd(), first as usize * size_of::<T>(), count * size_of::<T>())
    }

    pub(super) fn open(map: BorrowedFd<'_>, at: usize, bytes: usize) -> io::Result<Self> {
        let offset = at % page_size();
        let mapped = offset + bytes;
        // SAFETY: a mapping of its own; that of a map's values, whose size the kernel checks.
        let mapping = unsafe {
            let access = ProtFlags::READ | ProtFlags::WRITE;
            mmap(ptr::null_mut(), mapped, access, MapFlags::SHARED, map, (at - offset) as u64)?
        };
        let mapping = NonNull::new(mapping.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        // SAFETY: less than what is mapped.
        let values = unsafe { mapping.add(offset) };
        Ok(Self { mapping, mapped, values, bytes })
    }

    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: inside the mapping. Programs read what is written here, but only once the word
        // leads them to it, and then nothing is written until they are through.
        unsafe { std::slice::from_raw_parts_mut(self.values.as_ptr(), self.bytes) }
    }

    fn value<T: FromBytes + zerocopy::IntoBytes + zerocopy::KnownLayout>(
        &mut self,
        number: usize,
    ) -> io::Result<&mut T> {
        let its = self.bytes().get_mut(number * size_of::<T>()..).unwrap_or_default();
        let value = T::mut_from_prefix(its).map(|(value, _)| value);
        value.map_err(|_| io::ErrorKind::InvalidInput.into())
    }

    /// A counter that programs change too.
    pub(super) fn counter(&self, at: usize) -> Option<&AtomicU64> {
        if at + size_of::<u64>() > self.bytes || !at.is_multiple_of(size_of::<u64>()) {
            return None;
        }
        // SAFETY: inside a mapping that lives as long as this, at a multiple of 8 as values are; the
        // probes and this program change it by atomic additions alone.
        let counter = unsafe { self.values.as_ptr().add(at) };
        // SAFETY: as above.
        Some(unsafe { AtomicU64::from_ptr(counter.cast()) })
    }

    /// Of a window on words.
    pub(super) fn word(&self) -> &AtomicU32 {
        // SAFETY: the first word of a mapping that lives as long as this; the probes and this
        // program access it whole.
        unsafe { AtomicU32::from_ptr(self.values.as_ptr().cast()) }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // SAFETY: the mapping of `open`, which nothing borrows any more.
        let _ = unsafe { munmap(self.mapping.as_ptr().cast(), self.mapped) };
    }
}

//! How far the ring is written and read, by the two pages that the kernel shows of it (aya keeps them to
//! itself). Reads no sample and moves nothing.

use std::{
    io,
    os::fd::BorrowedFd,
    ptr::{self, NonNull},
    sync::atomic::{AtomicUsize, Ordering},
};

use rustix::{
    mm::{MapFlags, ProtFlags, mmap, munmap},
    param::page_size,
};

use super::Mark;

/// Positions of a ring, for as long as its mapping lives: the consumer's page, then the producer's
/// (`kernel/bpf/ringbuf.c`).
#[derive(Debug)]
pub(super) struct Positions {
    pages: NonNull<u8>,
}

// SAFETY: it owns its mapping, from which any thread may read.
unsafe impl Send for Positions {}
// SAFETY: what is read is atomic.
unsafe impl Sync for Positions {}

impl Positions {
    pub(super) fn of(ring: BorrowedFd<'_>) -> io::Result<Self> {
        // SAFETY: a mapping of its own, which can't be written to.
        let pages = unsafe {
            mmap(ptr::null_mut(), 2 * page_size(), ProtFlags::READ, MapFlags::SHARED, ring, 0)?
        };
        let pages = NonNull::new(pages.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { pages })
    }

    /// Below it nothing waits in the ring.
    pub(super) fn read(&self) -> Mark {
        self.at(0)
    }

    /// Whatever was submitted lies below it; what is still being written may, too.
    pub(super) fn written(&self) -> Mark {
        self.at(page_size())
    }

    fn at(&self, offset: usize) -> Mark {
        // SAFETY: the beginning of one of the two pages.
        let page = unsafe { self.pages.add(offset) };
        // SAFETY: its first word, which lives as long as this; the kernel and aya write it whole.
        let position = unsafe { AtomicUsize::from_ptr(page.as_ptr().cast()) };
        Mark(position.load(Ordering::Acquire))
    }
}

impl Drop for Positions {
    fn drop(&mut self) {
        // SAFETY: the mapping of `of`, which nothing borrows any more.
        let _ = unsafe { munmap(self.pages.as_ptr().cast(), 2 * page_size()) };
    }
}

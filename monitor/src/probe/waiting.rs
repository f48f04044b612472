//! Samples out of the ring that wait for the pipeline, which takes and gives them back by chunks. Waits for
//! nobody itself.

use std::collections::VecDeque;

use super::{Mark, packed::Packed};

/// Samples that wait for the pipeline at most, of flows some 50 MB: what a pipeline misses that has half a
/// processor for some seconds. Then the ring fills, and the probes count.
const WAITING_MAX: usize = 1 << 19;
/// Of a host with memory for few flows.
const WAITING_LEAST: usize = 1 << 14;
/// Bytes that so many may take on average: those that name destinations are larger.
const WAITING_BYTES: usize = 128;
/// Bytes of a chunk, after which another is begun.
const CHUNK_BYTES: usize = 256 << 10;

/// How many samples may wait, where the kernel counts so many flows.
pub fn waiting_max(max_flows: u32) -> usize {
    (2 * max_flows as usize).clamp(WAITING_LEAST, WAITING_MAX)
}

/// What the pipeline takes at once.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    pub(super) samples: Packed,
    count: usize,
    /// Where in the ring they end, or before that.
    pub(super) end: Mark,
}

#[derive(Debug)]
pub(super) struct Waiting {
    /// In order, none of them empty.
    chunks: VecDeque<Chunk>,
    /// Samples in all of them, and their bytes.
    count: usize,
    bytes: usize,
    most: usize,
    end: Mark,
}

impl Waiting {
    /// `end`: where in the ring what is put here begins. `most`: samples that may wait.
    pub(super) fn new(end: Mark, most: usize) -> Self {
        Self { chunks: VecDeque::new(), count: 0, bytes: 0, most, end }
    }

    /// No more are to be put here until some were taken.
    pub(super) fn is_full(&self) -> bool {
        self.count >= self.most || self.bytes >= self.most * WAITING_BYTES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Where in the ring they end.
    pub(super) fn end(&self) -> Mark {
        self.end
    }

    pub(super) fn push(&mut self, sample: &[u8]) {
        if self.chunks.back().is_none_or(|it| it.samples.len() >= CHUNK_BYTES) {
            self.chunks.push_back(Chunk { end: self.end, ..Chunk::default() });
        }
        if let Some(Chunk { samples, count, .. }) = self.chunks.back_mut() {
            let before = samples.len();
            samples.push(sample);
            *count += 1;
            self.count += 1;
            self.bytes += samples.len() - before;
        }
    }

    /// What was put here up to now lies before this place in the ring.
    pub(super) fn ends_at(&mut self, end: Mark) {
        self.end = end;
        if let Some(last) = self.chunks.back_mut() {
            last.end = end;
        }
    }

    pub(super) fn take(&mut self) -> Option<Chunk> {
        let chunk = self.chunks.pop_front()?;
        self.count -= chunk.count;
        self.bytes -= chunk.samples.len();
        Some(chunk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::packed::Unpacking;

    #[test]
    fn there_is_no_room_where_samples_are_many_or_large() {
        let waiting =
            |count, bytes| Waiting { count, bytes, ..Waiting::new(Mark::default(), WAITING_LEAST) };
        let bytes = WAITING_LEAST * WAITING_BYTES;
        for full in [waiting(WAITING_LEAST, 0), waiting(1, bytes)] {
            assert!(full.is_full());
        }
        let room = waiting(WAITING_LEAST - 1, bytes - 8);
        assert!(!room.is_full());
    }

    #[test]
    fn samples_are_taken_by_chunks_in_order_and_each_gives_its_room_back() {
        let mut waiting = Waiting::new(Mark::default(), WAITING_LEAST);
        let samples = |number: usize| vec![number as u8; CHUNK_BYTES / 3];
        for number in 0..7 {
            waiting.push(&samples(number));
            waiting.ends_at(Mark(number + 1));
        }
        assert_eq!((waiting.count, waiting.chunks.len()), (7, 3));
        let (mut taken, mut ends) = (0, Vec::new());
        while let Some(chunk) = waiting.take() {
            ends.push(chunk.end.0);
            let mut unpacking = Unpacking::from(chunk.samples);
            while let Some(sample) = unpacking.next() {
                assert_eq!(sample, samples(taken));
                taken += 1;
            }
            assert_eq!(waiting.count, 7 - taken);
        }
        assert_eq!((taken, ends, waiting.bytes), (7, vec![3, 6, 7], 0));
    }
}

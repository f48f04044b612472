//! Reading one segment file: heads, payloads, and the way on behind damage. It changes nothing.

use std::{fs::File, io, ops::ControlFlow, os::unix::fs::FileExt as _, path::Path};

use super::{
    block,
    frame::{
        BLOCK_MAGIC, HEAD_BYTES, Head, HeaderFault, SEGMENT_HEADER_BYTES, SEGMENT_HEADER_MAX,
        SegmentHeader,
    },
};
use crate::{
    event::Entry,
    store::{
        files::segment_path,
        stored::{FlowState, Wanted},
    },
};

/// Heads are read through a window of this size: small blocks cost no call each.
const WINDOW: usize = 32 << 10;

#[derive(Debug)]
pub(crate) struct Segment {
    number: u32,
    file: File,
    bytes: u64,
    window: Vec<u8>,
    window_at: u64,
}

/// What a walk over the heads met besides heads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Walk {
    /// Stretches that are no block, with blocks behind them.
    pub corrupt: u64,
    /// End of the last whole head's block.
    pub end: u64,
    /// Bytes behind `end`.
    pub tail: u64,
}

impl Segment {
    /// `None` if there is no such segment (any more).
    pub(crate) fn open(ledger: &Path, number: u32) -> io::Result<Option<Self>> {
        let file = match File::open(segment_path(ledger, number)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let bytes = file.metadata()?.len();
        Ok(Some(Self { number, file, bytes, window: Vec::new(), window_at: 0 }))
    }

    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn header(&mut self) -> io::Result<Result<SegmentHeader, HeaderFault>> {
        let bytes = self.peek(0, SEGMENT_HEADER_MAX)?;
        Ok(match SegmentHeader::decode(bytes) {
            Ok(header) if header.segment != self.number => Err(HeaderFault::Damaged),
            other => other,
        })
    }

    /// Where the first block stands. A damaged header does not say how long it is.
    pub(crate) fn blocks_at(&mut self) -> io::Result<u64> {
        let (short, long) = (SEGMENT_HEADER_BYTES as u64, SEGMENT_HEADER_MAX as u64);
        Ok(match self.header()? {
            Ok(header) => header.bytes(),
            Err(_) if self.head(long)?.is_some() => long,
            Err(_) => short,
        })
    }

    /// Calls `each` with the offset and head of every block from `from` (0: the first) on whose
    /// head is right and whose end is within the file. Payloads are not read.
    pub(crate) fn walk(
        &mut self,
        from: u64,
        mut each: impl FnMut(u64, &Head) -> ControlFlow<()>,
    ) -> io::Result<Walk> {
        let mut at = if from == 0 { self.blocks_at()? } else { from };
        let mut walk = Walk { end: at.min(self.bytes), ..Walk::default() };
        while at < self.bytes {
            if let Some(head) = self.head(at)? {
                if each(at, &head).is_break() {
                    return Ok(walk);
                }
                at += head.block_bytes();
                walk.end = at;
            } else if let Some(next) = self.next_head(at + 1)? {
                walk.corrupt += 1;
                at = next;
            } else {
                break;
            }
        }
        walk.tail = self.bytes - walk.end;
        Ok(walk)
    }

    /// The head at `at`, if there is a right one and its block ends within the file.
    pub(crate) fn head(&mut self, at: u64) -> io::Result<Option<Head>> {
        let bytes = self.bytes;
        let head = Head::decode(self.peek(at, HEAD_BYTES)?);
        Ok(head.filter(|head| at + head.block_bytes() <= bytes))
    }

    /// First right head at or behind `from`.
    fn next_head(&mut self, from: u64) -> io::Result<Option<u64>> {
        let mut at = from;
        while at + HEAD_BYTES as u64 <= self.bytes {
            let window = self.peek(at, WINDOW)?;
            let magic = window.windows(BLOCK_MAGIC.len()).position(|four| four == BLOCK_MAGIC);
            match magic {
                Some(skip) => {
                    at += skip as u64;
                    if self.head(at)?.is_some() {
                        return Ok(Some(at));
                    }
                    at += 1;
                }
                // The magic may begin in the last three bytes. A file that became shorter than it was
                // has nothing left here.
                None => match window.len().checked_sub(BLOCK_MAGIC.len() - 1) {
                    Some(skip @ 1..) => at += skip as u64,
                    _ => break,
                },
            }
        }
        Ok(None)
    }

    /// The stored payload, if its checksum is right.
    pub(crate) fn payload(&self, at: u64, head: &Head) -> io::Result<Option<Vec<u8>>> {
        let mut payload = vec![0; head.payload_bytes as usize];
        match self.file.read_exact_at(&mut payload, at + HEAD_BYTES as u64) {
            Ok(()) => Ok((crc32fast::hash(&payload) == head.payload_crc).then_some(payload)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Head and payload as they stand there, whatever they are; `None`: the file ends before.
    pub(crate) fn raw(
        &self,
        at: u64,
        head: &Head,
    ) -> io::Result<Option<([u8; HEAD_BYTES], Vec<u8>)>> {
        let mut block = vec![0; head.block_bytes() as usize];
        match self.file.read_exact_at(&mut block, at) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        let payload = block.split_off(HEAD_BYTES);
        Ok(block.first_chunk().map(|head| (*head, payload)))
    }

    /// The entries of the block at `at`; `None` if it is damaged.
    pub(crate) fn entries(&self, at: u64, head: &Head) -> io::Result<Option<Vec<Entry>>> {
        Ok(self.payload(at, head)?.and_then(|payload| block::entries(head, &payload).ok()))
    }

    /// The flows of the block at `at`, decoded where they are wanted; `None` if it is damaged.
    pub(crate) fn flows(
        &self,
        at: u64,
        head: &Head,
        wanted: Wanted<'_>,
    ) -> io::Result<Option<Vec<FlowState>>> {
        Ok(self.payload(at, head)?.and_then(|payload| block::flows(head, &payload, wanted).ok()))
    }

    /// What the payload of the block at `at` is when it is not compressed; `None` if it is damaged.
    pub(crate) fn unpacked(&self, at: u64, head: &Head) -> io::Result<Option<Vec<u8>>> {
        Ok(self.payload(at, head)?.and_then(|payload| block::decompress(head, &payload).ok()))
    }

    /// Up to `wanted` bytes at `at`; fewer at the end of the file.
    fn peek(&mut self, at: u64, wanted: usize) -> io::Result<&[u8]> {
        let window_end = self.window_at + self.window.len() as u64;
        let end = (at + wanted as u64).min(self.bytes);
        if at < self.window_at || end > window_end {
            let length = self.bytes.saturating_sub(at).min(WINDOW.max(wanted) as u64) as usize;
            self.window.resize(length, 0);
            let mut filled = 0;
            while filled < length {
                match self.file.read_at(&mut self.window[filled..], at + filled as u64) {
                    Ok(0) => break,
                    Ok(count) => filled += count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => {
                        self.window.clear();
                        return Err(error);
                    }
                }
            }
            self.window.truncate(filled);
            self.window_at = at;
        }
        let from = (at - self.window_at).min(self.window.len() as u64) as usize;
        Ok(&self.window[from..self.window.len().min(from + wanted)])
    }
}

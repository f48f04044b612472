//! Opening the ledger for writing: finds where to go on, and what stands behind the last whole
//! block. It cuts what no whole block follows, and a hole among blocks that never were durable with all that is
//! behind it: power failed between two writes. Other damage in the middle is left where it is.

use std::{
    fs::{self, OpenOptions},
    io,
    ops::ControlFlow,
    path::Path,
};

use super::{
    frame::{Created, Hash, Head, HeaderFault, SegmentHeader, VERSION, hash},
    segment::Segment,
};
use crate::{
    event::Timestamp,
    store::{
        error::StoreError,
        files::{segment_path, segments, sync_directory},
    },
};

/// Where the ledger ends.
#[derive(Debug)]
pub(super) struct End {
    pub header: SegmentHeader,
    /// Length of the segment after the cut.
    pub bytes: u64,
    /// False if the segment's own header is damaged: it is read, but not written to.
    pub writable: bool,
    pub next_block: u64,
    pub last_hash: Hash,
    /// Entries in the segment.
    pub entries: u64,
}

/// What opening the ledger met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// (segment, bytes) cut from its end: never acknowledged, or damaged with nothing behind it.
    pub cuts: Vec<(u32, u64)>,
    /// Damaged stretches in the last segment that whole blocks follow; left in place.
    pub corrupt: u64,
    /// Blocks of the last segment that don't continue the chain though nothing before is damaged.
    pub chain_breaks: u64,
}

/// Finds the end of the ledger and cuts off what is torn. `None`: there are no segments.
///
/// `durable`: blocks below this number were.
pub(super) fn recover(ledger: &Path, durable: u64) -> Result<(Option<End>, Recovery), StoreError> {
    let mut recovery = Recovery::default();
    let mut numbers = segments(ledger).map_err(StoreError::io("list", ledger))?;
    while let Some(number) = numbers.pop() {
        let path = segment_path(ledger, number);
        let examined = examine(ledger, number, durable, &mut recovery);
        let (end, bytes) = match examined.map_err(StoreError::io("read", &path))? {
            Examined::End(end, bytes) => (end, bytes),
            Examined::Newer(found) => {
                return Err(StoreError::Newer { path, found, known: VERSION });
            }
            // A segment of which not even the header was written whole.
            Examined::Nothing(bytes) => {
                fs::remove_file(&path)
                    .and_then(|()| sync_directory(ledger))
                    .map_err(StoreError::io("remove", &path))?;
                recovery.cuts.push((number, bytes));
                continue;
            }
        };
        if bytes > end.bytes {
            OpenOptions::new()
                .write(true)
                .open(&path)
                .and_then(|file| file.set_len(end.bytes).and_then(|()| file.sync_all()))
                .map_err(StoreError::io("cut", &path))?;
            recovery.cuts.push((number, bytes - end.bytes));
        }
        return Ok((Some(end), recovery));
    }
    Ok((None, recovery))
}

enum Examined {
    /// And the length of the file.
    End(End, u64),
    Newer(u32),
    Nothing(u64),
}

/// One whole block met by the walk.
struct Whole {
    end: u64,
    number: u64,
    hash: Hash,
}

fn examine(
    ledger: &Path,
    number: u32,
    durable: u64,
    recovery: &mut Recovery,
) -> io::Result<Examined> {
    let Some(mut segment) = Segment::open(ledger, number)? else {
        return Ok(Examined::Nothing(0));
    };
    let header = segment.header()?;
    if let Err(HeaderFault::Newer(version)) = header {
        return Ok(Examined::Newer(version));
    }
    let mut heads: Vec<(u64, Head)> = Vec::new();
    let walk = segment.walk(0, |at, head| {
        heads.push((at, *head));
        ControlFlow::Continue(())
    })?;
    let bytes = segment.bytes();
    let mut expected = header.ok().map(|header| hash(&[&header.encode()]));
    let mut last: Option<Whole> = None;
    let first_block = header.ok().map(|header| header.first_block);
    let begin = header.map_or(0, |header| header.bytes());
    let (mut entries, mut damaged, mut holes, mut is_cut) = (0, 0, 0, false);
    // Behind a block that was not durable when they were closed, as all that are behind them.
    let together = heads.iter().rev().take_while(|(_, head)| head.follows_unsynced).count();
    let unsynced_from = heads.len() - together;
    for (nth, (at, head)) in heads.iter().enumerate() {
        let end = at + head.block_bytes();
        let Some(payload) = segment.payload(*at, head)? else {
            damaged += 1;
            expected = None;
            continue;
        };
        if *at > last.as_ref().map_or(begin, |whole| whole.end) {
            let next = last.as_ref().map(|whole| whole.number + 1).or(first_block);
            if nth >= unsynced_from && next.is_some_and(|next| next >= durable) {
                is_cut = true;
                break;
            }
            holes += 1;
        }
        // What is damaged in front of a whole block stays: it may have been acknowledged.
        recovery.corrupt += std::mem::take(&mut damaged);
        let follows = last.as_ref().is_none_or(|whole| whole.number + 1 == head.number);
        if follows && expected.is_some_and(|expected| expected != head.previous) {
            recovery.chain_breaks += 1;
        }
        entries += head.summary.entries() as u64;
        let hash = hash(&[&head.encode(), &payload]);
        expected = Some(hash);
        last = Some(Whole { end, number: head.number, hash });
    }
    // Of the stretches without a head some may be behind the cut.
    recovery.corrupt += match (is_cut, &last) {
        (false, None) => 0,
        (false, Some(_)) => walk.corrupt,
        (true, _) => walk.corrupt.min(holes),
    };
    if header.is_err() && last.is_some() {
        recovery.corrupt += 1;
    }
    Ok(match end_of(number, header.ok(), last, entries, bytes) {
        Some(end) => Examined::End(end, bytes),
        None => Examined::Nothing(bytes),
    })
}

/// Where writing goes on: behind the last whole block, or behind the header where there is none.
/// `None` without either.
fn end_of(
    number: u32,
    header: Option<SegmentHeader>,
    last: Option<Whole>,
    entries: u64,
    bytes: u64,
) -> Option<End> {
    match (header, last) {
        (Some(header), Some(last)) => Some(End {
            header,
            bytes: last.end,
            writable: true,
            next_block: last.number + 1,
            last_hash: last.hash,
            entries,
        }),
        (Some(header), None) => Some(End {
            header,
            bytes: header.bytes().min(bytes),
            writable: true,
            next_block: header.first_block,
            last_hash: hash(&[&header.encode()]),
            entries,
        }),
        (None, Some(last)) => Some(End {
            header: SegmentHeader {
                segment: number,
                first_block: last.number,
                created: Created::Wall(Timestamp(0)),
                previous: [0; 32],
            },
            bytes: last.end,
            writable: false,
            next_block: last.number + 1,
            last_hash: last.hash,
            entries,
        }),
        (None, None) => None,
    }
}

//! One segment, whole: each block against its signed leaf, and the chain through all of them; then it is kept, and
//! poured into the lake, and only then held to be taken.

use geofenced::fleet::{
    Entry, Fold, Hash, Integrity, Notice, Timestamp, replace_file,
    shipped::{self, Shipped},
};

use super::{
    CollectError, Round, noticed,
    origin::{Taking, name_of},
    state::{Digits, Held},
    told::{span_ns, told},
};
use crate::lake::Pour;

/// What is to be done with a segment.
enum Proven {
    Yes,
    /// Of another ledger, by its place among the forks.
    Fork(usize),
    NotYet(String),
    No(String),
}

impl Taking<'_> {
    pub(super) fn segment(
        &mut self,
        number: u32,
        name: &str,
        bytes: &[u8],
        round: &mut Round,
    ) -> Result<(), CollectError> {
        let read = match Shipped::read(bytes) {
            Ok(read) if read.beginning.segment == number => read,
            Ok(read) => {
                let why =
                    format!("no-segment: it says that it is segment {}", read.beginning.segment);
                return self.refuse(name, &why, Some(bytes), round);
            }
            Err(fault) => {
                return self.refuse(name, &format!("no-segment: {fault}"), Some(bytes), round);
            }
        };
        match self.prove(&read) {
            Proven::Yes => self.take(number, name, bytes, &read, round),
            Proven::NotYet(why) => {
                self.state.waiting.insert(name.to_owned(), why);
                Ok(())
            }
            Proven::Fork(index) => {
                let at = self.state.forks[index].at;
                let (boots, span) = told(&read, bytes, at);
                let fork = &mut self.state.forks[index];
                fork.boots.extend(boots);
                fork.span = joined(fork.span, span);
                self.state.taken += 1;
                let why = format!(
                    "other-ledger: it differs from block {at} on from what was believed first"
                );
                self.refuse(name, &why, Some(bytes), round)
            }
            Proven::No(why) => self.refuse(name, &why, Some(bytes), round),
        }
    }

    fn prove(&self, read: &Shipped) -> Proven {
        let Some(last) = read.blocks.last() else { return Proven::Yes };
        let is_of = |leaves: &[Hash]| {
            read.blocks.iter().all(|it| leaves.get(it.number() as usize) == Some(&it.leaf))
        };
        if !is_of(&self.branches.believed) {
            if let Some(index) = self.branches.others.iter().position(|it| is_of(it)) {
                return Proven::Fork(index);
            }
            let size = self.branches.believed.len() as u64;
            let mut blocks = read.blocks.iter();
            let wrong = blocks.find(|it| {
                let signed = self.branches.believed.get(it.number() as usize);
                signed.is_some_and(|leaf| *leaf != it.leaf)
            });
            return match wrong {
                Some(it) => Proven::No(format!(
                    "altered-block: block {} is not the one that was signed",
                    it.number()
                )),
                None => Proven::NotYet(format!(
                    "blocks up to {} are in it, and {size} are signed",
                    last.number()
                )),
            };
        }
        self.chain(read).map_or(Proven::Yes, Proven::No)
    }

    /// Where the chain breaks.
    fn chain(&self, read: &Shipped) -> Option<String> {
        let held = &self.state.held;
        let number = read.beginning.segment;
        let before = held.get(&number.wrapping_sub(1)).filter(|it| it.blocks.0 < it.blocks.1);
        let previous = Digits::from(&read.beginning.previous);
        if before.is_some_and(|it| it.last != previous) {
            return Some("broken-chain: it does not follow on the segment before".to_owned());
        }
        let broken = read.blocks.windows(2).find(|pair| {
            // A block that can't be read any more stood between them.
            pair[1].number() == pair[0].number() + 1 && pair[1].previous() != pair[0].hash
        });
        if let Some([_, next]) = broken.map(|it| [it[0], it[1]]) {
            return Some(format!("broken-chain: block {} does not follow", next.number()));
        }
        let last = read.blocks.last().map(|it| Digits::from(&it.hash));
        let next = held.get(&(number + 1));
        let is_other = next.zip(last).is_some_and(|(next, last)| next.previous != last);
        is_other.then(|| "broken-chain: the segment behind does not follow on it".to_owned())
    }

    fn take(
        &mut self,
        number: u32,
        name: &str,
        bytes: &[u8],
        read: &Shipped,
        round: &mut Round,
    ) -> Result<(), CollectError> {
        let path = shipped::path_of(&self.state.directory, number);
        shipped::make_directory(path.parent().unwrap_or(&self.state.directory))?;
        replace_file(&path, bytes)?;
        let (rows, unreadable) = self.pour(number, bytes, read)?;
        let first = read.beginning.first_block;
        let end = read.blocks.last().map_or(first, |it| it.number() + 1);
        let whole = name.rsplit_once('-').map_or("", |(_, whole)| whole).to_owned();
        let last = read.blocks.last().map_or(read.beginning.previous, |it| it.hash);
        let held = Held {
            whole,
            blocks: (first, end),
            previous: Digits::from(&read.beginning.previous),
            last: Digits::from(&last),
            span: span_of(read).map(span_ns),
            rows,
            unreadable,
            is_inherited: false,
        };
        self.state.held.insert(number, held);
        self.pardon(name);
        self.state.save()?;
        round.segments += 1;
        round.rows += rows.iter().sum::<u64>();
        Ok(())
    }

    /// Into the lake, but for what is there as the origin's before this one.
    fn pour(
        &mut self,
        number: u32,
        bytes: &[u8],
        read: &Shipped,
    ) -> Result<([u64; 4], u64), CollectError> {
        let about = vec![
            ("geofenced.origin", self.state.origin.clone()),
            ("geofenced.segment", number.to_string()),
            ("geofenced.checkpoint", self.state.note.clone()),
        ];
        let (station, origin) = (self.station.name.clone(), self.state.origin.clone());
        let lake = &self.collect.lake;
        let mut pour = Pour::new(lake, (&station, &origin), name_of(&origin, number), about);
        let first = read.beginning.first_block;
        let end = read.blocks.last().map_or(first, |it| it.number() + 1);
        let mut unreadable = end - first - read.blocks.len() as u64;
        let (mut gone, mut notices) = (None, Vec::new());
        for block in &read.blocks {
            let Some(entries) = block.entries(bytes) else {
                unreadable += 1;
                continue;
            };
            for entry in &entries {
                let Entry::Notice { notice, .. } = entry else { continue };
                if let Notice::Gone { ranges } = notice {
                    gone = Some(ranges.clone());
                }
                notices.push(entry.clone());
            }
            let is_there = self.before.as_ref().is_some_and(|(before, common)| {
                let mut held = before.held.values();
                block.number() < *common
                    && held.any(|it| (it.blocks.0..it.blocks.1).contains(&block.number()))
            });
            if !is_there {
                pour.block(block.number(), entries)?;
            }
        }
        noticed::keep(&self.state.directory, number, &notices)?;
        let rows = pour.finish(&("geofenced.coverage", coverage(read, &notices)))?;
        // The last word of it tells of all.
        let is_newest = self.state.held.keys().next_back().is_none_or(|it| *it < number);
        if let Some(gone) = gone.filter(|_| is_newest) {
            self.state.gone = gone;
        }
        Ok(([rows.flows, rows.rollups, rows.lookups, rows.notices], unreadable))
    }
}

/// What of the segment's time was watched, by what is noted in it.
fn coverage(read: &Shipped, notices: &[Entry]) -> String {
    let Some((from, to)) = span_of(read) else { return "{}".to_owned() };
    let mut fold = Fold::from(from);
    for entry in notices {
        if let Entry::Notice { at, notice } = entry {
            fold.add(*at, notice);
        }
    }
    let coverage = fold.within((from, to), None, Integrity::default());
    serde_json::to_string(&coverage).unwrap_or_default()
}

fn span_of(read: &Shipped) -> Option<(Timestamp, Timestamp)> {
    let spans = || read.blocks.iter().filter_map(shipped::Within::span);
    let first = spans().map(|it| it.0).min()?;
    Some((first, spans().map(|it| it.1).max()?))
}

fn joined(span: Option<(u64, u64)>, more: Option<(Timestamp, Timestamp)>) -> Option<(u64, u64)> {
    let more = more.map(span_ns);
    match (span, more) {
        (Some(span), Some(more)) => Some((span.0.min(more.0), span.1.max(more.1))),
        (span, more) => span.or(more),
    }
}

//! Walks through several streams of ranges at once. Knows nothing of what they mean together.

use super::{super::roster::Holding, Seen, merger::Ground};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Family {
    V4,
    V6,
}

/// (first key, value), ascending.
pub(super) type Ranges<'a, T> = Box<dyn Iterator<Item = (u64, T)> + 'a>;

/// A stream, and what it says here.
pub(super) struct Head<'a, T> {
    now: T,
    next: Option<(u64, T)>,
    rest: Ranges<'a, T>,
}

impl<'a, T: Copy + Default> Head<'a, T> {
    pub(super) fn new(mut rest: Ranges<'a, T>) -> Self {
        Self { now: T::default(), next: rest.next(), rest }
    }

    fn advance(&mut self, to: u64) -> Option<u64> {
        while let Some((_, value)) = self.next.take_if(|(start, _)| *start <= to) {
            self.now = value;
            self.next = self.rest.next();
        }
        self.next.map(|(start, _)| start)
    }
}

/// What all streams say, wherever one of them changes.
pub(super) struct Sweep<'a> {
    pub(super) countries: Head<'a, Seen>,
    pub(super) holdings: Head<'a, Holding>,
    pub(super) operators: Head<'a, Option<u32>>,
    pub(super) grounds: Head<'a, Ground>,
    pub(super) at: Option<u64>,
}

pub(super) struct Range {
    pub(super) seen: Seen,
    pub(super) holding: Holding,
    pub(super) operator: Option<u32>,
    pub(super) ground: Ground,
}

impl Iterator for Sweep<'_> {
    type Item = (u64, Range);

    fn next(&mut self) -> Option<Self::Item> {
        let at = self.at?;
        let next = [
            self.countries.advance(at),
            self.holdings.advance(at),
            self.operators.advance(at),
            self.grounds.advance(at),
        ];
        self.at = next.into_iter().flatten().min();
        let range = Range {
            seen: self.countries.now,
            holding: self.holdings.now,
            operator: self.operators.now,
            ground: self.grounds.now,
        };
        Some((at, range))
    }
}

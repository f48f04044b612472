//! Walks through several streams of ranges at once. Knows nothing of what they mean together.

use std::{iter, vec};

use assets::operator::Holding;

use super::super::seen::Seen;
use crate::event::Country;

/// A stream of (first key, value), ascending, and what it says here.
pub(super) struct Head<T, I> {
    now: T,
    next: Option<(u64, T)>,
    rest: I,
}

impl<T: Copy + Default, I: Iterator<Item = (u64, T)>> Head<T, I> {
    pub(super) fn new(mut rest: I) -> Self {
        Self { now: T::default(), next: rest.next(), rest }
    }

    fn advance(&mut self, to: u64) -> Option<u64> {
        while let Some((start, value)) = self.next
            && start <= to
        {
            self.now = value;
            self.next = self.rest.next();
        }
        self.next.map(|(start, _)| start)
    }
}

/// What the layers say of a range, with the operator's place in the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ground {
    pub(super) country: Option<Country>,
    pub(super) operator: Option<u32>,
    pub(super) is_unasked: bool,
}

/// Ranges of operators, from a plug-in.
pub(super) type Operators<'a> = Box<dyn Iterator<Item = (u64, Option<u32>)> + 'a>;

/// What all streams say, wherever one of them changes. The two long ones are not behind a pointer:
/// they are asked a million times.
pub(super) struct Sweep<'a, C, H> {
    pub(super) countries: Head<Seen, C>,
    pub(super) holdings: Head<Holding, H>,
    pub(super) operators: Head<Option<u32>, Operators<'a>>,
    pub(super) grounds: Head<Ground, vec::IntoIter<(u64, Ground)>>,
    pub(super) at: Option<u64>,
}

impl<C, H> Sweep<'_, C, H>
where
    C: Iterator<Item = (u64, Seen)>,
    H: Iterator<Item = (u64, Holding)>,
{
    /// Without operators of a plug-in.
    pub(super) fn new(countries: C, holdings: H, grounds: Vec<(u64, Ground)>) -> Self {
        Self {
            countries: Head::new(countries),
            holdings: Head::new(holdings),
            operators: Head::new(Box::new(iter::empty())),
            grounds: Head::new(grounds.into_iter()),
            at: Some(0),
        }
    }
}

pub(super) struct Range {
    pub(super) seen: Seen,
    pub(super) holding: Holding,
    pub(super) operator: Option<u32>,
    pub(super) ground: Ground,
}

impl<C, H> Iterator for Sweep<'_, C, H>
where
    C: Iterator<Item = (u64, Seen)>,
    H: Iterator<Item = (u64, Holding)>,
{
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

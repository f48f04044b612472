//! When contacts of one kind began, in little memory: how many, in how many hours and days, and the gaps between them.

use crate::event::{SPANS_MIN, Timestamp};

const SECOND: u64 = 1_000_000_000;
const HOUR: u64 = 3_600 * SECOND;
const DAY: u64 = 24 * HOUR;
/// What begins so soon after another is of one contact: a browser opens six connections at once.
const ONE_CONTACT: u64 = 2 * SECOND;
/// Gaps that are kept. Of more it is a fair sample of all.
const KEPT: usize = 128;
/// A gap is kept in hundredths of a second: up to 497 days.
const HUNDREDTH: u64 = SECOND / 100;

/// Gaps between contacts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gaps {
    pub count: u64,
    pub median_seconds: f64,
    /// The part of them within 30 % of the median.
    pub share: f64,
}

#[derive(Debug)]
pub(super) struct Contacts {
    pub(super) flows: u64,
    pub(super) count: u64,
    pub(super) hours: u32,
    pub(super) days: u32,
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
    /// When the last one began.
    began: Option<Timestamp>,
    gaps: u64,
    kept: Vec<u32>,
}

impl Contacts {
    /// None yet; of flows of which the first began then.
    pub(super) fn at(first: Timestamp) -> Self {
        Self {
            flows: 0,
            count: 0,
            hours: 0,
            days: 0,
            first,
            last: first,
            began: None,
            gaps: 0,
            kept: Vec::new(),
        }
    }

    /// A flow that began; about in the order of their beginnings.
    pub(super) fn add(&mut self, at: Timestamp) {
        self.go_on(at);
        let Some(before) = self.began else {
            (self.began, self.count, self.hours, self.days) = (Some(at), 1, 1, 1);
            return;
        };
        let gap = at.0.saturating_sub(before.0);
        if at > before {
            self.began = Some(at);
        }
        if gap < ONE_CONTACT {
            return;
        }
        self.count += 1;
        self.hours += u32::from(at.0 / HOUR != before.0 / HOUR);
        self.days += u32::from(at.0 / DAY != before.0 / DAY);
        self.keep(u32::try_from(gap / HUNDREDTH).unwrap_or(u32::MAX));
    }

    /// A flow that began before what is asked for, and goes on in it.
    pub(super) fn go_on(&mut self, at: Timestamp) {
        self.flows += 1;
        self.first = self.first.min(at);
        self.last = self.last.max(at);
    }

    /// Each gap stays with the same chance (reservoir sampling).
    fn keep(&mut self, gap: u32) {
        self.gaps += 1;
        if self.kept.len() < KEPT {
            self.kept.push(gap);
            return;
        }
        // Of splitmix64: the same for the same ledger.
        let mut mixed = self.gaps.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let place = ((mixed ^ (mixed >> 31)) % self.gaps) as usize;
        if let Some(kept) = self.kept.get_mut(place) {
            *kept = gap;
        }
    }

    /// `None`: too few to say anything.
    pub(super) fn gaps(&self) -> Option<Gaps> {
        if self.gaps < u64::from(SPANS_MIN) {
            return None;
        }
        let mut kept = self.kept.clone();
        kept.sort_unstable();
        let median = *kept.get(kept.len() / 2)?;
        let (least, most) = (f64::from(median) * 0.7, f64::from(median) * 1.3);
        let near = kept.iter().filter(|gap| (least..=most).contains(&f64::from(**gap))).count();
        Some(Gaps {
            count: self.gaps,
            median_seconds: f64::from(median) / 100.0,
            share: near as f64 / kept.len() as f64,
        })
    }
}

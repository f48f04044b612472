//! Distinct names of DNS for each registered domain, in little memory: who carries data out in names asks for many.

use std::{
    collections::{BTreeSet, HashMap},
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use crate::event::Timestamp;

/// Registered domains that are kept apart.
const DOMAINS_MAX: usize = 4_000;
/// Up to so many names are counted; more are estimated, to some percent.
const COUNTED: usize = 256;
/// Names that are remembered as counted.
const REMEMBERED: usize = 16_384;
/// And none that is longer.
const REMEMBERED_BYTES: usize = 64;

/// Of a registered domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameRow {
    pub domain: Arc<str>,
    /// Distinct names below it, itself included.
    pub names: u64,
    /// They are counted, and not estimated.
    pub is_counted: bool,
    /// How often one was asked for, or contacted.
    pub seen: u64,
    pub first: Timestamp,
    pub last: Timestamp,
}

#[derive(Debug)]
struct Below {
    /// The lowest hashes of names (k minimum values).
    lowest: BTreeSet<u64>,
    seen: u64,
    first: Timestamp,
    last: Timestamp,
}

#[derive(Debug, Default)]
pub struct Names {
    domains: HashMap<Box<str>, u32>,
    below: Vec<Below>,
    /// The same names come again and again: what they are below, as they were written.
    remembered: HashMap<Box<str>, u32>,
    /// Of this run alone: nobody can choose names that look like one.
    hasher: RandomState,
    left_out: u64,
}

impl Names {
    pub(super) fn add(&mut self, name: &str, at: Timestamp) {
        if let Some(below) = self.remembered.get(name) {
            // Of a name that was counted, another time counts nothing.
            self.below[*below as usize].see(at);
            return;
        }
        let written = name;
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let domain = psl::domain_str(&name).unwrap_or(&name);
        let hash = self.hasher.hash_one(&name);
        let number = match self.domains.get(domain) {
            Some(number) => *number,
            None if self.domains.len() >= DOMAINS_MAX => {
                self.left_out += 1;
                return;
            }
            None => {
                let number = self.below.len() as u32;
                self.below.push(Below { lowest: BTreeSet::new(), seen: 0, first: at, last: at });
                self.domains.insert(domain.into(), number);
                number
            }
        };
        let below = &mut self.below[number as usize];
        below.see(at);
        below.count(hash);
        if written.len() <= REMEMBERED_BYTES {
            if self.remembered.len() >= REMEMBERED {
                self.remembered.clear();
            }
            self.remembered.insert(written.into(), number);
        }
    }

    /// And how many names are in no row.
    pub(super) fn into_rows(self) -> (Vec<NameRow>, u64) {
        let rows = self.domains.into_iter().map(|(domain, number)| {
            let below = &self.below[number as usize];
            NameRow {
                domain: domain.into(),
                names: below.names(),
                is_counted: below.lowest.len() < COUNTED,
                seen: below.seen,
                first: below.first,
                last: below.last,
            }
        });
        let mut rows: Vec<NameRow> = rows.collect();
        rows.sort_by(|a, b| b.names.cmp(&a.names).then_with(|| a.domain.cmp(&b.domain)));
        (rows, self.left_out)
    }
}

impl Below {
    fn see(&mut self, at: Timestamp) {
        self.seen += 1;
        self.first = self.first.min(at);
        self.last = self.last.max(at);
    }

    fn count(&mut self, hash: u64) {
        if self.lowest.len() < COUNTED {
            self.lowest.insert(hash);
        } else if self.lowest.last().is_some_and(|highest| hash < *highest)
            && self.lowest.insert(hash)
        {
            self.lowest.pop_last();
        }
    }

    #[expect(clippy::cast_sign_loss, reason = "hashes are not below 0")]
    fn names(&self) -> u64 {
        match self.lowest.last() {
            Some(highest) if self.lowest.len() == COUNTED => {
                let part = (*highest as f64 + 1.0) / 2_f64.powi(64);
                ((COUNTED as f64 - 1.0) / part) as u64
            }
            _ => self.lowest.len() as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_counted_by_what_was_registered_and_about_right_when_there_are_many() {
        let mut names = Names::default();
        for number in 0..20_000 {
            names.add(&format!("{number:x}.t.tunnel.co.uk"), Timestamp(number));
        }
        for name in ["www.shop.example", "Shop.example.", "shop.example", "api.other.co.uk"] {
            names.add(name, Timestamp(7));
        }
        let (rows, _) = names.into_rows();
        let told: Vec<(&str, bool, u64)> =
            rows.iter().map(|it| (&*it.domain, it.is_counted, it.seen)).collect();
        let right =
            [("tunnel.co.uk", false, 20_000), ("shop.example", true, 3), ("other.co.uk", true, 1)];
        assert_eq!(told, right);
        assert!((15_000..26_000).contains(&rows[0].names), "{rows:?}");
        assert_eq!((rows[1].names, rows[2].names), (2, 1));
    }

    #[test]
    fn a_flood_of_domains_takes_no_more_than_is_kept() {
        let mut names = Names::default();
        for number in 0..3 * DOMAINS_MAX {
            names.add(&format!("d{number}.example"), Timestamp(1));
        }
        let (rows, left_out) = names.into_rows();
        assert_eq!((rows.len(), left_out), (DOMAINS_MAX, 2 * DOMAINS_MAX as u64));
    }
}

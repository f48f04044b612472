//! In which country each autonomous system is registered: a set that shows of every range the
//! country of its system's registrant, joined with the ranges of the systems.

use std::{collections::HashMap, path::Path};

use assets::{is_country, libloc::Networks};

use super::{Spans, overlay};

/// Addresses by system, then by country of the registrant.
#[derive(Default)]
pub(super) struct Registrants(HashMap<u32, HashMap<[u8; 2], u64>>);

impl Registrants {
    pub(super) fn join(path: &Path, v4: &Networks, v6: &Networks) -> anyhow::Result<Self> {
        let shown = overlay::read(path)?;
        let mut by_v4 = Self::default();
        by_v4.add(v4, &shown.spans4(), 1 << 32);
        let mut by_v6 = Self::default();
        by_v6.add(v6, &shown.spans6(), u64::MAX);
        // IPv6 counts only where a system has no IPv4: a /32 would drown everything.
        by_v6.0.extend(by_v4.0);
        Ok(by_v6)
    }

    fn add(&mut self, networks: &Networks, shown: &Spans, end: u64) {
        let mut at = 0;
        for (index, (start, network)) in networks.iter().enumerate() {
            let last = networks.get(index + 1).map_or(end, |(next, _)| *next);
            let mut from = *start;
            while from < last {
                while shown.get(at + 1).is_some_and(|(next, _)| *next <= from) {
                    at += 1;
                }
                let until = shown.get(at + 1).map_or(end, |(next, _)| *next).min(last);
                let country =
                    shown.get(at).and_then(|(_, country)| *country).filter(|it| is_country(*it));
                if let (Some(country), true) = (country, network.system != 0) {
                    *self.0.entry(network.system).or_default().entry(country).or_default() +=
                        until - from;
                }
                from = until;
            }
        }
    }

    /// The country of most addresses; of equals the first by alphabet.
    pub(super) fn country(&self, system: u32) -> Option<[u8; 2]> {
        let countries = self.0.get(&system)?.iter();
        countries.max_by_key(|(code, count)| (**count, std::cmp::Reverse(**code))).map(|it| *it.0)
    }
}

#[cfg(test)]
mod tests {
    use assets::libloc::Network;

    use super::*;

    #[test]
    fn the_country_of_most_addresses_of_a_system_is_its_registrants() {
        let of = |system| Network { system, ..Network::default() };
        let networks = vec![(0, of(0)), (10, of(7)), (40, of(9)), (50, of(7))];
        let shown = vec![(0, Some(*b"US")), (20, Some(*b"CN")), (45, None), (55, Some(*b"US"))];
        let mut registrants = Registrants::default();
        registrants.add(&networks, &shown, 60);
        // 10 addresses and 5 in the US, 20 in China.
        assert_eq!(registrants.country(7), Some(*b"CN"));
        assert_eq!(registrants.country(9), Some(*b"CN"));
        assert_eq!(registrants.country(0), None);
    }
}

//! Which name an address goes by, for a process and for whoever shares its network namespace.
//! Bounded: full, it forgets what it learnt first, and counts it.

use std::{net::IpAddr, sync::Arc};

use rustc_hash::FxHashMap;

/// Addresses with a name at once, each once for the process that asked and once for the host.
pub const NAMES_MAX: usize = 16_384;

/// Nanoseconds of `CLOCK_BOOTTIME`.
type BootNs = u64;
const SECOND: BootNs = 1_000_000_000;
/// Programs keep an address for longer than its time to live, and some resolvers say 0.
const KEPT_LEAST: BootNs = 60 * SECOND;
/// An address that nobody asked for in a day may be another's.
const KEPT_MOST: BootNs = 86_400 * SECOND;

/// Who asked: a process by its pid and start, as the probes tell them, and the network namespace of
/// the socket it asked by. An address, and whoever answers there, is another in another namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Asker {
    pub(super) netns: u64,
    pub(super) tgid: u32,
    pub(super) started_ns: u64,
}

impl Asker {
    /// Whoever in this namespace.
    pub(super) const fn anybody(netns: u64) -> Self {
        Self { netns, tgid: 0, started_ns: 0 }
    }
}

#[derive(Debug)]
struct Known {
    name: Arc<str>,
    is_trusted: bool,
    learnt_ns: BootNs,
    until_ns: BootNs,
}

#[derive(Debug, Default)]
pub(super) struct Table {
    known: FxHashMap<(Asker, IpAddr), Known>,
    /// Forgotten before their time.
    pub(super) evicted: u64,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// `name`: and whether who said it is trusted. `ttl`: seconds.
    pub(super) fn learn(
        &mut self,
        asker: Asker,
        address: IpAddr,
        name: (&Arc<str>, bool),
        ttl: u32,
        now: BootNs,
    ) {
        let (name, is_trusted) = name;
        let key = (asker, address);
        if self.known.len() >= NAMES_MAX && !self.known.contains_key(&key) {
            self.make_room(now);
        }
        let kept = (u64::from(ttl) * SECOND).clamp(KEPT_LEAST, KEPT_MOST);
        let (name, until_ns) = (Arc::clone(name), now + kept);
        let known = Known { name, is_trusted, learnt_ns: now, until_ns };
        self.known.insert(key, known);
    }

    /// The name, and whether who said it is trusted.
    pub(super) fn name(
        &self,
        asker: Asker,
        address: IpAddr,
        now: BootNs,
    ) -> Option<(&Arc<str>, bool)> {
        let known = self.known.get(&(asker, address))?;
        (known.until_ns >= now).then_some((&known.name, known.is_trusted))
    }

    /// A quarter at once, so that a full table costs little for each name that comes.
    fn make_room(&mut self, now: BootNs) {
        self.expire(now);
        let Some(excess) = (self.known.len() + NAMES_MAX / 4).checked_sub(NAMES_MAX) else {
            return;
        };
        let mut learnt: Vec<BootNs> = self.known.values().map(|known| known.learnt_ns).collect();
        if excess == 0 || excess >= learnt.len() {
            return;
        }
        let before = *learnt.select_nth_unstable(excess - 1).1;
        let held = self.known.len();
        self.known.retain(|_, known| known.learnt_ns > before);
        self.evicted += (held - self.known.len()) as u64;
    }

    pub(super) fn expire(&mut self, now: BootNs) {
        self.known.retain(|_, known| known.until_ns >= now);
        if self.known.capacity() > 1024 && self.known.len() < self.known.capacity() / 8 {
            self.known.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const ME: Asker = Asker { netns: 1, tgid: 7, started_ns: 70 };

    fn address(number: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from(0xcb00_7100 + number))
    }

    #[test]
    fn a_name_outlives_a_short_time_to_live_but_not_a_day() {
        let mut table = Table::default();
        let name = "example.org".into();
        table.learn(ME, address(1), (&name, true), 0, 0);
        table.learn(ME, address(2), (&name, true), u32::MAX, 0);
        assert_eq!(table.name(ME, address(1), KEPT_LEAST), Some((&name, true)));
        assert_eq!(table.name(ME, address(1), KEPT_LEAST + 1), None);
        assert_eq!(table.name(ME, address(2), KEPT_MOST), Some((&name, true)));
        table.expire(KEPT_MOST + 1);
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn one_process_does_not_hear_what_another_was_told() {
        let mut table = Table::default();
        table.learn(ME, address(1), (&"example.org".into(), true), 60, 0);
        let reused = Asker { started_ns: 71, ..ME };
        assert_eq!(table.name(reused, address(1), 1), None);
        assert_eq!(table.name(Asker::anybody(1), address(1), 1), None);
        let elsewhere = Asker { netns: 2, ..ME };
        assert_eq!(table.name(elsewhere, address(1), 1), None);
    }

    #[test]
    fn a_full_table_forgets_the_oldest_and_counts_them() {
        let mut table = Table::default();
        let name = "example.org".into();
        for number in 0..NAMES_MAX as u32 + 10 {
            table.learn(ME, address(number), (&name, true), 3600, u64::from(number));
        }
        assert!(table.len() <= NAMES_MAX);
        assert_eq!(table.evicted, (NAMES_MAX / 4) as u64);
        let now = NAMES_MAX as u64;
        assert_eq!(table.name(ME, address(0), now), None);
        assert_eq!(table.name(ME, address(NAMES_MAX as u32), now), Some((&name, true)));
    }

    #[test]
    fn a_table_filled_at_one_instant_stays_within_its_bound() {
        let mut table = Table::default();
        let name = "example.org".into();
        for number in 0..3 * NAMES_MAX as u32 {
            table.learn(ME, address(number), (&name, true), 3600, 5);
        }
        assert!(table.len() <= NAMES_MAX);
    }
}

//! The kernel's table of flows, as it is read. A walk of it costs by its size, whatever it holds: where few
//! flows are in it and none came, each is asked for by itself. What it may hold is the probes' count.

use std::{io, os::fd::AsFd as _};

use aya::maps::MapData;
use monitor_ebpf::sample::{FlowCounters, FlowKey};

use super::{
    batch::{BATCH, Batch, look_up},
    shares::Shares,
};

/// More of them are walked: one look costs about a microsecond, and a walk of the largest table 200.
const KNOWN_MAX: usize = 64;
/// All the same it is walked every so often, as if nobody had counted.
const WALK_EVERY: u32 = 30;

pub(super) struct FlowTable {
    map: MapData,
    batch: Batch<FlowKey, FlowCounters>,
    known: Known,
    found: Vec<(FlowKey, FlowCounters)>,
}

impl FlowTable {
    pub(super) fn new(map: MapData) -> Self {
        Self { map, batch: Batch::new(BATCH), known: Known::default(), found: Vec::new() }
    }

    /// Every entry once, but for those that come, go or move meanwhile.
    pub(super) fn read(
        &mut self,
        shares: &Shares,
        each: &mut dyn FnMut(FlowKey, FlowCounters),
    ) -> io::Result<()> {
        // First: what comes later has not been there.
        let entries = shares.entries();
        if self.known.are_all(entries) && self.find_known()? {
            self.found.drain(..).for_each(|(key, counters)| each(key, counters));
            return Ok(());
        }
        let known = &mut self.known;
        known.begin();
        self.batch.read(self.map.fd().as_fd(), &mut |key, counters| {
            known.see(key);
            each(key, counters);
        })
    }

    /// `false`: one of them is gone, by another's hand.
    fn find_known(&mut self) -> io::Result<bool> {
        self.found.clear();
        for key in &self.known.keys {
            let Some(counters) = look_up(self.map.fd().as_fd(), key)? else { return Ok(false) };
            self.found.push((*key, counters));
        }
        Ok(true)
    }

    pub(super) fn counters(&self, flow: &FlowKey) -> Option<FlowCounters> {
        look_up(self.map.fd().as_fd(), flow).ok().flatten()
    }

    pub(super) fn forget(&mut self, shares: &Shares, flows: &[FlowKey]) -> io::Result<()> {
        self.known.forget(flows);
        shares.forget(&self.map, flows)
    }
}

/// What the last walk found, if that is little.
#[derive(Debug, Default)]
struct Known {
    keys: Vec<FlowKey>,
    is_whole: bool,
    /// Reads since the walk.
    reads: u32,
}

impl Known {
    /// Whether nothing else can be in the table. `entries`: the probes count one before they put it there,
    /// and it is counted off after it is removed, so it is never less than there are; if as many are known
    /// and each is still there, these are all.
    fn are_all(&mut self, entries: Option<u64>) -> bool {
        self.reads += 1;
        self.is_whole && self.reads < WALK_EVERY && entries == Some(self.keys.len() as u64)
    }

    fn begin(&mut self) {
        self.keys.clear();
        (self.is_whole, self.reads) = (true, 0);
    }

    fn see(&mut self, key: FlowKey) {
        if self.keys.len() < KNOWN_MAX {
            self.keys.push(key);
        } else {
            self.is_whole = false;
        }
    }

    fn forget(&mut self, flows: &[FlowKey]) {
        if flows.len() > KNOWN_MAX {
            self.is_whole = false;
        } else {
            self.keys.retain(|key| !flows.contains(key));
        }
    }
}

#[cfg(test)]
mod tests {
    use zerocopy::FromZeros as _;

    use super::*;

    fn key(cookie: u64) -> FlowKey {
        FlowKey { cookie, ..FlowKey::new_zeroed() }
    }

    fn walked(count: usize) -> Known {
        let mut known = Known::default();
        known.begin();
        (0..count as u64).for_each(|cookie| known.see(key(cookie)));
        known
    }

    #[test]
    fn a_table_is_walked_when_more_were_counted_than_are_known_and_when_nobody_counted() {
        for count in [0, 1, KNOWN_MAX] {
            let mut known = walked(count);
            assert!(known.are_all(Some(count as u64)));
            assert!(!known.are_all(Some(count as u64 + 1)));
            assert!(!known.are_all(None));
        }
        assert!(!Known::default().are_all(Some(0)), "it was never walked");
    }

    #[test]
    fn what_is_forgotten_is_not_known_and_many_are_walked() {
        let mut known = walked(3);
        known.forget(&[key(1), key(7)]);
        assert_eq!(known.keys, [key(0), key(2)]);
        assert!(known.are_all(Some(2)));
        assert!(!walked(KNOWN_MAX + 1).are_all(Some(KNOWN_MAX as u64)));
        let mut known = walked(3);
        known.forget(&(0..=KNOWN_MAX as u64).map(key).collect::<Vec<_>>());
        assert!(!known.are_all(Some(3)));
    }

    #[test]
    fn now_and_then_the_table_is_walked_though_nothing_came() {
        let mut known = walked(1);
        let reads = (0..WALK_EVERY).take_while(|_| known.are_all(Some(1))).count();
        assert_eq!(reads as u32, WALK_EVERY - 1);
    }
}

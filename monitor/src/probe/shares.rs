//! Shares of users in the flow table: the probes count entries up, who removes one counts it down. And
//! what the probes add up of those who have used theirs up.

use std::{io, os::fd::AsFd, sync::atomic::Ordering};

use aya::{
    Ebpf,
    maps::{HashMap, IterableMap as _, Map, MapData},
};
use monitor_ebpf::{
    names::map,
    places::verdict,
    sample::{FlowCounters, FlowKey, Unitemised, UnitemisedKey},
    settings,
    share::{self, NOBODY, Share},
};
use zerocopy::IntoBytes;

use super::{
    ProbeError,
    batch::{self, Batch},
    places::Window,
};

type Sums = HashMap<MapData, [u8; size_of::<UnitemisedKey>()], [u8; size_of::<Unitemised>()]>;

/// Sums asked for at once at first.
const SUMS: usize = 64;

pub(super) struct Shares {
    /// Mapped only where it is written, but for that of all.
    accounts: MapData,
    all: Option<Window>,
    once: MapData,
    forgotten: MapData,
    sums: Sums,
    read: Batch<UnitemisedKey, Unitemised>,
}

impl Shares {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, ProbeError> {
        let mut take = |name: &'static str| {
            let missing = || ProbeError::Map { name, problem: "not in the object".into() };
            ebpf.take_map(name).ok_or_else(missing)
        };
        let other = |name| ProbeError::Map { name, problem: "is of another type".into() };
        let Map::Array(accounts) = take(map::SHARES)? else { return Err(other(map::SHARES)) };
        let Map::Array(forgotten) = take(map::FORGOTTEN)? else {
            return Err(other(map::FORGOTTEN));
        };
        let Map::LruHashMap(once) = take(map::ONCE)? else { return Err(other(map::ONCE)) };
        let unusable = |error: aya::maps::MapError| ProbeError::Map {
            name: map::UNITEMISED,
            problem: error.to_string(),
        };
        let mut sums: Sums = HashMap::try_from(take(map::UNITEMISED)?).map_err(unusable)?;
        // What a full table has no row for goes here.
        let nothing: [u8; size_of::<Unitemised>()] = [0; _];
        for verdict in [
            verdict::NONE,
            verdict::UNAPPROVED,
            verdict::UNKNOWN,
            verdict::APPROVED,
            verdict::LOCAL,
        ] {
            let key = UnitemisedKey { uid: NOBODY, verdict, ..UnitemisedKey::default() };
            sums.insert(bytes(&key), nothing, 0).map_err(unusable)?;
        }
        let all = Window::of::<Share>(&accounts, share::ALL, 1).ok();
        Ok(Self { accounts, all, once, forgotten, sums, read: Batch::new(SUMS) })
    }

    /// As many as there are in the flow table, or a few more; `None`: not known.
    pub(super) fn entries(&self) -> Option<u64> {
        Some(self.all.as_ref()?.counter(0)?.load(Ordering::Acquire))
    }

    /// Removes flows, and gives back the places that they took.
    pub(super) fn forget(&self, flows: &MapData, keys: &[FlowKey]) -> io::Result<()> {
        if keys.is_empty() {
            return Ok(());
        }
        let (flows, once) = (flows.fd().as_fd(), self.once.fd().as_fd());
        let window = Window::of::<Share>(&self.accounts, 0, share::ALL as usize + 1)?;
        let forgotten = Window::of::<u64>(&self.forgotten, 0, settings::FORGOTTEN as usize)?;
        for key in keys {
            if let Some(counters) = batch::look_up::<FlowCounters>(flows, key)? {
                if batch::delete(flows, key)? {
                    for slot in [counters.account, share::ALL] {
                        let at = slot as usize * size_of::<Share>();
                        if let Some(entries) = window.counter(at) {
                            entries.fetch_sub(1, Ordering::Relaxed);
                        }
                    }
                }
            } else {
                // Only an attempt. Its socket may try again.
                batch::delete(once, key)?;
            }
            // After it is gone: who finds it in the table until then asks here before.
            let slot = key.cookie as usize & (settings::FORGOTTEN as usize - 1);
            if let Some(count) = forgotten.counter(slot * size_of::<u64>()) {
                count.fetch_add(1, Ordering::Release);
            }
        }
        Ok(())
    }

    /// What was added up so far, as far as it can be read.
    pub(super) fn sums(&mut self) -> Vec<(UnitemisedKey, Unitemised)> {
        let mut sums = Vec::new();
        // What is not read grows until it is.
        let _ = self.read.read(self.sums.map().fd().as_fd(), &mut |key, sum| sums.push((key, sum)));
        sums
    }

    /// Rows to which nothing is added any more.
    pub(super) fn forget_sums(&mut self, keys: &[UnitemisedKey]) {
        for key in keys {
            // One that is gone already is fine.
            let _ = self.sums.remove(&bytes(key));
        }
    }
}

fn bytes(key: &UnitemisedKey) -> [u8; size_of::<UnitemisedKey>()] {
    let mut bytes = [0; size_of::<UnitemisedKey>()];
    bytes.copy_from_slice(key.as_bytes());
    bytes
}

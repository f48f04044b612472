//! Shares of users in the flow table: the probes count entries up, who removes one counts it down. And
//! what the probes add up of those who have used theirs up.

use std::{io, os::fd::AsFd, sync::atomic::Ordering};

use aya::{
    Ebpf,
    maps::{HashMap, Map, MapData},
};
use monitor_ebpf::{
    names::map,
    places::verdict,
    sample::{FlowCounters, FlowKey, Unitemised, UnitemisedKey},
    settings,
    share::{self, NOBODY, Share},
};
use zerocopy::{FromBytes, IntoBytes};

use super::{ProbeError, batch, places::Window};

type Bytes<T, const N: usize> = HashMap<MapData, [u8; N], T>;

pub(super) struct Shares {
    /// Mapped only where it is written.
    accounts: MapData,
    once: MapData,
    forgotten: MapData,
    sums: Bytes<[u8; size_of::<Unitemised>()], { size_of::<UnitemisedKey>() }>,
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
        let mut sums: Bytes<_, _> = HashMap::try_from(take(map::UNITEMISED)?).map_err(unusable)?;
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
        Ok(Self { accounts, once, forgotten, sums })
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

    /// What was added up so far.
    pub(super) fn sums(&self) -> Vec<(UnitemisedKey, Unitemised)> {
        // Nothing is removed while this reads but by this thread.
        let entries = self.sums.iter().map_while(Result::ok);
        let read = |(key, sum): ([u8; _], [u8; _])| {
            let key = UnitemisedKey::read_from_bytes(&key).ok()?;
            Some((key, Unitemised::read_from_bytes(&sum).ok()?))
        };
        entries.filter_map(read).collect()
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

//! Who holds a socket that is older than the probes: `/proc/*/net/*` gives its inode,
//! `/proc/*/fd` the holder. A search is dear, so searches are rationed and answers kept; but one who is
//! named holds the socket when asked.

mod listed;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Instant};

use monitor_ebpf::sample::EgressSample;
use rustc_hash::FxHashMap;

pub(super) use self::listed::RAW;
use self::listed::{Ends, Key, ends, list};
use super::{chooser::Chooser, place::Place, procfs::Procfs};

/// At most one search in this time, and never more than a tenth of the time.
const SEARCH_INTERVAL_NS: u64 = 1_000_000_000;
const SEARCH_SHARE: u64 = 10;
/// A finished search is of use for so long. Who held a socket alone then may share it by now: what is older
/// is searched for anew as soon as a search is due.
const SEARCH_KEPT_NS: u64 = 60_000_000_000;
/// Bound of one search; what lies beyond is not found, and the search counted as cut.
const DESCRIPTORS_MAX: usize = 1_048_576;

const TCP: u8 = 6;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Holder {
    One(Place),
    /// Told apart by nothing that a packet shows.
    Several(Tgids),
}

/// Processes, without order.
pub(super) type Tgids = Arc<[u32]>;

/// What a search can say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Searched {
    /// This process holds the socket.
    Held(Place),
    /// One of these sent, if it is that one that closes the socket, or has closed it: who alone held it
    /// before, or those who hold the listener that accepted it.
    AtItsEnd(Tgids),
    Nobody,
    /// Several processes, told apart by nothing that a packet shows.
    Several,
    /// The next search is not due yet.
    Later,
}

/// When the next search may be.
#[derive(Debug, Default)]
pub(super) struct Ration {
    due_ns: u64,
}

impl Ration {
    pub(super) fn is_due(&self, now_ns: u64) -> bool {
        now_ns >= self.due_ns
    }

    /// After a search that began then.
    pub(super) fn spend(&mut self, began: Instant, now_ns: u64) {
        let cost_ns = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let pause_ns = SEARCH_INTERVAL_NS.max(cost_ns.saturating_mul(SEARCH_SHARE));
        self.due_ns = now_ns.saturating_add(pause_ns);
    }
}

/// What one search found.
#[derive(Debug, Default)]
struct Search {
    holders: FxHashMap<Key, Holder>,
    namespaces: Vec<u32>,
    at_ns: u64,
}

/// A holder, and how telling the ends are that it was found under: 0, those of a connection.
#[derive(Clone, Debug)]
struct Found {
    holder: Holder,
    rank: usize,
    at_ns: u64,
}

impl Found {
    fn is_fresh(&self, now_ns: u64) -> bool {
        now_ns < self.at_ns.saturating_add(SEARCH_KEPT_NS)
    }

    /// Whether a connection is known by its listener alone.
    fn is_listener(&self, sample: &EgressSample) -> bool {
        sample.flow.transport == TCP && self.rank > 0
    }
}

#[derive(Debug, Default)]
pub(super) struct Sockets {
    /// Of the sockets that were there when the probes were attached, which may be closed as soon as
    /// they have spoken. Kept: every later socket has its owner with it.
    initial: Search,
    /// The latest, while it is of use.
    latest: Option<Search>,
    ration: Ration,
    pub(super) searches: u64,
    pub(super) postponed: u64,
    pub(super) cut: u64,
}

impl Sockets {
    /// Looks at all sockets once, at this time of the boot clock.
    pub(super) fn begin(&mut self, procfs: &Procfs, now_ns: u64) {
        self.initial = self.search(procfs, now_ns);
        self.initial.holders.shrink_to_fit();
    }

    pub(super) fn holder(&mut self, procfs: &Procfs, sample: &EgressSample) -> Searched {
        let now_ns = sample.at_ns;
        let is_due = self.ration.is_due(now_ns);
        if let Some(known) = self.known(sample) {
            let is_fresh = known.is_fresh(now_ns);
            // What a listener accepted, one of those who share it may hold alone.
            let is_listener = known.is_listener(sample);
            match known.holder {
                Holder::One(place) => {
                    // Whoever else may hold it by now: it ran.
                    let is_known = is_fresh || place.tgid == sample.runner.tgid;
                    if (is_known || !is_due)
                        && let Some(place) = procfs.still(place)
                    {
                        return Searched::Held(place);
                    }
                }
                Holder::Several(_) if is_fresh && !is_listener => return Searched::Several,
                Holder::Several(_) => {}
            }
        }
        if !is_due {
            self.postponed += 1;
            return Searched::Later;
        }
        self.search_at(procfs, now_ns);
        self.look(sample)
    }

    pub(super) fn is_search_due(&self, now_ns: u64) -> bool {
        self.ration.is_due(now_ns)
    }

    pub(super) fn search_at(&mut self, procfs: &Procfs, now_ns: u64) {
        let began = Instant::now();
        self.searches += 1;
        self.latest = Some(self.search(procfs, now_ns));
        self.ration.spend(began, now_ns);
    }

    /// Whether an older listener accepted this connection after the probes were attached: it was not
    /// there then, and whoever connects from this host has its owner with it.
    pub(super) fn is_accepted(&self, sample: &EgressSample) -> bool {
        self.initial.find(sample).is_some_and(|found| found.is_listener(sample))
    }

    /// Gives the memory of an old search back.
    pub(super) fn expire(&mut self, now_ns: u64) {
        self.latest.take_if(|latest| latest.at_ns.saturating_add(SEARCH_KEPT_NS) < now_ns);
    }

    /// What is known without another search.
    fn known(&self, sample: &EgressSample) -> Option<Found> {
        let initial = self.initial.find(sample);
        let latest = self.latest.as_ref().and_then(|latest| latest.find(sample));
        latest.filter(|it| is_of_one(it, initial.as_ref(), sample)).or(initial)
    }

    /// What the search that has just ended says.
    pub(super) fn look(&self, sample: &EgressSample) -> Searched {
        let initial = self.initial.find(sample);
        let latest = self.latest.as_ref().and_then(|latest| latest.find(sample));
        let is_parted = latest.as_ref().is_none_or(|it| !is_of_one(it, initial.as_ref(), sample));
        let Some(found) = latest.filter(|_| !is_parted).or(initial) else {
            return Searched::Nobody;
        };
        let is_listener = found.is_listener(sample);
        match found.holder {
            Holder::One(place) if is_parted => Searched::AtItsEnd([place.tgid].into()),
            Holder::One(place) => Searched::Held(place),
            Holder::Several(tgids) if is_listener => Searched::AtItsEnd(tgids),
            Holder::Several(_) => Searched::Several,
        }
    }

    fn search(&mut self, procfs: &Procfs, at_ns: u64) -> Search {
        let mut pids = procfs.pids().unwrap_or_default();
        pids.sort_unstable();
        let listing = list(procfs, &pids);
        let mut places: FxHashMap<u64, Vec<Place>> =
            listing.sockets.iter().map(|(_, inode)| (*inode, Vec::new())).collect();
        let (mut descriptors, mut is_cut) = (0, listing.is_cut);
        for &tgid in &pids {
            if descriptors >= DESCRIPTORS_MAX {
                is_cut = true;
                break;
            }
            descriptors += procfs.sockets(tgid, |inode, path| {
                if let Some(places) = places.get_mut(&inode)
                    && let Some(place) = Place::at(path, tgid, inode)
                {
                    places.push(place);
                }
            });
        }
        self.cut += u64::from(is_cut);
        let mut chooser = Chooser::new(procfs);
        let mut by_key: FxHashMap<Key, Vec<Place>> = FxHashMap::default();
        for (key, inode) in listing.sockets {
            let held = places.get(&inode).into_iter().flatten();
            by_key.entry(key).or_default().extend(held);
        }
        let holders = by_key.into_iter().filter(|(_, places)| !places.is_empty());
        let holders = holders.map(|(key, mut places)| {
            places.sort_unstable_by_key(|place| (place.tgid, place.descriptor));
            let tgids = || Holder::Several(places.iter().map(|place| place.tgid).collect());
            (key, chooser.choose(&places).map_or_else(tgids, Holder::One))
        });
        Search { holders: holders.collect(), namespaces: listing.namespaces, at_ns }
    }
}

impl Search {
    fn find(&self, sample: &EgressSample) -> Option<Found> {
        let found = |(rank, ends)| {
            let holder = self.find_ends(sample.netns_inode, ends)?;
            Some(Found { holder, rank, at_ns: self.at_ns })
        };
        ends(sample).into_iter().enumerate().find_map(found)
    }

    /// `netns`: 0 if it is not known. Then it must be one process in all of them.
    fn find_ends(&self, netns: u32, ends: Ends) -> Option<Holder> {
        let inside = |netns| self.holders.get(&Key { netns, ends });
        if netns != 0 {
            return inside(netns).cloned();
        }
        let all: Vec<&Holder> = self.namespaces.iter().filter_map(|netns| inside(*netns)).collect();
        let first = *all.first()?;
        let tgids = all.iter().flat_map(|holder| holder.tgids());
        let is_one = all.len() == 1
            || matches!(first, Holder::One(place) if tgids.clone().all(|it| *it == place.tgid));
        Some(if is_one { first.clone() } else { Holder::Several(tgids.copied().collect()) })
    }
}

impl Holder {
    fn tgids(&self) -> &[u32] {
        match self {
            Self::One(place) => std::slice::from_ref(&place.tgid),
            Self::Several(tgids) => tgids,
        }
    }
}

/// Whether what the latest search found is the socket that the initial one did. Another that looks alike
/// takes its place when it is closed: its listener, or one that is bound to the same port.
fn is_of_one(latest: &Found, initial: Option<&Found>, sample: &EgressSample) -> bool {
    let Some(initial) = initial else { return true };
    match (&initial.holder, &latest.holder) {
        _ if initial.is_listener(sample) => true,
        (Holder::One(initial), Holder::One(latest)) => initial.inode == latest.inode,
        _ => latest.rank <= initial.rank,
    }
}

//! The tc programs at the interfaces: attached, detached, and their counts compared with the
//! kernel's. Holds the loaded object. Decides nothing of roles.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, mem,
    time::{Duration, Instant},
};

use aya::{
    Ebpf,
    maps::{HashMap, MapData, MapError},
    programs::{
        Program, ProgramError, SchedClassifier, TcAttachType,
        tc::{self, SchedClassifierLinkId, TcError},
    },
    util::KernelVersion,
};
use monitor_ebpf::{
    names::{map, program},
    sample::Interface,
};
use zerocopy::{FromBytes, IntoBytes};

use super::{
    Bypassed,
    roles::{self, Link, Role, Wanted},
};
use crate::probe::attach::is_loaded;

/// What is different by then was so before the watch began.
const BASELINE: Duration = Duration::from_secs(5);
/// What a card may add to each packet that the kernel does not hand it: padding to the shortest
/// frame (a bare TCP acknowledgement lacks 6 bytes), preamble-less framing and checksum.
const CARD_ADDS_BYTES: u64 = 24;

/// Which interfaces an update is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    Up,
    All,
}

pub(super) struct Attached {
    ebpf: Ebpf,
    listed: Option<Vec<String>>,
    is_partial: bool,
    interfaces: BTreeMap<u32, Watched>,
    /// Of interfaces that are gone.
    gone_bytes: u64,
}

impl fmt::Debug for Attached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attached")
            .field("interfaces", &self.interfaces.keys())
            .finish_non_exhaustive()
    }
}

struct Watched {
    wanted: Wanted,
    links: Vec<(&'static str, SchedClassifierLinkId)>,
    /// Not all of its programs are attached: tried again at each update.
    is_refused: bool,
    since: Instant,
    /// Ours before the kernel's was asked for.
    marked: Option<Interface>,
    before: Option<Baseline>,
    first_packets: Option<u64>,
    unattributed_bytes: u64,
    bypassed: Bypassed,
}

/// Sent by the kernel's count less sent by ours, when the watch began: of the quietest moment, as
/// the two are not read at once.
#[derive(Clone, Copy)]
struct Baseline {
    /// What passed while the kernel was asked.
    gap: u64,
    /// Bytes and packets, where the kernel cuts GSO packets before it counts, and where not.
    cut: (i128, i128),
    whole: (i128, i128),
}

impl Baseline {
    fn improve(&mut self, new: Self) {
        let max = |a: (i128, i128), b: (i128, i128)| (a.0.max(b.0), a.1.max(b.1));
        if new.gap < self.gap {
            *self = new;
        } else if new.gap == self.gap {
            (self.cut, self.whole) = (max(self.cut, new.cut), max(self.whole, new.whole));
        }
    }
}

impl Attached {
    pub(super) fn new(ebpf: Ebpf, listed: Option<Vec<String>>, is_partial: bool) -> Self {
        Self { ebpf, listed, is_partial, interfaces: BTreeMap::new(), gone_bytes: 0 }
    }

    /// To be called before the kernel is asked for its counts.
    pub(super) fn mark(&mut self) {
        let indices: Vec<u32> = self.interfaces.keys().copied().collect();
        for index in indices {
            if let Some(counted) = self.counted(index)
                && let Some(watched) = self.interfaces.get_mut(&index)
            {
                watched.marked = Some(counted);
            }
        }
    }

    /// Makes the attached programs fit what is there.
    pub(super) fn update(&mut self, links: &[Link], routed: &BTreeSet<u32>, extent: Extent) {
        let mut wanted = roles::wanted(links, routed, self.listed.as_deref());
        if extent == Extent::Up {
            let is_up = |index| links.iter().any(|link| link.index == index && link.is_up);
            wanted.retain(|index, _| is_up(*index));
        }
        let stale: Vec<u32> = self
            .interfaces
            .iter()
            .filter(|(index, watched)| {
                let now = wanted.get(index);
                // A new name alone changes nothing.
                now.is_none_or(|now| {
                    Wanted { name: now.name.clone(), ..watched.wanted.clone() } != *now
                })
            })
            .map(|(index, _)| *index)
            .collect();
        for index in stale {
            self.leave(index);
        }
        for (index, wanted) in wanted {
            match self.interfaces.get_mut(&index) {
                None => self.enter(index, wanted),
                Some(watched) if watched.is_refused => {
                    // By the name that it has now.
                    watched.wanted = wanted;
                    self.complete(index);
                }
                Some(_) => {}
            }
        }
        for link in links {
            self.compare(link);
        }
    }

    /// What left by each uplink that is there around its program.
    pub(super) fn bypassed(&self) -> Vec<Bypassed> {
        let uplinks = self.interfaces.values().filter(|it| it.wanted.role == Role::Uplink);
        uplinks.map(|watched| watched.bypassed).collect()
    }

    /// Bytes of sockets that left by an uplink and are in no flow.
    pub(super) fn unattributed_bytes(&self) -> u64 {
        let now = self.interfaces.values().map(|watched| watched.unattributed_bytes);
        self.gone_bytes + now.sum::<u64>()
    }

    fn enter(&mut self, index: u32, wanted: Wanted) {
        let watched = Watched {
            wanted,
            links: Vec::new(),
            is_refused: false,
            since: Instant::now(),
            marked: None,
            before: None,
            first_packets: None,
            unattributed_bytes: 0,
            bypassed: Bypassed { ifindex: index, ..Bypassed::default() },
        };
        self.interfaces.insert(index, watched);
        self.complete(index);
    }

    /// Attaches what is not attached yet.
    fn complete(&mut self, index: u32) {
        let Some(watched) = self.interfaces.get_mut(&index) else { return };
        let (wanted, mut links) = (watched.wanted.clone(), mem::take(&mut watched.links));
        let outcome = self.attach_missing(index, &wanted, &mut links);
        let Some(watched) = self.interfaces.get_mut(&index) else { return };
        watched.links = links;
        let was_refused = mem::replace(&mut watched.is_refused, outcome.is_err());
        match outcome {
            Ok(()) => {
                // Its counts are worth something from here on.
                (watched.since, watched.marked) = (Instant::now(), None);
                tracing::debug!(interface = wanted.name, role = ?wanted.role, "watched");
            }
            // Gone again, as a rule; what is left says so.
            Err(problem) if !was_refused => {
                tracing::warn!("interface {} is not watched: {problem}", wanted.name);
            }
            Err(_) => {}
        }
    }

    fn attach_missing(
        &mut self,
        index: u32,
        wanted: &Wanted,
        links: &mut Vec<(&'static str, SchedClassifierLinkId)>,
    ) -> Result<(), String> {
        let value = Interface {
            header_bytes: wanted.header_bytes,
            is_tunnel: u32::from(wanted.role == Role::Tunnel),
            ..Interface::default()
        };
        self.put(index, &value).map_err(|error| error.to_string())?;
        for (name, direction) in hooks(wanted, self.uplink()) {
            if links.iter().all(|(attached, _)| *attached != name) {
                let link = self.attach(name, &wanted.name, direction);
                links.push((name, link.map_err(|error| format!("{name}: {error}"))?));
            }
        }
        Ok(())
    }

    fn leave(&mut self, index: u32) {
        let Some(watched) = self.interfaces.remove(&index) else { return };
        tracing::debug!(interface = watched.wanted.name, "no longer watched");
        self.gone_bytes += watched.unattributed_bytes;
        for (name, link) in watched.links {
            if let Some(program) = classifier(&mut self.ebpf, name) {
                // With the interface its links are gone.
                let _ = program.detach(link);
            }
        }
        if let Ok(mut table) = self.table() {
            let _ = table.remove(&index);
        }
    }

    fn attach(
        &mut self,
        name: &'static str,
        interface: &str,
        direction: TcAttachType,
    ) -> Result<SchedClassifierLinkId, ProgramError> {
        // Before Linux 6.6 a program stays where it is when its daemon is killed.
        if !KernelVersion::current().is_ok_and(|it| it >= KernelVersion::new(6, 6, 0)) {
            match tc::qdisc_add_clsact(interface) {
                Ok(()) | Err(TcError::AlreadyAttached) => {}
                Err(error) => return Err(error.into()),
            }
            let _ = tc::qdisc_detach_program(interface, direction, name);
        }
        let program =
            classifier(&mut self.ebpf, name).ok_or(ProgramError::UnexpectedProgramType)?;
        program.attach(interface, direction)
    }

    /// The variant of the uplink's program that this kernel took.
    fn uplink(&self) -> &'static str {
        if is_loaded(&self.ebpf, program::UPLINK_EGRESS_NAMED) {
            program::UPLINK_EGRESS_NAMED
        } else {
            program::UPLINK_EGRESS
        }
    }

    /// What the kernel says was sent, beside what the probe saw. A lower bound: what a queue drops
    /// after the probe hides as much.
    fn compare(&mut self, link: &Link) {
        let Some(watched) = self.interfaces.get(&link.index) else { return };
        // Without its program nothing is counted here, and all that leaves would have gone around it.
        let attached = watched.links.iter().map(|(name, _)| *name);
        if !is_counted(watched.wanted.role, attached, self.uplink()) {
            return;
        }
        // Read after the kernel's count: it can only be ahead.
        let Some(counted) = self.counted(link.index) else { return };
        let is_partial = self.is_partial;
        let Some(watched) = self.interfaces.get_mut(&link.index) else { return };
        let first = *watched.first_packets.get_or_insert(link.sent_packets);
        let sent_packets = link.sent_packets.saturating_sub(first);
        let is_cut = is_segmenting(&counted, sent_packets);
        let is_software = watched.wanted.is_software;
        let excess = |counted: &Interface, is_cut: bool| {
            let (bytes, packets) = if is_software && !is_cut {
                (counted.link_bytes, counted.frames)
            } else {
                (counted.wire_bytes, counted.packets)
            };
            let packets = i128::from(link.sent_packets) - i128::from(packets);
            (i128::from(link.sent_bytes) - i128::from(bytes), packets)
        };
        watched.unattributed_bytes = if is_partial { 0 } else { counted.unaccounted_bytes };
        // The first counts of the kernel are from before the program was there.
        let Some(marked) = watched.marked else { return };
        let gap = counted.wire_bytes.saturating_sub(marked.wire_bytes);
        // Counted before the kernel was asked: more than this had not left around the program.
        let new = Baseline { gap, cut: excess(&marked, true), whole: excess(&marked, false) };
        let before = watched.before.get_or_insert(new);
        if watched.since.elapsed() < BASELINE {
            before.improve(new);
            return;
        }
        let before = if is_cut { before.cut } else { before.whole };
        let (bytes, packets) = excess(&counted, is_cut);
        let tolerated = if is_software { 0 } else { counted.packets * CARD_ADDS_BYTES };
        let natural = |number: i128| u64::try_from(number).unwrap_or(0);
        let bytes = natural(bytes - before.0 - i128::from(tolerated));
        // Where packets are counted otherwise than bytes: as few as there can be.
        let packets = natural(packets - before.1).clamp(bytes.min(1), bytes);
        let headers = packets.saturating_mul(watched.wanted.header_bytes.into());
        let bypassed = &mut watched.bypassed;
        bypassed.bytes = bypassed.bytes.max(bytes.saturating_sub(headers));
        bypassed.packets = bypassed.packets.max(packets);
    }

    fn counted(&mut self, index: u32) -> Option<Interface> {
        let bytes = self.table().ok()?.get(&index, 0).ok()?;
        Interface::read_from_bytes(&bytes).ok()
    }

    fn put(&mut self, index: u32, value: &Interface) -> Result<(), MapError> {
        let mut bytes = [0; size_of::<Interface>()];
        bytes.copy_from_slice(value.as_bytes());
        self.table()?.insert(index, bytes, 0)
    }

    fn table(
        &mut self,
    ) -> Result<HashMap<&mut MapData, u32, [u8; size_of::<Interface>()]>, MapError> {
        let missing = MapError::InvalidName { name: map::INTERFACES.into() };
        HashMap::try_from(self.ebpf.map_mut(map::INTERFACES).ok_or(missing)?)
    }
}

/// Whether a device without hardware has GSO packets cut before it counts them, as it does with its
/// own GSO switched off: then it sends nearer to as many packets as there are segments.
fn is_segmenting(counted: &Interface, sent_packets: u64) -> bool {
    let further = counted.packets.saturating_sub(counted.frames);
    further > 0 && sent_packets.saturating_sub(counted.frames) * 2 >= further
}

/// Whether what leaves by an interface is counted by a program of ours.
fn is_counted(
    role: Role,
    mut attached: impl Iterator<Item = &'static str>,
    uplink: &'static str,
) -> bool {
    role == Role::Uplink && attached.any(|name| name == uplink)
}

fn hooks(wanted: &Wanted, uplink: &'static str) -> Vec<(&'static str, TcAttachType)> {
    let mut hooks = Vec::new();
    if wanted.is_entrance {
        hooks.push((program::DEVICE_INGRESS, TcAttachType::Ingress));
    }
    hooks.push(match wanted.role {
        Role::Uplink | Role::Tunnel => (uplink, TcAttachType::Egress),
        Role::Device => (program::DEVICE_EGRESS, TcAttachType::Egress),
    });
    hooks
}

fn classifier<'e>(ebpf: &'e mut Ebpf, name: &str) -> Option<&'e mut SchedClassifier> {
    match ebpf.program_mut(name) {
        Some(Program::SchedClassifier(program)) => Some(program),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_uplink_that_holds_its_program_is_compared() {
        let uplink = program::UPLINK_EGRESS;
        let of =
            |role, attached: &[&'static str]| is_counted(role, attached.iter().copied(), uplink);
        assert!(of(Role::Uplink, &[program::DEVICE_INGRESS, uplink]));
        assert!(!of(Role::Uplink, &[program::DEVICE_INGRESS]));
        assert!(!of(Role::Uplink, &[]));
        assert!(!of(Role::Tunnel, &[uplink]));
    }
}

//! The tc programs at the interfaces: attached, detached, and their counts compared with the
//! kernel's. Holds the loaded object. Decides nothing of roles.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io, mem,
    os::fd::AsFd as _,
};

use aya::{
    Ebpf,
    maps::{HashMap, MapData, MapError},
    programs::{
        Program, SchedClassifier, TcAttachType,
        tc::{self, SchedClassifierLinkId, TcError},
    },
    sys::NetlinkError,
    util::KernelVersion,
};
use monitor_ebpf::{
    names::{map, program},
    sample::Interface,
};
use rustc_hash::FxHashMap;
use zerocopy::{FromBytes, IntoBytes};

use super::{
    Bypassed,
    compare::Comparison,
    held::{Held, Looked},
    roles::{self, Link, Wanted},
};
use crate::{
    clock,
    probe::{
        ProbeChange, ProbeEvent,
        attach::is_loaded,
        link::{self, At},
    },
};

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
    /// Names of the configuration by which nothing goes.
    unknown: Vec<String>,
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
    programs: Vec<AtInterface>,
    /// Not all of its programs are attached: tried again at each update.
    is_refused: bool,
    /// When its programs were there, the last time that one was attached.
    whole_at: u64,
    comparison: Comparison,
    unattributed_bytes: u64,
}

struct AtInterface {
    program: &'static str,
    at: At,
    hold: Hold,
}

enum Hold {
    /// From Linux 6.6 on.
    Tcx(Held),
    /// A filter, which stays where it is when its daemon is killed.
    Filter(SchedClassifierLinkId),
}

impl Attached {
    pub(super) fn new(ebpf: Ebpf, listed: Option<Vec<String>>, is_partial: bool) -> Self {
        Self {
            ebpf,
            listed,
            is_partial,
            interfaces: BTreeMap::new(),
            gone_bytes: 0,
            unknown: Vec::new(),
        }
    }

    /// By index: since when whatever leaves by it has been seen, without a hole.
    pub(super) fn seen_since(&self) -> FxHashMap<u32, u64> {
        let uplink = self.uplink();
        let is_seen = |watched: &Watched| {
            !watched.is_refused && watched.programs.iter().any(|it| it.program == uplink)
        };
        let seen = self.interfaces.iter().filter(|(_, watched)| is_seen(watched));
        seen.map(|(index, watched)| (*index, watched.whole_at)).collect()
    }

    /// The object, for whoever looks after its other programs.
    pub(super) fn ebpf(&self) -> &Ebpf {
        &self.ebpf
    }

    /// To be called before the kernel is asked for its counts.
    pub(super) fn mark(&mut self) {
        let indices: Vec<u32> = self.interfaces.keys().copied().collect();
        for index in indices {
            if let Some(counted) = self.counted(index)
                && let Some(watched) = self.interfaces.get_mut(&index)
            {
                watched.comparison.mark(counted);
            }
        }
    }

    /// Makes the attached programs fit what is there.
    pub(super) fn update(
        &mut self,
        links: &[Link],
        routed: &BTreeSet<u32>,
        extent: Extent,
        changes: &mut Vec<ProbeChange>,
    ) {
        self.warn_of_unknown(links);
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
                    let named_anew = Wanted {
                        name: now.name.clone(),
                        is_named_in_text: now.is_named_in_text,
                        ..watched.wanted.clone()
                    };
                    named_anew != *now
                })
            })
            .map(|(index, _)| *index)
            .collect();
        for index in stale {
            self.leave(index, wanted.get(&index), changes);
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
    }

    /// Whether something could not be attached, and is to be tried again.
    pub(super) fn is_refused(&self) -> bool {
        self.interfaces.values().any(|watched| watched.is_refused)
    }

    /// What links sent by the kernel's count, beside what was seen.
    pub(super) fn compare(&mut self, links: &[Link]) {
        for link in links {
            self.compare_one(link);
        }
    }

    /// Names in the configuration that stand for nothing, as long as they do.
    pub(super) fn unknown(&self) -> &[String] {
        &self.unknown
    }

    fn warn_of_unknown(&mut self, links: &[Link]) {
        let unknown = roles::unknown(links, self.listed.as_deref().unwrap_or_default());
        for name in &unknown {
            if !self.unknown.iter().any(|it| it == name) {
                tracing::warn!(
                    "capture.interfaces: no interface is called {name:?}; what comes from outside is told by the others that are listed"
                );
            }
        }
        self.unknown = unknown.into_iter().map(str::to_owned).collect();
    }

    /// What left by each interface that is there around its program.
    pub(super) fn bypassed(&self) -> Vec<Bypassed> {
        let compared = self.interfaces.values().filter(|it| it.wanted.is_compared);
        compared.map(|watched| watched.comparison.bypassed).collect()
    }

    /// Bytes of sockets that left by an interface and are in no flow.
    pub(super) fn unattributed_bytes(&self) -> u64 {
        let now = self.interfaces.values().map(|watched| watched.unattributed_bytes);
        self.gone_bytes + now.sum::<u64>()
    }

    fn enter(&mut self, index: u32, wanted: Wanted) {
        let watched = Watched {
            wanted,
            programs: Vec::new(),
            is_refused: false,
            whole_at: clock::boot_ns(),
            comparison: Comparison::new(index),
            unattributed_bytes: 0,
        };
        self.interfaces.insert(index, watched);
        self.complete(index);
    }

    /// Attaches what is not attached yet.
    fn complete(&mut self, index: u32) {
        let Some(watched) = self.interfaces.get_mut(&index) else { return };
        let (wanted, mut programs) = (watched.wanted.clone(), mem::take(&mut watched.programs));
        let outcome = self.attach_missing(index, &wanted, &mut programs);
        let Some(watched) = self.interfaces.get_mut(&index) else { return };
        watched.programs = programs;
        let was_refused = mem::replace(&mut watched.is_refused, outcome.is_err());
        match outcome {
            Ok(()) => {
                watched.whole_at = clock::boot_ns();
                // Its counts are worth something from here on.
                watched.comparison.begin_anew();
                tracing::debug!(interface = wanted.name, role = ?wanted, "watched");
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
        programs: &mut Vec<AtInterface>,
    ) -> Result<(), String> {
        let value = Interface {
            header_bytes: wanted.header_bytes,
            flags: wanted.flags(),
            ..Interface::default()
        };
        self.put(index, &value).map_err(|error| error.to_string())?;
        for (program, at) in hooks(wanted, self.uplink()) {
            if programs.iter().all(|attached| attached.program != program) {
                let hold = self.attach(program, index, wanted, at);
                let hold = hold.map_err(|error| format!("{program}: {error}"))?;
                programs.push(AtInterface { program, at, hold });
            }
        }
        Ok(())
    }

    /// `again`: it is there, but to be watched otherwise.
    fn leave(&mut self, index: u32, again: Option<&Wanted>, changes: &mut Vec<ProbeChange>) {
        let Some(watched) = self.interfaces.remove(&index) else { return };
        tracing::debug!(interface = watched.wanted.name, "no longer watched");
        if again.is_none() {
            self.gone_bytes += watched.unattributed_bytes;
        }
        for AtInterface { program, hold, .. } in watched.programs {
            match hold {
                Hold::Tcx(held) => {
                    if held.is_broken() {
                        let event = ProbeEvent::Gone;
                        changes.push(ProbeChange::at_interface(program, index, event));
                    }
                }
                Hold::Filter(id) => {
                    if let Some(program) = classifier(&mut self.ebpf, program) {
                        // With the interface its filters are gone.
                        let _ = program.detach(id);
                    }
                }
            }
        }
        if let Ok(mut table) = self.table() {
            let _ = table.remove(&index);
        }
    }

    fn attach(
        &mut self,
        name: &'static str,
        index: u32,
        wanted: &Wanted,
        at: At,
    ) -> io::Result<Hold> {
        let program = classifier(&mut self.ebpf, name).ok_or(io::ErrorKind::NotFound)?;
        if has_links() {
            let program = program.fd().map_err(io::Error::other)?.as_fd();
            return Ok(Hold::Tcx(Held::new(link::Link::at_interface(program, index, at)?)));
        }
        if !wanted.is_named_in_text {
            return Err(io::Error::other("before Linux 6.6 its name must be text"));
        }
        match tc::qdisc_add_clsact(&wanted.name) {
            Ok(()) | Err(TcError::AlreadyAttached) => {}
            // By another program, or by the other hook of this interface.
            Err(TcError::NetlinkError(error)) if is_there_already(&error) => {}
            Err(error) => return Err(io::Error::other(error)),
        }
        let direction =
            if at == At::TcxIngress { TcAttachType::Ingress } else { TcAttachType::Egress };
        let _ = tc::qdisc_detach_program(&wanted.name, direction, name);
        let attached = program.attach(&wanted.name, direction);
        attached.map(Hold::Filter).map_err(io::Error::other)
    }

    /// Whether what was attached still is, and first; attaches it again where not. What befell is
    /// added to `changes`.
    pub(super) fn look_after(&mut self, changes: &mut Vec<ProbeChange>) {
        for (index, watched) in &mut self.interfaces {
            let mut is_anew = false;
            for AtInterface { program, at, hold } in &mut watched.programs {
                let Hold::Tcx(held) = hold else { continue };
                let Some(Program::SchedClassifier(loaded)) = self.ebpf.program(program) else {
                    continue;
                };
                let Ok(fd) = loaded.fd() else { continue };
                let attach = || link::Link::at_interface(fd.as_fd(), *index, *at);
                let is_first = |id| {
                    // Where it can't be asked, nothing is known against it.
                    link::programs_at(*index, *at).map_or(true, |all| all.first() == Some(&id))
                };
                let event = match held.look(is_first, attach) {
                    Looked::Unchanged => continue,
                    Looked::Event(event) => event,
                };
                is_anew |= event != ProbeEvent::Attached;
                changes.push(ProbeChange::at_interface(program, *index, event));
            }
            if is_anew {
                watched.whole_at = clock::boot_ns();
                watched.comparison.begin_anew();
            }
        }
    }

    /// The variant of the uplink's program that this kernel took.
    fn uplink(&self) -> &'static str {
        if is_loaded(&self.ebpf, program::UPLINK_EGRESS_NAMED) {
            program::UPLINK_EGRESS_NAMED
        } else {
            program::UPLINK_EGRESS
        }
    }

    fn compare_one(&mut self, link: &Link) {
        let Some(watched) = self.interfaces.get(&link.index) else { return };
        // Without its program nothing is counted here, and all that leaves would have gone around it.
        let uplink = self.uplink();
        if !watched.programs.iter().any(|it| it.program == uplink) {
            return;
        }
        // Read after the kernel's count: it can only be ahead.
        let Some(counted) = self.counted(link.index) else { return };
        let is_partial = self.is_partial;
        let Some(watched) = self.interfaces.get_mut(&link.index) else { return };
        watched.unattributed_bytes = if is_partial { 0 } else { counted.unaccounted_bytes };
        if watched.wanted.is_compared {
            watched.comparison.compare(link, &watched.wanted, &counted);
        }
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

fn hooks(wanted: &Wanted, uplink: &'static str) -> Vec<(&'static str, At)> {
    let mut hooks = Vec::new();
    if wanted.is_entrance {
        hooks.push((program::DEVICE_INGRESS, At::TcxIngress));
    }
    // What leaves by a cable within this namespace is seen again at its other end.
    if !wanted.is_internal {
        hooks.push((uplink, At::TcxEgress));
    }
    hooks
}

/// Set, interfaces are watched as before tcx: for tests of what older kernels do.
const WITHOUT_TCX: &str = "GEOFENCED_WITHOUT_TCX";

/// Whether programs are links at interfaces (tcx).
fn has_links() -> bool {
    std::env::var_os(WITHOUT_TCX).is_none()
        && KernelVersion::current().is_ok_and(|it| it >= KernelVersion::new(6, 6, 0))
}

fn is_there_already(error: &NetlinkError) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::EXIST.raw_os_error())
}

fn classifier<'e>(ebpf: &'e mut Ebpf, name: &str) -> Option<&'e mut SchedClassifier> {
    match ebpf.program_mut(name) {
        Some(Program::SchedClassifier(program)) => Some(program),
        _ => None,
    }
}

//! The kernel as a [`Source`]: ring buffer, flow table and loss counters of the attached probes.

use std::{
    env, fmt,
    hash::{BuildHasher as _, RandomState},
    path::Path,
    time::Duration,
};

use aya::{
    Ebpf, VerifierLogLevel,
    maps::{HashMap, Map, MapData, RingBuf},
};
use aya_log::EbpfLogger;
use monitor_ebpf::{
    ABI_VERSION, layout,
    loss::Loss,
    names::{map, program, setting},
    sample::{FlowCounters, FlowKey, LinkSender, ProcessStart, Unitemised, UnitemisedKey},
    settings::{self, naming},
};
use zerocopy::FromBytes;

use super::{
    Attachment, Bypassed, ProbeChange, ProbeError, Progress, Source, Waker,
    attach::{self, Guarded, attach_all},
    btf::Layout,
    cgroup,
    coarse::{self, Suspended},
    counters::Counters,
    interfaces::{Attaching, Follower, InterfaceNames, SeenSince},
    load::{lacks_helper, loader},
    places::Places,
    reader::Samples,
    shares::Shares,
    table::FlowTable,
    waiting::waiting_max,
};
use crate::{
    clock,
    config::{Capture, NamesConfig},
};

pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("GEOFENCED_PROBES_OBJECT"));

/// 0.9 MB rather than 14.
const TRANSITS_LEAST: u32 = 4096;
/// Set, it is the size of the ring in bytes, less than the configuration may ask for. For tests of rings that
/// are full at once.
const RING: &str = "GEOFENCED_RING_BYTES";

/// The attached probes. Dropping it detaches them.
pub struct Kernel {
    samples: Samples,
    flows: FlowTable,
    losses: Counters,
    /// By tgid; `None` where the kernel can't tell which of the sends a hook saw.
    link_senders: Option<HashMap<MapData, u32, [u8; size_of::<LinkSender>()]>>,
    log: Option<EbpfLogger<&'static dyn log::Log>>,
    attachments: Vec<Attachment>,
    flows_capacity: u32,
    places: Option<Places>,
    starts: Option<Starts>,
    cgroup_sets: Option<CgroupSets>,
    shares: Shares,
    suspended: Suspended,
    follower: Follower,
    reads: u8,
}

/// When processes were forked and executed, as the probes have it now.
#[derive(Debug)]
pub struct Starts(HashMap<MapData, u32, [u8; size_of::<ProcessStart>()]>);

impl Starts {
    /// When a process last executed a program; 0 if it has not since its fork or the probes, or that
    /// is not known any more.
    pub fn executed_ns(&self, tgid: u32) -> u64 {
        let bytes = self.0.get(&tgid, 0).ok();
        let start = bytes.and_then(|bytes| ProcessStart::read_from_bytes(&bytes).ok());
        start.map_or(0, |start| start.executed_ns)
    }
}

/// Sets of cgroups of which the paths are known: for a process in one of them `/proc` needs not be asked
/// before it ends.
#[derive(Debug)]
pub struct CgroupSets(HashMap<MapData, u64, u8>);

impl CgroupSets {
    /// It fails only for want of memory, and then the probes go on asking.
    pub fn know(&mut self, set: u64) {
        let _ = self.0.insert(set, 1, 0);
    }
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kernel").field("attachments", &self.attachments).finish_non_exhaustive()
    }
}

impl Kernel {
    /// Loads the probes and attaches them.
    pub fn attach(capture: &Capture, names: &NamesConfig) -> Result<Self, ProbeError> {
        let (kernel, attaching) = Self::begin(capture, names)?;
        attaching.wait();
        Ok(kernel)
    }

    /// The same, but a thread goes on attaching to the interfaces.
    pub fn begin(capture: &Capture, names: &NamesConfig) -> Result<(Self, Attaching), ProbeError> {
        let wanted = match (names.enabled, names.queries) {
            (false, _) => 0,
            (true, false) => naming::ANSWERS,
            (true, true) => naming::ANSWERS | naming::QUERIES,
        };
        let cgroup = cgroup::find(capture.cgroup.as_deref())?;
        let Loaded { mut ebpf, log, attachments, guarded, reads } =
            load_best(capture, wanted, &cgroup, &Layout::of_kernel())?;
        let take = |ebpf: &mut Ebpf, name: &'static str| {
            let missing = || ProbeError::Map { name, problem: "not in the object".into() };
            ebpf.take_map(name).ok_or_else(missing)
        };
        let unusable = |name: &'static str| {
            move |error: aya::maps::MapError| ProbeError::Map { name, problem: error.to_string() }
        };
        let Map::HashMap(flows) = take(&mut ebpf, map::FLOWS)? else {
            return Err(ProbeError::Map { name: map::FLOWS, problem: "is no hash".into() });
        };
        let sees_link_senders =
            |it: &Attachment| it.probe.name == program::LINK_SEND && it.outcome.is_ok();
        // The other variant can't count what it sees of each: all would seem to go around it.
        let is_seen = attach::is_loaded(&ebpf, program::UPLINK_EGRESS_NAMED);
        let link_senders = if is_seen && attachments.iter().any(sees_link_senders) {
            let table = HashMap::try_from(take(&mut ebpf, map::LINK_SENDERS)?);
            Some(table.map_err(unusable(map::LINK_SENDERS))?)
        } else {
            None
        };
        let ring = RingBuf::try_from(take(&mut ebpf, map::SAMPLES)?);
        let losses = Counters::take(&mut ebpf)?;
        let starts = take(&mut ebpf, map::STARTS)
            .and_then(|map| HashMap::try_from(map).map(Starts).map_err(unusable(map::STARTS)))?;
        let cgroup_sets = take(&mut ebpf, map::CGROUPS).and_then(|map| {
            HashMap::try_from(map).map(CgroupSets).map_err(unusable(map::CGROUPS))
        })?;
        let shares = Shares::take(&mut ebpf)?;
        let places = Places::take(&mut ebpf)
            .inspect_err(|error| {
                tracing::warn!("the probes don't judge, the daemon does: {error}");
            })
            .ok();
        let Map::Array(awake) = take(&mut ebpf, map::AWAKE)? else {
            return Err(ProbeError::Map { name: map::AWAKE, problem: "is no array".into() });
        };
        let suspended = Suspended::take(&mut ebpf)?;
        let (ring, most) = (ring.map_err(unusable(map::SAMPLES))?, waiting_max(capture.max_flows));
        let samples = Samples::start(ring, &awake, most).map_err(ProbeError::Wait)?;
        let (follower, attaching) = follow(ebpf, guarded, capture)?;
        let kernel = Self {
            samples,
            losses,
            link_senders,
            flows: FlowTable::new(flows),
            log,
            attachments,
            flows_capacity: capture.max_flows,
            places,
            starts: Some(starts),
            cgroup_sets: Some(cgroup_sets),
            shares,
            suspended,
            follower,
            reads,
        };
        Ok((kernel, attaching))
    }

    pub fn attachments(&self) -> &[Attachment] {
        &self.attachments
    }

    /// Whether the probes tell which file a process executed; else `/proc` does, while it lives.
    pub fn tells_executables(&self) -> bool {
        self.reads & layout::reads::EXECUTABLE != 0
    }

    /// Whether it is told who sends on a TCP connection that another made.
    pub fn sees_senders(&self) -> bool {
        let is_link_send = |it: &&Attachment| it.probe.name == program::LINK_SEND;
        self.reads & layout::reads::COOKIE != 0
            && self.attachments.iter().find(is_link_send).is_some_and(|it| it.outcome.is_ok())
    }

    /// Whether it is told who sends around every hook, and not only who could.
    pub fn sees_link_senders(&self) -> bool {
        self.link_senders.is_some()
    }

    /// Flows the kernel can count at once.
    pub fn flows_capacity(&self) -> u32 {
        self.flows_capacity
    }

    /// Where the class tables go. Once: another thread writes them.
    pub fn take_places(&mut self) -> Option<Places> {
        self.places.take()
    }

    /// When processes last executed something. Once: another thread asks it.
    pub fn take_starts(&mut self) -> Option<Starts> {
        self.starts.take()
    }

    /// Which sets of cgroups need not be asked for. Once: another thread says so.
    pub fn take_cgroup_sets(&mut self) -> Option<CgroupSets> {
        self.cgroup_sets.take()
    }
}

/// The object in the kernel, with what became of each probe.
struct Loaded {
    ebpf: Ebpf,
    log: Option<EbpfLogger<&'static dyn log::Log>>,
    attachments: Vec<Attachment>,
    guarded: Vec<Guarded>,
    /// Bits of `layout::reads`.
    reads: u8,
}

impl Loaded {
    /// What the verifier refused: where a tracepoint is missing, less to read does not help.
    fn refused(&self) -> impl Iterator<Item = &Attachment> {
        let is_refused = |problem: &String| problem.contains("BPF_PROG_LOAD");
        self.attachments.iter().filter(move |it| it.outcome.as_ref().is_err_and(is_refused))
    }

    fn failures(&self) -> usize {
        self.refused().count()
    }

    /// The first probe that was refused, and why.
    fn first_failure(&self) -> Option<(&'static str, String)> {
        let first = self.refused().next()?;
        Some((first.probe.name, first.outcome.as_ref().err()?.clone()))
    }

    /// Notes at a probe that it reads less than it could: what this kernel lacks is not noted.
    fn reads_less(mut self, refused: Option<(&'static str, String)>) -> Self {
        if let Some((name, why)) = refused.filter(|(_, why)| !lacks_helper(why))
            && let Some(it) = self.attachments.iter_mut().find(|it| it.probe.name == name)
            && let Ok(variant) = &mut it.outcome
        {
            variant.better_refused.get_or_insert(format!("{name} that reads more: {why}"));
        }
        self
    }
}

/// With what the kernel's BTF allows to read; with less of it, where more probes load then. Packet
/// programs may read the kernel's memory by helpers that came later than BTF did.
fn load_best(
    capture: &Capture,
    naming: u8,
    cgroup: &Path,
    layout: &Layout,
) -> Result<Loaded, ProbeError> {
    const TRACED: u8 =
        layout::reads::EXECUTABLE | layout::reads::COOKIE | layout::reads::CIRCUMSTANCES;
    let mut best = load(capture, naming, cgroup, layout);
    for reads in [TRACED, 0] {
        let is_whole = best.as_ref().is_ok_and(|it| it.failures() == 0);
        let is_final = is_whole || matches!(best, Err(ProbeError::NotPermitted));
        if is_final || layout.reads == 0 {
            break;
        }
        if layout.reads & !reads == 0 {
            continue;
        }
        let refused = match &best {
            Ok(loaded) => loaded.first_failure(),
            Err(ProbeError::Program { name, problem }) => Some((*name, problem.clone())),
            Err(_) => None,
        };
        tracing::debug!("this kernel refuses to read all that its BTF describes: {refused:?}");
        let before = best.as_ref().map_or(usize::MAX, Loaded::failures);
        match load(capture, naming, cgroup, &layout.only(reads)) {
            Ok(less) if less.failures() < before => best = Ok(less.reads_less(refused)),
            // What goes wrong with the least is what is wrong.
            Err(error) if best.is_err() => best = Err(error),
            _ => {}
        }
    }
    best
}

fn ring_bytes(capture: &Capture) -> u32 {
    let smaller = env::var(RING).ok().and_then(|bytes| bytes.parse().ok());
    smaller.unwrap_or(capture.ring_bytes)
}

fn load(
    capture: &Capture,
    naming: u8,
    cgroup: &Path,
    layout: &Layout,
) -> Result<Loaded, ProbeError> {
    let (mut loader, mark, coarse) = (loader(), secret(), u8::from(coarse::is_there()));
    loader
        // Why it refuses, not how it came to that.
        .verifier_log_level(VerifierLogLevel::STATS)
        .map_max_entries(map::SAMPLES, ring_bytes(capture))
        .map_max_entries(map::FLOWS, capture.max_flows)
        .map_max_entries(map::TRANSITS, transits(capture.max_flows))
        .map_max_entries(map::TUNNELS, transits(capture.max_flows))
        .override_global(setting::NAMING, &naming, true)
        .override_global(setting::MARK, &mark, true)
        .override_global(setting::CAPACITY, &capture.max_flows, true)
        .override_global(setting::COARSE, &coarse, true)
        .override_global(setting::READS, &layout.reads, true);
    for (name, offset) in &layout.offsets {
        loader.override_global(name, offset, true);
    }
    let mut ebpf = loader.load(OBJECT).map_err(permission_or(ProbeError::Load))?;
    check_abi(&ebpf)?;
    let log = EbpfLogger::init(&mut ebpf)
        .inspect_err(|error| tracing::debug!(%error, "the probes' own log is off"))
        .ok();
    let (attachments, guarded) = attach_all(&mut ebpf, cgroup)?;
    Ok(Loaded { ebpf, log, attachments, guarded, reads: layout.reads })
}

fn follow(
    ebpf: Ebpf,
    guarded: Vec<Guarded>,
    capture: &Capture,
) -> Result<(Follower, Attaching), ProbeError> {
    let follows =
        attach::has_interfaces(&ebpf) && !capture.interfaces.as_ref().is_some_and(Vec::is_empty);
    let (listed, is_partial) = (capture.interfaces.clone(), capture.cgroup.is_some());
    Follower::start(ebpf, guarded, listed, follows, is_partial).map_err(ProbeError::Wait)
}

/// Forwarded flows that are told apart: where few flows are counted, memory is short. Never more than by
/// default, and then enough for more than can be counted.
fn transits(max_flows: u32) -> u32 {
    max_flows.saturating_mul(4).clamp(TRANSITS_LEAST, settings::TRANSITS)
}

/// Random, and of this run alone.
fn secret() -> u32 {
    RandomState::new().hash_one(0) as u32
}

fn permission_or(
    otherwise: impl FnOnce(aya::EbpfError) -> ProbeError,
) -> impl FnOnce(aya::EbpfError) -> ProbeError {
    |error| {
        let mut source: Option<&dyn std::error::Error> = Some(&error);
        while let Some(inner) = source {
            if let Some(io) = inner.downcast_ref::<std::io::Error>()
                && io.kind() == std::io::ErrorKind::PermissionDenied
            {
                return ProbeError::NotPermitted;
            }
            source = inner.source();
        }
        otherwise(error)
    }
}

fn check_abi(ebpf: &Ebpf) -> Result<(), ProbeError> {
    let problem = |problem: String| ProbeError::Map { name: map::ABI, problem };
    let found = match ebpf.map(map::ABI) {
        Some(Map::Array(data)) => data.info().map_err(|e| problem(e.to_string()))?.max_entries(),
        _ => return Err(problem("not in the object".into())),
    };
    if found == ABI_VERSION {
        Ok(())
    } else {
        Err(ProbeError::AbiMismatch { found, expected: ABI_VERSION })
    }
}

impl Source for Kernel {
    fn wait(&mut self, timeout: Duration) -> Result<bool, ProbeError> {
        self.samples.wait(timeout).map_err(ProbeError::Wait)?;
        Ok(true)
    }

    fn waker(&self) -> Waker {
        self.samples.waker()
    }

    fn drain(&mut self, most: usize, each: &mut dyn FnMut(&[u8])) -> usize {
        let mut drained = 0;
        while drained < most
            && let Some(sample) = self.samples.next()
        {
            each(sample);
            drained += 1;
        }
        drained
    }

    fn collect(&mut self) {
        self.samples.collect();
    }

    fn collect_all(&mut self) {
        self.samples.collect_all();
    }

    fn progress(&mut self) -> Progress {
        self.samples.progress()
    }

    fn waiting(&self) -> usize {
        self.samples.depth()
    }

    fn interfaces(&mut self) -> Option<InterfaceNames> {
        self.follower.told.new_names()
    }

    fn unattributed_bytes(&self) -> u64 {
        self.follower.told.unattributed_bytes()
    }

    fn bypassed(&self) -> Vec<Bypassed> {
        self.follower.told.bypassed()
    }

    fn changes(&mut self) -> (Vec<ProbeChange>, u64) {
        self.follower.told.take_changes()
    }

    fn unknown_interfaces(&self) -> Vec<String> {
        self.follower.told.unknown()
    }

    fn link_senders(&self) -> Option<Vec<(u32, LinkSender)>> {
        // An entry that is pushed out while the table is read ends it: the rest comes next time.
        let entries = self.link_senders.as_ref()?.iter().map_while(Result::ok);
        let read = |(tgid, bytes): (u32, [u8; size_of::<LinkSender>()])| {
            Some((tgid, LinkSender::read_from_bytes(&bytes).ok()?))
        };
        Some(entries.filter_map(read).collect())
    }

    fn sweep(&mut self, each: &mut dyn FnMut(FlowKey, FlowCounters)) -> Result<(), ProbeError> {
        if let Some(log) = &mut self.log {
            log.flush();
        }
        self.suspended.tell();
        self.flows.read(&self.shares, each).map_err(|error| flows_error(&error))
    }

    fn counters(&mut self, flow: &FlowKey) -> Option<FlowCounters> {
        self.flows.counters(flow)
    }

    fn seen(&mut self) -> Option<SeenSince> {
        self.follower.told.new_seen()
    }

    fn forget(&mut self, flows: &[FlowKey]) -> Result<(), ProbeError> {
        self.flows.forget(&self.shares, flows).map_err(|error| flows_error(&error))
    }

    fn unitemised(&mut self) -> Vec<(UnitemisedKey, Unitemised)> {
        self.shares.sums()
    }

    fn forget_unitemised(&mut self, keys: &[UnitemisedKey]) {
        self.shares.forget_sums(keys);
    }

    fn losses(&self) -> Result<[u64; Loss::ALL.len()], ProbeError> {
        self.losses.losses()
    }

    fn housekeeping_frames(&self) -> Result<u64, ProbeError> {
        self.losses.housekeeping()
    }

    fn without_flow(&self) -> Result<(u64, u64), ProbeError> {
        self.losses.without_flow()
    }

    fn now_ns(&self) -> u64 {
        clock::boot_ns()
    }
}

fn flows_error(error: &std::io::Error) -> ProbeError {
    ProbeError::Map { name: map::FLOWS, problem: error.to_string() }
}

//! The kernel side as user space sees it: a source of samples and counters. The only user of aya.
//! Knows nothing of processes, countries or verdicts.

mod attach;
mod batch;
mod btf;
mod cgroup;
mod coarse;
mod counters;
mod interfaces;
mod kernel;
mod lacking;
mod link;
mod load;
mod namespace;
mod packed;
mod places;
mod positions;
mod reader;
mod replay;
mod shares;
mod table;
mod tracefs;
mod trial;
mod waiting;

pub use attach::{Attachment, PROBES, Probe, TIERS, tier, tier_of};
pub use cgroup::{find as find_cgroup, is_whole as is_whole_cgroup};
pub use interfaces::{Attaching, InterfaceNames, SeenSince, unknown_interfaces};
pub use kernel::Kernel;
pub use lacking::lacking;
pub use load::Variant;
use monitor_ebpf::{
    loss::Loss,
    sample::{FlowCounters, FlowKey, LinkSender, Unitemised, UnitemisedKey},
};
pub use namespace::namespace_cookie;
pub use places::Places;
pub use replay::{Recorder, Replay};
use std::{io, path::PathBuf, time::Duration};
pub use trial::{Classified, Trial};
pub use waiting::waiting_max;

/// What left by an interface around every hook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bypassed {
    pub ifindex: u32,
    /// IP bytes, as far as the interface's own count tells. A lower bound.
    pub bytes: u64,
    pub packets: u64,
}

/// A place in the stream of samples. Wraps where addresses have 32 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark(pub usize);

impl Mark {
    /// Whether it is not before the other. The two lie less than half of all values apart.
    pub fn has_reached(self, other: Self) -> bool {
        self.0.wrapping_sub(other.0).cast_signed() >= 0
    }
}

/// How far samples are on their way, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Whatever was submitted up to then lies below.
    pub submitted: Mark,
    /// Whatever lies below was drained.
    pub taken_in: Mark,
}

/// Something that befell a program at its hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeChange {
    /// As the table of probes names it.
    pub probe: &'static str,
    /// Where its hook is one of an interface.
    pub ifindex: Option<u32>,
    pub event: ProbeEvent,
    /// When it was looked after last and was as it should be: nanoseconds of `CLOCK_BOOTTIME`.
    pub since_ns: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeEvent {
    /// Somebody took it off: nothing was seen there since the last look.
    Detached,
    /// Somebody put another before it, which may have let packets pass it by.
    Displaced,
    /// It holds again.
    Attached,
    /// Its interface is gone, or watched otherwise.
    Gone,
}

impl ProbeChange {
    fn at_interface(program: &'static str, ifindex: u32, event: ProbeEvent) -> Self {
        use monitor_ebpf::names::program;
        let is_variant = program == program::UPLINK_EGRESS_NAMED;
        let probe = if is_variant { program::UPLINK_EGRESS } else { program };
        Self { probe, ifindex: Some(ifindex), event, since_ns: 0 }
    }
}

/// Ends a wait for samples before its time; from any thread.
pub type Waker = Box<dyn Fn() + Send + Sync>;

/// Where samples and counters come from: the kernel, or a recorded file.
pub trait Source {
    /// Waits until there are samples or the time is over. `false`: there will never be more.
    fn wait(&mut self, timeout: Duration) -> Result<bool, ProbeError>;

    /// What ends a wait. Nothing needs to where none lasts.
    fn waker(&self) -> Waker {
        Box::new(|| {})
    }

    /// Hands over the samples that are there, at most `most`; returns how many.
    fn drain(&mut self, most: usize, each: &mut dyn FnMut(&[u8])) -> usize;

    /// Fetches what the probes told without waking anyone, so that it is there to be drained; but for
    /// what is fetched within milliseconds anyway.
    fn collect(&mut self) {}

    /// The same without exception: for who asks for what is there now, and at the end.
    fn collect_all(&mut self) {
        self.collect();
    }

    /// How far the samples are. All that is known of is drained where a source has none of its own.
    fn progress(&mut self) -> Progress {
        Progress::default()
    }

    /// Hands over the counters of every live flow.
    fn sweep(&mut self, each: &mut dyn FnMut(FlowKey, FlowCounters)) -> Result<(), ProbeError>;

    /// The counters of one flow, if it is counted and can be asked for.
    fn counters(&mut self, _flow: &FlowKey) -> Option<FlowCounters> {
        None
    }

    /// By index: since when the program at an interface sees whatever leaves by it, if that changed
    /// since it was last asked for.
    fn seen(&mut self) -> Option<SeenSince> {
        None
    }

    /// Stops counting these flows.
    fn forget(&mut self, flows: &[FlowKey]) -> Result<(), ProbeError>;

    /// What the probes could not tell so far, by [`Loss`].
    fn losses(&self) -> Result<[u64; Loss::ALL.len()], ProbeError>;

    /// What left and is in no flow, since its user had used up a share: added up so far.
    fn unitemised(&mut self) -> Vec<(UnitemisedKey, Unitemised)> {
        Vec::new()
    }

    /// Stops adding to these.
    fn forget_unitemised(&mut self, _keys: &[UnitemisedKey]) {}

    /// Frames that the probes told to nobody so far, since they hold nobody's data.
    fn housekeeping_frames(&self) -> Result<u64, ProbeError> {
        Ok(0)
    }

    /// Packets and bytes that sockets received so far from where no flow of theirs leads.
    fn without_flow(&self) -> Result<(u64, u64), ProbeError> {
        Ok((0, 0))
    }

    /// Samples that are out of the kernel and wait to be drained, at most [`waiting_max`].
    fn waiting(&self) -> usize {
        0
    }

    /// The names of interfaces, if they changed since they were last asked for.
    fn interfaces(&mut self) -> Option<InterfaceNames> {
        None
    }

    /// Bytes of packets with a socket that left by an interface and are in no flow, so far.
    fn unattributed_bytes(&self) -> u64 {
        0
    }

    /// What left by each interface around every hook, so far.
    fn bypassed(&self) -> Vec<Bypassed> {
        Vec::new()
    }

    /// Who sent on sockets below IP so far, by tgid; `None` where the kernel doesn't tell.
    fn link_senders(&self) -> Option<Vec<(u32, LinkSender)>> {
        None
    }

    /// What befell programs at their hooks since this was last asked, and how much more was not
    /// kept.
    fn changes(&mut self) -> (Vec<ProbeChange>, u64) {
        (Vec::new(), 0)
    }

    /// Names of interfaces in the configuration that stand for none.
    fn unknown_interfaces(&self) -> Vec<String> {
        Vec::new()
    }

    /// Whether a sweep wanted at `at_ns` is due. A recording has its sweeps where they were.
    fn is_sweep_due(&self, at_ns: u64) -> bool {
        self.now_ns() >= at_ns
    }

    /// Whether it tells of the past: its counters are there when its sweeps are.
    fn is_recorded(&self) -> bool {
        false
    }

    /// Now, in the samples' clock: nanoseconds of `CLOCK_BOOTTIME`.
    fn now_ns(&self) -> u64;
}

/// Why the host can't be watched, or no longer.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    #[error(
        "not permitted to load probes: run as root, or grant CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"
    )]
    NotPermitted,
    #[error(
        "no cgroup2 hierarchy is mounted: mount one (`mount -t cgroup2 none /sys/fs/cgroup`) or boot with systemd.unified_cgroup_hierarchy=1"
    )]
    NoCgroup2,
    #[error("cannot open the cgroup {path}: {source}; check `[capture] cgroup`")]
    Cgroup { path: PathBuf, source: io::Error },
    #[error("{path} is no directory of the cgroup2 hierarchy; check `[capture] cgroup`")]
    NotACgroup { path: PathBuf },
    #[error(
        "the probes' contract is version {found}, this program's {expected}: build both again with `cargo xtask build`"
    )]
    AbiMismatch { found: u32, expected: u32 },
    #[error("the probe object does not load: {0}; `geofenced doctor` says what this kernel lacks")]
    Load(#[from] aya::EbpfError),
    #[error("the probe `{name}` does not load on this kernel: {problem}; see `geofenced doctor`")]
    Program { name: &'static str, problem: String },
    #[error("the map `{name}` can't be used: {problem}")]
    Map { name: &'static str, problem: String },
    #[error("waiting for samples failed: {0}")]
    Wait(io::Error),
    #[error("{path}: {problem}")]
    Recording { path: PathBuf, problem: String },
}

impl ProbeError {
    /// Whether the host or kernel is at fault, rather than this run.
    pub fn is_host(&self) -> bool {
        matches!(self, Self::NoCgroup2 | Self::Load(_) | Self::Program { .. })
    }
}

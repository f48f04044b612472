//! The domain: what the pipeline's stages hand on. Values only: no I/O, no clock, no serialization
//! (each border converts: `store::stored` to bytes, `ecs` to JSON, `metrics` to labels).

mod lookup;
mod mac;
mod moment;
mod naming;
mod traffic;
mod transport;
mod via;

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

pub use self::{
    lookup::Lookup,
    mac::Mac,
    moment::{BootId, Moment, Timeline},
    naming::{Domain, DomainSource, ServerName},
    traffic::Traffic,
    transport::{Transport, Way},
    via::Via,
};

/// Nanoseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs * 1_000_000_000)
    }
    pub const fn secs(self) -> u64 {
        self.0 / 1_000_000_000
    }
    /// Start of the UTC hour this lies in.
    pub const fn hour(self) -> Self {
        Self(self.0 - self.0 % 3_600_000_000_000)
    }
}

/// Identity of a flow, unique and ordered by start: the start in the upper 64 bits, a hash of boot
/// and flow key in the lower. Written as 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowId(pub u128);

impl fmt::Display for FlowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// An ISO 3166-1 alpha-2 code, upper case. (`XK`, Kosovo, is user-assigned there and accepted.)
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CountryCode([u8; 2]);

impl CountryCode {
    /// `None` unless it is two ASCII letters. Whether the code is assigned is `locate`'s to know.
    pub fn new(text: &str) -> Option<Self> {
        match text.as_bytes() {
            [a, b] if a.is_ascii_alphabetic() && b.is_ascii_alphabetic() => {
                Some(Self([a.to_ascii_uppercase(), b.to_ascii_uppercase()]))
            }
            _ => None,
        }
    }
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("??")
    }
    pub const fn bytes(self) -> [u8; 2] {
        self.0
    }
}

impl fmt::Display for CountryCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for CountryCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `::ffff:a.b.c.d` as `a.b.c.d`; everything else as it is.
pub fn canonical(address: Ipv6Addr) -> IpAddr {
    IpAddr::V6(address).to_canonical()
}

/// Whether a packet was seen, or only the wish to send one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    Attempt,
    Sent,
}

/// By which way the flow leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    Process,
    Accepted,
    Forwarded,
    PacketSocket,
    Tunnel,
    Kernel,
    PreExisting,
}

/// How the process is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Attribution {
    Socket,
    Creator,
    Procfs,
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    Unapproved,
    Unknown,
    Approved,
    Local,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Certainty {
    Full,
    Partial,
    Disputed,
}

/// Implements the contract's word for each variant, and its parsing.
macro_rules! words {
    ($type:ty { $($variant:ident = $word:literal),+ $(,)? }) => {
        impl $type {
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            /// The contract's word.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.word() == text)
            }
        }
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.word())
            }
        }
    };
}

words!(Phase { Attempt = "attempt", Sent = "sent" });
words!(Origin {
    Process = "process",
    Accepted = "accepted",
    Forwarded = "forwarded",
    PacketSocket = "packet-socket",
    Tunnel = "tunnel",
    Kernel = "kernel",
    PreExisting = "pre-existing",
});
words!(Attribution {
    Socket = "socket",
    Creator = "creator",
    Procfs = "procfs",
    None = "none",
});
words!(Verdict {
    Unapproved = "unapproved",
    Unknown = "unknown",
    Approved = "approved",
    Local = "local",
});
words!(DomainSource {
    Dns = "dns",
    DnsHost = "dns-host",
    Sni = "sni",
    Quic = "quic",
    Undetermined = "undetermined",
});
words!(Certainty { Full = "full", Partial = "partial", Disputed = "disputed" });

/// The interfaces that a flow passed; of this host's own sockets it is told only if there was one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passage {
    /// Of the device that sent it here.
    pub mac: Option<Mac>,
    /// By which it came in, or that of the tunnel that wrapped it.
    pub from: Option<Arc<str>>,
    /// By which it left.
    pub by: Option<Arc<str>>,
    /// Of frames in which no IP was found: what their link header says that they hold.
    pub ethertype: Option<u16>,
    /// The kernel had no room to count the flow: more may have left than its first packet.
    pub is_uncounted: bool,
    /// The IP headers of its packets can't be read: the addresses stand where the kernel looks for them,
    /// the transport is that of the first header that can't be read, and there are no ports.
    pub is_malformed: bool,
    pub way: Way,
}

/// One state of one flow, before anyone asked who and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Egress {
    pub flow: FlowId,
    /// 0 for the first state told, then counting up.
    pub revision: u32,
    pub started_at: Timestamp,
    /// Last packet, or the attempt.
    pub last_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    pub phase: Phase,
    pub origin: Origin,
    pub transport: Transport,
    /// Source; `None` until a packet chose it.
    pub local: Option<SocketAddr>,
    /// Canonical address; port 0 where the transport has none. `None`: the packets went around
    /// every hook that could have read it.
    pub remote: Option<SocketAddr>,
    /// Totals since the flow began.
    pub traffic: Traffic,
    pub passage: Passage,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct User {
    pub id: u32,
    pub name: Option<Arc<str>>,
}

/// One of the parents of a process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ancestor {
    pub pid: u32,
    pub name: Arc<str>,
    pub executable: Option<Arc<str>>,
    pub command_line: Option<Arc<str>>,
    pub started_at: Option<Timestamp>,
}

/// Most parents that are told of a process.
pub const PARENTS_MAX: usize = 4;

/// A file as the kernel knows it, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId {
    /// As stat(2) gives it.
    pub device: u64,
    pub inode: u64,
}

/// What is known of the file that a process executed, besides its path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ExecutedFile {
    /// `None`: only a path is known, or nothing.
    pub id: Option<FileId>,
    /// Which exec of the process it was: when, by the boot clock; 0: none since its fork, or since
    /// the probes. Not stored.
    pub executed_ns: u64,
    /// The path leads to this very file also from the host's root, in its mount namespace.
    pub is_hosts: bool,
    /// Other paths that policy rules name and that lead to it there. Not stored.
    pub known_as: Option<Arc<[Arc<str>]>>,
    /// Of its content. `None`: not read yet, or it was gone before it could be.
    pub sha256: Option<[u8; 32]>,
}

/// A process as it was when it sent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    /// The thread group id.
    pub pid: u32,
    /// The kernel's comm: the process chooses it.
    pub name: Arc<str>,
    /// Path of the file that was executed, as the kernel tells it; in a mount namespace or root of
    /// the process's own, the path there.
    pub executable: Option<Arc<str>>,
    /// What was passed to execve(2), where no more is known. Never satisfies an allowing rule.
    pub executable_claimed: Option<Arc<str>>,
    pub file: ExecutedFile,
    /// Arguments joined by spaces.
    pub command_line: Option<Arc<str>>,
    pub started_at: Option<Timestamp>,
    /// Nearest first, at most [`PARENTS_MAX`].
    pub parents: Vec<Ancestor>,
    pub user: User,
    /// systemd unit: `chrony.service`; of a user's manager `user:1000/backup.service`.
    pub unit: Option<Arc<str>>,
    /// Full id or name of the outermost container, as the host's runtime writes it.
    pub container: Option<Arc<str>>,
    /// Path below the cgroup mount: `/system.slice/chrony.service`.
    pub cgroup: Option<Arc<str>>,
    /// Inode of the network namespace, as `lsns -t net` shows it.
    pub netns: Option<u64>,
}

/// Before a program in totals of which only a claim is known. No path begins so.
pub const CLAIMED: &str = "claimed:";

impl Process {
    /// By what name totals are kept: the executable, else what was claimed, marked as such.
    pub fn program(&self) -> Arc<str> {
        let claim = self.executable_claimed.as_ref().unwrap_or(&self.name);
        self.executable.clone().unwrap_or_else(|| format!("{CLAIMED}{claim}").into())
    }
}

/// Who sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sender {
    Process {
        process: Arc<Process>,
        attribution: Attribution,
        /// Who made the socket, if another process: it was passed on, or inherited.
        creator: Option<Arc<Process>>,
    },
    /// Forwarded, the kernel's own, or a socket nobody is known to hold.
    Nobody,
}

impl Sender {
    pub fn process(&self) -> Option<&Process> {
        match self {
            Self::Process { process, .. } => Some(process),
            Self::Nobody => None,
        }
    }
    pub fn creator(&self) -> Option<&Process> {
        match self {
            Self::Process { creator, .. } => creator.as_deref(),
            Self::Nobody => None,
        }
    }
    pub fn attribution(&self) -> Attribution {
        match self {
            Self::Process { attribution, .. } => *attribution,
            Self::Nobody => Attribution::None,
        }
    }
}

/// Where an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Country {
    Known(CountryCode),
    /// The database has no country for the address.
    Unlocated,
    /// Loopback, link-local, multicast, private, unique-local, or named in the configuration.
    Local,
}

impl Country {
    pub fn code(self) -> Option<CountryCode> {
        match self {
            Self::Known(code) => Some(code),
            Self::Unlocated | Self::Local => None,
        }
    }
}

/// Who runs an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Operator {
    pub asn: Option<u32>,
    pub name: Option<Arc<str>>,
    /// Of control where that is known to be another than that of registration.
    pub country: Option<CountryCode>,
    /// The address is announced from many places: where it is says nothing.
    pub is_anycast: bool,
}

/// Where, whose, and by what name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub country: Country,
    /// What a second country database says, where there is one.
    pub second: Option<CountryCode>,
    pub operator: Option<Arc<Operator>>,
    /// What a name server said.
    pub domain: Option<Domain>,
    /// What the flow's own stream says.
    pub server_name: Option<ServerName>,
    pub via: Option<Box<Via>>,
}

impl Place {
    /// Of an address that nobody could read.
    pub fn unknown() -> Self {
        Self {
            country: Country::Unlocated,
            second: None,
            operator: None,
            domain: None,
            server_name: None,
            via: None,
        }
    }
}

/// Why the verdict is what it is. Its `Display` is the contract's `geofenced.reason`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    Country,
    Operator,
    Unlocated,
    Rule(Arc<str>),
    LocalNetwork,
    /// The policy does not approve of a stream whose name could not be read.
    Undetermined,
    /// What leaves has IP headers that can't be read: nothing but a rule approves it.
    Malformed,
}

impl Reason {
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "country" => Self::Country,
            "operator" => Self::Operator,
            "unlocated" => Self::Unlocated,
            "local-network" => Self::LocalNetwork,
            "undetermined" => Self::Undetermined,
            "malformed" => Self::Malformed,
            _ => Self::Rule(text.strip_prefix("rule:")?.into()),
        })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Country => f.write_str("country"),
            Self::Operator => f.write_str("operator"),
            Self::Unlocated => f.write_str("unlocated"),
            Self::Rule(name) => write!(f, "rule:{name}"),
            Self::LocalNetwork => f.write_str("local-network"),
            Self::Undetermined => f.write_str("undetermined"),
            Self::Malformed => f.write_str("malformed"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    pub verdict: Verdict,
    pub certainty: Certainty,
    pub reason: Reason,
}

/// A database that was asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DatabaseId {
    /// What it is asked for: `country`, `operator`, ...
    pub label: Arc<str>,
    pub name: Arc<str>,
    /// Of the data.
    pub dated: Timestamp,
    pub sha256: [u8; 32],
}

/// What a judgement rests on: the policy and the databases that were in force.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Provenance {
    pub policy_sha256: [u8; 32],
    pub databases: Vec<DatabaseId>,
}

/// One state of one flow, complete: a half-filled one can't exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub egress: Egress,
    pub sender: Sender,
    pub place: Place,
    pub judgement: Judgement,
    /// What rules say that came later, where they no longer object: a violation stays one, under the
    /// rules of its time.
    pub verdict_now: Option<Verdict>,
    /// `None`: stored by a version that did not tell.
    pub provenance: Option<Arc<Provenance>>,
    /// By which clock the flow's start is told; `None`: stored by a version that did not tell.
    pub timeline: Option<Timeline>,
}

impl Record {
    /// An attempt never counts as a violation.
    pub fn is_violation(&self) -> bool {
        self.judgement.verdict == Verdict::Unapproved && self.egress.phase == Phase::Sent
    }
}

/// Flows that are not itemised, added up by hour, program, user, country, verdict and what it rests
/// on. Rows with the same key add: the daemon appends what came since its last row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollup {
    /// Start of the hour.
    pub hour: Timestamp,
    /// As [`Process::program`] tells it; empty for egress without a process.
    pub program: Arc<str>,
    pub user: Option<User>,
    pub country: Country,
    pub verdict: Verdict,
    /// As that of a [`Record`].
    pub provenance: Option<Arc<Provenance>>,
    /// Flows that began.
    pub flows: u64,
    pub traffic: Traffic,
}

impl Rollup {
    /// Of its hour.
    pub fn last_instant(&self) -> Timestamp {
        Timestamp(self.hour.0.saturating_add(3_600_000_000_000 - 1))
    }
}

/// What the ledger must tell besides flows, so that silence can be told from blindness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Watching began. `probes`: those attached.
    Started { version: Arc<str>, probes: Vec<Arc<str>>, policy_sha256: [u8; 32] },
    /// Still watching: written at an interval, so that a power cut bounds the unknown.
    Alive,
    /// Watching ended in order.
    Stopped,
    /// Events were lost between `stage` and the store since the last notice.
    Lost { stage: Arc<str>, reason: Arc<str>, count: u64 },
    /// Policy, database or configuration changed.
    Reloaded { policy_sha256: [u8; 32] },
    /// A torn tail of `bytes` was cut from `segment` on open.
    Cut { segment: u64, bytes: u64 },
    /// A user (`None`: none) used up a share: so many flows and attempts have no record of their own.
    AddedUp { user: Option<u32>, flows: u64, attempts: u64 },
    /// Retention removed these segments, with so many entries, from `from` to `to`.
    Removed { segments: Vec<u64>, entries: u64, from: Timestamp, to: Timestamp },
    /// Somebody took a probe off its hook, or put another program before it: since the look before,
    /// a second earlier, nothing may have been seen there.
    Detached { probe: Arc<str>, interface: Option<Arc<str>>, is_displaced: bool },
    /// It is there again, and first.
    Attached { probe: Arc<str>, interface: Option<Arc<str>> },
    /// By which clock times are told from here on: at the start, and when its being trusted changed.
    ClockRead(Moment),
    /// What a policy's hash is of, in lines: at each start and reload, and once a day.
    Policy { sha256: [u8; 32], lines: Vec<Arc<str>> },
    /// Somebody set the wall clock: what was `from` became `to`.
    ClockStepped { from: Timestamp, to: Timestamp },
    /// The daemon before ended without a word, after its last one: so many flows that had sent were not
    /// over by then. What they sent after their last state, of a minute at most, is not known.
    LostSight { flows: u64 },
}

/// One entry of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "nearly all entries are flows")]
pub enum Entry {
    Flow(Record),
    Rollup(Rollup),
    Notice { at: Timestamp, notice: Notice },
    Lookup(Lookup),
}

//! Configuration after validation: types that cannot lie. `raw` is what the files say.

mod check;
mod doubts;
mod explain;
mod fingerprint;
mod last_good;
mod log;
mod naming;
mod programs;
mod raw;
mod reread;
mod rule;
mod sizes;
mod validate;
mod values;

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;
use monitor_ebpf::settings;

use self::raw::Sources;
pub use self::{
    doubts::doubts,
    explain::{approved, explain},
    last_good::Loaded,
    log::{LogConfig, LogFormat, Violations},
    naming::{NamesConfig, Trust, Undetermined},
    reread::Reread,
    rule::{Rule, Selector},
    sizes::{Memory, Sizing},
};
use crate::event::CountryCode;

pub const DEFAULT_PATH: &str = "/etc/geofenced/config.toml";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub policy: Policy,
    pub geo: Geo,
    pub capture: Capture,
    pub sizing: Sizing,
    pub names: NamesConfig,
    pub store: StoreConfig,
    pub metrics: MetricsConfig,
    pub log: LogConfig,
    pub api: ApiConfig,
    pub host: HostConfig,
}

/// Why there is no configuration. Always the user's to correct: exit code 2.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("configuration {} cannot be read: {error}", path.display())]
    Unreadable { path: PathBuf, error: io::Error },
    #[error("{}:{line}: {problem}", file.display())]
    Wrong { file: PathBuf, line: usize, problem: String },
}

impl Config {
    /// Reads `path`, then `config.d/*.toml` beside it in name order. Of a value the last one
    /// counts; rules, overrides and operators add up.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::of(&Sources::read(path, false)?)
    }

    /// `None` is the default path, where nothing need be: then the defaults hold, and what drop-ins
    /// there say.
    pub fn load_or_builtin(path: Option<&Path>) -> Result<Self, ConfigError> {
        Self::of(&Sources::find(path)?)
    }

    /// With what is "auto" fitted to this much memory.
    pub fn fitted(mut self, memory: Memory) -> Self {
        self.sizing.fit(&mut self.capture, memory);
        self
    }

    fn of(sources: &Sources) -> Result<Self, ConfigError> {
        validate::validate(sources.parse()?, sources, Self::builtin())
    }

    /// The documented defaults: no country is approved.
    pub fn builtin() -> Self {
        let mut policy = Policy {
            mode: Mode::Judge,
            approved_countries: Vec::new(),
            basis: Basis::Either,
            disputed: Disputed::Unapproved,
            unknown_country: UnknownCountry::Unapproved,
            undetermined: Undetermined::Ignore,
            trust_claims: false,
            local_networks: Vec::new(),
            rules: Vec::new(),
            text: Arc::from(""),
            sha256: [0; 32],
        };
        let paths = |all: [&str; 2]| all.map(PathBuf::from).to_vec();
        let geo = Geo {
            database: None,
            operator_database: None,
            folders: paths(["/var/lib/geofenced/databases", "/usr/share/geofenced/databases"]),
            update_from: paths([
                "/usr/share/libloc-location/location.db",
                "/var/lib/location/database.db",
            ]),
            overrides: Vec::new(),
            operators: Vec::new(),
        };
        fingerprint::seal(&mut policy, &geo);
        Self {
            policy,
            geo,
            capture: Capture {
                interfaces: None,
                cgroup: None,
                ring_bytes: settings::RING_BYTES,
                max_flows: settings::FLOWS,
                self_test: Some(Duration::from_mins(1)),
            },
            sizing: Sizing::AUTOMATIC,
            names: NamesConfig::default(),
            store: StoreConfig {
                path: PathBuf::from("/var/lib/geofenced"),
                record: RecordMode::Unapproved,
                retention: Duration::from_hours(30 * 24),
                max_bytes: 512 << 20,
                sync: Duration::from_secs(10),
                shipping: None,
            },
            metrics: MetricsConfig {
                listen: Some(SocketAddr::from(([127, 0, 0, 1], 9871))),
                page: true,
                top: 0,
            },
            log: LogConfig::default(),
            api: ApiConfig { socket: PathBuf::from("/run/geofenced/geofenced.sock") },
            host: HostConfig { name: None },
        }
    }
}

/// Gives a setting's words in the files, and back.
macro_rules! words {
    ($type:ident { $($variant:ident = $word:literal),+ $(,)? }) => {
        impl $type {
            pub(crate) const WORDS: [(&str, Self); [$($word),+].len()] =
                [$(($word, Self::$variant)),+];

            /// As the configuration writes it.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }
    };
}

words!(Mode { Judge = "judge", Learn = "learn" });
words!(Basis { Either = "either", Location = "location", Operator = "operator" });
words!(UnknownCountry { Unapproved = "unapproved", Unknown = "unknown", Approved = "approved" });
words!(Disputed { Unapproved = "unapproved", Approved = "approved" });
words!(RecordMode { Unapproved = "unapproved", All = "all" });

/// What becomes of a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// What is unapproved is a violation.
    Judge,
    /// All is judged and recorded, and nothing raised as a violation.
    Learn,
}

/// Which side of an address is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    Either,
    Location,
    Operator,
}

/// What to make of an address without a country.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownCountry {
    Unapproved,
    Unknown,
    Approved,
}

/// What to make of an address that only the second database objects to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disputed {
    Unapproved,
    Approved,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub mode: Mode,
    /// Sorted, without repetition.
    pub approved_countries: Vec<CountryCode>,
    pub basis: Basis,
    pub disputed: Disputed,
    pub unknown_country: UnknownCountry,
    /// Of `[names]`, since it decides verdicts.
    pub undetermined: Undetermined,
    /// A path that was only claimed may satisfy a rule that allows.
    pub trust_claims: bool,
    /// Beyond the built-in ones.
    pub local_networks: Vec<IpNet>,
    pub rules: Vec<Rule>,
    /// Everything that is hashed, a line for each fact.
    pub text: Arc<str>,
    /// SHA-256 of the policy's canonical form: equal policies, equal hash.
    pub sha256: [u8; 32],
}

impl Policy {
    pub fn is_learning(&self) -> bool {
        self.mode == Mode::Learn
    }

    /// Whether all that leaves the local networks is a violation.
    pub fn approves_nothing(&self) -> bool {
        self.approved_countries.is_empty() && !self.rules.iter().any(|rule| rule.allow)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Geo {
    /// `None`: the embedded one.
    pub database: Option<PathBuf>,
    pub operator_database: Option<PathBuf>,
    /// Where newer editions of the embedded ones may lie; the first is the one that they are put into.
    pub folders: Vec<PathBuf>,
    /// Files and folders where `databases update` looks for newer ones.
    pub update_from: Vec<PathBuf>,
    pub overrides: Vec<Override>,
    /// At most one for each AS number.
    pub operators: Vec<OperatorFact>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    pub network: IpNet,
    pub country: Option<CountryCode>,
    pub operator: Option<Arc<str>>,
    pub asn: Option<u32>,
}

/// What the operator of this host knows of an autonomous system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorFact {
    pub asn: u32,
    pub country: Option<CountryCode>,
    pub name: Option<Arc<str>>,
    pub is_anycast: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    /// `None`: found automatically.
    pub interfaces: Option<Vec<String>>,
    /// `None`: the root of the cgroup2 hierarchy, wherever it is mounted.
    pub cgroup: Option<PathBuf>,
    /// Bytes of the ring buffer between kernel and daemon (`ring_buffer`, default "4MiB").
    pub ring_bytes: u32,
    /// Flows the kernel counts at once (`max_flows`, default 262144).
    pub max_flows: u32,
    /// How often a packet of the daemon's own is to be seen; `None`: never.
    pub self_test: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordMode {
    /// Unapproved and unknown flows itemised, the rest rolled up by hour.
    Unapproved,
    /// Every flow itemised.
    All,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    pub path: PathBuf,
    pub record: RecordMode,
    pub retention: Duration,
    pub max_bytes: u64,
    /// How long what is no violation may wait to be safe on disk.
    pub sync: Duration,
    /// `None`: retention waits for nobody.
    pub shipping: Option<Shipping>,
}

/// Whoever carries the ledger to the ground is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shipping {
    /// So much is kept beyond `retention` and `max_size` at most.
    pub keep_bytes: u64,
    /// Where he tells what is on the ground.
    pub told: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsConfig {
    /// `None`: off.
    pub listen: Option<SocketAddr>,
    /// A page for people at `/`.
    pub page: bool,
    /// Units and operators that have a series of their own, of each so many; 0: none has.
    pub top: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiConfig {
    pub socket: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostConfig {
    /// `None`: the host's own.
    pub name: Option<Arc<str>>,
}

#[cfg(test)]
mod tests;

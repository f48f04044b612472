//! The JSON border: a record in the contract's Elastic Common Schema names, both directions, and its
//! dotted columns. Converts; decides nothing.

mod columns;
mod community_id;
mod lookup;
mod mark;
mod record;
mod rollup;

use std::{borrow::Cow, net::IpAddr, ops::Not};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::event::{DatabaseId, Host, Phase, Timestamp, Verdict};

pub use columns::{COLUMNS, row};
pub use community_id::community_id;
pub use lookup::{LOOKUP_COLUMNS, LookupEvent, lookup_row};
pub use mark::{MarkEvent, MarkFields, ShareFields};
pub use rollup::RollupEvent;

type Text<'a> = Cow<'a, str>;

/// RFC 3339 in UTC with nanoseconds: `2026-11-24T02:32:49.000000001Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Timestamp);

impl Time {
    /// `None` for a time beyond the year 9999.
    pub fn to_jiff(self) -> Option<jiff::Timestamp> {
        jiff::Timestamp::from_nanosecond(i128::from(self.0.0)).ok()
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const PRINTER: jiff::fmt::temporal::DateTimePrinter =
            jiff::fmt::temporal::DateTimePrinter::new().precision(Some(9));
        let at = self.to_jiff().unwrap_or(jiff::Timestamp::MAX);
        serializer.serialize_str(&PRINTER.timestamp_to_string(&at))
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Text::deserialize(deserializer)?;
        let at: jiff::Timestamp = text.parse().map_err(de::Error::custom)?;
        let nanoseconds = u64::try_from(at.as_nanosecond()).map_err(de::Error::custom)?;
        Ok(Self(Timestamp(nanoseconds)))
    }
}

/// One record as one JSON object. Words that the domain has a type for are checked where they are
/// used, not here: a newer daemon may know more of them than an older command line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_field_names, reason = "ECS calls it so")]
pub struct Event<'a> {
    #[serde(rename = "@timestamp")]
    pub timestamp: Time,
    pub event: Meta<'a>,
    pub network: Network<'a>,
    pub source: Endpoint<'a>,
    pub destination: Destination<'a>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessFields<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserFields<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<Container<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Service<'a>>,
    /// The interfaces of a flow that no socket of this host sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observer: Option<Observer<'a>>,
    /// What the stream itself says, of TLS and of QUIC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls<'a>>,
    /// That wrote the ledger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostFields<'a>>,
    pub geofenced: Geofenced<'a>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta<'a> {
    pub id: Text<'a>,
    pub kind: Text<'a>,
    pub category: Vec<Text<'a>>,
    pub r#type: Vec<Text<'a>>,
    pub start: Time,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<Time>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network<'a> {
    /// Absent, as the type and the destination's address, where the packets went around every hook
    /// that could have read them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r#type: Option<Text<'a>>,
    pub direction: Text<'a>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub community_id: Option<Text<'a>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observer<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<Side<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<Side<'a>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side<'a> {
    pub interface: InterfaceFields<'a>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceFields<'a> {
    pub name: Text<'a>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFields<'a> {
    pub name: Text<'a>,
    /// The machine id, hashed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Text<'a>>,
}

impl<'a> From<&'a Host> for HostFields<'a> {
    fn from(host: &'a Host) -> Self {
        Self { name: host.name.as_ref().into(), id: host.id.map(|id| hex(&id).into()) }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tls<'a> {
    pub client: TlsClient<'a>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsClient<'a> {
    pub server_name: Text<'a>,
}

/// This host's side, or that of the device it forwards for; bytes and packets are what left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Of the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Text<'a>>,
    pub bytes: u64,
    pub packets: u64,
}

/// The remote side; bytes and packets are what came back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destination<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
    /// Absent where the transport has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    pub bytes: u64,
    pub packets: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub geo: Option<Geo<'a>>,
    #[serde(default, rename = "as", skip_serializing_if = "Option::is_none")]
    pub autonomous_system: Option<AutonomousSystem<'a>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Geo<'a> {
    pub country_iso_code: Text<'a>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AutonomousSystem<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization: Option<Organization<'a>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Organization<'a> {
    pub name: Text<'a>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessFields<'a> {
    /// The thread group id.
    pub pid: u32,
    pub name: Text<'a>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executable: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command_line: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Time>,
    /// Of the executed file's content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<HashFields<'a>>,
    /// The nearest parent, its own within it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Box<ProcessFields<'a>>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HashFields<'a> {
    pub sha256: Text<'a>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserFields<'a> {
    /// A keyword in ECS: a number written as text.
    pub id: Text<'a>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Text<'a>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container<'a> {
    pub id: Text<'a>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service<'a> {
    pub name: Text<'a>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Geofenced<'a> {
    pub verdict: Text<'a>,
    pub certainty: Text<'a>,
    pub reason: Text<'a>,
    pub origin: Text<'a>,
    pub attribution: Text<'a>,
    pub phase: Text<'a>,
    /// `false`: no watched interface was seen to get what was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed: Option<bool>,
    /// Of frames in which no IP was found: what they hold by their link header, as `0x88b5`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ethertype: Option<Text<'a>>,
    /// `true`: the kernel had no room to count the flow, and more may have left than is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uncounted: Option<bool>,
    /// The IP headers can't be read: the addresses stand where the kernel looks for them.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub malformed: bool,
    /// The other address that its packets go to, by a routing header or a source route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via_country: Option<Text<'a>>,
    /// How `destination.domain` is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain_source: Option<Text<'a>>,
    /// How `tls.client.server_name` is known; `undetermined`: it could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name_source: Option<Text<'a>>,
    /// What was passed to execve, where no more is known. No proof.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executable_claimed: Option<Text<'a>>,
    /// What the interpreter runs, by the arguments that it says it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<Text<'a>>,
    /// `process.executable` leads to the executed file also from the host's root. Only where the
    /// file is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executable_of_host: Option<bool>,
    /// Who made the socket, if another process than the one that sends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creator: Option<Creator<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator_country: Option<Text<'a>>,
    /// What the second country database says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second_country: Option<Text<'a>>,
    /// The address is announced from many places.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub anycast: bool,
    /// In force when this state was judged, as the databases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyFields<'a>>,
    /// That policy only learned: it raised nothing as a violation.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub learning: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub database: Vec<DatabaseFields<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<u64>,
    /// Whether the wall clock was synchronised when the flow began: `trusted` or `untrusted`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<Text<'a>>,
    /// When the flow began by the clock that nobody can set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<BootFields<'a>>,
    /// Counts the states of this flow, from 0: `--follow` shows each.
    pub revision: u32,
    /// Last packet, or the attempt.
    pub last_seen: Time,
    /// What later rules say of what was in violation of those of its time, and no longer is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict_now: Option<Text<'a>>,
    /// Names of the marked intervals that any of the flow's life is in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interval: Vec<Text<'a>>,
    /// What somebody declared to be shared, and is of this flow. A claim: the verdict is as without it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub declared: Vec<DeclaredFields<'a>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeclaredFields<'a> {
    pub purpose: Text<'a>,
    /// In which it was declared.
    pub interval: Text<'a>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootFields<'a> {
    pub id: Text<'a>,
    /// Nanoseconds of `CLOCK_BOOTTIME`.
    pub ns: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyFields<'a> {
    pub sha256: Text<'a>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseFields<'a> {
    /// What it is asked for.
    pub label: Text<'a>,
    pub name: Text<'a>,
    /// Day of the data, UTC: `2026-10-01`.
    pub date: Text<'a>,
    pub sha256: Text<'a>,
}

impl<'a> From<&'a DatabaseId> for DatabaseFields<'a> {
    fn from(database: &'a DatabaseId) -> Self {
        Self {
            label: database.label.as_ref().into(),
            name: database.name.as_ref().into(),
            date: day(database.dated).into(),
            sha256: hex(&database.sha256).into(),
        }
    }
}

/// The day of an instant, UTC.
pub fn day(at: Timestamp) -> String {
    let at = Time(at).to_jiff().unwrap_or(jiff::Timestamp::MAX);
    at.strftime("%F").to_string()
}

/// Lower case, as `sha256sum` writes it.
pub fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Creator<'a> {
    /// The thread group id.
    pub pid: u32,
    pub name: Text<'a>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executable: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executable_claimed: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executable_of_host: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<HashFields<'a>>,
}

impl Event<'_> {
    /// An attempt never counts as a violation, nor what was judged by a policy that only learned.
    pub fn is_violation(&self) -> bool {
        self.is_unapproved() && !self.geofenced.learning
    }

    /// It would have been one, had the policy not only learned.
    pub fn is_unraised(&self) -> bool {
        self.is_unapproved() && self.geofenced.learning
    }

    fn is_unapproved(&self) -> bool {
        self.geofenced.verdict == Verdict::Unapproved.word()
            && self.geofenced.phase == Phase::Sent.word()
    }
}

#[cfg(test)]
#[path = "ecs/tests.rs"]
pub(crate) mod tests;

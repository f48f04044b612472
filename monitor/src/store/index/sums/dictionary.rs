//! What flows of a segment are like, each told once and given a number: who sent, whose the destination is, which
//! verdict and why, which port, where to. A number stands for all that a filter or a key of a summary can ask of that
//! column, so a record made of it answers as the flows themselves would. Nothing here reads or writes files.

use std::{
    hash::{BuildHasher as _, Hash, RandomState},
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use rustc_hash::FxHashMap;
use serde::{Serialize, de::DeserializeOwned};

use super::entries::{Device, Port, Stored, StoredWhat, To, What, Who, Whose};
use crate::{
    event::{
        Attribution, Certainty, Country, Domain, DomainSource, Egress, Findings, FlowId, Judgement,
        Mac, Operator, Origin, Passage, Phase, Place, Process, Provenance, Reason, Record, Sender,
        Timestamp, Traffic, Transport, Verdict,
    },
    store::index::group::encode,
    summary::Kind,
};

/// Positions in a key.
pub(crate) const WHO: usize = 0;
pub(crate) const OPERATOR: usize = 1;
/// Country, verdict and all that comes with them: of every row.
pub(crate) const WHAT: usize = 2;
pub(crate) const PORT: usize = 3;
pub(crate) const TO: usize = 4;
/// In which a flow began.
pub(crate) const HOUR: usize = 5;
/// Behind this host.
pub(crate) const DEVICE: usize = 6;
pub(crate) const COLUMNS: usize = 7;

pub(crate) const HOUR_NS: u64 = 3_600_000_000_000;

/// Numbers in the dictionary, by column.
pub(crate) type Key = [u16; COLUMNS];
/// In place of a number that is not known.
pub(super) const UNKNOWN: u16 = u16::MAX;

/// Most entries of each column; a column with more is given up.
const ENTRIES_MAX: [usize; COLUMNS] = if cfg!(test) {
    [150, 60, 300, 60, 60, 60, 60]
} else {
    [8192, 16_384, 4096, 65_000, 32_768, 8192, 4096]
};
/// Most bytes of a column.
const STORED_BYTES_MAX: usize = if cfg!(test) { 64 << 10 } else { 2 << 20 };

/// Entries by number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dictionary {
    whos: Vec<Option<Who>>,
    operators: Vec<Option<Whose>>,
    pub(super) whats: Vec<What>,
    ports: Vec<Port>,
    tos: Vec<To>,
    hours: Vec<u32>,
    devices: Vec<Option<Device>>,
}

impl Dictionary {
    /// Of kinds alone.
    pub(super) fn of_kinds(kinds: impl Iterator<Item = Kind>) -> Self {
        Self { whats: kinds.map(What::of_kind).collect(), ..Self::default() }
    }

    pub(crate) fn count(&self, column: usize) -> usize {
        match column {
            WHO => self.whos.len(),
            OPERATOR => self.operators.len(),
            WHAT => self.whats.len(),
            PORT => self.ports.len(),
            TO => self.tos.len(),
            HOUR => self.hours.len(),
            _ => self.devices.len(),
        }
    }

    /// `None`: a number that is none of its.
    pub(crate) fn kind(&self, key: &Key) -> Option<Kind> {
        self.whats.get(usize::from(key[WHAT])).map(|it| it.kind)
    }

    /// Makes the record such as what has this number in the column, and nothing else of it.
    pub(crate) fn show(&self, column: usize, number: usize, record: &mut Record) {
        match column {
            WHO => {
                let process = self.whos[number].as_ref().map(Who::process);
                record.sender = process.map_or(Sender::Nobody, |process| Sender::Process {
                    process: Arc::new(process),
                    attribution: Attribution::Socket,
                    creator: None,
                });
            }
            OPERATOR => {
                record.place.operator = self.operators[number].as_ref().map(|it| {
                    let (asn, name) = (it.asn, it.name.clone());
                    Arc::new(Operator { asn, name, country: None, is_anycast: false })
                });
            }
            WHAT => {
                let What { kind, transport, origin, phase, certainty, reason } =
                    self.whats[number].clone();
                let egress = &mut record.egress;
                (egress.transport, egress.origin, egress.phase) = (transport, origin, phase);
                record.place.country = kind.country;
                record.judgement = Judgement { verdict: kind.verdict, certainty, reason };
                record.provenance = kind.is_learning.then(learning);
            }
            PORT => {
                let at = |port| Some(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port));
                (record.egress.remote, record.egress.transport) = match self.ports[number] {
                    Port::Unread => (None, Transport::UNKNOWN),
                    Port::Of(port) => (at(port), Transport::TCP),
                    Port::Portless(port) => (at(port), Transport::UNKNOWN),
                };
            }
            HOUR => {
                record.egress.started_at = Timestamp(u64::from(self.hours[number]) * HOUR_NS);
            }
            DEVICE => {
                let (device, egress) = (self.devices[number], &mut record.egress);
                egress.origin = device.map_or(Origin::Process, |_| Origin::Forwarded);
                egress.local = device.map(|it| SocketAddr::new(it.address, 0));
                egress.passage.mac = device.and_then(|it| it.mac).map(Mac);
            }
            _ => {
                let (name, address) = match &self.tos[number] {
                    To::Named(name) => (Some(Arc::clone(name)), None),
                    To::Address(address) => (None, Some(SocketAddr::new(*address, 0))),
                    To::Unread => (None, None),
                };
                let source = DomainSource::Dns;
                record.place.domain = name.map(|name| Domain { name, source, is_trusted: false });
                record.egress.remote = address;
            }
        }
    }

    /// Takes the entries of a column; `None`: these bytes are no such entries.
    pub(super) fn take(&mut self, column: usize, bytes: &[u8]) -> Option<()> {
        match column {
            WHO => self.whos = entries(bytes)?,
            OPERATOR => self.operators = entries(bytes)?,
            WHAT => {
                let stored: Vec<StoredWhat> = entries(bytes)?;
                self.whats = stored.iter().map(What::told).collect::<Option<_>>()?;
            }
            PORT => self.ports = entries(bytes)?,
            TO => self.tos = entries(bytes)?,
            HOUR => self.hours = entries(bytes)?,
            _ => self.devices = entries(bytes)?,
        }
        Some(())
    }
}

/// One behind the other.
fn entries<T: DeserializeOwned>(mut bytes: &[u8]) -> Option<Vec<T>> {
    let mut entries = Vec::new();
    while !bytes.is_empty() {
        let (entry, rest) = postcard::take_from_bytes(bytes).ok()?;
        entries.push(entry);
        bytes = rest;
    }
    Some(entries)
}

/// A record that is like nothing yet.
pub(crate) fn blank() -> Record {
    let egress = Egress {
        flow: FlowId(0),
        revision: 0,
        started_at: Timestamp(0),
        last_at: Timestamp(0),
        ended_at: None,
        phase: Phase::Sent,
        origin: Origin::Process,
        transport: Transport::UNKNOWN,
        local: None,
        remote: None,
        traffic: Traffic::default(),
        passage: Passage::default(),
        activity: None,
    };
    let findings = Findings {
        sender: Sender::Nobody,
        place: Place { country: Country::Unlocated, ..Place::unknown() },
        judgement: Judgement {
            verdict: Verdict::Unknown,
            certainty: Certainty::Full,
            reason: Reason::Country,
        },
        verdict_now: None,
        provenance: None,
        timeline: None,
    };
    Record { egress, findings: Arc::new(findings) }
}

/// Of a policy that only learned.
pub(crate) fn learning() -> Arc<Provenance> {
    let (policy_sha256, databases, host) = ([0; 32], Vec::new(), None);
    Arc::new(Provenance { policy_sha256, is_learning: true, databases, host })
}

/// A column being filled: entries as they are stored, and their numbers by a hash. An entry kept as it came would hold a
/// page of the memory that its block was read into.
#[derive(Debug, Default)]
struct Numbers {
    by_hash: FxHashMap<u128, u16>,
    stored: Vec<u8>,
}

impl Numbers {
    /// `None`: there is no room for it.
    fn number(
        &mut self,
        hash: u128,
        stored: &impl Serialize,
        [entries, bytes]: [usize; 2],
    ) -> Option<u16> {
        if let Some(number) = self.by_hash.get(&hash) {
            return Some(*number);
        }
        let number = self.by_hash.len();
        if number >= entries || self.stored.len() > bytes {
            return None;
        }
        self.stored = encode(stored, std::mem::take(&mut self.stored));
        self.by_hash.insert(hash, number as u16);
        Some(number as u16)
    }
}

/// The dictionary of the segment that is being indexed.
#[derive(Debug)]
pub(super) struct Numberer {
    columns: [Numbers; COLUMNS],
    /// Others choose names, but not which of them have one hash.
    keys: [RandomState; 2],
    /// Columns that had no room, by bit.
    given_up: u8,
    one_in: usize,
}

impl Default for Numberer {
    fn default() -> Self {
        Self::within(1)
    }
}

/// What records of one block share, by where it stands in memory.
#[derive(Debug, Default)]
pub(super) struct Shared {
    whos: FxHashMap<*const Process, u16>,
    operators: FxHashMap<*const Operator, u16>,
}

impl Numberer {
    /// `one_in`: of the entries and bytes that each column may have, one in so many.
    pub(super) fn within(one_in: usize) -> Self {
        let (columns, keys) = <_>::default();
        Self { columns, keys, given_up: 0, one_in: one_in.max(1) }
    }

    /// Columns that are given up, by bit.
    pub(super) fn given_up(&self) -> u8 {
        self.given_up
    }

    /// Gives up all but these columns, by bit: nobody asks for them any more.
    pub(super) fn keep(&mut self, columns: u8) {
        self.given_up |= !columns;
        for (column, numbers) in self.columns.iter_mut().enumerate() {
            if columns & (1 << column) == 0 {
                *numbers = Numbers::default();
            }
        }
    }

    /// `shared`: of the block that the record is of.
    pub(super) fn key(&mut self, record: &Record, shared: &mut Shared) -> Key {
        let mut key = [UNKNOWN; COLUMNS];
        key[WHO] = match &record.sender {
            Sender::Process { process, .. } => {
                let at = Arc::as_ptr(process);
                *shared.whos.entry(at).or_insert_with(|| self.who(Some(process)))
            }
            Sender::Nobody => self.who(None),
        };
        key[OPERATOR] = match &record.place.operator {
            Some(operator) => {
                let at = Arc::as_ptr(operator);
                *shared.operators.entry(at).or_insert_with(|| self.operator(Some(operator)))
            }
            None => self.operator(None),
        };
        key[WHAT] = self.what(record);
        key[PORT] = self.port(record);
        key[TO] = self.to(record);
        let hour = (record.egress.started_at.0 / HOUR_NS) as u32;
        key[HOUR] = self.number(HOUR, &hour, &hour);
        let device = Device::of(record);
        key[DEVICE] = self.number(DEVICE, &device, &device);
        key
    }

    fn number(&mut self, column: usize, entry: &impl Hash, stored: &impl Serialize) -> u16 {
        if self.given_up & (1 << column) != 0 {
            return UNKNOWN;
        }
        let [a, b] = &self.keys;
        let hash = u128::from(a.hash_one(entry)) << 64 | u128::from(b.hash_one(entry));
        let most = [ENTRIES_MAX[column], STORED_BYTES_MAX].map(|most| most / self.one_in);
        let number = self.columns[column].number(hash, stored, most);
        if number.is_none() {
            self.given_up |= 1 << column;
        }
        number.unwrap_or(UNKNOWN)
    }

    fn who(&mut self, process: Option<&Process>) -> u16 {
        let who = process.map(Who::of);
        self.number(WHO, &who, &who)
    }

    fn operator(&mut self, operator: Option<&Operator>) -> u16 {
        let whose = operator.map(|it| Whose { asn: it.asn, name: it.name.clone() });
        self.number(OPERATOR, &whose, &whose)
    }

    fn what(&mut self, record: &Record) -> u16 {
        let what = What::of(record);
        self.number(WHAT, &what, &Stored(&what))
    }

    fn port(&mut self, record: &Record) -> u16 {
        let port = match record.egress.remote {
            None => Port::Unread,
            Some(remote) if record.egress.transport.has_ports() => Port::Of(remote.port()),
            Some(remote) => Port::Portless(remote.port()),
        };
        self.number(PORT, &port, &port)
    }

    fn to(&mut self, record: &Record) -> u16 {
        let to = match (record.place.shown(), record.egress.remote) {
            (Some((name, _)), _) => To::Named(Arc::clone(name)),
            (None, Some(remote)) => To::Address(remote.ip()),
            (None, None) => To::Unread,
        };
        self.number(TO, &to, &to)
    }

    /// The entries of a column so far.
    pub(super) fn stored(&self, column: usize) -> &[u8] {
        &self.columns[column].stored
    }

    /// Those of these columns (by bit).
    pub(super) fn dictionary(&self, columns: u8) -> Option<Dictionary> {
        let mut told = Dictionary::default();
        for column in (0..COLUMNS).filter(|column| columns & (1 << column) != 0) {
            told.take(column, self.stored(column))?;
        }
        Some(told)
    }
}

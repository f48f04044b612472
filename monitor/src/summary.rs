//! Totals over records and roll-ups, for `summary` here and in the API. Adds up; reads nothing.

mod keys;

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hash},
    net::IpAddr,
    sync::Arc,
};

use rustc_hash::{FxHashMap, FxHasher};
use serde::{Deserialize, Serialize};

use crate::{
    devices::Leases,
    ecs::Time,
    event::{Country, Origin, Phase, Record, Rollup, Timestamp, Traffic, Verdict},
};
pub(crate) use keys::parent;
pub use keys::{By, Keys, Sort};
use keys::{KEYS_MAX, SEPARATOR};

/// Most rows that are kept apart; what comes beyond is added up in one row [`OTHERS`].
pub const ROWS_MAX: usize = 100_000;
pub const OTHERS: &str = "(others)";
/// Row of roll-ups where they do not hold what is asked by.
pub const ROLLED_UP: &str = "(rolled up)";
/// Row of egress without a process.
pub const NO_PROCESS: &str = "(no process)";
/// Row of what went around every hook that could have read where to.
pub const NO_DESTINATION: &str = "(unknown)";
/// Row of what this host sent itself, by device.
pub const THIS_HOST: &str = "(this host)";

/// Addresses of a device that are told: with privacy extensions (RFC 8981) it has a new one a day.
pub const ADDRESSES_MAX: usize = 8;

/// Bytes (IP, headers included) and packets of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    pub bytes: u64,
    pub packets: u64,
}

/// Flows by verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Verdicts {
    pub approved: u64,
    pub unapproved: u64,
    pub unknown: u64,
    pub local: u64,
}

/// One row: as it is written in JSON, and read back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    pub by: Keys,
    /// By device: its hardware address, else its only address. Of several keys all, with a comma between.
    pub key: String,
    /// Each of several keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
    /// What the device calls itself, by the leases of this host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// From which the device sent, at most [`ADDRESSES_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// Flows of which a packet was seen.
    pub flows: u64,
    /// Flows of which none was.
    pub attempts: u64,
    pub violations: u64,
    /// Flows that would be violations, had the policy of their time not only learned.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unraised: u64,
    /// What left.
    pub source: Volume,
    /// What came back.
    pub destination: Volume,
    pub verdicts: Verdicts,
    /// Of the bytes that left: those of spans that the window cuts, which are divided evenly over each.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub divided: u64,
    pub first_seen: Time,
    pub last_seen: Time,
    /// Where stretches of the window were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub course: Option<Course>,
}

/// What left in each stretch of a window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Course {
    /// When the first one began, RFC 3339.
    pub since: String,
    pub per_ns: u64,
    /// Bytes (IP, headers included); the last stretch may be shorter.
    pub sent: Vec<u64>,
}

impl Row {
    fn new(by: Keys, key: &str, first_seen: Timestamp) -> Self {
        let parts = || -> Vec<String> {
            let many = by.count() > 1 && key != OTHERS;
            if many {
                key.split(SEPARATOR).map(ToOwned::to_owned).collect()
            } else {
                vec![key.to_owned()]
            }
        };
        Self {
            by,
            key: parts().join(", "),
            keys: if by.count() > 1 { parts() } else { Vec::new() },
            name: None,
            addresses: Vec::new(),
            flows: 0,
            attempts: 0,
            violations: 0,
            unraised: 0,
            source: Volume::default(),
            destination: Volume::default(),
            verdicts: Verdicts::default(),
            divided: 0,
            first_seen: Time(first_seen),
            last_seen: Time(first_seen),
            course: None,
        }
    }

    /// Of all of them.
    pub fn total(rows: &[Self]) -> Option<Self> {
        let Time(seen) = rows.first()?.first_seen;
        let mut total = Self::new(rows[0].by, "total", seen);
        total.keys.clear();
        for row in rows {
            let (of, more) = (&mut total.verdicts, &row.verdicts);
            for (sum, more) in [
                (&mut total.flows, row.flows),
                (&mut total.attempts, row.attempts),
                (&mut total.violations, row.violations),
                (&mut total.unraised, row.unraised),
                (&mut total.divided, row.divided),
                (&mut total.source.bytes, row.source.bytes),
                (&mut total.source.packets, row.source.packets),
                (&mut total.destination.bytes, row.destination.bytes),
                (&mut total.destination.packets, row.destination.packets),
                (&mut of.approved, more.approved),
                (&mut of.unapproved, more.unapproved),
                (&mut of.unknown, more.unknown),
                (&mut of.local, more.local),
            ] {
                *sum = sum.saturating_add(more);
            }
            total.first_seen = total.first_seen.min(row.first_seen);
            total.last_seen = total.last_seen.max(row.last_seen);
        }
        Some(total)
    }

    fn count(&mut self, verdict: Verdict, flows: u64, seen: [Timestamp; 2]) {
        let count = match verdict {
            Verdict::Approved => &mut self.verdicts.approved,
            Verdict::Unapproved => &mut self.verdicts.unapproved,
            Verdict::Unknown => &mut self.verdicts.unknown,
            Verdict::Local => &mut self.verdicts.local,
        };
        *count += flows;
        self.flows += flows;
        self.first_seen = self.first_seen.min(Time(seen[0]));
        self.last_seen = self.last_seen.max(Time(seen[1]));
    }

    /// Flows that sent.
    fn object(&mut self, kind: Kind, flows: u64) {
        if kind.verdict == Verdict::Unapproved {
            let count = if kind.is_learning { &mut self.unraised } else { &mut self.violations };
            *count += flows;
        }
    }

    /// By a device of this name.
    fn sent_from(&mut self, address: IpAddr, name: Option<String>) {
        self.name = self.name.take().or(name);
        if self.addresses.len() < ADDRESSES_MAX && !self.addresses.contains(&address) {
            self.addresses.push(address);
            self.addresses.sort();
        }
    }

    fn volumes(&mut self, traffic: Traffic, add: fn(u64, u64) -> u64) {
        for (sum, more) in [
            (&mut self.source.bytes, traffic.sent_bytes),
            (&mut self.source.packets, traffic.sent_packets),
            (&mut self.destination.bytes, traffic.received_bytes),
            (&mut self.destination.packets, traffic.received_packets),
        ] {
            *sum = add(*sum, more);
        }
    }
}

/// What `is_zero` of serde wants.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// What flows and roll-ups that are added up beforehand are kept apart by at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Kind {
    pub country: Country,
    pub verdict: Verdict,
    /// By a policy that only learned.
    pub is_learning: bool,
}

impl Kind {
    pub fn of(record: &Record) -> Self {
        let (country, verdict) = (record.place.country, record.judgement.verdict);
        Self { country, verdict, is_learning: record.is_learning() }
    }
    pub fn of_rollup(rollup: &Rollup) -> Self {
        let (country, verdict) = (rollup.country, rollup.verdict);
        Self { country, verdict, is_learning: rollup.is_learning() }
    }
}

/// Flows of one kind, but for their traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    pub flows: u64,
    pub attempts: u64,
    /// First and last seen.
    pub seen: [Timestamp; 2],
}

/// What flows that are added up beforehand are like, in what matters to one key.
#[derive(Clone, Copy, Debug)]
pub enum Like<'a> {
    Flow(&'a Record),
    Rollup(&'a Rollup),
}

/// Numbers of what a row is called by each key, in their order; 0 where there are fewer keys.
pub type Parts = [u32; KEYS_MAX];

/// Takes in the flows of a window and how much of each left in it. More is told of a flow than less.
pub trait Totals {
    /// A flow in its latest state, once; gives back its row.
    fn flow(&mut self, record: &Record) -> u32;
    /// What it keeps flows apart by, where it needs to know no more of them and so takes them [`Totals::counted`], too.
    fn keys(&self) -> Option<Keys> {
        None
    }
    /// The number of what it calls such flows by one of its keys.
    fn part(&mut self, by: By, like: Like<'_>) -> u32;
    /// Flows that are called so instead of each by itself; gives back their row.
    fn counted(&mut self, parts: Parts, kind: Kind, counts: &Counts) -> u32;
    fn rollup(&mut self, rollup: &Rollup);
    /// `divided`: bytes of the span of which only a part is in the window.
    fn more(&mut self, row: u32, traffic: Traffic, divided: u64);
    /// Of what was told as more: it left before the window.
    fn less(&mut self, row: u32, traffic: Traffic, divided: u64);
}

/// Adds up one answer.
#[derive(Debug)]
pub struct Summary {
    by: Keys,
    leases: Leases,
    span: Span,
    rows: Vec<Row>,
    by_key: HashMap<String, u32, BuildHasherDefault<FxHasher>>,
    /// What flows that came added up are called, by number; and their rows.
    texts: Vec<Arc<str>>,
    by_text: HashMap<Arc<str>, u32, BuildHasherDefault<FxHasher>>,
    by_parts: FxHashMap<Parts, u32>,
    /// From where devices sent that came added up, and their names, likewise.
    devices: FxHashMap<u32, (IpAddr, Option<String>)>,
    /// Rows.
    most: usize,
}

/// A window of time, as far as it is bounded, and when it is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    pub now: Timestamp,
}

impl Span {
    /// All of time.
    #[cfg(test)]
    pub const ALL: Self = Self { since: None, until: None, now: Timestamp(u64::MAX) };

    /// How much of what left from `from` to `to`, evenly, is in it; and whether that is a guess.
    fn share(&self, traffic: Traffic, from: Timestamp, to: Timestamp) -> (Traffic, bool) {
        let to = to.min(self.now).max(from);
        let before = |at: Option<Timestamp>, all| match at {
            Some(at) if at.0 <= from.0 => (Traffic::default(), false),
            Some(at) if at.0 <= to.0 => (traffic.part(at.0 - from.0, to.0 - from.0 + 1), true),
            _ => (all, false),
        };
        let (begin, is_begin_cut) = before(self.since, Traffic::default());
        let (end, is_end_cut) = before(self.until, traffic);
        (end.since(begin), is_begin_cut || is_end_cut)
    }
}

impl Summary {
    /// `leases` name the devices.
    pub fn new(by: impl Into<Keys>, leases: Leases, span: Span) -> Self {
        Self {
            by: by.into(),
            leases,
            span,
            rows: Vec::new(),
            by_key: HashMap::default(),
            texts: Vec::new(),
            by_text: HashMap::default(),
            by_parts: FxHashMap::default(),
            devices: FxHashMap::default(),
            most: ROWS_MAX,
        }
    }

    /// The same with at most so many rows beside the one of all others.
    pub fn at_most(self, rows: usize) -> Self {
        Self { most: rows, ..self }
    }

    fn add_flow(&mut self, record: &Record) -> u32 {
        let egress = &record.egress;
        let is_violation = record.is_violation();
        let sent = u64::from(egress.phase == Phase::Sent);
        let device = self.device(record);
        let key = self.by.of(|by| match &device {
            Some((key, ..)) if by == By::Device => key.clone(),
            _ => keys::of_record(by, record),
        });
        let number = self.number(&key, egress.started_at);
        let row = &mut self.rows[number as usize];
        if let Some((_, address, name)) = device {
            row.sent_from(address, name);
        }
        row.count(record.judgement.verdict, sent, [egress.started_at, egress.last_at]);
        row.attempts += 1 - sent;
        row.violations += u64::from(is_violation);
        row.unraised += u64::from(record.is_unraised());
        number
    }

    pub fn add_rollup(&mut self, rollup: &Rollup) {
        let key = self.by.of(|by| keys::of_rollup(by, rollup));
        let (traffic, is_divided) =
            self.span.share(rollup.traffic, rollup.hour, rollup.last_instant());
        let number = self.number(&key, rollup.hour);
        let row = &mut self.rows[number as usize];
        row.count(rollup.verdict, rollup.flows, [rollup.hour, rollup.hour]);
        row.volumes(traffic, u64::saturating_add);
        row.divided += if is_divided { rollup.traffic.sent_bytes } else { 0 };
        // Its flows all sent: attempts are in no roll-up.
        row.object(Kind::of_rollup(rollup), rollup.flows);
    }

    /// Key, address and name of the device on the LAN that sent, where that is asked for.
    fn device(&self, record: &Record) -> Option<(String, IpAddr, Option<String>)> {
        let Record { egress, .. } = record;
        if !self.by.has(By::Device) || egress.origin != Origin::Forwarded {
            return None;
        }
        let address = egress.local?.ip();
        let mac = egress.passage.mac.or_else(|| self.leases.mac(address));
        let key = mac.map_or_else(|| address.to_string(), |mac| mac.to_string());
        let name = self.leases.name(mac, Some(address)).map(ToOwned::to_owned);
        Some((key, address, name))
    }

    /// Most sent bytes first; equal ones by key.
    pub fn into_rows(self) -> Vec<Row> {
        // Of many rows, what they were found by takes as much as they do.
        let Self { mut rows, by_key, texts, by_text, by_parts, devices, .. } = self;
        drop((by_key, texts, by_text, by_parts, devices));
        rows.sort_unstable_by(|a, b| {
            b.source.bytes.cmp(&a.source.bytes).then_with(|| a.key.cmp(&b.key))
        });
        rows
    }

    /// Of what is found by one text and called by another.
    fn number_of(&mut self, found_by: &str, text: &str) -> u32 {
        if let Some(number) = self.by_text.get(found_by) {
            return *number;
        }
        let (number, found_by) = (self.texts.len() as u32, Arc::<str>::from(found_by));
        self.texts.push(if *found_by == *text { Arc::clone(&found_by) } else { text.into() });
        self.by_text.insert(found_by, number);
        number
    }

    fn number(&mut self, key: &str, seen: Timestamp) -> u32 {
        let is_full = self.rows.len() >= self.most && !self.by_key.contains_key(key);
        let key = if is_full { OTHERS } else { key };
        if let Some(number) = self.by_key.get(key) {
            return *number;
        }
        let number = self.rows.len() as u32;
        self.rows.push(Row::new(self.by, key, seen));
        self.by_key.insert(key.to_owned(), number);
        number
    }
}

impl Totals for Summary {
    fn flow(&mut self, record: &Record) -> u32 {
        self.add_flow(record)
    }
    fn keys(&self) -> Option<Keys> {
        Some(self.by)
    }
    fn part(&mut self, by: By, like: Like<'_>) -> u32 {
        let device = match like {
            Like::Flow(record) if by == By::Device => self.device(record),
            _ => None,
        };
        if let Some((key, address, name)) = device {
            // Of each address its own: which of them sent in the window is known once it is counted.
            let number = self.number_of(&format!("{key}{SEPARATOR}{address}"), &key);
            self.devices.insert(number, (address, name));
            return number;
        }
        let text = match like {
            Like::Flow(record) => keys::of_record(by, record),
            Like::Rollup(rollup) => keys::of_rollup(by, rollup),
        };
        self.number_of(&text, &text)
    }
    fn counted(&mut self, parts: Parts, kind: Kind, counts: &Counts) -> u32 {
        let known = self.by_parts.get(&parts).copied();
        let number = known.unwrap_or_else(|| {
            let mut texts = parts.iter().filter_map(|at| self.texts.get(*at as usize));
            let key = self.by.of(|_| texts.next().map_or_else(String::new, ToString::to_string));
            let number = self.number(&key, counts.seen[0]);
            let parts_told = parts.iter().take(self.by.count());
            for (address, name) in parts_told.filter_map(|part| self.devices.get(part)) {
                self.rows[number as usize].sent_from(*address, name.clone());
            }
            self.by_parts.insert(parts, number);
            number
        });
        let row = &mut self.rows[number as usize];
        row.count(kind.verdict, counts.flows, counts.seen);
        row.attempts += counts.attempts;
        row.object(kind, counts.flows);
        number
    }
    fn rollup(&mut self, rollup: &Rollup) {
        self.add_rollup(rollup);
    }
    fn more(&mut self, row: u32, traffic: Traffic, divided: u64) {
        if let Some(row) = self.rows.get_mut(row as usize) {
            row.volumes(traffic, u64::saturating_add);
            row.divided = row.divided.saturating_add(divided);
        }
    }
    fn less(&mut self, row: u32, traffic: Traffic, divided: u64) {
        if let Some(row) = self.rows.get_mut(row as usize) {
            row.volumes(traffic, u64::saturating_sub);
            row.divided = row.divided.saturating_add(divided);
        }
    }
}

#[cfg(test)]
mod tests;

//! What totals are kept apart by, up to three at once, and in which order they are told. Names rows; adds
//! nothing up.

use std::{cmp::Reverse, fmt};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{NO_DESTINATION, NO_PROCESS, ROLLED_UP, Row, THIS_HOST};
use crate::{
    event::{Country, Process, Record, Rollup, Timestamp, User},
    when,
};

/// Between the keys of a row in memory.
pub(super) const SEPARATOR: char = '\u{1f}';
/// Most keys at once.
pub(super) const KEYS_MAX: usize = 3;
/// Row of what belongs to no unit, container, parent, port, script or domain.
const NONE: &str = "-";
const HOUR_NS: u64 = 3_600_000_000_000;

/// One thing that totals are kept apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum By {
    Country,
    Operator,
    Process,
    Script,
    Destination,
    Domain,
    Device,
    Verdict,
    User,
    Unit,
    Container,
    Port,
    Parent,
    Hour,
}

impl By {
    pub const ALL: [Self; 14] = [
        Self::Country,
        Self::Operator,
        Self::Process,
        Self::Script,
        Self::Destination,
        Self::Domain,
        Self::Device,
        Self::Verdict,
        Self::User,
        Self::Unit,
        Self::Container,
        Self::Port,
        Self::Parent,
        Self::Hour,
    ];

    pub const fn word(self) -> &'static str {
        match self {
            Self::Country => "country",
            Self::Operator => "operator",
            Self::Process => "process",
            Self::Script => "script",
            Self::Destination => "destination",
            Self::Domain => "domain",
            Self::Device => "device",
            Self::Verdict => "verdict",
            Self::User => "user",
            Self::Unit => "unit",
            Self::Container => "container",
            Self::Port => "port",
            Self::Parent => "parent",
            Self::Hour => "hour",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|by| by.word() == text)
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl Serialize for By {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

/// One to three different keys, in the order asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Keys {
    first: By,
    more: [Option<By>; KEYS_MAX - 1],
}

impl Default for Keys {
    fn default() -> Self {
        By::Country.into()
    }
}

impl From<By> for Keys {
    fn from(first: By) -> Self {
        Self { first, more: [None; KEYS_MAX - 1] }
    }
}

impl Keys {
    /// Who has to do with whom.
    pub const CONTACTS: Self = Self { first: By::Process, more: [Some(By::Destination), None] };

    /// `process,country`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut keys: Vec<By> = Vec::with_capacity(KEYS_MAX);
        for word in text.split(',').map(str::trim) {
            let by = By::parse(word).ok_or_else(|| {
                format!("`{word}` is none of {}", By::ALL.map(By::word).join(", "))
            })?;
            if keys.contains(&by) {
                return Err(format!("`{by}` stands there twice"));
            }
            keys.push(by);
        }
        match keys.as_slice() {
            [first, more @ ..] if more.len() < KEYS_MAX => {
                let mut it = Self::from(*first);
                it.more.iter_mut().zip(more).for_each(|(key, by)| *key = Some(*by));
                Ok(it)
            }
            _ => Err(format!("`{text}` are more than {KEYS_MAX} keys")),
        }
    }

    pub fn iter(self) -> impl Iterator<Item = By> {
        std::iter::once(self.first).chain(self.more.into_iter().flatten())
    }

    pub fn count(self) -> usize {
        self.iter().count()
    }

    pub fn has(self, by: By) -> bool {
        self.iter().any(|it| it == by)
    }

    /// All keys of a row as one.
    pub(super) fn of(self, mut key: impl FnMut(By) -> String) -> String {
        let mut text = key(self.first);
        let mut more = self.more.into_iter().flatten().peekable();
        if more.peek().is_some() {
            // Somebody may have chosen a name that holds it.
            text = text.replace(SEPARATOR, "?");
        }
        for by in more {
            text.push(SEPARATOR);
            text.push_str(&key(by).replace(SEPARATOR, "?"));
        }
        text
    }
}

impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<&str> = self.iter().map(By::word).collect();
        f.pad(&words.join(","))
    }
}

impl Serialize for Keys {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(de::Error::custom)
    }
}

/// What comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Sort {
    /// Most bytes that left
    #[default]
    Sent,
    /// Most bytes that came back
    Received,
    /// Most flows, with those that only tried
    Flows,
    Violations,
    /// What was seen first of all
    First,
    /// What was seen last
    Last,
}

impl Sort {
    const ALL: [Self; 6] =
        [Self::Sent, Self::Received, Self::Flows, Self::Violations, Self::First, Self::Last];

    pub const fn word(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Received => "received",
            Self::Flows => "flows",
            Self::Violations => "violations",
            Self::First => "first",
            Self::Last => "last",
        }
    }

    pub fn parse(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|sort| sort.word() == text);
        found.ok_or_else(|| format!("`{text}` is none of {}", Self::ALL.map(Self::word).join(", ")))
    }

    /// Equal ones stay as they were.
    pub fn rows(self, rows: &mut [Row]) {
        match self {
            Self::Sent => rows.sort_by_key(|row| Reverse(row.source.bytes)),
            Self::Received => rows.sort_by_key(|row| Reverse(row.destination.bytes)),
            Self::Flows => rows.sort_by_key(|row| Reverse(row.flows + row.attempts)),
            Self::Violations => rows.sort_by_key(|row| Reverse(row.violations)),
            Self::First => rows.sort_by_key(|row| row.first_seen),
            Self::Last => rows.sort_by_key(|row| Reverse(row.last_seen)),
        }
    }
}

impl Serialize for Sort {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

pub(super) fn of_record(by: By, record: &Record) -> String {
    let process = record.sender.process();
    let of_process =
        |key: &dyn Fn(&Process) -> String| process.map_or_else(|| NO_PROCESS.to_owned(), key);
    match by {
        By::Country => country(record.place.country),
        By::Operator => operator(record),
        By::Process => of_process(&|it| with_script(it.script(), &it.program())),
        By::Script => of_process(&|it| it.script().unwrap_or(NONE).to_owned()),
        By::User => of_process(&|it| user(&it.user)),
        By::Unit => of_process(&|it| it.unit.as_deref().unwrap_or(NONE).to_owned()),
        By::Container => of_process(&|it| it.container.as_deref().unwrap_or(NONE).to_owned()),
        By::Parent => of_process(&|it| parent(it).unwrap_or_else(|| NONE.to_owned())),
        By::Port => match record.egress.remote {
            Some(remote) if record.egress.transport.has_ports() => remote.port().to_string(),
            Some(_) => NONE.to_owned(),
            None => NO_DESTINATION.to_owned(),
        },
        By::Hour => hour(record.egress.started_at),
        By::Destination => match (record.place.shown(), record.egress.remote) {
            (Some((name, _)), _) => name.to_string(),
            (None, Some(remote)) => remote.ip().to_string(),
            (None, None) => NO_DESTINATION.to_owned(),
        },
        By::Domain => {
            record.place.shown().map_or_else(|| NONE.to_owned(), |(name, _)| name.to_string())
        }
        By::Device => THIS_HOST.to_owned(),
        By::Verdict => record.judgement.verdict.to_string(),
    }
}

/// What started a process, as it is called here; `None`: that is not known.
pub(crate) fn parent(process: &Process) -> Option<String> {
    let parent = process.parents.first()?;
    let program = parent.executable.as_deref().unwrap_or(&parent.name);
    Some(with_script(parent.script(), program))
}

/// A program, behind what it runs, where it is an interpreter.
fn with_script(script: Option<&str>, program: &str) -> String {
    script.map_or_else(|| program.to_owned(), |script| format!("{script} ({program})"))
}

pub(super) fn of_rollup(by: By, rollup: &Rollup) -> String {
    match by {
        By::Country => country(rollup.country),
        By::Process if rollup.program.is_empty() => NO_PROCESS.to_owned(),
        By::Process => rollup.program.to_string(),
        By::User => rollup.user.as_ref().map_or_else(|| NO_PROCESS.to_owned(), user),
        By::Hour => hour(rollup.hour),
        By::Verdict => rollup.verdict.to_string(),
        By::Operator
        | By::Script
        | By::Destination
        | By::Domain
        | By::Device
        | By::Unit
        | By::Container
        | By::Port
        | By::Parent => ROLLED_UP.to_owned(),
    }
}

fn country(country: Country) -> String {
    match country {
        Country::Known(code) => code.to_string(),
        Country::Unlocated => "unlocated".to_owned(),
        Country::Local => "local".to_owned(),
    }
}

fn user(user: &User) -> String {
    user.name.as_deref().map_or_else(|| user.id.to_string(), ToOwned::to_owned)
}

/// In which a flow began, UTC: `2026-11-24T08:00:00Z`.
fn hour(at: Timestamp) -> String {
    when::rfc3339(Timestamp(at.0 - at.0 % HOUR_NS))
}

fn operator(record: &Record) -> String {
    let operator = record.place.operator.as_deref();
    match operator.map(|operator| (operator.asn, operator.name.as_deref())) {
        Some((Some(asn), Some(name))) => format!("AS{asn} {name}"),
        Some((Some(asn), None)) => format!("AS{asn}"),
        Some((None, Some(name))) => name.to_owned(),
        Some((None, None)) | None => "unknown".to_owned(),
    }
}

//! A policy from what was seen: a rule for each program and where it sent to, as narrow as what is proven of
//! both. It is given records and reads nothing. What a program only says of itself makes no rule.

mod text;
mod who;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use rustc_hash::FxHashMap;

use self::who::Who;
use crate::{
    config::Policy,
    event::{Country, CountryCode, Origin, Phase, Reason, Record, Timestamp, Transport, Verdict},
};

/// Programs and where they sent to that are kept apart; what comes beyond is counted.
const GROUPS_MAX: usize = 20_000;
/// Rules that are written: nobody reads more.
const RULES_MAX: usize = 1_000;
/// With more ports than these a rule names none.
const PORTS_MAX: usize = 8;
/// Names that are told of a destination, and of what makes no rule.
const NAMES_MAX: usize = 5;

/// Why flows make no rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Ruleless {
    /// Of the program no more is known than what it says.
    Claimed,
    /// No process of this host, or none that is known.
    Nobody,
    /// Nobody could read where to.
    Nowhere,
    /// By way of a hop, or with headers that can't be read.
    Strange,
    /// A rule of the policy of their time forbade it.
    Forbidden,
    TooMany,
}

/// Where to, as far as it may stand in a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Whither {
    Operator(u32),
    Address(IpAddr),
}

/// What becomes one rule, or one for each port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Group {
    who: Who,
    to: Whither,
    transport: Transport,
    /// The place of the address counts: it has one, and is not announced from many.
    is_located: bool,
}

/// What was seen.
#[derive(Clone, Debug)]
struct Seen {
    flows: u64,
    bytes: u64,
    first: Timestamp,
    last: Timestamp,
    /// Flows that the policy of their time did not approve.
    unapproved: u64,
    countries: BTreeSet<CountryCode>,
}

/// What was seen of a group.
#[derive(Clone, Debug, Default)]
struct Found {
    /// `None`: the transport has none, or it is the other end's choice.
    ports: BTreeMap<Option<u16>, Seen>,
    operator: Option<Arc<str>>,
    user: Option<Arc<str>>,
    /// Of the destination, told by trusted resolvers.
    names: BTreeSet<Arc<str>>,
    /// What the program ran, where it is an interpreter; one more than are told.
    scripts: BTreeSet<Box<str>>,
}

/// Takes in records; becomes a policy.
#[derive(Debug, Default)]
pub struct Suggestion {
    groups: FxHashMap<Group, Found>,
    ruleless: BTreeMap<Ruleless, u64>,
    /// Names of programs that were only claimed.
    claims: BTreeSet<Arc<str>>,
    flows: u64,
    span: Option<[Timestamp; 2]>,
}

impl Suggestion {
    /// A flow in its latest state. What only was tried, and what stays in local networks, needs no rule.
    pub fn see(&mut self, record: &Record) {
        let egress = &record.egress;
        let is_local =
            record.place.country == Country::Local || record.judgement.verdict == Verdict::Local;
        if egress.phase == Phase::Attempt || is_local && record.place.via.is_none() {
            return;
        }
        self.flows += 1;
        let [first, last] = self.span.unwrap_or([egress.started_at, egress.last_at]);
        self.span = Some([first.min(egress.started_at), last.max(egress.last_at)]);
        if let Err(why) = self.take(record) {
            *self.ruleless.entry(why).or_default() += 1;
        }
    }

    fn take(&mut self, record: &Record) -> Result<(), Ruleless> {
        let (egress, place) = (&record.egress, &record.place);
        let is_refused = record.judgement.verdict == Verdict::Unapproved;
        if is_refused && matches!(record.judgement.reason, Reason::Rule(_)) {
            return Err(Ruleless::Forbidden);
        }
        if place.via.is_some() || egress.passage.is_malformed {
            return Err(Ruleless::Strange);
        }
        let remote = egress.remote.ok_or(Ruleless::Nowhere)?;
        let process = record.sender.process().ok_or(Ruleless::Nobody)?;
        let Some(who) = Who::of(process) else {
            if self.claims.len() < NAMES_MAX {
                self.claims.insert(process.program());
            }
            return Err(Ruleless::Claimed);
        };
        let operator = place.operator.as_deref();
        let is_anycast = operator.is_some_and(|it| it.is_anycast);
        let group = Group {
            who,
            to: operator
                .and_then(|it| it.asn)
                .map_or(Whither::Address(remote.ip()), Whither::Operator),
            transport: egress.transport,
            is_located: place.country.code().is_some() && !is_anycast,
        };
        if self.groups.len() >= GROUPS_MAX && !self.groups.contains_key(&group) {
            return Err(Ruleless::TooMany);
        }
        // Who comes to this host chose its port.
        let is_theirs = egress.origin == Origin::Accepted || remote.port() == 0;
        let port = (!is_theirs).then(|| remote.port());
        let found = self.groups.entry(group).or_default();
        found.operator = operator.and_then(|it| it.name.clone()).or(found.operator.take());
        found.user = process.user.name.clone().or(found.user.take());
        found.names.extend(
            place
                .domain
                .as_ref()
                .filter(|it| it.is_trusted && found.names.len() < NAMES_MAX)
                .map(|it| Arc::clone(&it.name)),
        );
        if found.scripts.len() <= NAMES_MAX {
            found.scripts.extend(process.script().map(Into::into));
        }
        found.add(port, Seen::of(record, is_refused));
        Ok(())
    }

    /// As TOML. Of `base` is kept which networks are local. `command`: what it was asked for by.
    pub fn policy(&self, base: &Policy, command: &str) -> String {
        let mut groups: Vec<(&Group, Found)> =
            self.groups.iter().map(|(group, found)| (group, found.clone())).collect();
        groups.sort_by_key(|(group, _)| *group);
        for (_, found) in &mut groups {
            found.merge_ports();
        }
        text::policy(self, &groups, base, command)
    }

    pub fn flows(&self) -> u64 {
        self.flows
    }

    /// Flows that make no rule.
    pub fn left_out(&self) -> u64 {
        self.ruleless.values().sum()
    }
}

impl Seen {
    fn of(record: &Record, is_refused: bool) -> Self {
        let egress = &record.egress;
        Self {
            flows: 1,
            bytes: egress.traffic.sent_bytes,
            first: egress.started_at,
            last: egress.last_at,
            unapproved: u64::from(is_refused),
            countries: record.place.country.code().into_iter().collect(),
        }
    }

    fn join(&mut self, more: Self) {
        self.flows += more.flows;
        self.bytes = self.bytes.saturating_add(more.bytes);
        self.first = self.first.min(more.first);
        self.last = self.last.max(more.last);
        self.unapproved += more.unapproved;
        self.countries.extend(more.countries);
    }
}

impl Found {
    fn add(&mut self, port: Option<u16>, seen: Seen) {
        // More than can be told apart are one anyway.
        let port = port.filter(|_| self.ports.len() <= PORTS_MAX || self.ports.contains_key(&port));
        match self.ports.get_mut(&port) {
            Some(known) => known.join(seen),
            None => {
                self.ports.insert(port, seen);
            }
        }
    }

    fn merge_ports(&mut self) {
        if self.ports.len() > PORTS_MAX {
            for (_, seen) in std::mem::take(&mut self.ports) {
                match self.ports.get_mut(&None) {
                    Some(known) => known.join(seen),
                    None => {
                        self.ports.insert(None, seen);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;

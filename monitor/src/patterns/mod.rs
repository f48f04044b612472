//! What is regular or slow in what left: facts of each program, operator and port over a period. It is given what the
//! ledger holds, in its order, and reads nothing. It judges nothing: an update check beats like a beacon.

mod contacts;
mod names;
mod programs;

use std::{
    collections::{HashMap, hash_map},
    net::IpAddr,
    sync::Arc,
};

use rustc_hash::FxHashMap;

use self::{contacts::Contacts, programs::Programs};
pub use self::{
    contacts::Gaps,
    names::{NameRow, Names},
};
use crate::event::{
    Activity, Country, FlowId, Glance, Lookup, Origin, Phase, Timestamp, Traffic, Verdict,
};

/// Programs, operators and ports that are kept apart,
const KEYS_MAX: usize = 20_000;
/// and those of one program: whoever sends everywhere hides nobody but himself.
const KEYS_OF_PROGRAM: u32 = 1_000;
/// Flows of which a later state may come.
const OPEN_MAX: usize = 200_000;

/// Whose an address is, or what it is where that is not known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Whither {
    Operator(u32),
    Named(Arc<str>),
    Address(IpAddr),
    Unread,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    /// Its number among the programs.
    program: u32,
    to: Whither,
    /// `None`: the transport has none, or it is the other end's choice.
    port: Option<u16>,
}

/// A flow that is not over, as far as it is told.
#[derive(Debug)]
struct Open {
    /// Where it stands among the found.
    at: u32,
    traffic: Traffic,
    activity: Option<Box<Activity>>,
}

/// What is known of a key.
#[derive(Debug)]
struct Found {
    key: Key,
    operator: Option<Arc<str>>,
    contacts: Contacts,
    traffic: Traffic,
    beat: Option<Beat>,
}

/// How a long flow beats: of those of a key the one with the most spans.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Beat {
    pub flow: FlowId,
    /// Between two bursts of it; of many only the latest.
    pub spans: u32,
    pub median_seconds: f64,
    /// The part of the spans about within 30 % of it.
    pub share: f64,
}

/// Facts of a program, an operator and a port.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// As totals tell it, but for what it runs.
    pub program: Arc<str>,
    /// What an interpreter runs.
    pub script: Option<Arc<str>>,
    pub asn: Option<u32>,
    /// The operator's name, or the address, where it has none that is known.
    pub to: Arc<str>,
    pub port: Option<u16>,
    pub flows: u64,
    /// Flows that began within two seconds of each other are one.
    pub contacts: u64,
    /// In which a contact began.
    pub hours: u32,
    pub days: u32,
    /// `None`: fewer than twelve.
    pub gaps: Option<Gaps>,
    pub beat: Option<Beat>,
    pub traffic: Traffic,
    pub first: Timestamp,
    pub last: Timestamp,
}

impl Row {
    /// What came back is a part of what left; `None`: nothing came.
    pub fn out_per_in(&self) -> Option<f64> {
        let Traffic { sent_bytes, received_bytes, .. } = self.traffic;
        (received_bytes > 0).then(|| sent_bytes as f64 / received_bytes as f64)
    }

    /// Of the more regular of both.
    fn share(&self) -> f64 {
        let gaps = self.gaps.map_or(0.0, |it| it.share);
        gaps.max(self.beat.map_or(0.0, |it| it.share))
    }
}

/// What was found.
#[derive(Debug)]
pub struct Answer {
    /// The most regular first, then those of the most contacts.
    pub rows: Vec<Row>,
    /// Those with the most names first.
    pub names: Vec<NameRow>,
    /// States of flows in no row: there were too many programs, operators and ports.
    pub left_out: u64,
    /// Names in no row: there were too many domains.
    pub names_left_out: u64,
}

/// Takes in what the ledger holds.
#[derive(Debug)]
pub struct Patterns {
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    found: Vec<Found>,
    by_key: HashMap<Key, u32>,
    programs: Programs,
    /// Rows of each program.
    of_program: Vec<u32>,
    open: FxHashMap<FlowId, Open>,
    names: Names,
    left_out: u64,
    has_lost_sight: bool,
}

impl Patterns {
    pub fn new(since: Option<Timestamp>, until: Option<Timestamp>) -> Self {
        Self {
            since,
            until,
            found: Vec::new(),
            by_key: HashMap::new(),
            programs: Programs::default(),
            of_program: Vec::new(),
            open: FxHashMap::default(),
            names: Names::default(),
            left_out: 0,
            has_lost_sight: false,
        }
    }

    /// A state of a flow, in the order of the ledger. What only was tried and what stays in local networks is left out.
    pub fn see(&mut self, seen: &Glance<'_>) {
        let is_local = seen.country == Country::Local || seen.verdict == Verdict::Local;
        let is_within = self.since.is_none_or(|since| seen.last_at >= since)
            && self.until.is_none_or(|until| seen.started_at < until);
        if seen.phase == Phase::Attempt || is_local || !is_within {
            return;
        }
        let before = if seen.revision == 0 { None } else { self.open.remove(&seen.flow) };
        // It may be one of those that were too many to remember.
        if before.is_none() && seen.revision > 0 && self.has_lost_sight {
            self.left_out += 1;
            return;
        }
        let known = before.as_ref().map(|open| open.at);
        let Some(at) = known.or_else(|| self.begin(seen)) else {
            self.left_out += 1;
            return;
        };
        let found = &mut self.found[at as usize];
        let told = before.as_ref().map(|it| it.traffic).unwrap_or_default();
        found.traffic = found.traffic.plus(seen.traffic.since(told));
        found.contacts.last = found.contacts.last.max(seen.last_at);
        let activity = seen.activity.copied().map(Box::new);
        let activity = activity.or(before.and_then(|it| it.activity));
        if seen.is_over {
            found.beats(seen.flow, activity.as_deref());
        } else if self.open.len() < OPEN_MAX {
            self.open.insert(seen.flow, Open { at, traffic: seen.traffic, activity });
        } else {
            self.has_lost_sight = true;
            found.beats(seen.flow, activity.as_deref());
        }
    }

    /// A question to a resolver.
    pub fn ask(&mut self, lookup: &Lookup) {
        let is_within = self.since.is_none_or(|since| lookup.at >= since)
            && self.until.is_none_or(|until| lookup.at < until);
        if is_within && lookup.answer.is_none() {
            self.names.add(&lookup.name, lookup.at);
        }
    }

    /// A flow that is met for the first time; `None`: there is no room for its like.
    fn begin(&mut self, seen: &Glance<'_>) -> Option<u32> {
        let at = self.at(seen)?;
        let started_at = seen.started_at;
        let found = &mut self.found[at as usize];
        // What began before the period is no contact in it.
        if self.since.is_none_or(|since| started_at >= since) {
            found.contacts.add(started_at);
            if let Some(domain) = seen.domain {
                self.names.add(domain, started_at);
            }
        } else {
            found.contacts.go_on(started_at);
        }
        Some(at)
    }

    fn at(&mut self, seen: &Glance<'_>) -> Option<u32> {
        let program = self.programs.number(seen.process, seen.origin);
        let name = seen.operator.and_then(|it| it.name.as_ref());
        let to = match (seen.operator.and_then(|it| it.asn), name, seen.remote) {
            (Some(asn), ..) => Whither::Operator(asn),
            (None, Some(name), _) => Whither::Named(Arc::clone(name)),
            (None, None, Some(remote)) => Whither::Address(remote.ip()),
            (None, None, None) => Whither::Unread,
        };
        let is_theirs = seen.origin == Origin::Accepted;
        let port = seen.remote.map(|it| it.port()).filter(|port| *port != 0 && !is_theirs);
        let room = self.found.len() < KEYS_MAX;
        match self.by_key.entry(Key { program, to, port }) {
            hash_map::Entry::Occupied(known) => Some(*known.get()),
            hash_map::Entry::Vacant(free) => {
                let rows = program as usize;
                self.of_program.resize(self.of_program.len().max(rows + 1), 0);
                let of_program = &mut self.of_program[rows];
                if !room || *of_program >= KEYS_OF_PROGRAM {
                    return None;
                }
                *of_program += 1;
                let at = self.found.len() as u32;
                self.found.push(Found {
                    key: free.key().clone(),
                    operator: name.cloned(),
                    contacts: Contacts::at(seen.started_at),
                    traffic: Traffic::default(),
                    beat: None,
                });
                free.insert(at);
                Some(at)
            }
        }
    }

    /// What was found.
    pub fn answer(mut self) -> Answer {
        for (flow, open) in std::mem::take(&mut self.open) {
            self.found[open.at as usize].beats(flow, open.activity.as_deref());
        }
        let programs = &self.programs;
        let mut rows: Vec<Row> = self.found.into_iter().map(|it| it.into_row(programs)).collect();
        rows.sort_by(|a, b| {
            let shares = b.share().total_cmp(&a.share());
            let names = |it: &Row| (Arc::clone(&it.program), it.script.clone());
            shares.then_with(|| b.contacts.cmp(&a.contacts)).then_with(|| names(a).cmp(&names(b)))
        });
        let (names, names_left_out) = self.names.into_rows();
        Answer { rows, names, left_out: self.left_out, names_left_out }
    }
}

impl Found {
    /// Of a flow that is over, or as far as it is known.
    fn beats(&mut self, flow: FlowId, activity: Option<&Activity>) {
        let Some(activity) = activity.filter(|it| it.says_something()) else { return };
        let Some((median_seconds, share)) = activity.beat() else { return };
        let beat = Beat { flow, spans: activity.spans(), median_seconds, share };
        if self.beat.is_none_or(|known| known.spans < beat.spans) {
            self.beat = Some(beat);
        }
    }

    fn into_row(self, programs: &Programs) -> Row {
        let Self { key, operator, contacts, traffic, beat } = self;
        let (asn, to) = match key.to {
            Whither::Operator(asn) => (Some(asn), operator),
            Whither::Named(name) => (None, Some(name)),
            Whither::Address(address) => (None, Some(address.to_string().into())),
            Whither::Unread => (None, Some("(unknown)".into())),
        };
        let (program, script) = programs.named(key.program);
        Row {
            program,
            script,
            to: to.unwrap_or_else(|| asn.map_or_else(String::new, |asn| format!("AS{asn}")).into()),
            asn,
            port: key.port,
            flows: contacts.flows,
            contacts: contacts.count,
            hours: contacts.hours,
            days: contacts.days,
            gaps: contacts.gaps(),
            beat,
            traffic,
            first: contacts.first,
            last: contacts.last,
        }
    }
}

#[cfg(test)]
mod tests;

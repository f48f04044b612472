//! What is looked up in the index: the terms of a record, and the terms a filter asks for. Both
//! sides in one file, because they must agree. A term may bring too many blocks, never too few: the
//! query reads the records and decides.

use std::net::IpAddr;

use data_encoding::HEXLOWER;
use ipnet::IpNet;

use crate::{
    event::{Process, Reason, Record},
    filter::Filter,
    select::{ContainerSelector, DestinationSelector, OperatorSelector, UserSelector},
    store::ledger::frame::{self, verdict_bit},
};

/// First byte of a key. New numbers, never others for old ones; a change needs a new
/// `seal::VERSION`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub(super) enum Dimension {
    Country = 1,
    Verdict = 2,
    /// Process name, or file name of the executable or of what was claimed to be; hashed.
    Program = 3,
    /// Full path of either, hashed.
    Executable = 4,
    Asn = 5,
    /// Lower-case name.
    Operator = 6,
    /// The first 24 bits of an IPv4 address.
    Net4 = 7,
    /// The first 48 bits of an IPv6 address.
    Net6 = 8,
    /// Lower-case name backwards, so that subdomains stand together.
    Domain = 9,
    /// What an interpreter runs: as it was passed, and its file name; hashed.
    Script = 10,
    /// Number, and name behind an @.
    User = 11,
    /// Also of a user's manager by its bare name.
    Unit = 12,
    /// As it is; empty for what is in none.
    Container = 13,
    /// The first bytes of the SHA-256 of the executable.
    Hash = 14,
    /// A number, and the rule's name.
    Reason = 15,
    /// Of the process and of those above it.
    Pid = 16,
}

impl Dimension {
    pub(super) const fn bit(self) -> u32 {
        1 << self as u16
    }
}

/// First byte of the keys of groups: tables of blocks.
pub(super) const GROUPS: u8 = 0;

/// Longest domain in a term; more only brings more blocks.
const DOMAIN_MAX: usize = 255;
/// Bytes of an executable's hash in a term, likewise.
const HASH_BYTES: usize = 8;

/// Calls `each` with the terms of the flow itself. Its process and operator have their own, so that
/// those of a block are looked at once.
pub(super) fn of_flow(record: &Record, mut each: impl FnMut(Dimension, &[u8])) {
    each(Dimension::Verdict, &[verdict_bit(record.judgement.verdict)]);
    if let Some(code) = record.place.country.code() {
        each(Dimension::Country, &code.bytes());
    }
    match record.egress.remote.map(|remote| remote.ip()) {
        Some(IpAddr::V4(address)) => each(Dimension::Net4, &address.octets()[..3]),
        Some(IpAddr::V6(address)) => each(Dimension::Net6, &address.octets()[..6]),
        None => {}
    }
    for name in record.place.names() {
        each(Dimension::Domain, &backwards(name));
    }
    match &record.judgement.reason {
        Reason::Rule(name) => each(Dimension::Reason, &of_rule(name)),
        reason => each(Dimension::Reason, &[reason_number(reason)]),
    }
}

pub(super) fn of_process(process: &Process, mut each: impl FnMut(Dimension, &[u8])) {
    each(Dimension::Program, &hash(process.name.as_bytes()));
    for path in process.executable.iter().chain(&process.executable_claimed) {
        each(Dimension::Executable, &hash(path.as_bytes()));
        let file = path.rsplit('/').next().unwrap_or(path);
        each(Dimension::Program, &hash(file.as_bytes()));
    }
    if let Some(script) = process.script() {
        let file = script.rsplit('/').next().unwrap_or(script);
        for name in [script, file] {
            each(Dimension::Script, &hash(name.as_bytes()));
            // Who asks for a program may mean what it runs.
            each(of_program(name).0, &hash(name.as_bytes()));
        }
    }
    each(Dimension::Pid, &process.pid.to_be_bytes());
    for parent in &process.parents {
        each(Dimension::Pid, &parent.pid.to_be_bytes());
    }
    each(Dimension::User, &process.user.id.to_be_bytes());
    if let Some(name) = &process.user.name {
        each(Dimension::User, &of_user(name));
    }
    if let Some(unit) = &process.unit {
        each(Dimension::Unit, unit.as_bytes());
        if let Some((_, bare)) = unit.split_once('/') {
            each(Dimension::Unit, bare.as_bytes());
        }
    }
    each(Dimension::Container, process.container.as_deref().unwrap_or_default().as_bytes());
    if let Some(sha256) = process.file.sha256 {
        each(Dimension::Hash, &sha256[..HASH_BYTES]);
    }
}

/// `name`: the operator's, in lower case.
pub(super) fn of_operator(
    asn: Option<u32>,
    name: Option<&str>,
    mut each: impl FnMut(Dimension, &[u8]),
) {
    if let Some(asn) = asn {
        each(Dimension::Asn, &asn.to_be_bytes());
    }
    if let Some(name) = name {
        each(Dimension::Operator, name.as_bytes());
    }
}

/// Which terms are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Match {
    /// Those that begin with this.
    Prefix(Vec<u8>),
    /// Those from the one up to the other, both included.
    Range(Vec<u8>, Vec<u8>),
    /// Those with this somewhere in them.
    Part(Vec<u8>),
}

impl Match {
    pub(super) fn meets(&self, term: &[u8]) -> bool {
        match self {
            Self::Prefix(prefix) => term.starts_with(prefix),
            Self::Range(first, last) => (first.as_slice()..=last.as_slice()).contains(&term),
            Self::Part(part) => term.windows(part.len().max(1)).any(|some| some == part),
        }
    }
}

/// What every matching record has: a term of the dimension that meets one of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) struct Demand {
    pub(super) dimension: Dimension,
    pub(super) any: Vec<Match>,
}

/// What blocks a filter asks for: those that meet every demand.
pub(super) fn of_filter(filter: &Filter) -> Vec<Demand> {
    let mut demands = Vec::new();
    let mut demand = |dimension, any: Vec<Match>| demands.push(Demand { dimension, any });
    if !filter.countries.is_empty() {
        let any = filter.countries.iter().map(|code| Match::Prefix(code.bytes().to_vec()));
        demand(Dimension::Country, any.collect());
    }
    if !filter.verdicts.is_empty() {
        let any = filter.verdicts.iter().map(|it| Match::Prefix(vec![verdict_bit(*it)]));
        demand(Dimension::Verdict, any.collect());
    }
    let one = |all: Vec<(Dimension, Match)>| {
        // What is of several dimensions can't be demanded of one.
        let first = all.first()?.0;
        let is_one = all.iter().all(|(dimension, _)| *dimension == first);
        is_one
            .then(|| Demand { dimension: first, any: all.into_iter().map(|(_, it)| it).collect() })
    };
    let processes = filter.processes.iter().map(|process| of_program(&process.0));
    let operators = filter.operators.iter().map(of_operator_asked);
    let destinations = filter.destinations.iter().map(|it| of_destination(&it.selector));
    let all = [one(processes.collect()), one(operators.collect()), one(destinations.collect())];
    demands.extend(all.into_iter().flatten());
    demands.extend(of_filter_by_process(filter));
    let reasons = filter.reasons.iter().map(|reason| match reason {
        Reason::Rule(name) => exactly(of_rule(name)),
        reason => exactly(vec![reason_number(reason)]),
    });
    demands.extend(any_of(Dimension::Reason, reasons));
    demands
}

/// By what else is known of who sends.
fn of_filter_by_process(filter: &Filter) -> impl Iterator<Item = Demand> {
    let scripts = filter.scripts.iter().map(|it| of_script(it.text()));
    let users = filter.users.iter().map(|it| match it {
        UserSelector::Id(id) => exactly(id.to_be_bytes().to_vec()),
        UserSelector::Name(name) => exactly(of_user(name)),
    });
    let units = filter.units.iter().map(|it| exactly(it.0.as_bytes().to_vec()));
    let containers = filter.containers.iter().map(|it| match it {
        ContainerSelector::None => exactly(Vec::new()),
        ContainerSelector::Named(name) => Match::Prefix(name.as_bytes().to_vec()),
    });
    let hashes = filter.hashes.iter().map(|digits| {
        // An odd digit at the end only brings more.
        let whole = digits.len().min(HASH_BYTES * 2) / 2 * 2;
        Match::Prefix(HEXLOWER.decode(&digits.as_bytes()[..whole]).unwrap_or_default())
    });
    let pid = |pid: &u32| exactly(pid.to_be_bytes().to_vec());
    let demands = [
        any_of(Dimension::Pid, filter.pids.iter().map(pid)),
        any_of(Dimension::Pid, filter.tree.iter().map(pid)),
        any_of(Dimension::Script, scripts),
        any_of(Dimension::User, users),
        any_of(Dimension::Unit, units),
        any_of(Dimension::Container, containers),
        any_of(Dimension::Hash, hashes),
    ];
    demands.into_iter().flatten()
}

/// `None`: nothing is asked for.
fn any_of(dimension: Dimension, any: impl Iterator<Item = Match>) -> Option<Demand> {
    let any: Vec<Match> = any.collect();
    (!any.is_empty()).then_some(Demand { dimension, any })
}

fn exactly(term: Vec<u8>) -> Match {
    Match::Range(term.clone(), term)
}

fn of_script(text: &str) -> Match {
    exactly(hash(text.as_bytes()).to_vec())
}

/// No number looks like it.
fn of_user(name: &str) -> Vec<u8> {
    let mut term = b"@".to_vec();
    term.extend_from_slice(name.as_bytes());
    term
}

const RULE: u8 = 3;

/// New numbers, never others for old ones.
fn reason_number(reason: &Reason) -> u8 {
    match reason {
        Reason::Country => 0,
        Reason::Operator => 1,
        Reason::Unlocated => 2,
        Reason::Rule(_) => RULE,
        Reason::LocalNetwork => 4,
        Reason::Undetermined => 5,
        Reason::Malformed => 6,
    }
}

fn of_rule(name: &str) -> Vec<u8> {
    let mut term = vec![RULE];
    term.extend_from_slice(name.as_bytes());
    term
}

fn of_program(name: &str) -> (Dimension, Match) {
    let dimension = if name.contains('/') { Dimension::Executable } else { Dimension::Program };
    (dimension, Match::Prefix(hash(name.as_bytes()).to_vec()))
}

fn of_operator_asked(operator: &OperatorSelector) -> (Dimension, Match) {
    match operator {
        OperatorSelector::Asn(asn) => (Dimension::Asn, Match::Prefix(asn.to_be_bytes().to_vec())),
        OperatorSelector::Name(part) => {
            (Dimension::Operator, Match::Part(part.as_bytes().to_vec()))
        }
    }
}

fn of_destination(destination: &DestinationSelector) -> (Dimension, Match) {
    match destination {
        DestinationSelector::Network(net) => network(*net),
        DestinationSelector::Domain(domain) => {
            (Dimension::Domain, Match::Prefix(backwards(domain)))
        }
    }
}

fn network(net: IpNet) -> (Dimension, Match) {
    match net {
        IpNet::V4(net) => {
            let [first, last] =
                [net.network(), net.broadcast()].map(|it| it.octets()[..3].to_vec());
            (Dimension::Net4, Match::Range(first, last))
        }
        IpNet::V6(net) => {
            let [first, last] =
                [net.network(), net.broadcast()].map(|it| it.octets()[..6].to_vec());
            (Dimension::Net6, Match::Range(first, last))
        }
    }
}

/// Eight bytes that are the same in every version of every dependency.
fn hash(value: &[u8]) -> [u8; 8] {
    let mut short = [0; 8];
    short.copy_from_slice(&frame::hash(&[value])[..8]);
    short
}

fn backwards(domain: &str) -> Vec<u8> {
    let name = domain.trim_end_matches('.').bytes().rev().map(|byte| byte.to_ascii_lowercase());
    name.take(DOMAIN_MAX).collect()
}

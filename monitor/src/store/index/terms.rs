//! What is looked up in the index: the terms of a record, and the terms a filter asks for. Both
//! sides in one file, because they must agree. A term may bring too many blocks, never too few: the
//! query reads the records and decides.

use std::net::IpAddr;

use data_encoding::HEXLOWER;
use ipnet::IpNet;

use crate::{
    event::{Certainty, Egress, Lookup, Origin, Phase, Process, Reason, Record, Timestamp},
    filter::Filter,
    select::{ContainerSelector, DestinationSelector, OperatorSelector, UserSelector},
    store::ledger::frame::{self, Summary, verdict_bit},
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
    /// A byte each: transport, origin, phase, certainty.
    Kind = 17,
    /// How large a number its sent bytes are: bits.
    Size = 18,
    /// The remote port.
    Port = 19,
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
    if let Some(remote) = record.egress.remote {
        of_address(remote.ip(), &mut each);
    }
    for name in record.place.names() {
        each(Dimension::Domain, &backwards(name));
    }
    match &record.judgement.reason {
        Reason::Rule(name) => each(Dimension::Reason, &of_rule(name)),
        reason => each(Dimension::Reason, &[reason_number(reason)]),
    }
    let Egress { transport, origin, phase, .. } = &record.egress;
    let certainty = certainty_number(record.judgement.certainty);
    each(Dimension::Kind, &[transport.0, origin_number(*origin), phase_number(*phase), certainty]);
    if let Some(remote) = record.egress.remote {
        each(Dimension::Port, &remote.port().to_be_bytes());
    }
}

/// Apart from the others: it grows, so who asks for this much finds each later state, too.
pub(super) fn size(record: &Record) -> [u8; 1] {
    [bits(record.egress.traffic.sent_bytes)]
}

fn bits(bytes: u64) -> u8 {
    (u64::BITS - bytes.leading_zeros()) as u8
}

/// Its process has its own.
pub(super) fn of_lookup(lookup: &Lookup, mut each: impl FnMut(Dimension, &[u8])) {
    each(Dimension::Domain, &backwards(&lookup.name));
    for address in lookup.answer.iter().flatten() {
        of_address(*address, &mut each);
    }
}

fn of_address(address: IpAddr, mut each: impl FnMut(Dimension, &[u8])) {
    match address {
        IpAddr::V4(address) => each(Dimension::Net4, &address.octets()[..3]),
        IpAddr::V6(address) => each(Dimension::Net6, &address.octets()[..6]),
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
    /// Those with this byte at this place.
    At(usize, u8),
}

impl Match {
    pub(super) fn meets(&self, term: &[u8]) -> bool {
        match self {
            Self::Prefix(prefix) => term.starts_with(prefix),
            Self::Range(first, last) => (first.as_slice()..=last.as_slice()).contains(&term),
            Self::Part(part) => term.windows(part.len().max(1)).any(|some| some == part),
            Self::At(place, byte) => term.get(*place) == Some(byte),
        }
    }
}

/// What every matching record has: a term of the dimension that meets one of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) struct Demand {
    pub(super) dimension: Dimension,
    pub(super) any: Vec<Match>,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Sought {
    Flows,
    Lookups,
}

impl Sought {
    /// Whether a block may hold some of it in the span asked for.
    pub(super) fn is_in_time(self, summary: &Summary, filter: &Filter) -> bool {
        let (count, first, last) = match self {
            Self::Flows => (summary.flows, summary.first, summary.last),
            // They are counted among the notices.
            Self::Lookups => (summary.notices, summary.other_first, summary.other_last),
        };
        count > 0 && filter.overlaps(Timestamp(first), Timestamp(last))
    }
}

/// What blocks a filter asks for: those that meet every demand.
pub(super) fn of_filter(sought: Sought, filter: &Filter) -> Vec<Demand> {
    let mut demands = of_filter_by_either(filter);
    if sought == Sought::Flows {
        demands.extend(of_filter_by_flow(filter));
    }
    demands
}

/// By what only flows have.
fn of_filter_by_flow(filter: &Filter) -> Vec<Demand> {
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
    demands.extend(of_one(filter.operators.iter().map(of_operator_asked)));
    let reasons = filter.reasons.iter().map(|reason| match reason {
        Reason::Rule(name) => exactly(of_rule(name)),
        reason => exactly(vec![reason_number(reason)]),
    });
    demands.extend(any_of(Dimension::Reason, reasons));
    let at = |place| move |number| Match::At(place, number);
    let transports = filter.transports.iter().map(|it| it.0).map(at(TRANSPORT));
    let origins = filter.origins.iter().map(|it| origin_number(*it)).map(at(ORIGIN));
    let phases = filter.phase.iter().map(|it| phase_number(*it)).map(at(PHASE));
    let certainties = filter.certainties.iter().map(|it| certainty_number(*it)).map(at(CERTAINTY));
    demands.extend(any_of(Dimension::Kind, transports));
    demands.extend(any_of(Dimension::Kind, origins));
    demands.extend(any_of(Dimension::Kind, phases));
    demands.extend(any_of(Dimension::Kind, certainties));
    let ports = filter.ports.iter().map(|port| exactly(port.to_be_bytes().to_vec()));
    demands.extend(any_of(Dimension::Port, ports));
    let sizes = filter.min_bytes.map(|least| Match::Range(vec![bits(least)], vec![u8::MAX]));
    demands.extend(any_of(Dimension::Size, sizes.into_iter()));
    demands
}

/// By what flows and lookups have.
fn of_filter_by_either(filter: &Filter) -> Vec<Demand> {
    let processes = filter.processes.iter().map(|process| of_program(&process.0));
    let destinations = filter.destinations.iter().map(|it| of_destination(&it.selector));
    let both = [of_one(processes), of_one(destinations)].into_iter().flatten();
    both.chain(of_filter_by_process(filter)).collect()
}

/// What is of several dimensions can't be demanded of one.
fn of_one(all: impl Iterator<Item = (Dimension, Match)>) -> Option<Demand> {
    let all: Vec<(Dimension, Match)> = all.collect();
    let dimension = all.first()?.0;
    let is_one = all.iter().all(|(it, _)| *it == dimension);
    is_one.then(|| Demand { dimension, any: all.into_iter().map(|(_, it)| it).collect() })
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

/// Places in the term of a flow's kind.
const TRANSPORT: usize = 0;
const ORIGIN: usize = 1;
const PHASE: usize = 2;
const CERTAINTY: usize = 3;

/// New numbers, never others for old ones; so are those below.
fn origin_number(origin: Origin) -> u8 {
    match origin {
        Origin::Process => 0,
        Origin::Accepted => 1,
        Origin::Forwarded => 2,
        Origin::PacketSocket => 3,
        Origin::Tunnel => 4,
        Origin::Kernel => 5,
        Origin::PreExisting => 6,
    }
}

fn phase_number(phase: Phase) -> u8 {
    match phase {
        Phase::Attempt => 0,
        Phase::Sent => 1,
    }
}

fn certainty_number(certainty: Certainty) -> u8 {
    match certainty {
        Certainty::Full => 0,
        Certainty::Partial => 1,
        Certainty::Disputed => 2,
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

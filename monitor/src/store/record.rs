//! The stored form of ledger entries, version 1 of the format: serde structs of their own, because
//! domain types are not serializable. `docs/store-format.md` describes them. It converts and
//! interns; it knows nothing of blocks, files or the index.
//!
//! Fields are in postcard's order, so this file may be extended by new enum variants at the end of
//! an enum, and by nothing else, without a new format version.

mod lookup;
mod process;
mod socket;
mod via;

use serde::{Deserialize, Serialize};

pub(super) use self::process::{StoredProcess, process_from_stored, process_to_stored};
use self::{
    lookup::{StoredLookup, lookup_from_stored, lookup_to_stored},
    socket::{StoredSocket, socket_from_stored, socket_to_stored},
    via::{StoredVia, via_from_stored, via_to_stored},
};
use super::{
    basis::{Basis, StoredBasis, basis_from_stored, basis_to_stored},
    executed::{StoredExecuted, learn_executed},
    notice::{StoredNotice, notice_from_stored, notice_to_stored},
    tables::{Interner, Tables},
    timeline::{StoredTimeline, timeline_from_stored, timeline_to_stored},
};
use crate::event::{
    Attribution, Certainty, Country, CountryCode, Domain, DomainSource, Egress, Entry, FlowId,
    Judgement, Mac, Operator, Origin, Passage, Phase, Place, Reason, Record, Rollup, Sender,
    ServerName, Timestamp, Traffic, Transport, User, Verdict, Way,
};

/// Bytes that decode to nothing that this version knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RecordError {
    #[error("malformed bytes")]
    Malformed,
    #[error("an unknown {0}")]
    Unknown(&'static str),
    #[error("a reference to what is not in the block's tables")]
    Dangling,
}

/// Numbers of domain words in the stored form: never reused, never changed.
macro_rules! codes {
    ($type:ident, $encode:ident, $decode:ident { $($variant:ident = $code:literal),+ $(,)? }) => {
        fn $encode(value: $type) -> u8 {
            match value { $($type::$variant => $code),+ }
        }
        fn $decode(code: u8) -> Result<$type, RecordError> {
            match code {
                $($code => Ok($type::$variant),)+
                _ => Err(RecordError::Unknown(stringify!($type))),
            }
        }
    };
}

codes!(Phase, phase_code, phase { Attempt = 0, Sent = 1 });
codes!(Origin, origin_code, origin {
    Process = 0, Accepted = 1, Forwarded = 2, PacketSocket = 3, Tunnel = 4, Kernel = 5,
    PreExisting = 6,
});
codes!(Attribution, attribution_code, attribution {
    Socket = 0, Creator = 1, Procfs = 2, None = 3,
});
codes!(Verdict, verdict_code, verdict { Unapproved = 0, Unknown = 1, Approved = 2, Local = 3 });
codes!(DomainSource, domain_source_code, domain_source {
    Dns = 0, DnsHost = 1, Sni = 2, Quic = 3, Undetermined = 4,
});
codes!(Certainty, certainty_code, certainty { Full = 0, Partial = 1, Disputed = 2 });

/// Position in the string table of the block.
pub(super) type Text = u32;

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum StoredEntry {
    Flow(StoredFlow),
    Rollup(StoredRollup),
    Notice {
        at: u64,
        notice: StoredNotice,
    },
    /// A flow with what only some flows have.
    FlowWith(StoredFlow, Vec<StoredExtra>),
    /// A roll-up with what it rests on.
    RollupWith(StoredRollup, StoredBasis),
    Lookup(StoredLookup),
    /// A lookup with what is told of its process for the first time in the block.
    LookupWith(StoredLookup, Vec<StoredExecuted>),
}

/// What only some flows have.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum StoredExtra {
    Passage {
        mac: Option<[u8; 6]>,
        from: Option<Text>,
        by: Option<Text>,
    },
    /// Where the domain is from.
    Name {
        source: u8,
    },
    /// Who made the socket, where another process sends by it: a position in the process table.
    Creator {
        process: u32,
    },
    /// What the verdict rests on.
    Basis(StoredBasis),
    /// Of the process that sends or made the socket, for the first time in the block.
    Executed(StoredExecuted),
    /// The domain is from a trusted resolver.
    TrustedName,
    /// What the stream itself says, and where it says it; no name: it could not be read.
    ServerName {
        name: Option<Text>,
        source: u8,
    },
    /// A frame in which no IP was found.
    Frame {
        ethertype: u16,
    },
    /// The IP headers can't be read.
    Malformed,
    /// By which clock the start is told.
    Timeline(StoredTimeline),
    /// No watched interface was seen to get a packet of it.
    Unconfirmed,
    /// It went by loopback, whatever its address.
    Loopback,
    /// The kernel had no room to count it.
    Uncounted,
    /// The other address that its packets go to.
    Via(StoredVia),
    /// What later rules say of a violation.
    VerdictNow {
        verdict: u8,
    },
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredFlow {
    /// Lower half of the flow's id.
    id_low: [u8; 8],
    /// Upper half of the id less the start, wrapping: 0 but for strange clocks.
    id_offset: i64,
    revision: u32,
    /// Start less the base time of the block, wrapping.
    started: i64,
    /// `last_at` less the start, wrapping.
    last: i64,
    /// `ended_at` less `last_at`, wrapping.
    ended: Option<i64>,
    phase: u8,
    origin: u8,
    transport: u8,
    local: Option<StoredSocket>,
    remote: StoredSocket,
    traffic: StoredTraffic,
    process: StoredSender,
    country: StoredCountry,
    /// Position in the operator table.
    operator: Option<u32>,
    domain: Option<Text>,
    verdict: u8,
    certainty: u8,
    reason: StoredReason,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct StoredTraffic {
    sent_bytes: u64,
    sent_packets: u64,
    received_bytes: u64,
    received_packets: u64,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum StoredCountry {
    Known([u8; 2]),
    Unlocated,
    Local,
}

#[derive(Debug, Serialize, Deserialize)]
enum StoredReason {
    Country,
    Operator,
    Unlocated,
    Rule(Text),
    LocalNetwork,
    Undetermined,
    Malformed,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredRollup {
    hour: u64,
    program: Text,
    user: Option<StoredUser>,
    country: StoredCountry,
    verdict: u8,
    flows: u64,
    traffic: StoredTraffic,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredUser {
    id: u32,
    name: Option<Text>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredOperator {
    asn: Option<u32>,
    name: Option<Text>,
    country: Option<[u8; 2]>,
}

/// `base` is the block's base time; texts, processes and operators go into the tables.
pub(super) fn to_stored(entry: &Entry, base: u64, into: &mut Interner) -> StoredEntry {
    match entry {
        Entry::Flow(record) => {
            let flow = flow_to_stored(record, base, into);
            let extras = extras_to_stored(record, into);
            if extras.is_empty() {
                StoredEntry::Flow(flow)
            } else {
                StoredEntry::FlowWith(flow, extras)
            }
        }
        Entry::Rollup(rollup) => {
            let stored = StoredRollup {
                hour: rollup.hour.0,
                program: into.text(&rollup.program),
                user: rollup.user.as_ref().map(|user| user_to_stored(user, into)),
                country: country_to_stored(rollup.country),
                verdict: verdict_code(rollup.verdict),
                flows: rollup.flows,
                traffic: traffic_to_stored(rollup.traffic),
            };
            let basis = Basis::of_rollup(rollup.provenance.as_ref());
            if basis.is_none() {
                StoredEntry::Rollup(stored)
            } else {
                StoredEntry::RollupWith(stored, basis_to_stored(&basis, into))
            }
        }
        Entry::Notice { at, notice } => {
            StoredEntry::Notice { at: at.0, notice: notice_to_stored(notice, into) }
        }
        Entry::Lookup(lookup) => {
            let stored = lookup_to_stored(lookup, into);
            let executed = into.take_executed();
            if executed.is_empty() {
                StoredEntry::Lookup(stored)
            } else {
                StoredEntry::LookupWith(stored, executed)
            }
        }
    }
}

pub(super) fn from_stored(
    entry: StoredEntry,
    base: u64,
    tables: &mut Tables,
) -> Result<Entry, RecordError> {
    Ok(match entry {
        StoredEntry::Flow(flow) => Entry::Flow(flow_from_stored(&flow, base, tables)?),
        StoredEntry::FlowWith(flow, extras) => {
            for extra in &extras {
                if let StoredExtra::Executed(executed) = extra {
                    learn_executed(executed, tables)?;
                }
            }
            let mut record = flow_from_stored(&flow, base, tables)?;
            for extra in &extras {
                add_extra(&mut record, flow.operator, extra, tables)?;
            }
            Entry::Flow(record)
        }
        StoredEntry::Rollup(rollup) => Entry::Rollup(rollup_from_stored(&rollup, tables)?),
        StoredEntry::RollupWith(rollup, basis) => {
            let provenance = basis_from_stored(&basis, tables)?.provenance.clone();
            Entry::Rollup(Rollup { provenance, ..rollup_from_stored(&rollup, tables)? })
        }
        StoredEntry::Notice { at, notice } => {
            Entry::Notice { at: Timestamp(at), notice: notice_from_stored(notice, tables)? }
        }
        StoredEntry::Lookup(lookup) => Entry::Lookup(lookup_from_stored(&lookup, tables)?),
        StoredEntry::LookupWith(lookup, executed) => {
            executed.iter().try_for_each(|it| learn_executed(it, tables))?;
            Entry::Lookup(lookup_from_stored(&lookup, tables)?)
        }
    })
}

fn rollup_from_stored(rollup: &StoredRollup, tables: &Tables) -> Result<Rollup, RecordError> {
    Ok(Rollup {
        hour: Timestamp(rollup.hour),
        program: tables.text(rollup.program)?,
        user: rollup.user.as_ref().map(|user| user_from_stored(user, tables)).transpose()?,
        country: country_from_stored(rollup.country)?,
        verdict: verdict(rollup.verdict)?,
        provenance: None,
        flows: rollup.flows,
        traffic: traffic_from_stored(rollup.traffic),
    })
}

fn extras_to_stored(record: &Record, into: &mut Interner) -> Vec<StoredExtra> {
    let mut extras = Vec::new();
    let passage = &record.egress.passage;
    if passage.mac.is_some() || passage.from.is_some() || passage.by.is_some() {
        extras.push(StoredExtra::Passage {
            mac: passage.mac.map(|mac| mac.0),
            from: into.maybe(passage.from.as_ref()),
            by: into.maybe(passage.by.as_ref()),
        });
    }
    if let Some(ethertype) = passage.ethertype {
        extras.push(StoredExtra::Frame { ethertype });
    }
    if passage.is_uncounted {
        extras.push(StoredExtra::Uncounted);
    }
    extras
        .extend(record.verdict_now.map(|it| StoredExtra::VerdictNow { verdict: verdict_code(it) }));
    if passage.is_malformed {
        extras.push(StoredExtra::Malformed);
    }
    if let Some(via) = &record.place.via {
        extras.push(StoredExtra::Via(via_to_stored(via, into)));
    }
    match passage.way {
        Way::Confirmed => {}
        Way::Unconfirmed => extras.push(StoredExtra::Unconfirmed),
        Way::Loopback => extras.push(StoredExtra::Loopback),
    }
    if let Some(domain) = &record.place.domain {
        extras.push(StoredExtra::Name { source: domain_source_code(domain.source) });
        if domain.is_trusted {
            extras.push(StoredExtra::TrustedName);
        }
    }
    if let Some(said) = &record.place.server_name {
        let (name, source) = (into.maybe(said.name()), domain_source_code(said.source()));
        extras.push(StoredExtra::ServerName { name, source });
    }
    if let Sender::Process { creator: Some(creator), .. } = &record.sender {
        extras.push(StoredExtra::Creator { process: into.process(creator) });
    }
    let basis = Basis::of_flow(&record.place, record.provenance.as_ref());
    if !basis.is_none() {
        extras.push(StoredExtra::Basis(basis_to_stored(&basis, into)));
    }
    extras.extend(record.timeline.map(|it| StoredExtra::Timeline(timeline_to_stored(it, into))));
    extras.extend(into.take_executed().into_iter().map(StoredExtra::Executed));
    extras
}

/// `operator`: the flow's position in the operator table.
fn add_extra(
    record: &mut Record,
    operator: Option<u32>,
    extra: &StoredExtra,
    tables: &mut Tables,
) -> Result<(), RecordError> {
    match extra {
        StoredExtra::Passage { mac, from, by } => {
            let passage = &mut record.egress.passage;
            passage.mac = mac.map(Mac);
            (passage.from, passage.by) = (tables.maybe(*from)?, tables.maybe(*by)?);
        }
        StoredExtra::Frame { ethertype } => record.egress.passage.ethertype = Some(*ethertype),
        StoredExtra::VerdictNow { verdict: code } => record.verdict_now = Some(verdict(*code)?),
        StoredExtra::Malformed => record.egress.passage.is_malformed = true,
        StoredExtra::Unconfirmed => record.egress.passage.way = Way::Unconfirmed,
        StoredExtra::Loopback => record.egress.passage.way = Way::Loopback,
        StoredExtra::Uncounted => record.egress.passage.is_uncounted = true,
        StoredExtra::Via(via) => {
            record.place.via = Some(Box::new(via_from_stored(via, tables)?));
        }
        StoredExtra::Name { source } => {
            let source = domain_source(*source)?;
            // Once there was one name, which could be either.
            let is_said = matches!(source, DomainSource::Sni | DomainSource::Quic);
            if is_said && let Some(Domain { name, .. }) = record.place.domain.take() {
                record.place.server_name = Some(ServerName::Said { name, source });
            } else if let Some(domain) = &mut record.place.domain {
                domain.source = source;
            }
        }
        StoredExtra::TrustedName => {
            if let Some(domain) = &mut record.place.domain {
                domain.is_trusted = true;
            }
        }
        StoredExtra::ServerName { name, source } => {
            let source = domain_source(*source)?;
            record.place.server_name = Some(match tables.maybe(*name)? {
                Some(name) => ServerName::Said { name, source },
                None => ServerName::Undetermined,
            });
        }
        StoredExtra::Creator { process } => match &mut record.sender {
            Sender::Process { creator, .. } => *creator = Some(tables.process(*process)?),
            Sender::Nobody => return Err(RecordError::Dangling),
        },
        StoredExtra::Basis(basis) => {
            let basis = basis_from_stored(basis, tables)?;
            record.place.second = basis.second(record.place.country.code())?;
            if let (true, Some(at)) = (basis.is_anycast, operator) {
                record.place.operator = Some(tables.anycast(at)?);
            }
            record.provenance.clone_from(&basis.provenance);
        }
        StoredExtra::Timeline(timeline) => {
            record.timeline = Some(timeline_from_stored(timeline, tables)?);
        }
        // Learnt before the flow was decoded.
        StoredExtra::Executed(_) => {}
    }
    Ok(())
}

fn flow_to_stored(record: &Record, base: u64, into: &mut Interner) -> StoredFlow {
    let Record { egress, sender, place, judgement, .. } = record;
    StoredFlow {
        id_low: (egress.flow.0 as u64).to_le_bytes(),
        id_offset: ((egress.flow.0 >> 64) as u64).wrapping_sub(egress.started_at.0).cast_signed(),
        revision: egress.revision,
        started: egress.started_at.0.wrapping_sub(base).cast_signed(),
        last: egress.last_at.0.wrapping_sub(egress.started_at.0).cast_signed(),
        ended: egress.ended_at.map(|at| at.0.wrapping_sub(egress.last_at.0).cast_signed()),
        phase: phase_code(egress.phase),
        origin: origin_code(egress.origin),
        transport: egress.transport.0,
        local: egress.local.map(socket_to_stored),
        remote: egress.remote.map_or(StoredSocket::Unknown, socket_to_stored),
        traffic: traffic_to_stored(egress.traffic),
        process: sender_to_stored(sender, into),
        country: country_to_stored(place.country),
        operator: place.operator.as_ref().map(|operator| into.operator(operator)),
        domain: place.domain.as_ref().map(|domain| into.text(&domain.name)),
        verdict: verdict_code(judgement.verdict),
        certainty: certainty_code(judgement.certainty),
        reason: match &judgement.reason {
            Reason::Country => StoredReason::Country,
            Reason::Operator => StoredReason::Operator,
            Reason::Unlocated => StoredReason::Unlocated,
            Reason::Rule(name) => StoredReason::Rule(into.text(name)),
            Reason::LocalNetwork => StoredReason::LocalNetwork,
            Reason::Undetermined => StoredReason::Undetermined,
            Reason::Malformed => StoredReason::Malformed,
        },
    }
}

fn flow_from_stored(flow: &StoredFlow, base: u64, tables: &Tables) -> Result<Record, RecordError> {
    let started = base.wrapping_add(flow.started.cast_unsigned());
    let last = started.wrapping_add(flow.last.cast_unsigned());
    let id_high = started.wrapping_add(flow.id_offset.cast_unsigned());
    let egress = Egress {
        flow: FlowId(u128::from(id_high) << 64 | u128::from(u64::from_le_bytes(flow.id_low))),
        revision: flow.revision,
        started_at: Timestamp(started),
        last_at: Timestamp(last),
        ended_at: flow.ended.map(|after| Timestamp(last.wrapping_add(after.cast_unsigned()))),
        phase: phase(flow.phase)?,
        origin: origin(flow.origin)?,
        transport: Transport(flow.transport),
        local: flow.local.as_ref().and_then(socket_from_stored),
        remote: socket_from_stored(&flow.remote),
        traffic: traffic_from_stored(flow.traffic),
        passage: Passage::default(),
    };
    let sender = sender_from_stored(flow.process, tables)?;
    let place = Place {
        country: country_from_stored(flow.country)?,
        second: None,
        operator: flow.operator.map(|at| tables.operator(at)).transpose()?,
        // Before there was a source, there was but one.
        domain: tables.maybe(flow.domain)?.map(|name| Domain {
            name,
            source: DomainSource::Dns,
            is_trusted: false,
        }),
        server_name: None,
        via: None,
    };
    let judgement = Judgement {
        verdict: verdict(flow.verdict)?,
        certainty: certainty(flow.certainty)?,
        reason: match flow.reason {
            StoredReason::Country => Reason::Country,
            StoredReason::Operator => Reason::Operator,
            StoredReason::Unlocated => Reason::Unlocated,
            StoredReason::Rule(name) => Reason::Rule(tables.text(name)?),
            StoredReason::LocalNetwork => Reason::LocalNetwork,
            StoredReason::Undetermined => Reason::Undetermined,
            StoredReason::Malformed => Reason::Malformed,
        },
    };
    let (verdict_now, provenance, timeline) = (None, None, None);
    Ok(Record { egress, sender, place, judgement, verdict_now, provenance, timeline })
}

/// Position in the process table, and the attribution.
type StoredSender = Option<(u32, u8)>;

fn sender_to_stored(sender: &Sender, into: &mut Interner) -> StoredSender {
    match sender {
        Sender::Process { process, attribution, .. } => {
            Some((into.process(process), attribution_code(*attribution)))
        }
        Sender::Nobody => None,
    }
}

fn sender_from_stored(sender: StoredSender, tables: &Tables) -> Result<Sender, RecordError> {
    Ok(match sender {
        Some((at, by)) => {
            let (process, attribution) = (tables.process(at)?, attribution(by)?);
            Sender::Process { process, attribution, creator: None }
        }
        None => Sender::Nobody,
    })
}

pub(super) fn operator_to_stored(operator: &Operator, into: &mut Interner) -> StoredOperator {
    StoredOperator {
        asn: operator.asn,
        name: into.maybe(operator.name.as_ref()),
        country: operator.country.map(CountryCode::bytes),
    }
}

pub(super) fn operator_from_stored(
    operator: &StoredOperator,
    tables: &Tables,
) -> Result<Operator, RecordError> {
    Ok(Operator {
        asn: operator.asn,
        name: tables.maybe(operator.name)?,
        country: operator.country.map(country_code).transpose()?,
        is_anycast: false,
    })
}

fn user_to_stored(user: &User, into: &mut Interner) -> StoredUser {
    StoredUser { id: user.id, name: into.maybe(user.name.as_ref()) }
}

fn user_from_stored(user: &StoredUser, tables: &Tables) -> Result<User, RecordError> {
    Ok(User { id: user.id, name: tables.maybe(user.name)? })
}

fn country_to_stored(country: Country) -> StoredCountry {
    match country {
        Country::Known(code) => StoredCountry::Known(code.bytes()),
        Country::Unlocated => StoredCountry::Unlocated,
        Country::Local => StoredCountry::Local,
    }
}

fn country_from_stored(country: StoredCountry) -> Result<Country, RecordError> {
    Ok(match country {
        StoredCountry::Known(bytes) => Country::Known(country_code(bytes)?),
        StoredCountry::Unlocated => Country::Unlocated,
        StoredCountry::Local => Country::Local,
    })
}

pub(super) fn country_code(bytes: [u8; 2]) -> Result<CountryCode, RecordError> {
    let code = std::str::from_utf8(&bytes).ok().and_then(CountryCode::new);
    code.ok_or(RecordError::Unknown("Country"))
}

fn traffic_to_stored(traffic: Traffic) -> StoredTraffic {
    let Traffic { sent_bytes, sent_packets, received_bytes, received_packets } = traffic;
    StoredTraffic { sent_bytes, sent_packets, received_bytes, received_packets }
}

fn traffic_from_stored(traffic: StoredTraffic) -> Traffic {
    let StoredTraffic { sent_bytes, sent_packets, received_bytes, received_packets } = traffic;
    Traffic { sent_bytes, sent_packets, received_bytes, received_packets }
}

//! The stored form of flows: the fields that each has, and extras that only some have.

mod glance;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub(super) use self::glance::glance_at;
use super::{
    basis::{Basis, StoredBasis, basis_from_stored, basis_to_stored},
    error::FormError,
    executed::StoredExecuted,
    place::{
        StoredCountry, StoredVia, country_from_stored, country_to_stored, via_from_stored,
        via_to_stored,
    },
    sender::{StoredSender, sender_from_stored, sender_to_stored},
    socket::{StoredSocket, socket_from_stored, socket_to_stored},
    tables::{Interner, Tables},
    text::Text,
    timeline::{StoredTimeline, timeline_from_stored, timeline_to_stored},
    words::{
        certainty, certainty_code, domain_source, domain_source_code, origin, origin_code, phase,
        phase_code, verdict, verdict_code,
    },
};
use crate::{
    event::{
        Activity, Country, Domain, DomainSource, Egress, Findings, FlowId, Judgement, Mac, Passage,
        Place, Reason, Record, Sender, ServerName, Timestamp, Traffic, Transport, Way,
    },
    filter::Filter,
    select::DestinationSelector,
};

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
    /// How often which time lay between its bursts, by number of the length.
    Activity(Vec<(u8, u8)>),
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
pub(super) struct StoredTraffic {
    sent_bytes: u64,
    sent_packets: u64,
    received_bytes: u64,
    received_packets: u64,
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

pub(super) fn extras_to_stored(record: &Record, into: &mut Interner) -> Vec<StoredExtra> {
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
    let activity = record.egress.activity.as_ref();
    extras.extend(activity.map(|it| StoredExtra::Activity(it.counted().collect())));
    if passage.is_malformed {
        extras.push(StoredExtra::Malformed);
    }
    if let Some(via) = &record.place.via {
        let operator = via.place.operator.as_ref().map(|it| into.operator(it));
        extras.push(StoredExtra::Via(via_to_stored(via, operator)));
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
        extras.push(StoredExtra::Basis(basis_to_stored(&basis, &mut into.bases, &mut into.texts)));
    }
    extras.extend(
        record
            .timeline
            .map(|it| StoredExtra::Timeline(timeline_to_stored(it, &mut into.timelines))),
    );
    extras.extend(into.take_executed().into_iter().map(StoredExtra::Executed));
    extras
}

/// `operator`: the flow's position in the operator table.
fn add_extra(
    record: &mut Record,
    operator: Option<u32>,
    extra: &StoredExtra,
    tables: &mut Tables<'_>,
) -> Result<(), FormError> {
    match extra {
        StoredExtra::Passage { mac, from, by } => {
            let passage = &mut record.egress.passage;
            passage.mac = mac.map(Mac);
            (passage.from, passage.by) = (tables.texts.maybe(*from)?, tables.texts.maybe(*by)?);
        }
        StoredExtra::Frame { ethertype } => record.egress.passage.ethertype = Some(*ethertype),
        StoredExtra::VerdictNow { verdict: code } => record.verdict_now = Some(verdict(*code)?),
        StoredExtra::Activity(counted) => {
            let activity = Activity::of(counted.iter().copied()).ok_or(FormError::Malformed)?;
            record.egress.activity = Some(Box::new(activity));
        }
        StoredExtra::Malformed => record.egress.passage.is_malformed = true,
        StoredExtra::Unconfirmed => record.egress.passage.way = Way::Unconfirmed,
        StoredExtra::Loopback => record.egress.passage.way = Way::Loopback,
        StoredExtra::Uncounted => record.egress.passage.is_uncounted = true,
        StoredExtra::Via(via) => {
            record.place.via = Some(Box::new(via_from_stored(via, &mut tables.operators)?));
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
            record.place.server_name = Some(match tables.texts.maybe(*name)? {
                Some(name) => ServerName::Said { name, source },
                None => ServerName::Undetermined,
            });
        }
        StoredExtra::Creator { process } => match &mut record.sender {
            Sender::Process { creator, .. } => *creator = Some(tables.process(*process)?),
            Sender::Nobody => return Err(FormError::Dangling),
        },
        StoredExtra::Basis(basis) => {
            let basis = basis_from_stored(basis, &mut tables.bases, &tables.texts)?;
            record.place.second = basis.second(record.place.country.code())?;
            if let (true, Some(at)) = (basis.is_anycast, operator) {
                record.place.operator = Some(tables.operators.anycast(at)?);
            }
            record.provenance.clone_from(&basis.provenance);
        }
        StoredExtra::Timeline(timeline) => {
            record.timeline = Some(timeline_from_stored(timeline, &mut tables.timelines)?);
        }
        // Learnt before the flow was decoded.
        StoredExtra::Executed(_) => {}
    }
    Ok(())
}

pub(super) fn flow_to_stored(record: &Record, base: u64, into: &mut Interner) -> StoredFlow {
    let Record { egress, findings } = record;
    let Findings { sender, place, judgement, .. } = &**findings;
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

/// What is known of the files of processes that the flow is the first to refer to. To be asked before
/// anything else of the flow.
pub(super) fn learn_executed(
    extras: &[StoredExtra],
    tables: &mut Tables<'_>,
) -> Result<(), FormError> {
    for extra in extras {
        if let StoredExtra::Executed(executed) = extra {
            tables.processes.learn(executed.clone())?;
        }
    }
    Ok(())
}

/// To be asked of every flow of a block in order, or else [`pass_by`].
pub(super) fn flow_from_stored(
    flow: &StoredFlow,
    extras: &[StoredExtra],
    base: u64,
    tables: &mut Tables<'_>,
) -> Result<Record, FormError> {
    let mut record = bare_from_stored(flow, base, tables)?;
    for extra in extras {
        add_extra(&mut record, flow.operator, extra, tables)?;
    }
    Ok(record)
}

/// Of a flow that is not decoded: learns what later ones refer to.
pub(super) fn pass_by(extras: &[StoredExtra], tables: &mut Tables<'_>) -> Result<(), FormError> {
    for extra in extras {
        match extra {
            StoredExtra::Basis(basis) => {
                basis_from_stored(basis, &mut tables.bases, &tables.texts)?;
            }
            StoredExtra::Timeline(timeline) => {
                timeline_from_stored(timeline, &mut tables.timelines)?;
            }
            _ => {}
        }
    }
    Ok(())
}

impl StoredFlow {
    /// When it began.
    pub(super) fn started(&self, base: u64) -> u64 {
        base.wrapping_add(self.started.cast_unsigned())
    }

    /// Which flow it is, and in what state.
    pub(super) fn identity(&self, base: u64) -> (FlowId, u32) {
        let started = self.started(base);
        let id_high = started.wrapping_add(self.id_offset.cast_unsigned());
        let id = u128::from(id_high) << 64 | u128::from(u64::from_le_bytes(self.id_low));
        (FlowId(id), self.revision)
    }

    /// Whether the filter leaves room for it, as far as that is seen without decoding it.
    pub(super) fn may_match(
        &self,
        extras: &[StoredExtra],
        base: u64,
        filter: &Filter,
        tables: &Tables<'_>,
    ) -> bool {
        let started = self.started(base);
        let last = started.wrapping_add(self.last.cast_unsigned());
        let is_of_process =
            !filter.processes.is_empty() || !filter.pids.is_empty() || filter.tree.is_some();
        let country = country_from_stored(self.country).ok().and_then(Country::code);
        filter.overlaps(Timestamp(started), Timestamp(last))
            && (filter.countries.is_empty()
                || country.is_some_and(|code| filter.countries.contains(&code)))
            && (filter.verdicts.is_empty()
                || filter.verdicts.iter().any(|it| verdict_code(*it) == self.verdict))
            && (!is_of_process
                || self
                    .process
                    .is_some_and(|(at, _)| tables.processes.may_match(at, filter, &tables.texts)))
            && (filter.operators.is_empty()
                || filter.operators.iter().any(|wanted| {
                    self.operator.is_some_and(|at| tables.operators.matches(at, wanted))
                }))
            && (filter.destinations.is_empty()
                || filter
                    .destinations
                    .iter()
                    .any(|it| self.may_go_to(&it.selector, extras, tables)))
    }

    fn may_go_to(
        &self,
        wanted: &DestinationSelector,
        extras: &[StoredExtra],
        tables: &Tables<'_>,
    ) -> bool {
        match wanted {
            DestinationSelector::Network(net) => {
                socket_from_stored(&self.remote).is_some_and(|it| net.contains(&it.ip()))
            }
            DestinationSelector::Domain(_) => {
                let is_it = |at| tables.texts.seen(at).is_some_and(|name| wanted.holds(name));
                let says_one =
                    |extra: &StoredExtra| matches!(extra, StoredExtra::ServerName { .. });
                self.domain.is_some_and(is_it) || extras.iter().any(says_one)
            }
        }
    }
}

/// Without what extras tell.
fn bare_from_stored(
    flow: &StoredFlow,
    base: u64,
    tables: &Tables<'_>,
) -> Result<Record, FormError> {
    let started = flow.started(base);
    let last = started.wrapping_add(flow.last.cast_unsigned());
    let egress = Egress {
        flow: flow.identity(base).0,
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
        activity: None,
    };
    let sender = sender_from_stored(flow.process, tables)?;
    let place = Place {
        country: country_from_stored(flow.country)?,
        second: None,
        operator: flow.operator.map(|at| tables.operators.operator(at)).transpose()?,
        // Before there was a source, there was but one.
        domain: tables.texts.maybe(flow.domain)?.map(|name| Domain {
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
            StoredReason::Rule(name) => Reason::Rule(tables.texts.text(name)?),
            StoredReason::LocalNetwork => Reason::LocalNetwork,
            StoredReason::Undetermined => Reason::Undetermined,
            StoredReason::Malformed => Reason::Malformed,
        },
    };
    let (verdict_now, provenance, timeline) = (None, None, None);
    let findings = Findings { sender, place, judgement, verdict_now, provenance, timeline };
    Ok(Record { egress, findings: Arc::new(findings) })
}

pub(super) fn traffic_to_stored(traffic: Traffic) -> StoredTraffic {
    let Traffic { sent_bytes, sent_packets, received_bytes, received_packets } = traffic;
    StoredTraffic { sent_bytes, sent_packets, received_bytes, received_packets }
}

pub(super) fn traffic_from_stored(traffic: StoredTraffic) -> Traffic {
    let StoredTraffic { sent_bytes, sent_packets, received_bytes, received_packets } = traffic;
    Traffic { sent_bytes, sent_packets, received_bytes, received_packets }
}

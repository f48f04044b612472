//! From a record of the domain to its JSON form.

use std::borrow::Cow;

use super::{
    AutonomousSystem, BootFields, Container, Creator, DatabaseFields, DeclaredFields, Destination,
    Endpoint, Event, Geo, Geofenced, HashFields, HostFields, InterfaceFields, Meta, Network,
    Observer, Organization, PolicyFields, ProcessFields, Service, Side, Text, Time, Tls, TlsClient,
    UserFields, community_id, hex,
};
use crate::{
    event::{
        Ancestor, CountryCode, Findings, Operator, Passage, Place, Process, Record, ServerName, Way,
    },
    marks::Intervals,
};

impl<'a> From<&'a Record> for Event<'a> {
    fn from(record: &'a Record) -> Self {
        let egress = &record.egress;
        let process = record.sender.process();
        Self {
            timestamp: Time(egress.started_at),
            event: Meta {
                id: egress.flow.to_string().into(),
                kind: "event".into(),
                category: vec!["network".into()],
                r#type: vec!["connection".into()],
                start: Time(egress.started_at),
                end: egress.ended_at.map(Time),
            },
            network: Network {
                transport: egress.remote.map(|_| match egress.transport.name() {
                    Some(name) => name.into(),
                    None => egress.transport.to_string().into(),
                }),
                r#type: egress
                    .remote
                    .map(|remote| if remote.is_ipv4() { "ipv4" } else { "ipv6" }.into()),
                direction: "egress".into(),
                community_id: community_id(egress).map(Into::into),
            },
            source: Endpoint {
                ip: egress.local.map(|local| local.ip()),
                port: egress.local.filter(|_| egress.transport.has_ports()).map(|it| it.port()),
                mac: egress.passage.mac.map(|mac| mac.to_string().into()),
                bytes: egress.traffic.sent_bytes,
                packets: egress.traffic.sent_packets,
            },
            destination: destination(record),
            process: process.map(process_fields),
            user: process.map(|it| UserFields {
                id: it.user.id.to_string().into(),
                name: text(it.user.name.as_ref()),
            }),
            container: process
                .and_then(|it| text(it.container.as_ref()))
                .map(|id| Container { id }),
            service: process.and_then(|it| text(it.unit.as_ref())).map(|name| Service { name }),
            observer: observer(&egress.passage),
            tls: tls(&record.place),
            host: record
                .provenance
                .as_ref()
                .and_then(|it| it.host.as_deref())
                .map(HostFields::from),
            geofenced: geofenced(record),
        }
    }
}

impl<'a> Event<'a> {
    /// With the intervals that the flow was in, and what of it was said to be shared.
    pub fn marked(record: &'a Record, intervals: &'a Intervals) -> Self {
        let mut event = Self::from(record);
        let names = intervals.names(record).map(|name| name.as_ref().into());
        event.geofenced.interval = names.collect();
        let declared = intervals.declared(record).map(|(interval, share)| DeclaredFields {
            purpose: share.purpose.as_ref().into(),
            interval: interval.as_ref().into(),
        });
        event.geofenced.declared = declared.collect();
        event
    }
}

pub(super) fn text(value: Option<&std::sync::Arc<str>>) -> Option<Text<'_>> {
    value.map(|value| Cow::Borrowed(value.as_ref()))
}

fn tls(place: &Place) -> Option<Tls<'_>> {
    let server_name = text(place.server_name.as_ref().and_then(ServerName::name))?;
    Some(Tls { client: TlsClient { server_name } })
}

fn observer(passage: &Passage) -> Option<Observer<'_>> {
    let side = |interface| Side { interface };
    let named = |name| InterfaceFields { name };
    let ingress = text(passage.from.as_ref()).map(named).map(side);
    let egress = text(passage.by.as_ref()).map(named).map(side);
    (ingress.is_some() || egress.is_some()).then_some(Observer { ingress, egress })
}

fn destination(record: &Record) -> Destination<'_> {
    let (egress, place) = (&record.egress, &record.place);
    Destination {
        ip: egress.remote.map(|remote| remote.ip()),
        port: egress.remote.filter(|_| egress.transport.has_ports()).map(|it| it.port()),
        bytes: egress.traffic.received_bytes,
        packets: egress.traffic.received_packets,
        domain: text(place.shown().map(|(name, _)| name)),
        geo: place.country.code().map(Geo::from),
        autonomous_system: place.operator.as_deref().and_then(autonomous_system),
    }
}

impl From<CountryCode> for Geo<'_> {
    fn from(code: CountryCode) -> Self {
        Self { country_iso_code: code.to_string().into() }
    }
}

/// `None` when neither number nor name is known.
pub fn autonomous_system(operator: &Operator) -> Option<AutonomousSystem<'_>> {
    let organization = text(operator.name.as_ref()).map(|name| Organization { name });
    (operator.asn.is_some() || organization.is_some())
        .then_some(AutonomousSystem { number: operator.asn, organization })
}

pub(super) fn process_fields(process: &Process) -> ProcessFields<'_> {
    let parent = process.parents.iter().rev().fold(None, |parent, ancestor: &Ancestor| {
        Some(Box::new(ProcessFields {
            pid: ancestor.pid,
            name: ancestor.name.as_ref().into(),
            executable: text(ancestor.executable.as_ref()),
            command_line: text(ancestor.command_line.as_ref()),
            start: ancestor.started_at.map(Time),
            hash: None,
            parent,
        }))
    });
    ProcessFields {
        pid: process.pid,
        name: process.name.as_ref().into(),
        executable: text(process.executable.as_ref()),
        command_line: text(process.command_line.as_ref()),
        start: process.started_at.map(Time),
        hash: hash(process),
        parent,
    }
}

fn hash(process: &Process) -> Option<HashFields<'_>> {
    process.file.sha256.map(|hash| HashFields { sha256: hex(&hash).into() })
}

/// Whether the executable is the host's file; `None` where nothing is known of the file.
pub(super) fn of_host(process: &Process) -> Option<bool> {
    process.file.id.map(|_| process.file.is_hosts)
}

pub(super) fn clock_word(is_trusted: bool) -> &'static str {
    if is_trusted { "trusted" } else { "untrusted" }
}

fn geofenced(record: &Record) -> Geofenced<'_> {
    let Record { egress, findings } = record;
    let Findings { sender, place, judgement, verdict_now, provenance, timeline } = &**findings;
    let provenance = provenance.as_deref();
    let operator = place.operator.as_deref();
    let process = sender.process();
    Geofenced {
        verdict: judgement.verdict.word().into(),
        certainty: judgement.certainty.word().into(),
        reason: judgement.reason.to_string().into(),
        origin: egress.origin.word().into(),
        attribution: sender.attribution().word().into(),
        phase: egress.phase.word().into(),
        confirmed: (egress.passage.way == Way::Unconfirmed).then_some(false),
        ethertype: egress.passage.ethertype.map(|it| format!("{it:#06x}").into()),
        uncounted: egress.passage.is_uncounted.then_some(true),
        malformed: egress.passage.is_malformed,
        via: place.via.as_ref().map(|it| it.address),
        via_country: place
            .via
            .as_ref()
            .and_then(|it| it.place.country.code())
            .map(|code| code.to_string().into()),
        creator: sender.creator().map(|it| Creator {
            pid: it.pid,
            name: it.name.as_ref().into(),
            executable: text(it.executable.as_ref()),
            executable_claimed: text(it.executable_claimed.as_ref()),
            executable_of_host: of_host(it),
            hash: hash(it),
        }),
        executable_claimed: process.and_then(|it| text(it.executable_claimed.as_ref())),
        script: process.and_then(Process::script).map(Into::into),
        executable_of_host: process.and_then(of_host),
        domain_source: place.shown_source().map(|source| source.word().into()),
        server_name_source: place.server_name.as_ref().map(|said| said.source().word().into()),
        operator_country: operator.and_then(|it| it.country).map(|code| code.to_string().into()),
        second_country: place.second.map(|code| code.to_string().into()),
        anycast: operator.is_some_and(|it| it.is_anycast),
        learning: findings.is_learning(),
        policy: provenance.map(|it| PolicyFields { sha256: hex(&it.policy_sha256).into() }),
        database: provenance
            .map(|it| it.databases.iter().map(DatabaseFields::from).collect())
            .unwrap_or_default(),
        cgroup: process.and_then(|it| text(it.cgroup.as_ref())),
        netns: process.and_then(|it| it.netns),
        clock: timeline.map(|it| clock_word(it.is_trusted).into()),
        boot: timeline.map(|it| BootFields {
            id: it.boot.to_string().into(),
            ns: it.boot_ns(egress.started_at),
        }),
        revision: egress.revision,
        last_seen: Time(egress.last_at),
        verdict_now: verdict_now.map(|it| it.word().into()),
        interval: Vec::new(),
        declared: Vec::new(),
    }
}

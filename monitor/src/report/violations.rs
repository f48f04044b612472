//! Violations one by one up to a bound, and by program and destination: a program that is closed and starts
//! itself again is one, whatever its process ids. Adds up; judges nothing.

use std::{borrow::Cow, collections::BTreeSet, net::IpAddr};

use rustc_hash::FxHashMap;
use serde::Serialize;

use super::ports::{ByPort, by_port};
use crate::{
    ecs::{DeclaredFields, Event, ProcessFields, Time},
    event::{Certainty, Origin},
    summary::Volume,
};

/// Flows that are told one by one: the first. All are in the groups.
pub const LISTED_MAX: usize = 10_000;
/// Programs and destinations that are told apart; what comes beyond is added up in one.
pub const GROUPS_MAX: usize = 10_000;
/// Reasons of a group that are told.
const REASONS_MAX: usize = 8;

/// Who sent. Nothing in it changes when the program is started again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Program {
    /// What the process calls itself; absent where no process of this host sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub executable: Option<String>,
    /// What was only passed to execve: no proof.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claimed: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Of forwarded traffic: the device on the LAN, by its hardware address, else by its address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    pub origin: String,
}

/// Where to, and whose that is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Destination {
    /// A name is a claim; address and operator decide.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ethertype: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub second_country: Option<String>,
    pub anycast: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asn: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator_country: Option<String>,
    /// The hop that its packets go by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via_country: Option<String>,
}

/// Flows and what they moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sum {
    pub flows: u64,
    pub sent: Volume,
    pub received: Volume,
}

impl Sum {
    fn add(&mut self, event: &Event<'_>) {
        let Volumes { sent, received } = Volumes::of(event);
        self.flows += 1;
        self.sent = plus(self.sent, sent);
        self.received = plus(self.received, received);
    }
}

struct Volumes {
    sent: Volume,
    received: Volume,
}

impl Volumes {
    fn of(event: &Event<'_>) -> Self {
        let (source, destination) = (&event.source, &event.destination);
        Self {
            sent: Volume { bytes: source.bytes, packets: source.packets },
            received: Volume { bytes: destination.bytes, packets: destination.packets },
        }
    }
}

fn plus(a: Volume, b: Volume) -> Volume {
    Volume { bytes: a.bytes.saturating_add(b.bytes), packets: a.packets.saturating_add(b.packets) }
}

/// All violations of a program to a destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Group {
    pub program: Program,
    pub destination: Destination,
    pub by_port: ByPort,
    pub reasons: BTreeSet<String>,
    /// Only the second database objected to some of them.
    pub disputed: bool,
    pub first_seen: Time,
    pub last_seen: Time,
    #[serde(flatten)]
    pub sum: Sum,
}

/// One flow in violation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listed {
    pub id: String,
    /// Position of its program and destination among the groups; absent where these are too many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    pub first_seen: Time,
    pub last_seen: Time,
    pub sent: Volume,
    pub received: Volume,
    pub reason: String,
    pub certainty: String,
    /// The policy by which it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_sha256: Option<String>,
    /// What a later policy says of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict_now: Option<String>,
    /// What somebody said beforehand of this destination and time: it excuses nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub declared: Vec<DeclaredFields<'static>>,
    /// The clock was not known to be right.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub untrusted_clock: bool,
}

/// Takes in flows, one after the other.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Violations {
    /// Of all that are itemised.
    pub total: Sum,
    pub groups: Vec<Group>,
    /// Beyond the groups that are told apart.
    pub ungrouped: Sum,
    pub listed: Vec<Listed>,
    /// Flows that are only in the groups, since they are too many to be listed.
    pub unlisted: u64,
    /// Flows whose time is by a clock that was not known to be right.
    pub untrusted_clock: u64,
    #[serde(skip)]
    numbers: FxHashMap<(Program, Destination), usize>,
}

impl Violations {
    /// Counts it if it is one.
    pub fn add(&mut self, event: &Event<'_>) {
        if !event.is_violation() {
            return;
        }
        self.total.add(event);
        let untrusted_clock = event.geofenced.clock.as_deref() == Some("untrusted");
        self.untrusted_clock += u64::from(untrusted_clock);
        let group = self.group(event);
        if self.listed.len() == LISTED_MAX {
            self.unlisted += 1;
            return;
        }
        let Volumes { sent, received } = Volumes::of(event);
        let fields = &event.geofenced;
        self.listed.push(Listed {
            id: event.event.id.to_string(),
            group,
            pid: event.process.as_ref().map(|it| it.pid),
            first_seen: event.timestamp,
            last_seen: fields.last_seen,
            sent,
            received,
            reason: fields.reason.to_string(),
            certainty: fields.certainty.to_string(),
            policy_sha256: fields.policy.as_ref().map(|it| it.sha256.to_string()),
            verdict_now: owned(fields.verdict_now.as_ref()),
            declared: fields.declared.iter().map(kept).collect(),
            untrusted_clock,
        });
    }

    /// Most sent bytes first. The flows that are listed follow their groups.
    pub fn sort(&mut self) {
        let mut order: Vec<usize> = (0..self.groups.len()).collect();
        order.sort_by_key(|number| {
            let group = &self.groups[*number];
            (std::cmp::Reverse(group.sum.sent.bytes), group.first_seen, *number)
        });
        let mut places = vec![0; order.len()];
        for (place, number) in order.iter().enumerate() {
            places[*number] = place;
        }
        for listed in &mut self.listed {
            listed.group = listed.group.and_then(|number| places.get(number).copied());
        }
        let mut groups: Vec<Option<Group>> = self.groups.drain(..).map(Some).collect();
        self.groups = order.iter().filter_map(|number| groups[*number].take()).collect();
        self.numbers.clear();
    }

    fn group(&mut self, event: &Event<'_>) -> Option<usize> {
        let key = (program(event), destination(event));
        let number = match self.numbers.get(&key) {
            Some(number) => *number,
            None if self.groups.len() == GROUPS_MAX => {
                self.ungrouped.add(event);
                return None;
            }
            None => {
                let (program, destination) = key.clone();
                let transport = destination.transport.as_deref();
                self.groups.push(Group {
                    by_port: by_port(transport, destination.port),
                    program,
                    destination,
                    reasons: BTreeSet::new(),
                    disputed: false,
                    first_seen: event.timestamp,
                    last_seen: event.geofenced.last_seen,
                    sum: Sum::default(),
                });
                self.numbers.insert(key, self.groups.len() - 1);
                self.groups.len() - 1
            }
        };
        let group = &mut self.groups[number];
        group.sum.add(event);
        group.first_seen = group.first_seen.min(event.timestamp);
        group.last_seen = group.last_seen.max(event.geofenced.last_seen);
        group.disputed |= event.geofenced.certainty == Certainty::Disputed.word();
        let reason = event.geofenced.reason.as_ref();
        if group.reasons.len() < REASONS_MAX && !group.reasons.contains(reason) {
            group.reasons.insert(reason.to_owned());
        }
        Some(number)
    }
}

fn kept(declared: &DeclaredFields<'_>) -> DeclaredFields<'static> {
    let DeclaredFields { purpose, interval } = declared;
    DeclaredFields { purpose: purpose.to_string().into(), interval: interval.to_string().into() }
}

fn owned(text: Option<&Cow<'_, str>>) -> Option<String> {
    text.map(|text| text.as_ref().to_owned())
}

fn program(event: &Event<'_>) -> Program {
    let process: Option<&ProcessFields<'_>> = event.process.as_ref();
    let is_forwarded = event.geofenced.origin == Origin::Forwarded.word();
    let device = is_forwarded.then(|| match &event.source.mac {
        Some(mac) => Some(mac.to_string()),
        None => event.source.ip.map(|ip| ip.to_string()),
    });
    Program {
        name: process.map(|it| it.name.to_string()),
        executable: process.and_then(|it| owned(it.executable.as_ref())),
        claimed: owned(event.geofenced.executable_claimed.as_ref()),
        sha256: process.and_then(|it| it.hash.as_ref()).map(|it| it.sha256.to_string()),
        unit: event.service.as_ref().map(|it| it.name.to_string()),
        user_id: event.user.as_ref().map(|it| it.id.to_string()),
        user_name: event.user.as_ref().and_then(|it| owned(it.name.as_ref())),
        container: event.container.as_ref().map(|it| it.id.to_string()),
        device: device.flatten(),
        origin: event.geofenced.origin.to_string(),
    }
}

fn destination(event: &Event<'_>) -> Destination {
    let (to, fields) = (&event.destination, &event.geofenced);
    let system = to.autonomous_system.as_ref();
    Destination {
        name: owned(to.domain.as_ref()),
        server_name: event.tls.as_ref().map(|it| it.client.server_name.to_string()),
        address: to.ip,
        port: to.port,
        transport: owned(event.network.transport.as_ref()),
        ethertype: owned(fields.ethertype.as_ref()),
        country: to.geo.as_ref().map(|it| it.country_iso_code.to_string()),
        second_country: owned(fields.second_country.as_ref()),
        anycast: fields.anycast,
        asn: system.and_then(|it| it.number),
        operator: system.and_then(|it| it.organization.as_ref()).map(|it| it.name.to_string()),
        operator_country: owned(fields.operator_country.as_ref()),
        via: fields.via,
        via_country: owned(fields.via_country.as_ref()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        ecs::tests::full_record,
        event::{FlowId, Origin, Phase, Record, Sender, Timestamp, Verdict},
        report::ports::Encrypted,
    };

    fn told(records: &[Record]) -> Violations {
        let mut violations = Violations::default();
        for record in records {
            violations.add(&Event::from(record));
        }
        violations.sort();
        violations
    }

    /// By a process of its own each time, an hour apart.
    fn hourly(number: u64) -> Record {
        let mut record = full_record();
        record.egress.flow = FlowId(number.into());
        record.egress.started_at = Timestamp::from_secs(1_800_000_000 + number * 3_600);
        record.egress.last_at = record.egress.started_at;
        let Sender::Process { process, .. } = &mut Arc::make_mut(&mut record.findings).sender
        else {
            panic!("no process sent")
        };
        Arc::make_mut(process).pid = 1_000 + number as u32;
        record
    }

    #[test]
    fn a_program_that_restarts_itself_is_one_pattern_over_its_restarts() {
        let violations = told(&(0..24).map(hourly).collect::<Vec<_>>());
        assert_eq!(violations.groups.len(), 1);
        let group = &violations.groups[0];
        assert_eq!((group.sum.flows, group.sum.sent.bytes), (24, 24 * 1500));
        assert_eq!(group.first_seen.0, Timestamp::from_secs(1_800_000_000));
        assert_eq!(group.last_seen.0, Timestamp::from_secs(1_800_000_000 + 23 * 3_600));
        assert_eq!(group.program.executable.as_deref(), Some("/usr/bin/curl"));
        assert_eq!(group.by_port.encrypted, Encrypted::No, "it goes to port 80");
        let pids: Vec<Option<u32>> = violations.listed.iter().map(|it| it.pid).collect();
        assert_eq!(pids[..2], [Some(1_000), Some(1_001)]);
    }

    #[test]
    fn only_what_left_unapproved_is_a_violation() {
        let (mut approved, mut attempt) = (full_record(), full_record());
        Arc::make_mut(&mut approved.findings).judgement.verdict = Verdict::Approved;
        attempt.egress.phase = Phase::Attempt;
        let violations = told(&[approved, attempt]);
        assert_eq!(violations.total, Sum::default());
        assert!(violations.groups.is_empty() && violations.listed.is_empty());
    }

    #[test]
    fn devices_behind_this_host_are_told_apart_and_without_a_process() {
        let from = |mac: &str| {
            let mut record = full_record();
            record.egress.origin = Origin::Forwarded;
            record.egress.passage.mac = crate::event::Mac::parse(mac);
            Arc::make_mut(&mut record.findings).sender = Sender::Nobody;
            record
        };
        let violations = told(&[from("00:00:5e:00:53:01"), from("00:00:5e:00:53:02")]);
        let mut devices: Vec<&str> =
            violations.groups.iter().filter_map(|it| it.program.device.as_deref()).collect();
        devices.sort_unstable();
        assert_eq!(devices, ["00-00-5E-00-53-01", "00-00-5E-00-53-02"]);
        assert!(violations.groups.iter().all(|it| it.program.name.is_none()));
    }

    #[test]
    fn beyond_the_bounds_flows_are_added_up_and_none_is_lost() {
        let all = LISTED_MAX as u64 + 7;
        let mut violations = Violations::default();
        for number in 0..all {
            let mut record = hourly(0);
            record.egress.flow = FlowId(number.into());
            let host = u32::try_from(number).unwrap() | 0x0a00_0000;
            record.egress.remote = Some((std::net::Ipv4Addr::from(host), 80).into());
            violations.add(&Event::from(&record));
        }
        violations.sort();
        assert_eq!((violations.listed.len(), violations.unlisted), (LISTED_MAX, 7));
        assert_eq!((violations.groups.len(), violations.ungrouped.flows), (GROUPS_MAX, 7));
        let grouped: u64 = violations.groups.iter().map(|it| it.sum.flows).sum();
        assert_eq!(grouped + violations.ungrouped.flows, violations.total.flows);
        assert_eq!(violations.total.sent.bytes, all * 1500);
    }

    #[test]
    fn a_flow_follows_its_group_when_these_are_sorted() {
        let (small, mut large) = (hourly(0), hourly(1));
        large.egress.remote = Some("192.0.2.9:443".parse().unwrap());
        large.egress.traffic.sent_bytes = 1 << 30;
        let violations = told(&[small, large]);
        assert_eq!(violations.groups[0].sum.sent.bytes, 1 << 30);
        let listed = &violations.listed[1];
        assert_eq!(listed.sent.bytes, 1 << 30);
        assert_eq!(listed.group, Some(0));
    }
}

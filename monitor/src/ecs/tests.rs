//! What the contract says of the JSON form, checked on a record with every field set.

use std::sync::Arc;

use serde_json::Value;

use super::*;
use crate::event::{
    Ancestor, Attribution, BootId, Certainty, Country, CountryCode, DatabaseId, Domain,
    DomainSource, Egress, ExecutedFile, FileId, Findings, FlowId, Host, Judgement, Mark, MarkKind,
    Moment, Operator, Origin, Passage, Place, Process, Provenance, Reason, Record, Sender,
    ServerName, Share, Timeline, Traffic, Transport, User, Via, Way,
};
use crate::marks::Intervals;

fn ancestor(pid: u32) -> Ancestor {
    Ancestor {
        pid,
        name: format!("p{pid}").into(),
        executable: Some("/bin/sh".into()),
        command_line: Some("sh -c x".into()),
        started_at: Some(Timestamp::from_secs(5)),
    }
}

pub(crate) fn process() -> Process {
    Process {
        pid: 42,
        name: "curl".into(),
        executable: Some("/usr/bin/curl".into()),
        executable_claimed: Some("./curl".into()),
        file: ExecutedFile {
            executed_ns: 0,
            id: Some(FileId { device: 2049, inode: 77 }),
            is_hosts: true,
            known_as: None,
            sha256: Some([0xef; 32]),
        },
        command_line: Some("curl https://example.org".into()),
        started_at: Some(Timestamp::from_secs(10)),
        parents: vec![ancestor(41), ancestor(40), ancestor(39), ancestor(1)],
        user: User { id: 1000, name: Some("ana".into()) },
        unit: Some("update.service".into()),
        container: Some("c0ffee".into()),
        cgroup: Some("/system.slice/update.service".into()),
        netns: Some(4_026_531_840),
    }
}

/// A TCP flow to CN, unapproved, with every optional field set.
fn hello() -> ServerName {
    ServerName::Said { name: "hello.example.org".into(), source: DomainSource::Sni }
}

fn hop() -> Via {
    let country = Country::Known(CountryCode::new("RU").unwrap());
    let place = Place { country, ..Place::unknown() };
    Via { address: "203.0.113.77".parse().unwrap(), place }
}

pub(crate) fn full_record() -> Record {
    Record {
        egress: Egress {
            flow: FlowId(0xabc),
            revision: 3,
            started_at: Timestamp(1_800_000_000_000_000_001),
            last_at: Timestamp::from_secs(1_800_000_002),
            ended_at: Some(Timestamp::from_secs(1_800_000_003)),
            phase: Phase::Sent,
            origin: Origin::Process,
            transport: Transport::TCP,
            local: Some("128.232.110.120:34855".parse().unwrap()),
            remote: Some("66.35.250.204:80".parse().unwrap()),
            passage: Passage {
                mac: crate::event::Mac::parse("00:00:5e:00:53:23"),
                from: Some("lan0".into()),
                by: Some("wan0".into()),
                ethertype: Some(0x88b5),
                is_uncounted: true,
                is_malformed: false,
                way: Way::Unconfirmed,
            },
            activity: None,
            traffic: Traffic {
                sent_bytes: 1500,
                sent_packets: 3,
                received_bytes: 60,
                received_packets: 1,
            },
        },
        findings: Arc::new(Findings {
            sender: Sender::Process {
                process: Arc::new(process()),
                attribution: Attribution::Socket,
                creator: Some(Arc::new(Process { pid: 41, ..process() })),
            },
            place: Place {
                country: Country::Known(CountryCode::new("CN").unwrap()),
                second: CountryCode::new("HK"),
                operator: Some(Arc::new(Operator {
                    asn: Some(64_500),
                    name: Some("Example Cloud".into()),
                    country: CountryCode::new("RU"),
                    is_anycast: true,
                })),
                via: Some(Box::new(hop())),
                server_name: Some(hello()),
                domain: Some(Domain {
                    name: "example.org".into(),
                    source: DomainSource::Dns,
                    is_trusted: true,
                }),
            },
            judgement: Judgement {
                verdict: Verdict::Unapproved,
                certainty: Certainty::Full,
                reason: Reason::Rule("no-cn".into()),
            },
            provenance: Some(Arc::new(provenance())),
            verdict_now: None,
            timeline: Some(timeline()),
        }),
    }
}

fn provenance() -> Provenance {
    Provenance {
        policy_sha256: [0xab; 32],
        is_learning: false,
        databases: vec![DatabaseId {
            label: "country".into(),
            name: "Example Country".into(),
            dated: Timestamp::from_secs(1_790_812_800),
            sha256: [0xcd; 32],
        }],
        host: Some(Arc::new(Host { name: "uav-7".into(), id: Some([0xef; 32]) })),
    }
}

/// The host was booted at 08:00, and by a clock that was synchronised.
fn timeline() -> Timeline {
    Timeline {
        boot: BootId::parse("0c4f7b6e-9d0a-4a55-8a0e-f3c2b1a09d01").unwrap(),
        wall_at_boot_ns: 1_800_000_000_000_000_000,
        is_trusted: true,
    }
}

/// An IPv6 ping by nobody to nowhere known.
pub(crate) fn bare_record() -> Record {
    let mut record = full_record();
    record.egress.flow = FlowId(0xdef);
    record.egress.ended_at = None;
    record.egress.transport = Transport::ICMPV6;
    record.egress.local = None;
    record.egress.remote = Some("[2001:db8::1]:0".parse().unwrap());
    record.sender = Sender::Nobody;
    record.place = Place {
        country: Country::Unlocated,
        second: None,
        operator: None,
        domain: None,
        server_name: None,
        via: None,
    };
    record.provenance = None;
    record.timeline = None;
    record
}

fn json(record: &Record) -> Value {
    serde_json::to_value(Event::from(record)).unwrap()
}

#[test]
fn a_record_is_written_in_the_names_of_the_contract() {
    let value = json(&full_record());
    for (pointer, expected) in [
        ("/@timestamp", Value::from("2027-01-15T08:00:00.000000001Z")),
        ("/event/id", "00000000000000000000000000000abc".into()),
        ("/event/category/0", "network".into()),
        ("/event/end", "2027-01-15T08:00:03.000000000Z".into()),
        ("/network/transport", "tcp".into()),
        ("/network/type", "ipv4".into()),
        ("/network/direction", "egress".into()),
        ("/network/community_id", "1:LQU9qZlK+B5F3KDmev6m5PMibrg=".into()),
        ("/source/ip", "128.232.110.120".into()),
        ("/source/bytes", 1500.into()),
        ("/destination/port", 80.into()),
        ("/destination/packets", 1.into()),
        ("/destination/geo/country_iso_code", "CN".into()),
        ("/destination/as/number", 64_500.into()),
        ("/destination/as/organization/name", "Example Cloud".into()),
        ("/process/pid", 42.into()),
        ("/process/hash/sha256", "ef".repeat(32).into()),
        ("/geofenced/executable_claimed", "./curl".into()),
        ("/geofenced/executable_of_host", true.into()),
        ("/geofenced/creator/executable_claimed", "./curl".into()),
        ("/geofenced/creator/executable_of_host", true.into()),
        ("/geofenced/creator/hash/sha256", "ef".repeat(32).into()),
        ("/process/parent/parent/parent/parent/pid", 1.into()),
        ("/user/id", "1000".into()),
        ("/container/id", "c0ffee".into()),
        ("/service/name", "update.service".into()),
        ("/geofenced/creator/pid", 41.into()),
        ("/geofenced/creator/executable", "/usr/bin/curl".into()),
        ("/geofenced/operator_country", "RU".into()),
        ("/geofenced/second_country", "HK".into()),
        ("/geofenced/anycast", true.into()),
        ("/geofenced/ethertype", "0x88b5".into()),
        ("/geofenced/policy/sha256", "ab".repeat(32).into()),
        ("/geofenced/database/0/label", "country".into()),
        ("/geofenced/database/0/name", "Example Country".into()),
        ("/geofenced/database/0/date", "2026-10-01".into()),
        ("/geofenced/database/0/sha256", "cd".repeat(32).into()),
        ("/geofenced/verdict", "unapproved".into()),
        ("/geofenced/reason", "rule:no-cn".into()),
        ("/geofenced/netns", 4_026_531_840_u64.into()),
        ("/geofenced/clock", "trusted".into()),
        ("/geofenced/boot/id", "0c4f7b6e-9d0a-4a55-8a0e-f3c2b1a09d01".into()),
        ("/geofenced/boot/ns", 1.into()),
    ] {
        assert_eq!(value.pointer(pointer), Some(&expected), "{pointer}");
    }
}

#[test]
fn what_is_malformed_is_marked_and_nothing_else_is() {
    let mut record = full_record();
    assert_eq!(json(&record).pointer("/geofenced/malformed"), None);
    record.egress.passage.is_malformed = true;
    assert_eq!(json(&record).pointer("/geofenced/malformed"), Some(&true.into()));
}

#[test]
fn what_is_not_known_is_absent_and_never_null() {
    let value = json(&bare_record());
    for pointer in [
        "/event/end",
        "/network/community_id",
        "/source/ip",
        "/destination/port",
        "/destination/geo",
        "/destination/as",
        "/process",
        "/user",
        "/geofenced/second_country",
        "/geofenced/clock",
        "/geofenced/boot",
        "/geofenced/anycast",
        "/geofenced/policy",
        "/geofenced/database",
        "/geofenced/creator",
    ] {
        assert_eq!(value.pointer(pointer), None, "{pointer}");
    }
    assert_eq!(value["network"]["transport"], "ipv6-icmp");
    assert!(!value.to_string().contains("null"));
}

#[test]
fn whose_file_it_is_is_told_only_where_the_file_is_known() {
    let with = |file| {
        let mut record = full_record();
        let process = Arc::new(Process { file, ..process() });
        let attribution = Attribution::Socket;
        record.sender = Sender::Process { process, attribution, creator: None };
        json(&record).pointer("/geofenced/executable_of_host").cloned()
    };
    let id = Some(FileId { device: 1, inode: 2 });
    assert_eq!(with(ExecutedFile { id, ..ExecutedFile::default() }), Some(false.into()));
    assert_eq!(with(ExecutedFile::default()), None);
}

/// What went around every hook.
fn unread_record() -> Record {
    let mut record = bare_record();
    record.egress.transport = Transport::UNKNOWN;
    record.egress.remote = None;
    record
}

#[test]
fn a_destination_that_nobody_read_is_absent_with_its_transport() {
    let value = json(&unread_record());
    for pointer in ["/destination/ip", "/destination/port", "/network/transport", "/network/type"] {
        assert_eq!(value.pointer(pointer), None, "{pointer}");
    }
}

#[test]
fn an_event_read_back_is_the_one_that_was_written() {
    for record in [full_record(), bare_record(), unread_record()] {
        let text = serde_json::to_string(&Event::from(&record)).unwrap();
        let back: Event<'static> = serde_json::from_str(&text).unwrap();
        assert_eq!(back, Event::from(&record));
    }
}

fn leaves(value: &Value, path: &str, into: &mut Vec<String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            leaves(value, &path, into);
        }),
        Value::Array(items) if items.first().is_some_and(Value::is_object) => {
            for item in items {
                leaves(item, path, into);
            }
        }
        _ => into.push(path.to_owned()),
    }
}

#[test]
fn every_field_of_an_event_has_its_csv_column_and_every_column_its_field() {
    let mut found = Vec::new();
    let mut record = full_record();
    record.egress.passage.is_malformed = true;
    record.verdict_now = Some(Verdict::Approved);
    let Sender::Process { process, .. } = &mut record.sender else { panic!() };
    let process = Arc::make_mut(process);
    process.executable = Some("/usr/bin/dash".into());
    process.command_line = Some("sh /opt/up.sh".into());
    let learning = Provenance { is_learning: true, ..provenance() };
    record.provenance = Some(Arc::new(learning));
    let moment = Moment { boot_ns: 0, timeline: timeline() };
    let share = Share {
        destination: record.egress.remote.unwrap().ip().to_string().into(),
        purpose: "maps".into(),
        until: None,
    };
    let (kind, name) = (MarkKind::Start, "LDM on".into());
    let marked = Intervals::of(&[Mark { kind, name, note: None, shares: vec![share], moment }]);
    let event = serde_json::to_value(Event::marked(&record, &marked)).unwrap();
    assert_eq!(event["geofenced"]["verdict"], "unapproved", "a declaration is a claim");
    leaves(&event, "", &mut found);
    for leaf in found.iter().filter(|leaf| !leaf.starts_with("process.parent.parent.")) {
        assert!(COLUMNS.contains(&leaf.as_str()), "no column for {leaf}");
    }
    for column in COLUMNS {
        assert!(found.iter().any(|leaf| leaf == column), "no field for {column}");
    }
    let cells = row(&Event::from(&full_record())).unwrap();
    assert_eq!(cells.len(), COLUMNS.len());
    let cell = |name| &cells[COLUMNS.iter().position(|column| *column == name).unwrap()];
    assert_eq!(cell("event.category"), "network");
    assert_eq!(cell("source.bytes"), "1500");
    assert_eq!(cell("geofenced.database.name"), "Example Country");
}

#[test]
fn an_attempt_is_no_violation() {
    let mut record = full_record();
    assert!(Event::from(&record).is_violation());
    record.egress.phase = Phase::Attempt;
    assert!(!Event::from(&record).is_violation());
}

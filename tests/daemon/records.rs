//! Records to show: what a pipeline would have made.

use std::sync::Arc;

use geofenced::inside::event::{
    Attribution, Certainty, Country, CountryCode, Egress, ExecutedFile, Findings, FlowId,
    Judgement, Operator, Origin, Phase, Place, Process, Reason, Record, Sender, Timestamp, Traffic,
    Transport, User, Verdict,
};

/// 2027-01-15 08:00:00 UTC.
pub(crate) const START: Timestamp = Timestamp::from_secs(1_800_000_000);

/// The `number`th flow of `curl` to CN, a second after the one before; a violation.
pub(crate) fn violation(number: u64) -> Record {
    let started_at = Timestamp(START.0 + number * 1_000_000_000);
    Record {
        egress: Egress {
            flow: FlowId((u128::from(started_at.0) << 64) | u128::from(number)),
            revision: 0,
            started_at,
            last_at: started_at,
            ended_at: None,
            phase: Phase::Sent,
            origin: Origin::Process,
            transport: Transport::TCP,
            local: Some("192.0.2.1:40000".parse().unwrap()),
            remote: Some("203.0.113.7:443".parse().unwrap()),
            traffic: Traffic { sent_bytes: 1536, sent_packets: 3, ..Traffic::default() },
            passage: geofenced::inside::event::Passage::default(),
            activity: None,
        },
        findings: Arc::new(Findings {
            sender: Sender::Process {
                process: Arc::new(Process {
                    pid: 42,
                    name: "curl".into(),
                    executable: Some("/usr/bin/curl".into()),
                    executable_claimed: None,
                    file: ExecutedFile::default(),
                    command_line: Some("curl https://example.org".into()),
                    started_at: Some(START),
                    parents: vec![],
                    user: User { id: 1000, name: Some("ana".into()) },
                    unit: None,
                    container: None,
                    cgroup: None,
                    netns: None,
                }),
                attribution: Attribution::Socket,
                creator: None,
            },
            place: Place {
                country: Country::Known(CountryCode::new("CN").unwrap()),
                second: None,
                operator: Some(Arc::new(Operator {
                    asn: Some(64_500),
                    name: Some("Example Cloud".into()),
                    country: None,
                    is_anycast: false,
                })),
                domain: None,
                server_name: None,
                via: None,
            },
            judgement: Judgement {
                verdict: Verdict::Unapproved,
                certainty: Certainty::Full,
                reason: Reason::Country,
            },
            provenance: None,
            verdict_now: None,
            timeline: None,
        }),
    }
}

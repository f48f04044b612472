//! The status document: what the daemon says of itself. Shapes only.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ecs::Time;

/// `GET /v1/status`. Sizes in bytes, spans in seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub version: String,
    pub commit: String,
    pub pid: u32,
    pub started_at: Time,
    pub uptime: u64,
    /// Probes attached and store writable.
    pub ready: bool,
    /// The capture tier in one word, as `doctor` says it.
    pub tier: String,
    /// What is not as the configuration wants it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    pub probes: Vec<Probe>,
    /// Watching without interruption since then.
    pub coverage_since: Option<Time>,
    /// Everything that was lost since the start.
    pub losses: Vec<Loss>,
    pub policy: Policy,
    pub databases: Vec<Database>,
    pub store: Store,
    /// Absent while nothing was signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<ClockState>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub self_test: Option<SelfTestState>,
    pub queues: Vec<Fill>,
    pub maps: Vec<Fill>,
    /// Flows that have not ended.
    pub flows: u64,
    /// Counters beyond these, by name; for people, not for programs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    pub name: String,
    pub attached: bool,
    /// Where it is attached, or why not.
    pub detail: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    pub stage: String,
    pub reason: String,
    pub count: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    pub sha256: String,
    /// `judge`, or `learn`: nothing is raised as a violation.
    #[serde(default)]
    pub mode: String,
    pub approved_countries: Vec<String>,
    pub rules: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Database {
    /// `country`, `operator`, `second` (opinion) or `corrections` (of operators).
    pub label: String,
    pub name: String,
    pub built_at: Option<Time>,
    pub sha256: String,
    /// `fresh`, `aging` (90 days) or `stale` (180 days).
    #[serde(default)]
    pub freshness: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Store {
    pub path: String,
    pub bytes: u64,
    pub records: u64,
    pub segments: u64,
    pub oldest: Option<Time>,
    /// In one word, such as `current` or `rebuilding`.
    pub index: String,
}

/// The last checkpoint that was signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    pub origin: String,
    /// Blocks.
    pub size: u64,
    /// Base64, as in the checkpoint.
    pub root: String,
    /// Absent: before this daemon started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_at: Option<Time>,
    /// Which verifies it, as C2SP writes it.
    pub key: String,
    /// When this daemon started, the ledger was not what had been signed under this origin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolled_back_from: Option<String>,
}

/// By which clock times are told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockState {
    /// The kernel says that it is synchronised.
    pub trusted: bool,
    /// Which boot this is.
    pub boot: String,
    /// Times that it was found set since the start.
    pub steps: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_step: Option<Step>,
}

/// A packet of the daemon's own, and whether it is seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelfTestState {
    /// `passed`, `failing`, `waiting` (for the first), or `off`.
    pub state: String,
    /// How often it failed, or why it is off.
    pub detail: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_passed: Option<Time>,
}

/// The wall clock was set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    pub from: Time,
    pub to: Time,
}

/// How full a queue or bounded table is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fill {
    pub name: String,
    pub entries: u64,
    pub capacity: u64,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::event::Timestamp;

    pub(crate) fn some_status() -> Status {
        Status {
            version: "0.1.0".into(),
            commit: "abc".into(),
            pid: 7,
            started_at: Time(Timestamp::from_secs(1_800_000_000)),
            uptime: 3_700,
            ready: true,
            tier: "full".into(),
            warnings: vec!["capture.interfaces: no interface is called wann".into()],
            probes: vec![Probe { name: "connect4".into(), attached: true, detail: "/".into() }],
            coverage_since: Some(Time(Timestamp::from_secs(1_800_000_000))),
            losses: vec![Loss { stage: "store".into(), reason: "queue-full".into(), count: 2 }],
            policy: Policy {
                mode: "judge".into(),
                sha256: "00ff".into(),
                approved_countries: vec!["US".into()],
                rules: 1,
            },
            databases: vec![],
            store: Store {
                path: "/var/lib/geofenced".into(),
                bytes: 1 << 20,
                records: 10,
                segments: 1,
                oldest: None,
                index: "current".into(),
            },
            evidence: Some(Evidence {
                origin: "field-7".into(),
                size: 12,
                root: "AAAA".into(),
                signed_at: Some(Time(Timestamp::from_secs(1_800_000_000))),
                key: "field-7+00000000+AAAA".into(),
                rolled_back_from: Some("field".into()),
            }),
            clock: Some(ClockState {
                trusted: false,
                boot: "0c4f7b6e-9d0a-4a55-8a0e-f3c2b1a09d01".into(),
                steps: 1,
                last_step: Some(Step {
                    from: Time(Timestamp::from_secs(1_700_000_000)),
                    to: Time(Timestamp::from_secs(1_800_000_000)),
                }),
            }),
            self_test: Some(SelfTestState {
                state: "failing".into(),
                detail: "failed 2 times".into(),
                last_passed: Some(Time(Timestamp::from_secs(1_800_000_000))),
            }),
            queues: vec![Fill { name: "store".into(), entries: 1, capacity: 65_536 }],
            maps: vec![],
            flows: 3,
            details: BTreeMap::new(),
        }
    }

    #[test]
    fn a_status_read_back_is_the_one_that_was_written() {
        let text = serde_json::to_string(&some_status()).unwrap();
        assert_eq!(serde_json::from_str::<Status>(&text).unwrap(), some_status());
    }
}

//! A roll-up in Elastic Common Schema names: flows of one hour that are not told one by one. Converts; decides
//! nothing.

use serde::Serialize;

use super::{DatabaseFields, Geo, HostFields, PolicyFields, Text, Time, hex};
use crate::event::{CLAIMED, Rollup};

/// One row as one JSON object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RollupEvent<'a> {
    /// Start of the hour.
    #[serde(rename = "@timestamp")]
    pub timestamp: Time,
    pub event: RollupMeta<'a>,
    /// What left.
    pub source: Sums,
    /// What came back.
    pub destination: RollupDestination<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<Program<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<RollupUser<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<HostFields<'a>>,
    pub geofenced: RollupFields<'a>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RollupMeta<'a> {
    pub kind: Text<'a>,
    pub category: [Text<'a>; 1],
    pub start: Time,
    /// Last nanosecond of the hour.
    pub end: Time,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Sums {
    pub bytes: u64,
    pub packets: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RollupDestination<'a> {
    #[serde(flatten)]
    pub sums: Sums,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub geo: Option<Geo<'a>>,
}

/// The path, else the name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Program<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub executable: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Text<'a>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RollupUser<'a> {
    pub id: Text<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Text<'a>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RollupFields<'a> {
    /// `true`, by which it is told from a flow.
    pub rolled_up: bool,
    /// That began in the hour.
    pub flows: u64,
    pub verdict: Text<'a>,
    /// What a program said of itself, where no more is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub executable_claimed: Option<Text<'a>>,
    /// By a policy that only learned: no violation is among them.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub learning: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyFields<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub database: Vec<DatabaseFields<'a>>,
}

impl<'a> From<&'a Rollup> for RollupEvent<'a> {
    fn from(rollup: &'a Rollup) -> Self {
        let provenance = rollup.provenance.as_deref();
        let traffic = rollup.traffic;
        let claimed = rollup.program.strip_prefix(CLAIMED);
        let known = (claimed.is_none() && !rollup.program.is_empty()).then_some(&*rollup.program);
        let (path, name) = match known {
            Some(path) if path.contains('/') => (Some(path.into()), None),
            name => (None, name.map(Into::into)),
        };
        Self {
            timestamp: Time(rollup.hour),
            event: RollupMeta {
                kind: "metric".into(),
                category: ["network".into()],
                start: Time(rollup.hour),
                end: Time(rollup.last_instant()),
            },
            source: Sums { bytes: traffic.sent_bytes, packets: traffic.sent_packets },
            destination: RollupDestination {
                sums: Sums { bytes: traffic.received_bytes, packets: traffic.received_packets },
                geo: rollup.country.code().map(Geo::from),
            },
            process: known.map(|_| Program { executable: path, name }),
            user: rollup.user.as_ref().map(|user| RollupUser {
                id: user.id.to_string().into(),
                name: user.name.as_deref().map(Into::into),
            }),
            host: provenance.and_then(|it| it.host.as_deref()).map(HostFields::from),
            geofenced: RollupFields {
                rolled_up: true,
                flows: rollup.flows,
                verdict: rollup.verdict.word().into(),
                executable_claimed: claimed.map(Into::into),
                learning: rollup.is_learning(),
                policy: provenance.map(|it| PolicyFields { sha256: hex(&it.policy_sha256).into() }),
                database: provenance
                    .map(|it| it.databases.iter().map(DatabaseFields::from).collect())
                    .unwrap_or_default(),
            },
        }
    }
}

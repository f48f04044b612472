//! What the policy says of a flow, why, and what that rests on.

use std::{fmt, sync::Arc};

use super::{Host, Timestamp, words::words};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    Unapproved,
    Unknown,
    Approved,
    Local,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Certainty {
    Full,
    Partial,
    Disputed,
}

words!(Verdict {
    Unapproved = "unapproved",
    Unknown = "unknown",
    Approved = "approved",
    Local = "local",
});
words!(Certainty { Full = "full", Partial = "partial", Disputed = "disputed" });

/// Why the verdict is what it is. Its `Display` is the contract's `geofenced.reason`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    Country,
    Operator,
    Unlocated,
    Rule(Arc<str>),
    LocalNetwork,
    /// The policy does not approve of a stream whose name could not be read.
    Undetermined,
    /// What leaves has IP headers that can't be read: nothing but a rule approves it.
    Malformed,
}

impl Reason {
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "country" => Self::Country,
            "operator" => Self::Operator,
            "unlocated" => Self::Unlocated,
            "local-network" => Self::LocalNetwork,
            "undetermined" => Self::Undetermined,
            "malformed" => Self::Malformed,
            _ => Self::Rule(text.strip_prefix("rule:")?.into()),
        })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Country => f.write_str("country"),
            Self::Operator => f.write_str("operator"),
            Self::Unlocated => f.write_str("unlocated"),
            Self::Rule(name) => write!(f, "rule:{name}"),
            Self::LocalNetwork => f.write_str("local-network"),
            Self::Undetermined => f.write_str("undetermined"),
            Self::Malformed => f.write_str("malformed"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    pub verdict: Verdict,
    pub certainty: Certainty,
    pub reason: Reason,
}

/// A database that was asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DatabaseId {
    /// What it is asked for: `country`, `operator`, ...
    pub label: Arc<str>,
    pub name: Arc<str>,
    /// Of the data.
    pub dated: Timestamp,
    pub sha256: [u8; 32],
}

/// What a judgement rests on: the policy and the databases that were in force, on which host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Provenance {
    pub policy_sha256: [u8; 32],
    /// That policy only learned: what it did not approve was raised as nothing.
    pub is_learning: bool,
    pub databases: Vec<DatabaseId>,
    /// Who judged and wrote; `None`: stored by a version that did not tell.
    pub host: Option<Arc<Host>>,
}

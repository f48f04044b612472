//! The query filters of `events` and `summary`: one parsing for command line and HTTP, one matching
//! for store and live stream.

mod raw;
mod typed;
mod words;

use data_encoding::HEXLOWER;

use crate::{
    event::{
        CLAIMED, Certainty, CountryCode, Lookup, Origin, Phase, Process, Reason, Record, Rollup,
        Timestamp, Transport, Verdict,
    },
    marks::Interval,
    select::{
        ContainerSelector, OperatorSelector, ProcessSelector, ScriptSelector, UnitSelector,
        UserSelector,
    },
};
pub use raw::RawFilter;
pub use typed::Destination;

/// A filter value that can't be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("--{option}: {problem}")]
pub struct FilterError {
    pub option: &'static str,
    pub problem: String,
}

/// What a record must be to be shown. Empty lists and `None` match everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    /// Of which `since` and `until` are the bounds by the wall clock.
    pub during: Option<Interval>,
    pub countries: Vec<CountryCode>,
    pub operators: Vec<OperatorSelector>,
    pub processes: Vec<ProcessSelector>,
    pub pids: Vec<u32>,
    /// Of this process, or of one that it started.
    pub tree: Option<u32>,
    pub units: Vec<UnitSelector>,
    pub users: Vec<UserSelector>,
    pub destinations: Vec<Destination>,
    pub ports: Vec<u16>,
    pub transports: Vec<Transport>,
    pub verdicts: Vec<Verdict>,
    pub origins: Vec<Origin>,
    pub scripts: Vec<ScriptSelector>,
    pub containers: Vec<ContainerSelector>,
    /// First digits, lower-case.
    pub hashes: Vec<String>,
    pub reasons: Vec<Reason>,
    pub certainties: Vec<Certainty>,
    /// Of a flow in all its life.
    pub min_bytes: Option<u64>,
    pub phase: Option<Phase>,
}

/// A filter, and how much of the answer in which order: chronological by flow start, `limit` keeps
/// the newest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    pub filter: Filter,
    pub limit: Option<usize>,
    pub newest_first: bool,
}

/// Most lookups that are kept to be told in another order than the ledger's: the newest.
pub const LOOKUPS_KEPT: usize = 100_000;

impl Query {
    /// This query, if lookups can be told as it asks.
    pub fn of_lookups(self) -> Result<Self, FilterError> {
        if let Some(limit) = self.limit.filter(|limit| *limit > LOOKUPS_KEPT) {
            let problem = format!("`{limit}` is more than the {LOOKUPS_KEPT} lookups told at most");
            return Err(FilterError { option: "limit", problem });
        }
        Ok(self)
    }

    /// Whether older lookups may be missing from an answer of this many, though nobody set a limit.
    pub fn is_cut(&self, lookups: u64) -> bool {
        self.newest_first && self.limit.is_none() && lookups >= LOOKUPS_KEPT as u64
    }
}

impl Filter {
    /// Whether a flow's state is within the filter; a flow is in a span when any of its life is.
    pub fn matches(&self, record: &Record) -> bool {
        let egress = &record.egress;
        let process = record.sender.process();
        self.overlaps(egress.started_at, egress.last_at)
            && self.during.as_ref().is_none_or(|it| it.overlaps(record))
            && (self.countries.is_empty()
                || record.place.country.code().is_some_and(|code| self.countries.contains(&code)))
            && any(&self.operators, |it| it.matches(record.place.operator.as_deref()))
            && self.is_of(process)
            && any(&self.destinations, |it| {
                egress.remote.is_some_and(|remote| it.matches(remote, &record.place))
            })
            && any(&self.ports, |port| egress.remote.is_some_and(|it| it.port() == *port))
            && (self.transports.is_empty() || self.transports.contains(&egress.transport))
            && (self.verdicts.is_empty() || self.verdicts.contains(&record.judgement.verdict))
            && (self.origins.is_empty() || self.origins.contains(&egress.origin))
            && self.phase.is_none_or(|phase| egress.phase == phase)
            && self.min_bytes.is_none_or(|least| egress.traffic.sent_bytes >= least)
            && (self.reasons.is_empty() || self.reasons.contains(&record.judgement.reason))
            && (self.certainties.is_empty()
                || self.certainties.contains(&record.judgement.certainty))
    }

    /// By what is known of it itself.
    fn is_of(&self, process: Option<&Process>) -> bool {
        any(&self.processes, |it| process.is_some_and(|process| it.finds(process)))
            && any(&self.pids, |it| process.is_some_and(|process| process.pid == *it))
            && self.tree.is_none_or(|pid| process.is_some_and(|process| process.is_within(pid)))
            && any(&self.units, |it| process.is_some_and(|process| it.finds(process)))
            && any(&self.users, |it| process.is_some_and(|process| it.matches(&process.user)))
            && any(&self.scripts, |it| process.is_some_and(|process| it.finds(process)))
            && any(&self.containers, |it| process.is_some_and(|process| it.finds(process)))
            && self.is_of_hash(process)
    }

    fn is_of_hash(&self, process: Option<&Process>) -> bool {
        if self.hashes.is_empty() {
            return true;
        }
        let Some(hash) = process.and_then(|it| it.file.sha256) else { return false };
        let hash = HEXLOWER.encode(&hash);
        self.hashes.iter().any(|begins| hash.starts_with(begins))
    }

    /// Whether a lookup is within the filter. It has no country, operator, port, verdict, origin or
    /// phase: a filter by these matches none.
    pub fn matches_lookup(&self, lookup: &Lookup) -> bool {
        let process = lookup.sender.process();
        let knows = self.countries.is_empty()
            && self.operators.is_empty()
            && self.ports.is_empty()
            && self.destinations.iter().all(|it| it.port.is_none())
            && self.verdicts.is_empty()
            && self.origins.is_empty()
            && self.phase.is_none()
            && self.min_bytes.is_none()
            && self.reasons.is_empty()
            && self.certainties.is_empty();
        knows
            && self.overlaps(lookup.at, lookup.at)
            && self.is_of(process)
            && any(&self.destinations, |it| it.selector.matches_lookup(lookup))
            && (self.transports.is_empty() || self.transports.contains(&lookup.transport))
    }

    /// Whether roll-ups hold what this asks for.
    pub fn knows_rollups(&self) -> bool {
        self.operators.is_empty()
            && self.pids.is_empty()
            && self.tree.is_none()
            && self.units.is_empty()
            && self.destinations.is_empty()
            && self.ports.is_empty()
            && self.transports.is_empty()
            && self.origins.is_empty()
            && self.phase.is_none()
            && self.scripts.is_empty()
            && self.containers.is_empty()
            && self.hashes.is_empty()
            && self.min_bytes.is_none()
            && self.reasons.is_empty()
            && self.certainties.is_empty()
    }

    /// Whether a roll-up is within the filter: its country, verdict, program and user, and any of its
    /// hour.
    pub fn matches_rollup(&self, rollup: &Rollup) -> bool {
        let names = |wanted: &str, program: &str| {
            let program = program.strip_prefix(CLAIMED).unwrap_or(program);
            program == wanted || !wanted.contains('/') && program.rsplit('/').next() == Some(wanted)
        };
        self.knows_rollups()
            && self.overlaps(rollup.hour, rollup.last_instant())
            && (self.countries.is_empty()
                || rollup.country.code().is_some_and(|code| self.countries.contains(&code)))
            && (self.verdicts.is_empty() || self.verdicts.contains(&rollup.verdict))
            && any(&self.processes, |it| names(it.0.as_ref(), &rollup.program))
            && any(&self.users, |it| rollup.user.as_ref().is_some_and(|user| it.matches(user)))
    }

    /// Whether anything in `first..=last` can be in the span asked for.
    pub fn overlaps(&self, first: Timestamp, last: Timestamp) -> bool {
        self.since.is_none_or(|since| last >= since) && self.until.is_none_or(|until| first < until)
    }
}

/// Whether one of them is it, or nothing is asked for.
fn any<T>(wanted: &[T], is_it: impl FnMut(&T) -> bool) -> bool {
    wanted.is_empty() || wanted.iter().any(is_it)
}

/// The first digits of a SHA-256, as hashes are written: lower-case.
pub fn hash_digits(text: &str) -> Result<String, String> {
    let is_hash = (8..=64).contains(&text.len()) && text.bytes().all(|it| it.is_ascii_hexdigit());
    if !is_hash {
        return Err(format!("`{text}` is no hash; write 8 to 64 of its hexadecimal digits"));
    }
    Ok(text.to_ascii_lowercase())
}

//! The query filters of `events` and `summary`: one parsing for command line and HTTP, one matching
//! for store and live stream.

mod typed;

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::{
    event::{
        CLAIMED, CountryCode, Lookup, Origin, Phase, Process, Record, Rollup, Timestamp, Transport,
        Verdict,
    },
    locate::codes,
    marks::{Interval, Intervals},
    select::{OperatorSelector, ProcessSelector, UnitSelector, UserSelector},
    when,
};
pub use typed::Destination;

/// Filters as they are typed. Field names are the command line's options and the HTTP parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
#[serde(default, deny_unknown_fields)]
pub struct RawFilter {
    /// From this time on: RFC 3339, a date, a time of today, or a span back from now (90s 15m 1h30m 7d)
    #[arg(long, value_name = "TIME", help_heading = "Filters")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Up to this time, likewise
    #[arg(long, value_name = "TIME", help_heading = "Filters")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Within an interval that was marked: the last of that name, or NAME#2 the second one (see
    /// `geofenced mark list`). A flow is in it when any of its life is
    #[arg(long, value_name = "NAME", help_heading = "Filters")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,
    /// Countries of the destination, ISO 3166-1 alpha-2: CN,RU
    #[arg(long, value_name = "CC,...", help_heading = "Filters")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// Operators of the destination: AS64500,64501, or part of a name
    #[arg(long, value_name = "AS,...|TEXT", help_heading = "Filters")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
    /// Programs: names, or full paths of executables
    #[arg(long, value_name = "NAME|PATH,...", help_heading = "Filters")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// Process ids
    #[arg(long, value_name = "N,...", help_heading = "Filters")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<String>,
    /// systemd units
    #[arg(long, value_name = "NAME,...", help_heading = "Filters")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Users, by name or number
    #[arg(long, value_name = "NAME|UID,...", help_heading = "Filters")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Destinations: addresses, networks, or domains with their subdomains; `:443` behind one is its port
    #[arg(long, value_name = "IP|CIDR|DOMAIN,...", help_heading = "Filters")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// Destination ports
    #[arg(long, value_name = "N,...", help_heading = "Filters")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// Transports: tcp,udp,icmp,..., or IANA protocol numbers
    #[arg(long, value_name = "NAME,...", help_heading = "Filters")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport: Option<String>,
    /// Verdicts: unapproved,unknown,approved,local
    #[arg(long, value_name = "VERDICT,...", help_heading = "Filters")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// Origins: process,accepted,forwarded,packet-socket,tunnel,kernel,pre-existing
    #[arg(long, value_name = "ORIGIN,...", help_heading = "Filters")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// `attempt` or `sent`
    #[arg(long, value_name = "PHASE", help_heading = "Filters")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// At most this many: the newest
    #[arg(long, value_name = "N", help_heading = "Filters")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// Newest first
    #[arg(long, help_heading = "Filters")]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub reverse: bool,
}

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
    pub units: Vec<UnitSelector>,
    pub users: Vec<UserSelector>,
    pub destinations: Vec<Destination>,
    pub ports: Vec<u16>,
    pub transports: Vec<Transport>,
    pub verdicts: Vec<Verdict>,
    pub origins: Vec<Origin>,
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
    }

    /// By its program, number, unit and user.
    fn is_of(&self, process: Option<&Process>) -> bool {
        any(&self.processes, |it| process.is_some_and(|process| it.finds(process)))
            && any(&self.pids, |it| process.is_some_and(|process| process.pid == *it))
            && any(&self.units, |it| process.is_some_and(|process| it.finds(process)))
            && any(&self.users, |it| process.is_some_and(|process| it.matches(&process.user)))
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
            && self.phase.is_none();
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
            && self.units.is_empty()
            && self.destinations.is_empty()
            && self.ports.is_empty()
            && self.transports.is_empty()
            && self.origins.is_empty()
            && self.phase.is_none()
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

impl RawFilter {
    /// The same with its times in RFC 3339, for a daemon that may be in another zone.
    pub fn resolve(&self, now: Timestamp, zone: &TimeZone) -> Result<Self, FilterError> {
        let rfc3339 = |option, text: &Option<String>| {
            let at = one(option, text.as_deref(), |text| when::parse(text, now, zone))?;
            Ok(at.map(when::rfc3339))
        };
        let (since, until) = (rfc3339("since", &self.since)?, rfc3339("until", &self.until)?);
        Ok(Self { since, until, ..self.clone() })
    }

    /// Where no interval can be asked for.
    pub fn parse(&self, now: Timestamp) -> Result<Query, FilterError> {
        self.parse_among(now, &Intervals::default())
    }

    /// `now` is what spans count back from. Dates and times without an offset are of UTC.
    pub fn parse_among(&self, now: Timestamp, intervals: &Intervals) -> Result<Query, FilterError> {
        let time = |text: &str| when::parse(text, now, &TimeZone::UTC);
        let mut filter = Filter {
            since: one("since", self.since.as_deref(), time)?,
            until: one("until", self.until.as_deref(), time)?,
            during: one("interval", self.interval.as_deref(), |asked| {
                intervals.find(asked).cloned()
            })?,
            countries: many("country", self.country.as_deref(), parse_country)?,
            operators: one("operator", self.operator.as_deref(), typed::operators)?
                .unwrap_or_default(),
            processes: one("process", self.process.as_deref(), typed::processes)?
                .unwrap_or_default(),
            pids: many("pid", self.pid.as_deref(), parse_number)?,
            units: many("unit", self.unit.as_deref(), UnitSelector::parse)?,
            users: many("user", self.user.as_deref(), UserSelector::parse)?,
            destinations: many("destination", self.destination.as_deref(), Destination::parse)?,
            ports: many("port", self.port.as_deref(), parse_number)?,
            transports: many("transport", self.transport.as_deref(), |text| {
                Transport::parse(text).ok_or_else(|| {
                    format!("`{text}` is no transport; try tcp, udp, icmp or a protocol number")
                })
            })?,
            verdicts: many("verdict", self.verdict.as_deref(), |text| {
                Verdict::parse(text).ok_or_else(|| no_such(text, &words(Verdict::ALL)))
            })?,
            origins: many("origin", self.origin.as_deref(), |text| {
                Origin::parse(text).ok_or_else(|| no_such(text, &words(Origin::ALL)))
            })?,
            phase: one("phase", self.phase.as_deref(), |text| {
                Phase::parse(text).ok_or_else(|| no_such(text, &words(Phase::ALL)))
            })?,
        };
        if let (Some(since), Some(until)) = (filter.since, filter.until)
            && since >= until
        {
            return Err(FilterError {
                option: "until",
                problem: "ends before --since begins".into(),
            });
        }
        if let Some((since, until)) = filter.during.as_ref().map(Interval::window) {
            filter.since = filter.since.max(since);
            filter.until = [filter.until, until].into_iter().flatten().min();
        }
        let limit = one("limit", self.limit.as_deref(), parse_limit)?;
        Ok(Query { filter, limit, newest_first: self.reverse })
    }
}

/// Whether one of them is it, or nothing is asked for.
fn any<T>(wanted: &[T], is_it: impl FnMut(&T) -> bool) -> bool {
    wanted.is_empty() || wanted.iter().any(is_it)
}

fn one<T>(
    option: &'static str,
    text: Option<&str>,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<Option<T>, FilterError> {
    text.map(str::trim).map(parse).transpose().map_err(|problem| FilterError { option, problem })
}

fn many<T>(
    option: &'static str,
    text: Option<&str>,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, FilterError> {
    let parts = text.into_iter().flat_map(|text| text.split(',')).map(str::trim);
    parts.map(parse).collect::<Result<_, _>>().map_err(|problem| FilterError { option, problem })
}

/// The first digits of a SHA-256, as hashes are written: lower-case.
pub fn hash_digits(text: &str) -> Result<String, String> {
    let is_hash = (8..=64).contains(&text.len()) && text.bytes().all(|it| it.is_ascii_hexdigit());
    if !is_hash {
        return Err(format!("`{text}` is no hash; write 8 to 64 of its hexadecimal digits"));
    }
    Ok(text.to_ascii_lowercase())
}

fn parse_country(text: &str) -> Result<CountryCode, String> {
    CountryCode::new(text)
        .filter(|code| codes::is_assigned(*code))
        .ok_or_else(|| format!("`{text}` is no country; write its two-letter code, such as CN"))
}

fn parse_number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("`{text}` is no number in range"))
}

fn parse_limit(text: &str) -> Result<usize, String> {
    match parse_number(text)? {
        0 => Err("`0` shows nothing; leave it out to show all".into()),
        limit => Ok(limit),
    }
}

fn words<T: std::fmt::Display>(all: &[T]) -> Vec<String> {
    all.iter().map(ToString::to_string).collect()
}

fn no_such(text: &str, known: &[String]) -> String {
    format!("`{text}` is none of {}", known.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    #[test]
    fn times_are_sent_as_they_are_in_the_zone_of_whoever_asks() {
        let zone = TimeZone::posix("CET-1").unwrap();
        let raw = RawFilter { since: Some("2027-01-14".into()), ..RawFilter::default() };
        let sent = raw.resolve(NOW, &zone).unwrap();
        assert_eq!(sent.since.as_deref(), Some("2027-01-13T23:00:00Z"));
        assert_ne!(sent.parse(NOW).unwrap().filter.since, raw.parse(NOW).unwrap().filter.since);
    }

    #[test]
    fn more_lookups_than_are_told_can_not_be_asked_for() {
        let asked = |limit, newest_first| Query { limit, newest_first, ..Query::default() };
        assert!(asked(None, false).of_lookups().is_ok());
        assert!(asked(Some(LOOKUPS_KEPT), true).of_lookups().is_ok());
        let error = asked(Some(LOOKUPS_KEPT + 1), false).of_lookups().unwrap_err().to_string();
        assert_eq!(error, "--limit: `100001` is more than the 100000 lookups told at most");
        assert!(asked(None, true).is_cut(100_000) && !asked(None, true).is_cut(99_999));
        assert!(!asked(Some(LOOKUPS_KEPT), true).is_cut(100_000));
        assert!(!asked(None, false).is_cut(200_000));
    }

    #[test]
    fn a_wrong_value_names_its_option() {
        let wrong = |raw: RawFilter| raw.parse(NOW).unwrap_err().to_string();
        let country = Some("CN,Russia".to_owned());
        assert!(wrong(RawFilter { country, ..Default::default() }).starts_with("--country:"));
        let since = Some("soon".to_owned());
        assert!(wrong(RawFilter { since, ..Default::default() }).contains("90s 15m"));
        let limit = Some("0".to_owned());
        assert!(wrong(RawFilter { limit, ..Default::default() }).starts_with("--limit: `0`"));
        let verdict = Some("bad".to_owned());
        assert!(wrong(RawFilter { verdict, ..Default::default() }).contains("unapproved"));
    }
}

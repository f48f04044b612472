//! Filters as they are typed, on the command line and in a request, and what they mean. Matches nothing.

use clap::ValueHint;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::{Destination, Filter, FilterError, Query, hash_digits, typed, words::Words};
use crate::{
    event::{Certainty, CountryCode, Origin, Phase, Reason, Timestamp, Transport, Verdict},
    locate::codes,
    marks::{Interval, Intervals},
    select::{ContainerSelector, ScriptSelector, UnitSelector, UserSelector},
    when,
};

/// What reasons are called; a rule's has the rule's name.
const REASONS: [&str; 7] =
    ["country", "operator", "unlocated", "local-network", "undetermined", "malformed", "rule:NAME"];

/// Filters as they are typed. Field names are the command line's options and the HTTP parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
#[serde(default, deny_unknown_fields)]
pub struct RawFilter {
    /// From this time on: RFC 3339, a date, a time of today, or a span back from now (90s 15m 1h30m 7d)
    #[arg(long, value_hint = ValueHint::Other, value_name = "TIME", help_heading = "Filters")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Up to this time, likewise
    #[arg(long, value_hint = ValueHint::Other, value_name = "TIME", help_heading = "Filters")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Within an interval that was marked: the last of that name, or NAME#2 the second one (see
    /// `geofenced mark list`). A flow is in it when any of its life is
    #[arg(long, value_hint = ValueHint::Other, value_name = "NAME", help_heading = "Filters")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,
    /// Countries of the destination, ISO 3166-1 alpha-2: CN,RU
    #[arg(long, value_hint = ValueHint::Other, value_name = "CC,...", help_heading = "Filters")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// Operators of the destination: AS64500,64501, or part of a name
    #[arg(long, value_hint = ValueHint::Other, value_name = "AS,...|TEXT", help_heading = "Filters")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
    /// Programs: names, or full paths of executables
    #[arg(long, value_hint = ValueHint::Other, value_name = "NAME|PATH,...", help_heading = "Filters")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// Process ids
    #[arg(long, value_hint = ValueHint::Other, value_name = "N,...", help_heading = "Filters")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<String>,
    /// The process whose tree is asked for: it, and what it started. Of `events --tree`
    #[arg(skip)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tree: Option<String>,
    /// systemd units
    #[arg(long, value_hint = ValueHint::Other, value_name = "NAME,...", help_heading = "Filters")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Users, by name or number
    #[arg(long, value_hint = ValueHint::Username, value_name = "NAME|UID,...", help_heading = "Filters")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Destinations: addresses, networks, or domains with their subdomains; `:443` behind one is its port
    #[arg(long, value_hint = ValueHint::Other, value_name = "IP|CIDR|DOMAIN,...", help_heading = "Filters")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// Destination ports
    #[arg(long, value_hint = ValueHint::Other, value_name = "N,...", help_heading = "Filters")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// Transports: tcp,udp,icmp,..., or IANA protocol numbers
    #[arg(long, hide_possible_values = true, value_parser = Words(&["tcp", "udp", "icmp", "ipv6-icmp", "sctp"]), value_name = "NAME,...", help_heading = "Filters")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport: Option<String>,
    /// Verdicts: unapproved,unknown,approved,local
    #[arg(long, hide_possible_values = true, value_parser = Words(&["unapproved", "unknown", "approved", "local"]), value_name = "VERDICT,...", help_heading = "Filters")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// Origins: process,accepted,forwarded,packet-socket,tunnel,kernel,pre-existing
    #[arg(long, hide_possible_values = true, value_parser = Words(&["process", "accepted", "forwarded", "packet-socket", "tunnel", "kernel", "pre-existing"]), value_name = "ORIGIN,...", help_heading = "Filters")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// What interpreters run, by name or as it was passed to them: live.py,/opt/live.py. A claim of theirs
    #[arg(long, value_hint = ValueHint::Other, value_name = "NAME|PATH,...", help_heading = "Filters")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub script: Option<String>,
    /// Containers: names or ids, or the first 12 digits of an id or more
    #[arg(long, value_hint = ValueHint::Other, value_name = "NAME|ID,...", help_heading = "Filters")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// SHA-256 of executables: their first 8 digits or more
    #[arg(long, value_hint = ValueHint::Other, value_name = "SHA256,...", help_heading = "Filters")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
    /// Reasons of verdicts: country,operator,unlocated,rule:NAME,...
    #[arg(long, hide_possible_values = true, value_parser = Words(&["country", "operator", "unlocated", "local-network", "undetermined", "malformed"]), value_name = "REASON,...", help_heading = "Filters")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict_reason: Option<String>,
    /// Certainties of verdicts: full,partial,disputed
    #[arg(long, hide_possible_values = true, value_parser = Words(&["full", "partial", "disputed"]), value_name = "WORD,...", help_heading = "Filters")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certainty: Option<String>,
    /// Flows that sent this much or more, in all their life: 1500, 10KiB, 1.5MiB
    #[arg(long, value_hint = ValueHint::Other, value_name = "BYTES", help_heading = "Filters")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_bytes: Option<String>,
    /// `attempt` or `sent`
    #[arg(long, hide_possible_values = true, value_parser = Words(&["attempt", "sent"]), value_name = "PHASE", help_heading = "Filters")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// At most this many: the newest
    #[arg(long, value_hint = ValueHint::Other, value_name = "N", help_heading = "Filters")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// Newest first
    #[arg(long, help_heading = "Filters")]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub reverse: bool,
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
            pids: many("pid", self.pid.as_deref(), typed::number)?,
            tree: one("tree", self.tree.as_deref(), typed::number)?,
            units: many("unit", self.unit.as_deref(), UnitSelector::parse)?,
            users: many("user", self.user.as_deref(), UserSelector::parse)?,
            destinations: many("destination", self.destination.as_deref(), Destination::parse)?,
            ports: many("port", self.port.as_deref(), typed::number)?,
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
            scripts: many("script", self.script.as_deref(), ScriptSelector::parse)?,
            containers: many("container", self.container.as_deref(), ContainerSelector::parse)?,
            hashes: many("hash", self.hash.as_deref(), hash_digits)?,
            reasons: many("verdict-reason", self.verdict_reason.as_deref(), |text| {
                Reason::parse(text).ok_or_else(|| no_such(text, &words(&REASONS)))
            })?,
            certainties: many("certainty", self.certainty.as_deref(), |text| {
                Certainty::parse(text).ok_or_else(|| no_such(text, &words(Certainty::ALL)))
            })?,
            min_bytes: one("min-bytes", self.min_bytes.as_deref(), typed::bytes)?,
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

fn parse_country(text: &str) -> Result<CountryCode, String> {
    CountryCode::new(text)
        .filter(|code| codes::is_assigned(*code))
        .ok_or_else(|| format!("`{text}` is no country; write its two-letter code, such as CN"))
}

fn parse_limit(text: &str) -> Result<usize, String> {
    match typed::number(text)? {
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
    use crate::filter::LOOKUPS_KEPT;

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

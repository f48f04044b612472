//! A period of the whole fleet, from the lake: who watched, who is silent, and what went where it must not. It reads
//! Parquet and what is known of the ledgers; it proves nothing anew.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    sync::Arc,
};

use geofenced::fleet::{Extent, Timestamp, day, shown_bytes, span};
use maud::{DOCTYPE, Markup, html};
use parquet::{
    file::{
        metadata::RowGroupMetaData,
        reader::{FileReader as _, RowGroupReader, SerializedFileReader},
        statistics::Statistics,
    },
    record::{Field, Row, reader::RowIter},
    schema::types::Type,
};
use serde::Serialize;

use crate::collect::{CollectError, Known};

/// Columns that are read.
const COLUMNS: [&str; 10] = [
    "timestamp",
    "event_id",
    "event_end",
    "geofenced_revision",
    "geofenced_violation",
    "host_name",
    "destination_geo_country_iso_code",
    "destination_as_organization_name",
    "process_executable",
    "source_bytes",
];

/// Where, whose and by which program.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Kind {
    pub country: String,
    pub operator: String,
    pub program: String,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Sum {
    pub flows: u64,
    pub bytes: u64,
}

#[derive(Debug, Serialize)]
pub struct Standing {
    pub station: String,
    pub origin: String,
    pub state: &'static str,
    pub why: Option<String>,
    /// Of the period; nothing where nothing arrived.
    pub watched_seconds: Option<u64>,
    pub violations: u64,
    pub refused: usize,
}

#[derive(Debug, Serialize)]
pub struct Report {
    pub from: String,
    pub to: String,
    pub seconds: u64,
    pub violations: Vec<(Kind, Sum, usize)>,
    pub stations: Vec<Standing>,
}

/// One state of a flow that violates.
#[derive(Debug)]
struct Told {
    at_ns: i64,
    id: String,
    is_last: bool,
    revision: i64,
    host: String,
    kind: Kind,
    bytes: u64,
}

fn told(row: &Row) -> Option<Told> {
    let text = |at: usize| match row.get_column_iter().nth(at).map(|(_, field)| field) {
        Some(Field::Str(text)) => text.clone(),
        _ => String::new(),
    };
    let number = |at: usize| match row.get_column_iter().nth(at).map(|(_, field)| field) {
        Some(Field::Long(it) | Field::TimestampMicros(it) | Field::TimestampMillis(it)) => {
            Some(*it)
        }
        _ => None,
    };
    let by_name = |name: &str| row.get_column_iter().position(|(it, _)| it == name);
    let at = |name: &str| by_name(name).unwrap_or(usize::MAX);
    let violates = row.get_column_iter().nth(at("geofenced_violation"));
    if !matches!(violates, Some((_, Field::Bool(true)))) {
        return None;
    }
    let revision = number(at("geofenced_revision")).unwrap_or(0);
    Some(Told {
        at_ns: number(at("timestamp"))?,
        id: text(at("event_id")),
        is_last: revision == 0 && number(at("event_end")).is_some(),
        revision,
        host: text(at("host_name")),
        kind: Kind {
            country: text(at("destination_geo_country_iso_code")),
            operator: text(at("destination_as_organization_name")),
            program: text(at("process_executable")),
        },
        bytes: number(at("source_bytes")).unwrap_or(0).unsigned_abs(),
    })
}

/// A group of which each row says that it violates nothing need not be read.
fn may_violate(group: &RowGroupMetaData) -> bool {
    let column =
        group.columns().iter().find(|it| it.column_path().string() == "geofenced_violation");
    match column.and_then(|it| it.statistics()) {
        Some(Statistics::Boolean(it)) => it.max_opt() != Some(&false),
        _ => true,
    }
}

#[derive(Debug, Default)]
struct Sums {
    by_kind: BTreeMap<Kind, (Sum, BTreeMap<String, u64>)>,
    /// The last state so far of those that may be told again.
    open: BTreeMap<(String, String), Told>,
}

impl Sums {
    fn add(&mut self, told: Told) {
        let (sum, hosts) = self.by_kind.entry(told.kind).or_default();
        sum.flows += 1;
        sum.bytes += told.bytes;
        *hosts.entry(told.host).or_default() += 1;
    }

    fn take(&mut self, told: Told) {
        if told.is_last {
            self.add(told);
            return;
        }
        let key = (told.host.clone(), told.id.clone());
        let newest = self.open.get(&key).is_none_or(|it| it.revision < told.revision);
        if newest {
            self.open.insert(key, told);
        }
    }

    fn file(&mut self, path: &Path, period: (Timestamp, Timestamp)) -> parquet::errors::Result<()> {
        let reader = SerializedFileReader::new(File::open(path)?)?;
        let schema = reader.metadata().file_metadata().schema_descr().root_schema_ptr();
        let of = |field: &&Arc<Type>| COLUMNS.contains(&field.name());
        let fields = schema.get_fields().iter().filter(of).cloned().collect();
        let wanted = Type::group_type_builder("geofenced").with_fields(fields).build()?;
        for number in 0..reader.num_row_groups() {
            if !may_violate(reader.metadata().row_group(number)) {
                continue;
            }
            let group: Box<dyn RowGroupReader + '_> = reader.get_row_group(number)?;
            for row in RowIter::from_row_group(Some(wanted.clone()), &*group)? {
                let told = told(&row?);
                let is_within =
                    |it: &Told| (period.0.0..period.1.0).contains(&it.at_ns.unsigned_abs());
                if let Some(told) = told.filter(is_within) {
                    self.take(told);
                }
            }
        }
        Ok(())
    }
}

/// Files of flows that began on these days.
fn files(lake: &Path, (from, to): (Timestamp, Timestamp)) -> std::io::Result<Vec<PathBuf>> {
    let (first, last) = (format!("day={}", day(from)), format!("day={}", day(to)));
    let mut all = Vec::new();
    let flows = lake.join("flows");
    let days = if flows.is_dir() {
        fs::read_dir(flows)?.collect::<Result<Vec<_>, _>>()?
    } else {
        Vec::new()
    };
    for of_day in days {
        let name = of_day.file_name().to_string_lossy().into_owned();
        if name < first || name > last {
            continue;
        }
        for file in fs::read_dir(of_day.path())? {
            let path = file?.path();
            if path.extension().is_some_and(|it| it == "parquet") {
                all.push(path);
            }
        }
    }
    all.sort();
    Ok(all)
}

/// Seconds of the period that were watched, by the gaps that are known.
fn watched(it: &Known, (from, to): (Timestamp, Timestamp)) -> Option<u64> {
    let coverage = it.coverage.as_ref()?;
    // What is before its first word and behind its last nobody watched, as far as is known.
    let (first, last) = (coverage.from.0.max(from).0, coverage.to.0.min(to).0);
    let (mut unwatched, mut end) = (0, first);
    for gap in coverage.gaps.iter().filter(|gap| gap.extent != Extent::Degraded) {
        let (from, to) = (gap.from.0.0.max(end), gap.to.0.0.min(last));
        unwatched += to.saturating_sub(from);
        end = end.max(to);
    }
    Some(last.saturating_sub(first).saturating_sub(unwatched) / 1_000_000_000)
}

pub fn make(
    lake: &Path,
    known: &[Known],
    period: (Timestamp, Timestamp),
) -> Result<Report, CollectError> {
    let mut sums = Sums::default();
    let listed = files(lake, period);
    let listed =
        listed.map_err(|source| CollectError::Read { path: lake.join("flows"), source })?;
    for path in listed {
        sums.file(&path, period).map_err(|error| {
            let source = std::io::Error::other(error);
            CollectError::Read { path: path.clone(), source }
        })?;
    }
    for (_, told) in std::mem::take(&mut sums.open) {
        sums.add(told);
    }
    let mut of_station: BTreeMap<String, u64> = BTreeMap::new();
    for (_, hosts) in sums.by_kind.values() {
        for (host, flows) in hosts {
            *of_station.entry(host.clone()).or_default() += flows;
        }
    }
    let stations = known.iter().map(|it| Standing {
        station: it.station.clone(),
        origin: it.origin.clone(),
        state: it.state,
        why: it.why.clone(),
        watched_seconds: watched(it, period),
        violations: of_station.get(&it.station).copied().unwrap_or(0),
        refused: it.refused.len(),
    });
    let text = |at: Timestamp| {
        geofenced::fleet::Time(at).to_jiff().map_or_else(String::new, |it| it.to_string())
    };
    Ok(Report {
        from: text(period.0),
        to: text(period.1),
        seconds: (period.1.0 - period.0.0) / 1_000_000_000,
        stations: stations.collect(),
        violations: sums
            .by_kind
            .into_iter()
            .map(|(kind, (sum, hosts))| (kind, sum, hosts.len()))
            .collect(),
    })
}

impl Report {
    /// What may be said of all of it, in a sentence.
    pub fn sentence(&self) -> String {
        let flows: u64 = self.violations.iter().map(|(_, sum, _)| sum.flows).sum();
        let not_whole = self.stations.iter().filter(|it| it.state != "whole").count();
        let partly = self.stations.iter().filter(|it| {
            it.state == "whole" && it.watched_seconds.is_none_or(|it| it < self.seconds)
        });
        let partly = partly.count();
        let known = match flows {
            0 => "No violation is in the lake".to_owned(),
            1 => "One flow went where it must not".to_owned(),
            _ => format!("{flows} flows went where they must not"),
        };
        if not_whole == 0 && partly == 0 {
            return format!(
                "{known}; all {} ledgers are whole and watched all of the time.",
                self.stations.len()
            );
        }
        format!(
            "{known}; of {} ledgers {not_whole} are not whole and {partly} did not watch all of the time: what is not there proves nothing for these.",
            self.stations.len()
        )
    }

    pub fn page(&self) -> String {
        let page: Markup = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    title { "Fleet, " (self.from) " to " (self.to) }
                    style { (maud::PreEscaped(STYLE)) }
                }
                body {
                    h1 { "What left the fleet" }
                    p { (self.from) " to " (self.to) }
                    p.claim { (self.sentence()) }
                    h2 { "Where it must not, by which program" }
                    (self.kinds())
                    h2 { "Stations" }
                    (self.table())
                    h2 { "Limits" }
                    p { "Of each ledger only what is signed and arrived is counted. A station that is silent, or whose ledger is not whole, is no station that sent nothing. What was only added up is not itemised here." }
                }
            }
        };
        page.into_string()
    }

    fn kinds(&self) -> Markup {
        html! {
            table {
                tr { th { "country" } th { "operator" } th { "program" } th.n { "flows" } th.n { "bytes" } th.n { "stations" } }
                @for (kind, sum, stations) in &self.violations {
                    tr {
                        td { (shown(&kind.country)) } td { (shown(&kind.operator)) } td { (shown(&kind.program)) }
                        td.n { (sum.flows) } td.n { (shown_bytes(sum.bytes)) } td.n { (stations) }
                    }
                }
            }
        }
    }

    fn table(&self) -> Markup {
        html! {
            table {
                tr { th { "ledger" } th { "state" } th.n { "watched" } th.n { "violations" } th.n { "refused" } }
                @for it in &self.stations {
                    tr {
                        td { (shown(&it.origin)) }
                        td { (it.state) @if let Some(why) = &it.why { br; small { (shown(why)) } } }
                        td.n { (it.watched_seconds.map_or_else(|| "not known".to_owned(), |it| format!("{} of {}", span(it), span(self.seconds)))) }
                        td.n { (it.violations) } td.n { (it.refused) }
                    }
                }
            }
        }
    }

    pub fn text(&self) -> String {
        use std::fmt::Write as _;
        let mut out = format!("{} to {}\n{}\n\n", self.from, self.to, self.sentence());
        for (kind, sum, stations) in &self.violations {
            let Kind { country, operator, program } = kind;
            let line = format!(
                "{country:<4} {operator:<36} {program:<32} {:>10} flows {:>10} {stations} stations",
                sum.flows,
                shown_bytes(sum.bytes)
            );
            // Writing to memory does not fail.
            let _ = writeln!(out, "{}", shown(&line));
        }
        out.push('\n');
        for it in &self.stations {
            let watched = it.watched_seconds.map_or_else(|| "not known".to_owned(), span);
            let line = format!(
                "{:<24} {:<12} watched {watched}, {} violations",
                it.origin, it.state, it.violations
            );
            let _ = writeln!(out, "{}", shown(&line));
        }
        out
    }
}

fn shown(text: &str) -> std::borrow::Cow<'_, str> {
    geofenced::fleet::printable(text)
}

const STYLE: &str = ":root{color-scheme:light dark;font:15px/1.5 system-ui,sans-serif}body{max-width:70rem;margin:2rem auto;padding:0 1rem}table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #8886;vertical-align:top}.n{text-align:right;font-variant-numeric:tabular-nums}.claim{font-size:1.2rem}";

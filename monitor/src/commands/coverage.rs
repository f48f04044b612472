//! `coverage`: what of a window was watched, from the daemon, else from the ledger; and the line about it
//! that ends every other answer.

use std::io::Write;

use serde::Serialize;

use super::{Failure, Outcome, load, out};
use crate::{
    api::client::{Client, ClientError},
    cli::{CoverageArgs, Exit, GapArgs, Global, Output},
    coverage::{Coverage, Extent, Gap, Integrity, Watched},
    ecs::{MarkEvent, Time},
    event::Timestamp,
    filter::RawFilter,
    table::{Times, small, span},
    when,
};

/// The last object of an answer.
#[derive(Serialize)]
struct Total<'a> {
    geofenced: TotalFields<'a>,
}

#[derive(Serialize)]
struct TotalFields<'a> {
    coverage: TotalCoverage<'a>,
}

#[derive(Serialize)]
struct TotalCoverage<'a> {
    from: Time,
    to: Time,
    watched_seconds: u64,
    seconds: u64,
    gaps: usize,
    ledger: &'a Integrity,
}

/// A gap as the contract has it.
#[derive(Serialize)]
struct GapRecord<'a> {
    #[serde(rename = "@timestamp")]
    timestamp: Time,
    event: EventFields,
    geofenced: GapFields<'a>,
}

#[derive(Serialize)]
struct EventFields {
    kind: &'static str,
    category: [&'static str; 1],
    action: &'static str,
}

#[derive(Serialize)]
struct GapFields<'a> {
    gap: &'a Gap,
}

/// Who watched, from when on.
#[derive(Serialize)]
struct WatchedRecord<'a> {
    #[serde(rename = "@timestamp")]
    timestamp: Time,
    event: EventFields,
    geofenced: WatchedFields<'a>,
}

#[derive(Serialize)]
struct WatchedFields<'a> {
    watching: &'a Watched,
}

pub(super) fn run(global: &Global, args: &CoverageArgs) -> Outcome {
    let filter = load::filter(&args.period.typed(), args.utc)?;
    let parsed = load::query(global, &filter)?.filter;
    let mut coverage = within(global, parsed.since, parsed.until)?;
    coverage.watching = watching(global, parsed.since, parsed.until)?;
    let mut out = out::stdout();
    match global.output {
        Output::Json => {
            coverage.gaps.iter().try_for_each(|gap| out::json_line(&mut out, &record(gap)))?;
            coverage.watching.iter().try_for_each(|it| out::json_line(&mut out, &watched(it)))?;
            for mark in load::marks(global)?
                .iter()
                .filter(|it| parsed.overlaps(it.moment.wall(), it.moment.wall()))
            {
                out::json_line(&mut out, &MarkEvent::from(mark))?;
            }
            out::json_line(&mut out, &total(&coverage))?;
        }
        Output::Csv => {
            out::csv_head(&mut out, ["from", "to", "extent", "stage", "reason", "count"])?;
            coverage.gaps.iter().try_for_each(|gap| out::csv_line(&mut out, csv_row(gap)))?;
        }
        Output::Table => {
            if !coverage.gaps.is_empty() {
                out::table(&mut out, &table(&coverage.gaps, &Times::new(args.utc)))?;
            }
            writeln!(out, "{}", coverage.sentence())?;
            say_end(global, parsed.until, &coverage);
            let times = Times::new(args.utc);
            for watched in &coverage.watching {
                writeln!(out, "from {}: {}", times.format(watched.noted_at), watched.sentence())?;
            }
        }
    }
    out.flush()?;
    Ok(if args.fail_on_gap && coverage.has_gaps() { Exit::Integrity } else { Exit::Fine })
}

/// Ends an answer about a window with what of it was watched.
pub(super) fn end(
    global: &Global,
    args: GapArgs,
    (since, until): (Option<Timestamp>, Option<Timestamp>),
) -> Outcome {
    let coverage = within(global, since, until)?;
    if args.coverage && global.output == Output::Json {
        let mut out = out::stdout();
        out::json_line(&mut out, &total(&coverage))?;
        out.flush()?;
    }
    if global.quiet == 0 {
        eprintln!("{}", coverage.sentence());
        say_end(global, until, &coverage);
    }
    Ok(if args.fail_on_gap && coverage.has_gaps() { Exit::Integrity } else { Exit::Fine })
}

/// Says where a store ends that was named by its path, and so the answer.
fn say_end(global: &Global, until: Option<Timestamp>, coverage: &Coverage) {
    if global.store.is_some() && until.is_none() {
        let end = Times::new(false).format(coverage.to);
        eprintln!("the store ends at {end}: of what came after it tells nothing");
    }
}

pub(super) fn within(
    global: &Global,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
) -> Result<Coverage, Failure> {
    let window = RawFilter {
        since: since.map(when::rfc3339),
        until: until.map(when::rfc3339),
        ..RawFilter::default()
    };
    let asked: Result<Coverage, ClientError> =
        Client::new(&load::socket(global)?)?.get("/v1/coverage", &window);
    match asked {
        Ok(coverage) => Ok(coverage),
        Err(error) if error.is_absent() => {
            let reader = load::ledger_alone(global, &error)?;
            let until = until.map_or_else(|| load::end(global), Ok)?;
            Ok(reader.coverage((since, until), None)?)
        }
        Err(error) => Err(error.into()),
    }
}

/// Who watched, of the same window.
fn watching(
    global: &Global,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
) -> Result<Vec<Watched>, Failure> {
    let window = RawFilter {
        since: since.map(when::rfc3339),
        until: until.map(when::rfc3339),
        ..RawFilter::default()
    };
    let asked: Result<Vec<Watched>, ClientError> =
        Client::new(&load::socket(global)?)?.get("/v1/watching", &window);
    match asked {
        Ok(watching) => Ok(watching),
        Err(error) if error.is_absent() => {
            let reader = load::ledger_alone(global, &error)?;
            let until = until.map_or_else(|| load::end(global), Ok)?;
            Ok(reader.watching((since, until))?)
        }
        Err(error) => Err(error.into()),
    }
}

fn watched(watching: &Watched) -> WatchedRecord<'_> {
    WatchedRecord {
        timestamp: watching.noted_at,
        event: EventFields { kind: "state", category: ["host"], action: "watching" },
        geofenced: WatchedFields { watching },
    }
}

fn total(coverage: &Coverage) -> Total<'_> {
    let Coverage { from, to, watched_seconds, seconds, gaps, ledger, .. } = coverage;
    Total {
        geofenced: TotalFields {
            coverage: TotalCoverage {
                from: *from,
                to: *to,
                watched_seconds: *watched_seconds,
                seconds: *seconds,
                gaps: gaps.len(),
                ledger,
            },
        },
    }
}

fn record(gap: &Gap) -> GapRecord<'_> {
    GapRecord {
        timestamp: gap.from,
        event: EventFields { kind: "event", category: ["host"], action: "gap" },
        geofenced: GapFields { gap },
    }
}

const fn word(extent: Extent) -> &'static str {
    match extent {
        Extent::Blind => "blind",
        Extent::Degraded => "degraded",
        Extent::Removed => "removed",
    }
}

fn csv_row(gap: &Gap) -> [String; 6] {
    [
        when::rfc3339(gap.from.0),
        when::rfc3339(gap.to.0),
        word(gap.extent).to_owned(),
        gap.stage.clone(),
        gap.reason.clone(),
        gap.count.map(|count| count.to_string()).unwrap_or_default(),
    ]
}

fn table(gaps: &[Gap], clock: &Times) -> comfy_table::Table {
    let rows = gaps.iter().map(|gap| {
        let nanoseconds = gap.to.0.0.saturating_sub(gap.from.0.0);
        vec![
            clock.format(gap.from),
            clock.format(gap.to),
            span(nanoseconds.div_ceil(1_000_000_000)),
            word(gap.extent).to_owned(),
            format!("{} {}", gap.stage, gap.reason),
            gap.count.map(|count| count.to_string()).unwrap_or_default(),
        ]
    });
    small(&["FROM", "TO", "FOR", "EXTENT", "WHY", "COUNT"], rows)
}

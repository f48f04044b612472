//! `summary`: totals over a period, from the daemon, else from the ledger.

use std::{io::Write, ops::ControlFlow};

use serde::Serialize;

use super::{Failure, Outcome, coverage, load, out};
use crate::{
    api::{
        client::{Client, ClientError},
        summarize,
    },
    cli::{Exit, Global, Output, SummaryArgs},
    filter::{Query, RawFilter},
    summary::{By, Row},
    table::{Times, bytes, printable, small, styled, verdict_style},
};

const CSV_HEAD: [&str; 17] = [
    "by",
    "key",
    "flows",
    "attempts",
    "violations",
    "source.bytes",
    "source.packets",
    "destination.bytes",
    "destination.packets",
    "verdicts.approved",
    "verdicts.unapproved",
    "verdicts.unknown",
    "verdicts.local",
    "last_seen",
    "name",
    "addresses",
    "divided",
];

#[derive(Serialize)]
struct Parameters<'a> {
    by: By,
    #[serde(flatten)]
    filter: &'a RawFilter,
}

pub(super) fn run(global: &Global, args: &SummaryArgs) -> Outcome {
    let args = &SummaryArgs { filter: load::filter(&args.filter, args.utc)?, ..args.clone() };
    let query = load::query(global, &args.filter)?;
    let window = (query.filter.since, query.filter.until);
    let rows = rows(global, args.by, &args.filter, query)?;
    print(global, args, &rows)?;
    if rows.is_empty() {
        eprintln!("nothing matches");
    }
    let divided = rows.iter().fold(0, |sum: u64, row| sum.saturating_add(row.divided));
    if divided > 0 && global.quiet == 0 {
        eprintln!(
            "{} left in spans that the window cuts: divided evenly over each",
            bytes(divided)
        );
    }
    let found = args.fail_on_violation && rows.iter().any(|row| row.violations > 0);
    let covered = coverage::end(global, args.gap, window)?;
    Ok(if found { Exit::Violations } else { covered })
}

/// From the daemon, else from the ledger. `query` is what `filter` says.
pub(super) fn rows(
    global: &Global,
    by: By,
    filter: &RawFilter,
    query: Query,
) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    let parameters = Parameters { by, filter };
    let client = Client::new(&load::socket(global)?)?;
    let asked = client.lines("/v1/summary", &parameters, |line| {
        let row = serde_json::from_slice(line);
        rows.push(row.map_err(|error| ClientError::NotUnderstood(error.to_string()))?);
        Ok::<_, ClientError>(ControlFlow::Continue(()))
    });
    match asked {
        Ok(()) => Ok(rows),
        Err(error) if error.is_absent() => {
            let reader = load::ledger_instead(global, &error)?;
            Ok(summarize(reader.as_ref(), query, by)?)
        }
        Err(error) => Err(error.into()),
    }
}

fn print(global: &Global, args: &SummaryArgs, rows: &[Row]) -> anyhow::Result<()> {
    let mut out = out::stdout();
    match global.output {
        Output::Json => rows.iter().try_for_each(|row| out::json_line(&mut out, row))?,
        Output::Csv => {
            out::csv_head(&mut out, CSV_HEAD)?;
            rows.iter().try_for_each(|row| out::csv_line(&mut out, csv_row(row)?))?;
        }
        Output::Table if rows.is_empty() => {}
        Output::Table => out::table(&mut out, &table(global, args, rows))?,
    }
    out.flush()?;
    Ok(())
}

fn csv_row(row: &Row) -> anyhow::Result<[String; 17]> {
    let last_seen = serde_json::to_value(row.last_seen)?;
    Ok([
        row.by.to_string(),
        row.key.clone(),
        row.flows.to_string(),
        row.attempts.to_string(),
        row.violations.to_string(),
        row.source.bytes.to_string(),
        row.source.packets.to_string(),
        row.destination.bytes.to_string(),
        row.destination.packets.to_string(),
        row.verdicts.approved.to_string(),
        row.verdicts.unapproved.to_string(),
        row.verdicts.unknown.to_string(),
        row.verdicts.local.to_string(),
        last_seen.as_str().unwrap_or_default().to_owned(),
        row.name.clone().unwrap_or_default(),
        addresses(row),
        row.divided.to_string(),
    ])
}

fn addresses(row: &Row) -> String {
    row.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn table(global: &Global, args: &SummaryArgs, rows: &[Row]) -> comfy_table::Table {
    let color = global.color_on_stdout();
    let clock = Times::new(args.utc);
    let head = args.by.word().to_uppercase();
    let mut heads = vec![head.as_str()];
    if args.by == By::Device {
        heads.extend(["NAME", "ADDRESSES"]);
    }
    let first_number = heads.len();
    heads.extend(["FLOWS", "ATTEMPTS", "VIOLATIONS", "SENT", "RECEIVED", "LAST SEEN"]);
    let line = |mut cells: Vec<String>, row: [u64; 5], last: String| {
        let violations = row[2].to_string();
        let style = if row[2] > 0 { verdict_style("unapproved") } else { anstyle::Style::new() };
        cells.resize(first_number, String::new());
        cells.extend([
            row[0].to_string(),
            row[1].to_string(),
            styled(&violations, style, color),
            bytes(row[3]),
            bytes(row[4]),
            last,
        ]);
        cells
    };
    let counts = |row: &Row| {
        [row.flows, row.attempts, row.violations, row.source.bytes, row.destination.bytes]
    };
    let mut totals = [0_u64; 5];
    let mut lines = Vec::with_capacity(rows.len() + 1);
    for row in rows {
        let counts = counts(row);
        totals
            .iter_mut()
            .zip(counts)
            .for_each(|(total, count)| *total = total.saturating_add(count));
        let key = printable(&row.key).into_owned();
        let key =
            if row.by == By::Verdict { styled(&key, verdict_style(&row.key), color) } else { key };
        let mut cells = vec![key];
        if args.by == By::Device {
            let name = row.name.as_deref().map(printable).unwrap_or_default();
            cells.extend([name.into_owned(), addresses(row)]);
        }
        lines.push(line(cells, counts, clock.format(row.last_seen)));
    }
    lines.push(line(vec!["total".to_owned()], totals, String::new()));
    let mut table = small(&heads, lines);
    for number in first_number..first_number + 5 {
        if let Some(column) = table.column_mut(number) {
            column.set_cell_alignment(comfy_table::CellAlignment::Right);
        }
    }
    table
}

//! `summary`: totals over a period, from the daemon, else from the ledger.

mod per;

use std::io::Write;

use anstyle::Style;

use super::{Failure, Outcome, coverage, hints, learning, load, out, totals};
use crate::{
    api::{Answer, Asked},
    cli::{Exit, Global, Output, SummaryArgs},
    event::Timestamp,
    summary::{By, Row, Sort},
    table::{self, Times, bytes, counted, printable, small, styled, verdict_style},
    when,
};

const CSV_HEAD: [&str; 20] = [
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
    "first_seen",
    "course.sent",
    "unraised",
];

pub(super) fn run(global: &Global, args: &SummaryArgs) -> Outcome {
    let args = &SummaryArgs { filter: load::filter(&args.filter, args.utc)?, ..args.clone() };
    let query = load::query(global, &args.filter)?;
    learning::say(global);
    let window = (query.filter.since, query.filter.until);
    let new_since = new_since(args, query.filter.since)?;
    let asked = Asked { keys: args.keys(), sort: args.sort, new_since };
    let mut answer = totals::rows(global, asked, &args.filter, query)?;
    if let Some(per_ns) = args.per {
        per::add(global, per_ns, asked, &args.filter, window, &mut answer.rows)?;
    }
    print(global, args, &answer)?;
    let Answer { rows, left_out, .. } = answer;
    learning::say_unraised(global, rows.iter().map(|row| row.unraised).sum());
    if rows.is_empty() {
        eprintln!("nothing matches");
        hints::of_nothing(global, &args.filter)?;
    }
    if left_out > 0 && global.quiet == 0 {
        let rows = counted(left_out, "row is", "rows are");
        eprintln!("{rows} left out by --limit; the total is of all");
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

/// From when on what is seen counts as new.
fn new_since(args: &SummaryArgs, since: Option<Timestamp>) -> Result<Option<Timestamp>, Failure> {
    let Some(text) = &args.new_since else { return Ok(None) };
    let at = when::parse(text, load::now(), &table::zone(args.utc));
    let at = at.map_err(|problem| Failure::usage(anyhow::anyhow!("--new-since: {problem}")))?;
    if since.is_some_and(|since| at <= since) {
        let problem = "--new-since: is not after --since, so that all would be new";
        return Err(Failure::usage(anyhow::anyhow!(problem)));
    }
    Ok(Some(at))
}

fn print(global: &Global, args: &SummaryArgs, answer: &Answer) -> anyhow::Result<()> {
    let mut out = out::paged(global);
    let rows = &answer.rows;
    match global.output {
        Output::Json => rows.iter().try_for_each(|row| out::json_line(&mut out, row))?,
        Output::Csv => {
            let keys: Vec<&str> = key_columns(args).into_iter().map(By::word).collect();
            out::csv_head(&mut out, CSV_HEAD.into_iter().chain(keys))?;
            for row in rows {
                out::csv_line(&mut out, csv_row(row)?.iter().chain(&row.keys))?;
            }
        }
        Output::Table if rows.is_empty() => {}
        Output::Table => out::table(&mut out, &rows_table(global, args, answer))?,
    }
    out.flush()?;
    Ok(())
}

/// Those that stand in columns of their own in CSV, where there are several.
fn key_columns(args: &SummaryArgs) -> Vec<By> {
    let keys: Vec<By> = args.keys().iter().collect();
    if keys.len() > 1 { keys } else { Vec::new() }
}

fn csv_row(row: &Row) -> anyhow::Result<[String; 20]> {
    let time = |at| serde_json::to_value(at).map(|it| it.as_str().unwrap_or_default().to_owned());
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
        time(row.last_seen)?,
        row.name.clone().unwrap_or_default(),
        joined(&row.addresses),
        row.divided.to_string(),
        time(row.first_seen)?,
        row.course.as_ref().map(|it| joined(&it.sent)).unwrap_or_default(),
        row.unraised.to_string(),
    ])
}

fn joined<T: ToString>(all: &[T]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn rows_table(global: &Global, args: &SummaryArgs, answer: &Answer) -> comfy_table::Table {
    let color = global.color_on_stdout();
    let clock = Times::new(args.utc);
    let mut heads: Vec<String> = args.keys().iter().map(|by| by.word().to_uppercase()).collect();
    let is_by_device = args.keys().has(By::Device);
    if is_by_device {
        heads.extend(["NAME".to_owned(), "ADDRESSES".to_owned()]);
    }
    let first_number = heads.len();
    let numbers = ["FLOWS", "ATTEMPTS", "VIOLATIONS", "SENT", "RECEIVED"];
    let is_by_first = args.sort == Sort::First;
    heads.extend(numbers.map(ToOwned::to_owned));
    heads.push(if is_by_first { "FIRST SEEN" } else { "LAST SEEN" }.to_owned());
    heads.extend(args.per.map(|_| "SENT OVER TIME".to_owned()));
    let line = |mut cells: Vec<String>, row: &Row, seen: String| {
        let violations = row.violations.to_string();
        let style = if row.violations > 0 { verdict_style("unapproved") } else { Style::new() };
        cells.resize(first_number, String::new());
        cells.extend([
            row.flows.to_string(),
            row.attempts.to_string(),
            styled(&violations, style, color),
            bytes(row.source.bytes),
            bytes(row.destination.bytes),
            seen,
        ]);
        cells.extend(row.course.as_ref().map(per::drawn));
        cells
    };
    let key = |(by, key): (By, &String)| {
        let text = printable(key).into_owned();
        if by == By::Verdict { styled(&text, verdict_style(key), color) } else { text }
    };
    let mut lines = Vec::with_capacity(answer.rows.len() + 1);
    for row in &answer.rows {
        let parts = if row.keys.is_empty() { std::slice::from_ref(&row.key) } else { &row.keys };
        let mut cells: Vec<String> = args.keys().iter().zip(parts).map(key).collect();
        cells.resize(args.keys().count(), String::new());
        if is_by_device {
            let name = row.name.as_deref().map(printable).unwrap_or_default();
            cells.extend([name.into_owned(), joined(&row.addresses)]);
        }
        let seen = if is_by_first { row.first_seen } else { row.last_seen };
        lines.push(line(cells, row, clock.format(seen)));
    }
    lines.extend(answer.total.iter().map(|it| line(vec!["total".into()], it, String::new())));
    let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
    let mut table = small(&heads, lines);
    for number in first_number..first_number + numbers.len() {
        if let Some(column) = table.column_mut(number) {
            column.set_cell_alignment(comfy_table::CellAlignment::Right);
        }
    }
    table
}

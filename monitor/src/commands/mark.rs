//! `mark`: names a stretch of time in the ledger, through the daemon, and lists those that have one.

use std::io::Write;

use serde::Serialize;

use super::{Failure, Outcome, load, out};
use crate::{
    api::client::Client,
    cli::{Exit, Global, MarkArgs, MarkCommand, Output, TypedShare},
    ecs::{MarkEvent, MarkFields, ShareFields, Time},
    event::MarkKind,
    marks::Interval,
    table::{self, Times, printable, small},
    when,
};

const HEAD: [&str; 6] = ["name", "number", "from", "to", "note", "declared"];

/// One interval as one JSON object.
#[derive(Serialize)]
struct Listed<'a> {
    geofenced: ListedFields<'a>,
}

#[derive(Serialize)]
struct ListedFields<'a> {
    interval: IntervalFields<'a>,
}

#[derive(Serialize)]
struct IntervalFields<'a> {
    name: &'a str,
    /// By which `--interval NAME#2` asks for it.
    number: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<Time>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    note: Vec<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    declared: Vec<ShareFields<'a>>,
}

pub(super) fn run(global: &Global, args: &MarkArgs) -> Outcome {
    match &args.command {
        MarkCommand::Start { name, note, shares } => {
            let share = shares.0.iter().map(share).collect::<Result<Vec<_>, Failure>>()?;
            put(global, MarkKind::Start, name, note.as_deref(), share)
        }
        MarkCommand::Stop { name, note } => {
            put(global, MarkKind::Stop, name, note.as_deref(), Vec::new())
        }
        MarkCommand::List { utc } => list(global, *utc),
    }
}

fn share(typed: &TypedShare) -> Result<ShareFields<'_>, Failure> {
    let until = typed.until.as_deref();
    let until = until.map(|text| when::parse_ahead(text, load::now(), &table::zone(false)));
    let until = until
        .transpose()
        .map_err(|problem| Failure::usage(anyhow::anyhow!("--until: {problem}")))?;
    Ok(ShareFields {
        destination: typed.destination.as_str().into(),
        purpose: typed.purpose.as_str().into(),
        until: until.map(Time),
    })
}

fn put(
    global: &Global,
    kind: MarkKind,
    name: &str,
    note: Option<&str>,
    share: Vec<ShareFields<'_>>,
) -> Outcome {
    let (action, note) = (kind.word().into(), note.map(Into::into));
    let asked = MarkFields { name: name.into(), action, note, share };
    // What is wrong with it is said before anybody is asked.
    asked
        .at(crate::clock::Clock::host().now())
        .map_err(|problem| Failure::usage(anyhow::anyhow!(problem)))?;
    let client = Client::new(&load::socket(global)?)?;
    let marked: MarkEvent<'static> = client.post("/v1/marks", &asked)?;
    let mut out = out::stdout();
    if global.output == Output::Json {
        out::json_line(&mut out, &marked)?;
    } else if global.quiet == 0 {
        let verb = if kind == MarkKind::Start { "began" } else { "ended" };
        let at = Times::new(false).format(marked.timestamp);
        eprintln!("\"{}\" {verb} at {at}", printable(name));
    }
    out.flush()?;
    Ok(Exit::Fine)
}

fn list(global: &Global, utc: bool) -> Outcome {
    let intervals = load::intervals(global)?;
    let mut out = out::stdout();
    match global.output {
        Output::Json => {
            intervals.iter().try_for_each(|it| out::json_line(&mut out, &listed(it)))?;
        }
        Output::Csv => {
            out::csv_head(&mut out, HEAD)?;
            let time = |at: Option<Time>| at.map(|it| when::rfc3339(it.0)).unwrap_or_default();
            intervals.iter().try_for_each(|it| out::csv_line(&mut out, cells(it, time)))?;
        }
        Output::Table if intervals.iter().next().is_none() => eprintln!("nothing was marked"),
        Output::Table => {
            let clock = Times::new(utc);
            let time = |at: Option<Time>| at.map_or_else(|| "-".into(), |it| clock.format(it));
            let rows = intervals.iter().map(|it| {
                let plain = cells(it, time);
                plain.iter().map(|cell| printable(cell).into_owned()).collect()
            });
            let heads = HEAD.map(str::to_uppercase);
            out::table(&mut out, &small(&heads.each_ref().map(String::as_str), rows))?;
        }
    }
    out.flush()?;
    Ok(Exit::Fine)
}

fn listed(interval: &Interval) -> Listed<'_> {
    let interval = IntervalFields {
        name: &interval.name,
        number: interval.number,
        from: interval.start.map(|it| Time(it.wall())),
        to: interval.stop.map(|it| Time(it.wall())),
        note: interval.notes.iter().map(AsRef::as_ref).collect(),
        declared: interval.declared.iter().map(|it| ShareFields::from(&it.share)).collect(),
    };
    Listed { geofenced: ListedFields { interval } }
}

fn cells(interval: &Interval, time: impl Fn(Option<Time>) -> String) -> [String; 6] {
    let IntervalFields { name, number, from, to, note, declared } =
        listed(interval).geofenced.interval;
    let declared: Vec<String> = declared.iter().map(ToString::to_string).collect();
    [
        name.to_owned(),
        number.to_string(),
        time(from),
        time(to),
        note.join("; "),
        declared.join("; "),
    ]
}

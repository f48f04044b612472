//! `patterns`: what is regular or slow in a period. Reads the ledger itself, read-only.

use std::io::Write;

use serde_json::{Value, json};

use super::{Outcome, learning, load, out};
use crate::{
    cli::{Exit, Global, Output, PatternsArgs},
    ecs::Time,
    event::Entry,
    patterns::{Answer, NameRow, Patterns, Row},
    store::{Reader, Seen},
    table::{self, Times, bytes, counted, printable, small, span},
    when::rfc3339,
};

/// Rows of a table, unless told otherwise.
const LISTED: usize = 50;

const CSV_HEAD: [&str; 22] = [
    "program",
    "destination.as.number",
    "destination.as.organization.name",
    "destination.port",
    "flows",
    "contacts",
    "hours",
    "days",
    "gaps.count",
    "gaps.median_seconds",
    "gaps.share",
    "beat.event.id",
    "beat.spans",
    "beat.median_seconds",
    "beat.share",
    "source.bytes",
    "source.packets",
    "destination.bytes",
    "destination.packets",
    "first_seen",
    "last_seen",
    "script",
];
const NAMES_CSV_HEAD: [&str; 6] = ["domain", "names", "counted", "seen", "first_seen", "last_seen"];

pub(super) fn run(global: &Global, args: &PatternsArgs) -> Outcome {
    let filter = load::filter(&args.typed(), args.utc)?;
    let query = load::query(global, &filter)?;
    let config = load::config(global)?;
    learning::say(global);
    let reader = Reader::open(&config.store.path)?;
    let (since, until) = (query.filter.since, query.filter.until);
    let mut patterns = Patterns::new(since, until);
    let mut added_up = 0_u64;
    reader.history(since, until, |entry| match entry {
        Seen::Flow(glance) => patterns.see(glance),
        Seen::Other(Entry::Lookup(lookup)) => patterns.ask(lookup),
        Seen::Other(Entry::Rollup(rollup)) if query.filter.matches_rollup(rollup) => {
            added_up = added_up.saturating_add(rollup.flows);
        }
        Seen::Other(_) => {}
    })?;
    let answer = patterns.answer();
    let shown = if args.names {
        names(global, args, &answer.names)?
    } else {
        contacts(global, args, &answer.rows)?
    };
    if global.quiet == 0 {
        say(args, &answer, shown, added_up);
    }
    Ok(Exit::Fine)
}

/// What the answer is not about.
fn say(args: &PatternsArgs, answer: &Answer, shown: usize, added_up: u64) {
    let all = if args.names { answer.names.len() } else { answer.rows.len() };
    if all == 0 {
        eprintln!("nothing was sent in that time that is known one by one");
    }
    if shown < all {
        let rows = counted((all - shown) as u64, "row", "rows");
        eprintln!("{rows} more; --limit shows them");
    }
    if added_up > 0 {
        eprintln!(
            "{added_up} more flows were only added up by hour (store.record = \"all\" keeps each): when they began is not known"
        );
    }
    if !args.names && answer.left_out > 0 {
        eprintln!(
            "{} states of flows are in no row: there were too many programs, operators and ports",
            answer.left_out
        );
    }
    if args.names && answer.names_left_out > 0 {
        eprintln!("{} names are in no row: there were too many domains", answer.names_left_out);
    }
}

fn some<'a, T>(global: &Global, args: &PatternsArgs, rows: &'a [T]) -> &'a [T] {
    let listed = (global.output == Output::Table).then_some(LISTED);
    &rows[..args.limit.or(listed).unwrap_or(usize::MAX).min(rows.len())]
}

fn contacts(global: &Global, args: &PatternsArgs, rows: &[Row]) -> anyhow::Result<usize> {
    let mut out = out::stdout();
    let rows = some(global, args, rows);
    match global.output {
        Output::Json => rows.iter().try_for_each(|row| out::json_line(&mut out, &json(row)))?,
        Output::Csv => {
            out::csv_head(&mut out, CSV_HEAD)?;
            rows.iter().try_for_each(|row| out::csv_line(&mut out, csv_row(row)))?;
        }
        Output::Table if rows.is_empty() => {}
        Output::Table => {
            let head = [
                "PROGRAM",
                "OPERATOR",
                "PORT",
                "FLOWS",
                "CONTACTS",
                "HOURS",
                "DAYS",
                "GAP",
                "+-30%",
                "BEAT",
                "+-30%",
                "SENT",
                "OUT/IN",
                "FIRST SEEN",
            ];
            let times = Times::new(args.utc);
            let lines = rows.iter().map(|row| line(row, &times));
            out::table(&mut out, &small(&head, lines))?;
        }
    }
    out.flush()?;
    Ok(rows.len())
}

fn line(row: &Row, times: &Times) -> Vec<String> {
    let gap = row.gaps.map(|it| (it.median_seconds, it.share));
    let beat = row.beat.map(|it| (it.median_seconds, it.share));
    let length = |it: Option<(f64, f64)>| it.map_or_else(|| "-".to_owned(), |it| seconds(it.0));
    let share = |it: Option<(f64, f64)>| it.map_or_else(|| "-".to_owned(), |it| percent(it.1));
    vec![
        printable(&program(row)).into_owned(),
        printable(&row.to).into_owned(),
        row.port.map_or_else(|| "-".to_owned(), |port| port.to_string()),
        row.flows.to_string(),
        row.contacts.to_string(),
        row.hours.to_string(),
        row.days.to_string(),
        length(gap),
        share(gap),
        length(beat),
        share(beat),
        bytes(row.traffic.sent_bytes),
        row.out_per_in().map_or_else(|| "-".to_owned(), |it| format!("{it:.2}")),
        times.format(Time(row.first)),
    ]
}

/// `live.py (python3.11)`, as events show it.
fn program(row: &Row) -> String {
    let script = row.script.as_deref();
    script.map_or_else(|| row.program.to_string(), |script| table::script(script, &row.program))
}

/// `5.1s`, or as people say longer ones.
#[expect(clippy::cast_sign_loss, reason = "no gap is below 0")]
fn seconds(seconds: f64) -> String {
    if seconds < 60.0 { format!("{seconds:.1}s") } else { span(seconds.round() as u64) }
}

fn percent(share: f64) -> String {
    format!("{:.0}%", share * 100.0)
}

fn json(row: &Row) -> Value {
    let mut value = json!({
        "program": row.program,
        "destination": {
            "as": { "organization": { "name": row.to } },
            "bytes": row.traffic.received_bytes,
            "packets": row.traffic.received_packets,
        },
        "source": { "bytes": row.traffic.sent_bytes, "packets": row.traffic.sent_packets },
        "flows": row.flows,
        "contacts": row.contacts,
        "hours": row.hours,
        "days": row.days,
        "out_per_in": row.out_per_in(),
        "first_seen": rfc3339(row.first),
        "last_seen": rfc3339(row.last),
    });
    if let Some(script) = &row.script {
        value["script"] = script.as_ref().into();
    }
    if let Some(asn) = row.asn {
        value["destination"]["as"]["number"] = asn.into();
    }
    if let Some(port) = row.port {
        value["destination"]["port"] = port.into();
    }
    if let Some(gaps) = row.gaps {
        let (count, median_seconds, share) = (gaps.count, gaps.median_seconds, gaps.share);
        value["gaps"] = json!({ "count": count, "median_seconds": median_seconds, "share": share });
    }
    if let Some(beat) = row.beat {
        value["beat"] = json!({
            "event": { "id": beat.flow.to_string() },
            "spans": beat.spans,
            "median_seconds": beat.median_seconds,
            "share": beat.share,
        });
    }
    value
}

fn csv_row(row: &Row) -> [String; 22] {
    let gaps = row.gaps;
    let beat = row.beat;
    let text = |it: Option<String>| it.unwrap_or_default();
    [
        row.program.to_string(),
        text(row.asn.map(|it| it.to_string())),
        row.to.to_string(),
        text(row.port.map(|it| it.to_string())),
        row.flows.to_string(),
        row.contacts.to_string(),
        row.hours.to_string(),
        row.days.to_string(),
        text(gaps.map(|it| it.count.to_string())),
        text(gaps.map(|it| it.median_seconds.to_string())),
        text(gaps.map(|it| it.share.to_string())),
        text(beat.map(|it| it.flow.to_string())),
        text(beat.map(|it| it.spans.to_string())),
        text(beat.map(|it| it.median_seconds.to_string())),
        text(beat.map(|it| it.share.to_string())),
        row.traffic.sent_bytes.to_string(),
        row.traffic.sent_packets.to_string(),
        row.traffic.received_bytes.to_string(),
        row.traffic.received_packets.to_string(),
        rfc3339(row.first),
        rfc3339(row.last),
        row.script.as_deref().unwrap_or_default().to_owned(),
    ]
}

fn names(global: &Global, args: &PatternsArgs, rows: &[NameRow]) -> anyhow::Result<usize> {
    let mut out = out::stdout();
    let rows = some(global, args, rows);
    match global.output {
        Output::Json => {
            for row in rows {
                let value = json!({
                    "domain": row.domain,
                    "names": row.names,
                    "counted": row.is_counted,
                    "seen": row.seen,
                    "first_seen": rfc3339(row.first),
                    "last_seen": rfc3339(row.last),
                });
                out::json_line(&mut out, &value)?;
            }
        }
        Output::Csv => {
            out::csv_head(&mut out, NAMES_CSV_HEAD)?;
            for row in rows {
                let cells = [
                    row.domain.to_string(),
                    row.names.to_string(),
                    row.is_counted.to_string(),
                    row.seen.to_string(),
                    rfc3339(row.first),
                    rfc3339(row.last),
                ];
                out::csv_line(&mut out, cells)?;
            }
        }
        Output::Table if rows.is_empty() => {}
        Output::Table => {
            let times = Times::new(args.utc);
            let lines = rows.iter().map(|row| {
                let about = if row.is_counted { "" } else { "about " };
                vec![
                    printable(&row.domain).into_owned(),
                    format!("{about}{}", row.names),
                    row.seen.to_string(),
                    times.format(Time(row.first)),
                    times.format(Time(row.last)),
                ]
            });
            let head = ["DOMAIN", "NAMES", "SEEN", "FIRST SEEN", "LAST SEEN"];
            out::table(&mut out, &small(&head, lines))?;
        }
    }
    out.flush()?;
    Ok(rows.len())
}

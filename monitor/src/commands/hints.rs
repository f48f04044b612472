//! Why nothing matches, from what the ledger holds: which filter alone finds nothing, and what there is
//! instead. Asked only where somebody looks at a table that is empty.

use super::{Failure, load, totals};
use crate::{
    api::Asked,
    cli::{Global, Output},
    filter::RawFilter,
    summary::{By, Row, Sort},
    table::printable,
};

/// Names that are told of what there is.
const TOLD: usize = 6;

/// A filter by what can be added up, and how more of them are called.
struct Part {
    option: &'static str,
    by: By,
    many: &'static str,
    of: fn(&RawFilter) -> &Option<String>,
    set: fn(&mut RawFilter, Option<String>),
}

const PARTS: [Part; 8] = [
    Part {
        option: "user",
        by: By::User,
        many: "users",
        of: |it| &it.user,
        set: |it, to| it.user = to,
    },
    Part {
        option: "process",
        by: By::Process,
        many: "programs",
        of: |it| &it.process,
        set: |it, to| it.process = to,
    },
    Part {
        option: "unit",
        by: By::Unit,
        many: "units",
        of: |it| &it.unit,
        set: |it, to| it.unit = to,
    },
    Part {
        option: "operator",
        by: By::Operator,
        many: "operators",
        of: |it| &it.operator,
        set: |it, to| it.operator = to,
    },
    Part {
        option: "destination",
        by: By::Destination,
        many: "destinations",
        of: |it| &it.destination,
        set: |it, to| it.destination = to,
    },
    Part {
        option: "port",
        by: By::Port,
        many: "ports",
        of: |it| &it.port,
        set: |it, to| it.port = to,
    },
    Part {
        option: "country",
        by: By::Country,
        many: "countries",
        of: |it| &it.country,
        set: |it, to| it.country = to,
    },
    Part {
        option: "verdict",
        by: By::Verdict,
        many: "verdicts",
        of: |it| &it.verdict,
        set: |it, to| it.verdict = to,
    },
];

/// Says it on standard error, if there is somebody to read it.
pub(super) fn of_nothing(global: &Global, filter: &RawFilter) -> Result<(), Failure> {
    if global.output == Output::Table && global.quiet == 0 {
        for line in lines(global, filter)? {
            eprintln!("{line}");
        }
    }
    Ok(())
}

fn lines(global: &Global, filter: &RawFilter) -> Result<Vec<String>, Failure> {
    let window = RawFilter {
        since: filter.since.clone(),
        until: filter.until.clone(),
        interval: filter.interval.clone(),
        ..RawFilter::default()
    };
    let asked: Vec<&Part> = PARTS.iter().filter(|part| (part.of)(filter).is_some()).collect();
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    if ask(global, &window, By::Verdict)?.is_empty() {
        return Ok(vec!["nothing at all is stored of that time".to_owned()]);
    }
    let mut lines = Vec::new();
    for part in asked {
        let value = (part.of)(filter).clone();
        let mut alone = window.clone();
        (part.set)(&mut alone, value.clone());
        if !ask(global, &alone, By::Verdict)?.is_empty() {
            continue;
        }
        let there = RawFilter { limit: Some(TOLD.to_string()), ..window.clone() };
        lines.push(line(
            part,
            value.as_deref().unwrap_or_default(),
            &ask(global, &there, part.by)?,
        ));
    }
    if lines.is_empty() {
        lines.push("each of the filters finds something, and nothing is found by all".to_owned());
    }
    Ok(lines)
}

fn line(part: &Part, value: &str, there: &[Row]) -> String {
    let names: Vec<_> = there.iter().map(|row| printable(&row.key)).collect();
    let more = if names.len() == TOLD { ", ..." } else { "" };
    let Part { option, many, .. } = part;
    format!(
        "--{option} {} finds nothing; {many} there: {}{more}",
        printable(value),
        names.join(", ")
    )
}

fn ask(global: &Global, filter: &RawFilter, by: By) -> Result<Vec<Row>, Failure> {
    let asked = Asked { keys: by.into(), sort: Sort::Flows, new_since: None };
    let query = load::query(global, filter)?;
    let quiet = Global { quiet: 1, ..global.clone() };
    Ok(totals::rows(&quiet, asked, filter, query)?.rows)
}

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

/// A filter by what can be added up, how more of them are called, and where it stands.
struct Part {
    option: &'static str,
    by: By,
    many: &'static str,
    field: fn(&mut RawFilter) -> &mut Option<String>,
}

const fn part(
    option: &'static str,
    by: By,
    many: &'static str,
    field: fn(&mut RawFilter) -> &mut Option<String>,
) -> Part {
    Part { option, by, many, field }
}

const PARTS: [Part; 10] = [
    part("user", By::User, "users", |it| &mut it.user),
    part("process", By::Process, "programs", |it| &mut it.process),
    part("script", By::Script, "scripts", |it| &mut it.script),
    part("container", By::Container, "containers", |it| &mut it.container),
    part("unit", By::Unit, "units", |it| &mut it.unit),
    part("operator", By::Operator, "operators", |it| &mut it.operator),
    part("destination", By::Destination, "destinations", |it| &mut it.destination),
    part("port", By::Port, "ports", |it| &mut it.port),
    part("country", By::Country, "countries", |it| &mut it.country),
    part("verdict", By::Verdict, "verdicts", |it| &mut it.verdict),
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
    let mut filter = filter.clone();
    let asked: Vec<(&Part, String)> =
        PARTS.iter().filter_map(|part| Some((part, (part.field)(&mut filter).clone()?))).collect();
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    if ask(global, &window, By::Verdict)?.is_empty() {
        return Ok(vec!["nothing at all is stored of that time".to_owned()]);
    }
    let mut lines = Vec::new();
    for (part, value) in asked {
        let mut alone = window.clone();
        *(part.field)(&mut alone) = Some(value.clone());
        if !ask(global, &alone, By::Verdict)?.is_empty() {
            continue;
        }
        let there = RawFilter { limit: Some(TOLD.to_string()), ..window.clone() };
        lines.push(line(part, &value, &ask(global, &there, part.by)?));
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

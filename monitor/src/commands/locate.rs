//! `locate`: where an address is, whose it is, from which database, what the policy says of it, and
//! how it comes to that. Reads the databases itself; needs no daemon.

use std::io::Write;

use comfy_table::ContentArrangement;
use unicode_width::UnicodeWidthStr;

use super::{Outcome, load, out};
use crate::{
    api::{Located, located},
    cli::{Exit, Global, LocateArgs, Output},
    event::CountryCode,
    locate::{Locator, codes},
    table::{printable, small, styled, verdict_style},
};

const HEAD: [&str; 7] = ["ADDRESS", "COUNTRY", "SECOND", "OPERATOR", "VERDICT", "REASON", "FROM"];
const CSV_HEAD: [&str; 13] = [
    "destination.ip",
    "destination.geo.country_iso_code",
    "destination.as.number",
    "destination.as.organization.name",
    "geofenced.operator_country",
    "geofenced.second_country",
    "geofenced.anycast",
    "geofenced.correction",
    "geofenced.verdict",
    "geofenced.certainty",
    "geofenced.reason",
    "geofenced.databases",
    "geofenced.explanation",
];

pub(super) fn run(global: &Global, args: &LocateArgs) -> Outcome {
    let config = load::config(global)?;
    let locator = load::locator(&config)?;
    let found: Vec<Located> =
        args.addresses.iter().map(|address| located(&locator, &config.policy, *address)).collect();
    let mut out = out::stdout();
    match global.output {
        Output::Json => found.iter().try_for_each(|it| out::json_line(&mut out, it))?,
        Output::Csv => {
            out::csv_head(&mut out, CSV_HEAD)?;
            found.iter().try_for_each(|it| out::csv_line(&mut out, csv_row(it)))?;
        }
        Output::Table => {
            let color = global.color_on_stdout();
            let rows = found.iter().map(|it| row(it, color)).collect();
            writeln!(out, "{}", laid_out(rows, out::terminal_width()))?;
            for it in &found {
                writeln!(out, "\n{}", it.destination.ip)?;
                for sentence in &it.geofenced.explanation {
                    writeln!(out, "  {}", printable(sentence))?;
                }
            }
        }
    }
    out.flush()?;
    if global.output == Output::Table && global.verbosity() >= 0 {
        print_notices(&locator);
        load::warn_of_age(&locator);
    }
    Ok(Exit::Fine)
}

/// A table where its lines fit, else a line for each fact: what is broken over lines can't be copied.
fn laid_out(rows: Vec<Vec<String>>, width: Option<usize>) -> String {
    let mut table = small(&HEAD, rows.clone());
    table.set_content_arrangement(ContentArrangement::Disabled);
    let text = table.trim_fmt();
    let is_wide = text.lines().any(|line| line.width() > width.unwrap_or(usize::MAX));
    if !is_wide {
        return text;
    }
    let lines = rows.into_iter().map(|row| {
        let facts = HEAD.iter().zip(row).map(|(head, text)| format!("{head:<10} {text}"));
        facts.collect::<Vec<_>>().join("\n")
    });
    lines.collect::<Vec<_>>().join("\n\n")
}

/// What the licences of the databases ask to be shown.
fn print_notices(locator: &Locator) {
    let mut notices: Vec<_> = locator.databases().iter().filter_map(|it| it.notice).collect();
    notices.dedup();
    for notice in notices {
        eprintln!("{notice}");
    }
}

fn country(code: &str) -> String {
    let name = CountryCode::new(code).and_then(codes::name);
    name.map_or_else(|| printable(code).into_owned(), |name| format!("{code} {name}"))
}

fn row(it: &Located, color: bool) -> Vec<String> {
    let to = &it.destination;
    let code = to.geo.as_ref().map(|geo| country(&geo.country_iso_code));
    let system = to.autonomous_system.as_ref();
    let number = system.and_then(|it| it.number).map(|number| format!("AS{number}"));
    let name = system.and_then(|it| it.organization.as_ref()).map(|it| it.name.as_ref());
    let registered = it.geofenced.operator_country.as_ref().map(|code| format!("({code})"));
    let anycast = it.geofenced.anycast.then_some("anycast");
    let number = number.as_deref().into_iter();
    let operator: Vec<&str> =
        number.chain(name).chain(registered.as_deref()).chain(anycast).collect();
    let verdict = &it.geofenced.verdict;
    vec![
        to.ip.to_string(),
        code.unwrap_or_else(|| "-".to_owned()),
        it.geofenced.second_country.as_deref().map_or("-".into(), printable).into_owned(),
        printable(&operator.join(" ")).into_owned(),
        styled(&printable(verdict), verdict_style(verdict), color),
        printable(&it.geofenced.reason).into_owned(),
        printable(&it.geofenced.databases.join("; ")).into_owned(),
    ]
}

fn csv_row(it: &Located) -> [String; 13] {
    let to = &it.destination;
    let system = to.autonomous_system.as_ref();
    let organization = system.and_then(|it| it.organization.as_ref());
    [
        to.ip.to_string(),
        to.geo.as_ref().map(|geo| geo.country_iso_code.to_string()).unwrap_or_default(),
        system.and_then(|it| it.number).map(|number| number.to_string()).unwrap_or_default(),
        organization.map(|it| it.name.to_string()).unwrap_or_default(),
        it.geofenced.operator_country.clone().unwrap_or_default(),
        it.geofenced.second_country.clone().unwrap_or_default(),
        it.geofenced.anycast.to_string(),
        it.geofenced.correction.clone().unwrap_or_default(),
        it.geofenced.verdict.clone(),
        it.geofenced.certainty.clone(),
        it.geofenced.reason.clone(),
        it.geofenced.databases.join("; "),
        it.geofenced.explanation.join(" "),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_a_line_a_fact_and_no_line_is_broken() {
        let row: Vec<String> = [
            "2001:db8:1234:5678:9abc:def0:1234:5678",
            "CN China",
            "HK",
            "AS64500 Example Cloud (CN)",
            "unapproved",
            "country",
            "DB-IP Country Lite of 2026-11-01",
        ]
        .map(ToOwned::to_owned)
        .to_vec();
        for width in [60, 80, 100, 120, 200] {
            let text = laid_out(vec![row.clone()], Some(width));
            assert!(text.lines().all(|line| line.width() <= width), "{width}:\n{text}");
            for part in &row {
                assert!(text.contains(part.as_str()), "{width}: {part}\n{text}");
            }
        }
        assert_eq!(laid_out(vec![row.clone()], Some(200)).lines().count(), 3);
        assert_eq!(laid_out(vec![row], None).lines().count(), 3);
    }
}

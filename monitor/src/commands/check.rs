//! `check`: reads what the daemon would read, says what it means, changes nothing.

use std::{io::Write, path::Path};

use serde::Serialize;

use super::{Failure, Outcome, load, out};
use crate::{
    cli::{Exit, Global, Output},
    config::{doubts, explain},
    probe,
    table::printable,
};

#[derive(Serialize)]
struct Line<'a> {
    kind: &'static str,
    text: &'a str,
}

pub(super) fn run(global: &Global) -> Outcome {
    let config = load::config(global)?;
    let locator = load::locator(&config)?;
    let mut lines: Vec<(&str, String)> =
        explain(&config).into_iter().map(|text| ("meaning", text)).collect();
    for database in locator.databases() {
        lines.push(("database", format!("The {} database is {database}.", database.label)));
    }
    lines.extend(locator.warnings(load::now()).map(|warning| ("warning", warning)));
    let doubts = doubts(global.config.as_deref(), Path::new("/"), &has_interface);
    let doubts = doubts.map_err(Failure::usage)?;
    lines.extend(doubts.iter().map(|doubt| ("warning", format!("Warning: {doubt}."))));
    if global.quiet > 0 {
        lines.retain(|(kind, _)| *kind == "warning");
    }
    let mut out = out::stdout();
    if global.output == Output::Csv {
        out::csv_head(&mut out, ["kind", "text"])?;
    }
    for (kind, text) in &lines {
        match global.output {
            Output::Table => writeln!(out, "{}", printable(text))?,
            Output::Json => out::json_line(&mut out, &Line { kind, text })?,
            Output::Csv => out::csv_line(&mut out, [kind, text.as_str()])?,
        }
    }
    out.flush()?;
    Ok(Exit::Fine)
}

/// By whatever name; where it can't be asked, nothing is doubted.
fn has_interface(name: &str) -> bool {
    probe::unknown_interfaces(&[name.to_owned()]).map_or(true, |unknown| unknown.is_empty())
}

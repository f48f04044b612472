//! `policy show`: what a policy said that records name by its hash; from the daemon, else from the ledger.

use std::io::Write;

use serde::Serialize;

use super::{Failure, Outcome, load, out};
use crate::{
    api::{EventSource, PolicyText, client::Client},
    cli::{Exit, Global, Output, PolicyArgs, PolicyCommand},
    table::printable,
};

#[derive(Serialize)]
struct Parameters<'a> {
    sha256: &'a str,
}

pub(super) fn run(global: &Global, args: &PolicyArgs) -> Outcome {
    let PolicyCommand::Show { hash } = &args.command;
    let PolicyText { sha256, text } = find(global, hash)?;
    let mut out = out::stdout();
    match global.output {
        Output::Json => out::json_line(&mut out, &PolicyText { sha256, text })?,
        Output::Csv => {
            out::csv_head(&mut out, ["sha256", "text"])?;
            out::csv_line(&mut out, [sha256, text])?;
        }
        Output::Table => {
            for line in text.lines() {
                writeln!(out, "{}", printable(line))?;
            }
        }
    }
    out.flush()?;
    Ok(Exit::Fine)
}

fn find(global: &Global, hash: &str) -> Result<PolicyText, Failure> {
    let client = Client::new(&load::socket(global)?)?;
    match client.get("/v1/policy", &Parameters { sha256: hash }) {
        Ok(found) => Ok(found),
        Err(error) if error.is_absent() => {
            let reader = load::ledger_alone(global, &error)?;
            let found = EventSource::policy(&reader, hash)?;
            found.ok_or_else(|| anyhow::anyhow!("the ledger holds no policy of this hash").into())
        }
        Err(error) => Err(error.into()),
    }
}

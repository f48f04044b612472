//! `suggest`: a policy from what the ledger holds of a period. Reads the ledger itself, read-only; alters nothing.

use std::{io::Write, ops::ControlFlow};

use super::{Failure, Outcome, load, out};
use crate::{
    api::EventSource,
    cli::{Exit, Global, Output, SuggestArgs, VERSION},
    event::{Phase, Rollup},
    store::Reader,
    suggest::Suggestion,
};

pub(super) fn run(global: &Global, args: &SuggestArgs) -> Outcome {
    if global.output != Output::Table {
        return Err(Failure::usage(anyhow::anyhow!(
            "a policy is TOML, and has no other form; `geofenced summary` and `events` write JSON and CSV"
        )));
    }
    let config = load::config(global)?;
    let filter = load::filter(&args.period.typed(), args.utc)?;
    let mut query = load::query(global, &filter)?;
    query.filter.phase = Some(Phase::Sent);
    let reader = Reader::open(&config.store.path)?;
    let mut suggestion = Suggestion::default();
    EventSource::query(&reader, &query, &mut |record| {
        suggestion.see(&record);
        ControlFlow::Continue(())
    })?;
    query.filter.phase = None;
    let mut added_up = 0_u64;
    EventSource::rollups(&reader, &query.filter, &mut |rollup: Rollup| {
        added_up = added_up.saturating_add(rollup.flows);
        ControlFlow::Continue(())
    })?;
    let since = filter.since.as_deref().unwrap_or("the beginning");
    let until = filter.until.as_deref().map(|it| format!(" until {it}")).unwrap_or_default();
    let command = format!("geofenced {VERSION} suggest, since {since}{until}");
    let mut out = out::stdout();
    write!(out, "{}", suggestion.policy(&config.policy, &command))?;
    if added_up > 0 {
        writeln!(
            out,
            "\n# {added_up} flows were only added up by hour (store.record), without what a rule needs."
        )?;
    }
    out.flush()?;
    if global.quiet == 0 {
        if suggestion.flows() == 0 {
            eprintln!("nothing was sent in that time: the policy allows nothing");
        }
        if suggestion.left_out() > 0 {
            eprintln!(
                "{} of {} flows made no rule; the end of the policy says why",
                suggestion.left_out(),
                suggestion.flows()
            );
        }
        if added_up > 0 {
            eprintln!(
                "{added_up} more flows were only added up by hour and make no rule: policy.mode = \"learn\" keeps each"
            );
        }
    }
    Ok(Exit::Fine)
}

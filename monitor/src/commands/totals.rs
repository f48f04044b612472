//! Totals for the commands that show or need some: from the daemon, else from the ledger.

use std::ops::ControlFlow;

use serde::Serialize;

use super::{Failure, load};
use crate::{
    api::{
        Answer, Asked, TotalLine,
        client::{Client, ClientError},
        summarize,
    },
    cli::Global,
    filter::{Query, RawFilter},
    summary::{Keys, Row, Sort},
    when,
};

#[derive(Serialize)]
struct Parameters<'a> {
    by: Keys,
    sort: Sort,
    #[serde(skip_serializing_if = "Option::is_none")]
    new_since: Option<String>,
    /// Not of a daemon that knows it not: it is asked only where rows may be left out.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    total: bool,
    #[serde(flatten)]
    filter: &'a RawFilter,
}

/// From the daemon, else from the ledger. `query` is what `filter` says.
pub(super) fn rows(
    global: &Global,
    asked: impl Into<Asked>,
    filter: &RawFilter,
    query: Query,
) -> Result<Answer, Failure> {
    let asked = asked.into();
    let Asked { keys: by, sort, new_since } = asked;
    let new_since = new_since.map(when::rfc3339);
    let (mut rows, mut told) = (Vec::new(), None);
    let parameters = Parameters { by, sort, new_since, total: filter.limit.is_some(), filter };
    let client = Client::new(&load::socket(global)?)?;
    let answered = client.lines("/v1/summary", &parameters, |line| {
        let wrong = |error: serde_json::Error| ClientError::NotUnderstood(error.to_string());
        if line.starts_with(br#"{"geofenced":{"left_out":"#) {
            told = Some(serde_json::from_slice::<TotalLine>(line).map_err(wrong)?.geofenced);
        } else {
            rows.push(serde_json::from_slice(line).map_err(wrong)?);
        }
        Ok::<_, ClientError>(ControlFlow::Continue(()))
    });
    match answered {
        Ok(()) => {
            let of_rows = Row::total(&rows);
            let (left_out, total) = told.map_or((0, of_rows), |it| (it.left_out, it.total));
            Ok(Answer { rows, left_out, total })
        }
        Err(error) if error.is_absent() => {
            let reader = load::ledger_alone(global, &error)?;
            if global.quiet == 0 {
                load::say_ledger(global, &reader);
            }
            Ok(summarize(&reader, query, asked)?)
        }
        Err(error) => Err(error.into()),
    }
}

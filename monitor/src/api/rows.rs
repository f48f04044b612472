//! Answers of the server that take parameters of their own beside the filters: totals, and all states of a
//! flow. It reads what [`super::Api`] holds.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{RawQuery, State},
    response::Response,
};
use jiff::tz::TimeZone;
use tokio::sync::oneshot;

use super::{
    Asked, LeftOut, TotalLine,
    request::{Refusal, Server, ndjson, only, parameters},
    stream::{self, Stored},
    summarize,
};
use crate::{
    clock,
    connections::Peer,
    event::FlowIds,
    filter::Query,
    printable,
    summary::{Keys, Sort},
    when,
};

fn own<'a>(own: &'a [(String, String)], name: &str) -> Option<&'a str> {
    own.iter().rev().find(|(it, _)| it == name).map(|(_, value)| value.as_str())
}

/// Live events; with `after` those first that were stored since then, or since the record of that id began.
pub(super) async fn events_stream(
    State(server): State<Server>,
    Extension(peer): Extension<Peer>,
    RawQuery(raw): RawQuery,
) -> Result<Response, Refusal> {
    let (query, given) = parameters(&server.api, raw.as_deref(), &["after"])?;
    let after = own(&given, "after").map(|text| match FlowIds::parse(text) {
        Ok(ids) => Ok(ids.starts()[0]),
        Err(_) => when::parse(text, clock::wall(), &TimeZone::UTC),
    });
    let after = after.transpose().map_err(|it| Refusal::bad(format!("after: {it}")))?;
    let slot = server.streams.take(peer)?;
    // Before the ledger is asked, so that nothing falls between.
    let records = server.api.live.subscribe();
    let asked = (query.filter, after);
    Ok(ndjson(stream::live(records, asked, slot, server.api, server.shutdown)))
}

/// All stored states of the flows whose ids begin so.
pub(super) async fn states(
    State(server): State<Server>,
    Extension(peer): Extension<Peer>,
    RawQuery(raw): RawQuery,
) -> Result<Response, Refusal> {
    let id = only(raw.as_deref(), "id", "EVENT.ID")?;
    let ids = FlowIds::parse(&id).map_err(Refusal::bad)?;
    let slot = server.queries.take(peer)?;
    let stored = Stored::States(ids);
    let body = stream::stored(server.api, stored, Query::default(), slot, server.shutdown).await;
    body.map(ndjson).map_err(Refusal::unavailable)
}

/// `by` and `sort` as they are typed; with `total` the last line is of all rows, also those left out.
pub(super) async fn summary(
    State(server): State<Server>,
    Extension(peer): Extension<Peer>,
    RawQuery(raw): RawQuery,
) -> Result<Response, Refusal> {
    let (query, given) =
        parameters(&server.api, raw.as_deref(), &["by", "sort", "total", "new_since"])?;
    let wrong = |name: &str, problem: String| Refusal::bad(format!("{name}: {problem}"));
    let keys = own(&given, "by").map_or(Ok(Keys::default()), Keys::parse);
    let keys = keys.map_err(|problem| wrong("by", problem))?;
    let sort = own(&given, "sort").map_or(Ok(Sort::default()), Sort::parse);
    let sort = sort.map_err(|problem| wrong("sort", problem))?;
    let time = |text| when::parse(text, clock::wall(), &TimeZone::UTC);
    let new_since = own(&given, "new_since").map(time).transpose();
    let new_since = new_since.map_err(|problem| wrong("new_since", problem))?;
    let tells_total = own(&given, "total").is_some_and(|it| it == "true");
    // Dropped with the request when its client leaves.
    let (waited_for, _waits) = oneshot::channel::<()>();
    let shutdown = server.shutdown.clone();
    let is_over = Arc::new(move || shutdown.is_requested() || waited_for.is_closed());
    let events = Arc::clone(&server.api.events).until(is_over);
    let asked = Asked { keys, sort, new_since };
    let folded = server.asked(peer, move |_| summarize(events.as_ref(), query, asked));
    let answer = folded.await?.map_err(Refusal::unavailable)?;
    let mut lines = Vec::new();
    for row in &answer.rows {
        printable::push_json(&mut lines, row).map_err(Refusal::unavailable)?;
        lines.push(b'\n');
    }
    if tells_total {
        let line =
            TotalLine { geofenced: LeftOut { left_out: answer.left_out, total: answer.total } };
        printable::push_json(&mut lines, &line).map_err(Refusal::unavailable)?;
        lines.push(b'\n');
    }
    Ok(ndjson(lines.into()))
}

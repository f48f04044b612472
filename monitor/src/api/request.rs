//! What the server's answers share: what they answer from, filters as parameters, and how an answer or a
//! refusal is written.

use std::error::Error;

use axum::{
    body::Body,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::{
    Api, ErrorBody,
    slots::{NoSlot, Slots},
};
use crate::{
    clock,
    connections::Peer,
    event::Timestamp,
    filter::{Query, RawFilter},
    printable,
    shutdown::Shutdown,
};

#[derive(Clone)]
pub(super) struct Server {
    pub(super) api: Api,
    pub(super) queries: Slots,
    pub(super) streams: Slots,
    pub(super) shutdown: Shutdown,
}

impl Server {
    /// Asks what may take a while, on a thread for that; until it ends it counts as a question of the peer's.
    pub(super) async fn asked<T: Send + 'static>(
        &self,
        peer: Peer,
        ask: impl FnOnce(&Api) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let slot = self.queries.take(peer)?;
        let api = self.api.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let _slot = slot;
            ask(&api)
        });
        asked.await.map_err(Refusal::unavailable)
    }
}

type BoxError = Box<dyn Error + Send + Sync>;

/// An answer that is an error: `{"error": "..."}`.
pub(super) struct Refusal(pub(super) StatusCode, pub(super) String);

impl Refusal {
    pub(super) fn not_found() -> Self {
        let paths = "/v1/status, /v1/coverage, /v1/events, /v1/events/stream, /v1/states, /v1/lookups, /v1/summary, /v1/locate, /v1/policy, /v1/policies, /v1/watching, /v1/marks, and POST /v1/checkpoint";
        Self(StatusCode::NOT_FOUND, format!("there are {paths}"))
    }
    pub(super) fn bad(problem: impl Into<BoxError>) -> Self {
        Self(StatusCode::BAD_REQUEST, problem.into().to_string())
    }
    pub(super) fn unavailable(problem: impl Into<BoxError>) -> Self {
        Self(StatusCode::SERVICE_UNAVAILABLE, problem.into().to_string())
    }
}

impl From<NoSlot> for Refusal {
    fn from(none: NoSlot) -> Self {
        Self::unavailable(none)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, json(&ErrorBody { error: self.1 })).into_response()
    }
}

pub(super) fn json(value: &impl Serialize) -> Response {
    match printable::to_json(value) {
        Ok(mut text) => {
            text.push(b'\n');
            ([(header::CONTENT_TYPE, "application/json")], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

pub(super) fn ndjson(body: Body) -> Response {
    ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}

/// The bounds of a window that is asked about, of which the other filters say nothing.
pub(super) fn window(
    api: &Api,
    raw: Option<&str>,
    now: Timestamp,
) -> Result<(Option<Timestamp>, Timestamp), Refusal> {
    let (query, _) = parameters(api, raw, &[])?;
    Ok((query.filter.since, query.filter.until.unwrap_or(now)))
}

/// The value of the one parameter that there may be; `as_in`: how to ask with it.
pub(super) fn only(raw: Option<&str>, name: &str, as_in: &str) -> Result<String, Refusal> {
    let pairs: Vec<(String, String)> =
        serde_urlencoded::from_str(raw.unwrap_or_default()).map_err(Refusal::bad)?;
    match pairs.as_slice() {
        [(given, value)] if given == name => Ok(value.clone()),
        _ => Err(Refusal::bad(format!("ask with ?{name}={as_in}"))),
    }
}

/// Takes the parameters named in `own` out and reads the rest as filters.
pub(super) fn parameters(
    api: &Api,
    raw: Option<&str>,
    own: &[&str],
) -> Result<(Query, Vec<(String, String)>), Refusal> {
    let pairs: Vec<(String, String)> =
        serde_urlencoded::from_str(raw.unwrap_or_default()).map_err(Refusal::bad)?;
    let (own, filters): (Vec<_>, Vec<_>) =
        pairs.into_iter().partition(|(name, _)| own.contains(&name.as_str()));
    let filters = serde_urlencoded::to_string(filters).map_err(Refusal::bad)?;
    let filter: RawFilter = serde_urlencoded::from_str(&filters).map_err(Refusal::bad)?;
    let query = filter.parse_among(clock::wall(), &api.marks.known());
    Ok((query.map_err(Refusal::bad)?, own))
}

//! Serves the page for people beside the metrics. It is made when somebody asks, one at a time and not again
//! for some seconds, so that nobody who reaches the listener can load the host by it.

use std::{
    cmp::Reverse,
    net::IpAddr,
    ops::ControlFlow,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::sync::Mutex;

use super::{Api, EventSource, SourceError, summarize};
use crate::{
    clock,
    coverage::Alive,
    ecs::{Event, Time},
    event::{Phase, Timestamp, Verdict},
    filter::{Filter, Query},
    report::html::{
        POLICY,
        today::{Today, today},
    },
    summary::{By, Row},
};

/// A page is shown for so long at least, and for so many times as long as it took to make it.
const FRESH: Duration = Duration::from_secs(10);
const SHARE: u32 = 10;
/// No question of it takes longer; then the page says so.
const PATIENCE: Duration = Duration::from_secs(5);
/// Violations that are told one by one.
const LATEST: usize = 20;
const DAY_NS: u64 = 86_400_000_000_000;

const HEAD: [(HeaderName, &str); 7] = [
    (header::CONTENT_TYPE, "text/html; charset=utf-8"),
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
];

/// Made, and until when it is shown.
type Kept = Option<(Bytes, Instant)>;

#[derive(Clone)]
struct Page {
    api: Api,
    host: Arc<dyn Fn() -> String + Send + Sync>,
    kept: Arc<Mutex<Kept>>,
    /// Nobody else's names lead here.
    is_loopback: bool,
}

/// What is served at `/`. `host`: how it is called now.
pub fn router(api: Api, host: Arc<dyn Fn() -> String + Send + Sync>, is_loopback: bool) -> Router {
    let page = Page { api, host, kept: Arc::default(), is_loopback };
    Router::new().route("/", get(answer)).with_state(page)
}

async fn answer(State(page): State<Page>, headers: HeaderMap) -> Response {
    if page.is_loopback && !is_local(&headers) {
        let problem = "ask by an address or as localhost: no other name is this host's loopback\n";
        return (StatusCode::MISDIRECTED_REQUEST, problem).into_response();
    }
    // A task of its own: who goes away does not leave the work to the next one who asks.
    match tokio::spawn(page.current()).await {
        Ok(Some(text)) => (HEAD, text).into_response(),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "the page could not be made\n").into_response(),
    }
}

/// A page of somebody else whose name was made to lead here (DNS rebinding) may not read this one.
fn is_local(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let authority = host.parse::<axum::http::uri::Authority>();
    authority.is_ok_and(|it| {
        let name = it.host().trim_start_matches('[').trim_end_matches(']');
        name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
    })
}

impl Page {
    /// The one that is kept, or a new one.
    async fn current(self) -> Option<Bytes> {
        let mut kept = self.kept.lock().await;
        if let Some((text, until)) = &*kept
            && Instant::now() < *until
        {
            return Some(text.clone());
        }
        // What is old is of no use while a new one is made.
        *kept = None;
        let (api, host, began) = (self.api, self.host, Instant::now());
        let made = tokio::task::spawn_blocking(move || today(&facts(&api, host())));
        let text = Bytes::from(made.await.ok()?);
        let until = Instant::now() + FRESH.max(began.elapsed() * SHARE);
        *kept = Some((text.clone(), until));
        Some(text)
    }
}

/// Asks for all that the page shows.
fn facts(api: &Api, host: String) -> Today {
    let (now, began) = (clock::wall(), Instant::now());
    let from = Timestamp(now.0 - now.0 % DAY_NS);
    let is_over = Arc::new(move || began.elapsed() > PATIENCE);
    let events = Arc::clone(&api.events).until(is_over);
    let events = events.as_ref();
    let said = |error: SourceError| error.to_string();
    let of = |verdicts: Vec<Verdict>| Query {
        filter: Filter { since: Some(from), verdicts, ..Filter::default() },
        ..Query::default()
    };
    let rows = |query, by: By| summarize(events, query, by).map(|it| it.rows).map_err(said);
    let alive = Alive { since: api.watching_since, now, is_told: true };
    Today {
        host,
        status: (api.status)(),
        from: Time(from),
        now: Time(now),
        coverage: events.coverage((Some(from), now), Some(alive)).map_err(said),
        countries: rows(of(Vec::new()), By::Country),
        programs: rows(of(vec![Verdict::Unapproved]), By::Process).map(with_violations),
        latest: latest(events, of(vec![Verdict::Unapproved])).map_err(said),
    }
}

/// Most violations first.
fn with_violations(mut rows: Vec<Row>) -> Vec<Row> {
    rows.retain(|row| row.violations > 0);
    rows.sort_by_key(|row| Reverse(row.violations));
    rows
}

fn latest(events: &dyn EventSource, mut query: Query) -> Result<Vec<Event<'static>>, SourceError> {
    query.limit = Some(LATEST);
    query.newest_first = true;
    query.filter.phase = Some(Phase::Sent);
    let mut found = Vec::new();
    events.query(&query, &mut |record| {
        let event = serde_json::to_vec(&Event::from(&record));
        if let Ok(event) = event.and_then(|it| serde_json::from_slice(&it)) {
            found.push(event);
        }
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_somebody_made_lead_to_loopback_is_none_of_ours() {
        let is_ours =
            |host: &str| is_local(&HeaderMap::from_iter([(header::HOST, host.parse().unwrap())]));
        for host in ["localhost", "LocalHost:9871", "127.0.0.1:9871", "[::1]:9871", "10.0.0.7"] {
            assert!(is_ours(host), "{host}");
        }
        for host in ["evil.example", "127.0.0.1.evil.example:9871", "localhost.evil.example", ""] {
            assert!(!is_ours(host), "{host}");
        }
        assert!(!is_local(&HeaderMap::new()));
    }
}

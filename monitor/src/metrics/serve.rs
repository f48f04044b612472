//! The metrics endpoint: `/metrics`, `/healthz`, `/readyz` over TCP, to a bounded number of
//! connections. Reads the registry, changes nothing.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;

use super::{Metrics, compress, openmetrics};
use crate::connections::{self, Bounds, Served};

/// Anybody on this host may connect, so few are enough for all: a scraper keeps one.
pub const BOUNDS: Bounds = Bounds {
    connections: 64,
    of_peer: 32,
    first_request: Duration::from_secs(10),
    // Scrapers that keep their connection ask every 15 s, some every minute.
    idle: Duration::from_secs(90),
    grace: Duration::from_secs(2),
};

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(
        "metrics: {address} is in use by another program; change [metrics] listen, or \"\" for off"
    )]
    InUse { address: SocketAddr },
    #[error(
        "metrics: can't listen on {address}: {source}; change [metrics] listen, or \"\" for off"
    )]
    Listen { address: SocketAddr, source: io::Error },
}

/// Whether the probes are attached and the store is writable: `/readyz`.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Release);
    }
    pub fn is_ready(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Binds before anything else is started, so that a port in use ends the start at once. Must be
/// called within the runtime.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => ServeError::InUse { address },
        _ => ServeError::Listen { address, source },
    })
}

/// Serves until `shutdown` completes; open answers may come to their end. `more`: what else is served.
pub async fn serve(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    ready: Readiness,
    more: Router,
    bounds: Bounds,
    shutdown: impl Future<Output = ()>,
) {
    let counted = (metrics.connections_refused_total.clone(), connections::METRICS);
    let router = router(metrics, ready).merge(more);
    let served = Served { router, refusal: |_| refusal(), bounds, counted };
    connections::serve(listener, served, shutdown).await;
}

fn refusal() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "too many connections; try again\n").into_response()
}

fn router(metrics: Arc<Metrics>, ready: Readiness) -> Router {
    Router::new()
        .route("/metrics", get(scrape))
        .with_state(metrics)
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .with_state(ready)
}

async fn readyz(State(ready): State<Readiness>) -> (StatusCode, &'static str) {
    if ready.is_ready() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready: `geofenced status` says why\n")
    }
}

async fn scrape(State(metrics): State<Arc<Metrics>>, headers: HeaderMap) -> Response {
    let families = metrics.registry.gather();
    let (content_type, text) = if wants_openmetrics(&headers) {
        (openmetrics::CONTENT_TYPE, openmetrics::encode(&families).map_err(|e| e.to_string()))
    } else {
        let text = prometheus::TextEncoder::new().encode_to_string(&families);
        (prometheus::TEXT_FORMAT, text.map_err(|e| e.to_string()))
    };
    match text {
        Ok(text) => answer(content_type, text, compress::is_wanted(&headers)),
        Err(problem) => (StatusCode::INTERNAL_SERVER_ERROR, problem).into_response(),
    }
}

/// What proxies keep for one scraper is not for another that can't read it.
fn answer(content_type: &'static str, text: String, compressed: bool) -> Response {
    let head = [(header::CONTENT_TYPE, content_type), (header::VARY, "accept, accept-encoding")];
    if compressed && let Ok(bytes) = compress::gzip(text.as_bytes()) {
        return (head, [(header::CONTENT_ENCODING, compress::GZIP)], bytes).into_response();
    }
    (head, text).into_response()
}

fn wants_openmetrics(headers: &HeaderMap) -> bool {
    let accepts = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepts.flat_map(|value| value.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        parts.next() == Some("application/openmetrics-text")
            && !parts.any(|part| part.strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepting(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::ACCEPT, value.parse().unwrap())])
    }

    #[test]
    fn openmetrics_is_given_only_to_those_who_ask_for_it() {
        assert!(wants_openmetrics(&accepting(
            "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
        )));
        assert!(!wants_openmetrics(&accepting("text/plain")));
        assert!(!wants_openmetrics(&accepting("application/openmetrics-text;q=0, */*")));
        assert!(!wants_openmetrics(&HeaderMap::new()));
    }

    #[tokio::test]
    async fn a_port_in_use_is_said_with_what_to_do() {
        let taken = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let problem = bind(taken.local_addr().unwrap()).await.unwrap_err().to_string();
        assert!(problem.contains("in use") && problem.contains("[metrics] listen"), "{problem}");
    }
}

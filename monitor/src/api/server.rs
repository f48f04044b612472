//! The server on the Unix socket. Reads what [`Api`] holds; the only file it writes is its socket.

use std::{
    fs, io,
    net::IpAddr,
    os::unix::{
        fs::{FileTypeExt, PermissionsExt, chown},
        net::UnixStream,
    },
    path::{Path, PathBuf},
    time::Duration,
};

use axum::{
    Extension, Router,
    body::{Body, Bytes, HttpBody as _, to_bytes},
    extract::{RawQuery, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use tokio::{net::UnixListener, time::timeout};

use super::{
    Api, group, marking,
    request::{Refusal, Server, json, ndjson, only, parameters, window},
    rows,
    slots::{Share, Slots},
    stream::{self, Stored},
};
use crate::{
    clock,
    connections::{self, Bounds, Peer, Served, refused},
    coverage::Alive,
    ecs::MarkEvent,
    filter::hash_digits,
    printable,
    shutdown::Shutdown,
};

/// Who may ask is in a group, and yet no user of it shall take all.
pub const BOUNDS: Bounds = Bounds {
    connections: 128,
    of_peer: 64,
    first_request: Duration::from_secs(10),
    idle: Duration::from_mins(1),
    grace: Duration::from_secs(2),
};
/// Queries that run at once; more are told to come again.
const QUERIES: Share = Share { what: "queries", all: 6, of_peer: 4 };
/// Live streams at once. They are answers, so they are never idle.
const STREAMS: Share = Share { what: "streams", all: 48, of_peer: 32 };
/// Owner and group may ask, nobody else.
const SOCKET_MODE: u32 = 0o660;

#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error(
        "another daemon is running: it answers at {0}; stop it, or give this one another [api] socket"
    )]
    AnotherDaemon(PathBuf),
    #[error("{0} exists and is no socket; remove it, or change [api] socket")]
    NoSocket(PathBuf),
    #[error("api: can't {action} {path}: {source}")]
    Socket { action: &'static str, path: PathBuf, source: io::Error },
}

/// The socket, bound; its file is removed when this is dropped.
#[derive(Debug)]
pub struct Bound {
    listener: Option<UnixListener>,
    path: PathBuf,
}

impl Drop for Bound {
    fn drop(&mut self) {
        // Somebody else may have removed it; then there is nothing to do.
        let _ = fs::remove_file(&self.path);
    }
}

/// Binds the socket, for group `geofenced` where that exists. A file that a dead daemon left is
/// removed. Must be called within the runtime.
pub fn bind(path: &Path) -> Result<Bound, ApiError> {
    let failed = |action| move |source| ApiError::Socket { action, path: path.to_owned(), source };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(failed("make the directory of"))?;
    }
    remove_stale(path)?;
    let listener = UnixListener::bind(path).map_err(failed("bind"))?;
    let bound = Bound { listener: Some(listener), path: path.to_owned() };
    if let Some(group) = group::id() {
        chown(path, None, Some(group)).map_err(failed("give to group geofenced"))?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE))
        .map_err(failed("set the mode of"))?;
    Ok(bound)
}

fn remove_stale(path: &Path) -> Result<(), ApiError> {
    let Ok(found) = fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() {
        return Err(ApiError::NoSocket(path.to_owned()));
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(ApiError::AnotherDaemon(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path)
            .map_err(|source| ApiError::Socket { action: "remove", path: path.to_owned(), source }),
        Err(source) => {
            Err(ApiError::Socket { action: "see who holds", path: path.to_owned(), source })
        }
    }
}

impl Bound {
    /// Serves until shutdown is requested; open streams end with it.
    pub async fn serve(mut self, api: Api, bounds: Bounds, shutdown: Shutdown) {
        let Some(listener) = self.listener.take() else { return };
        let counted = (api.metrics.connections_refused_total.clone(), connections::API);
        let server = Server {
            api,
            queries: Slots::new(QUERIES),
            streams: Slots::new(STREAMS),
            shutdown: shutdown.clone(),
        };
        let router = Router::new()
            .route("/v1/status", get(status))
            .route("/v1/coverage", get(coverage))
            .route("/v1/events", get(events))
            .route("/v1/events/stream", get(rows::events_stream))
            .route("/v1/states", get(rows::states))
            .route("/v1/lookups", get(lookups))
            .route("/v1/summary", get(rows::summary))
            .route("/v1/locate", get(locate))
            .route("/v1/policy", get(policy))
            .route("/v1/policies", get(policies))
            .route("/v1/watching", get(watching))
            .route("/v1/marks", get(marks).post(put_mark))
            .route("/v1/checkpoint", post(checkpoint))
            .fallback(|| async { Refusal::not_found() })
            .with_state(server);
        let refusal = |reason| {
            let whose = if reason == refused::PEER { " of this user" } else { "" };
            Refusal::unavailable(format!("too many connections{whose} at once; try again"))
                .into_response()
        };
        let served = Served { router, refusal, bounds, counted };
        connections::serve(listener, served, shutdown.requested()).await;
    }
}

/// The store is asked how much it holds, and that may take the disk's time.
async fn status(State(server): State<Server>) -> Result<Response, Refusal> {
    let asked = tokio::task::spawn_blocking(move || (server.api.status)());
    Ok(json(&asked.await.map_err(Refusal::unavailable)?))
}

async fn events(
    State(server): State<Server>,
    Extension(peer): Extension<Peer>,
    RawQuery(raw): RawQuery,
) -> Result<Response, Refusal> {
    let (query, _) = parameters(&server.api, raw.as_deref(), &[])?;
    let slot = server.queries.take(peer)?;
    let stored = Stored::Flows;
    let body = stream::stored(server.api, stored, query, slot, server.shutdown).await;
    body.map(ndjson).map_err(Refusal::unavailable)
}

async fn lookups(
    State(server): State<Server>,
    Extension(peer): Extension<Peer>,
    RawQuery(raw): RawQuery,
) -> Result<Response, Refusal> {
    let (query, _) = parameters(&server.api, raw.as_deref(), &[])?;
    let query = query.of_lookups().map_err(Refusal::bad)?;
    let slot = server.queries.take(peer)?;
    let stored = Stored::Lookups;
    let body = stream::stored(server.api, stored, query, slot, server.shutdown).await;
    body.map(ndjson).map_err(Refusal::unavailable)
}

/// Of a window; of the filters only its bounds count.
async fn coverage(
    State(server): State<Server>,
    Extension(peer): Extension<Peer>,
    RawQuery(raw): RawQuery,
) -> Result<Response, Refusal> {
    let now = clock::wall();
    let window = window(&server.api, raw.as_deref(), now)?;
    let asked = server.asked(peer, move |api| {
        let alive = Alive { since: api.watching_since, now, is_told: true };
        api.events.coverage(window, Some(alive))
    });
    Ok(json(&asked.await?.map_err(Refusal::unavailable)?))
}

/// By the first digits of its hash.
async fn policy(
    State(server): State<Server>,
    Extension(peer): Extension<Peer>,
    RawQuery(raw): RawQuery,
) -> Result<Response, Refusal> {
    let digits = only(raw.as_deref(), "sha256", "HASH")?;
    let begins = hash_digits(&digits).map_err(Refusal::bad)?;
    let found = server.asked(peer, move |api| api.events.policy(&begins)).await?;
    let found = found.map_err(Refusal::unavailable)?;
    found.map(|it| json(&it)).ok_or_else(|| {
        Refusal(StatusCode::NOT_FOUND, "the ledger holds no policy of this hash".into())
    })
}

/// Who watched in a window, and by what; of the filters only its bounds count.
async fn watching(
    State(server): State<Server>,
    Extension(peer): Extension<Peer>,
    RawQuery(raw): RawQuery,
) -> Result<Response, Refusal> {
    let window = window(&server.api, raw.as_deref(), clock::wall())?;
    let found = server.asked(peer, move |api| api.events.watching(window)).await?;
    Ok(json(&found.map_err(Refusal::unavailable)?))
}

/// In force in a window; of the filters only its bounds count.
async fn policies(
    State(server): State<Server>,
    Extension(peer): Extension<Peer>,
    RawQuery(raw): RawQuery,
) -> Result<Response, Refusal> {
    let window = window(&server.api, raw.as_deref(), clock::wall())?;
    let found = server.asked(peer, move |api| api.events.policies(window)).await?;
    Ok(json(&found.map_err(Refusal::unavailable)?))
}

/// Has all signed that is stored by now.
async fn checkpoint(
    State(server): State<Server>,
    Extension(peer): Extension<Peer>,
) -> Result<Response, Refusal> {
    Ok(json(&server.asked(peer, |api| (api.seal)()).await?))
}

/// All that the ledger has, in its order.
async fn marks(
    State(server): State<Server>,
    Extension(peer): Extension<Peer>,
) -> Result<Response, Refusal> {
    let marks =
        server.asked(peer, |api| api.events.marks()).await?.map_err(Refusal::unavailable)?;
    let mut lines = Vec::new();
    for mark in &marks {
        printable::push_json(&mut lines, &MarkEvent::from(mark.as_ref()))
            .map_err(Refusal::unavailable)?;
        lines.push(b'\n');
    }
    Ok(ndjson(lines.into()))
}

/// A body that is neither long nor slow.
async fn whole(body: Body) -> Result<Bytes, Refusal> {
    let refused = |status: StatusCode| Refusal(status, status.to_string());
    if body.size_hint().lower() > marking::REQUEST_MAX as u64 {
        return Err(refused(StatusCode::PAYLOAD_TOO_LARGE));
    }
    let read = timeout(BOUNDS.first_request, to_bytes(body, marking::REQUEST_MAX)).await;
    let read = read.map_err(|_| refused(StatusCode::REQUEST_TIMEOUT))?;
    read.map_err(|_| refused(StatusCode::PAYLOAD_TOO_LARGE))
}

/// Answers once it is safe on the disk.
async fn put_mark(
    State(server): State<Server>,
    Extension(peer): Extension<Peer>,
    body: Body,
) -> Result<Response, Refusal> {
    let mark = marking::asked(&whole(body).await?).map_err(Refusal::bad)?;
    match server.asked(peer, move |api| api.marks.put(mark.clone()).map(|()| mark)).await? {
        Ok(mark) => Ok(json(&MarkEvent::from(&mark))),
        Err(refusal) if refusal.is_wrong => Err(Refusal(StatusCode::CONFLICT, refusal.problem)),
        Err(refusal) => Err(Refusal::unavailable(refusal)),
    }
}

async fn locate(
    State(server): State<Server>,
    RawQuery(raw): RawQuery,
) -> Result<Response, Refusal> {
    let pairs: Vec<(String, String)> =
        serde_urlencoded::from_str(raw.as_deref().unwrap_or_default()).map_err(Refusal::bad)?;
    let [(name, address)] = pairs.as_slice() else {
        return Err(Refusal::bad("ask with ?ip=ADDRESS"));
    };
    if name != "ip" {
        return Err(Refusal::bad(format!("`{name}` is no parameter; ask with ?ip=ADDRESS")));
    }
    let address: IpAddr =
        address.parse().map_err(|_| Refusal::bad(format!("ip: `{address}` is no address")))?;
    Ok(json(&(server.api.locate)(address)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_socket_of_a_dead_daemon_is_replaced_and_that_of_a_live_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/geofenced.sock");
        let first = bind(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, SOCKET_MODE);
        assert!(matches!(bind(&path), Err(ApiError::AnotherDaemon(_))));
        drop(first);
        assert!(!path.exists());
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        bind(&path).unwrap();
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notes.txt");
        fs::write(&path, "mine").unwrap();
        assert!(matches!(bind(&path), Err(ApiError::NoSocket(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }
}

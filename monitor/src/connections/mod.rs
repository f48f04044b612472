//! Serves a router over a listener within bounds: so many connections, so many a peer, so long for a
//! request. A newcomer takes the place of the idlest rather than wait for it. It knows neither what
//! is asked nor what is answered.

mod table;

use std::{
    io,
    net::{IpAddr, Ipv6Addr},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    http::Request,
    response::Response,
};
use futures_util::FutureExt as _;
use hyper::{
    body::{Body as HttpBody, Frame, Incoming, SizeHint},
    server::conn::http1,
    service::{Service as _, service_fn},
};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use prometheus::{IntCounter, IntCounterVec};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::mpsc,
    task::yield_now,
    time::{sleep, timeout},
};

use table::{Admission, Table, Ticket, Wait};

/// Why a connection was refused, or cut before it had an answer: `reason` of
/// `connections_refused_total`.
pub mod refused {
    /// All places are taken by those who are being answered.
    pub const FULL: &str = "full";
    /// So are all of this peer.
    pub const PEER: &str = "peer";
    /// It was idle, and its place was wanted.
    pub const DISPLACED: &str = "displaced";
    /// No whole request came in time.
    pub const LATE: &str = "late";
    /// The kernel would not hand it over: descriptors, most likely.
    pub const UNACCEPTED: &str = "unaccepted";
    pub const ALL: [&str; 5] = [FULL, PEER, DISPLACED, LATE, UNACCEPTED];
}

/// `listener` of `connections_refused_total`.
pub const METRICS: &str = "metrics";
pub const API: &str = "api";

/// Connections of a listener take this part of the process's descriptors at most: the others are for
/// the store, the probes and what is read of processes.
const PART: u64 = 8;
/// Refusals being written; more are closed without one.
const REFUSALS_MAX: usize = 16;
/// How long a refused one may take to ask what is refused.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(2);
/// Bytes of a request's head, and of an answer that waits to be written.
const BUFFER_BYTES: usize = 64 * 1024;
/// Rest after the kernel refused to hand over a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Who is at the other end, as far as it can be told without asking it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Peer {
    /// An IPv6 address stands for its /64: one host can have all of it.
    Address(IpAddr),
    /// The user of the process that connected.
    User(u32),
}

impl Peer {
    fn at(address: IpAddr) -> Self {
        Self::Address(match address.to_canonical() {
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

/// How much a listener gives, in all and to each.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub connections: usize,
    pub of_peer: usize,
    /// For the first whole request of a connection.
    pub first_request: Duration,
    /// Between an answer and the next whole request; what is not read of an answer counts as idle.
    pub idle: Duration,
    /// For answers under way when the daemon ends.
    pub grace: Duration,
}

impl Bounds {
    /// No more than the process's descriptors have room for.
    #[must_use]
    pub fn within(self, descriptors: u64) -> Self {
        let room = usize::try_from(descriptors / PART).unwrap_or(usize::MAX).max(2);
        let connections = self.connections.min(room);
        Self { connections, of_peer: self.of_peer.min(connections.div_ceil(2)), ..self }
    }
}

/// Asks for all descriptors that this process may have, and says how many these are. Call it before
/// any are needed: each probe, interface and segment takes one.
pub fn descriptors() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // What was not granted is not needed either: bounds follow the answer.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    getrlimit(Resource::Nofile).current.or(current).unwrap_or(u64::MAX)
}

/// Where connections come from.
pub trait Listener {
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    fn next(&self) -> impl Future<Output = io::Result<(Self::Io, Peer)>> + Send;
}

impl Listener for TcpListener {
    type Io = TcpStream;
    async fn next(&self) -> io::Result<(TcpStream, Peer)> {
        let (stream, address) = self.accept().await?;
        Ok((stream, Peer::at(address.ip())))
    }
}

impl Listener for UnixListener {
    type Io = UnixStream;
    async fn next(&self) -> io::Result<(UnixStream, Peer)> {
        let (stream, _) = self.accept().await?;
        let user = stream.peer_cred()?.uid();
        Ok((stream, Peer::User(user)))
    }
}

/// What is served, and to what end.
#[derive(Debug)]
pub struct Served {
    pub router: Router,
    /// What those get who find no place, with the reason.
    pub refusal: fn(&'static str) -> Response,
    pub bounds: Bounds,
    /// `connections_refused_total`, and which listener this is.
    pub counted: (IntCounterVec, &'static str),
}

/// Serves until `shutdown` completes, and then what is under way for the grace of the bounds. Each
/// request carries its [`Peer`] as an extension.
pub async fn serve<L: Listener>(listener: L, served: Served, shutdown: impl Future<Output = ()>) {
    let Served { router, refusal, bounds, counted } = served;
    let table = Table::new(bounds);
    let count = |reason| counter(&counted, reason).inc();
    // Dropped by each connection at its end; nothing is sent.
    let (open, mut ended) = mpsc::channel::<()>(1);
    let refusing = Arc::new(tokio::sync::Semaphore::new(REFUSALS_MAX));
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            accepted = listener.next() => accepted,
            () = &mut shutdown => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                count(refused::UNACCEPTED);
                tracing::debug!(%error, listener = counted.1, "a connection was not accepted");
                tokio::select! { () = sleep(ACCEPT_PAUSE) => {}, () = &mut shutdown => break }
                continue;
            }
        };
        match table.admit(peer) {
            Admission::Placed { ticket, displaced } => {
                if displaced {
                    count(refused::DISPLACED);
                }
                let late = counter(&counted, refused::LATE);
                let kept = open.clone();
                let connection = answer(stream, ticket, router.clone());
                tokio::spawn(async move {
                    if connection.await == Ended::Late {
                        late.inc();
                    }
                    drop(kept);
                });
                // Whoever was displaced closes now.
                yield_now().await;
            }
            Admission::Refused(reason) => {
                count(reason);
                if let Ok(place) = Arc::clone(&refusing).try_acquire_owned() {
                    tokio::spawn(refuse(stream, refusal, reason).map(|()| drop(place)));
                }
            }
        }
    }
    drop(listener);
    drop(open);
    table.end();
    // Nothing is ever sent: this is the end of the last connection.
    let _ = timeout(bounds.grace, ended.recv()).await;
}

fn counter((all, listener): &(IntCounterVec, &str), reason: &str) -> IntCounter {
    all.with_label_values(&[listener, reason])
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    InOrder,
    /// Cut, because no whole request came in time.
    Late,
}

fn builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(BUFFER_BYTES);
    builder
}

/// Answers what is asked on one connection, until it closes or must.
async fn answer(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ticket: Ticket,
    router: Router,
) -> Ended {
    let ticket = Arc::new(ticket);
    let service = TowerToHyperService::new(router);
    let requests = service_fn(|mut request: Request<Incoming>| {
        let turn = ticket.begin();
        request.extensions_mut().insert(ticket.peer());
        let answer = service.call(request);
        async move {
            answer.await.map(|answer| answer.map(|body| Body::new(Told { body, _turn: turn })))
        }
    });
    let mut connection = pin!(builder().serve_connection(TokioIo::new(stream), requests));
    let mut is_ending = false;
    loop {
        let wait = tokio::select! {
            _ = connection.as_mut() => return Ended::InOrder,
            wait = ticket.over(is_ending) => wait,
        };
        match wait {
            Wait::Displaced | Wait::Idle => return Ended::InOrder,
            Wait::Late => return Ended::Late,
            Wait::Ending => {
                is_ending = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// Says why there is no place, to one who asks soon.
async fn refuse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    refusal: fn(&'static str) -> Response,
    reason: &'static str,
) {
    let requests = service_fn(move |_: Request<Incoming>| async move {
        Ok::<_, std::convert::Infallible>(refusal(reason))
    });
    let connection = builder().keep_alive(false).serve_connection(TokioIo::new(stream), requests);
    // Whoever does not ask gets no answer; it was counted.
    let _ = timeout(REFUSAL_PATIENCE, connection).await;
}

/// A body that keeps its connection's place until it is told to the end.
#[derive(Debug)]
struct Told {
    body: Body,
    /// Kept for its drop.
    _turn: table::Turn,
}

impl HttpBody for Told {
    type Data = Bytes;
    type Error = axum::Error;
    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }
    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;

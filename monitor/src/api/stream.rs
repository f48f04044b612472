//! NDJSON bodies: stored events from a blocking thread with back-pressure, and live ones. A client
//! that stands still is let go; what a slow one misses is told and counted.

use std::{collections::HashMap, io, ops::ControlFlow, sync::Arc, time::Duration};

use axum::body::{Body, Bytes};
use serde::Serialize;
use tokio::{
    runtime::Handle,
    sync::{broadcast, mpsc},
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;

use super::{Api, ErrorBody, LostCount, LostLine, SourceError, slots::Slot};
use crate::{
    ecs::{Event, LookupEvent},
    event::{FlowId, FlowIds, Record, Timestamp},
    filter::{Filter, Query},
    printable,
    shutdown::Shutdown,
};

/// Bytes that are collected before they are handed to the connection.
const CHUNK_BYTES: usize = 64 * 1024;
/// Chunks that wait for a slow client; then the query waits.
const CHUNKS_WAITING: usize = 4;
/// A client that takes nothing for this long is let go, so that it holds no query slot.
const CLIENT_PATIENCE: Duration = Duration::from_secs(30);
/// Reason in `events_lost_total`, stage `live`.
pub(crate) const SLOW_CLIENT: &str = "client-slow";

type Chunk = Result<Bytes, io::Error>;

/// Appends one JSON line. A value that can't be written (there is none) becomes an error line.
fn push_line(buffer: &mut Vec<u8>, value: &impl Serialize) {
    let start = buffer.len();
    if let Err(error) = printable::push_json(buffer, value) {
        buffer.truncate(start);
        buffer.extend_from_slice(br#"{"error":"an event could not be written as JSON"}"#);
        tracing::error!(%error, "an event could not be written as JSON");
    }
    buffer.push(b'\n');
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stored {
    Flows,
    /// All of these flows; of the query nothing counts.
    States(FlowIds),
    Lookups,
}

/// Answers the query, or says why it failed before its first line.
pub(super) async fn stored(
    api: Api,
    stored: Stored,
    query: Query,
    slot: Slot,
    shutdown: Shutdown,
) -> Result<Body, SourceError> {
    let (chunks, mut answers) = mpsc::channel::<Result<Bytes, SourceError>>(CHUNKS_WAITING);
    let runtime = Handle::current();
    let (asked, is_asked) = (shutdown.clone(), chunks.clone());
    let intervals = api.marks.known();
    let source = api.events.until(Arc::new(move || asked.is_requested() || is_asked.is_closed()));
    tokio::task::spawn_blocking(move || {
        let _slot = slot;
        let send = |chunk: Result<Bytes, SourceError>| {
            runtime.block_on(async {
                matches!(timeout(CLIENT_PATIENCE, chunks.send(chunk)).await, Ok(Ok(())))
            })
        };
        let mut buffer = Vec::with_capacity(CHUNK_BYTES + 4096);
        let mut is_gone = false;
        let mut put = |push: &dyn Fn(&mut Vec<u8>)| {
            push(&mut buffer);
            if buffer.len() >= CHUNK_BYTES {
                is_gone = shutdown.is_requested() || !send(Ok(std::mem::take(&mut buffer).into()));
            }
            if is_gone { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let result = match stored {
            Stored::Flows => source.query(&query, &mut |record| {
                put(&|buffer| push_line(buffer, &Event::marked(&record, &intervals)))
            }),
            Stored::States(ids) => source.states(ids, &mut |record| {
                put(&|buffer| push_line(buffer, &Event::marked(&record, &intervals)))
            }),
            Stored::Lookups => source.lookups(&query, &mut |lookup| {
                put(&|buffer| push_line(buffer, &LookupEvent::from(&lookup)))
            }),
        };
        if !buffer.is_empty() && !is_gone {
            send(Ok(buffer.into()));
        }
        if let Err(error) = result {
            send(Err(error));
        }
    });
    // The first answer decides the status line; after it an error is a line of its own.
    let first = answers.recv().await.transpose()?;
    Ok(passed_on(first, answers))
}

/// The rest of an answer behind its first part.
fn passed_on(
    first: Option<Bytes>,
    mut answers: mpsc::Receiver<Result<Bytes, SourceError>>,
) -> Body {
    let (body, rest) = mpsc::channel::<Chunk>(1);
    tokio::spawn(async move {
        let mut next = first;
        while let Some(chunk) = next {
            if body.send(Ok(chunk)).await.is_err() {
                return;
            }
            let answer = tokio::select! {
                answer = answers.recv() => answer,
                () = body.closed() => return,
            };
            next = match answer {
                Some(Ok(chunk)) => Some(chunk),
                Some(Err(error)) => {
                    let mut line = Vec::new();
                    push_line(&mut line, &ErrorBody { error: error.to_string() });
                    Some(line.into())
                }
                None => None,
            };
        }
    });
    Body::from_stream(ReceiverStream::new(rest))
}

/// Stored states since then, each flow's latest, and what was told of which.
async fn caught_up(
    (filter, after): (&Filter, Timestamp),
    body: mpsc::Sender<Chunk>,
    api: &Api,
    shutdown: &Shutdown,
) -> Result<Told, SourceError> {
    let query =
        Query { filter: Filter { since: Some(after), ..filter.clone() }, ..Query::default() };
    let (asked, is_asked) = (shutdown.clone(), body.clone());
    let events = Arc::clone(&api.events);
    let events = events.until(Arc::new(move || asked.is_requested() || is_asked.is_closed()));
    let (intervals, runtime) = (api.marks.known(), Handle::current());
    let caught = tokio::task::spawn_blocking(move || {
        let mut told = Told::default();
        let result = events.query(&query, &mut |record| {
            let mut line = Vec::new();
            push_line(&mut line, &Event::marked(&record, &intervals));
            if told.len() < TOLD_MAX {
                told.insert(record.egress.flow, record.egress.revision);
            }
            let sent = runtime.block_on(timeout(CLIENT_PATIENCE, body.send(Ok(line.into()))));
            if matches!(sent, Ok(Ok(()))) {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        });
        result.map(|()| told)
    });
    caught.await.unwrap_or_else(|error| Err(SourceError(error.to_string())))
}

/// Revisions that were told of flows.
type Told = HashMap<FlowId, u32>;
/// Flows of which that is kept; of more a state may be told twice.
const TOLD_MAX: usize = 1 << 16;

/// Live events until the client goes or the daemon ends; after what was stored since, if that is asked.
pub(super) fn live(
    mut records: broadcast::Receiver<Arc<Record>>,
    (filter, after): (Filter, Option<Timestamp>),
    slot: Slot,
    api: Api,
    shutdown: Shutdown,
) -> Body {
    let (body, chunks) = mpsc::channel::<Chunk>(CHUNKS_WAITING);
    tokio::spawn(async move {
        let _slot = slot;
        let mut told = Told::default();
        if let Some(after) = after {
            match caught_up((&filter, after), body.clone(), &api, &shutdown).await {
                Ok(caught) => told = caught,
                Err(error) => {
                    let mut line = Vec::new();
                    push_line(&mut line, &ErrorBody { error: error.to_string() });
                    let _ = timeout(CLIENT_PATIENCE, body.send(Ok(line.into()))).await;
                    return;
                }
            }
        }
        let is_told = |record: &Record| {
            told.get(&record.egress.flow).is_some_and(|it| *it >= record.egress.revision)
        };
        let asked = shutdown.requested();
        tokio::pin!(asked);
        loop {
            let received = tokio::select! {
                received = records.recv() => received,
                () = &mut asked => return,
                () = body.closed() => return,
            };
            let mut line = Vec::new();
            match received {
                Ok(record) if filter.matches(&record) && !is_told(&record) => {
                    let intervals = api.marks.known();
                    push_line(&mut line, &Event::marked(record.as_ref(), &intervals));
                }
                Ok(_) => continue,
                Err(broadcast::error::RecvError::Lagged(lost)) => {
                    api.metrics
                        .events_lost_total
                        .with_label_values(&["live", SLOW_CLIENT])
                        .inc_by(lost);
                    push_line(&mut line, &LostLine { geofenced: LostCount { lost } });
                }
                Err(broadcast::error::RecvError::Closed) => return,
            }
            let sent = tokio::select! {
                sent = timeout(CLIENT_PATIENCE, body.send(Ok(line.into()))) => sent,
                () = &mut asked => return,
            };
            if !matches!(sent, Ok(Ok(()))) {
                return;
            }
        }
    });
    Body::from_stream(ReceiverStream::new(chunks))
}

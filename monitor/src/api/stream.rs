//! NDJSON bodies: stored events from a blocking thread with back-pressure, and live ones. A client
//! that stands still is let go; what a slow one misses is told and counted.

use std::{io, ops::ControlFlow, sync::Arc, time::Duration};

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
    event::Record,
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
    Ok(Body::from_stream(ReceiverStream::new(rest)))
}

/// Live events until the client goes or the daemon ends.
pub(super) fn live(
    mut records: broadcast::Receiver<Arc<Record>>,
    filter: Filter,
    slot: Slot,
    api: Api,
    shutdown: Shutdown,
) -> Body {
    let (body, chunks) = mpsc::channel::<Chunk>(CHUNKS_WAITING);
    tokio::spawn(async move {
        let _slot = slot;
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
                Ok(record) if filter.matches(&record) => {
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

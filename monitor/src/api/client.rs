//! The command line's side of the API: blocking calls over the Unix socket. One request a call;
//! every failure is one line that says what to do.

use std::{
    error::Error,
    io,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, client::conn::http1, header, http::request};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{net::UnixStream, runtime::Runtime};

use super::ErrorBody;

/// Longest line that is read; a longer one is no answer of this API.
const LINE_BYTES_MAX: usize = 4 * 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no daemon answers at {0}: is geofenced running? `systemctl status geofenced` says")]
    NoDaemon(PathBuf),
    #[error("no permission to ask the daemon at {0}: run as root, or join the group geofenced")]
    Forbidden(PathBuf),
    #[error("the daemon refused: {0}")]
    Refused(String),
    #[error("the daemon's answer broke off: {0}")]
    BrokeOff(String),
    #[error("the daemon's answer can't be understood: {0}; are daemon and command of one version?")]
    NotUnderstood(String),
    #[error("the connection to the daemon failed: {0}")]
    Connection(io::Error),
}

impl ClientError {
    /// Whether nobody is there to ask, so that the ledger may be read instead.
    pub const fn is_absent(&self) -> bool {
        matches!(self, Self::NoDaemon(_))
    }
}

type BoxError = Box<dyn Error + Send + Sync>;

/// Asks one daemon.
#[derive(Debug)]
pub struct Client {
    socket: PathBuf,
    runtime: Runtime,
}

impl Client {
    pub fn new(socket: &Path) -> Result<Self, ClientError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Ok(Self { socket: socket.to_owned(), runtime: runtime.map_err(ClientError::Connection)? })
    }

    /// One JSON document.
    pub fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        parameters: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.runtime.block_on(async { document(self.request(path, parameters).await?).await })
    }

    /// Puts one JSON document there, and gets one.
    pub fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(not_understood)?;
        self.runtime.block_on(async {
            let request = Request::post(path).header(header::CONTENT_TYPE, "application/json");
            document(self.send(request, body.into()).await?).await
        })
    }

    /// Each line of an NDJSON answer, without its end, until `each` has enough.
    pub fn lines<E: From<ClientError>>(
        &self,
        path: &str,
        parameters: &impl Serialize,
        mut each: impl FnMut(&[u8]) -> Result<ControlFlow<()>, E>,
    ) -> Result<(), E> {
        self.runtime.block_on(async {
            let mut body = self.request(path, parameters).await?.into_body();
            let mut waiting: Vec<u8> = Vec::new();
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(broke_off)?;
                let Some(chunk) = frame.data_ref() else { continue };
                waiting.extend_from_slice(chunk);
                let mut start = 0;
                while let Some(length) = waiting[start..].iter().position(|byte| *byte == b'\n') {
                    let line = &waiting[start..start + length];
                    start += length + 1;
                    refuse_error_line(line)?;
                    if each(line)?.is_break() {
                        return Ok(());
                    }
                }
                waiting.drain(..start);
                if waiting.len() > LINE_BYTES_MAX {
                    return Err(not_understood("a line is too long").into());
                }
            }
            if waiting.is_empty() {
                Ok(())
            } else {
                Err(broke_off("in the middle of a line").into())
            }
        })
    }

    async fn request(
        &self,
        path: &str,
        parameters: &impl Serialize,
    ) -> Result<Response<Incoming>, ClientError> {
        let query = serde_urlencoded::to_string(parameters).map_err(not_understood)?;
        self.send(Request::get(format!("{path}?{query}")), Bytes::new()).await
    }

    async fn send(
        &self,
        request: request::Builder,
        body: Bytes,
    ) -> Result<Response<Incoming>, ClientError> {
        let stream =
            UnixStream::connect(&self.socket).await.map_err(|error| match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    ClientError::NoDaemon(self.socket.clone())
                }
                io::ErrorKind::PermissionDenied => ClientError::Forbidden(self.socket.clone()),
                _ => ClientError::Connection(error),
            })?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(broke_off)?;
        // Ends with the connection; its error is also the sender's or the body's.
        tokio::spawn(connection);
        let request = request
            .header(header::HOST, "geofenced")
            .body(Full::new(body))
            .map_err(not_understood)?;
        let response = sender.send_request(request).await.map_err(broke_off)?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body = response.into_body().collect().await.map_err(broke_off)?.to_bytes();
        let refusal = serde_json::from_slice::<ErrorBody>(&body);
        Err(ClientError::Refused(refusal.map_or_else(|_| status.to_string(), |body| body.error)))
    }
}

/// An answer that failed after its first lines says so in its last.
fn refuse_error_line(line: &[u8]) -> Result<(), ClientError> {
    if !line.starts_with(br#"{"error":"#) {
        return Ok(());
    }
    let body: ErrorBody = serde_json::from_slice(line).map_err(not_understood)?;
    Err(ClientError::BrokeOff(body.error))
}

async fn document<T: DeserializeOwned>(answer: Response<Incoming>) -> Result<T, ClientError> {
    let body = answer.into_body().collect().await.map_err(broke_off)?.to_bytes();
    serde_json::from_slice(&body).map_err(not_understood)
}

fn broke_off(error: impl Into<BoxError>) -> ClientError {
    ClientError::BrokeOff(error.into().to_string())
}

fn not_understood(error: impl Into<BoxError>) -> ClientError {
    ClientError::NotUnderstood(error.into().to_string())
}

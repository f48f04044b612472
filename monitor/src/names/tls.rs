//! The server name in a TLS `ClientHello` (RFC 8446, 4.1.2; RFC 6066, 3), also where the rest of it
//! is still to come. Written out here: the parsers there are want the whole message, and a hello
//! with post-quantum keys seldom is in one packet.

use std::sync::Arc;

use super::host;

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;

/// Why there is no name (yet).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    #[error("the name may be in what is still to come")]
    Incomplete,
    #[error("no ClientHello")]
    Malformed,
}

/// What is left of something.
#[derive(Clone, Copy)]
struct Reader<'b> {
    /// What is there.
    bytes: &'b [u8],
    /// How much there is said to be; more than `bytes` where the rest is still to come.
    length: usize,
}

impl<'b> Reader<'b> {
    fn take(&mut self, count: usize) -> Result<&'b [u8], TlsError> {
        if count > self.length {
            return Err(TlsError::Malformed);
        }
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or(TlsError::Incomplete)?;
        (self.bytes, self.length) = (rest, self.length - count);
        Ok(taken)
    }

    fn number(&mut self, bytes: usize) -> Result<usize, TlsError> {
        Ok(self.take(bytes)?.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
    }

    /// Something behind its length of so many bytes.
    fn vector(&mut self, length_bytes: usize) -> Result<Reader<'b>, TlsError> {
        let length = self.number(length_bytes)?;
        if length > self.length {
            return Err(TlsError::Malformed);
        }
        let (inner, rest) = self.bytes.split_at(length.min(self.bytes.len()));
        (self.bytes, self.length) = (rest, self.length - length);
        Ok(Reader { bytes: inner, length })
    }
}

/// The name in a stream of TLS records that begins with a `ClientHello`. `None`: it has none.
pub fn client_hello(stream: &[u8]) -> Result<Option<Arc<str>>, TlsError> {
    if stream.first().is_some_and(|first| *first != HANDSHAKE) {
        return Err(TlsError::Malformed);
    }
    let mut handshake = Vec::new();
    let mut rest = stream;
    // Whatever the stream holds, the handshake is shorter than it.
    while let Some((head, tail)) = rest.split_first_chunk::<5>() {
        if head[0] != HANDSHAKE || head[1] != 3 {
            break;
        }
        let length = usize::from(u16::from_be_bytes([head[3], head[4]]));
        let (record, tail) = tail.split_at(length.min(tail.len()));
        handshake.extend_from_slice(record);
        rest = tail;
    }
    handshake_hello(&handshake)
}

/// The same without records, as QUIC carries it (RFC 9001, 4.1.3).
pub fn handshake_hello(handshake: &[u8]) -> Result<Option<Arc<str>>, TlsError> {
    let mut message = Reader { bytes: handshake, length: usize::MAX };
    if message.number(1)? != usize::from(CLIENT_HELLO) {
        return Err(TlsError::Malformed);
    }
    let mut hello = message.vector(3)?;
    // Version and random.
    hello.take(2 + 32)?;
    for length_bytes in [1, 2, 1] {
        // Session, cipher suites, compression. A part of one says that the rest is to come.
        let part = hello.vector(length_bytes)?;
        if part.bytes.len() < part.length {
            return Err(TlsError::Incomplete);
        }
    }
    if hello.length == 0 {
        return Ok(None);
    }
    let mut extensions = hello.vector(2)?;
    while extensions.length > 0 {
        let kind = extensions.number(2)?;
        let extension = extensions.vector(2)?;
        if kind == usize::from(SERVER_NAME) {
            return server_name(extension);
        }
    }
    Ok(None)
}

fn server_name(mut extension: Reader<'_>) -> Result<Option<Arc<str>>, TlsError> {
    let mut names = extension.vector(2)?;
    while names.length > 0 {
        let kind = names.number(1)?;
        let mut name = names.vector(2)?;
        if kind == usize::from(HOST_NAME) {
            return Ok(host::of_text(name.take(name.length)?));
        }
    }
    Ok(None)
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;

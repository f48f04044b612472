//! The server name in a TLS `ClientHello` (RFC 8446, 4.1.2; RFC 6066, 3), wherever in a stream that
//! begins, also where the rest of it is still to come. Written out here: the parsers there are want the whole message, and a hello
//! with post-quantum keys seldom is in one packet.

use std::sync::Arc;

use super::host;

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;

/// Longest record (RFC 8446, 5.1), and longest hello that servers take.
const RECORD_MAX: usize = 1 << 14;
const HELLO_MAX: usize = 1 << 17;
/// Places of a stream where a hello may begin that are looked at.
const BEGINNINGS_MAX: usize = 8;

/// What a stream holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A hello, and the name in it if it has one.
    Hello(Option<Arc<str>>),
    /// A hello has begun, of which more is to come.
    Begun,
    /// The last few bytes may be the first of one.
    Maybe,
    Nothing,
    /// It may begin in more places than are looked at.
    TooMany,
}

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

/// The first `ClientHello` in a stream. Before it may be whatever a protocol says until it goes on in
/// TLS: a preamble of which nobody has a complete list, and which a client may send with the hello.
pub fn find(stream: &[u8]) -> Found {
    let mut looked_at = 0;
    let mut found = Found::Nothing;
    let mut at = 0;
    while let Some(next) = stream[at..].iter().position(|byte| *byte == HANDSHAKE) {
        at += next;
        if may_begin(&stream[at..]) {
            looked_at += 1;
            if looked_at > BEGINNINGS_MAX {
                return Found::TooMany;
            }
            match client_hello(&stream[at..]) {
                Ok(name) => return Found::Hello(name),
                // Six bytes look like one by chance once in a lifetime.
                Err(TlsError::Incomplete) if at == 0 || stream.len() - at >= 6 => {
                    found = Found::Begun;
                }
                Err(TlsError::Incomplete) if found == Found::Nothing => found = Found::Maybe,
                Err(_) => {}
            }
        }
        at += 1;
    }
    found
}

/// Whether the first bytes, as far as they are there, are those of a record with a hello.
fn may_begin(bytes: &[u8]) -> bool {
    let is = |at: usize, is_right: fn(u8) -> bool| bytes.get(at).is_none_or(|byte| is_right(*byte));
    is(0, |byte| byte == HANDSHAKE)
        && is(1, |major| major == 3)
        && is(2, |minor| minor <= 4)
        && is(5, |kind| kind == CLIENT_HELLO)
}

/// The name in a stream of TLS records that begins with a `ClientHello`. `None`: it has none.
pub fn client_hello(stream: &[u8]) -> Result<Option<Arc<str>>, TlsError> {
    let mut handshake = Vec::new();
    let mut rest = stream;
    // Whatever the stream holds, the handshake is shorter than it.
    while !rest.is_empty() {
        let is_record = rest[0] == HANDSHAKE
            && rest.get(1).is_none_or(|major| *major == 3)
            && rest.get(2).is_none_or(|minor| *minor <= 4);
        if !is_record {
            return whole_or_malformed(&handshake);
        }
        let Some((head, tail)) = rest.split_first_chunk::<5>() else { break };
        let length = usize::from(u16::from_be_bytes([head[3], head[4]]));
        // An empty record of handshake is forbidden.
        if length == 0 || length > RECORD_MAX {
            return whole_or_malformed(&handshake);
        }
        let (record, tail) = tail.split_at(length.min(tail.len()));
        handshake.extend_from_slice(record);
        rest = tail;
        if handshake.len() > HELLO_MAX {
            break;
        }
    }
    handshake_hello(&handshake)
}

/// Nothing may stand between the records of one message.
fn whole_or_malformed(handshake: &[u8]) -> Result<Option<Arc<str>>, TlsError> {
    handshake_hello(handshake).map_err(|_| TlsError::Malformed)
}

/// The same without records, as QUIC carries it (RFC 9001, 4.1.3).
pub fn handshake_hello(handshake: &[u8]) -> Result<Option<Arc<str>>, TlsError> {
    let mut message = Reader { bytes: handshake, length: usize::MAX };
    if message.number(1)? != usize::from(CLIENT_HELLO) {
        return Err(TlsError::Malformed);
    }
    let mut hello = message.vector(3)?;
    let is_hello = (2 + 32 + 4..=HELLO_MAX).contains(&hello.length)
        && hello.bytes.first().is_none_or(|major| *major == 3);
    if !is_hello {
        return Err(TlsError::Malformed);
    }
    // Version and random.
    hello.take(2 + 32)?;
    for (length_bytes, most) in [(1, 32), (2, usize::MAX), (1, usize::MAX)] {
        // Session, cipher suites, compression. A part of one says that the rest is to come.
        let part = hello.vector(length_bytes)?;
        if part.length > most {
            return Err(TlsError::Malformed);
        }
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

//! What begins an encrypted connection over TCP, made by hand: a TLS `ClientHello`. Also the unit tests' way to
//! make it.

/// A handshake message that names `server`, `padding` bytes of another extension before it.
pub(crate) fn client_hello(server: &str, padding: usize) -> Vec<u8> {
    let mut entry = vec![0];
    entry.extend(with_length(2, server.as_bytes()));
    let mut extensions = Vec::new();
    // Padding (RFC 7685), then the server name (RFC 6066).
    for (kind, data) in [(21_u16, vec![0; padding]), (0, with_length(2, &entry))] {
        extensions.extend(kind.to_be_bytes());
        extensions.extend(with_length(2, &data));
    }
    let mut hello = vec![3, 3];
    hello.extend([7; 32]);
    hello.extend(with_length(1, &[9; 32]));
    hello.extend(with_length(2, &[0x13, 0x01, 0x13, 0x02]));
    hello.extend(with_length(1, &[0]));
    hello.extend(with_length(2, &extensions));
    let mut message = vec![1];
    message.extend(with_length(3, &hello));
    message
}

/// A TLS record of handshake.
pub(crate) fn record(handshake: &[u8]) -> Vec<u8> {
    [&[22, 3, 1][..], &with_length(2, handshake)].concat()
}

fn with_length(length_bytes: usize, data: &[u8]) -> Vec<u8> {
    [&(data.len() as u32).to_be_bytes()[4 - length_bytes..], data].concat()
}

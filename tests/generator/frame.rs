//! A frame of QUIC that carries a handshake. Also the unit tests' way to make it.

/// A `CRYPTO` frame (RFC 9000, 19.6).
pub(crate) fn crypto(offset: u16, data: &[u8]) -> Vec<u8> {
    let short = |number: u16| (0x4000 | number).to_be_bytes();
    [&[6][..], &short(offset), &short(data.len() as u16), data].concat()
}

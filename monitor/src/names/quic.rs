//! QUIC Initial packets (RFC 9001, RFC 9369): their keys follow from the connection id that the
//! client chose, so whoever sees the packet can read its `CRYPTO` frames. Nothing later is readable.

use aes_gcm::{
    AeadInOut, Aes128Gcm, KeyInit,
    aes::{Aes128, cipher::BlockCipherEncrypt},
};
use hkdf::Hkdf;
use sha2::Sha256;

/// Frames that are looked at in one datagram.
const FRAMES_MAX: usize = 256;
/// Initial packets of one datagram whose keys are derived: an honest client sends one, and what is
/// seen at once holds three of its datagrams.
const INITIALS_MAX: usize = 4;
/// Longest connection id (RFC 9000, 17.2).
const ID_MAX: usize = 20;
const SAMPLE: usize = 16;
const TAG: usize = 16;

const SALT_1: [u8; 20] = [
    0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad,
    0xcc, 0xbb, 0x7f, 0x0a,
];
const SALT_2: [u8; 20] = [
    0x0d, 0xed, 0xe3, 0xde, 0xf7, 0x00, 0xa6, 0xdb, 0x81, 0x93, 0x81, 0xbe, 0x6e, 0x26, 0x9d, 0xcb,
    0xf9, 0xbd, 0x2e, 0xd9,
];

/// What a client's packet tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Initial {
    /// From which the keys followed.
    pub connection_id: Vec<u8>,
    /// Pieces of the handshake, and where in it they begin.
    pub crypto: Vec<(u64, Vec<u8>)>,
}

/// Lengths of the identifier that a client makes up for the server (RFC 9000, 7.2).
const MADE_UP: std::ops::RangeInclusive<usize> = 8..=ID_MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuicError {
    #[error("no Initial packet of a known version")]
    Malformed,
    #[error("an Initial packet that a client's keys do not open")]
    Sealed,
    #[error("a version of QUIC that nobody here knows")]
    Version,
}

/// Reads the Initial packets of a datagram, or of several that left as one; at least one. `known`:
/// connection ids that opened earlier datagrams of this flow. The server has had the client change
/// it since, or has sent a Retry, from whose id on there are new keys (RFC 9001, 5.2).
pub fn initials(datagram: &[u8], known: &[&[u8]]) -> Result<Vec<Initial>, QuicError> {
    let mut found = Vec::new();
    let mut rest = datagram;
    let mut problem =
        if is_of_other_version(datagram) { QuicError::Version } else { QuicError::Malformed };
    let mut tried = 0;
    while tried < INITIALS_MAX
        && let Some((packet, tail)) = Packet::split(rest)
    {
        rest = tail;
        // Keys cost far more than packets too short to be opened.
        let Some(sample) = packet.sample().filter(|_| packet.is_initial) else { continue };
        tried += 1;
        let others = known.iter().rev().filter(|id| **id != packet.connection_id);
        let mut ids = [packet.connection_id].into_iter().chain(others.copied());
        let Some((id, plain)) = ids.find_map(|id| Some((id, packet.open(id, sample)?))) else {
            problem = QuicError::Sealed;
            continue;
        };
        let mut initial = Initial { connection_id: id.to_vec(), crypto: Vec::new() };
        frames(&plain, &mut initial.crypto);
        found.push(initial);
    }
    if found.is_empty() { Err(problem) } else { Ok(found) }
}

/// A client's first datagram in a version that has no place in here (RFC 8999, 5.1).
fn is_of_other_version(datagram: &[u8]) -> bool {
    let mut rest = datagram;
    let mut head = || {
        let first = *take(&mut rest, 1)?.first()?;
        let version = take(&mut rest, 4)?;
        let is_known = matches!(version, [0, 0, 0, 0 | 1] | [0x6b, 0x33, 0x43, 0xcf]);
        let made_up = identifier(&mut rest)?;
        identifier(&mut rest)?;
        Some(first & 0xc0 == 0xc0 && !is_known && MADE_UP.contains(&made_up.len()))
    };
    head().unwrap_or(false)
}

/// A packet with a long header.
struct Packet<'d> {
    bytes: &'d [u8],
    is_initial: bool,
    is_version_2: bool,
    connection_id: &'d [u8],
    /// Where the protected packet number begins.
    number_at: usize,
}

impl<'d> Packet<'d> {
    /// The first packet, and what follows it.
    fn split(datagram: &'d [u8]) -> Option<(Self, &'d [u8])> {
        let mut rest = datagram;
        let first = *take(&mut rest, 1)?.first()?;
        let is_version_2 = match take(&mut rest, 4)? {
            [0, 0, 0, 1] => false,
            [0x6b, 0x33, 0x43, 0xcf] => true,
            _ => return None,
        };
        if first & 0xc0 != 0xc0 {
            return None;
        }
        let is_initial = first >> 4 & 3 == u8::from(is_version_2);
        let connection_id = identifier(&mut rest)?;
        identifier(&mut rest)?;
        if is_initial {
            let token = varint(&mut rest)?;
            take(&mut rest, token)?;
        }
        // A Retry has no length, and nothing behind it.
        let length = varint(&mut rest)?;
        let number_at = datagram.len() - rest.len();
        take(&mut rest, length)?;
        let bytes = &datagram[..datagram.len() - rest.len()];
        Some((Self { bytes, is_initial, is_version_2, connection_id, number_at }, rest))
    }

    /// What the header's mask follows from (RFC 9001, 5.4.2); `None` if the packet is too short for
    /// it, and so for a number and a seal.
    fn sample(&self) -> Option<&[u8; SAMPLE]> {
        self.bytes.get(self.number_at + 4..)?.first_chunk()
    }

    /// The frames, if the client's keys for this connection id open it.
    fn open(&self, connection_id: &[u8], sample: &[u8; SAMPLE]) -> Option<Vec<u8>> {
        let keys = Keys::of_client(connection_id, self.is_version_2);
        let mask = keys.mask(*sample);
        let first = self.bytes[0] ^ (mask[0] & 0x0f);
        let number_bytes = usize::from(first & 3) + 1;
        let (header, sealed) = self.bytes.split_at_checked(self.number_at + number_bytes)?;
        let mut header = header.to_vec();
        header[0] = first;
        let mut nonce = keys.iv;
        for at in 0..number_bytes {
            header[self.number_at + at] ^= mask[1 + at];
            // The first packets' numbers are short: what is not sent of them is 0.
            nonce[nonce.len() - number_bytes + at] ^= header[self.number_at + at];
        }
        let (sealed, tag) = sealed.split_at_checked(sealed.len().checked_sub(TAG)?)?;
        let tag: [u8; TAG] = tag.try_into().ok()?;
        let mut plain = sealed.to_vec();
        let cipher = Aes128Gcm::new(&keys.key.into());
        cipher
            .decrypt_inout_detached(
                &nonce.into(),
                &header,
                plain.as_mut_slice().into(),
                &tag.into(),
            )
            .ok()?;
        Some(plain)
    }
}

/// What protects a client's Initial packets.
struct Keys {
    key: [u8; 16],
    iv: [u8; 12],
    header: [u8; 16],
}

impl Keys {
    fn of_client(connection_id: &[u8], is_version_2: bool) -> Self {
        let salt = if is_version_2 { SALT_2 } else { SALT_1 };
        let initial = Hkdf::<Sha256>::new(Some(&salt), connection_id);
        let mut secret = [0; 32];
        expand(&initial, "client in", &mut secret);
        let client = Hkdf::<Sha256>::from_prk(&secret).ok();
        let mut keys = Self { key: [0; 16], iv: [0; 12], header: [0; 16] };
        let prefix = if is_version_2 { "quicv2" } else { "quic" };
        if let Some(client) = client {
            expand(&client, &format!("{prefix} key"), &mut keys.key);
            expand(&client, &format!("{prefix} iv"), &mut keys.iv);
            expand(&client, &format!("{prefix} hp"), &mut keys.header);
        }
        keys
    }

    fn mask(&self, sample: [u8; SAMPLE]) -> [u8; SAMPLE] {
        let mut block = sample.into();
        Aes128::new(&self.header.into()).encrypt_block(&mut block);
        block.into()
    }
}

/// `HKDF-Expand-Label` without a context (RFC 8446, 7.1).
fn expand(from: &Hkdf<Sha256>, label: &str, into: &mut [u8]) {
    let mut info = (into.len() as u16).to_be_bytes().to_vec();
    info.push((6 + label.len()) as u8);
    info.extend_from_slice(b"tls13 ");
    info.extend_from_slice(label.as_bytes());
    info.push(0);
    // Fails beyond 8,160 bytes alone; then the zeroes open nothing.
    let _ = from.expand(&info, into);
}

/// Notes the pieces of the handshake among an Initial's frames (RFC 9000, 17.2.2).
fn frames(mut rest: &[u8], crypto: &mut Vec<(u64, Vec<u8>)>) {
    for _ in 0..FRAMES_MAX {
        while let [0, tail @ ..] = rest {
            rest = tail;
        }
        if frame(&mut rest, crypto).is_none() {
            return;
        }
    }
}

/// `None` at the end, and at what an Initial may not hold.
fn frame(rest: &mut &[u8], crypto: &mut Vec<(u64, Vec<u8>)>) -> Option<()> {
    const PING: u8 = 1;
    const ACK: u8 = 2;
    const ACK_ECN: u8 = 3;
    const CRYPTO: u8 = 6;
    match *take(rest, 1)?.first()? {
        PING => {}
        kind @ (ACK | ACK_ECN) => {
            // Largest and delay, the count of further ranges, the first range.
            varint(rest)?;
            varint(rest)?;
            let ranges = varint(rest)?;
            varint(rest)?;
            let further = ranges.checked_mul(2)?.checked_add(if kind == ACK { 0 } else { 3 })?;
            for _ in 0..further {
                varint(rest)?;
            }
        }
        CRYPTO => {
            let offset = varint(rest)? as u64;
            let length = varint(rest)?;
            crypto.push((offset, take(rest, length)?.to_vec()));
        }
        _ => return None,
    }
    Some(())
}

fn take<'b>(rest: &mut &'b [u8], count: usize) -> Option<&'b [u8]> {
    let (taken, tail) = rest.split_at_checked(count)?;
    *rest = tail;
    Some(taken)
}

fn identifier<'b>(rest: &mut &'b [u8]) -> Option<&'b [u8]> {
    let length = usize::from(*take(rest, 1)?.first()?);
    if length > ID_MAX {
        return None;
    }
    take(rest, length)
}

/// A number of 1, 2, 4 or 8 bytes (RFC 9000, 16).
fn varint(rest: &mut &[u8]) -> Option<usize> {
    let first = *rest.first()?;
    let bytes = take(rest, 1 << (first >> 6))?;
    let value = bytes.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    usize::try_from(value & (u64::MAX >> (66 - 8 * bytes.len()))).ok()
}

#[cfg(test)]
#[path = "quic_tests.rs"]
mod tests;

//! What begins an encrypted connection over QUIC, sealed by hand: Initial packets (RFC 9001, 5; RFC 9369). Also
//! the unit tests' way to make them.

use aes_gcm::{
    AeadInOut, Aes128Gcm, KeyInit,
    aes::{Aes128, cipher::BlockCipherEncrypt},
};
use hkdf::Hkdf;
use sha2::Sha256;

/// A datagram with one client's Initial packet of `frames`, padded to 1,200 bytes.
pub(crate) fn initial(
    connection_id: &[u8],
    number: u32,
    frames: &[u8],
    is_version_2: bool,
) -> Vec<u8> {
    const NUMBER_BYTES: usize = 4;
    const TAG: usize = 16;
    let version: u32 = if is_version_2 { 0x6b33_43cf } else { 1 };
    let mut header = vec![if is_version_2 { 0xd3 } else { 0xc3 }];
    header.extend(version.to_be_bytes());
    header.push(connection_id.len() as u8);
    header.extend(connection_id);
    // No source connection id, no token.
    header.extend([0, 0]);
    let payload = 1200 - header.len() - 2 - NUMBER_BYTES - TAG;
    header.extend((0x4000 | (NUMBER_BYTES + payload + TAG) as u16).to_be_bytes());
    let number_at = header.len();
    header.extend(number.to_be_bytes());

    let salt = if is_version_2 { SALT_2 } else { SALT_1 };
    let mut secret = [0; 32];
    expand(&Hkdf::new(Some(&salt), connection_id), "client in", &mut secret);
    let client = Hkdf::from_prk(&secret).expect("a secret of the hash's length");
    let prefix = if is_version_2 { "quicv2" } else { "quic" };
    let (mut key, mut nonce, mut header_key) = ([0; 16], [0; 12], [0; 16]);
    expand(&client, &format!("{prefix} key"), &mut key);
    expand(&client, &format!("{prefix} iv"), &mut nonce);
    expand(&client, &format!("{prefix} hp"), &mut header_key);
    nonce.iter_mut().skip(8).zip(number.to_be_bytes()).for_each(|(byte, it)| *byte ^= it);

    let mut sealed = frames.to_vec();
    sealed.resize(payload, 0);
    let tag = Aes128Gcm::new(&key.into())
        .encrypt_inout_detached(&nonce.into(), &header, sealed.as_mut_slice().into())
        .expect("a packet is short enough to seal");
    sealed.extend_from_slice(&tag);

    let mut mask = <[u8; 16]>::try_from(&sealed[..16]).expect("16 bytes").into();
    Aes128::new(&header_key.into()).encrypt_block(&mut mask);
    header[0] ^= mask[0] & 0x0f;
    header[number_at..].iter_mut().zip(&mask[1..]).for_each(|(byte, it)| *byte ^= it);
    [header, sealed].concat()
}

const SALT_1: [u8; 20] =
    *b"\x38\x76\x2c\xf7\xf5\x59\x34\xb3\x4d\x17\x9a\xe6\xa4\xc8\x0c\xad\xcc\xbb\x7f\x0a";
const SALT_2: [u8; 20] =
    *b"\x0d\xed\xe3\xde\xf7\x00\xa6\xdb\x81\x93\x81\xbe\x6e\x26\x9d\xcb\xf9\xbd\x2e\xd9";

fn expand(from: &Hkdf<Sha256>, label: &str, into: &mut [u8]) {
    let length = (into.len() as u16).to_be_bytes();
    let label = format!("tls13 {label}");
    let info = [&length[..], &[label.len() as u8], label.as_bytes(), &[0]].concat();
    from.expand(&info, into).expect("a short key");
}

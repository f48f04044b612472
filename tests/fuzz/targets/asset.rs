//! The embedded country database's format. The checksum at its end is mended and its columns are
//! compressed here, since no mutation does; what is then read must come out the same when written.
#![no_main]

use assets::{HASH, country};
use libfuzzer_sys::fuzz_target;
use sha2::{Digest, Sha256};

/// `body` with what comes after the codes compressed, and the checksum of it all.
fn seal(body: &[u8]) -> Vec<u8> {
    let mut bytes = body.to_vec();
    if let (Some(countries), Some(source)) = (u16_at(body, 10), u16_at(body, 28)) {
        let columns = 30 + usize::from(source) + 2 * usize::from(countries);
        if let Some((head, columns)) = body.split_at_checked(columns) {
            bytes = head.to_vec();
            bytes.extend(zstd::bulk::compress(columns, 1).expect("a bounded buffer"));
        }
    }
    let hash = Sha256::digest(&bytes);
    bytes.extend(hash.as_slice());
    bytes
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fuzz_target!(|bytes: &[u8]| {
    // As they are, with the checksum mended, and with the columns compressed.
    let _ = country::decode(bytes);
    let body = &bytes[..bytes.len().saturating_sub(HASH)];
    let mended = [body, Sha256::digest(body).as_slice()].concat();
    for bytes in [mended, seal(bytes)] {
        let Ok(asset) = country::decode(&bytes) else { continue };
        for starts in [asset.v4.starts.len(), asset.v6.starts.len()] {
            assert!(starts > 0);
        }
        assert!(asset.v4.starts.is_sorted_by(|a, b| a < b));
        assert!(asset.v6.starts.is_sorted_by(|a, b| a < b));
        let written = country::encode(&asset).expect("write it");
        assert_eq!(country::decode(&written), Ok(asset));
    }
});

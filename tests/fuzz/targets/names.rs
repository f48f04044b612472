//! What peers put into DNS messages, TLS and QUIC handshakes: any bytes are a name or an error, and a
//! name is one that may be shown.
#![no_main]

use geofenced::inside::names::{dns, quic, tls};
use libfuzzer_sys::fuzz_target;

#[path = "../../generator/initial.rs"]
mod initial;

/// Longer is no name (RFC 1035, 2.3.4).
const NAME_MAX: usize = 253;

fn assert_showable(name: &str) {
    assert!(name.len() <= NAME_MAX, "{} bytes", name.len());
    assert!(name.bytes().all(|byte| byte.is_ascii_graphic()), "{name:?}");
    assert!(!name.bytes().any(|byte| byte.is_ascii_uppercase()), "{name:?}");
}

fuzz_target!(|bytes: &[u8]| {
    let Some((way, bytes)) = bytes.split_first() else { return };
    match way % 7 {
        0 => {
            if let Ok(question) = dns::query(bytes) {
                assert_showable(&question.name);
            }
        }
        1 => {
            if let Ok(answer) = dns::answer(bytes) {
                assert_showable(&answer.question.name);
            }
        }
        2 => {
            if let Ok(Some(name)) = tls::client_hello(bytes) {
                assert_showable(&name);
            }
        }
        3 => {
            if let Ok(Some(name)) = tls::handshake_hello(bytes) {
                assert_showable(&name);
            }
        }
        4 => {
            // Frames that a client could have sealed, and a handshake put together of them.
            let datagram = initial::initial(&[7; 8], 0, bytes, false);
            for initial in quic::initials(&datagram, &[]).unwrap_or_default() {
                for (_, piece) in &initial.crypto {
                    let _ = tls::handshake_hello(piece);
                }
            }
        }
        5 => {
            // The identifier of the first datagram, of which the keys are made, and the datagram.
            let (first, datagram) = bytes.split_at(bytes.len().min(8));
            let _ = quic::initials(bytes, &[]);
            let _ = quic::initials(datagram, &[first]);
        }
        _ => {
            if let tls::Found::Hello(Some(name)) = tls::find(bytes) {
                assert_showable(&name);
            }
        }
    }
});

//! What a `ClientHello` tells, whole, in part, or broken.

use proptest::prelude::*;

use super::{
    super::hello::{client_hello as message, record},
    *,
};

#[test]
fn the_server_name_is_found_in_lower_case() {
    let stream = record(&message("WWW.Example.ORG", 0));
    assert_eq!(client_hello(&stream).unwrap().as_deref(), Some("www.example.org"));
}

#[test]
fn a_hello_cut_anywhere_is_incomplete_until_its_name_is_there() {
    let stream = record(&message("example.org", 1500));
    for cut in 0..stream.len() {
        assert_eq!(client_hello(&stream[..cut]), Err(TlsError::Incomplete), "cut at {cut}");
    }
    assert!(client_hello(&stream).unwrap().is_some());
}

#[test]
fn a_hello_in_several_records_is_read_as_one() {
    let whole = message("example.org", 300);
    let stream: Vec<u8> = whole.chunks(100).flat_map(record).collect();
    assert_eq!(client_hello(&stream).unwrap().as_deref(), Some("example.org"));
}

#[test]
fn what_names_an_address_or_nothing_gives_no_name() {
    assert_eq!(client_hello(&record(&message("192.0.2.1", 0))), Ok(None));
    assert_eq!(client_hello(&record(&message("", 0))), Ok(None));
}

#[test]
fn a_server_hello_and_lengths_that_lie_are_malformed() {
    let mut answer = message("example.org", 0);
    answer[0] = 2;
    assert_eq!(handshake_hello(&answer), Err(TlsError::Malformed));
    let mut lying = message("example.org", 0);
    // The session's length.
    lying[4 + 34] = 0xff;
    assert_eq!(handshake_hello(&lying), Err(TlsError::Malformed));
    assert_eq!(client_hello(b"GET / HTTP/1.1"), Err(TlsError::Malformed));
}

#[test]
fn a_hello_is_found_behind_whatever_a_protocol_says_before_it() {
    let hello = record(&message("evil.example", 1500));
    let preambles: [&[u8]; 6] = [
        b"EHLO host\r\nSTARTTLS\r\n",
        // SSLRequest of PostgreSQL.
        b"\0\0\0\x08\x04\xd2\x16\x2f",
        b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        // SOCKS 5, and version 2 of the PROXY protocol.
        b"\x05\x01\x00\x05\x01\x00\x01\xcb\x00\x71\x07\x01\xbb",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x07\xcb\0\x71\x08\x16\x03\x01\xbb",
        b"",
    ];
    for preamble in preambles {
        let stream = [preamble, &hello].concat();
        assert_eq!(find(&stream), Found::Hello(Some("evil.example".into())), "{preamble:?}");
        // All but the name: it is said that there is one.
        assert_eq!(find(&stream[..stream.len() - 20]), Found::Begun, "{preamble:?}");
        let alone = find(preamble);
        assert!(matches!(alone, Found::Nothing | Found::Maybe), "{preamble:?}: {alone:?}");
    }
}

#[test]
fn the_first_bytes_of_a_hello_at_the_end_of_a_stream_may_be_one() {
    let hello = record(&message("evil.example", 0));
    for bytes in 1..6 {
        let stream = [&b"hello"[..], &hello[..bytes]].concat();
        assert_eq!(find(&stream), Found::Maybe, "{bytes}");
        assert_eq!(find(&hello[..bytes]), Found::Begun, "{bytes}");
    }
}

#[test]
fn what_is_between_the_records_of_a_hello_makes_it_none() {
    let whole = message("example.org", 300);
    let (first, rest) = whole.split_at(100);
    let alert = [21, 3, 3, 0, 2, 1, 0];
    let empty = [22, 3, 3, 0, 0];
    for between in [&alert[..], &empty] {
        let stream = [&record(first), between, &record(rest)].concat();
        assert_eq!(client_hello(&stream), Err(TlsError::Malformed));
    }
}

#[test]
fn decoys_cost_little_and_are_told_from_nothing() {
    let decoy = b"\x16\x03\x01\x3f\xff\x01\x00\x3f\x00\x03\x03";
    assert_eq!(find(&decoy.repeat(BEGINNINGS_MAX)), Found::Begun);
    assert_eq!(find(&decoy.repeat(3000)), Found::TooMany);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = client_hello(&bytes);
        let _ = handshake_hello(&bytes);
        let _ = find(&bytes);
    }

    #[test]
    fn no_changed_byte_makes_it_panic(at in 0_usize..200, to: u8, padding in 0_usize..50) {
        let mut stream = record(&message("example.org", padding));
        let at = at % stream.len();
        stream[at] = to;
        let _ = client_hello(&stream);
        let _ = find(&stream);
    }
}

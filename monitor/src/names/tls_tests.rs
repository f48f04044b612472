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

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = client_hello(&bytes);
        let _ = handshake_hello(&bytes);
    }

    #[test]
    fn no_changed_byte_makes_it_panic(at in 0_usize..200, to: u8, padding in 0_usize..50) {
        let mut stream = record(&message("example.org", padding));
        let at = at % stream.len();
        stream[at] = to;
        let _ = client_hello(&stream);
    }
}

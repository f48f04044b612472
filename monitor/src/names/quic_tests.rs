//! Against the packets of RFC 9001, appendix A.2, and RFC 9369, appendix A.2, and whatever else may
//! come.

use proptest::prelude::*;

use super::{
    super::{frame, hello, initial as sealed},
    *,
};

const ID: [u8; 8] = [0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08];

/// The frames of both appendices, without the padding.
const FRAMES: &str = "060040f1010000ed0303ebf8fa56f12939b9584a3896472ec40bb863cfd3e868\
    04fe3a47f06a2b69484c00000413011302010000c000000010000e00000b6578\
    616d706c652e636f6dff01000100000a00080006001d00170018001000070005\
    04616c706e000500050100000000003300260024001d00209370b2c9caa47fba\
    baf4559fedba753de171fa71f50f1ce15d43e994ec74d748002b000302030400\
    0d0010000e0403050306030203080408050806002d00020101001c0002400100\
    3900320408ffffffffffffffff05048000ffff07048000ffff08011001048000\
    75300901100f088394c8f03e51570806048000ffff";

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn name(initial: &Initial) -> Option<String> {
    let mut pieces = super::super::streams::Pieces::default();
    for (at, piece) in &initial.crypto {
        assert!(pieces.put(*at as usize, piece));
    }
    let name = super::super::tls::handshake_hello(&pieces.beginning()).ok()??;
    Some(name.to_string())
}

/// The beginning and the seal of the packets in the appendices: with these the rest is as there.
/// All that the datagram tells, as one.
fn initial(datagram: &[u8], known: Option<&[u8]>) -> Result<Initial, QuicError> {
    let found = initials(datagram, known.as_slice())?;
    let connection_id = found[0].connection_id.clone();
    Ok(Initial { connection_id, crypto: found.into_iter().flat_map(|it| it.crypto).collect() })
}

#[test]
fn the_packets_of_the_rfcs_are_opened() {
    let cases = [
        (
            false,
            "c000000001088394c8f03e5157080000449e7b9aec34d1b1c98dd7689fb8ec11d242b123dc9b",
            "e221af44860018ab0856972e194cd934",
        ),
        (
            true,
            "d76b3343cf088394c8f03e5157080000449ea0c95e82ffe67b6abcdb4298b485dd04de806071",
            "a18b2faa745b6fe189cf772a9f84cbfc",
        ),
    ];
    for (is_version_2, beginning, seal) in cases {
        let packet = sealed::initial(&ID, 2, &hex(FRAMES), is_version_2);
        assert_eq!(packet.len(), 1200);
        assert!(packet.starts_with(&hex(beginning)) && packet.ends_with(&hex(seal)));
        let initial = initial(&packet, None).unwrap();
        assert_eq!(initial.connection_id, ID);
        assert_eq!(initial.crypto.len(), 1);
        assert_eq!(name(&initial).as_deref(), Some("example.com"));
    }
}

#[test]
fn a_hello_in_pieces_and_out_of_order_is_put_together() {
    let whole = hello::client_hello("example.org", 100);
    let mut frames = frame::crypto(60, &whole[60..]);
    // A PING, an ACK with one more range, padding.
    frames.extend([1, 2, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    frames.extend(frame::crypto(0, &whole[..60]));
    let initial = initial(&sealed::initial(&ID, 0, &frames, false), None).unwrap();
    assert_eq!(name(&initial).as_deref(), Some("example.org"));
}

#[test]
fn datagrams_that_left_as_one_are_read_as_two() {
    let whole = hello::client_hello("example.org", 1300);
    let first = sealed::initial(&ID, 0, &frame::crypto(0, &whole[..900]), false);
    let second = sealed::initial(&ID, 1, &frame::crypto(900, &whole[900..]), false);
    let initial = initial(&[first, second].concat(), None).unwrap();
    assert_eq!(name(&initial).as_deref(), Some("example.org"));
}

#[test]
fn what_a_changed_connection_id_does_not_open_the_first_one_does() {
    let packet = sealed::initial(&ID, 0, &frame::crypto(0, b"hello"), false);
    // As if sealed with the keys of ID, and sent to another id.
    let mut moved = packet.clone();
    moved[6] ^= 1;
    assert_eq!(initial(&moved, None), Err(QuicError::Sealed));
    // The header is sealed too, so it does not open with ID either: nothing is believed unsealed.
    assert_eq!(initial(&moved, Some(&ID)), Err(QuicError::Sealed));
    assert!(initial(&packet, Some(b"another")).is_ok());
}

#[test]
fn a_packet_with_any_changed_bit_is_not_believed() {
    let packet = sealed::initial(&ID, 0, &frame::crypto(0, b"hello"), false);
    for at in (0..packet.len()).step_by(7) {
        let mut changed = packet.clone();
        changed[at] ^= 0x10;
        assert!(initial(&changed, None).is_err(), "byte {at}");
    }
}

/// Well formed, of no client's keys.
fn sealed(payload: usize) -> Vec<u8> {
    let mut packet = vec![0xc0, 0, 0, 0, 1, 0, 0, 0, payload as u8];
    packet.resize(packet.len() + payload, 0x55);
    packet
}

#[test]
fn packets_too_short_to_be_opened_cost_no_keys_and_none_of_the_tries() {
    for payload in 0..4 + SAMPLE {
        assert_eq!(initial(&sealed(payload), Some(&ID)), Err(QuicError::Malformed), "{payload}");
    }
    assert_eq!(initial(&sealed(4 + SAMPLE), Some(&ID)), Err(QuicError::Sealed));
    let mut datagram = sealed(1).repeat(300);
    datagram.extend(sealed::initial(&ID, 0, &frame::crypto(0, b"hello"), false));
    assert!(initial(&datagram, None).is_ok());
}

#[test]
fn keys_are_derived_for_a_few_packets_of_a_datagram() {
    let honest = sealed::initial(&ID, 0, &frame::crypto(0, b"hello"), false);
    let behind = |count| [sealed(4 + SAMPLE).repeat(count), honest.clone()].concat();
    assert!(initial(&behind(INITIALS_MAX - 1), None).is_ok());
    assert_eq!(initial(&behind(INITIALS_MAX), None), Err(QuicError::Sealed));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        head in prop::sample::select(vec![vec![0xc0, 0, 0, 0, 1], vec![0xd0, 0x6b, 0x33, 0x43, 0xcf], vec![]]),
        rest in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let _ = initial(&[head, rest].concat(), Some(&ID));
    }

    #[test]
    fn no_sealed_frames_make_it_panic(frames in prop::collection::vec(any::<u8>(), 0..1100)) {
        let initial = initial(&sealed::initial(&ID, 0, &frames, false), None).unwrap();
        prop_assert!(initial.crypto.len() <= FRAMES_MAX);
    }
}

#[test]
fn a_datagram_of_a_version_that_nobody_knows_is_told_from_what_is_no_quic() {
    let mut packet = sealed::initial(&ID, 0, &frame::crypto(0, b"hello"), false);
    for version in [0x1a2a_3a4a_u32, 0xff00_001d, 0x5130_3530] {
        packet[1..5].copy_from_slice(&version.to_be_bytes());
        assert_eq!(initials(&packet, &[]), Err(QuicError::Version), "{version:x}");
    }
    packet[5] = 7;
    assert_eq!(initials(&packet, &[]), Err(QuicError::Malformed));
    assert_eq!(initials(&[0xc0; 1200], &[]), Err(QuicError::Malformed));
}

#[test]
fn each_packet_is_opened_by_its_own_identifier_before_those_that_are_known() {
    let first = sealed::initial(&ID, 0, &frame::crypto(0, b"one"), false);
    let second = sealed::initial(b"retried!", 0, &frame::crypto(0, b"two"), false);
    let found = initials(&[first, second].concat(), &[]).unwrap();
    let ids: Vec<&[u8]> = found.iter().map(|it| it.connection_id.as_slice()).collect();
    assert_eq!(ids, [&ID[..], b"retried!"]);
}

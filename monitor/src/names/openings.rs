//! What a flow says first: the beginning of a TCP stream put together in order, in which a hello is
//! looked for, and the Initial packets of QUIC. Holds one flow; how many there are is not its to know.

use std::sync::Arc;

use super::{
    quic::{self, QuicError},
    streams::{Pieces, STREAM_BYTES},
    tls,
};

/// Connections of one QUIC flow whose hello is put together: a first, one after a Retry, one in
/// another version.
const ATTEMPTS_MAX: usize = 4;

/// What is known after a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Of each hello that is whole, the name, if it has one.
    Hello(Vec<Arc<str>>),
    /// There will be a hello, or it has begun: if it never comes, its name could not be read.
    Begun,
    /// The next bytes may tell.
    Maybe,
    /// Nothing that names.
    Nothing,
    /// There is a hello that nobody can read.
    Unreadable,
}

/// The beginning of a TCP stream.
#[derive(Debug)]
pub(super) struct Opening {
    /// Sequence number of its first byte.
    first: u32,
    pieces: Pieces,
    /// Something was left out.
    is_cut: bool,
}

impl Opening {
    pub(super) fn new(first: u32) -> Self {
        Self { first, pieces: Pieces::default(), is_cut: false }
    }

    pub(super) fn bytes(&self) -> usize {
        self.pieces.bytes()
    }

    /// A segment of `length` bytes, of which the first are `there`.
    pub(super) fn feed(&mut self, sequence: u32, there: &[u8], length: u32) -> Seen {
        let at = sequence.wrapping_sub(self.first).cast_signed();
        // What was before the first that was seen is of no use.
        let before = at.min(0).unsigned_abs();
        let there = there.get(before as usize..).unwrap_or_default();
        let length = length.saturating_sub(before);
        let at = at.max(0).unsigned_abs() as usize;
        let fits = at <= STREAM_BYTES && self.pieces.put(at, there);
        self.is_cut |= !fits || there.len() < length as usize;
        let stream = self.pieces.beginning();
        match tls::find(&stream) {
            tls::Found::Hello(name) => Seen::Hello(name.into_iter().collect()),
            tls::Found::TooMany => Seen::Unreadable,
            tls::Found::Begun if self.is_cut => Seen::Unreadable,
            tls::Found::Begun => Seen::Begun,
            tls::Found::Maybe | tls::Found::Nothing if announces(&stream) => {
                if self.is_cut {
                    Seen::Unreadable
                } else {
                    Seen::Begun
                }
            }
            tls::Found::Maybe if !self.is_cut => Seen::Maybe,
            tls::Found::Maybe | tls::Found::Nothing => Seen::Nothing,
        }
    }
}

/// Whether a stream says that it will go on in TLS: SMTP, IMAP, POP3, FTP, NNTP, XMPP, `PostgreSQL`,
/// and what asks an HTTP proxy to be let through. Others go on without a word that is worth reading.
fn announces(stream: &[u8]) -> bool {
    const SSL_REQUEST: &[u8] = b"\x00\x00\x00\x08\x04\xd2\x16\x2f";
    let is_word = |word: &[u8]| {
        let words: [&[u8]; 3] = [b"STARTTLS", b"STLS", b"CONNECT"];
        words.iter().any(|it| word.eq_ignore_ascii_case(it))
    };
    let announces = |line: &[u8]| {
        let mut words = line.trim_ascii().split(|byte| *byte == b' ');
        // IMAP has a tag before the command.
        let (first, second) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let is_auth = first.eq_ignore_ascii_case(b"AUTH")
            && [&b"TLS"[..], b"SSL"].iter().any(|it| second.eq_ignore_ascii_case(it));
        is_auth
            || is_word(first)
            || second.eq_ignore_ascii_case(b"STARTTLS")
            || line.trim_ascii().starts_with(b"<starttls")
    };
    // The one that asks for another encryption first comes as often before it as not.
    stream.chunks(8).take(2).any(|request| request == SSL_REQUEST)
        || stream.split(|byte| *byte == b'\n').any(announces)
}

/// The connections of a QUIC flow that have begun and not said a name yet.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    /// Each by the identifier from which its keys follow, in the order in which they began.
    known: Vec<(Vec<u8>, Pieces)>,
}

impl Attempts {
    pub(super) fn bytes(&self) -> usize {
        self.known.iter().map(|(_, pieces)| pieces.bytes()).sum()
    }

    pub(super) fn feed(&mut self, datagram: &[u8], is_cut: bool) -> Seen {
        let ids: Vec<&[u8]> = self.known.iter().map(|(id, _)| id.as_slice()).collect();
        let initials = match quic::initials(datagram, &ids) {
            Ok(initials) => initials,
            // A server's own Initial does not open with a client's keys: that is no error. After a
            // version that nobody knows comes one that is known, or a name that nobody reads.
            Err(problem) if self.known.is_empty() && problem != QuicError::Version => {
                return Seen::Nothing;
            }
            Err(_) => return Seen::Begun,
        };
        let mut names = Vec::new();
        let mut is_whole = false;
        let mut is_unreadable = is_cut;
        for initial in initials {
            let at = self.attempt(&initial.connection_id, &mut is_unreadable);
            for (offset, piece) in &initial.crypto {
                let offset = usize::try_from(*offset).unwrap_or(usize::MAX);
                is_unreadable |= offset > STREAM_BYTES || !self.known[at].1.put(offset, piece);
            }
            match tls::handshake_hello(&self.known[at].1.beginning()) {
                Err(tls::TlsError::Incomplete) => {}
                said => {
                    self.known.remove(at);
                    is_whole = true;
                    names.extend(said.ok().flatten());
                }
            }
        }
        match (is_whole, is_unreadable) {
            (true, _) => Seen::Hello(names),
            (false, true) => Seen::Unreadable,
            (false, false) => Seen::Begun,
        }
    }

    /// Where the connection with this identifier is; a new one takes the place of the oldest.
    fn attempt(&mut self, id: &[u8], is_unreadable: &mut bool) -> usize {
        if let Some(at) = self.known.iter().position(|(known, _)| known == id) {
            return at;
        }
        if self.known.len() >= ATTEMPTS_MAX {
            self.known.remove(0);
            *is_unreadable = true;
        }
        self.known.push((id.to_vec(), Pieces::default()));
        self.known.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            frame::crypto,
            hello::{client_hello, record},
            initial::initial,
        },
        *,
    };

    fn hello() -> Vec<u8> {
        record(&client_hello("evil.example", 1700))
    }

    fn named() -> Seen {
        Seen::Hello(vec!["evil.example".into()])
    }

    /// What is known after each segment of these sizes, the last of them again and again.
    fn fed(stream: &[u8], sizes: &[usize]) -> Vec<Seen> {
        let start = u32::MAX - 3;
        let mut opening = Opening::new(start);
        let mut sizes = sizes.iter().copied();
        let mut size = usize::MAX;
        let (mut at, mut seen) = (0, Vec::new());
        while at < stream.len() {
            size = sizes.next().unwrap_or(size);
            let segment = &stream[at..stream.len().min(at + size)];
            let sequence = start.wrapping_add(at as u32);
            seen.push(opening.feed(sequence, segment, segment.len() as u32));
            at += segment.len();
        }
        seen
    }

    #[test]
    fn a_hello_whose_first_segment_is_of_a_few_bytes_is_read_when_its_name_is_there() {
        for first in [1, 2, 5, 6, 9] {
            let seen = fed(&hello(), &[first, 1400]);
            assert_eq!(seen[0], Seen::Begun, "{first}");
            assert_eq!(seen.last(), Some(&named()), "{first}");
        }
    }

    #[test]
    fn a_name_behind_the_third_segment_is_read() {
        let seen = fed(&hello(), &[200]);
        assert!(seen.len() > 8);
        assert_eq!(seen.last(), Some(&named()));
        assert!(seen[..seen.len() - 1].iter().all(|seen| *seen == Seen::Begun));
    }

    #[test]
    fn a_hello_in_many_records_is_read() {
        let whole = client_hello("evil.example", 1700);
        let stream: Vec<u8> = whole.chunks(64).flat_map(record).collect();
        assert_eq!(fed(&stream, &[1, 500]).last(), Some(&named()));
    }

    #[test]
    fn a_hello_behind_what_a_protocol_says_first_is_read_also_in_the_same_segment() {
        let preambles: [&[&[u8]]; 4] = [
            &[b"EHLO host\r\n", b"STARTTLS\r\n"],
            &[b"a1 CAPABILITY\r\n", b"a2 STARTTLS\r\n"],
            &[b"\0\0\0\x08\x04\xd2\x16\x30", b"\0\0\0\x08\x04\xd2\x16\x2f"],
            &[b"CONNECT evil.example:443 HTTP/1.1\r\n\r\n"],
        ];
        for preamble in preambles {
            let sizes: Vec<usize> = preamble.iter().map(|it| it.len()).chain([700]).collect();
            let seen = fed(&[&preamble.concat()[..], &hello()].concat(), &sizes);
            assert_eq!(seen[preamble.len() - 1], Seen::Begun, "{preamble:?}");
            assert_eq!(seen.last(), Some(&named()), "{preamble:?}");
            let at_once = fed(&[&preamble.concat()[..], &hello()].concat(), &[usize::MAX]);
            assert_eq!(at_once, [named()], "{preamble:?}");
        }
    }

    #[test]
    fn a_stream_of_another_kind_holds_nothing() {
        for stream in [
            &b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"[..],
            b"SSH-2.0-OpenSSH_9.2\r\n",
            b"EHLO host\r\nMAIL FROM:<a@example.org>\r\n",
            &[0x17; 400],
        ] {
            assert!(fed(stream, &[3, 100]).iter().all(|seen| *seen == Seen::Nothing));
        }
        // By chance it ends like the beginning of one.
        assert_eq!(fed(b"bytes\x16", &[100]), [Seen::Maybe]);
    }

    #[test]
    fn a_segment_sent_again_or_overtaken_changes_nothing_and_one_that_is_missing_is_waited_for() {
        let stream = hello();
        let mut opening = Opening::new(10);
        let mut feed = |at: usize, until: usize| {
            opening.feed(10 + at as u32, &stream[at..until], (until - at) as u32)
        };
        assert_eq!(feed(0, 600), Seen::Begun);
        assert_eq!(feed(1200, stream.len()), Seen::Begun);
        assert_eq!(feed(0, 600), Seen::Begun);
        assert_eq!(feed(300, 1200), named());
    }

    #[test]
    fn a_hello_that_is_cut_or_larger_than_its_bound_is_unreadable() {
        let stream = hello();
        let mut opening = Opening::new(0);
        assert_eq!(opening.feed(0, &stream[..900], stream.len() as u32), Seen::Unreadable);
        let large = client_hello("evil.example", 60_000);
        let stream: Vec<u8> = large.chunks(16_000).flat_map(record).collect();
        let seen = fed(&stream, &[1400]);
        assert_eq!(seen.last(), Some(&Seen::Unreadable));
        assert!(!seen.contains(&named()));
    }

    #[test]
    fn a_protocol_that_announces_tls_and_never_says_it_has_begun() {
        assert_eq!(fed(b"EHLO a\r\nSTARTTLS\r\n", &[100]), [Seen::Begun]);
        assert_eq!(fed(b"AUTH TLS\r\n", &[100]), [Seen::Begun]);
        assert_eq!(
            fed(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", &[100]),
            [Seen::Begun]
        );
    }

    /// Initials of 500 bytes of the hello each.
    fn parts(id: &[u8]) -> Vec<Vec<u8>> {
        let hello = client_hello("evil.example", 2000);
        let part = |(number, part): (usize, &[u8])| {
            let frames = crypto((number * 500) as u16, part);
            initial(id, number as u32, &frames, false)
        };
        hello.chunks(500).enumerate().map(part).collect()
    }

    #[test]
    fn a_hello_in_five_initials_is_read_in_any_order_and_with_the_first_sent_again() {
        let parts = parts(b"12345678");
        assert_eq!(parts.len(), 5);
        for order in [&[0, 1, 2, 3, 4][..], &[0, 0, 1, 2, 0, 3, 4], &[4, 2, 2, 0, 3, 1]] {
            let mut attempts = Attempts::default();
            let seen: Vec<Seen> =
                order.iter().map(|at| attempts.feed(&parts[*at], false)).collect();
            assert_eq!(seen.last(), Some(&named()), "{order:?}");
            assert!(seen[..seen.len() - 1].iter().all(|it| *it == Seen::Begun), "{order:?}");
        }
    }

    #[test]
    fn after_a_version_that_the_server_does_not_know_or_a_retry_the_name_is_read() {
        let mut first = parts(b"12345678").remove(0);
        first[1..5].copy_from_slice(&[0x1a, 0x2a, 0x3a, 0x4a]);
        let mut attempts = Attempts::default();
        assert_eq!(attempts.feed(&first, false), Seen::Begun);
        // The first of an attempt that a Retry ends; then all of it under the identifier it gave.
        assert_eq!(attempts.feed(&parts(b"abcdefgh")[0], false), Seen::Begun);
        let seen: Vec<Seen> =
            parts(b"retried!").iter().map(|it| attempts.feed(it, false)).collect();
        assert_eq!(seen.last(), Some(&named()));
    }

    #[test]
    fn connections_without_end_on_one_flow_are_bounded_and_told_as_unreadable() {
        let mut attempts = Attempts::default();
        let mut last = Seen::Nothing;
        for number in 0..10_u64 {
            last = attempts.feed(&parts(&number.to_be_bytes())[0], false);
        }
        assert_eq!(last, Seen::Unreadable);
        assert_eq!(attempts.known.len(), ATTEMPTS_MAX);
    }

    #[test]
    fn what_is_no_clients_initial_holds_nothing() {
        let mut sealed = parts(b"12345678").remove(0);
        let last = sealed.len() - 1;
        sealed[last] ^= 1;
        assert_eq!(Attempts::default().feed(&sealed, false), Seen::Nothing);
        assert_eq!(Attempts::default().feed(&[0x40; 1200], false), Seen::Nothing);
    }
}

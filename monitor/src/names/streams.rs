//! What comes in pieces: a `ClientHello` over several segments or datagrams, DNS messages over TCP.
//! Bounded in pieces, bytes and streams, whatever the other side sends.

use std::collections::BTreeMap;

/// Bytes kept of one stream: what may stand before a hello, and the most that is told of it.
pub(super) const STREAM_BYTES: usize = 32 << 10;
/// A client may send its hello in many small pieces, in any order.
const PIECES_MAX: usize = 256;
/// A message of DNS that is longer is read as far as it goes.
const MESSAGE_BYTES: usize = 8 << 10;

/// Pieces of a message, in any order.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    pieces: BTreeMap<usize, Vec<u8>>,
    bytes: usize,
}

impl Pieces {
    /// `false`: there is too much, and this is left out. What is there already stays as it is.
    pub(super) fn put(&mut self, at: usize, bytes: &[u8]) -> bool {
        let before = self.pieces.range(..=at).next_back();
        if before.is_some_and(|(start, known)| start + known.len() >= at + bytes.len()) {
            return true;
        }
        if self.pieces.len() >= PIECES_MAX || self.bytes + bytes.len() > STREAM_BYTES {
            return false;
        }
        self.bytes += bytes.len();
        // Most come in order: one piece with the one before.
        if let Some((before, piece)) = self.pieces.range_mut(..at).next_back()
            && before + piece.len() == at
        {
            piece.extend_from_slice(bytes);
            return true;
        }
        if let Some(shorter) = self.pieces.insert(at, bytes.to_vec()) {
            self.bytes -= shorter.len();
        }
        true
    }

    /// What it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The beginning, as far as it is whole.
    pub(super) fn beginning(&self) -> Vec<u8> {
        let mut whole = Vec::new();
        for (at, piece) in &self.pieces {
            let Some(known) = whole.len().checked_sub(*at) else { break };
            whole.extend_from_slice(piece.get(known..).unwrap_or_default());
        }
        whole
    }
}

/// DNS messages in a TCP stream, each behind its length (RFC 1035, 4.2.2).
#[derive(Debug)]
pub(super) struct Messages {
    /// Sequence number of the first byte of `held`.
    start: u32,
    /// The message that is not whole yet, with its length.
    held: Vec<u8>,
}

impl Messages {
    /// A message is taken to begin at this sequence number.
    pub(super) fn new(start: u32) -> Self {
        Self { start, held: Vec::new() }
    }

    /// What it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        self.held.len()
    }

    /// Nothing is held, and nothing to be left out: the next segment may begin anew.
    pub(super) fn is_idle(&self, next: u32) -> bool {
        self.held.is_empty() && self.start == next
    }

    /// A segment of `length` bytes, of which the first are `there`. Gives each message that ends
    /// with it, and of one that is cut or too long the beginning.
    pub(super) fn feed(
        &mut self,
        sequence: u32,
        there: &[u8],
        length: u32,
        each: &mut dyn FnMut(&[u8]),
    ) {
        let expected = self.start.wrapping_add(self.held.len() as u32);
        let known = expected.wrapping_sub(sequence);
        let fresh = if known.cast_signed() < 0 {
            // Something is missing: this may be the beginning of a message.
            *self = Self::new(sequence);
            there
        } else if known >= length {
            return;
        } else {
            there.get(known as usize..).unwrap_or_default()
        };
        let is_cut = there.len() < length as usize;
        self.held.extend_from_slice(fresh);
        let mut taken = 0;
        while let Some((head, rest)) = self.held[taken..].split_first_chunk::<2>() {
            let bytes = usize::from(u16::from_be_bytes(*head));
            if let Some(message) = rest.get(..bytes) {
                each(message);
            } else if is_cut || rest.len() > MESSAGE_BYTES {
                each(rest);
            } else {
                break;
            }
            taken += 2 + bytes;
            self.start = self.start.wrapping_add(2 + bytes as u32);
            if taken >= self.held.len() {
                break;
            }
        }
        self.held.drain(..taken.min(self.held.len()));
        if is_cut && !self.held.is_empty() {
            *self = Self::new(sequence.wrapping_add(length));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn framed(messages: &[&[u8]]) -> Vec<u8> {
        let frame = |message: &&[u8]| [&(message.len() as u16).to_be_bytes(), *message].concat();
        messages.iter().flat_map(frame).collect()
    }

    /// What is found in a stream that comes in segments of these sizes.
    fn found(stream: &[u8], start: u32, sizes: &[usize]) -> Vec<Vec<u8>> {
        let mut messages = Messages::new(start);
        let (mut found, mut at) = (Vec::new(), 0);
        for size in sizes.iter().copied().cycle() {
            let segment = &stream[at..stream.len().min(at + size)];
            let sequence = start.wrapping_add(at as u32);
            messages
                .feed(sequence, segment, segment.len() as u32, &mut |it| found.push(it.to_vec()));
            at += segment.len();
            if at >= stream.len() {
                assert!(messages.is_idle(start.wrapping_add(at as u32)));
                return found;
            }
        }
        found
    }

    #[test]
    fn pieces_in_any_order_make_a_beginning() {
        let mut pieces = Pieces::default();
        pieces.put(6, b"world");
        assert_eq!(pieces.beginning(), b"");
        pieces.put(3, b"lo,");
        pieces.put(0, b"hello");
        assert_eq!(pieces.beginning(), b"hello,world");
    }

    #[test]
    fn pieces_are_bounded() {
        let mut pieces = Pieces::default();
        let taken = (0..10_000).filter(|at| pieces.put(at * 200, &[0; 200])).count();
        assert_eq!(taken, STREAM_BYTES / 200);
        assert!(pieces.bytes <= STREAM_BYTES && pieces.pieces.len() <= PIECES_MAX);
    }

    #[test]
    fn pieces_of_one_byte_in_order_are_one() {
        let mut pieces = Pieces::default();
        for at in 0..3000 {
            assert!(pieces.put(at, &[at as u8]));
            assert!(pieces.put(at, &[at as u8]));
        }
        assert_eq!(pieces.beginning(), (0..3000_usize).map(|at| at as u8).collect::<Vec<_>>());
    }

    #[test]
    fn of_a_message_that_is_cut_the_beginning_is_given_and_the_next_is_found() {
        let stream = framed(&[&[7; 100], b"second"]);
        let mut messages = Messages::new(10);
        let mut found = Vec::new();
        messages.feed(10, &stream[..50], 80, &mut |it| found.push(it.to_vec()));
        messages.feed(90, &stream[80..], stream.len() as u32 - 80, &mut |it| {
            found.push(it.to_vec());
        });
        assert_eq!(found, [vec![7; 48], b"second".to_vec()]);
    }

    #[test]
    fn after_a_gap_the_next_segment_begins_anew_and_a_repeated_one_tells_nothing() {
        let mut messages = Messages::new(0);
        let mut found = Vec::new();
        let one = framed(&[b"one"]);
        messages.feed(0, &one, 5, &mut |it| found.push(it.to_vec()));
        messages.feed(0, &one, 5, &mut |it| found.push(it.to_vec()));
        messages.feed(900, &framed(&[b"two"]), 5, &mut |it| found.push(it.to_vec()));
        assert_eq!(found, [b"one", b"two"]);
    }

    proptest! {
        #[test]
        fn messages_are_found_however_the_stream_is_cut(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..6),
            sizes in prop::collection::vec(1_usize..200, 1..5),
            start: u32,
        ) {
            let parts: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
            prop_assert_eq!(found(&framed(&parts), start, &sizes), messages);
        }

        #[test]
        fn no_segments_make_it_hold_more_than_its_bound(
            segments in prop::collection::vec(
                (any::<u32>(), prop::collection::vec(any::<u8>(), 0..3000), 0_u32..9000), 1..40),
        ) {
            let mut messages = Messages::new(0);
            for (sequence, there, more) in segments {
                let length = there.len() as u32 + more;
                messages.feed(sequence % 10_000, &there, length, &mut |_| {});
                prop_assert!(messages.held.len() <= MESSAGE_BYTES + 2 + 4096);
            }
        }
    }
}

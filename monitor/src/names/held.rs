//! Flows of which something is waited for: bounded in number and in bytes. Full, it gives up the one
//! that said nothing for longest. What the streams mean is not its to know.

use std::collections::BTreeMap;

use monitor_ebpf::sample::FlowKey;
use zerocopy::{FromBytes as _, IntoBytes as _};

use super::{
    openings::{Attempts, Opening},
    streams::Messages,
};

/// Flows whose first bytes, or whose DNS messages, are in pieces at once.
pub(super) const STREAMS_MAX: usize = 1024;
/// Bytes of all of them.
pub(super) const BYTES_MAX: usize = 4 << 20;
/// How long the next piece is waited for; servers wait for as long.
pub(super) const PATIENCE_NS: u64 = 60_000_000_000;

#[derive(Debug)]
pub(super) enum Stream {
    /// And whether a hello is known to be in it.
    Opening(Opening, bool),
    Quic(Attempts),
    Dns(Messages),
}

impl Stream {
    fn bytes(&self) -> usize {
        match self {
            Self::Opening(opening, _) => opening.bytes(),
            Self::Quic(attempts) => attempts.bytes(),
            Self::Dns(messages) => messages.bytes(),
        }
    }

    /// Without what is to come, there is a name that nobody read.
    fn is_owed(&self) -> bool {
        match self {
            Self::Opening(_, is_owed) => *is_owed,
            Self::Quic(_) => true,
            Self::Dns(_) => false,
        }
    }
}

/// Flow and direction ([`monitor_ebpf::sample::told`]), ordered by the socket's cookie.
type Key = ([u8; size_of::<FlowKey>()], u8);

#[derive(Debug, Default)]
pub(super) struct Held {
    streams: BTreeMap<Key, (u64, Stream)>,
    bytes: usize,
    /// Given up before their time.
    pub(super) evicted: u64,
    /// Flows whose name was given up, until somebody takes them.
    unread: Vec<FlowKey>,
}

impl Held {
    pub(super) fn take(&mut self, flow: &FlowKey, what: u8) -> Option<Stream> {
        let (_, stream) = self.streams.remove(&key(flow, what))?;
        self.bytes -= stream.bytes();
        Some(stream)
    }

    pub(super) fn keep(&mut self, flow: &FlowKey, what: u8, at_ns: u64, stream: Stream) {
        self.bytes += stream.bytes();
        self.streams.insert(key(flow, what), (at_ns, stream));
        while self.streams.len() > STREAMS_MAX || self.bytes > BYTES_MAX {
            let oldest = self.streams.iter().min_by_key(|(_, (at_ns, _))| *at_ns);
            let Some(oldest) = oldest.map(|(key, _)| *key) else { return };
            self.give_up(&oldest);
            self.evicted += 1;
        }
    }

    /// The socket was closed.
    pub(super) fn end(&mut self, cookie: u64) {
        let key = |fill: u8| {
            let mut key = [fill; size_of::<FlowKey>()];
            key[..8].copy_from_slice(cookie.as_bytes());
            (key, fill)
        };
        let over: Vec<Key> =
            self.streams.range(key(0)..=key(u8::MAX)).map(|(key, _)| *key).collect();
        for key in &over {
            self.give_up(key);
        }
    }

    pub(super) fn expire(&mut self, now: u64) {
        let before = now.saturating_sub(PATIENCE_NS);
        let over = self.streams.iter().filter(|(_, (at_ns, _))| *at_ns < before);
        let over: Vec<Key> = over.map(|(key, _)| *key).collect();
        for key in &over {
            self.give_up(key);
        }
    }

    /// All of them.
    pub(super) fn end_all(&mut self) {
        self.expire(u64::MAX);
    }

    pub(super) fn take_unread(&mut self) -> Vec<FlowKey> {
        std::mem::take(&mut self.unread)
    }

    fn give_up(&mut self, key: &Key) {
        let Some((_, stream)) = self.streams.remove(key) else { return };
        self.bytes -= stream.bytes();
        if let (true, Ok(flow)) = (stream.is_owed(), FlowKey::read_from_bytes(&key.0)) {
            self.unread.push(flow);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.streams.len()
    }
}

fn key(flow: &FlowKey, what: u8) -> Key {
    let mut key = [0; size_of::<FlowKey>()];
    key.copy_from_slice(flow.as_bytes());
    (key, what)
}

#[cfg(test)]
mod tests {
    use monitor_ebpf::sample::told;

    use super::*;

    fn flow(cookie: u64, port: u16) -> FlowKey {
        FlowKey { cookie, remote_port: port, ..FlowKey::default() }
    }

    fn opening(bytes: usize, is_owed: bool) -> Stream {
        let mut opening = Opening::new(0);
        opening.feed(0, &vec![0x17; bytes], bytes as u32);
        Stream::Opening(opening, is_owed)
    }

    #[test]
    fn streams_are_bounded_in_number_and_in_bytes_and_the_oldest_goes_first() {
        let mut held = Held::default();
        for cookie in 0..STREAMS_MAX as u64 + 5 {
            held.keep(&flow(cookie, 1), told::TLS, cookie, opening(10, true));
        }
        assert_eq!((held.len(), held.evicted), (STREAMS_MAX, 5));
        let gone: Vec<u64> = held.take_unread().iter().map(|flow| flow.cookie).collect();
        assert_eq!(gone, [0, 1, 2, 3, 4]);
        for cookie in 0..STREAMS_MAX as u64 {
            held.keep(&flow(cookie, 2), told::TLS, 1 << 30, opening(30_000, true));
        }
        assert!(held.bytes <= BYTES_MAX && held.len() <= BYTES_MAX / 30_000);
        held.end_all();
        assert_eq!((held.len(), held.bytes), (0, 0));
    }

    #[test]
    fn what_is_owed_when_a_socket_is_closed_or_nothing_comes_any_more_was_not_read() {
        let mut held = Held::default();
        for (cookie, port, is_owed) in
            [(7, 1, true), (7, 2, false), (7, u16::MAX, true), (8, 1, true)]
        {
            held.keep(&flow(cookie, port), told::TLS, 5, opening(10, is_owed));
        }
        held.end(7);
        let mut gone = held.take_unread();
        gone.sort_by_key(|flow| flow.remote_port);
        assert_eq!(gone, [flow(7, 1), flow(7, u16::MAX)]);
        held.expire(5 + PATIENCE_NS);
        assert_eq!(held.len(), 1);
        held.expire(6 + PATIENCE_NS);
        assert_eq!(held.take_unread(), [flow(8, 1)]);
    }
}

//! By what name a destination goes: learns from answers of DNS and from the first bytes of TLS and
//! QUIC, as the probes tell them. Asks nobody, least of all the network.

pub mod dns;
mod host;
pub mod quic;
mod streams;
mod table;
pub mod tls;

use std::net::IpAddr;

use monitor_ebpf::sample::{EgressSample, FlowKey, NameHead, told};
use rustc_hash::FxHashMap;

use self::{
    dns::DnsError,
    streams::{Messages, Pieces},
    table::{Asker, Table},
};
use crate::event::{Domain, DomainSource};

pub use self::table::NAMES_MAX;

/// `stage` of what is forgotten before its time.
pub const STAGE: &str = "names";
pub const TABLE_FULL: &str = "table-full";
pub const STREAMS_FULL: &str = "streams-full";
/// `reason` of a DNS message that could not be read.
pub const MALFORMED: &str = "dns";

/// Flows whose first bytes, or whose DNS messages, are in pieces at once.
const STREAMS_MAX: usize = 256;
/// How long the next piece is waited for.
const STREAM_PATIENCE_NS: u64 = 10_000_000_000;
const TCP: u8 = 6;

/// A packet that may name something.
#[derive(Clone, Debug)]
pub struct NameSample {
    pub head: NameHead,
    /// What there is of its payload.
    pub payload: Vec<u8>,
}

/// What a packet told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Learned {
    /// The flow itself says where it goes.
    Flow(Domain),
    /// The flow asks a resolver.
    Asked(dns::Question),
    /// A resolver answers the flow.
    Answered(dns::Answer),
}

/// What could not be kept or read, since the start. Each only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub evicted: u64,
    pub streams_evicted: u64,
    pub malformed: u64,
}

#[derive(Debug)]
enum Stream {
    Tls { first: u32, pieces: Pieces },
    Quic { connection_id: Vec<u8>, pieces: Pieces },
    Dns(Messages),
}

/// A direction of a flow, by [`told`].
type StreamKey = (FlowKey, u8);

#[derive(Debug, Default)]
pub struct Names {
    table: Table,
    /// When the last piece came.
    streams: FxHashMap<StreamKey, (u64, Stream)>,
    streams_evicted: u64,
    malformed: u64,
}

impl Names {
    /// Takes in a packet.
    pub fn learn(&mut self, sample: &NameSample) -> Vec<Learned> {
        match sample.head.what {
            told::TLS => self.tls(sample).map(Learned::Flow).into_iter().collect(),
            told::QUIC => self.quic(sample).map(Learned::Flow).into_iter().collect(),
            _ if sample.head.flow.transport == TCP => self.messages(sample),
            _ => self.message(&sample.head, &sample.payload).into_iter().collect(),
        }
    }

    /// The name that a flow's process asked for to reach its address, else one that somebody on
    /// this host asked for.
    pub fn name(&self, sample: &EgressSample, address: IpAddr) -> Option<Domain> {
        let asker = Asker { tgid: sample.owner.tgid, started_ns: sample.owner.started_ns };
        let its_own = (asker.tgid != 0).then(|| self.table.name(asker, address, sample.at_ns));
        let domain = |name, source| Domain { name: std::sync::Arc::clone(name), source };
        its_own.flatten().map(|name| domain(name, DomainSource::Dns)).or_else(|| {
            let name = self.table.name(Asker::HOST, address, sample.at_ns)?;
            Some(domain(name, DomainSource::DnsHost))
        })
    }

    /// Names known, and the most that can be.
    pub fn entries(&self) -> (usize, usize) {
        (self.table.len(), NAMES_MAX)
    }

    pub fn counters(&self) -> Counters {
        Counters {
            evicted: self.table.evicted,
            streams_evicted: self.streams_evicted,
            malformed: self.malformed,
        }
    }

    /// Forgets what is of no use any more.
    pub fn expire(&mut self, now_boot_ns: u64) {
        self.table.expire(now_boot_ns);
        let before = now_boot_ns.saturating_sub(STREAM_PATIENCE_NS);
        self.streams.retain(|_, (at_ns, _)| *at_ns >= before);
    }

    fn message(&mut self, head: &NameHead, message: &[u8]) -> Option<Learned> {
        if head.what == told::QUERY {
            return self.read(dns::query(message)).map(Learned::Asked);
        }
        let answer = self.read(dns::answer(message))?;
        let asker = Asker { tgid: head.tgid, started_ns: head.started_ns };
        for address in &answer.addresses {
            let name = &answer.question.name;
            for asker in [asker, Asker::HOST] {
                self.table.learn(asker, *address, name, answer.ttl, head.at_ns);
            }
        }
        Some(Learned::Answered(answer))
    }

    fn read<T>(&mut self, read: Result<T, DnsError>) -> Option<T> {
        match read {
            Ok(read) => Some(read),
            // The root has servers, which have names of their own; TCP has both directions.
            Err(DnsError::Nameless | DnsError::Direction) => None,
            Err(DnsError::Malformed) => {
                self.malformed += 1;
                None
            }
        }
    }

    fn messages(&mut self, sample: &NameSample) -> Vec<Learned> {
        let head = &sample.head;
        let key = (head.flow, head.what);
        let mut stream = match self.streams.remove(&key) {
            Some((_, Stream::Dns(messages))) => messages,
            _ => Messages::new(head.sequence),
        };
        let mut found = Vec::new();
        stream.feed(head.sequence, &sample.payload, head.payload_bytes, &mut |message| {
            found.push(message.to_vec());
        });
        if !stream.is_idle(head.sequence.wrapping_add(head.payload_bytes)) {
            self.keep(key, head.at_ns, Stream::Dns(stream));
        }
        found.iter().filter_map(|message| self.message(head, message)).collect()
    }

    fn tls(&mut self, sample: &NameSample) -> Option<Domain> {
        let head = &sample.head;
        let key = (head.flow, head.what);
        let (first, mut pieces) = match self.streams.remove(&key) {
            Some((_, Stream::Tls { first, pieces })) => (first, pieces),
            _ => (head.sequence, Pieces::default()),
        };
        pieces.put(head.sequence.wrapping_sub(first) as usize, &sample.payload);
        match tls::client_hello(&pieces.beginning()) {
            Ok(name) => Some(Domain { name: name?, source: DomainSource::Sni }),
            Err(tls::TlsError::Incomplete) => {
                self.keep(key, head.at_ns, Stream::Tls { first, pieces });
                None
            }
            Err(tls::TlsError::Malformed) => None,
        }
    }

    fn quic(&mut self, sample: &NameSample) -> Option<Domain> {
        let head = &sample.head;
        let key = (head.flow, head.what);
        let (first, mut pieces) = match self.streams.remove(&key) {
            Some((_, Stream::Quic { connection_id, pieces })) => (Some(connection_id), pieces),
            _ => (None, Pieces::default()),
        };
        // A server's own Initial does not open with a client's keys: that is no error.
        let initial = quic::initial(&sample.payload, first.as_deref()).ok()?;
        for (at, piece) in &initial.crypto {
            pieces.put(usize::try_from(*at).ok()?, piece);
        }
        match tls::handshake_hello(&pieces.beginning()) {
            Ok(name) => Some(Domain { name: name?, source: DomainSource::Quic }),
            Err(tls::TlsError::Incomplete) => {
                let connection_id = first.unwrap_or(initial.connection_id);
                self.keep(key, head.at_ns, Stream::Quic { connection_id, pieces });
                None
            }
            Err(tls::TlsError::Malformed) => None,
        }
    }

    fn keep(&mut self, key: StreamKey, at_ns: u64, stream: Stream) {
        if self.streams.len() >= STREAMS_MAX {
            let oldest = self.streams.iter().min_by_key(|(_, (at_ns, _))| *at_ns);
            if let Some(oldest) = oldest.map(|(key, _)| *key) {
                self.streams.remove(&oldest);
                self.streams_evicted += 1;
            }
        }
        self.streams.insert(key, (at_ns, stream));
    }
}

#[cfg(test)]
#[path = "../../../tests/generator/hello.rs"]
mod hello;
#[cfg(test)]
mod tests;

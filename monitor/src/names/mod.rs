//! By what names a destination goes: learns from what name servers answer to questions of this host,
//! and from the first bytes of TLS and QUIC, as the probes tell them. Asks nobody, least of all the
//! network.

pub mod dns;
mod held;
mod host;
mod openings;
mod questions;
pub mod quic;
mod resolvers;
mod streams;
mod table;
pub mod tls;

use std::net::{IpAddr, Ipv6Addr};

use monitor_ebpf::sample::{EgressSample, FlowKey, NameHead, told};

use self::{
    dns::DnsError,
    held::{Held, Stream},
    openings::{Attempts, Opening, Seen},
    questions::Questions,
    streams::Messages,
    table::{Asker, Table},
};
pub use self::{resolvers::Resolvers, table::NAMES_MAX};
use crate::event::{Domain, DomainSource, ServerName};

/// `stage` of what is forgotten before its time.
pub const STAGE: &str = "names";
pub const TABLE_FULL: &str = "table-full";
pub const STREAMS_FULL: &str = "streams-full";
pub const QUESTIONS_FULL: &str = "questions-full";
/// Every `reason` of the above.
pub const LOSSES: [&str; 3] = [TABLE_FULL, STREAMS_FULL, QUESTIONS_FULL];
/// `reason` of a DNS message that could not be read.
pub const MALFORMED: &str = "dns";
/// `reason` of an answer to what nobody had asked.
pub const UNASKED: &str = "dns-unasked";

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
    Said(ServerName),
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
    pub questions_evicted: u64,
    pub malformed: u64,
    pub unasked: u64,
}

#[derive(Debug, Default)]
pub struct Names {
    table: Table,
    questions: Questions,
    resolvers: Resolvers,
    streams: Held,
    malformed: u64,
}

impl Names {
    /// By default nobody is trusted.
    pub fn trust(&mut self, resolvers: Resolvers) {
        self.resolvers = resolvers;
    }

    /// Cookie of the host's own network namespace, once it is known.
    pub fn namespace(&self) -> Option<u64> {
        self.resolvers.namespace()
    }

    /// Whether nobody knows the host's own network namespace yet.
    pub fn wants_namespace(&self) -> bool {
        self.resolvers.namespace().is_none()
    }

    /// The host's own, by its cookie.
    pub fn learn_namespace(&mut self, cookie: u64) {
        self.resolvers.learn_namespace(cookie);
    }

    /// Takes in a packet.
    pub fn learn(&mut self, sample: &NameSample) -> Vec<Learned> {
        let head = &sample.head;
        match (head.what, head.flow.transport) {
            (told::TLS | told::PLAIN, _) => self.opening(sample),
            (told::QUIC, _) => self.quic(sample),
            (told::QUERY, TCP) => {
                // Whatever else may go to that port.
                let mut learned = self.messages(sample);
                learned.extend(self.opening(sample));
                learned
            }
            (_, TCP) => self.messages(sample),
            (told::QUERY, _)
                if sample.payload.first().is_some_and(|first| first & 0xc0 == 0xc0) =>
            {
                let said = self.quic(sample);
                if said.is_empty() {
                    return self.message(head, &sample.payload).into_iter().collect();
                }
                said
            }
            _ => self.message(head, &sample.payload).into_iter().collect(),
        }
    }

    /// The name that a flow's process asked for to reach its address, else one that somebody in the
    /// same network namespace asked for.
    pub fn name(&self, sample: &EgressSample, address: IpAddr) -> Option<Domain> {
        let known = [sample.owner.netns_cookie, sample.creator.netns_cookie];
        let known = known.into_iter().find(|cookie| *cookie != 0);
        let netns = known.or(self.resolvers.namespace()).unwrap_or(0);
        let (tgid, started_ns) = (sample.owner.tgid, sample.owner.started_ns);
        // One whose namespace is not known asked by a socket of the same kind.
        let own = Asker { netns: known.unwrap_or(0), tgid, started_ns };
        let asked = (tgid != 0).then(|| self.table.name(own, address, sample.at_ns)).flatten();
        if let Some((name, is_trusted)) = asked {
            return Some(Domain { name: name.clone(), source: DomainSource::Dns, is_trusted });
        }
        let anybody = Asker::anybody(netns);
        let (name, _) = self.table.name(anybody, address, sample.at_ns)?;
        Some(Domain { name: name.clone(), source: DomainSource::DnsHost, is_trusted: false })
    }

    /// Names known, and the most that can be.
    pub fn entries(&self) -> (usize, usize) {
        (self.table.len(), NAMES_MAX)
    }

    pub fn counters(&self) -> Counters {
        Counters {
            evicted: self.table.evicted,
            streams_evicted: self.streams.evicted,
            questions_evicted: self.questions.evicted,
            malformed: self.malformed,
            unasked: self.questions.unasked,
        }
    }

    /// A socket was closed: what is not there of its streams will not come.
    pub fn end(&mut self, cookie: u64) {
        self.streams.end(cookie);
    }

    /// Nothing more comes at all.
    pub fn end_all(&mut self) {
        self.streams.end_all();
    }

    /// Flows that had a name which could not be read to its end, each once.
    pub fn take_unread(&mut self) -> Vec<FlowKey> {
        self.streams.take_unread()
    }

    /// Forgets what is of no use any more, and looks whom the host asks now.
    pub fn expire(&mut self, now_boot_ns: u64) {
        self.table.expire(now_boot_ns);
        self.questions.expire(now_boot_ns);
        self.streams.expire(now_boot_ns);
        self.resolvers.refresh();
    }

    fn message(&mut self, head: &NameHead, message: &[u8]) -> Option<Learned> {
        let asker =
            Asker { netns: head.netns_cookie, tgid: head.tgid, started_ns: head.started_ns };
        if head.what == told::QUERY {
            let question = self.read(dns::query(message))?;
            self.questions.ask(&head.flow, &question, asker, head.at_ns);
            return Some(Learned::Asked(question));
        }
        let answer = self.read(dns::answer(message))?;
        let leads_somewhere = !answer.addresses.is_empty();
        if !self.questions.answer(&head.flow, &answer.question, leads_somewhere, head.at_ns) {
            return None;
        }
        let server = IpAddr::V6(Ipv6Addr::from(head.flow.remote)).to_canonical();
        let is_trusted = self.resolvers.trusts(server, asker.netns);
        let name = (&answer.question.name, is_trusted);
        for address in &answer.addresses {
            if asker.tgid != 0 {
                self.table.learn(asker, *address, name, answer.ttl, head.at_ns);
            }
            if asker.netns != 0 {
                let anybody = Asker::anybody(asker.netns);
                self.table.learn(anybody, *address, name, answer.ttl, head.at_ns);
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
        let mut stream = match self.streams.take(&head.flow, head.what) {
            Some(Stream::Dns(messages)) => messages,
            _ => Messages::new(head.sequence),
        };
        let mut found = Vec::new();
        stream.feed(head.sequence, &sample.payload, head.payload_bytes, &mut |message| {
            found.push(message.to_vec());
        });
        if !stream.is_idle(head.sequence.wrapping_add(head.payload_bytes)) {
            self.streams.keep(&head.flow, head.what, head.at_ns, Stream::Dns(stream));
        }
        found.iter().filter_map(|message| self.message(head, message)).collect()
    }

    fn opening(&mut self, sample: &NameSample) -> Vec<Learned> {
        let head = &sample.head;
        let mut opening = match self.streams.take(&head.flow, told::TLS) {
            Some(Stream::Opening(opening, _)) => opening,
            _ => Opening::new(head.sequence),
        };
        let seen = opening.feed(head.sequence, &sample.payload, head.payload_bytes);
        let is_owed = seen == Seen::Begun;
        if is_owed || seen == Seen::Maybe {
            let stream = Stream::Opening(opening, is_owed);
            self.streams.keep(&head.flow, told::TLS, head.at_ns, stream);
        }
        said(seen, DomainSource::Sni)
    }

    fn quic(&mut self, sample: &NameSample) -> Vec<Learned> {
        let head = &sample.head;
        let mut attempts = match self.streams.take(&head.flow, told::QUIC) {
            Some(Stream::Quic(attempts)) => attempts,
            _ => Attempts::default(),
        };
        let is_cut = sample.payload.len() < head.payload_bytes as usize;
        let seen = attempts.feed(&sample.payload, is_cut);
        if seen == Seen::Begun {
            self.streams.keep(&head.flow, told::QUIC, head.at_ns, Stream::Quic(attempts));
        }
        said(seen, DomainSource::Quic)
    }
}

fn said(seen: Seen, source: DomainSource) -> Vec<Learned> {
    match seen {
        Seen::Hello(names) => {
            let said = |name| Learned::Said(ServerName::Said { name, source });
            names.into_iter().map(said).collect()
        }
        Seen::Unreadable => vec![Learned::Said(ServerName::Undetermined)],
        Seen::Begun | Seen::Maybe | Seen::Nothing => Vec::new(),
    }
}

#[cfg(test)]
#[path = "../../../tests/generator/frame.rs"]
mod frame;
#[cfg(test)]
#[path = "../../../tests/generator/hello.rs"]
mod hello;
#[cfg(test)]
#[path = "../../../tests/generator/initial.rs"]
mod initial;
#[cfg(test)]
mod tests;

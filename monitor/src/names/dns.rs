//! A DNS message, as far as it names addresses. Whoever wrote it may mean harm, and it may be cut:
//! what stands before the harm or the cut counts.

use std::{net::IpAddr, sync::Arc};

use domain::{
    base::{Message, ParsedName, ParsedRecord, Rtype, name::Label},
    rdata::{A, Aaaa, AllRecordData, Cname},
};

use super::host;

/// Records of an answer that are looked at.
const RECORDS_MAX: usize = 128;
/// Addresses of an answer that are looked at: one service binding may hint at thousands.
const ADDRESSES_MAX: usize = 128;
/// Aliases that are followed.
const CHAIN_MAX: usize = 16;

/// What a message asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Of the message, so that an answer finds its question.
    pub id: u16,
    pub name: Arc<str>,
    /// `A`, `AAAA`, `HTTPS`, ..., `TYPE123`.
    pub kind: Arc<str>,
}

/// What a message answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub question: Question,
    /// What the name leads to, aliases followed.
    pub addresses: Vec<IpAddr>,
    /// Least time to live on the way there, in seconds.
    pub ttl: u32,
}

/// Why bytes are no message that names anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DnsError {
    #[error("no header, or no question that can be read")]
    Malformed,
    #[error("a query where an answer should be, or the reverse")]
    Direction,
    #[error("the name asked for is the root, or too long to be kept")]
    Nameless,
}

type Parsed<'m> = ParsedName<&'m [u8]>;

fn question<'m>(message: &'m Message<&'m [u8]>) -> Result<(Question, Parsed<'m>), DnsError> {
    let first = message.first_question().ok_or(DnsError::Malformed)?;
    let name = named(first.qname()).ok_or(DnsError::Nameless)?;
    let id = message.header().id();
    let kind = first.qtype().to_string().into();
    Ok((Question { id, name, kind }, *first.qname()))
}

fn named(name: &Parsed<'_>) -> Option<Arc<str>> {
    host::of_labels(name.iter().map(Label::as_slice))
}

/// A query, as a client sends it.
pub fn query(message: &[u8]) -> Result<Question, DnsError> {
    let message = Message::from_octets(message).map_err(|_| DnsError::Malformed)?;
    if message.header().qr() {
        return Err(DnsError::Direction);
    }
    Ok(question(&message)?.0)
}

/// An answer, as a server sends it, also an empty one.
pub fn answer(message: &[u8]) -> Result<Answer, DnsError> {
    let message = Message::from_octets(message).map_err(|_| DnsError::Malformed)?;
    if !message.header().qr() {
        return Err(DnsError::Direction);
    }
    let (question, asked) = question(&message)?;
    let mut aliases = Vec::new();
    let mut found = Vec::new();
    let records = message.answer().into_iter().flatten();
    for record in records.take(RECORDS_MAX).map_while(Result::ok) {
        take(&record, &mut aliases, &mut found);
    }
    let mut ttl = u32::MAX;
    let mut names = vec![asked];
    while names.len() <= CHAIN_MAX {
        let last = names[names.len() - 1];
        let next = aliases.iter().find(|(owner, _, _)| *owner == last);
        let Some((_, target, alias_ttl)) = next else { break };
        ttl = ttl.min(*alias_ttl);
        names.push(*target);
    }
    let mut addresses = Vec::new();
    for (owner, address, its_ttl) in found {
        if names.contains(&owner) && !addresses.contains(&address) {
            addresses.push(address);
            ttl = ttl.min(its_ttl);
        }
    }
    Ok(Answer { question, addresses, ttl })
}

type Alias<'m> = (Parsed<'m>, Parsed<'m>, u32);
type Found<'m> = (Parsed<'m>, IpAddr, u32);

fn note<'m>(found: &mut Vec<Found<'m>>, address: Found<'m>) {
    if found.len() < ADDRESSES_MAX {
        found.push(address);
    }
}

/// Notes what a record says, if it leads anywhere.
fn take<'m>(
    record: &ParsedRecord<'m, &'m [u8]>,
    aliases: &mut Vec<Alias<'m>>,
    found: &mut Vec<Found<'m>>,
) {
    let owner = record.owner().deref_octets();
    let ttl = record.ttl().as_secs();
    match record.rtype() {
        Rtype::A => {
            if let Ok(Some(record)) = record.to_record::<A>() {
                note(found, (owner, IpAddr::V4(record.data().addr()), ttl));
            }
        }
        Rtype::AAAA => {
            if let Ok(Some(record)) = record.to_record::<Aaaa>() {
                let address = IpAddr::V6(record.data().addr()).to_canonical();
                note(found, (owner, address, ttl));
            }
        }
        Rtype::CNAME => {
            if let Ok(Some(record)) = record.to_record::<Cname<Parsed<'m>>>() {
                aliases.push((owner, *record.data().cname(), ttl));
            }
        }
        Rtype::HTTPS | Rtype::SVCB => hints(record, owner, ttl, found),
        _ => {}
    }
}

/// The addresses that a service binding hints at (RFC 9460, 7.3), which clients may use at once.
fn hints<'m>(
    record: &ParsedRecord<'m, &'m [u8]>,
    owner: Parsed<'m>,
    ttl: u32,
    found: &mut Vec<Found<'m>>,
) {
    use domain::rdata::svcb::value::AllValues;
    let Ok(record) = record.to_any_record::<AllRecordData<&[u8], Parsed<'_>>>() else { return };
    let params = match record.data() {
        AllRecordData::Https(data) => data.params(),
        AllRecordData::Svcb(data) => data.params(),
        _ => return,
    };
    for value in params.iter_all().map_while(Result::ok) {
        match value {
            AllValues::Ipv4Hint(hint) => {
                hint.iter().for_each(|address| note(found, (owner, IpAddr::V4(address), ttl)));
            }
            AllValues::Ipv6Hint(hint) => {
                let canonical = |address| IpAddr::V6(address).to_canonical();
                hint.iter().for_each(|address| note(found, (owner, canonical(address), ttl)));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
#[path = "dns_tests.rs"]
pub(super) mod tests;

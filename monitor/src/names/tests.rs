//! The stage as a whole: packets in, names out.

use std::sync::Arc;

use super::{
    dns::tests::Wire,
    hello::{client_hello, crypto, initial, record},
    *,
};

const SECOND: u64 = 1_000_000_000;

fn flow(cookie: u64, transport: u8) -> FlowKey {
    FlowKey { cookie, transport, ..FlowKey::default() }
}

fn sample(what: u8, flow: FlowKey, tgid: u32, payload: &[u8]) -> NameSample {
    let bytes = payload.len() as u32;
    let head = NameHead {
        what,
        flow,
        tgid,
        at_ns: 5 * SECOND,
        payload_bytes: bytes,
        bytes,
        ..NameHead::default()
    };
    NameSample { head, payload: payload.to_vec() }
}

fn answer(tgid: u32, name: &str, address: &str) -> NameSample {
    let message = Wire::answer_to(name).address(name, 60, address);
    sample(told::ANSWER, flow(1, 17), tgid, &message.0)
}

fn of(names: &Names, tgid: u32, address: &str) -> Option<(String, DomainSource)> {
    let mut egress = EgressSample { at_ns: 6 * SECOND, ..EgressSample::default() };
    egress.owner.tgid = tgid;
    let domain = names.name(&egress, address.parse().unwrap())?;
    Some((domain.name.to_string(), domain.source))
}

fn named(name: &str, source: DomainSource) -> (String, DomainSource) {
    (name.to_owned(), source)
}

#[test]
fn two_processes_know_one_address_by_the_name_each_asked_for() {
    let mut names = Names::default();
    names.learn(&answer(10, "one.example", "203.0.113.1"));
    names.learn(&answer(20, "two.example", "203.0.113.1"));
    assert_eq!(of(&names, 10, "203.0.113.1"), Some(named("one.example", DomainSource::Dns)));
    assert_eq!(of(&names, 20, "203.0.113.1"), Some(named("two.example", DomainSource::Dns)));
    assert_eq!(of(&names, 30, "203.0.113.1"), Some(named("two.example", DomainSource::DnsHost)));
    assert_eq!(of(&names, 0, "203.0.113.1"), Some(named("two.example", DomainSource::DnsHost)));
    assert_eq!(of(&names, 10, "203.0.113.2"), None);
}

#[test]
fn an_answer_of_nobodys_names_for_the_host() {
    let mut names = Names::default();
    names.learn(&answer(0, "one.example", "203.0.113.1"));
    assert_eq!(of(&names, 10, "203.0.113.1"), Some(named("one.example", DomainSource::DnsHost)));
}

#[test]
fn answers_over_tcp_are_put_together_from_segments() {
    let mut names = Names::default();
    let message = Wire::answer_to("one.example").address("one.example", 60, "203.0.113.1");
    let stream = [&(message.0.len() as u16).to_be_bytes()[..], &message.0].concat();
    for (number, segment) in stream.chunks(11).enumerate() {
        let mut sample = sample(told::ANSWER, flow(1, TCP), 10, segment);
        sample.head.sequence = u32::MAX.wrapping_add(number as u32 * 11);
        names.learn(&sample);
    }
    assert_eq!(of(&names, 10, "203.0.113.1"), Some(named("one.example", DomainSource::Dns)));
    assert!(names.streams.is_empty());
}

#[test]
fn a_hello_in_two_segments_names_its_flow_when_the_second_is_there() {
    let mut names = Names::default();
    let stream = record(&client_hello("One.Example", 1500));
    let (first, second) = stream.split_at(1000);
    let mut rest = sample(told::TLS, flow(7, TCP), 10, second);
    rest.head.sequence = 1000;
    assert_eq!(names.learn(&sample(told::TLS, flow(7, TCP), 10, first)), []);
    let domain = Domain { name: "one.example".into(), source: DomainSource::Sni };
    assert_eq!(names.learn(&rest), [Learned::Flow(domain)]);
    assert!(names.streams.is_empty());
}

#[test]
fn a_hello_in_two_datagrams_names_its_flow_whichever_comes_first() {
    let hello = client_hello("one.example", 1300);
    let part = |number, at: usize, until: usize| {
        let frames = crypto(at as u16, &hello[at..until]);
        sample(told::QUIC, flow(7, 17), 10, &initial(b"12345678", number, &frames, false))
    };
    let parts = [part(0, 0, 900), part(1, 900, hello.len())];
    let domain = Domain { name: "one.example".into(), source: DomainSource::Quic };
    for order in [[0, 1], [1, 0]] {
        let mut names = Names::default();
        assert_eq!(names.learn(&parts[order[0]]), []);
        assert_eq!(names.learn(&parts[order[1]]), [Learned::Flow(domain.clone())]);
    }
}

#[test]
fn streams_that_never_end_are_bounded_and_forgotten() {
    let mut names = Names::default();
    let half = record(&client_hello("one.example", 1500))[..600].to_vec();
    for cookie in 0..STREAMS_MAX as u64 + 5 {
        names.learn(&sample(told::TLS, flow(cookie, TCP), 10, &half));
    }
    assert_eq!(names.streams.len(), STREAMS_MAX);
    assert_eq!(names.counters().streams_evicted, 5);
    names.expire(5 * SECOND + STREAM_PATIENCE_NS + 1);
    assert!(names.streams.is_empty());
}

#[test]
fn an_unreadable_answer_is_counted_and_names_nothing() {
    let mut names = Names::default();
    assert_eq!(names.learn(&sample(told::ANSWER, flow(1, 17), 10, &[0; 20])), []);
    let malformed = sample(told::ANSWER, flow(1, 17), 10, &[0, 0, 0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    assert_eq!(names.learn(&malformed), []);
    assert_eq!(names.counters().malformed, 1);
}

#[test]
fn questions_are_told_as_they_are_asked() {
    let mut names = Names::default();
    let asked = names.learn(&sample(told::QUERY, flow(1, 17), 10, &Wire::query("One.example").0));
    let [Learned::Asked(question)] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!(question.name, Arc::from("one.example"));
    assert_eq!(names.entries().0, 0);
}

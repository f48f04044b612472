//! The stage as a whole: packets in, names out.

use std::sync::Arc;

use super::{
    dns::tests::Wire,
    frame::crypto,
    hello::{client_hello, record},
    initial::initial,
    *,
};

const SECOND: u64 = 1_000_000_000;
const HOST: u64 = 4;
const ELSEWHERE: u64 = 5;
const RESOLVER: &str = "192.0.2.53";

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn mapped(text: &str) -> [u8; 16] {
    match address(text) {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

fn flow(cookie: u64, transport: u8) -> FlowKey {
    FlowKey { cookie, transport, ..FlowKey::default() }
}

/// A socket that asks this server.
fn to(server: &str, cookie: u64) -> FlowKey {
    FlowKey { remote: mapped(server), remote_port: 53, ..flow(cookie, 17) }
}

fn sample(what: u8, flow: FlowKey, tgid: u32, payload: &[u8]) -> NameSample {
    let bytes = payload.len() as u32;
    let head = NameHead {
        what,
        flow,
        tgid,
        netns_cookie: HOST,
        at_ns: 5 * SECOND,
        payload_bytes: bytes,
        bytes,
        ..NameHead::default()
    };
    NameSample { head, payload: payload.to_vec() }
}

fn in_namespace(mut sample: NameSample, netns_cookie: u64) -> NameSample {
    sample.head.netns_cookie = netns_cookie;
    sample
}

/// Who trusts one resolver, in its own namespace.
fn trusting() -> Names {
    let mut names = Names::default();
    names.trust(Resolvers::new(&[address(RESOLVER)], Some(HOST)));
    names
}

fn answer(name: &str, address: &str) -> Wire {
    Wire::answer_to(name).address(name, 60, address)
}

/// A process asks, and is answered.
fn ask(names: &mut Names, (server, netns): (&str, u64), tgid: u32, name: &str, address: &str) {
    let flow = to(server, u64::from(tgid) << 8 | netns);
    let asked = sample(told::QUERY, flow, tgid, &Wire::query(name).0);
    names.learn(&in_namespace(asked, netns));
    let answered = sample(told::ANSWER, flow, tgid, &answer(name, address).0);
    let learned = names.learn(&in_namespace(answered, netns));
    assert!(matches!(learned[..], [Learned::Answered(_)]), "{learned:?}");
}

fn seen_from(names: &Names, netns: u64, tgid: u32, to: &str) -> Option<Domain> {
    let mut egress = EgressSample { at_ns: 6 * SECOND, ..EgressSample::default() };
    egress.owner.tgid = tgid;
    egress.owner.netns_cookie = netns;
    names.name(&egress, address(to))
}

fn domain(name: &str, source: DomainSource, is_trusted: bool) -> Domain {
    Domain { name: name.into(), source, is_trusted }
}

fn said(name: &str, source: DomainSource) -> Vec<Learned> {
    vec![Learned::Said(ServerName::Said { name: name.into(), source })]
}

#[test]
fn two_processes_know_one_address_by_the_name_each_asked_for() {
    let mut names = trusting();
    ask(&mut names, (RESOLVER, HOST), 10, "one.example", "203.0.113.1");
    ask(&mut names, (RESOLVER, HOST), 20, "two.example", "203.0.113.1");
    let of = |tgid, to| seen_from(&names, HOST, tgid, to);
    assert_eq!(of(10, "203.0.113.1"), Some(domain("one.example", DomainSource::Dns, true)));
    assert_eq!(of(20, "203.0.113.1"), Some(domain("two.example", DomainSource::Dns, true)));
    assert_eq!(of(30, "203.0.113.1"), Some(domain("two.example", DomainSource::DnsHost, false)));
    assert_eq!(of(10, "203.0.113.2"), None);
}

#[test]
fn an_answer_to_what_nobody_asked_names_nothing_and_is_counted() {
    let mut names = trusting();
    let query = Wire::query("good.example");
    names.learn(&sample(told::QUERY, to(RESOLVER, 1), 10, &query.0));
    let mut other_id = answer("good.example", "203.0.113.66");
    other_id.0[0] ^= 1;
    let right = answer("good.example", "203.0.113.66");
    let other_port = FlowKey { remote_port: 5353, ..to(RESOLVER, 1) };
    for (flow, wire) in [
        (to(RESOLVER, 1), &other_id),
        (to("198.51.100.53", 1), &right),
        (to(RESOLVER, 2), &right),
        (other_port, &right),
        (to(RESOLVER, 1), &answer("evil.example", "203.0.113.66")),
    ] {
        assert_eq!(names.learn(&sample(told::ANSWER, flow, 10, &wire.0)), []);
    }
    assert_eq!(names.counters().unasked, 5);
    assert_eq!(names.entries().0, 0);
    names.learn(&sample(told::ANSWER, to(RESOLVER, 1), 10, &right.0));
    let known = seen_from(&names, HOST, 10, "203.0.113.66");
    assert_eq!(known, Some(domain("good.example", DomainSource::Dns, true)));
}

#[test]
fn sprayed_answers_name_nothing_once_the_true_one_is_there() {
    let mut names = trusting();
    names.learn(&sample(told::QUERY, to(RESOLVER, 1), 10, &Wire::query("good.example").0));
    names.learn(&sample(
        told::ANSWER,
        to(RESOLVER, 1),
        10,
        &answer("good.example", "203.0.113.1").0,
    ));
    for id in 0..28_000_u16 {
        let mut spoofed = answer("good.example", "203.0.113.66");
        spoofed.0[..2].copy_from_slice(&id.to_be_bytes());
        names.learn(&sample(told::ANSWER, to(RESOLVER, 1), 10, &spoofed.0));
    }
    assert_eq!(names.counters().unasked, 28_000);
    assert_eq!(seen_from(&names, HOST, 10, "203.0.113.66"), None);
    let known = seen_from(&names, HOST, 10, "203.0.113.1");
    assert_eq!(known, Some(domain("good.example", DomainSource::Dns, true)));
}

#[test]
fn who_is_not_trusted_names_without_trust() {
    let mut names = trusting();
    ask(&mut names, ("198.51.100.53", HOST), 10, "good.example", "203.0.113.1");
    let known = seen_from(&names, HOST, 10, "203.0.113.1");
    assert_eq!(known, Some(domain("good.example", DomainSource::Dns, false)));
}

#[test]
fn a_name_server_in_a_namespace_of_somebodys_own_names_nothing_outside_of_it() {
    let mut names = trusting();
    // With the address of the trusted one.
    ask(&mut names, (RESOLVER, ELSEWHERE), 10, "good.example", "203.0.113.1");
    assert_eq!(seen_from(&names, HOST, 30, "203.0.113.1"), None);
    // The same process, by a socket that it kept from before.
    assert_eq!(seen_from(&names, HOST, 10, "203.0.113.1"), None);
    let inside = seen_from(&names, ELSEWHERE, 10, "203.0.113.1");
    assert_eq!(inside, Some(domain("good.example", DomainSource::Dns, false)));
    let beside = seen_from(&names, ELSEWHERE, 30, "203.0.113.1");
    assert_eq!(beside, Some(domain("good.example", DomainSource::DnsHost, false)));
}

#[test]
fn an_answer_in_a_namespace_that_nobody_knows_names_for_who_asked_alone() {
    let mut names = trusting();
    ask(&mut names, (RESOLVER, 0), 10, "one.example", "203.0.113.1");
    assert_eq!(
        seen_from(&names, 0, 10, "203.0.113.1"),
        Some(domain("one.example", DomainSource::Dns, false))
    );
    for netns in [0, HOST, ELSEWHERE] {
        assert_eq!(seen_from(&names, netns, 20, "203.0.113.1"), None);
    }
}

#[test]
fn a_flow_without_a_socket_goes_by_what_the_host_asked_for() {
    let mut names = trusting();
    ask(&mut names, (RESOLVER, HOST), 10, "one.example", "203.0.113.1");
    let forwarded = seen_from(&names, 0, 0, "203.0.113.1");
    assert_eq!(forwarded, Some(domain("one.example", DomainSource::DnsHost, false)));
}

#[test]
fn questions_and_answers_over_tcp_are_put_together_from_segments() {
    let mut names = trusting();
    let framed = |wire: &Wire| [&(wire.0.len() as u16).to_be_bytes()[..], &wire.0].concat();
    let flow = FlowKey { transport: TCP, ..to(RESOLVER, 1) };
    let asked = framed(&Wire::query("one.example"));
    let answered = framed(&answer("one.example", "203.0.113.1"));
    for (what, stream) in [(told::QUERY, asked), (told::ANSWER, answered)] {
        for (number, segment) in stream.chunks(11).enumerate() {
            let mut sample = sample(what, flow, 10, segment);
            sample.head.sequence = u32::MAX.wrapping_add(number as u32 * 11);
            names.learn(&sample);
        }
    }
    let known = seen_from(&names, HOST, 10, "203.0.113.1");
    assert_eq!(known, Some(domain("one.example", DomainSource::Dns, true)));
    assert_eq!(names.streams.len(), 0);
}

#[test]
fn a_hello_to_the_port_of_name_servers_names_its_flow() {
    let mut names = trusting();
    let stream = record(&client_hello("evil.example", 0));
    let flow = FlowKey { transport: TCP, ..to("203.0.113.53", 1) };
    let learned = names.learn(&sample(told::QUERY, flow, 10, &stream));
    assert_eq!(learned, said("evil.example", DomainSource::Sni));
    let datagram = initial(b"12345678", 0, &crypto(0, &client_hello("evil.example", 0)), false);
    let learned = names.learn(&sample(told::QUERY, to("203.0.113.53", 2), 10, &datagram));
    assert_eq!(learned, said("evil.example", DomainSource::Quic));
}

#[test]
fn a_hello_in_two_segments_names_its_flow_when_the_second_is_there() {
    for bytes in [1, 2, 5, 1000] {
        let mut names = Names::default();
        let stream = record(&client_hello("One.Example", 1500));
        let (first, second) = stream.split_at(bytes);
        let mut rest = sample(told::TLS, flow(7, TCP), 10, second);
        rest.head.sequence = bytes as u32;
        assert_eq!(names.learn(&sample(told::TLS, flow(7, TCP), 10, first)), []);
        assert_eq!(names.learn(&rest), said("one.example", DomainSource::Sni));
        assert_eq!(names.streams.len(), 0);
        names.end(7);
        assert_eq!(names.take_unread(), []);
    }
}

#[test]
fn a_hello_in_two_datagrams_names_its_flow_whichever_comes_first() {
    let hello = client_hello("one.example", 1300);
    let part = |number, at: usize, until: usize| {
        let frames = crypto(at as u16, &hello[at..until]);
        sample(told::QUIC, flow(7, 17), 10, &initial(b"12345678", number, &frames, false))
    };
    let parts = [part(0, 0, 900), part(1, 900, hello.len())];
    for order in [[0, 1], [1, 0]] {
        let mut names = Names::default();
        assert_eq!(names.learn(&parts[order[0]]), []);
        assert_eq!(names.learn(&parts[order[1]]), said("one.example", DomainSource::Quic));
    }
}

#[test]
fn a_hello_whose_end_never_comes_is_told_when_its_socket_is_closed() {
    let mut names = Names::default();
    let half = record(&client_hello("one.example", 1500))[..600].to_vec();
    names.learn(&sample(told::TLS, flow(7, TCP), 10, &half));
    names.learn(&sample(told::PLAIN, flow(8, TCP), 10, b"EHLO host\r\nSTARTTLS\r\n"));
    names.learn(&sample(told::PLAIN, flow(9, TCP), 10, b"GET / HTTP/1.1\r\n\r\n"));
    names.learn(&sample(told::PLAIN, flow(10, TCP), 10, b"ends like one\x16"));
    for cookie in 7..=10 {
        names.end(cookie);
    }
    assert_eq!(names.take_unread(), [flow(7, TCP), flow(8, TCP)]);
    assert_eq!((names.take_unread(), names.streams.len()), (Vec::new(), 0));
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

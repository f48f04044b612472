//! The lab tests itself, without a daemon: what the generator says it sent is what arrives, to the
//! byte. Where these fail, no other kernel test means anything. Needs root.

use harness::{Count, Lab, Side, Truth};

const UDP4: u64 = 20 + 8;
const UDP6: u64 = 40 + 8;

/// Waits until the first flow has arrived with this many IP bytes; then nothing more may come.
fn assert_arrives(lab: &Lab, truth: &Truth, packets: u64, bytes: u64) {
    for flow in &truth.flows {
        let expected = Count { packets, bytes };
        let arrived = || Some(lab.arrived(flow)).filter(|count| *count == expected);
        let seen = harness::eventually(arrived);
        assert!(seen.is_some(), "{flow:?}: {:?}, not {expected:?}", lab.arrived(flow));
    }
}

#[test]
fn a_datagram_arrives_with_its_headers() {
    let lab = Lab::new();
    let truth = lab.egress("udp-sendto --to 203.0.113.5:9 --bytes 100");
    assert_arrives(&lab, &truth, 1, 100 + UDP4);
    let truth = lab.egress("udp-sendto --to [2001:db8:f::5]:9 --bytes 100");
    assert_arrives(&lab, &truth, 1, 100 + UDP6);
}

#[test]
fn every_way_of_sending_a_datagram_sends_exactly_one() {
    let lab = Lab::new();
    let ways = [
        "udp-connected",
        "udp-mapped",
        "udp-mapped-connected",
        "thread-send",
        "io-uring-udp",
        "io-uring-udp --sqpoll",
        "one-shot",
        "fork-send-exit",
        "fork-inherited",
        "scm-rights",
        "exec-chain",
        "raw-hdrincl",
    ];
    for (number, way) in ways.iter().enumerate() {
        let truth = lab.egress(&format!("{way} --to 203.0.113.{}:9 --bytes 64", number + 1));
        assert_eq!(truth.flows.len(), 1, "{way}");
        assert_arrives(&lab, &truth, 1, 64 + UDP4);
    }
}

#[test]
fn one_call_reaches_two_addresses() {
    let lab = Lab::new();
    let truth = lab.egress("udp-sendmmsg --to 203.0.113.5:9 --to 198.51.100.7:10 --bytes 32");
    assert_eq!(truth.flows.len(), 2);
    assert_arrives(&lab, &truth, 1, 32 + UDP4);
}

#[test]
fn segments_and_fragments_are_counted_as_packets() {
    let lab = Lab::new();
    let truth = lab.egress("udp-gso --to 203.0.113.1:9 --bytes 1000 --count 10");
    assert_arrives(&lab, &truth, 10, 10 * (1000 + UDP4));
    let truth = lab.egress("udp-cork --to 203.0.113.2:9 --bytes 50 --count 4");
    assert_arrives(&lab, &truth, 1, 4 * 50 + UDP4);

    // 4008 bytes of UDP in fragments of 1480; only the first has ports.
    lab.egress("udp-sendto --to 203.0.113.3:9 --bytes 4000");
    let all = "203.0.113.3".parse().expect("an address");
    let arrived = || lab.arrived_at(&[all], "udp");
    let expected = Count { packets: 3, bytes: 4008 + 3 * 20 };
    assert!(
        harness::eventually(|| (arrived() == expected).then_some(())).is_some(),
        "{:?}",
        arrived()
    );
}

#[test]
fn packets_without_ports_arrive() {
    let lab = Lab::new();
    let cases = [
        ("ping --to 203.0.113.1", 20 + 8 + 56),
        ("raw-icmp --to 203.0.113.2", 20 + 8 + 56),
        ("raw-protocol --to 203.0.113.3", 20 + 56),
        ("ping --to 2001:db8:f::1", 40 + 8 + 56),
        ("raw-icmp --to 2001:db8:f::2", 40 + 8 + 56),
        ("raw-protocol --to 2001:db8:f::3", 40 + 56),
    ];
    for (words, bytes) in cases {
        let truth = lab.egress(&format!("{words} --bytes 56"));
        assert_arrives(&lab, &truth, 1, bytes);
    }
}

#[test]
fn every_way_of_sending_a_stream_delivers_it_whole() {
    let lab = Lab::new();
    let ways = [
        "tcp-connect-send --to 203.0.113.5:{port}",
        "tcp-connect-send --to [2001:db8:f::5]:{port}",
        "tcp-mapped --to 203.0.113.5:{port}",
        "tcp-close --to 203.0.113.5:{port}",
        "tcp-fastopen --to 203.0.113.5:{port}",
        "sendfile --to 203.0.113.5:{port}",
        "splice --to 203.0.113.5:{port}",
        "io-uring-tcp --to 203.0.113.5:{port}",
    ];
    for way in ways {
        let truth = lab.egress_to_sink(&format!("{way} --bytes 50000"));
        let arrived = lab.arrived(&truth.flows[0]);
        let header = if truth.flows[0].destination.is_ipv4() { 40 } else { 60 };
        let least = 50_000 + header * arrived.packets;
        assert!(arrived.packets > 30 && arrived.bytes > least, "{way}: {arrived:?}");
        assert!(arrived.bytes < least + 60 * arrived.packets, "{way}: {arrived:?}");
    }
}

#[test]
fn a_reply_on_an_accepted_connection_arrives() {
    let lab = Lab::new();
    let mut server = lab.start(Side::Host, "accept-reply --listen [::]:0 --bytes 3000");
    let port = server.listening().port();
    let client = lab.start(
        Side::Internet,
        &format!("connect-and-read --from 203.0.113.77 --to 10.77.0.2:{port}"),
    );
    assert_eq!(client.finish().received_bytes, Some(3000));
    let truth = server.finish();
    assert_eq!(truth.flows[0].destination.to_string(), "203.0.113.77");
    assert!(lab.arrived(&truth.flows[0]).bytes > 3000);
}

#[test]
fn what_does_not_leave_does_not_arrive() {
    let lab = Lab::new();
    let silent = ["udp-connect-only --to 203.0.113.9:53", "unix-stream", "unix-dgram", "netlink"];
    for words in silent {
        lab.egress(words);
    }
    // What left before this would have arrived before it.
    let truth = lab.egress("udp-sendto --to 203.0.113.10:9");
    let arrived = harness::eventually(|| (lab.arrived(&truth.flows[0]).packets > 0).then_some(()));
    assert!(arrived.is_some(), "a datagram arrives");
    let counts = lab.counts(Side::Internet);
    assert_eq!(counts.flows.len(), 1, "{counts:?}");
    // Neighbours are looked for over ICMPv6.
    let is_other = |it: &&(std::net::IpAddr, String)| {
        it.0 != truth.flows[0].destination && it.1 != "ipv6-icmp"
    };
    let others: Vec<_> = counts.totals.keys().filter(is_other).collect();
    assert!(others.is_empty(), "{others:?}");
}

#[test]
fn a_refused_connection_still_sent_a_packet() {
    let lab = Lab::new();
    lab.egress("tcp-refused --to 203.0.113.9:81");
    let to = "203.0.113.9".parse().expect("an address");
    assert_eq!(lab.arrived_at(&[to], "tcp").packets, 1);
}

#[test]
fn a_burst_arrives_whole() {
    let lab = Lab::new();
    let to = "--to 203.0.113.1 --to 203.0.113.2 --ports 10000-14999 --bytes 10";
    let addresses = ["203.0.113.1", "203.0.113.2"].map(|text| text.parse().expect("an address"));
    for (round, kind) in ["burst-one-socket --sockets 2", "burst-new-socket"].iter().enumerate() {
        assert_eq!(lab.egress(&format!("{kind} {to} --count 20000")).flows_made, 20_000);
        let arrived = lab.arrived_at(&addresses, "udp");
        assert_eq!(arrived.packets, 20_000 * (round as u64 + 1), "{kind}");
    }
}

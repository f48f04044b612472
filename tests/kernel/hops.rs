//! What goes by way of a hop: an IPv6 routing header, a source route of IPv4, by whoever may send one. The
//! last destination and the hop are both judged, the worse counts, and the record says by what way it went.
//! Needs root.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use harness::{
    CLIENT_ROUTED, Gateway, Lab, Namespace, Side, Site, Truth, digits as hex, number,
    packets::{FRAGMENT, HOST, LINK, ROUTING, UDP, datagram, v6},
    text,
};
use serde_json::Value;

const LOOSE: u8 = 131;
const STRICT: u8 = 137;
const COUNT: u64 = 3;
const PAYLOAD: u16 = 100;

/// In CN, or in US.
fn four(is_approved: bool, last: u8) -> Ipv4Addr {
    if is_approved { Ipv4Addr::new(198, 51, 100, last) } else { Ipv4Addr::new(203, 0, 113, last) }
}

/// In RU, or in a part of it that the test gives to US.
fn six(is_approved: bool, last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0xf, if is_approved { 0xa } else { 0 }, 0, 0, 0, last)
}

/// Its addresses stand where `to` says they do; `fixed`: the four bytes behind the number of stops left.
fn routing(next: u8, kind: u8, left: u8, fixed: [u8; 4], addresses: &[Ipv6Addr]) -> Vec<u8> {
    let mut header = vec![next, addresses.len() as u8 * 2, kind, left];
    header.extend(fixed);
    header.extend(addresses.iter().flat_map(Ipv6Addr::octets));
    header
}

/// Of segments (RFC 8754): the last destination is the first of the list.
fn segments(next: u8, left: u8, addresses: &[Ipv6Addr]) -> Vec<u8> {
    routing(next, 4, left, [addresses.len() as u8 - 1, 0, 0, 0], addresses)
}

/// A datagram behind routing headers.
fn routed(from: Ipv6Addr, to: Ipv6Addr, headers: &[Vec<u8>]) -> Vec<u8> {
    v6(from, to, ROUTING, &[headers.concat(), datagram(PAYLOAD)].concat())
}

/// A source route: its kind, which address is next, and all.
fn route(kind: u8, next: u8, addresses: &[Ipv4Addr]) -> Vec<u8> {
    let mut option = vec![kind, 3 + addresses.len() as u8 * 4, next];
    option.extend(addresses.iter().flat_map(Ipv4Addr::octets));
    option
}

fn v4(from: Ipv4Addr, to: Ipv4Addr, options: &[u8]) -> Vec<u8> {
    let mut options = options.to_vec();
    options.resize(options.len().div_ceil(4) * 4, 0);
    let rest = datagram(PAYLOAD);
    let total = 20 + options.len() + rest.len();
    let mut packet = vec![0x45 + options.len() as u8 / 4, 0];
    packet.extend((total as u16).to_be_bytes());
    packet.extend([0, 7, 0, 0, 64, UDP, 0, 0]);
    packet.extend(from.octets());
    packet.extend(to.octets());
    packet.extend(options);
    let sum = checksum(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(rest);
    packet
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes.chunks(2).map(|it| u32::from(it[0]) << 8 | u32::from(it[1])).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Whose machines pass on what is routed by them.
fn let_pass(lab: &Lab) {
    for device in ["all", "lan"] {
        lab.internet.sysctl(&format!("ipv6/conf/{device}/seg6_enabled"), "1");
        lab.internet.sysctl(&format!("ipv4/conf/{device}/accept_source_route"), "1");
    }
}

fn site(host: &Namespace, lab: &Lab) -> Site {
    let site = Site::inside(host, env!("CARGO_BIN_EXE_geofenced"));
    site.watch_only(lab.cgroup.path());
    let places = "[[geo.override]]\nnetwork = \"2001:db8:f:a::/64\"\ncountry = \"US\"\n";
    site.drop_in("places", places);
    site
}

fn watched(policy: &str, test: impl FnOnce(&Lab, &Site)) {
    let lab = Lab::new();
    let_pass(&lab);
    let site = site(&lab.host, &lab);
    site.drop_in("policy", policy);
    let daemon = site.start();
    test(&lab, &site);
    assert_whole(&site);
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

/// Nothing was lost, and the probes judge as the daemon.
fn assert_whole(site: &Site) {
    let metrics = site.metrics();
    let mut lost = metrics.nonzero("geofenced_events_lost_total");
    lost.extend(metrics.nonzero("geofenced_verdict_disagreements_total"));
    assert!(lost.is_empty(), "{lost:?}\n{}", site.log());
}

fn is_sent(event: &Value) -> bool {
    text(event, "/geofenced/phase") == "sent"
}

/// What is told as sent of a process, once it has all packets.
fn sent(site: &Site, what: &str, truth: &Truth) -> Vec<Value> {
    let mut last = Vec::new();
    let told = harness::eventually(|| {
        last = site.events_of(truth.pid);
        let sent: Vec<Value> = last.iter().filter(|event| is_sent(event)).cloned().collect();
        let packets: u64 = sent.iter().map(|event| number(event, "/source/packets")).sum();
        (packets >= COUNT).then_some(sent)
    });
    told.unwrap_or_else(|| panic!("{what}: {last:?}\n{}", site.log()))
}

/// Where it goes and by what way, as a record must tell it.
#[derive(Clone, Copy)]
struct Told {
    to: IpAddr,
    via: IpAddr,
    verdict: &'static str,
}

/// Of a hop and a last destination: the last unless the hop alone is not approved.
fn expected(hop: IpAddr, last: IpAddr, is_approved: (bool, bool)) -> Told {
    let (to, via) = if is_approved == (false, true) { (hop, last) } else { (last, hop) };
    let verdict = if is_approved == (true, true) { "approved" } else { "unapproved" };
    Told { to, via, verdict }
}

fn assert_told(what: &str, event: &Value, told: Told, bytes: u64) {
    assert_eq!(text(event, "/destination/ip"), told.to.to_string(), "{what}: {event}");
    assert_eq!(text(event, "/geofenced/via"), told.via.to_string(), "{what}: {event}");
    assert_eq!(text(event, "/geofenced/verdict"), told.verdict, "{what}: {event}");
    assert_eq!(number(event, "/source/packets"), COUNT, "{what}: {event}");
    assert_eq!(number(event, "/source/bytes"), bytes, "{what}: {event}");
    assert!(event["geofenced"].get("malformed").is_none(), "{what}: {event}");
    assert_eq!(number(event, "/destination/port"), 9, "{what}: {event}");
}

const SIDES: [(bool, bool); 4] = [(true, false), (false, true), (true, true), (false, false)];

/// By IPv6 as a user without a capability; by IPv4 that takes root.
#[test]
fn what_a_socket_sends_by_a_hop_is_judged_by_hop_and_last_destination() {
    watched("", |lab, site| {
        type Row = (String, IpAddr, IpAddr, (bool, bool), Vec<u8>);
        let mut rows: Vec<Row> = Vec::new();
        for (at, sides) in SIDES.into_iter().enumerate() {
            let (hop, last) = (six(sides.0, 0x10 + at as u16), six(sides.1, 0x20 + at as u16));
            // The kernel puts the last destination where it belongs.
            let way = segments(0, 1, &[Ipv6Addr::UNSPECIFIED, hop]);
            rows.push((format!("segments, {sides:?}"), hop.into(), last.into(), sides, way));
            let (hop, last) = (four(sides.0, 10 + at as u8), four(sides.1, 20 + at as u8));
            let loose = route(LOOSE, 4, &[hop]);
            let padded = [vec![1], route(LOOSE, 4, &[hop])].concat();
            for (name, way) in [("loose", loose), ("padded", padded)] {
                rows.push((format!("{name}, {sides:?}"), hop.into(), last.into(), sides, way));
            }
        }
        for (what, hop, last, sides, way) in rows {
            let listen = if last.is_ipv4() { format!("{last}:9") } else { format!("[{last}]:9") };
            // Any address: none of them is a card's.
            let taker = format!("serve-udp --listen [::]:9 --count {COUNT}");
            let mut taker = lab.start(Side::Internet, &taker);
            taker.listening();
            let bytes = format!("--count {COUNT} --bytes {PAYLOAD}");
            let (user, as_user) = if last.is_ipv4() { ("0", "") } else { ("1001", "--uid 1001") };
            let words =
                format!("udp-ip-options {as_user} --to {listen} {bytes} --given {}", hex(&way));
            let truth = lab.egress(&words);
            // The last destination has it all, and the cable carried it to the hop.
            let payload = COUNT * u64::from(PAYLOAD);
            assert_eq!(taker.finish().received_bytes, Some(payload), "{what}");
            let port = truth.flows[0].source_port.expect("a port");
            let on_cable = lab.counts(Side::Internet).flow(&harness::Flow {
                destination: hop,
                transport: "udp".into(),
                source_port: port,
                port: 9,
            });
            assert_eq!(on_cable.packets, COUNT, "{what}");
            let told = sent(site, &what, &truth);
            assert_eq!(told.len(), 1, "{what}: {told:?}");
            assert_told(&what, &told[0], expected(hop, last, sides), on_cable.bytes);
            assert_eq!(text(&told[0], "/process/executable"), truth.executable, "{what}");
            assert_eq!(text(&told[0], "/user/id"), user, "{what}: {told:?}");
        }
    });
}

/// What a raw or a packet socket sends with headers of its own, or a gateway forwards.
struct Made {
    what: &'static str,
    hop: IpAddr,
    last: IpAddr,
    packet: Vec<u8>,
}

/// By a US hop to where data may not go.
fn made(from4: Ipv4Addr, from6: Ipv6Addr, number: u8) -> Vec<Made> {
    let count = row(from4, from6, number).len();
    // Each to addresses of its own.
    (0..count).map(|at| row(from4, from6, number + at as u8).swap_remove(at)).collect()
}

/// All, to the same addresses.
fn row(from4: Ipv4Addr, from6: Ipv6Addr, number: u8) -> Vec<Made> {
    let (hop4, last4) = (four(true, number), four(false, number));
    let (hop, last) = (six(true, number.into()), six(false, number.into()));
    let one = [last];
    let rows6 = [
        ("a list without the hop", vec![segments(UDP, 1, &one)]),
        ("a list with the hop", vec![segments(UDP, 1, &[last, hop])]),
        ("type 0", vec![routing(UDP, 0, 1, [0; 4], &one)]),
        ("type 0, of which one was passed", vec![routing(UDP, 0, 1, [0; 4], &[hop, last])]),
        ("type 2", vec![routing(UDP, 2, 1, [0; 4], &one)]),
        ("type 3", vec![routing(UDP, 3, 1, [0; 4], &one)]),
        ("behind options", vec![vec![ROUTING, 0, 1, 4, 0, 0, 0, 0], segments(UDP, 1, &one)]),
        (
            "behind a list that was passed",
            vec![segments(ROUTING, 0, &[hop]), segments(UDP, 1, &one)],
        ),
    ];
    let mut rows: Vec<Made> = rows6
        .into_iter()
        .map(|(what, headers)| {
            let first = if what == "behind options" { 60 } else { ROUTING };
            let packet = v6(from6, hop, first, &[headers.concat(), datagram(PAYLOAD)].concat());
            Made { what, hop: hop.into(), last: last.into(), packet }
        })
        .collect();
    let record = vec![7, 7, 4, 0, 0, 0, 0];
    let rows4 = [
        ("loose", route(LOOSE, 4, &[last4])),
        ("strict", route(STRICT, 4, &[last4])),
        ("padded", [vec![1, 1], route(LOOSE, 4, &[last4])].concat()),
        ("behind another option", [record, route(LOOSE, 4, &[last4])].concat()),
        ("of which one was passed", route(LOOSE, 8, &[hop4, last4])),
    ];
    rows.extend(rows4.into_iter().map(|(what, options)| Made {
        what,
        hop: hop4.into(),
        last: last4.into(),
        packet: v4(from4, hop4, &options),
    }));
    rows
}

fn assert_made(made: &Made, told: &[Value]) {
    let what = made.what;
    assert_eq!(told.len(), 1, "{what}: {told:?}");
    let to = Told { to: made.last, via: made.hop, verdict: "unapproved" };
    assert_told(what, &told[0], to, COUNT * made.packet.len() as u64);
}

#[test]
fn what_a_raw_socket_sends_by_a_hop_of_its_own_making_is_judged_by_the_last_destination() {
    watched("", |lab, site| {
        for made in made(HOST, Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2), 40) {
            let before = lab.frames_arrived().packets;
            let words = format!("given-packet --to {} --count {COUNT}", made.hop);
            let truth = lab.egress(&format!("{words} --given {}", hex(&made.packet)));
            assert!(
                lab.frames_arrived().packets >= before + COUNT,
                "{}: did not arrive",
                made.what
            );
            assert_made(&made, &sent(site, made.what, &truth));
        }
    });
}

#[test]
fn what_a_packet_socket_sends_by_a_hop_is_judged_by_the_last_destination() {
    watched("", |lab, site| {
        for made in made(HOST, Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2), 70) {
            let before = lab.frames_arrived().packets;
            let ethertype = if made.hop.is_ipv4() { "0800" } else { "86dd" };
            let frame = format!("{}{ethertype}{}", hex(&LINK), hex(&made.packet));
            let words = format!("given-frame --count {COUNT} --given {frame}");
            let truth = lab.egress(&words);
            assert!(
                lab.frames_arrived().packets >= before + COUNT,
                "{}: did not arrive",
                made.what
            );
            let told = sent(site, made.what, &truth);
            assert_made(&made, &told);
            assert_eq!(text(&told[0], "/geofenced/origin"), "packet-socket", "{told:?}");
        }
    });
}

#[test]
fn what_a_gateway_forwards_by_a_hop_is_judged_by_the_last_destination() {
    let gateway = Gateway::new();
    let (lab, host) = (&gateway.lab, &gateway.lab.host);
    // Routers of IPv4 may be told to pass it on.
    for device in ["all", "lan0"] {
        host.sysctl(&format!("ipv4/conf/{device}/accept_source_route"), "1");
    }
    let site = site(host, lab);
    let daemon = site.start();
    let from4 = CLIENT_ROUTED.parse().expect("an address");
    let from6 = Ipv6Addr::new(0xfd77, 1, 0, 0, 0, 0, 0, 5);
    let is_meant = |it: &Made| matches!(it.what, "a list with the hop" | "type 0" | "loose");
    for made in made(from4, from6, 100).into_iter().filter(is_meant) {
        let before = lab.frames_arrived().packets;
        let words = format!("given-packet --to {} --count {COUNT}", made.hop);
        gateway.from_client(&format!("{words} --given {}", hex(&made.packet)));
        assert!(lab.frames_arrived().packets >= before + COUNT, "{}: did not arrive", made.what);
        let mut events = Vec::new();
        let told = harness::eventually(|| {
            events = site.events(&["--destination", &made.last.to_string()]);
            events.iter().find(|it| number(it, "/source/packets") == COUNT).cloned()
        });
        let event = told.unwrap_or_else(|| panic!("{}: {events:?}\n{}", made.what, site.log()));
        assert_eq!(text(&event, "/geofenced/via"), made.hop.to_string(), "{event}");
        assert_eq!(text(&event, "/geofenced/origin"), "forwarded", "{event}");
        assert_eq!(text(&event, "/geofenced/verdict"), "unapproved", "{event}");
        assert_eq!(site.events(&["--destination", &made.hop.to_string()]), [] as [Value; 0]);
    }
    assert_whole(&site);
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

/// Where nobody can say where it goes, or where it goes is more than a record tells.
#[test]
fn a_way_of_more_hops_or_that_nobody_can_read_is_told_by_its_worst_and_approved_by_nothing() {
    let from = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2);
    let us = |last| six(true, last);
    let ru = six(false, 0x70);
    let v6 = |to, headers: &[Vec<u8>]| (IpAddr::from(us(to)), routed(from, us(to), headers));
    let fragment = |more: u8, offset: u8| vec![ROUTING, 0, 0, offset << 3 | more, 0, 0, 0, 9];
    let rest = [fragment(0, 1), vec![0; 64]].concat();
    let four_to = four(true, 0x7a);
    let v4 = |options: &[u8]| (IpAddr::from(four_to), v4(HOST, four_to, options));
    let rows = [
        ("two hops, one in RU", v6(0x70, &[segments(UDP, 2, &[us(1), ru])]), ru.into()),
        ("two hops", v6(0x71, &[segments(UDP, 2, &[us(1), us(2)])]), us(1).into()),
        ("more left than there are", v6(0x72, &[segments(UDP, 2, &[us(1)])]), us(0x72).into()),
        (
            "of a type that nobody knows",
            v6(0x73, &[routing(UDP, 5, 1, [0; 4], &[us(1)])]),
            us(0x73).into(),
        ),
        ("compressed", v6(0x74, &[routing(UDP, 3, 1, [0x11, 0, 0, 0], &[us(1)])]), us(0x74).into()),
        (
            "two ways",
            v6(0x75, &[segments(ROUTING, 1, &[us(1)]), segments(UDP, 1, &[us(2)])]),
            us(0x75).into(),
        ),
        (
            "a rest whose beginning says where it goes",
            (us(0x76).into(), self::v6(from, us(0x76), FRAGMENT, &rest)),
            us(0x76).into(),
        ),
        (
            "two hops of IPv4",
            v4(&route(LOOSE, 4, &[four(false, 1), four(true, 1)])),
            four(false, 1).into(),
        ),
        ("a number of no address", v4(&route(LOOSE, 6, &[four(true, 1)])), four_to.into()),
        (
            "two source routes",
            v4(&[route(LOOSE, 4, &[four(true, 1)]), route(STRICT, 4, &[four(true, 1)])].concat()),
            four_to.into(),
        ),
        ("an option that is longer", v4(&[68, 40, 5, 0]), four_to.into()),
    ];
    watched("", |lab, site| {
        for (what, (to, packet), told_to) in rows {
            let told_to: IpAddr = told_to;
            let before = lab.frames_arrived().packets;
            let words = format!("given-packet --to {to} --count {COUNT} --given {}", hex(&packet));
            let truth = lab.egress(&words);
            assert!(lab.frames_arrived().packets >= before + COUNT, "{what}: did not arrive");
            let told = sent(site, what, &truth);
            assert_eq!(told.len(), 1, "{what}: {told:?}");
            let event = &told[0];
            assert_eq!(text(event, "/destination/ip"), told_to.to_string(), "{what}: {event}");
            assert_eq!(event["geofenced"]["malformed"], true, "{what}: {event}");
            assert_eq!(text(event, "/geofenced/verdict"), "unapproved", "{what}: {event}");
            let bytes = COUNT * packet.len() as u64;
            assert_eq!(number(event, "/source/bytes"), bytes, "{what}: {event}");
        }
    });
}

/// A hop that a rule forbids, a last destination that one allows.
#[test]
fn rules_are_asked_of_the_hop_and_of_the_last_destination() {
    let policy = "
[[policy.rule]]\nname = \"no-hop\"\nallow = false\ndestination = \"2001:db8:f:a::80/128\"\n
[[policy.rule]]\nname = \"there\"\nallow = true\ndestination = \"2001:db8:f::90/124\"\n";
    watched(policy, |lab, site| {
        let (us, ru) = (|last| six(true, last), |last| six(false, last));
        for (hop, last, to, verdict, reason) in [
            (us(0x80), us(0x81), us(0x81), "unapproved", "rule:no-hop"),
            (us(0x82), us(0x80), us(0x80), "unapproved", "rule:no-hop"),
            (us(0x83), ru(0x90), ru(0x90), "approved", "rule:there"),
            (ru(0x84), ru(0x91), ru(0x91), "unapproved", "country"),
            (ru(0x92), ru(0x93), ru(0x93), "approved", "rule:there"),
        ] {
            let way = segments(0, 1, &[Ipv6Addr::UNSPECIFIED, hop]);
            let bytes = format!("--count {COUNT} --bytes {PAYLOAD} --given {}", hex(&way));
            let truth = lab.egress(&format!("udp-ip-options --uid 1001 --to [{last}]:9 {bytes}"));
            let what = format!("{hop} {last}");
            let told = sent(site, &what, &truth);
            assert_eq!(told.len(), 1, "{what}: {told:?}");
            assert_eq!(text(&told[0], "/destination/ip"), to.to_string(), "{what}: {told:?}");
            assert_eq!(text(&told[0], "/geofenced/verdict"), verdict, "{what}: {told:?}");
            let found = text(&told[0], "/geofenced/reason");
            // Of two that object, either says why.
            assert!(found == reason || what.starts_with(&ru(0x84).to_string()), "{what}: {told:?}");
        }
    });
}

/// So that what was told of the first packet is told of no other.
#[test]
fn each_way_to_the_same_destination_is_a_flow_of_its_own() {
    let policy = "
[[policy.rule]]\nname = \"no-hop\"\nallow = false\ndestination = \"2001:db8:f:a::a0/128\"\n";
    watched(policy, |lab, site| {
        let (from, last) = (Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2), six(true, 0xaf));
        let by = |hop| routed(from, six(true, hop), &[segments(UDP, 1, &[last])]);
        let direct = v6(from, last, UDP, &datagram(PAYLOAD));
        let file = site.path().join("given");
        let lines = [direct.clone(), by(0xa1), direct, by(0xa0), by(0xa1)];
        let lines = lines.map(|packet| format!("{last} {}", hex(&packet)));
        std::fs::write(&file, lines.join("\n")).expect("write packets");
        let mut sending = lab.start(Side::Host, "given-lines");
        sending.give(&file);
        let truth = sending.finish();
        let mut told = Vec::new();
        let all = harness::eventually(|| {
            told = site.events_of(truth.pid);
            let packets: u64 = told.iter().map(|it| number(it, "/source/packets")).sum();
            (packets == 5).then(|| told.clone())
        });
        let all = all.unwrap_or_else(|| panic!("{told:?}\n{}", site.log()));
        let mut found: Vec<(&str, &str, u64)> = all
            .iter()
            .map(|event| {
                assert_eq!(text(event, "/destination/ip"), last.to_string(), "{event}");
                let via = text(event, "/geofenced/via");
                (via, text(event, "/geofenced/verdict"), number(event, "/source/packets"))
            })
            .collect();
        found.sort_unstable();
        let hops = [six(true, 0xa0).to_string(), six(true, 0xa1).to_string()];
        let expected =
            [("", "approved", 2), (&hops[0], "unapproved", 1), (&hops[1], "approved", 2)];
        assert_eq!(found, expected, "{all:?}");
    });
}

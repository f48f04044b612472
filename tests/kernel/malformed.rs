//! Packets whose IP headers nobody can read, by raw sockets, packet sockets and through a gateway: they
//! are told with the addresses that stand where the kernel looks for them, and approved by nothing but
//! a rule. Needs root.

use std::net::{Ipv4Addr, Ipv6Addr};

use harness::{
    CLIENT_ROUTED, Gateway, Lab, Namespace, Running, Site, Truth, digits as hex, number,
    packets::{HOP_BY_HOP, HOST, LINK, OPTIONS, ROUTING, UDP, datagram, v6},
    text,
};
use serde_json::Value;

/// A datagram of 128 bytes. `first`: version and length of the header.
fn v4(first: u8, from: Ipv4Addr, to: Ipv4Addr) -> Vec<u8> {
    let mut packet = vec![first, 0, 0, 128, 0, 7, 0, 0, 64, UDP, 0, 0];
    packet.extend(from.octets());
    packet.extend(to.octets());
    packet.extend(datagram(100));
    packet
}

/// 1002 bytes that begin as an extension header which is longer.
fn too_long() -> Vec<u8> {
    let mut rest = vec![b'x'; 1002];
    rest[..2].copy_from_slice(&[UDP, 255]);
    rest
}

/// So many extension headers of destination options, which hold nothing, and a datagram.
fn extended(count: usize) -> Vec<u8> {
    let header = |next: u8| [next, 0, 1, 4, 0, 0, 0, 0];
    let mut rest: Vec<u8> = (1..count).flat_map(|_| header(OPTIONS)).collect();
    rest.extend(header(UDP));
    rest.extend(datagram(100));
    rest
}

fn fd77(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, last)
}

/// In RU, or in a part of it that the tests give to US.
fn there(is_approved: bool, last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0xf, if is_approved { 0xa } else { 0 }, 0, 0, 0, last)
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
    let site = site(&lab.host, &lab);
    site.drop_in("policy", policy);
    let daemon = site.start();
    test(&lab, &site);
    assert_whole(&site);
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

/// Nothing was seen and not told.
fn assert_whole(site: &Site) {
    let metrics = site.metrics();
    let mut lost = metrics.nonzero("geofenced_events_lost_total");
    lost.retain(|series| series.contains("packet-malformed"));
    lost.extend(metrics.nonzero("geofenced_verdict_disagreements_total"));
    assert!(lost.is_empty(), "{lost:?}\n{}", site.log());
}

/// Sends three, and gives back the only record of them once it has all.
fn only_record(lab: &Lab, site: &Site, what: &str, words: &str) -> (Value, Truth) {
    let before = lab.frames_arrived().packets;
    let truth = lab.egress(&format!("{words} --count 3"));
    // Neighbours may be asked for meanwhile.
    assert!(lab.frames_arrived().packets >= before + 3, "{what}: did not arrive");
    let mut last = Vec::new();
    let told = harness::eventually(|| {
        last = site.events_of(truth.pid);
        last.first().filter(|event| number(event, "/source/packets") == 3).cloned()
    });
    let event = told.unwrap_or_else(|| panic!("{what}: {last:?}\n{}", site.log()));
    assert_eq!(last.len(), 1, "{what}: {last:?}");
    assert_eq!(text(&event, "/process/executable"), truth.executable, "{event}");
    (event, truth)
}

/// Of a raw socket: what it is, where its header says that it goes, and the packet.
fn malformed() -> Vec<(&'static str, String, Vec<u8>)> {
    let mut rows = Vec::new();
    let to = |last| (Ipv4Addr::new(203, 0, 113, last), Ipv4Addr::new(198, 51, 100, last));
    for (what, first, last) in [
        ("version 0", 0x05, 20),
        ("version 5", 0x55, 21),
        ("version 15", 0xf5, 22),
        ("version 6 in IPv4", 0x65, 23),
    ] {
        let (cn, us) = to(last);
        for address in [cn, us] {
            let mut packet = v4(first, HOST, address);
            // Where an IPv6 header has its destination, an approved address.
            packet[24..40].copy_from_slice(&there(true, 1).octets());
            rows.push((what, address.to_string(), packet));
        }
    }
    for (what, next, last) in [
        ("hop-by-hop options that are too long", HOP_BY_HOP, 30),
        ("a routing header that is too long", ROUTING, 31),
        ("destination options that are too long", OPTIONS, 32),
    ] {
        for is_approved in [false, true] {
            let address = there(is_approved, last);
            rows.push((what, address.to_string(), v6(fd77(2), address, next, &too_long())));
        }
    }
    for is_approved in [false, true] {
        let address = there(is_approved, 33);
        let packet = v6(fd77(2), address, OPTIONS, &extended(6));
        rows.push(("six extension headers", address.to_string(), packet));
        let mut packet = v6(fd77(2), address, OPTIONS, &extended(1));
        packet[0] = 0x40;
        rows.push(("version 4 in IPv6", address.to_string(), packet));
    }
    rows
}

#[test]
fn what_a_raw_socket_sends_with_headers_that_nobody_can_read_is_told_and_never_approved() {
    watched("", |lab, site| {
        for (what, to, packet) in malformed() {
            let what = format!("{what} to {to}");
            let words = format!("given-packet --to {to} --given {}", hex(&packet));
            let (event, _) = only_record(lab, site, &what, &words);
            assert_eq!(text(&event, "/destination/ip"), to, "{what}: {event}");
            assert_eq!(number(&event, "/source/bytes"), 3 * packet.len() as u64, "{what}: {event}");
            assert_eq!(event["geofenced"]["malformed"], true, "{what}: {event}");
            assert_eq!(text(&event, "/geofenced/origin"), "process", "{what}: {event}");
            assert_eq!(text(&event, "/geofenced/phase"), "sent", "{what}: {event}");
            assert_eq!(text(&event, "/geofenced/verdict"), "unapproved", "{what}: {event}");
            // No port that a rule could take for one stands behind such a header.
            assert_eq!(number(&event, "/destination/port"), 0, "{what}: {event}");
            let country = text(&event, "/destination/geo/country_iso_code");
            let reason = if country == "US" { "malformed" } else { "country" };
            assert_eq!(text(&event, "/geofenced/reason"), reason, "{what}: {event}");
        }
    });
}

#[test]
fn five_extension_headers_are_read_to_the_ports_behind_them() {
    watched("", |lab, site| {
        let to = there(true, 40);
        let packet = v6(fd77(2), to, OPTIONS, &extended(5));
        let words = format!("given-packet --to {to} --given {}", hex(&packet));
        let (event, _) = only_record(lab, site, "five", &words);
        assert_eq!(text(&event, "/destination/ip"), to.to_string(), "{event}");
        assert_eq!(text(&event, "/network/transport"), "udp", "{event}");
        assert_eq!(number(&event, "/destination/port"), 9, "{event}");
        assert_eq!(text(&event, "/geofenced/verdict"), "approved", "{event}");
        assert!(event["geofenced"].get("malformed").is_none(), "{event}");
    });
}

#[test]
fn malformed_packets_of_a_flow_are_told_apart_from_those_that_are_in_order() {
    watched("", |lab, site| {
        let to = Ipv4Addr::new(198, 51, 100, 50);
        // Protocol 253, so that both are without ports: the same but for their version.
        let mut plain = v4(0x45, HOST, to);
        plain[9] = 253;
        let mut broken = plain.clone();
        broken[0] = 0x55;
        let file = site.path().join("given");
        let lines = [&plain, &broken, &plain].map(|it| format!("{to} {}", hex(it)));
        std::fs::write(&file, lines.join("\n")).expect("write packets");
        let mut sending = lab.start(harness::Side::Host, "given-lines");
        sending.give(&file);
        let truth = sending.finish();
        let mut told = Vec::new();
        let all = harness::eventually(|| {
            told = site.events_of(truth.pid);
            let packets: u64 = told.iter().map(|it| number(it, "/source/packets")).sum();
            (packets == 3).then(|| told.clone())
        });
        let all = all.unwrap_or_else(|| panic!("{told:?}\n{}", site.log()));
        assert_eq!(all.len(), 2, "{all:?}");
        for event in all {
            let is_malformed = event["geofenced"]["malformed"] == true;
            let expected = if is_malformed { ("unapproved", 1) } else { ("approved", 2) };
            let found = (text(&event, "/geofenced/verdict"), number(&event, "/source/packets"));
            assert_eq!(found, expected, "{event}");
        }
    });
}

#[test]
fn a_rule_approves_what_is_malformed_and_a_policy_that_approves_of_the_unknown_does_not() {
    let policy = "[policy]\nunknown_country = \"approved\"\n
[[policy.rule]]\nname = \"lab\"\nallow = true\ndestination = \"203.0.113.60\"\n";
    watched(policy, |lab, site| {
        for (last, verdict, reason) in [(60, "approved", "rule:lab"), (61, "unapproved", "country")]
        {
            let to = Ipv4Addr::new(203, 0, 113, last);
            let words = format!("given-packet --to {to} --given {}", hex(&v4(0xf5, HOST, to)));
            let (event, _) = only_record(lab, site, reason, &words);
            assert_eq!(text(&event, "/geofenced/verdict"), verdict, "{event}");
            assert_eq!(text(&event, "/geofenced/reason"), reason, "{event}");
        }
        let to = Ipv4Addr::new(198, 51, 100, 62);
        let words = format!("given-packet --to {to} --given {}", hex(&v4(0xf5, HOST, to)));
        let (event, _) = only_record(lab, site, "unknown", &words);
        assert_eq!(text(&event, "/geofenced/verdict"), "unknown", "{event}");
        assert_eq!(text(&event, "/geofenced/reason"), "malformed", "{event}");
    });
}

#[test]
fn what_a_packet_socket_sends_with_headers_that_nobody_can_read_is_told_and_never_approved() {
    watched("", |lab, site| {
        let (cn, us) = (Ipv4Addr::new(203, 0, 113, 64), Ipv4Addr::new(198, 51, 100, 64));
        let mut rows = Vec::new();
        for to in [cn, us] {
            rows.push(("a header of 16 bytes", to.to_string(), "0800", v4(0x44, HOST, to)));
            let mut short = v4(0x4f, HOST, Ipv4Addr::from(u32::from(to) + 1));
            short.truncate(59);
            let to = Ipv4Addr::from(u32::from(to) + 1);
            rows.push(("a header that is longer", to.to_string(), "0800", short));
        }
        for is_approved in [false, true] {
            let to = there(is_approved, 64);
            let packet = v6(fd77(2), to, OPTIONS, &too_long());
            rows.push(("options that are too long", to.to_string(), "86dd", packet));
        }
        for (what, to, ethertype, packet) in rows {
            let words = format!("given-frame --given {}{ethertype}{}", hex(&LINK), hex(&packet));
            let (event, _) = only_record(lab, site, what, &words);
            assert_eq!(text(&event, "/destination/ip"), to, "{what}: {event}");
            assert_eq!(number(&event, "/source/bytes"), 3 * packet.len() as u64, "{what}: {event}");
            assert_eq!(event["geofenced"]["malformed"], true, "{what}: {event}");
            assert_eq!(text(&event, "/geofenced/origin"), "packet-socket", "{what}: {event}");
            assert_eq!(text(&event, "/geofenced/verdict"), "unapproved", "{what}: {event}");
        }
    });
}

#[test]
fn a_frame_that_is_too_short_for_the_ip_that_it_says_it_is_is_told_by_its_ethertype() {
    watched("", |lab, site| {
        for (ethertype, version) in [("0800", 0x45), ("86dd", 0x60)] {
            let digits = format!("{}{ethertype}{}", hex(&LINK), hex(&[version; 16]));
            let words = format!("given-frame --given {digits}");
            let (event, _) = only_record(lab, site, ethertype, &words);
            assert_eq!(text(&event, "/geofenced/ethertype"), format!("0x{ethertype}"), "{event}");
            assert_eq!(number(&event, "/source/bytes"), 3 * 16, "{event}");
            assert_eq!(text(&event, "/geofenced/verdict"), "unapproved", "{event}");
        }
    });
}

#[test]
fn what_a_gateway_forwards_with_headers_that_nobody_can_read_is_told_and_never_approved() {
    let gateway = Gateway::new();
    let (lab, host) = (&gateway.lab, &gateway.lab.host);
    let site = site(host, lab);
    let daemon = site.start();
    let from = "fd77:1::5".parse().expect("an address");
    for (number_of, (what, next)) in
        [("a routing header", ROUTING), ("destination options", OPTIONS)].into_iter().enumerate()
    {
        for is_approved in [false, true] {
            let to = there(is_approved, 70 + number_of as u16);
            let packet = v6(from, to, next, &too_long());
            let before = lab.frames_arrived().packets;
            let words = format!("given-packet --to {to} --given {} --count 3", hex(&packet));
            gateway.from_client(&words);
            let told = harness::eventually(|| {
                let events = site.events(&["--destination", &to.to_string()]);
                events.into_iter().find(|event| number(event, "/source/packets") == 3)
            });
            let event = told.unwrap_or_else(|| panic!("{what} to {to}\n{}", site.log()));
            assert!(lab.frames_arrived().packets >= before + 3, "{what}: did not arrive");
            assert_eq!(text(&event, "/geofenced/origin"), "forwarded", "{event}");
            assert_eq!(text(&event, "/source/ip"), "fd77:1::5", "{event}");
            assert_eq!(event["geofenced"]["malformed"], true, "{event}");
            assert_eq!(text(&event, "/geofenced/verdict"), "unapproved", "{event}");
            assert_eq!(number(&event, "/source/bytes"), 3 * 1042, "{event}");
        }
    }
    // What no IPv4 router forwards is not told as if it had left.
    let packet =
        v4(0x55, CLIENT_ROUTED.parse().expect("an address"), Ipv4Addr::new(203, 0, 113, 79));
    gateway.from_client(&format!("given-packet --to 203.0.113.79 --given {}", hex(&packet)));
    gateway.from_client("udp-sendto --to 203.0.113.78:9");
    let next = harness::eventually(|| site.events(&["--destination", "203.0.113.78"]).pop());
    assert!(next.is_some(), "{}", site.log());
    assert_eq!(site.events(&["--destination", "203.0.113.79"]), [] as [Value; 0]);
    assert_whole(&site);
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

#[test]
fn what_a_bridged_guest_sends_is_told_by_its_ethertype_where_no_router_takes_it_for_ip() {
    let (lab, guest) = (Lab::new(), Namespace::new());
    let host = &lab.host;
    host.ip("link add up0 type bridge");
    host.within(|| {
        for table in ["iptables", "ip6tables"] {
            // Where bridges have netfilter look at what they carry, it drops such packets.
            let _ = std::fs::write(format!("/proc/sys/net/bridge/bridge-nf-call-{table}"), "0");
        }
    });
    host.ip("link set wan master up0");
    host.ip("link set up0 up");
    host.ip(&format!("link add guest0 type veth peer name eth0 netns {}", guest.path()));
    host.ip("link set guest0 master up0 up");
    guest.ip("link set eth0 up");
    let site = site(host, &lab);
    let daemon = site.start();
    let from_guest = |ethertype: &str, packet: &[u8]| {
        let given = format!("{}{ethertype}{}", hex(&LINK), hex(packet));
        let words = format!("given-frame --device eth0 --count 3 --given {given}");
        Running::start(&mut lab.command_in(&guest, &words)).finish();
    };
    let told = |what: &str, wanted: &dyn Fn(&Value) -> bool| {
        let event = harness::eventually(|| {
            let events = site.events(&["--origin", "forwarded"]);
            events.into_iter().find(|it| wanted(it) && number(it, "/source/packets") == 3)
        });
        event.unwrap_or_else(|| panic!("{what}: {:?}\n{}", site.events(&[]), site.log()))
    };

    // To whoever is on the link: with an approved address where that of the right version would be.
    let mut packet = v4(0x65, HOST, Ipv4Addr::new(203, 0, 113, 80));
    packet[24..40].copy_from_slice(&there(true, 80).octets());
    from_guest("0800", &packet);
    let frame = told("version 6", &|it| text(it, "/geofenced/ethertype") == "0x0800");
    assert!(frame.pointer("/destination/ip").is_none(), "{frame}");
    assert_eq!(text(&frame, "/geofenced/verdict"), "unapproved", "{frame}");
    assert_eq!(number(&frame, "/source/bytes"), 3 * 128, "{frame}");

    let to = there(true, 81);
    from_guest("86dd", &v6(fd77(9), to, OPTIONS, &too_long()));
    let event = told("options", &|it| text(it, "/destination/ip") == to.to_string());
    assert_eq!(event["geofenced"]["malformed"], true, "{event}");
    assert_eq!(text(&event, "/geofenced/reason"), "malformed", "{event}");
    assert_whole(&site);
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

#[test]
fn what_the_kernel_asks_its_neighbours_is_no_record_and_is_counted() {
    let lab = Lab::new();
    for (namespace, device) in [(&lab.host, "wan"), (&lab.internet, "lan")] {
        namespace.sysctl(&format!("ipv6/conf/{device}/disable_ipv6"), "1");
    }
    let site = site(&lab.host, &lab);
    let daemon = site.start();
    let counted = || site.metrics().sum("geofenced_housekeeping_frames_total", &[]);
    let before = (lab.frames_arrived().packets, counted());
    // Nobody has this address.
    lab.egress("udp-sendto --to 10.77.0.99:9");
    let is_told = harness::eventually(|| {
        let frames = (lab.frames_arrived().packets - before.0) as f64;
        let frames_told = counted() - before.1;
        // The kernel may ask again between the two.
        (frames > 0.0 && frames_told >= frames).then_some(())
    });
    assert!(is_told.is_some(), "{} counted\n{}", counted(), site.log());
    assert_eq!(site.events(&["--origin", "kernel,packet-socket"]), [] as [Value; 0]);
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

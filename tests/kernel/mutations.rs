//! Packets and frames with random headers, and real ones with bytes changed, by packet sockets, raw sockets
//! and through a gateway: what is told, and of which kind, is what arrived, and nothing is approved that
//! goes elsewhere. `GEOFENCED_MUTATIONS` is how many, `GEOFENCED_MUTATIONS_SEED` which. Needs root.

#[path = "mutations/made.rs"]
mod made;
#[path = "packets/oracle.rs"]
mod oracle;
#[path = "mutations/receiver.rs"]
mod receiver;

use std::{collections::BTreeMap, fmt::Write as _, net::IpAddr};

use harness::{Lab, Namespace, Running, Side, Site, number, text};
use made::{Ends, Made, Way};
use receiver::{Kind, Receiver, Tally};
use serde_json::Value;

const PACKETS: usize = 100_000;
/// Of these, one in so many is sent by the client.
const CLIENTS: usize = 4;
const BATCH: usize = 400;
/// Of the tries of a wait, one in so many asks.
const ASKED_EACH: u32 = 20;
/// Of the gateway, to which the client's frames go.
const ROUTER: [u8; 6] = [2, 0, 0x5e, 0, 0x53, 1];

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |it| it.parse().expect("a number"))
}

/// Another machine, whose packets the host forwards as they are.
fn client(host: &Namespace) -> Namespace {
    let client = Namespace::new();
    client.sysctl("ipv6/conf/default/accept_dad", "0");
    host.sysctl("ipv4/ip_forward", "1");
    host.sysctl("ipv6/conf/all/forwarding", "1");
    host.ip(&format!("link add lan0 type veth peer name eth0 netns {}", client.path()));
    host.ip("link set lan0 address 02:00:5e:00:53:01 up");
    host.ip("address add 192.168.88.1/24 dev lan0");
    host.ip("address add fd77:8::1/64 dev lan0 nodad");
    client.ip("link set eth0 up");
    client.ip("address add 192.168.88.5/24 dev eth0");
    client.ip("address add fd77:8::5/64 dev eth0 nodad");
    client.ip("route add default via 192.168.88.1");
    client.ip("-6 route add default via fd77:8::1");
    client
}

/// What is sent may be an advertisement of a neighbour, and must lead nobody to another.
fn keep_neighbours(lab: &Lab, client: &Namespace) {
    const GATEWAY: &str = "02:00:5e:00:53:02";
    lab.internet.ip(&format!("link set lan address {GATEWAY}"));
    for address in ["10.77.0.1", "fd77::1"] {
        lab.host.ip(&format!("neighbour replace {address} lladdr {GATEWAY} dev wan nud permanent"));
    }
    for address in ["192.168.88.1", "fd77:8::1"] {
        let router = "02:00:5e:00:53:01";
        client.ip(&format!("neighbour replace {address} lladdr {router} dev eth0 nud permanent"));
    }
}

fn ends(v4: &str, v6: &str, router: [u8; 6]) -> Ends {
    let parsed = "an address";
    Ends { v4: v4.parse().expect(parsed), v6: v6.parse().expect(parsed), router }
}

/// Not what the receiver can't see.
fn is_meant(way: Way, bytes: &[u8]) -> bool {
    match way {
        // The receiver's kernel throws away what begins as a tag and ends in it.
        Way::Frame => {
            let is_tagged = matches!(bytes.get(12..14), Some([0x81, 0] | [0x88, 0xa8]));
            !is_tagged || bytes.len() >= 20
        }
        Way::Raw => true,
    }
}

fn send(by: &mut Running, made: &mut Made, count: usize, site: &Site) {
    let lines = (0..count).fold(String::new(), |mut lines, _| {
        let _ = lines.write_str(&made.line(is_meant));
        lines
    });
    let file = site.path().join("given");
    std::fs::write(&file, lines).expect("write packets");
    by.give(&file);
}

/// Where neighbours and the kernel's own talk to each other: of no interest, on either side.
fn is_near(to: IpAddr) -> bool {
    match to {
        IpAddr::V4(to) => {
            let is_group = to.is_multicast() || to.is_broadcast() || to.is_unspecified();
            is_group || to.is_private() || to.is_loopback() || to.is_link_local()
        }
        IpAddr::V6(to) => {
            let is_unspoken = to.is_multicast() || to.is_loopback() || to.is_unspecified();
            is_unspoken || to.is_unique_local() || to.is_unicast_link_local()
        }
    }
}

/// Where data may go.
fn is_approved(to: IpAddr) -> bool {
    let to = to.to_string();
    to.starts_with("198.51.100.") || to.starts_with("2001:db8:f:a:")
}

fn far(tally: &Tally) -> Tally {
    let is_far = |kind: &Kind| !matches!(kind, Kind::Ip { to, .. } if is_near(*to));
    tally.iter().filter(|(kind, _)| is_far(kind)).map(|(kind, count)| (*kind, *count)).collect()
}

fn kind(event: &Value) -> Kind {
    if let Some(ethertype) = text(event, "/geofenced/ethertype").strip_prefix("0x") {
        return Kind::Frame { ethertype: u16::from_str_radix(ethertype, 16).expect("a number") };
    }
    let to = text(event, "/destination/ip").parse().expect("an address");
    Kind::Ip { to, is_malformed: event["geofenced"]["malformed"] == true }
}

fn told(events: &[Value]) -> Tally {
    let mut told = Tally::new();
    for event in events {
        let count = told.entry(kind(event)).or_default();
        count.0 += number(event, "/source/packets");
        count.1 += number(event, "/source/bytes");
    }
    // An attempt alone is nothing that left.
    told.retain(|_, count| count.0 > 0);
    told
}

/// What differs: told, arrived.
fn differences(told: &Tally, arrived: &Tally) -> BTreeMap<Kind, [(u64, u64); 2]> {
    let kinds = told.keys().chain(arrived.keys());
    let both = kinds.map(|kind| {
        let of = |tally: &Tally| tally.get(kind).copied().unwrap_or_default();
        (*kind, [of(told), of(arrived)])
    });
    both.filter(|(_, [told, arrived])| told != arrived).collect()
}

/// Nothing is approved but what goes where it may, and can be read.
fn assert_approved(events: &[Value]) {
    let approved = events.iter().filter(|it| text(it, "/geofenced/verdict") == "approved");
    let mut count = 0;
    for event in approved {
        let to: IpAddr = text(event, "/destination/ip").parse().expect("an address");
        let is_read = kind(event) == Kind::Ip { to, is_malformed: false };
        assert!(is_approved(to) && is_read, "{event}");
        count += 1;
    }
    assert!(count > 0, "nothing was approved: this tests nothing");
}

#[test]
fn of_a_hail_of_mutations_what_is_told_is_what_arrived_and_nothing_is_approved_that_should_not() {
    let seed = setting("GEOFENCED_MUTATIONS_SEED", 1);
    let total = setting("GEOFENCED_MUTATIONS", PACKETS as u64) as usize;
    let lab = Lab::new();
    let client = client(&lab.host);
    keep_neighbours(&lab, &client);
    let site = Site::inside(&lab.host, env!("CARGO_BIN_EXE_geofenced"));
    site.watch_only(lab.cgroup.path());
    // Wherever a changed address leads, it is one country or the other.
    let places = [("2001:db8:f:a::/64", "US"), ("0.0.0.0/0", "CN"), ("::/0", "CN")]
        .map(|(network, country)| {
            format!("[[geo.override]]\nnetwork = \"{network}\"\ncountry = \"{country}\"\n")
        })
        .concat();
    site.drop_in("places", &places);
    let daemon = site.start();
    let receiver = lab.internet.within(|| Receiver::at("lan")).expect("a packet socket");
    let (mut ours, mut theirs) = (
        Made::new(seed, ends("10.77.0.2", "fd77::2", [0xff; 6])),
        Made::new(seed + 1, ends("192.168.88.5", "fd77:8::5", ROUTER)),
    );
    let mut host = lab.start(Side::Host, "given-lines --device wan");
    let mut clients = Running::start(&mut lab.command_in(&client, "given-lines --device eth0"));
    let mut arrived = Tally::new();
    for _ in 0..total.div_ceil(BATCH) {
        send(&mut host, &mut ours, BATCH - BATCH / CLIENTS, &site);
        send(&mut clients, &mut theirs, BATCH / CLIENTS, &site);
        receiver.drain(&mut arrived).expect("read frames");
    }
    let taken = host.finish().flows_made + clients.finish().flows_made;

    let mut last = Vec::new();
    // An answer is long: not asked for as often as others.
    let mut tries = 0;
    let equal = harness::eventually(|| {
        tries += 1;
        if tries % ASKED_EACH != 0 {
            return None;
        }
        receiver.drain(&mut arrived).expect("read frames");
        last = site.events(&["--limit", "10000000"]);
        differences(&far(&told(&last)), &far(&arrived)).is_empty().then_some(())
    });
    let differing = differences(&far(&told(&last)), &far(&arrived));
    assert!(equal.is_some(), "seed {seed}: [told, arrived] {differing:?}\n{}", site.log());
    assert_eq!(receiver.dropped(), 0, "the receiver missed some");
    assert_approved(&last);
    let lost = site.metrics().nonzero("geofenced_events_lost_total");
    assert!(lost.is_empty(), "seed {seed}: {lost:?}\n{}", site.log());
    let packets: u64 = far(&arrived).values().map(|it| it.0).sum();
    let malformed = arrived.keys().filter(|it| matches!(it, Kind::Ip { is_malformed: true, .. }));
    let frames = arrived.keys().filter(|it| matches!(it, Kind::Frame { .. }));
    println!(
        "mutations: seed {seed}: {taken} of {total} taken, {packets} compared, of {} kinds, {} malformed, {} frames, in {} records",
        arrived.len(),
        malformed.count(),
        frames.count(),
        last.len()
    );
    for origin in ["process", "packet-socket", "forwarded"] {
        let is_met = last.iter().any(|it| text(it, "/geofenced/origin") == origin);
        assert!(is_met, "nothing of origin {origin}: this tests too little");
    }
    assert!(packets > taken / 2, "most of what was sent did not arrive: this tests nothing");
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

//! Ways out by whatever interface, routed or not: told once, however many devices a packet passes.
//! Needs root.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    process::{Command, Stdio},
};

use harness::{Count, Gateway, Lab, Namespace, Running, Side, Site, Truth, number, sum, text};
use serde_json::Value;

/// Counts what arrives in a namespace for the addresses of a peer on the link.
fn count_arrivals(namespace: &Namespace) {
    let rules = "table inet peer {
  chain arriving {
    type filter hook prerouting priority -450; policy accept;
    ip daddr 203.0.113.128/25 counter
  }
}
";
    let mut nft = Command::new("nft");
    nft.args(["-f", "/dev/stdin"]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = namespace.admit(&mut nft).spawn().expect("run nft");
    let mut stdin = child.stdin.take().expect("its standard input");
    std::io::Write::write_all(&mut stdin, rules.as_bytes()).expect("write the rules");
    drop(stdin);
    assert!(child.wait().expect("wait for nft").success());
}

fn arrivals(namespace: &Namespace) -> Count {
    let mut nft = Command::new("nft");
    nft.args(["-j", "list", "table", "inet", "peer"]);
    let output = namespace.admit(&mut nft).output().expect("run nft");
    let listed: Value = serde_json::from_slice(&output.stdout).expect("nft prints JSON");
    let objects = listed["nftables"].as_array().expect("a list");
    let counter = objects.iter().find_map(|it| it.pointer("/rule/expr/1/counter"));
    let counter = counter.unwrap_or_else(|| panic!("no counter: {listed}"));
    Count { packets: number(counter, "/packets"), bytes: number(counter, "/bytes") }
}

/// A peer on a cable of its own, which no route with a gateway leads through.
fn on_link(gateway: &Gateway) -> Namespace {
    let (host, peer) = (&gateway.lab.host, Namespace::new());
    host.ip(&format!("link add side0 type veth peer name eth0 netns {}", peer.path()));
    host.ip("link set side0 up");
    host.ip("route add 203.0.113.128/25 dev side0");
    peer.ip("link set eth0 address 02:00:5e:00:53:99 up");
    peer.ip("route add local 203.0.113.128/25 dev lo");
    peer.ip("route add 0.0.0.0/0 dev eth0");
    for number in 129..150 {
        host.ip(&format!("neighbor add 203.0.113.{number} lladdr 02:00:5e:00:53:99 dev side0"));
    }
    count_arrivals(&peer);
    peer
}

fn inside(gateway: &Gateway) -> Site {
    let site = Site::inside(&gateway.lab.host, env!("CARGO_BIN_EXE_geofenced"));
    site.watch_only(gateway.lab.cgroup.path());
    site
}

/// Waits until as much is told as going there as `expected` gives; gives back the records.
fn told(site: &Site, to: &str, expected: impl Fn() -> Count) -> Vec<Value> {
    let mut events = Vec::new();
    let is_told = harness::eventually(|| {
        events = site.events(&["--destination", to]);
        let expected = expected();
        (expected.packets > 0 && sum(&events) == expected).then_some(())
    });
    assert!(is_told.is_some(), "to {to} {:?}, told {events:?}\n{}", expected(), site.log());
    events
}

#[test]
fn what_leaves_to_a_peer_on_the_link_is_told_whoever_sends() {
    let gateway = Gateway::new();
    let peer = on_link(&gateway);
    let site = inside(&gateway);
    let daemon = site.start();
    let lab = &gateway.lab;

    let words = "packet-dgram --device side0 --from 10.77.0.2 --to 203.0.113.130:9 --count 20";
    let truth = lab.egress(words);
    let events = told(&site, "203.0.113.130", || arrivals(&peer));
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(text(&events[0], "/geofenced/origin"), "packet-socket", "{events:?}");
    assert_eq!(text(&events[0], "/geofenced/verdict"), "unapproved", "{events:?}");
    assert_eq!(number(&events[0], "/process/pid"), u64::from(truth.pid), "{events:?}");

    let before = arrivals(&peer);
    gateway.from_client("udp-sendto --to 203.0.113.131:9 --bytes 1000");
    let more = || {
        let now = arrivals(&peer);
        Count { packets: now.packets - before.packets, bytes: now.bytes - before.bytes }
    };
    let events = told(&site, "203.0.113.131", more);
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(text(&events[0], "/geofenced/origin"), "forwarded", "{events:?}");
    assert_eq!(text(&events[0], "/geofenced/verdict"), "unapproved", "{events:?}");
    assert_eq!(text(&events[0], "/source/ip"), harness::CLIENT, "{events:?}");
    assert_eq!(text(&events[0], "/observer/egress/interface/name"), "side0", "{events:?}");
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

#[test]
fn what_a_peer_sends_first_makes_nothing_of_an_answer_to_it() {
    let gateway = Gateway::new();
    let peer = on_link(&gateway);
    peer.ip("address add 203.0.113.140/32 dev eth0");
    gateway.lab.host.sysctl("ipv4/conf/all/rp_filter", "0");
    let site = inside(&gateway);
    let daemon = site.start();
    // The peer speaks first, from and to the ports that the client will use.
    let first =
        format!("packet-dgram --device eth0 --from 203.0.113.140 --to {}:9", harness::CLIENT);
    Running::start(&mut gateway.lab.command_in(&peer, &first)).finish();
    let words = "raw-hdrincl --from 192.168.77.5 --to 203.0.113.140:40077 --bytes 500 --count 3";
    gateway.from_client(words);
    let events = told(&site, "203.0.113.140", || arrivals(&peer));
    assert!(events.iter().all(|it| text(it, "/geofenced/verdict") == "unapproved"), "{events:?}");
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

#[test]
fn what_comes_in_and_what_goes_from_container_to_container_is_no_violation() {
    let gateway = Gateway::new();
    let (host, other) = (&gateway.lab.host, Namespace::new());
    host.ip(&format!("link add vec1 type veth peer name eth0 netns {}", other.path()));
    host.ip("link set vec1 master br0 up");
    other.ip("address add 172.30.0.3/24 dev eth0");
    other.ip("link set eth0 up");
    let site = inside(&gateway);
    let daemon = site.start();
    let internal = gateway.from_container("udp-sendto --to 172.30.0.3:9");
    let answered = gateway.from_client("udp-sendto --to 203.0.113.30:9");
    // Somebody in the internet sends to the client, unasked.
    let words =
        format!("udp-sendto --from 203.0.113.31 --to {}:99 --bytes 700", harness::CLIENT_ROUTED);
    gateway.lab.start(Side::Internet, &words).finish();
    told(&site, "203.0.113.30", || {
        gateway.lab.arrived_at(&["203.0.113.30".parse().unwrap()], "udp")
    });
    let events = told(&site, "172.30.0.3", || Count { packets: 1, bytes: 128 });
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(number(&events[0], "/process/pid"), u64::from(internal.pid), "{events:?}");
    assert_eq!(text(&events[0], "/geofenced/verdict"), "local", "{events:?}");
    // What came in is told as nobody's egress.
    let inbound = site.events(&["--destination", harness::CLIENT_ROUTED]);
    assert!(inbound.is_empty(), "{inbound:?}");
    // Nobody listened at the client, which said so: that did leave.
    let udp = ["--verdict", "unapproved", "--origin", "forwarded,kernel", "--transport", "udp"];
    let violations = site.events(&udp);
    let other = violations.iter().find(|it| text(it, "/destination/ip") != "203.0.113.30");
    assert!(other.is_none(), "{other:?}, {answered:?}");
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

/// Makes the way to the internet a bridge, of which it is a port, and a guest another.
fn bridged(gateway: &Gateway) -> Namespace {
    let (host, guest) = (&gateway.lab.host, Namespace::new());
    host.ip("link add up0 type bridge");
    // Nothing is left that makes the port a way to a gateway.
    host.ip("address flush dev wan");
    host.ip("-6 route flush dev wan");
    host.ip("link set wan master up0");
    host.ip("address add 10.77.0.2/24 dev up0");
    host.ip("link set up0 up");
    for network in ["203.0.113.0/24", "198.51.100.0/24"] {
        host.ip(&format!("route add {network} via 10.77.0.1 dev up0"));
    }
    host.ip(&format!("link add guest0 type veth peer name eth0 netns {}", guest.path()));
    host.ip("link set guest0 master up0 up");
    guest.ip("link set eth0 address 02:00:5e:00:53:42 up");
    guest.ip("address add 10.77.0.9/24 dev eth0");
    guest.ip("route add default via 10.77.0.1");
    guest
}

fn arrived_at(lab: &Lab, address: &str) -> Count {
    lab.arrived_at(&[address.parse().expect("an address")], "udp")
}

fn from_guest(gateway: &Gateway, guest: &Namespace, words: &str) -> Truth {
    Running::start(&mut gateway.lab.command_in(guest, words)).finish()
}

#[test]
fn by_a_bridge_that_leads_outside_each_packet_is_told_once_and_guests_are_told() {
    let gateway = Gateway::new();
    let guest = bridged(&gateway);
    // The port has a route of its own, too.
    gateway.lab.host.ip("route add 203.0.113.250/32 via 10.77.0.1 dev wan onlink");
    let site = inside(&gateway);
    let daemon = site.start();
    let lab = &gateway.lab;
    from_guest(&gateway, &guest, "udp-connected --to 203.0.113.40:9 --count 10");
    let events = told(&site, "203.0.113.40", || arrived_at(lab, "203.0.113.40"));
    assert_eq!(text(&events[0], "/geofenced/origin"), "forwarded", "{events:?}");
    assert_eq!(text(&events[0], "/source/ip"), "10.77.0.9", "{events:?}");
    assert_eq!(text(&events[0], "/source/mac"), "02-00-5E-00-53-42", "{events:?}");

    // A frame of its own, which is no IP: of nobody here, but with the address of its card.
    let words =
        "packet-raw --device eth0 --from 10.77.0.9 --to 203.0.113.41:9 --bare --layers 88b5";
    from_guest(&gateway, &guest, words);
    let frame = harness::eventually(|| {
        let forwarded = site.events(&["--origin", "forwarded"]);
        forwarded.into_iter().find(|it| text(it, "/geofenced/ethertype") == "0x88b5")
    });
    let frame = frame.unwrap_or_else(|| panic!("no frame of the guest\n{}", site.log()));
    assert_eq!(text(&frame, "/source/mac"), "02-00-5E-00-53-77", "{frame}");
    assert_eq!(number(&frame, "/source/bytes"), 100, "{frame}");

    // Packet sockets at the bridge and at its port, a LAN client, a process.
    for (number, words) in [
        (42, "packet-dgram --device wan --from 10.77.0.2 --count 10"),
        (43, "packet-dgram --device up0 --from 10.77.0.2 --count 10"),
        (44, "udp-sendto --bytes 4000"),
    ] {
        let to = format!("203.0.113.{number}");
        lab.egress(&format!("{words} --to {to}:9"));
        let events = told(&site, &to, || arrived_at(lab, &to));
        assert_eq!(events.len(), 1, "{words}: {events:?}");
    }
    gateway.from_client("udp-sendto --from 192.168.77.6 --to 203.0.113.45:9 --bytes 4000");
    let events = told(&site, "203.0.113.45", || arrived_at(lab, "203.0.113.45"));
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(text(&events[0], "/source/ip"), "192.168.77.6", "{events:?}");
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

#[test]
fn a_packet_socket_that_goes_around_the_queues_of_a_port_or_a_side_link_is_told() {
    let gateway = Gateway::new();
    let guest = bridged(&gateway);
    let site = inside(&gateway);
    let daemon = site.start();
    // An interface's first seconds are its baseline.
    std::thread::sleep(std::time::Duration::from_secs(7));
    let words =
        "packet-bypass --device wan --from 10.77.0.2 --to 203.0.113.50:9 --count 20 --linger 3000";
    let truth = gateway.lab.egress(words);
    let arrived = || arrived_at(&gateway.lab, "203.0.113.50");
    let told = harness::eventually(|| {
        let events = site.events_of(truth.pid);
        (arrived().packets == 20 && sum(&events) == arrived()).then_some(events)
    });
    let events = told
        .unwrap_or_else(|| panic!("{:?} arrived, told {:?}", arrived(), site.events_of(truth.pid)));
    assert_eq!(text(&events[0], "/geofenced/verdict"), "unapproved", "{events:?}");
    drop(guest);
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

/// A datagram of a LAN client to this address is told as forwarded.
fn assert_client_is_told(gateway: &Gateway, site: &Site, to: &str) {
    gateway.from_client(&format!("udp-sendto --to {to}:9"));
    let events = told(site, to, || arrived_at(&gateway.lab, to));
    assert_eq!(text(&events[0], "/geofenced/origin"), "forwarded", "{events:?}");
}

/// How often the daemon's log holds this.
fn said(site: &Site, words: &str) -> usize {
    site.log().matches(words).count()
}

#[test]
fn a_name_in_the_configuration_that_no_interface_has_hides_nothing_and_is_told() {
    let gateway = Gateway::new();
    let site = inside(&gateway);
    site.drop_in("interfaces", "[capture]\ninterfaces = [\"wann\"]\n");
    let warning = "no interface is called";
    let mut check = site.command(&["check"]);
    let checked = gateway.lab.host.admit(&mut check).output().expect("run check");
    let checked = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.contains(&format!("{warning} wann")), "{checked}");
    let daemon = site.start();
    assert_client_is_told(&gateway, &site, "203.0.113.60");
    let status = site.ask(&["status"]).stdout;
    assert!(status.contains(&format!("{warning} wann")), "{status}");
    assert_eq!(said(&site, warning), 1, "{}", site.log());

    gateway.lab.host.ip("link property add dev wan altname wann");
    let gone =
        harness::eventually(|| (!site.ask(&["status"]).stdout.contains(warning)).then_some(()));
    assert!(gone.is_some(), "another name is a name, too\n{}", site.log());
    assert_client_is_told(&gateway, &site, "203.0.113.61");
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

#[test]
fn an_interface_whose_name_is_no_text_is_watched_and_shown_escaped() {
    let gateway = Gateway::new();
    let site = inside(&gateway);
    let daemon = site.start();
    let host = &gateway.lab.host;
    host.ip("link set wan down");
    let mut rename = Command::new("ip");
    rename.args(["link", "set", "wan", "name"]).arg(OsStr::from_bytes(b"w\xffn"));
    assert!(host.admit(&mut rename).status().expect("run ip").success());
    let mut up = Command::new("ip");
    up.args(["link", "set", "up", "dev"]).arg(OsStr::from_bytes(b"w\xffn"));
    assert!(host.admit(&mut up).status().expect("run ip").success());
    for network in ["203.0.113.0/24", "198.51.100.0/24"] {
        host.ip(&format!("route add {network} via 10.77.0.1"));
    }
    let words = "udp-sendto --from 192.168.77.6 --to";
    let event = harness::eventually(|| {
        gateway.from_client(&format!("{words} 203.0.113.62:9"));
        let events = site.events(&["--destination", "203.0.113.62"]);
        let shown = |it: &Value| text(it, "/observer/egress/interface/name") == "w\\xffn";
        events.into_iter().find(shown)
    });
    assert!(event.is_some(), "{:?}\n{}", site.events(&[]), site.log());
    assert!(site.log().len() < 4096, "{} bytes of log", site.log().len());
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());

    // One that has such a name from the start.
    let daemon = site.start();
    gateway.from_client(&format!("{words} 203.0.113.63:9"));
    told(&site, "203.0.113.63", || arrived_at(&gateway.lab, "203.0.113.63"));
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

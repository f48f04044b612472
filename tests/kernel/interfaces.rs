//! Interfaces that come, go, move and change their names while the daemon runs: what passes them is
//! seen within a second, and nothing of it ends the daemon. Needs root.

use std::{thread, time::Duration};

use harness::{Gateway, Namespace, Running, Site};
use serde_json::Value;

/// As long as the contract allows.
const SOON: Duration = Duration::from_secs(1);

fn ingress_of(event: &Value) -> &str {
    event.pointer("/observer/ingress/interface/name").and_then(Value::as_str).unwrap_or_default()
}

/// A datagram of a client to this address is told as having come in by this interface. How long that
/// took is printed; on a busy machine it may be more than [`SOON`].
fn assert_forwarded(gateway: &Gateway, site: &Site, client: &Namespace, to: &str, by: &str) {
    let mut port = 0;
    let mut last = None;
    let told = harness::eventually(|| {
        thread::sleep(SOON);
        port += 1;
        let words = format!("udp-sendto --to {to}:{port}");
        Running::start(&mut gateway.lab.command_in(client, &words)).finish();
        let filter = ["--destination", to, "--port", &port.to_string()];
        last = Some(harness::eventually(|| site.events(&filter).pop())?);
        last.as_ref().filter(|event| ingress_of(event) == by).cloned()
    });
    let event = told.unwrap_or_else(|| panic!("{to} by {by}: {last:?}\n{}", site.log()));
    assert_eq!(event["geofenced"]["origin"], "forwarded", "{event}");
    println!("{by} was captured {port} s after the change");
}

fn connect(gateway: &Gateway, client: &Namespace) {
    let host = &gateway.lab.host;
    host.ip(&format!("link add new0 type veth peer name eth0 netns {}", client.path()));
    client.ip("address add 192.168.99.5/24 dev eth0");
    client.ip("link set eth0 up");
    address(host, "new0");
    client.ip("route add default via 192.168.99.1");
    gateway.lab.internet.ip("route add 192.168.99.0/24 via 10.77.0.2");
}

fn address(host: &Namespace, device: &str) {
    host.ip(&format!("address add 192.168.99.1/24 dev {device}"));
    host.ip(&format!("link set {device} up"));
}

#[test]
fn an_interface_is_followed_from_its_making_to_its_end() {
    let gateway = Gateway::new();
    let (host, client) = (&gateway.lab.host, Namespace::new());
    let site = Site::inside(host, env!("CARGO_BIN_EXE_geofenced"));
    site.watch_only(gateway.lab.cgroup.path());
    let daemon = site.start();

    connect(&gateway, &client);
    assert_forwarded(&gateway, &site, &client, "203.0.113.31", "new0");

    host.ip("link set new0 down");
    host.ip("link set new0 name other0");
    host.ip("link set other0 up");
    assert_forwarded(&gateway, &site, &client, "203.0.113.32", "other0");

    let elsewhere = Namespace::new();
    host.ip(&format!("link set other0 netns {}", elsewhere.path()));
    elsewhere.ip(&format!("link set other0 netns {}", host.path()));
    address(host, "other0");
    assert_forwarded(&gateway, &site, &client, "203.0.113.33", "other0");

    host.ip("link add br9 type bridge");
    host.ip("address flush dev other0");
    host.ip("link set other0 master br9");
    address(host, "br9");
    // The port says more than the bridge.
    assert_forwarded(&gateway, &site, &client, "203.0.113.34", "other0");

    host.ip("link delete other0");
    host.ip("link delete br9");
    thread::sleep(SOON);
    assert_eq!(site.get("/readyz").map(|(status, _)| status), Some(200), "{}", site.log());
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

#[test]
fn a_tunnel_made_later_is_judged_inside_and_out() {
    let gateway = Gateway::new();
    let host = &gateway.lab.host;
    let site = Site::inside(host, env!("CARGO_BIN_EXE_geofenced"));
    site.watch_only(gateway.lab.cgroup.path());
    let daemon = site.start();
    host.ip("link add vx9 type vxlan id 9 remote 203.0.113.41 dstport 4789");
    host.ip("address add 198.51.100.129/25 dev vx9");
    host.ip("link set vx9 up");
    host.ip("neighbor add 198.51.100.130 lladdr 02:00:5e:00:53:99 dev vx9");
    thread::sleep(SOON);

    let truth = gateway.lab.egress("udp-sendto --to 198.51.100.130:9 --bytes 100");
    let told = |to: &str| harness::eventually(|| site.events(&["--destination", to]).pop());
    let inner = told("198.51.100.130").expect("the inner packet");
    assert_eq!(inner["geofenced"]["origin"], "process", "{inner}");
    assert_eq!(inner["process"]["pid"], truth.pid, "{inner}");
    assert_eq!(inner["source"]["bytes"], 128, "{inner}");
    let outer = told("203.0.113.41").expect("the outer packet");
    assert_eq!(outer["geofenced"]["origin"], "tunnel", "{outer}");
    assert_eq!(outer["geofenced"]["verdict"], "unapproved", "{outer}");
    assert_eq!(ingress_of(&outer), "vx9", "{outer}");
    // 14 of Ethernet, 8 of VXLAN, 8 of UDP, 20 of IP.
    assert_eq!(outer["source"]["bytes"], 128 + 50, "{outer}");
    assert!(outer.get("process").is_none(), "{outer}");

    host.ip("link delete vx9");
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

#[test]
fn what_leaves_by_any_interface_is_told_where_programs_are_filters_of_a_queue() {
    let gateway = Gateway::new();
    let host = &gateway.lab.host;
    let site = Site::inside(host, env!("CARGO_BIN_EXE_geofenced"));
    site.watch_only(gateway.lab.cgroup.path());
    let mut command = site.command(&["run"]);
    // As before Linux 6.6.
    command.env("GEOFENCED_WITHOUT_TCX", "1");
    let daemon = site.start_as(host.admit(&mut command));
    for (device, from, to) in [
        ("wan", "10.77.0.2", "203.0.113.41"),
        ("lan0", "192.168.77.1", "203.0.113.42"),
        ("br0", "172.30.0.1", "203.0.113.43"),
    ] {
        let words = format!("packet-dgram --device {device} --from {from} --to {to}:9");
        let truth = gateway.lab.egress(&words);
        let told = harness::eventually(|| site.events(&["--destination", to]).pop());
        let event = told.unwrap_or_else(|| panic!("by {device}: nothing\n{}", site.log()));
        assert_eq!(event["source"]["bytes"], 128, "{event}");
        assert_eq!(event["process"]["pid"], truth.pid, "{event}");
    }
    assert!(!site.log().contains("is not watched"), "{}", site.log());
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

//! Frames that a packet socket makes by itself: where IP is found in them, they are told with its
//! addresses, and where not, with their ethertype. None leaves untold. Needs root.

use harness::{Daemon, Lab, Site, number, text};
use serde_json::Value;

fn watched(test: impl FnOnce(&Lab, &Site)) {
    let lab = Lab::new();
    for (namespace, device) in [(&lab.host, "wan"), (&lab.internet, "lan")] {
        namespace.sysctl(&format!("ipv6/conf/{device}/disable_ipv6"), "1");
    }
    let site = Site::inside(&lab.host, env!("CARGO_BIN_EXE_geofenced"));
    site.watch_only(lab.cgroup.path());
    let daemon: Daemon<'_> = site.start();
    test(&lab, &site);
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

/// Sends three of a kind and gives back the only record of them, once it has all.
fn only_record(lab: &Lab, site: &Site, words: &str) -> (Value, harness::Truth) {
    let before = lab.frames_arrived();
    let truth = lab.egress(&format!("packet-raw --from 10.77.0.2 --count 3 {words}"));
    let after = lab.frames_arrived();
    assert_eq!(after.packets - before.packets, 3, "{words}: frames that arrived");
    let mut last = Vec::new();
    let told = harness::eventually(|| {
        last = site.events_of(truth.pid);
        last.first().filter(|event| number(event, "/source/packets") == 3).cloned()
    });
    let event = told.unwrap_or_else(|| panic!("{words}: {last:?}\n{}", site.log()));
    assert_eq!(last.len(), 1, "{words}: {last:?}");
    assert_eq!(text(&event, "/geofenced/origin"), "packet-socket", "{event}");
    assert_eq!(text(&event, "/process/executable"), truth.executable, "{event}");
    assert_eq!(text(&event, "/observer/egress/interface/name"), "wan", "{event}");
    (event, truth)
}

/// What stands between the addresses of a frame and an IPv4 packet.
const WITH_IP: [(&str, &str); 9] = [
    ("a VLAN tag", "810000070800"),
    ("three VLAN tags", "88a8000188a8000281000007 0800"),
    ("four VLAN tags", "88a8000188a8000281000007810000080800"),
    ("a tag of type 0x9100", "910000070800"),
    ("a session of PPPoE", "88641100000100820021"),
    ("a session of PPPoE behind a tag", "8100000788641100000100820021"),
    ("a label of MPLS", "8847000101ff"),
    ("three labels of MPLS", "8847000100ff000200ff000301ff"),
    ("LLC and SNAP", "0088aaaa030000000800"),
];

#[test]
fn ip_within_layers_of_the_link_is_told_with_its_own_address_and_bytes() {
    watched(|lab, site| {
        for (number_of, (what, layers)) in WITH_IP.into_iter().enumerate() {
            let to = format!("203.0.113.{}", number_of + 20);
            let layers = layers.replace(' ', "");
            let (event, _) = only_record(lab, site, &format!("--to {to}:9 --layers {layers}"));
            assert_eq!(text(&event, "/destination/ip"), to, "{what}: {event}");
            assert_eq!(number(&event, "/destination/port"), 9, "{what}: {event}");
            assert_eq!(number(&event, "/source/bytes"), 3 * 128, "{what}: {event}");
            assert_eq!(text(&event, "/geofenced/verdict"), "unapproved", "{what}: {event}");
            assert!(event.pointer("/geofenced/ethertype").is_none(), "{what}: {event}");
        }
    });
}

/// What holds no IP, or none that can be found, and the ethertype that it is told with. Of the 100
/// bytes of payload, all is told that is behind the addresses, the tags and the ethertype.
const WITHOUT_IP: [(&str, &str, &str, u64); 7] = [
    ("an ethertype of its own", "88b5", "0x88b5", 100),
    ("the same behind a tag", "8100000788b5", "0x88b5", 100),
    (
        "ARP with data behind it",
        "0806000108000604000102005e0053770a4d00020000000000000a4d0001",
        "0x0806",
        128,
    ),
    ("LLC without SNAP", "00644242030000", "0x0004", 105),
    ("control of PPPoE", "88641100000100 66c021", "0x8864", 108),
    ("an Ethernet within MPLS", "8847000101ff00000000", "0x8847", 108),
    ("the other version of IP", "86dd45", "0x86dd", 101),
];

#[test]
fn a_frame_without_ip_is_told_with_its_ethertype_and_is_never_approved() {
    watched(|lab, site| {
        for (what, layers, ethertype, bytes) in WITHOUT_IP {
            let layers = layers.replace(' ', "");
            let words = format!("--to 198.51.100.20:9 --bare --layers {layers}");
            let (event, _) = only_record(lab, site, &words);
            assert_eq!(text(&event, "/geofenced/ethertype"), ethertype, "{what}: {event}");
            assert_eq!(number(&event, "/source/bytes"), 3 * bytes, "{what}: {event}");
            assert_eq!(text(&event, "/geofenced/verdict"), "unapproved", "{what}: {event}");
            assert_eq!(text(&event, "/geofenced/reason"), "unlocated", "{what}: {event}");
            assert!(event.pointer("/destination/ip").is_none(), "{what}: {event}");
            assert!(event.pointer("/network/transport").is_none(), "{what}: {event}");
        }
    });
}

#[test]
fn what_the_kernel_sends_to_find_neighbours_is_no_record() {
    watched(|lab, site| {
        // Asks who has it, and nobody answers for an address of the cable.
        lab.egress("udp-sendto --to 10.77.0.99:9");
        let (event, _) = only_record(lab, site, "--to 203.0.113.90:9 --bare --layers 88b5");
        let all = site.events(&["--origin", "kernel,packet-socket,forwarded"]);
        assert_eq!(all, [event], "{all:?}");
    });
}

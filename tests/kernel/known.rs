//! The known path, by which most packets go: what it counts is exact, and nothing is counted into, or passed
//! over for the sake of, a flow that user space has forgotten. Needs root.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    ops::Range,
    time::Duration,
};

use geofenced::inside::{
    config::{Capture, NamesConfig},
    probe::{Kernel, Source},
};
use harness::{Lab, eventually};
use monitor_ebpf::{
    loss::Loss,
    sample::{EgressSample, FlowCounters, FlowKey, kind, phase},
    settings,
};
use zerocopy::FromBytes as _;

/// A socket in the lab's host, and the probes that watch there.
struct Watched {
    lab: Lab,
    kernel: Kernel,
    socket: UdpSocket,
    to: SocketAddr,
    samples: Vec<EgressSample>,
}

impl Watched {
    fn new(to: &str) -> Self {
        let lab = Lab::new();
        let capture = Capture {
            interfaces: None,
            // This program's own, which is in none of the lab.
            cgroup: None,
            ring_bytes: settings::RING_BYTES,
            max_flows: settings::FLOWS,
            self_test: None,
        };
        // The interfaces are those of the thread's namespace.
        let attach =
            || Kernel::attach(&capture, &NamesConfig::default()).expect("attach the probes");
        let kernel = lab.host.within(attach);
        let to: SocketAddr = to.parse().expect("an address");
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = lab.host.within(|| UdpSocket::bind(any)).expect("a socket");
        Self { lab, kernel, socket, to, samples: Vec::new() }
    }

    /// Datagrams of these lengths.
    fn send(&self, lengths: Range<usize>) {
        // Every third begins as QUIC does, which is looked at.
        let payloads = [[0xff; 300], [0x5a; 300], [0; 300]];
        for length in lengths {
            let sent = self.socket.send_to(&payloads[length % 3][..length], self.to);
            assert_eq!(sent.ok(), Some(length));
        }
    }

    /// What is told of flows to the address, by phase.
    fn told(&mut self, wanted: u8) -> Vec<EgressSample> {
        let samples = &mut self.samples;
        self.kernel.collect_all();
        let _ = self.kernel.wait(Duration::from_millis(20));
        self.kernel.drain(1_000_000, &mut |bytes| {
            if let Ok((sample, _)) = EgressSample::read_from_prefix(bytes)
                && sample.kind == kind::EGRESS
            {
                samples.push(sample);
            }
        });
        let to = self.to;
        let is_its = |it: &&EgressSample| is_to(&it.flow, to) && it.phase == wanted;
        self.samples.iter().filter(is_its).copied().collect()
    }

    /// All entries of the table that lead to the address, whoever made them.
    fn counted(&mut self) -> Vec<(FlowKey, FlowCounters)> {
        let (to, mut found) = (self.to, Vec::new());
        let mut each = |key: FlowKey, counters| {
            if is_to(&key, to) {
                found.push((key, counters));
            }
        };
        self.kernel.sweep(&mut each).expect("read the flow table");
        found
    }

    /// The one flow there is.
    fn flow(&mut self) -> (FlowKey, FlowCounters) {
        let found = self.counted();
        assert_eq!(found.len(), 1, "{found:?}");
        found[0]
    }

    fn arrived(&self, packets: u64) -> u64 {
        let arrived = eventually(|| {
            let arrived = self.lab.arrived_at(&[self.to.ip()], "udp");
            (arrived.packets == packets).then_some(arrived.bytes)
        });
        arrived.expect("all of it arrives")
    }

    fn headers(&self) -> u64 {
        if self.to.is_ipv4() { 28 } else { 48 }
    }

    fn assert_counts(&mut self, count: usize) -> FlowKey {
        let (key, counters) = self.flow();
        let (packets, headers) = (count as u64, self.headers());
        let bytes = packets * headers + (0..packets).sum::<u64>();
        assert_eq!((counters.sent_packets, counters.sent_bytes), (packets, bytes), "{counters:?}");
        assert_eq!(counters.confirmed, 1, "an interface was given it: {counters:?}");
        assert!(counters.last_ns >= counters.first_ns, "{counters:?}");
        key
    }
}

fn is_to(key: &FlowKey, to: SocketAddr) -> bool {
    SocketAddr::new(IpAddr::from(key.remote).to_canonical(), key.remote_port) == to
}

fn is_forgotten_and_counted_anew(to: &str) {
    let mut watched = Watched::new(to);
    watched.send(0..1);
    // More than a few are not kept for a neighbour that is not found yet.
    watched.arrived(1);
    watched.send(1..300);
    let first = watched.assert_counts(300);
    assert_eq!(watched.arrived(300), watched.flow().1.sent_bytes);
    assert_eq!((watched.told(phase::ATTEMPT).len(), watched.told(phase::SENT).len()), (1, 1));

    for again in 2..=4 {
        watched.kernel.forget(&[first]).expect("forget it");
        assert_eq!(watched.counted(), []);
        watched.send(0..7);
        assert_eq!(watched.assert_counts(7), first);
        let told = (watched.told(phase::ATTEMPT).len(), watched.told(phase::SENT).len());
        assert_eq!(told, (again, again), "each time anew");
    }
    assert_eq!(watched.kernel.losses().expect("read the losses")[Loss::FlowTableFull as usize], 0);
}

#[test]
fn a_flow_that_was_forgotten_is_told_and_counted_anew() {
    is_forgotten_and_counted_anew("203.0.113.61:9");
}

#[test]
fn a_flow_of_ipv6_that_was_forgotten_is_told_and_counted_anew() {
    is_forgotten_and_counted_anew("[2001:db8:f::61]:9");
}

/// What the socket knew of it must not hide the attempt.
#[test]
fn an_attempt_at_a_flow_that_was_forgotten_is_told_where_nothing_leaves() {
    let mut watched = Watched::new("203.0.113.62:9");
    watched.send(0..5);
    let flow = watched.assert_counts(5);
    assert_eq!(watched.told(phase::ATTEMPT).len(), 1);
    watched.kernel.forget(&[flow]).expect("forget it");
    watched.lab.drop_leaving("ip daddr 203.0.113.62");
    for _ in 0..3 {
        assert!(watched.socket.send_to(b"dropped", watched.to).is_err(), "the firewall says so");
    }
    assert_eq!(watched.told(phase::ATTEMPT).len(), 2, "once more, and once");
    assert_eq!(watched.told(phase::SENT).len(), 1);
    // User space forgets attempts too.
    watched.kernel.forget(&[flow]).expect("forget it");
    assert!(watched.socket.send_to(b"dropped", watched.to).is_err());
    assert_eq!(watched.told(phase::ATTEMPT).len(), 3);
}

/// A socket has room for one of them.
#[test]
fn attempts_at_many_destinations_are_told_once_each() {
    let mut watched = Watched::new("203.0.113.63:9");
    watched.lab.drop_leaving("ip daddr 203.0.113.0/24");
    let others = ["203.0.113.63:9", "203.0.113.64:9", "203.0.113.63:10", "203.0.113.65:9"];
    for _ in 0..3 {
        for to in others {
            assert!(watched.socket.send_to(b"dropped", to).is_err());
        }
    }
    for to in others {
        watched.to = to.parse().expect("an address");
        assert_eq!(watched.told(phase::ATTEMPT).len(), 1, "{to}");
    }
}

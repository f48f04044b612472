//! The probes alone, below decoding and attribution: for each kind of egress there is a sample with
//! the right tgid, and the flow table holds exactly the bytes that arrived. Needs root.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use geofenced::inside::{
    config::{Capture, NamesConfig},
    event::Transport,
    probe::{Kernel, Source},
};
use harness::{Count, Lab, Side, Truth, TruthFlow};
use monitor_ebpf::{
    loss::Loss,
    sample::{EgressSample, FlowCounters, FlowKey, kind, phase},
    settings,
};
use zerocopy::FromBytes;

/// The probes on the lab's cgroup, and all they have said.
struct Tap {
    kernel: Kernel,
    samples: Vec<EgressSample>,
    counters: HashMap<FlowKey, FlowCounters>,
}

impl Tap {
    fn on(cgroup: Option<PathBuf>) -> Self {
        let capture = Capture {
            interfaces: None,
            cgroup,
            ring_bytes: settings::RING_BYTES,
            max_flows: settings::FLOWS,
            self_test: None,
        };
        let kernel = Kernel::attach(&capture, &NamesConfig::default()).expect("attach the probes");
        Self { kernel, samples: Vec::new(), counters: HashMap::new() }
    }

    fn read(&mut self) {
        let samples = &mut self.samples;
        self.kernel.drain(1_000_000, &mut |bytes| {
            if let Ok((sample, _)) = EgressSample::read_from_prefix(bytes)
                && sample.kind == kind::EGRESS
            {
                samples.push(sample);
            }
        });
        self.counters.clear();
        let counters = &mut self.counters;
        self.kernel
            .sweep(&mut |key, value| {
                counters.insert(key, value);
            })
            .expect("read the flow table");
    }

    /// The samples of one flow of one process.
    fn of(&self, pid: u32, flow: &TruthFlow) -> Vec<EgressSample> {
        let samples = self.samples.iter().copied();
        samples.filter(|sample| sample.owner.tgid == pid && is_of(&sample.flow, flow)).collect()
    }

    /// What the table has counted of it, over all its sockets.
    fn counted(&self, samples: &[EgressSample]) -> Count {
        let mut keys: Vec<FlowKey> = samples.iter().map(|sample| sample.flow).collect();
        keys.dedup();
        let mut sum = Count::default();
        for counters in keys.iter().filter_map(|key| self.counters.get(key)) {
            sum += Count { packets: counters.sent_packets, bytes: counters.sent_bytes };
        }
        sum
    }
}

fn is_of(key: &FlowKey, flow: &TruthFlow) -> bool {
    IpAddr::from(key.remote).to_canonical() == flow.destination
        && SocketAddr::new(flow.destination, key.remote_port).port() == flow.port
        && Transport(key.transport).to_string() == flow.transport
}

fn assert_counted(lab: &Lab, tap: &mut Tap, truth: &Truth) {
    for flow in &truth.flows {
        let exact = harness::eventually(|| {
            tap.read();
            let samples = tap.of(truth.pid, flow);
            let counted = tap.counted(&samples);
            let arrived = lab.arrived(flow);
            (!samples.is_empty() && counted == arrived).then_some(samples)
        });
        let samples = tap.of(truth.pid, flow);
        assert!(
            exact.is_some(),
            "{} of pid {}: {flow:?}\narrived {:?}, counted {:?}\nsamples {samples:?}\nall {:?}",
            truth.kind,
            truth.pid,
            lab.arrived(flow),
            tap.counted(&samples),
            tap.samples.iter().map(|it| (it.owner.tgid, it.phase, it.flow)).collect::<Vec<_>>()
        );
        let sent = samples.iter().filter(|sample| sample.phase == phase::SENT).count();
        assert_eq!(sent, usize::from(flow.phase == "sent"), "{}: {samples:?}", truth.kind);
    }
    assert_eq!(tap.kernel.losses().expect("read the losses"), [0; Loss::ALL.len()]);
}

#[test]
fn datagrams_are_counted_to_the_byte() {
    let lab = Lab::new();
    let mut tap = Tap::on(Some(lab.cgroup.path().to_owned()));
    for words in [
        "udp-sendto --to 203.0.113.1:9",
        "udp-sendto --to [2001:db8:f::1]:9 --count 3",
        "udp-connected --to 203.0.113.2:9 --count 3",
        "udp-elsewhere --to 203.0.113.3:9 --to 198.51.100.3:9",
        "udp-connect-only --to 203.0.113.4:9",
        "udp-sendmmsg --to 203.0.113.5:9 --to 198.51.100.5:10",
        "udp-mapped --to 203.0.113.6:9",
        "udp-mapped-connected --to 203.0.113.7:9",
        "udp-cork --to 203.0.113.8:9 --count 3",
        "udp-gso --to 203.0.113.9:9 --bytes 1000 --count 10",
        "thread-send --to 203.0.113.10:9",
        "io-uring-udp --to 203.0.113.11:9",
        "io-uring-udp --sqpoll --to 203.0.113.12:9",
        "one-shot --to 203.0.113.13:9",
        "fork-send-exit --to 203.0.113.14:9",
        "exec-chain --to 203.0.113.15:9",
        "fork-inherited --to 203.0.113.16:9",
        "scm-rights --to 203.0.113.17:9",
    ] {
        assert_counted(&lab, &mut tap, &lab.egress(words));
    }
}

#[test]
fn packets_without_ports_are_counted_to_the_byte() {
    let lab = Lab::new();
    let mut tap = Tap::on(Some(lab.cgroup.path().to_owned()));
    for words in [
        "ping --to 203.0.113.1",
        "ping --to 2001:db8:f::1",
        "raw-icmp --to 203.0.113.2",
        "raw-icmp --to 2001:db8:f::2",
        "raw-protocol --to 203.0.113.3",
        "raw-protocol --to 2001:db8:f::3",
        "raw-hdrincl --to 203.0.113.4:9",
        "raw-hdrincl-lying --to 203.0.113.5:9 --to 198.51.100.5:9",
    ] {
        assert_counted(&lab, &mut tap, &lab.egress(words));
    }
}

#[test]
fn streams_are_counted_to_the_byte() {
    let lab = Lab::new();
    let mut tap = Tap::on(Some(lab.cgroup.path().to_owned()));
    for words in [
        "tcp-connect-send --to 203.0.113.1:{port}",
        "tcp-connect-send --to 203.0.113.2:{port} --bytes 1000000",
        "tcp-connect-send --to [2001:db8:f::1]:{port} --bytes 1000000",
        "tcp-mapped --to 203.0.113.3:{port}",
        "tcp-fastopen --to 203.0.113.4:{port}",
        "sendfile --to 203.0.113.5:{port} --bytes 20000",
        "splice --to 203.0.113.6:{port} --bytes 20000",
        "io-uring-tcp --to 203.0.113.7:{port}",
        "io-uring-tcp --sqpoll --to 203.0.113.8:{port}",
    ] {
        assert_counted(&lab, &mut tap, &lab.egress_to_sink(words));
    }
}

#[test]
fn a_reply_on_an_accepted_connection_is_counted_to_the_byte() {
    let lab = Lab::new();
    let mut tap = Tap::on(Some(lab.cgroup.path().to_owned()));
    let mut server = lab.start(Side::Host, "accept-reply --listen [::]:0 --bytes 3000");
    let port = server.listening().port();
    let words = format!("connect-and-read --from 203.0.113.77 --to 10.77.0.2:{port}");
    lab.start(Side::Internet, &words).finish();
    let truth = server.finish();
    let flow = &truth.flows[0];
    let exact = harness::eventually(|| {
        tap.read();
        // The SYN-ACK is the listener's; the accepted socket takes its count over.
        let samples = tap.of(truth.pid, flow);
        (tap.counted(&samples) == lab.arrived(flow)).then_some(samples)
    });
    let samples = tap.of(truth.pid, flow);
    let counted = tap.counted(&samples);
    assert!(exact.is_some(), "arrived {:?}, counted {counted:?}: {samples:?}", lab.arrived(flow));
}

#[test]
fn a_refused_connection_is_counted() {
    let lab = Lab::new();
    let mut tap = Tap::on(Some(lab.cgroup.path().to_owned()));
    assert_counted(&lab, &mut tap, &lab.egress("tcp-refused --to 203.0.113.1:81"));
}

#[test]
fn what_a_firewall_drops_is_only_an_attempt() {
    let lab = Lab::new();
    lab.drop_leaving("ip daddr 203.0.113.1");
    let mut tap = Tap::on(Some(lab.cgroup.path().to_owned()));
    assert_counted(&lab, &mut tap, &lab.egress("udp-dropped --to 203.0.113.1:9"));
}

/// What arrived of a flow and what was counted of it, once the probes know of it and it is over.
fn arrived_and_counted(lab: &Lab, tap: &mut Tap, truth: &Truth) -> (Count, Count) {
    let flow = &truth.flows[0];
    let counted = harness::eventually(|| {
        tap.read();
        let counted = tap.counted(&tap.of(truth.pid, flow));
        (counted.packets > 0).then_some(counted)
    });
    (lab.arrived(flow), counted.expect("the flow is told"))
}

/// Known limit: the packet hook is above fragmentation. The datagram is counted, but not the
/// headers that its later fragments need.
#[test]
fn a_fragmented_datagram_is_counted_as_it_was_before() {
    let lab = Lab::new();
    let mut tap = Tap::on(Some(lab.cgroup.path().to_owned()));
    let mut truth = lab.egress("udp-sendto --to 203.0.113.1:9 --bytes 4000");
    // Only the first fragment has ports, so arrival is counted by address.
    truth.flows[0].source_port = None;
    let (arrived, counted) = arrived_and_counted(&lab, &mut tap, &truth);
    assert_eq!(counted, Count { packets: 1, bytes: 4028 });
    assert_eq!(arrived, Count { packets: 3, bytes: 4028 + 2 * 20 });
}

/// Known limit: a program that closes first and does not wait leaves a `TIME_WAIT` entry behind, which
/// is no socket; the last ACK is that entry's, and the packet hook is not called for it.
#[test]
fn a_connection_that_the_kernel_finishes_lacks_at_most_its_last_ack() {
    const LAST_ACK_BYTES: u64 = 52;
    let lab = Lab::new();
    let mut tap = Tap::on(None);
    let sink = "serve-tcp --listen [::]:0 --count 1 --linger 300";
    let truth = lab.egress_to("tcp-close --to 203.0.113.1:{port}", sink);
    let flow = &truth.flows[0];
    let over = harness::eventually(|| (lab.arrived(flow).packets == 5).then_some(()));
    assert!(over.is_some(), "SYN, ACK, data, FIN and last ACK: {:?}", lab.arrived(flow));
    let (arrived, counted) = arrived_and_counted(&lab, &mut tap, &truth);
    let missing = arrived.bytes - counted.bytes;
    assert!([0, LAST_ACK_BYTES].contains(&missing), "arrived {arrived:?}, counted {counted:?}");
}

//! The probes' own parsers, which read packets in the kernel: loaded for real and run over packets
//! of every shape, whole and broken. They must always let pass, and tell what another parser reads.
//! `GEOFENCED_PACKETS_SECONDS` lets it go on that long (`cargo xtask fuzz packets`). Needs root.

#[path = "packets/link.rs"]
mod link;
#[path = "packets/loaded.rs"]
mod loaded;
#[path = "packets/made.rs"]
mod made;
#[path = "packets/oracle.rs"]
mod oracle;

use std::{
    collections::HashMap,
    fmt::Debug,
    time::{Duration, Instant},
};

use loaded::{LINK_BYTES, Loaded};
use made::Made;
use monitor_ebpf::{
    loss::Loss,
    names::program,
    sample::{EgressSample, path, phase},
};
use oracle::{Flow, Fragment, Verdict};
use proptest::{
    prelude::TestCaseError,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

/// Of `cgroup_skb` and of tc: let it pass.
const PASS: i32 = 1;
const NEXT: i32 = -1;

const CASES: u32 = 4_000;
/// Remembered ports of fragments; more than the probes keep.
const FRAGMENTS_MAX: usize = 8_192;

type FragmentKey = ([u8; 16], [u8; 16], u8, u32);

const NONE_WORSE: oracle::Rank = |_| 0;

/// The probes, and what the oracle must remember with them.
struct Bench {
    loaded: Loaded,
    fragments: HashMap<FragmentKey, (u16, u16)>,
    tally: Tally,
}

/// What became of the packets; each must have been met.
#[derive(Debug, Default)]
struct Tally {
    /// Programs run.
    runs: u64,
    /// Not taken by the kernel as a packet.
    refused: u64,
    /// No IP packet.
    short: u64,
    malformed: u64,
    told: u64,
    segmented: u64,
    fragments: u64,
    /// By way of a hop, where that could be read.
    routed: u64,
}

fn equal<T: Copy + PartialEq + Debug>(
    what: &str,
    told: T,
    expected: T,
) -> Result<(), TestCaseError> {
    if told == expected {
        return Ok(());
    }
    Err(TestCaseError::fail(format!("{what}: told {told:?}, it is {expected:?}")))
}

impl Bench {
    fn run(&mut self, name: &str, made: &Made, verdict: i32) -> Result<bool, TestCaseError> {
        self.run_often(name, made, verdict, 1)
    }

    /// For one socket.
    fn run_often(
        &mut self,
        name: &str,
        made: &Made,
        verdict: i32,
        times: u32,
    ) -> Result<bool, TestCaseError> {
        self.tally.runs += 1;
        let Some(found) = self.loaded.run(name, &made.bytes, made.cut, times) else {
            self.tally.refused += 1;
            return Ok(false);
        };
        equal(name, found, verdict)?;
        Ok(true)
    }

    fn check(&mut self, made: &Made) -> Result<(), TestCaseError> {
        self.leaves_a_socket(made)?;
        self.leaves_an_interface(made)?;
        self.enters_a_device(made)?;
        // It counts for flows that are known, and here is none.
        self.run(program::PACKET_INGRESS, made, PASS)?;
        equal("of what comes in, flows", self.loaded.told().len(), 0)
    }

    /// The cgroup's hook sees the IP packet.
    fn leaves_a_socket(&mut self, made: &Made) -> Result<(), TestCaseError> {
        let before = self.loaded.losses(Loss::PacketMalformed);
        let verdict = oracle::judge(
            NONE_WORSE,
            &made.bytes[LINK_BYTES as usize..],
            made.bytes[12..14] == [0x86, 0xdd],
            made.cut,
        );
        // The second of a flow goes by the way that is short, where it can.
        let times = if matches!(verdict, Verdict::Flow(_)) { 2 } else { 1 };
        if !self.run_often(program::PACKET_EGRESS, made, PASS, times)? {
            return Ok(());
        }
        let told = self.loaded.told();
        let lost = self.loaded.losses(Loss::PacketMalformed) - before;
        let Some(flow) = self.expected(&verdict, &told, lost)? else { return Ok(()) };
        let sample = &told[0];
        self.tally.routed += u64::from(sample.via != [0; 16] && !flow.is_malformed);
        // The kernel runs it at loopback.
        equal("path", sample.path, path::LOOPBACK)?;
        let twice = (2 * flow.packets, 2 * flow.bytes);
        equal("counted twice", self.loaded.counted, twice)?;
        is_told(sample, &flow, flow.ports)
    }

    /// tc sees the frame, and here takes the packet for one that is wrapped: the kernel's test
    /// socket is of no protocol.
    fn leaves_an_interface(&mut self, made: &Made) -> Result<(), TestCaseError> {
        let before = self.loaded.losses(Loss::PacketMalformed);
        let interface = self.loaded.interface();
        if !self.run(program::UPLINK_EGRESS, made, NEXT)? {
            return Ok(());
        }
        let told = self.loaded.told();
        let lost = self.loaded.losses(Loss::PacketMalformed) - before;
        let after = self.loaded.interface();
        let length = made.bytes.len() as u64;
        equal("link bytes", after.link_bytes - interface.link_bytes, length)?;
        equal("frames", after.frames - interface.frames, 1)?;
        let Some((at, packet, is_v6)) = link::behind(&made.bytes) else {
            return equal("of no IP, flows and losses", (told.len(), lost), (0, 0));
        };
        let verdict = oracle::judge(NONE_WORSE, packet, is_v6, made.cut);
        if let Verdict::Flow(flow) = &verdict {
            equal("packets", after.packets() - interface.packets(), flow.packets)?;
            let wire = length + (flow.packets - 1) * (at as u64 + flow.headers);
            equal("wire bytes", after.wire_bytes() - interface.wire_bytes(), wire)?;
            if flow.transport == 0 && !flow.is_malformed {
                // The test socket's protocol: as if it were its own, and its hook's to tell.
                return equal("of its own, flows", told.len(), 0);
            }
        }
        let Some(flow) = self.expected(&verdict, &told, lost)? else { return Ok(()) };
        let sample = &told[0];
        // Of its own, but none that its hook saw so.
        let is_its = flow.transport == 0;
        equal("path", sample.path, if is_its { path::KERNEL } else { path::TUNNEL })?;
        is_told(sample, &flow, self.joined(&flow, (sample.local_port, sample.flow.remote_port)))
    }

    fn enters_a_device(&mut self, made: &Made) -> Result<(), TestCaseError> {
        if !self.run(program::DEVICE_INGRESS, made, NEXT)? {
            return Ok(());
        }
        let passed = self.loaded.passed();
        let packet = link::behind(&made.bytes);
        let verdict =
            packet.map(|(_, packet, is_v6)| oracle::judge(NONE_WORSE, packet, is_v6, made.cut));
        let flow = match verdict {
            Some(Verdict::Flow(flow)) => flow,
            Some(Verdict::Short) | None => return equal("passed", passed.len(), 0),
        };
        equal("passed", passed.len(), 1)?;
        let transit = &passed[0];
        let told = (transit.source_port, transit.destination_port);
        equal("source", transit.source, flow.source)?;
        equal("destination", transit.destination, flow.destination)?;
        equal("transport", transit.transport, flow.transport)?;
        equal("malformed", transit.malformed, flow.is_malformed.into())?;
        equal("MAC", transit.mac.as_slice(), &made.bytes[6..12])?;
        equal("ports", told, self.joined(&flow, told))
    }

    /// The flow that must be the only one told, if there is one.
    fn expected(
        &mut self,
        verdict: &Verdict,
        told: &[EgressSample],
        lost: u64,
    ) -> Result<Option<Flow>, TestCaseError> {
        match verdict {
            Verdict::Short => {
                self.tally.short += 1;
                equal("of no packet, flows and losses", (told.len(), lost), (0, 1))?;
                Ok(None)
            }
            Verdict::Flow(flow) => {
                self.tally.told += 1;
                self.tally.segmented += u64::from(flow.packets > 1);
                self.tally.malformed += u64::from(flow.is_malformed);
                self.tally.fragments += u64::from(flow.fragment.is_some());
                equal("flows and losses", (told.len(), lost), (1, 0))?;
                Ok(Some(flow.clone()))
            }
        }
    }

    /// Its ports, where tc knows them from its first fragment. It may have forgotten them.
    fn joined(&mut self, flow: &Flow, told: (u16, u16)) -> (u16, u16) {
        let Some(Fragment { id, is_first }) = flow.fragment else { return flow.ports };
        let key = (flow.source, flow.destination, flow.transport, id);
        if is_first {
            if self.fragments.len() >= FRAGMENTS_MAX {
                self.fragments.clear();
            }
            self.fragments.insert(key, flow.ports);
            return flow.ports;
        }
        match self.fragments.get(&key) {
            Some(known) if *known == told => told,
            _ => flow.ports,
        }
    }
}

fn is_told(
    sample: &EgressSample,
    flow: &Flow,
    (source, destination): (u16, u16),
) -> Result<(), TestCaseError> {
    equal("phase", sample.phase, phase::SENT)?;
    equal("source", sample.local, flow.source)?;
    equal("destination", sample.flow.remote, flow.destination)?;
    equal("transport", sample.flow.transport, flow.transport)?;
    equal("malformed", sample.flow.malformed, flow.is_malformed.into())?;
    equal("ports", (sample.local_port, sample.flow.remote_port), (source, destination))?;
    equal("ICMP type", sample.icmp_type, flow.icmp_type)?;
    equal("packets", sample.sent_packets, flow.packets)?;
    equal("bytes", sample.sent_bytes, flow.bytes)
}

/// One round: as many packets as a seed gives.
fn round(bench: &mut Bench, seed: u64) {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let bench = std::cell::RefCell::new(bench);
    let outcome = TestRunner::new_with_rng(config, rng)
        .run(&made::made(), |made| bench.borrow_mut().check(&made));
    if let Err(error) = outcome {
        panic!("seed {seed}: {error}");
    }
}

#[test]
fn every_packet_passes_and_is_told_as_another_parser_reads_it() {
    let seconds = std::env::var("GEOFENCED_PACKETS_SECONDS").ok();
    let seconds = seconds.map_or(0, |it| it.parse().expect("a number of seconds"));
    let mut bench =
        Bench { loaded: Loaded::new(), fragments: HashMap::new(), tally: Tally::default() };
    let started = Instant::now();
    let mut seed = 0;
    loop {
        round(&mut bench, seed);
        seed += 1;
        if started.elapsed() >= Duration::from_secs(seconds) {
            break;
        }
    }
    let tally = &bench.tally;
    println!(
        "packets: {} runs of programs, {:.0}/s, {tally:?}",
        tally.runs,
        tally.runs as f64 / started.elapsed().as_secs_f64()
    );
    let met =
        [tally.short, tally.malformed, tally.told, tally.segmented, tally.fragments, tally.routed];
    assert!(met.iter().all(|count| *count > 0), "{tally:?}");
    // More than what nobody could send would make this a test of nothing.
    assert!(tally.refused < tally.runs / 4, "{tally:?}");
    assert_eq!(bench.loaded.losses(Loss::FlowTableFull), 0);
}

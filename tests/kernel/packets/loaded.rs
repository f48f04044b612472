//! The probes' packet programs, loaded and attached to nothing: run over bytes
//! (`BPF_PROG_TEST_RUN`), and what they then told and counted.

use aya::{
    Ebpf, EbpfLoader, TestRun, TestRunOptions,
    maps::{Array, HashMap, Map, MapData, PerCpuArray, RingBuf},
    programs::{Program, ProgramError},
};
use monitor_ebpf::{
    loss::Loss,
    names::{map, program},
    sample::{EgressSample, FlowCounters, FlowKey, Interface, Transit, kind},
    share::{self, Share},
};
use zerocopy::{FromBytes, IntoBytes};

use crate::oracle::Cut;

static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("GEOFENCED_PROBES_OBJECT"));

const TRANSITS: &str = "TRANSITS";
/// The device that the kernel runs them at: loopback, of which there is one in each namespace.
const IFINDEX: u32 = 1;
pub(crate) const LINK_BYTES: u32 = 14;

/// `struct __sk_buff` (`include/uapi/linux/bpf.h`), and where `gso_segs` and `gso_size` are
/// in it.
const CONTEXT_BYTES: usize = 192;
const GSO_SEGS: usize = 164;
const GSO_SIZE: usize = 176;
const EINVAL: i32 = 22;

type Table<K, V> = HashMap<MapData, K, V>;
type KeyBytes = [u8; size_of::<FlowKey>()];

pub(crate) struct Loaded {
    ebpf: Ebpf,
    samples: RingBuf<MapData>,
    flows: Table<KeyBytes, [u8; size_of::<FlowCounters>()]>,
    interfaces: Table<u32, [u8; size_of::<Interface>()]>,
    transits: Table<u32, [u8; size_of::<Transit>()]>,
    losses: PerCpuArray<MapData, u64>,
    shares: Array<MapData, [u8; size_of::<Share>()]>,
    /// Packets and bytes of the flow that was told last, as the table had them.
    pub(crate) counted: (u64, u64),
}

impl Loaded {
    pub(crate) fn new() -> Self {
        let mut ebpf = EbpfLoader::new().btf(None).load(OBJECT).expect("load the object: root?");
        for name in [program::PACKET_EGRESS, program::PACKET_INGRESS] {
            match ebpf.program_mut(name) {
                Some(Program::CgroupSkb(it)) => it.load().expect(name),
                other => panic!("{name} is {other:?}"),
            }
        }
        for name in [program::UPLINK_EGRESS, program::DEVICE_INGRESS] {
            match ebpf.program_mut(name) {
                Some(Program::SchedClassifier(it)) => it.load().expect(name),
                other => panic!("{name} is {other:?}"),
            }
        }
        let mut take = |name: &str| ebpf.take_map(name).unwrap_or_else(|| panic!("no {name}"));
        let samples = RingBuf::try_from(take(map::SAMPLES)).expect("a ring");
        let flows = HashMap::try_from(take(map::FLOWS)).expect("a table of flows");
        let mut interfaces: Table<u32, _> =
            HashMap::try_from(take(map::INTERFACES)).expect("a table of interfaces");
        let transits = match take(TRANSITS) {
            it @ Map::LruHashMap(_) => HashMap::try_from(it).expect("a table of transits"),
            other => panic!("{TRANSITS} is {other:?}"),
        };
        let losses = PerCpuArray::try_from(take(map::LOSSES)).expect("counters of losses");
        let shares = Array::try_from(take(map::SHARES)).expect("shares of the table of flows");
        let interface = Interface { header_bytes: LINK_BYTES, ..Interface::default() };
        let bytes: [u8; size_of::<Interface>()] =
            interface.as_bytes().try_into().expect("its size");
        interfaces.insert(IFINDEX, bytes, 0).expect("name an interface");
        Self { ebpf, samples, flows, interfaces, transits, losses, shares, counted: (0, 0) }
    }

    /// Runs a program over a frame, for one socket as often as that; `None` if the kernel takes no such frame for a packet.
    pub(crate) fn run(&self, name: &str, frame: &[u8], cut: Cut, times: u32) -> Option<i32> {
        let mut context = [0_u8; CONTEXT_BYTES];
        context[GSO_SEGS..GSO_SEGS + 4].copy_from_slice(&cut.segments.to_ne_bytes());
        context[GSO_SIZE..GSO_SIZE + 4].copy_from_slice(&cut.size.to_ne_bytes());
        let options = || TestRunOptions {
            data_in: Some(frame),
            ctx_in: Some(&context),
            repeat: times,
            ..TestRunOptions::default()
        };
        let result = match self.ebpf.program(name) {
            Some(Program::CgroupSkb(it)) => it.test_run(options()),
            Some(Program::SchedClassifier(it)) => it.test_run(options()),
            other => panic!("{name} is {other:?}"),
        };
        match result {
            Ok(result) => Some(result.return_value.cast_signed()),
            Err(ProgramError::SyscallError(it)) if it.io_error.raw_os_error() == Some(EINVAL) => {
                None
            }
            Err(error) => panic!("{name} does not run: {error:?}"),
        }
    }

    /// What was told since it was last asked, but for what names. The flows are forgotten again.
    pub(crate) fn told(&mut self) -> Vec<EgressSample> {
        let mut told = Vec::new();
        while let Some(item) = self.samples.next() {
            let (kind, _) = u32::read_from_prefix(&item).expect("its kind");
            if kind == kind::NAME {
                continue;
            }
            let (sample, _) = EgressSample::read_from_prefix(&item).expect("a whole sample");
            assert_eq!(sample.kind, kind::EGRESS);
            told.push(sample);
        }
        for sample in &told {
            let key: KeyBytes = sample.flow.as_bytes().try_into().expect("its size");
            let counters = self.flows.get(&key, 0).expect("what is told is counted");
            self.flows.remove(&key).expect("forget it");
            let counters = FlowCounters::read_from_bytes(&counters).expect("its size");
            self.counted = (counters.sent_packets, counters.sent_bytes);
            for slot in [counters.account, share::ALL] {
                self.give_back(slot);
            }
        }
        told
    }

    /// A place in the table of flows, as user space does when it removes one.
    fn give_back(&mut self, slot: u32) {
        let bytes = self.shares.get(&slot, 0).expect("a share");
        let mut share = Share::read_from_bytes(&bytes).expect("its size");
        share.flows -= 1;
        let bytes: [u8; size_of::<Share>()] = share.as_bytes().try_into().expect("its size");
        self.shares.set(slot, bytes, 0).expect("give a share back");
    }

    /// What was remembered of packets on their way through. It is forgotten again.
    pub(crate) fn passed(&mut self) -> Vec<Transit> {
        let keys: Vec<u32> = self.transits.keys().map(|it| it.expect("a key")).collect();
        let mut passed = Vec::new();
        for key in keys {
            let bytes = self.transits.get(&key, 0).expect("its value");
            passed.push(Transit::read_from_bytes(&bytes).expect("its size"));
            self.transits.remove(&key).expect("forget it");
        }
        passed
    }

    pub(crate) fn interface(&self) -> Interface {
        let bytes = self.interfaces.get(&IFINDEX, 0).expect("the interface");
        Interface::read_from_bytes(&bytes).expect("its size")
    }

    pub(crate) fn losses(&self, loss: Loss) -> u64 {
        self.losses.get(&(loss as u32), 0).expect("a counter").iter().sum()
    }
}

//! A table in which few flows are is not walked each time, and yet each read of it gives all that is in it,
//! whoever came or went meanwhile; what is added up is read whole. The probes alone. Needs root.

use std::collections::HashMap;

use geofenced::inside::{
    config::{Capture, NamesConfig},
    probe::{Kernel, Source},
};
use harness::{Lab, Running, Side};
use monitor_ebpf::{
    sample::{FlowCounters, FlowKey},
    settings,
};

fn attach(lab: &Lab, max_flows: u32) -> Kernel {
    let capture = Capture {
        interfaces: None,
        cgroup: Some(lab.cgroup.path().to_owned()),
        ring_bytes: settings::RING_BYTES,
        max_flows,
        self_test: None,
    };
    Kernel::attach(&capture, &NamesConfig::default()).expect("attach the probes")
}

fn read(kernel: &mut Kernel) -> HashMap<FlowKey, FlowCounters> {
    let mut all = HashMap::new();
    let mut each = |key, counters| assert!(all.insert(key, counters).is_none(), "twice: {key:?}");
    kernel.sweep(&mut each).expect("read the flow table");
    all
}

fn burst(lab: &Lab, port: u16, count: u16) -> Running {
    let ports = format!("{port}-{}", port + count - 1);
    let words = format!("burst-one-socket --to 203.0.113.1 --ports {ports} --count {count} --keep");
    let mut burst = lab.start(Side::Host, &words);
    burst.holding();
    burst
}

#[test]
fn each_read_of_a_table_of_few_flows_has_those_that_came_since_and_what_all_of_them_sent() {
    let lab = Lab::new();
    let mut kernel = attach(&lab, settings::FLOWS);
    assert_eq!(read(&mut kernel).len(), 0);
    assert_eq!(read(&mut kernel).len(), 0);
    let mut bursts = vec![burst(&lab, 10_000, 3)];
    for (port, total) in [(11_000, 4), (12_000, 5), (13_000, 6)] {
        // Nobody takes the samples: the table alone says what came.
        assert_eq!(read(&mut kernel).len(), total - 1);
        assert_eq!(read(&mut kernel).len(), total - 1);
        bursts.push(burst(&lab, port, 1));
        assert_eq!(read(&mut kernel).len(), total);
    }
    let sent = |all: &HashMap<FlowKey, FlowCounters>| -> u64 {
        all.values().map(|counters| counters.sent_packets).sum()
    };
    let before = sent(&read(&mut kernel));
    // The same addresses from another socket: others come as these are told again.
    bursts.push(burst(&lab, 10_000, 3));
    let after = read(&mut kernel);
    assert_eq!((after.len(), sent(&after)), (9, before + 3));

    // One goes and another comes: as many as before, and not the same.
    let one: Vec<FlowKey> = after.keys().take(1).copied().collect();
    kernel.forget(&one).expect("forget one");
    bursts.push(burst(&lab, 14_000, 1));
    let now = read(&mut kernel);
    assert!(now.len() == 9 && !now.contains_key(&one[0]), "{now:?}");
    let all: Vec<FlowKey> = now.into_keys().collect();
    kernel.forget(&all).expect("forget all");
    assert_eq!(read(&mut kernel).len(), 0);
    bursts.push(burst(&lab, 20_000, 500));
    assert_eq!(read(&mut kernel).len(), 500);
    assert_eq!(read(&mut kernel).len(), 500);
    for burst in bursts {
        burst.finish();
    }
}

#[test]
fn what_has_no_place_in_a_small_table_is_read_from_the_sums_of_each_user_and_class() {
    const FLOWS: u64 = 3_000;
    let lab = Lab::new();
    let mut kernel = attach(&lab, 256);
    let burst = burst(&lab, 10_000, FLOWS as u16);
    let itemised = read(&mut kernel).len() as u64;
    let added: u64 = kernel.unitemised().iter().map(|(_, sum)| sum.flows).sum();
    let packets: u64 = kernel.unitemised().iter().map(|(_, sum)| sum.packets).sum();
    assert!(itemised > 50 && itemised <= 256, "{itemised}");
    assert_eq!((added + itemised, packets + itemised), (FLOWS, FLOWS));
    burst.finish();
}

//! How the process is known, and what has none.

use monitor_ebpf::sample::ownership;

use super::*;

#[test]
fn ownership_says_how_the_process_is_known() {
    let (_proc, mut processes) = host();
    let shell = user(owner(10, "bash", 5 * SEC), 1000);
    for (ownership, origin, attribution) in [
        (ownership::USER, Origin::Process, Attribution::Socket),
        (ownership::CREATOR, Origin::Process, Attribution::Creator),
        (ownership::LISTENER, Origin::Accepted, Attribution::Creator),
    ] {
        let sample = EgressSample { ownership, ..sent(shell) };
        let (told, sender) = processes.attribute(&sample);
        assert_eq!((told, sender.attribution()), (origin, attribution));
        assert_eq!(sender.process().unwrap().pid, 10);
    }
}

/// Who is named, and as whose socket.
pub(super) fn pids(processes: &mut Processes, sample: &EgressSample) -> (Option<u32>, Option<u32>) {
    let (_, sender) = processes.attribute(sample);
    (sender.process().map(|it| it.pid), sender.creator().map(|it| it.pid))
}

#[test]
fn a_socket_of_another_is_told_with_both_processes() {
    let (_proc, mut processes) = host();
    processes.learn_fork(&fork(10, 77, 5 * SEC));
    let (made, used) =
        (user(owner(10, "bash", 4 * SEC), 1000), user(owner(77, "bash", 6 * SEC), 1000));
    let sample = EgressSample { creator: made, ..sent(used) };
    assert_eq!(pids(&mut processes, &sample), (Some(77), Some(10)));
    let own = EgressSample { creator: used, ..sent(used) };
    assert_eq!(pids(&mut processes, &own), (Some(77), None));
    // Connected by its maker, used by another: only who ran tells it.
    let passed = EgressSample {
        creator: made,
        runner: ran(77),
        ..sent(Owner { touched_ns: 6 * SEC, ..made })
    };
    assert_eq!(pids(&mut processes, &passed), (Some(77), Some(10)));
}

#[test]
fn who_runs_is_not_the_sender_if_it_is_a_kernel_thread_or_unknown() {
    let (proc, mut processes) = host();
    let flags = 0x0020_8040;
    proc.put(&Fields { pid: 60, parent: 2, comm: "kworker/0:1", flags, ..Fields::default() });
    let shell = user(owner(10, "bash", 5 * SEC), 1000);
    for tgid in [60, 61] {
        let sample = EgressSample { creator: shell, runner: ran(tgid), ..sent(shell) };
        assert_eq!(pids(&mut processes, &sample), (Some(10), None));
    }
}

#[test]
fn what_the_kernel_sends_of_itself_has_no_process() {
    let (_proc, mut processes) = host();
    let mut told = |transport, socket_type, icmp_type| {
        let mut sample =
            EgressSample { socket_type, icmp_type, at_ns: SEC, ..EgressSample::default() };
        sample.flow.transport = transport;
        sample.flow.cookie = u64::from(transport) << 16 | u64::from(icmp_type);
        processes.attribute(&sample)
    };
    for (transport, icmp_type) in [(6, 0), (1, 0), (1, 3), (1, 11), (58, 135), (58, 143), (58, 129)]
    {
        assert_eq!(told(transport, 3, icmp_type), (Origin::Kernel, Sender::Nobody));
    }
    assert_eq!(told(2, 0, 0), (Origin::Kernel, Sender::Nobody));
    // A stream, a ping of one's own, a raw protocol: sockets that are older than the probes.
    for (transport, socket_type, icmp_type) in [(6, 1, 0), (1, 3, 8), (58, 3, 128), (253, 3, 0)] {
        assert_eq!(told(transport, socket_type, icmp_type), (Origin::PreExisting, Sender::Nobody));
    }
}

#[test]
fn a_packet_without_a_socket_is_as_the_hook_says_and_one_of_the_idle_task_the_kernels() {
    let (_proc, mut processes) = host();
    for (path, origin) in [
        (path::FORWARDED, Origin::Forwarded),
        (path::TUNNEL, Origin::Tunnel),
        (path::KERNEL, Origin::Kernel),
    ] {
        let mut passing = EgressSample { at_ns: SEC, path, ..EgressSample::default() };
        passing.flow.transport = 17;
        assert_eq!(processes.attribute(&passing), (origin, Sender::Nobody));
    }
    let idle = sent(owner(0, "swapper/0", SEC));
    assert_eq!(processes.attribute(&idle), (Origin::Kernel, Sender::Nobody));
    assert_eq!(processes.counters(), Counters::default());
}

#[test]
fn a_kernel_thread_is_named_and_its_egress_is_the_kernels() {
    let (proc, mut processes) = host();
    let flags = 0x0020_8040;
    proc.put(&Fields {
        pid: 60,
        parent: 2,
        comm: "kworker/0:1-rpciod",
        flags,
        ..Fields::default()
    });
    let (origin, sender) = processes.attribute(&sent(owner(60, "kworker/0:1", 5 * SEC)));
    assert_eq!(origin, Origin::Kernel);
    assert_eq!(sender.process().unwrap().pid, 60);
}

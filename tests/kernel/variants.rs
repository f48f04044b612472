//! Which program of a probe the kernel took: the one that tells most of those that it has the helpers for.
//! Needs root.

use harness::{Lab, Site};

/// Linux 6.10 lets packet programs ask who runs, 6.18 also for user and cgroup.
fn best_of_this_kernel() -> [(&'static str, &'static str); 2] {
    let version = harness::kernel_version();
    let packet = match version {
        (6, 18..) | (7.., _) => "packet_egress_whole",
        (6, 10..) => "packet_egress_named",
        _ => "packet_egress",
    };
    let uplink = if version < (6, 10) { "uplink_egress" } else { "uplink_egress_named" };
    [("packet_egress", packet), ("uplink_egress", uplink)]
}

#[test]
fn the_kernel_takes_the_program_that_tells_most_and_every_view_says_which() {
    let lab = Lab::new();
    let site = Site::inside(&lab.host, env!("CARGO_BIN_EXE_geofenced"));
    site.watch_only(lab.cgroup.path());
    let daemon = site.start();
    let metrics = site.metrics();
    let taken = metrics.nonzero("geofenced_probe_variant");
    let status = site.ask(&["status"]).stdout;
    for (probe, variant) in best_of_this_kernel() {
        let is_best = taken.iter().any(|it| it.contains(&format!("{variant:?}")));
        assert!(is_best, "{probe}: {taken:?}\n{}", site.log());
        let line = status.lines().find(|line| line.contains(&format!("{probe} ")));
        assert!(line.is_some_and(|it| it.contains(variant)), "{probe}: {status}");
    }
    // Of no probe it refused anything that it could run.
    let attached = metrics.nonzero("geofenced_probe_attached");
    assert_eq!(taken.len(), attached.len(), "{taken:?}\n{}", site.log());
    assert!(
        !status.contains("kernel refused") && !site.log().contains("kernel refused"),
        "{status}"
    );
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

//! Whoever may can take a probe off its hook, or put another program before it: that is noticed, told
//! and mended. Needs root.

use std::os::fd::{AsRawFd, OwnedFd};

use harness::{
    Gateway, Site,
    links::{self, LINK_TYPE_TCX, Link, bpf, descriptor, detach, halves, links, pair},
};
use serde_json::Value;

/// Commands, types and flags of bpf(2) (`linux/bpf.h`).
const PROG_LOAD: i64 = 5;
const PROG_QUERY: i64 = 16;
const LINK_CREATE: i64 = 28;
const SCHED_CLS: u32 = 3;
const TCX_EGRESS: u32 = 47;
const BEFORE: u32 = 1 << 3;
/// `BPF_CGROUP_INET_EGRESS`, `BPF_CGROUP_INET4_CONNECT`, and what is attached there.
const HOOKS: [(u32, &str); 2] = [(1, "packet_egress"), (10, "connect4")];

fn index_of(gateway: &Gateway, name: &str) -> u32 {
    gateway.lab.host.within(|| {
        let name = std::ffi::CString::new(name).expect("a name");
        // SAFETY: the name is a C string.
        unsafe { libc::if_nametoindex(name.as_ptr()) }
    })
}

/// `r0 = 0; exit`: lets every packet pass, and nobody after it see one (`TCX_PASS`).
fn put_before(gateway: &Gateway, index: u32) -> OwnedFd {
    let program = [0x0000_0000_0000_00b7_u64, 0x0000_0000_0000_0095];
    let license = c"GPL";
    let mut load =
        [pair(SCHED_CLS, 2), program.as_ptr() as u64, license.as_ptr() as u64, 0, 0, 0, 0, 0, 0];
    let program = descriptor(bpf(PROG_LOAD, &mut load).expect("load a program"));
    let fd = program.as_raw_fd().cast_unsigned();
    let mut create = [pair(fd, index), pair(TCX_EGRESS, BEFORE), 0, 0];
    gateway.lab.host.within(|| descriptor(bpf(LINK_CREATE, &mut create).expect("attach it")))
}

/// Counts whatever is attached to an interface or taken off it (`bpf_mprog_query`, Linux 6.6).
fn revision(gateway: &Gateway, index: u32) -> u64 {
    let mut query = [pair(index, TCX_EGRESS), 0, 0, 0, 0, 0, 0, 0];
    gateway.lab.host.within(|| bpf(PROG_QUERY, &mut query).expect("ask what is attached"));
    query[7]
}

fn watched(test: impl FnOnce(&Gateway, &Site, u32)) {
    let gateway = Gateway::new();
    let site = Site::inside(&gateway.lab.host, env!("CARGO_BIN_EXE_geofenced"));
    site.watch_only(gateway.lab.cgroup.path());
    let daemon = site.start();
    test(&gateway, &site, daemon.pid());
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

fn gauge(site: &Site, probe: &str) -> f64 {
    site.metrics().sum("geofenced_probe_attached", &[("probe", probe)])
}

fn detachments(site: &Site, probe: &str) -> f64 {
    site.metrics().sum("geofenced_probe_detachments_total", &[("probe", probe)])
}

fn lost(site: &Site) -> f64 {
    let labels = [("stage", "probe"), ("reason", "detached")];
    site.metrics().sum("geofenced_events_lost_total", &labels)
}

/// Until the hole is told and closed again.
fn await_mended(site: &Site, probe: &str, holes: f64) {
    let is_told = harness::eventually(|| (detachments(site, probe) >= holes).then_some(()));
    assert!(is_told.is_some(), "{probe}: the hole is not told\n{}", site.log());
    let is_mended = harness::eventually(|| (gauge(site, probe) > 0.5).then_some(()));
    assert!(is_mended.is_some(), "{probe}: not attached again\n{}", site.log());
    assert!(lost(site) >= holes, "{}", site.log());
}

fn told(site: &Site, to: &str) -> Option<Value> {
    harness::eventually(|| site.events(&["--destination", to]).pop())
}

#[test]
fn a_program_taken_off_an_interface_is_told_and_put_back() {
    watched(|gateway, site, pid| {
        let index = index_of(gateway, "wan");
        let is_there =
            |link: &&Link| link.kind == LINK_TYPE_TCX && halves(link.target) == (index, TCX_EGRESS);
        let all = links(pid);
        detach(all.iter().find(is_there).expect("a link at the interface"));
        await_mended(site, "uplink_egress", 1.0);
        gateway.from_client("udp-sendto --to 203.0.113.70:9");
        let event = told(site, "203.0.113.70").expect("what is forwarded after");
        assert_eq!(event["geofenced"]["origin"], "forwarded", "{event}");
        assert!(site.log().contains("it was taken off"), "{}", site.log());
    });
}

#[test]
fn a_doctor_beside_a_daemon_puts_nothing_before_its_probes() {
    watched(|gateway, site, _| {
        let index = index_of(gateway, "wan");
        let before = revision(gateway, index);
        let mut doctor = site.command(&["doctor", "--addresses", "10", "-o", "json"]);
        let told = gateway.lab.host.admit(&mut doctor).output().expect("run doctor");
        assert_eq!(told.status.code(), Some(0), "{}", String::from_utf8_lossy(&told.stderr));
        let report: Value = serde_json::from_slice(&told.stdout).expect("JSON");
        let checks = report["checks"].as_array().expect("checks");
        let is_ok = |it: &Value| it["check"] == "uplink_egress" && it["state"] == "ok";
        assert!(checks.iter().any(is_ok), "{report}");
        assert_eq!(revision(gateway, index), before, "what is attached to the interface");
        drop(put_before(gateway, index));
        assert!(revision(gateway, index) > before);
        assert!(gauge(site, "uplink_egress") > 0.5, "{}", site.log());
    });
}

#[test]
fn a_program_taken_off_the_cgroup_is_told_and_put_back_and_readiness_says_so() {
    watched(|gateway, site, pid| {
        for (hook, probe) in HOOKS {
            detach(&links::at_cgroup(pid, gateway.lab.cgroup.path(), hook));
            await_mended(site, probe, 1.0);
        }
        let ready = harness::eventually(|| site.get("/readyz").filter(|it| it.0 == 200));
        assert!(ready.is_some(), "{}", site.log());
        let truth = gateway.lab.egress("udp-connected --to 203.0.113.71:9");
        let event = told(site, "203.0.113.71").expect("what is sent after");
        assert_eq!(event["process"]["pid"], truth.pid, "{event}");
        assert_eq!(event["geofenced"]["attribution"], "socket", "{event}");
    });
}

#[test]
fn another_program_that_is_put_first_does_not_stay_first() {
    watched(|gateway, site, _| {
        let other = put_before(gateway, index_of(gateway, "wan"));
        await_mended(site, "uplink_egress", 1.0);
        gateway.from_client("udp-sendto --to 203.0.113.72:9");
        let event = told(site, "203.0.113.72").expect("what is forwarded after");
        assert_eq!(event["destination"]["ip"], "203.0.113.72", "{event}");
        assert_eq!(event["geofenced"]["origin"], "forwarded", "{event}");
        assert!(site.log().contains("another program was put before it"), "{}", site.log());
        drop(other);
    });
}

//! Whoever may can take a probe off its hook, or put another program before it: that is noticed, told
//! and mended. Needs root.

use std::{
    fs, io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use harness::{Gateway, Site};
use serde_json::Value;

/// Commands, types and flags of bpf(2) (`linux/bpf.h`).
const PROG_LOAD: i64 = 5;
const OBJ_GET_INFO_BY_FD: i64 = 15;
const LINK_CREATE: i64 = 28;
const LINK_GET_FD_BY_ID: i64 = 30;
const LINK_DETACH: i64 = 34;
const SCHED_CLS: u32 = 3;
const TCX_EGRESS: u32 = 47;
const BEFORE: u32 = 1 << 3;
const LINK_TYPE_CGROUP: u32 = 3;
const LINK_TYPE_TCX: u32 = 11;
/// `BPF_CGROUP_INET_EGRESS`, `BPF_CGROUP_INET4_CONNECT`, and what is attached there.
const HOOKS: [(u32, &str); 2] = [(1, "packet_egress"), (10, "connect4")];

fn bpf(command: i64, attributes: &mut [u64]) -> io::Result<i64> {
    let (pointer, length) = (attributes.as_mut_ptr(), size_of_val(attributes));
    // SAFETY: the kernel reads and writes within the live attributes and what they point to.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, pointer, length) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn descriptor(number: i64) -> OwnedFd {
    // SAFETY: the kernel just gave us this descriptor.
    unsafe { OwnedFd::from_raw_fd(number.try_into().expect("a descriptor")) }
}

/// Two numbers side by side in memory.
fn pair(first: u32, second: u32) -> u64 {
    let (low, high) =
        if cfg!(target_endian = "little") { (first, second) } else { (second, first) };
    u64::from(high) << 32 | u64::from(low)
}

fn halves(value: u64) -> (u32, u32) {
    let (low, high) = (value as u32, (value >> 32) as u32);
    if cfg!(target_endian = "little") { (low, high) } else { (high, low) }
}

/// A link of a daemon: its descriptor, type, and the first number of what it is at.
struct Link {
    fd: OwnedFd,
    kind: u32,
    target: u64,
    attach_type: u32,
}

/// Only of this process: others on the machine may have probes of the same names on interfaces of the
/// same numbers.
fn links(pid: u32) -> Vec<Link> {
    let all = fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("its descriptors");
    let id = |entry: io::Result<fs::DirEntry>| {
        let text = fs::read_to_string(entry.ok()?.path()).ok()?;
        let id = text.lines().find_map(|line| line.strip_prefix("link_id:"))?;
        id.trim().parse().ok()
    };
    all.filter_map(id).map(link).collect()
}

fn link(id: u32) -> Link {
    let fd = descriptor(bpf(LINK_GET_FD_BY_ID, &mut [pair(id, 0)]).expect("its link"));
    let mut info = [0_u64; 16];
    let raw = fd.as_raw_fd().cast_unsigned();
    let length = u32::try_from(size_of_val(&info)).expect("a length");
    let mut asked = [pair(raw, length), info.as_mut_ptr() as u64];
    bpf(OBJ_GET_INFO_BY_FD, &mut asked).expect("ask for a link");
    let (kind, target) = (halves(info[0]).0, info[2]);
    let attach_type = if kind == LINK_TYPE_TCX { halves(target).1 } else { halves(info[3]).0 };
    Link { fd, kind, target, attach_type }
}

fn detach(link: &Link) {
    let fd = link.fd.as_raw_fd().cast_unsigned();
    bpf(LINK_DETACH, &mut [pair(fd, 0)]).expect("detach a link");
}

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
fn a_program_taken_off_the_cgroup_is_told_and_put_back_and_readiness_says_so() {
    watched(|gateway, site, pid| {
        let cgroup = std::os::unix::fs::MetadataExt::ino(
            &fs::metadata(gateway.lab.cgroup.path()).expect("the cgroup"),
        );
        for (hook, probe) in HOOKS {
            let all = links(pid);
            let is_there = |it: &&Link| {
                it.kind == LINK_TYPE_CGROUP && it.target == cgroup && it.attach_type == hook
            };
            detach(all.iter().find(is_there).unwrap_or_else(|| panic!("no link of {probe}")));
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

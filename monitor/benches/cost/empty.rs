//! Empty programs on the hooks of the probes, in place of them.

use std::{
    collections::BTreeSet,
    env,
    fs::{self, File},
    path::Path,
};

use aya::{
    Ebpf,
    programs::{
        CgroupAttachMode, LinkOrder, Program, SchedClassifier, TcAttachType, tc::TcAttachOptions,
    },
};
use rustix::{
    mount::{MountFlags, MountPropagationFlags, mount, mount_change},
    thread::{UnshareFlags, unshare_unsafe},
};

/// Where `cargo xtask bench` left the object.
const OBJECT: &str = "GEOFENCED_EMPTY";

/// Attached as long as it lives.
pub(super) struct Empty {
    _programs: Ebpf,
    pub(super) ids: BTreeSet<u32>,
}

impl Empty {
    /// To be called in the network namespace of the interfaces, on a thread that ends soon.
    pub(super) fn attach(cgroup: &Path) -> Self {
        provide_tracefs();
        let object = env::var_os(OBJECT).expect("GEOFENCED_EMPTY; use cargo xtask bench");
        let object = fs::read(object).expect("the empty programs");
        let mut programs = Ebpf::load(&object).expect("load the empty programs");
        let cgroup = File::open(cgroup).expect("the cgroup");
        let mut ids = BTreeSet::new();
        for (name, program) in programs.programs_mut() {
            attach(name, program, &cgroup).unwrap_or_else(|error| panic!("{name}: {error}"));
            ids.insert(program.info().expect("what was loaded").id());
        }
        Self { _programs: programs, ids }
    }
}

/// As the daemon does: where nobody mounted it, only this thread sees it.
fn provide_tracefs() {
    const TRACEFS: &str = "/sys/kernel/tracing";
    if Path::new(TRACEFS).join("events").is_dir() {
        return;
    }
    // SAFETY: the thread gives up sharing its mounts and working directory; no descriptors change.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }.expect("a mount namespace");
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::DOWNSTREAM)
        .expect("mounts of its own");
    mount("tracefs", TRACEFS, "tracefs", MountFlags::empty(), None).expect("tracefs");
}

fn attach(
    name: &str,
    program: &mut Program,
    cgroup: &File,
) -> Result<(), aya::programs::ProgramError> {
    // A link is never alone on its hook, and takes no flag for it.
    let mode = CgroupAttachMode::Single;
    match program {
        Program::CgroupSkb(it) => {
            it.load()?;
            let direction = if name.ends_with("ingress") {
                aya::programs::CgroupSkbAttachType::Ingress
            } else {
                aya::programs::CgroupSkbAttachType::Egress
            };
            it.attach(cgroup, direction, mode).map(drop)
        }
        Program::CgroupSock(it) => {
            it.load()?;
            it.attach(cgroup, mode).map(drop)
        }
        Program::CgroupSockAddr(it) => {
            it.load()?;
            it.attach(cgroup, mode).map(drop)
        }
        Program::SchedClassifier(it) => {
            it.load()?;
            interfaces(it, name.ends_with("ingress"))
        }
        Program::TracePoint(it) => {
            it.load()?;
            let (category, event) = match name {
                "process_fork" => ("task", "task_newtask"),
                "process_exec" => ("sched", "sched_process_exec"),
                "process_exit" => ("sched", "sched_process_exit"),
                _ => ("sock", "sock_send_length"),
            };
            it.attach(category, event).map(drop)
        }
        _ => panic!("{name} is of no kind that the probes have"),
    }
}

/// At every interface of the namespace, as the daemon does.
fn interfaces(
    program: &mut SchedClassifier,
    is_ingress: bool,
) -> Result<(), aya::programs::ProgramError> {
    let direction = if is_ingress { TcAttachType::Ingress } else { TcAttachType::Egress };
    // /sys shows the interfaces of whoever mounted it.
    let text = fs::read_to_string("/proc/thread-self/net/dev").expect("interfaces");
    let names = text.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim());
    for name in names.filter(|name| *name != "lo") {
        let first = TcAttachOptions::TcxOrder(LinkOrder::first());
        program.attach_with_options(name, direction, first)?;
    }
    Ok(())
}

//! The clock that is cheap to read: whether this kernel's programs may (Linux 5.11), and what makes it the one
//! that samples have. Reads no time for anybody else.

use std::{
    os::fd::{AsFd as _, FromRawFd as _, OwnedFd},
    sync::atomic::Ordering,
};

use aya::{Ebpf, maps::Map};
use monitor_ebpf::names::map::SUSPENDED;

use super::{ProbeError, batch::bpf, places::Window};
use crate::clock;

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_TYPE_SOCKET_FILTER: u32 = 1;
/// `BPF_FUNC_ktime_get_coarse_ns` (`include/uapi/linux/bpf.h`).
const KTIME_GET_COARSE_NS: u64 = 160;

/// `union bpf_attr`, the beginning of what loads a program.
#[repr(C)]
#[derive(Default)]
struct LoadAttr {
    kind: u32,
    instructions: u32,
    code: u64,
    license: u64,
    log: [u64; 2],
    version: u32,
    flags: u32,
}

/// Asked of the verifier, whatever the kernel calls itself.
pub(super) fn is_there() -> bool {
    // call; exit
    let code = [0x85 | KTIME_GET_COARSE_NS << 32, 0x95];
    let mut attr = LoadAttr {
        kind: BPF_PROG_TYPE_SOCKET_FILTER,
        instructions: code.len() as u32,
        code: code.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        ..LoadAttr::default()
    };
    // SAFETY: as many instructions as are said, and a string, which outlive the call.
    let loaded = unsafe { bpf(BPF_PROG_LOAD, &mut attr) };
    // SAFETY: a descriptor that is nobody else's.
    loaded.map(|descriptor| unsafe { OwnedFd::from_raw_fd(descriptor) }).is_ok()
}

/// How long this host was suspended, for the probes: by so much the cheap clock is behind.
pub(super) struct Suspended(Window);

impl Suspended {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, ProbeError> {
        let problem = |problem: &str| ProbeError::Map { name: SUSPENDED, problem: problem.into() };
        let Some(Map::Array(map)) = ebpf.take_map(SUSPENDED) else {
            return Err(problem("not in the object"));
        };
        let window = Window::open(map.fd().as_fd(), 0, size_of::<u64>())
            .map_err(|error| problem(&error.to_string()))?;
        let suspended = Self(window);
        suspended.tell();
        Ok(suspended)
    }

    pub(super) fn tell(&self) {
        if let Some(told) = self.0.counter(0) {
            told.store(clock::suspended_ns(), Ordering::Relaxed);
        }
    }
}

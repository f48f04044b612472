//! Links of a daemon's programs at their hooks (bpf(2)), as anybody with privilege sees them, and may take a
//! program off.

use std::{
    fs, io,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::Path,
};

/// Commands, types and flags of bpf(2) (`linux/bpf.h`).
const OBJ_GET_INFO_BY_FD: i64 = 15;
const LINK_GET_FD_BY_ID: i64 = 30;
const LINK_DETACH: i64 = 34;
pub const LINK_TYPE_CGROUP: u32 = 3;
pub const LINK_TYPE_TCX: u32 = 11;

pub fn bpf(command: i64, attributes: &mut [u64]) -> io::Result<i64> {
    let (pointer, length) = (attributes.as_mut_ptr(), size_of_val(attributes));
    // SAFETY: the kernel reads and writes within the live attributes and what they point to.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, pointer, length) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

pub fn descriptor(number: i64) -> OwnedFd {
    // SAFETY: the kernel just gave us this descriptor.
    unsafe { OwnedFd::from_raw_fd(number.try_into().expect("a descriptor")) }
}

/// Two numbers side by side in memory.
pub fn pair(first: u32, second: u32) -> u64 {
    let (low, high) =
        if cfg!(target_endian = "little") { (first, second) } else { (second, first) };
    u64::from(high) << 32 | u64::from(low)
}

pub fn halves(value: u64) -> (u32, u32) {
    let (low, high) = (value as u32, (value >> 32) as u32);
    if cfg!(target_endian = "little") { (low, high) } else { (high, low) }
}

/// A link of a daemon: its descriptor, type, and the first number of what it is at.
#[derive(Debug)]
pub struct Link {
    fd: OwnedFd,
    pub kind: u32,
    pub target: u64,
    pub attach_type: u32,
}

/// The program at a hook of this cgroup.
pub fn at_cgroup(pid: u32, cgroup: &Path, hook: u32) -> Link {
    let cgroup = fs::metadata(cgroup).expect("the cgroup").ino();
    let is_there =
        |it: &Link| it.kind == LINK_TYPE_CGROUP && it.target == cgroup && it.attach_type == hook;
    links(pid).into_iter().find(is_there).unwrap_or_else(|| panic!("no link at hook {hook}"))
}

/// Only of this process: others on the machine may have probes of the same names on interfaces of the
/// same numbers.
pub fn links(pid: u32) -> Vec<Link> {
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

pub fn detach(link: &Link) {
    let fd = link.fd.as_raw_fd().cast_unsigned();
    bpf(LINK_DETACH, &mut [pair(fd, 0)]).expect("detach a link");
}

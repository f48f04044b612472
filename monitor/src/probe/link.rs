//! What holds a program at its hook, by the kernel's own interface (bpf(2)): attached by the number of
//! an interface rather than its name, first in order, and asked whether it still holds. Decides
//! nothing.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

/// Commands (`enum bpf_cmd`, `linux/bpf.h`).
mod command {
    pub(super) const OBJ_GET_INFO_BY_FD: i64 = 15;
    pub(super) const PROG_QUERY: i64 = 16;
    pub(super) const LINK_CREATE: i64 = 28;
}

/// `BPF_F_BEFORE`: without another to be before, before all.
const BEFORE: u32 = 1 << 3;
/// `enum bpf_link_type`.
const TYPE_CGROUP: u32 = 3;
const TYPE_TCX: u32 = 11;
/// Programs at one hook of an interface that are looked at; the kernel holds 64.
const PROGRAMS_MAX: usize = 64;

/// A hook (`enum bpf_attach_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum At {
    PacketIngress = 0,
    PacketEgress = 1,
    SockCreate = 2,
    Connect4 = 10,
    Connect6 = 11,
    Sendmsg4 = 14,
    Sendmsg6 = 15,
    SockRelease = 34,
    TcxIngress = 46,
    TcxEgress = 47,
}

/// A program at a hook. Dropping it detaches the program.
#[derive(Debug)]
pub(super) struct Link(OwnedFd);

#[repr(C)]
#[derive(Default)]
struct LinkCreate {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
    relative: u32,
    reserved: u32,
    revision: u64,
}

/// The beginning of `struct bpf_link_info`, and room for what kernels may add.
#[repr(C)]
#[derive(Default)]
struct LinkInfo {
    kind: u32,
    id: u32,
    program: u32,
    reserved: u32,
    /// Of a cgroup link, the cgroup (64 bits); of a tcx link, the interface. 0 once it is detached.
    target: [u32; 2],
    rest: [u64; 16],
}

#[repr(C)]
#[derive(Default)]
struct InfoByFd {
    fd: u32,
    length: u32,
    info: u64,
}

#[repr(C)]
#[derive(Default)]
struct ProgQuery {
    target: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    programs: u64,
    count: u32,
    reserved: u32,
    pointers: [u64; 3],
    revision: u64,
}

impl Link {
    /// Beside what others attached below this cgroup.
    pub(super) fn at_cgroup(
        program: BorrowedFd<'_>,
        cgroup: BorrowedFd<'_>,
        at: At,
    ) -> io::Result<Self> {
        Self::create(program, cgroup.as_raw_fd().cast_unsigned(), at, 0)
    }

    /// Before whatever else is at the interface: what runs first sees each packet, whatever the rest
    /// does with it. Linux 6.6.
    pub(super) fn at_interface(program: BorrowedFd<'_>, index: u32, at: At) -> io::Result<Self> {
        Self::create(program, index, at, BEFORE)
    }

    fn create(program: BorrowedFd<'_>, target: u32, at: At, flags: u32) -> io::Result<Self> {
        let mut attributes = LinkCreate {
            program: program.as_raw_fd().cast_unsigned(),
            target,
            attach_type: at as u32,
            flags,
            ..LinkCreate::default()
        };
        let fd = bpf(command::LINK_CREATE, &mut attributes)?;
        let fd = RawFd::try_from(fd).map_err(io::Error::other)?;
        // SAFETY: the kernel just gave us this descriptor, nobody else has it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Which program it holds, if it still does: anybody with privilege may detach it, and leave us
    /// the descriptor.
    pub(super) fn program(&self) -> io::Result<Option<u32>> {
        let mut info = LinkInfo::default();
        let mut attributes = InfoByFd {
            fd: self.0.as_fd().as_raw_fd().cast_unsigned(),
            length: size_of::<LinkInfo>() as u32,
            info: &raw mut info as u64,
        };
        bpf(command::OBJ_GET_INFO_BY_FD, &mut attributes)?;
        let is_attached = match info.kind {
            TYPE_CGROUP => info.target != [0, 0],
            TYPE_TCX => info.target[0] != 0,
            _ => true,
        };
        Ok(is_attached.then_some(info.program))
    }
}

/// The programs at a hook of an interface, in the order in which they run.
pub(super) fn programs_at(index: u32, at: At) -> io::Result<Vec<u32>> {
    let mut programs = vec![0_u32; PROGRAMS_MAX];
    let mut attributes = ProgQuery {
        target: index,
        attach_type: at as u32,
        programs: programs.as_mut_ptr() as u64,
        count: PROGRAMS_MAX as u32,
        ..ProgQuery::default()
    };
    bpf(command::PROG_QUERY, &mut attributes)?;
    programs.truncate(attributes.count as usize);
    Ok(programs)
}

fn bpf<T>(command: i64, attributes: &mut T) -> io::Result<i64> {
    let (pointer, length) = (&raw mut *attributes, size_of::<T>());
    // SAFETY: the kernel reads and writes at most `length` bytes of the live value, and what its
    // pointers and counts describe, which the callers keep alive.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, pointer, length) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

const _: () = {
    assert!(size_of::<LinkCreate>() == 32);
    assert!(size_of::<InfoByFd>() == 16);
    assert!(size_of::<ProgQuery>() == 64);
};

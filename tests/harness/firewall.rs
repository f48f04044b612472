//! A program at a cgroup that lets nothing out, beside that of the daemon: what a firewall of systemd does
//! (`IPAddressDeny=any`).

use std::{
    fs::File,
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use rustix::process::{Resource, Rlimit, setrlimit};

use crate::Cgroup;

/// Taken off when it is dropped.
#[derive(Debug)]
pub struct Firewall {
    program: OwnedFd,
    cgroup: File,
}

impl Firewall {
    pub fn new(cgroup: &Cgroup) -> Self {
        const BPF_PROG_LOAD: u32 = 5;
        const CGROUP_SKB: u32 = 8;
        /// `r0 = 0; exit`.
        const REFUSE: [u64; 2] = [0xb7, 0x95];
        let license = c"GPL";
        // Before Linux 5.11 a program is locked memory; later nobody asks.
        let _ = setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None });
        let mut attr = [0_u32; 32];
        (attr[0], attr[1]) = (CGROUP_SKB, REFUSE.len() as u32);
        put(&mut attr, 2, REFUSE.as_ptr() as u64);
        put(&mut attr, 4, license.as_ptr() as u64);
        // `expected_attach_type`.
        attr[17] = Self::EGRESS;
        let fd = bpf(BPF_PROG_LOAD, &attr).expect("load a program that refuses");
        // SAFETY: the kernel just gave us this descriptor, nobody else has it.
        let program = unsafe { OwnedFd::from_raw_fd(fd) };
        let cgroup = File::open(cgroup.path()).expect("open the cgroup");
        let firewall = Self { program, cgroup };
        firewall.attach();
        firewall
    }

    const EGRESS: u32 = 1;

    fn place(&self, flags: u32) -> [u32; 32] {
        let mut attr = [0_u32; 32];
        attr[0] = self.cgroup.as_raw_fd().cast_unsigned();
        attr[1] = self.program.as_raw_fd().cast_unsigned();
        (attr[2], attr[3]) = (Self::EGRESS, flags);
        attr
    }

    fn attach(&self) {
        const BPF_PROG_ATTACH: u32 = 8;
        const ALLOW_MULTI: u32 = 2;
        bpf(BPF_PROG_ATTACH, &self.place(ALLOW_MULTI)).expect("attach it");
    }
}

impl Drop for Firewall {
    fn drop(&mut self) {
        const BPF_PROG_DETACH: u32 = 9;
        // It fails where the cgroup is gone, and with it the program's place.
        let _ = bpf(BPF_PROG_DETACH, &self.place(0));
    }
}

fn put(attr: &mut [u32; 32], at: usize, value: u64) {
    let bytes = value.to_ne_bytes();
    let word =
        |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    (attr[at], attr[at + 1]) = (word(0), word(4));
}

/// bpf(2), of a command that changes nothing of what it is given.
fn bpf(command: u32, attr: &[u32; 32]) -> io::Result<i32> {
    // SAFETY: the attributes live through the call, and so does what they point to.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attr.as_ptr(), size_of_val(attr)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}

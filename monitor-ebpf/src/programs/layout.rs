//! The only reader of kernel structures beyond the stable interface, at offsets that user space took
//! from the running kernel's BTF. Where a group of them is not set, the verifier leaves out what reads
//! it. Every read may fail, and none is a fault.

use core::mem::MaybeUninit;

use aya_ebpf::{
    Global,
    bindings::bpf_sock,
    helpers::generated::{
        bpf_get_current_task, bpf_probe_read_kernel, bpf_probe_read_kernel_str, bpf_probe_read_user,
    },
};
use monitor_ebpf::{
    layout::reads,
    sample::{ARGUMENT_BYTES, ExecSample, NAME_BYTES, PATH_BYTES, path_end},
};

use super::kernel::TCP;

/// Bits of [`reads`]; user space sets it before load.
#[unsafe(no_mangle)]
static READS: Global<u8> = Global::new(0);

macro_rules! offsets {
    ($($name:ident)+) => { $(
        #[unsafe(no_mangle)]
        static $name: Global<u16> = Global::new(0);
    )+ };
}

offsets! {
    TASK_MM TASK_NSPROXY MM_EXE_FILE FILE_INODE FILE_MOUNT FILE_DENTRY INODE_NUMBER INODE_SUPER
    INODE_LINKS SUPER_DEVICE DENTRY_PARENT DENTRY_NAME VFSMOUNT_ROOT MOUNT_VFSMOUNT MOUNT_PARENT
    MOUNT_POINT NSPROXY_MOUNTS MOUNTS_NUMBER
    SOCK_COOKIE
    SOCK_NET NET_NUMBER
    TCP_IS_MPTCP ICSK_ULP_DATA SUBFLOW_CONNECTION CONNECTION_COOKIE
    EXEC_MM MM_ARG_START MM_ARG_END EXEC_NSPROXY NSPROXY_NET NETNS_NUMBER
    TASK_CGROUPS CSS_SET_SUBSYSTEMS CSS_SET_REFCOUNT CSS_SERIAL
}

/// Controllers of cgroups; Linux has 14.
const CONTROLLERS_MAX: u16 = 16;
/// Odd, so that no bit is lost: it spreads numbers that follow each other.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Steps of the way up from a file, over directories and mounts.
const STEPS_MAX: usize = 48;

#[inline(always)]
pub fn has(group: u8) -> bool {
    READS.load() & group != 0
}

#[inline(always)]
fn read<T: Copy>(base: u64, offset: &Global<u16>) -> Option<T> {
    let mut value = MaybeUninit::<T>::uninit();
    let from = base.wrapping_add(offset.load().into());
    // SAFETY: the helper writes the whole value, or fails; a bad address is an error, not a fault.
    let failed = unsafe {
        bpf_probe_read_kernel(value.as_mut_ptr().cast(), size_of::<T>() as u32, from as *const _)
    };
    // SAFETY: written, by the above; `T` is an integer.
    if failed == 0 { Some(unsafe { value.assume_init() }) } else { None }
}

/// The file that the current process executed: its numbers and its path in the process's mount
/// namespace. What can't be read stays 0.
#[inline(always)]
pub fn executable(sample: &mut ExecSample) {
    sample.inode = 0;
    sample.device = 0;
    sample.mount_ns = 0;
    sample.links = 0;
    sample.path_bytes = 0;
    sample.path_end = path_end::UNKNOWN;
    if has(reads::EXECUTABLE) {
        let _ = read_executable(sample);
    }
}

#[inline(always)]
fn read_executable(sample: &mut ExecSample) -> Option<()> {
    // SAFETY: a helper without arguments.
    let task = unsafe { bpf_get_current_task() };
    let mm: u64 = read(task, &TASK_MM)?;
    let file: u64 = read(mm, &MM_EXE_FILE)?;
    let inode: u64 = read(file, &FILE_INODE)?;
    let superblock: u64 = read(inode, &INODE_SUPER)?;
    sample.device = read(superblock, &SUPER_DEVICE)?;
    sample.links = read(inode, &INODE_LINKS)?;
    let nsproxy: u64 = read(task, &TASK_NSPROXY)?;
    let mounts: u64 = read(nsproxy, &NSPROXY_MOUNTS)?;
    sample.mount_ns = read(mounts, &MOUNTS_NUMBER)?;
    // Last: with it the others are known.
    sample.inode = read(inode, &INODE_NUMBER)?;
    climb(sample, read(file, &FILE_MOUNT)?, read(file, &FILE_DENTRY)?)
}

/// What the current process was executed with, and where. What can't be read stays 0.
#[inline(always)]
pub fn circumstances(sample: &mut ExecSample) {
    sample.netns = 0;
    sample.argument_bytes = 0;
    sample.cgroups = 0;
    if has(reads::CIRCUMSTANCES) {
        // SAFETY: a helper without arguments.
        let task = unsafe { bpf_get_current_task() };
        sample.netns = network_namespace(task).unwrap_or(0);
        sample.cgroups = cgroups(task, sample.process.cgroup_id).unwrap_or(0);
        let _ = arguments(sample, task);
    }
}

#[inline(always)]
fn network_namespace(task: u64) -> Option<u32> {
    let nsproxy: u64 = read(task, &EXEC_NSPROXY)?;
    let net: u64 = read(nsproxy, &NSPROXY_NET)?;
    read(net, &NETNS_NUMBER)
}

/// The process's set of cgroups as one number. The address of a set may come again when another has
/// that place; the numbers of its controllers' cgroups, and of that of cgroup v2, never do.
#[inline(always)]
fn cgroups(task: u64, unified: u64) -> Option<u64> {
    let set: u64 = read(task, &TASK_CGROUPS)?;
    let first = CSS_SET_SUBSYSTEMS.load();
    let count = CSS_SET_REFCOUNT.load().wrapping_sub(first) / 8;
    // All of them, and what is behind them if there are fewer: a call for each would take as long as all that
    // is read of them.
    let controllers: [u64; CONTROLLERS_MAX as usize] = read(set, &CSS_SET_SUBSYSTEMS)?;
    let mut number = (set ^ unified.wrapping_mul(SPREAD)).wrapping_mul(SPREAD);
    for (nth, controller) in (0..).zip(controllers) {
        if nth >= count {
            break;
        }
        let serial: u64 = read(controller, &CSS_SERIAL)?;
        number = (number ^ serial).wrapping_mul(SPREAD);
    }
    Some(number)
}

/// All of them or none. They are in memory: the exec has just written them.
#[inline(always)]
fn arguments(sample: &mut ExecSample, task: u64) -> Option<()> {
    let mm: u64 = read(task, &EXEC_MM)?;
    let (start, end): (u64, u64) = (read(mm, &MM_ARG_START)?, read(mm, &MM_ARG_END)?);
    let bytes = end.wrapping_sub(start);
    if bytes == 0 || bytes > ARGUMENT_BYTES as u64 {
        return None;
    }
    let mut last = bytes - 1;
    // SAFETY: a register to itself, as in `kernel::load_into`: it hides from the compiler what the
    // verifier is shown below.
    unsafe {
        core::arch::asm!("{0} = {0}", inout(reg) last, options(nomem, nostack, preserves_flags))
    };
    let bytes = (last & (ARGUMENT_BYTES as u64 - 1)) as u32 + 1;
    // SAFETY: the helper writes exactly `bytes` of ARGUMENT_BYTES; a bad address is an error, not a
    // fault.
    let failed = unsafe {
        bpf_probe_read_user(sample.arguments.as_mut_ptr().cast(), bytes, start as *const _)
    };
    if failed == 0 {
        sample.argument_bytes = bytes;
    }
    Some(())
}

/// From a file up to the root, as `prepend_path` does (fs/d_path.c), but without its locks: a rename
/// meanwhile may mix two paths, of which user space trusts none that does not lead to the inode.
#[inline(always)]
fn climb(sample: &mut ExecSample, mut mount: u64, mut dentry: u64) -> Option<()> {
    let mut root: u64 = read(mount, &VFSMOUNT_ROOT)?;
    for _ in 0..STEPS_MAX {
        if dentry == root {
            let whole = mount.wrapping_sub(MOUNT_VFSMOUNT.load().into());
            let parent: u64 = read(whole, &MOUNT_PARENT)?;
            if parent == whole {
                sample.path_end = path_end::ROOT;
                return None;
            }
            dentry = read(whole, &MOUNT_POINT)?;
            mount = parent.wrapping_add(MOUNT_VFSMOUNT.load().into());
            root = read(mount, &VFSMOUNT_ROOT)?;
            continue;
        }
        append(sample, read(dentry, &DENTRY_NAME)?)?;
        let parent: u64 = read(dentry, &DENTRY_PARENT)?;
        if parent == dentry {
            sample.path_end = path_end::DETACHED;
            return None;
        }
        dentry = parent;
    }
    None
}

/// Behind the names that are there. How many bytes those have is read from the sample each time, so that
/// the verifier knows nothing of it: what it knows would multiply the ways through the loop.
#[inline(always)]
fn append(sample: &mut ExecSample, name: u64) -> Option<()> {
    let bytes = &raw mut sample.path_bytes;
    // SAFETY: a field of the sample.
    let mut to = u64::from(unsafe { bytes.read_volatile() });
    if to >= PATH_BYTES as u64 {
        return None;
    }
    // SAFETY: a register to itself, as in `kernel::load_into`: it hides from the compiler what the
    // verifier is shown below.
    unsafe {
        core::arch::asm!("{0} = {0}", inout(reg) to, options(nomem, nostack, preserves_flags))
    };
    let to = (to & (PATH_BYTES as u64 - 1)) as usize;
    // SAFETY: writes at most NAME_BYTES, for which there is room behind each byte below PATH_BYTES; a
    // bad address is an error, not a fault.
    let read = unsafe {
        let to = sample.path.as_mut_ptr().add(to).cast();
        bpf_probe_read_kernel_str(to, NAME_BYTES as u32, name as *const _)
    };
    if read <= 0 {
        return None;
    }
    // SAFETY: as above.
    unsafe { bytes.write_volatile(to as u32 + read as u32) };
    Some(())
}

/// The address of a socket as a number, with which the verifier lets one reckon.
#[inline(always)]
fn address(socket: *mut bpf_sock) -> Option<u64> {
    let mut number = MaybeUninit::<u64>::uninit();
    let from = &raw const socket;
    // SAFETY: reads the pointer itself, from this program's stack.
    let failed = unsafe { bpf_probe_read_kernel(number.as_mut_ptr().cast(), 8, from.cast()) };
    // SAFETY: written, by the above.
    if failed == 0 { Some(unsafe { number.assume_init() }) } else { None }
}

/// Inode of the network namespace of a full socket; 0 if not known.
#[inline(always)]
pub fn netns_inode(socket: *mut bpf_sock) -> u32 {
    if !has(reads::NETNS) || socket.is_null() {
        return 0;
    }
    let net = address(socket).and_then(|socket| read::<u64>(socket, &SOCK_NET));
    net.and_then(|net| read(net, &NET_NUMBER)).unwrap_or(0)
}

/// Cookie of the Multipath TCP connection that a TCP socket is a subflow of; else 0.
#[inline(always)]
pub fn connection_cookie(socket: *mut bpf_sock, transport: u8) -> u64 {
    // First what the verifier knows: each question more is another way through all that follows.
    if !has(reads::CONNECTION) {
        return 0;
    }
    if transport != TCP || socket.is_null() {
        return 0;
    }
    connection(socket).unwrap_or(0)
}

#[inline(always)]
fn connection(socket: *mut bpf_sock) -> Option<u64> {
    let subflow = address(socket)?;
    if read::<u8>(subflow, &TCP_IS_MPTCP)? == 0 {
        return None;
    }
    let context: u64 = read(subflow, &ICSK_ULP_DATA)?;
    let connection: u64 = read(context, &SUBFLOW_CONNECTION)?;
    read(connection, &CONNECTION_COOKIE)
}

/// Cookie of the socket at this address, if it has one; else 0.
#[inline(always)]
pub fn cookie_at(socket: u64) -> u64 {
    if !has(reads::COOKIE) {
        return 0;
    }
    read(socket, &SOCK_COOKIE).unwrap_or(0)
}

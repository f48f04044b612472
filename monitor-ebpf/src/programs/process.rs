//! Tracepoints of the process life: fork, exec, exit. Offsets are those of the records' `format`
//! files, which user space compares before it attaches.

use aya_ebpf::{
    EbpfContext, helpers::bpf_get_current_pid_tgid, macros::tracepoint, programs::TracePointContext,
};
use monitor_ebpf::{sample::ProcessStart, tracepoint};

use super::{
    emit, kernel,
    maps::{STARTS, add},
};

/// `CLONE_THREAD` (`include/uapi/linux/sched.h`).
const CLONE_THREAD: u64 = 0x0001_0000;

#[tracepoint]
pub fn process_exec(context: TracePointContext) -> u32 {
    let now = kernel::now_ns();
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let parent_tgid = become_program(tgid, now);
    let process = kernel::current(now);
    // SAFETY: a probe read; a bad offset is an error, not a fault.
    if let Ok(place) = unsafe { context.read_at::<u32>(tracepoint::EXEC_FILENAME) } {
        // `__data_loc`: offset in the lower half, length in the upper.
        let at = (place & 0xffff) as usize;
        // SAFETY: stays an address to be probe-read.
        let filename = unsafe { context.as_ptr().byte_add(at) };
        emit::exec(&process, parent_tgid, filename);
    }
    0
}

/// Numbers the program that a process is from now on; returns its parent, 0 if not known.
#[inline(always)]
fn become_program(tgid: u32, executed_ns: u64) -> u32 {
    note_another(tgid);
    if let Some(start) = STARTS.get_ptr_mut(&tgid) {
        // SAFETY: a value of the table; the verifier proved the pointer. Its process alone executes.
        unsafe {
            (*start).executed_ns = executed_ns;
            return (*start).parent_tgid;
        }
    }
    let start = ProcessStart { executed_ns, ..ProcessStart::default() };
    // LRU: as below.
    let _ = STARTS.insert(&tgid, &start, 0);
    0
}

/// This number stands for another program from now on. Only its own threads compare, and none runs.
#[inline(always)]
fn note_another(tgid: u32) {
    if let Some(count) = kernel::executions(tgid) {
        // SAFETY: a value of the map.
        unsafe { add(count, 1) };
    }
}

/// `task:task_newtask`, not `sched:sched_process_fork`: its record has the clone flags, so that a
/// new thread costs no sample. The current task is the parent.
#[tracepoint]
pub fn process_fork(context: TracePointContext) -> u32 {
    // SAFETY: probe reads; a bad offset is an error, not a fault.
    let (child, flags) = unsafe {
        (
            context.read_at::<u32>(tracepoint::NEWTASK_PID),
            context.read_at::<u64>(tracepoint::NEWTASK_CLONE_FLAGS),
        )
    };
    if let (Ok(child), Ok(flags)) = (child, flags)
        && flags & CLONE_THREAD == 0
    {
        let now = kernel::now_ns();
        let parent_tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
        let start = ProcessStart { started_ns: now, executed_ns: 0, parent_tgid, reserved: 0 };
        // LRU: insertion fails only for want of memory, and then /proc knows the start.
        let _ = STARTS.insert(child, start, 0);
        note_another(child);
        emit::fork(parent_tgid, child, now);
    }
    0
}

#[tracepoint]
pub fn process_exit(_context: TracePointContext) -> u32 {
    let pid_tgid = bpf_get_current_pid_tgid();
    let tgid = (pid_tgid >> 32) as u32;
    if tgid == pid_tgid as u32 {
        // Its start stays: other threads may go on, and the next process of this pid has its own.
        emit::exit(tgid, kernel::now_ns());
    }
    0
}

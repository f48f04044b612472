//! Who sends, by the tracepoint behind each send: on sockets below IP (`AF_PACKET`, `AF_XDP`), whether
//! or not a hook sees what they send, and on TCP, whose packets leave whoever runs. Counts by process,
//! tells who sends on a connection when that is another; reads no packet.

use aya_ebpf::{
    EbpfContext, helpers::bpf_get_current_pid_tgid, macros::tracepoint, programs::TracePointContext,
};
use monitor_ebpf::{sample::LinkSender, tracepoint};

use super::{
    emit, kernel, layout,
    maps::{LINK_SENDERS, NOEXIST, SENDERS, add},
};

/// `include/linux/socket.h`.
const AF_PACKET: u16 = 17;
const AF_XDP: u16 = 44;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
/// `include/uapi/linux/in.h`.
const IPPROTO_TCP: u16 = 6;
const IPPROTO_MPTCP: u16 = 262;

/// `sock:sock_send_length`: after each send, in whatever way, in the process that sends.
#[tracepoint]
pub fn link_send(context: TracePointContext) -> u32 {
    let record = context.as_ptr().cast::<u8>();
    // SAFETY: a field of the record; user space compared its place with the kernel's own.
    let family = unsafe { record.add(tracepoint::SEND_FAMILY).cast::<u16>().read_volatile() };
    if family != AF_PACKET && family != AF_XDP && family != AF_INET && family != AF_INET6 {
        return 0;
    }
    // SAFETY: as above.
    let result = unsafe { record.add(tracepoint::SEND_RESULT).cast::<i32>().read_volatile() };
    if family == AF_INET || family == AF_INET6 {
        if result > 0 {
            connection_send(record);
        }
        return 0;
    }
    // A send on an AF_XDP socket only wakes the kernel up, and is told as 0 bytes.
    if result >= 0 {
        count(&LinkSender { bytes: result as u64, sends: 1, ..LinkSender::default() });
    }
    0
}

/// Tells who sends on a TCP connection, unless the same did last.
#[inline(always)]
fn connection_send(record: *const u8) {
    // SAFETY: a field of the record, as in `link_send`.
    let protocol = unsafe { record.add(tracepoint::SEND_PROTOCOL).cast::<u16>().read_volatile() };
    if protocol != IPPROTO_TCP && protocol != IPPROTO_MPTCP {
        return;
    }
    // SAFETY: as above.
    let socket = unsafe { record.add(tracepoint::SEND_SOCKET).cast::<u64>().read_volatile() };
    // A socket that no hook ever asked for its cookie has no flow either.
    let cookie = layout::cookie_at(socket);
    if cookie == 0 {
        return;
    }
    let runner = kernel::runner::<true>();
    if let Some(last) = SENDERS.get_ptr(&cookie) {
        // SAFETY: a value of the table; the verifier proved the pointer.
        if unsafe { *last } == runner {
            return;
        }
    }
    // LRU: it fails only for want of memory, and then it is told again.
    let _ = SENDERS.insert(&cookie, &runner, 0);
    emit::sender(cookie, &kernel::current(kernel::now_ns()));
}

/// A packet of such a socket passes an interface's program: before the send is told.
#[inline(always)]
pub fn passes(bytes: u64, packets: u64) {
    count(&LinkSender { seen_bytes: bytes, seen_packets: packets, ..LinkSender::default() });
}

#[inline(always)]
fn count(more: &LinkSender) {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    if let Some(sender) = LINK_SENDERS.get_ptr_mut(&tgid) {
        // SAFETY: a value of the table; the verifier proved the pointer.
        unsafe {
            add(&raw mut (*sender).bytes, more.bytes);
            add(&raw mut (*sender).sends, more.sends);
            add(&raw mut (*sender).seen_bytes, more.seen_bytes);
            add(&raw mut (*sender).seen_packets, more.seen_packets);
        }
        return;
    }
    let sender = LinkSender { started_ns: kernel::start(tgid).started_ns, ..*more };
    // LRU: it fails only where another thread of the process was first, by a send.
    let _ = LINK_SENDERS.insert(&tgid, &sender, NOEXIST);
}

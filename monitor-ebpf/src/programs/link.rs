//! Who sends on sockets below IP (`AF_PACKET`, `AF_XDP`), whether or not a hook sees what they send:
//! for packets that went around them all. Counts by process; reads no packet.

use aya_ebpf::{
    EbpfContext, helpers::bpf_get_current_pid_tgid, macros::tracepoint, programs::TracePointContext,
};
use monitor_ebpf::{sample::LinkSender, tracepoint};

use super::{kernel, maps::LINK_SENDERS, packet, socket::NOEXIST};

/// `include/linux/socket.h`.
const AF_PACKET: u16 = 17;
const AF_XDP: u16 = 44;

/// `sock:sock_send_length`: after each send, in whatever way, in the process that sends.
#[tracepoint]
pub fn link_send(context: TracePointContext) -> u32 {
    let record = context.as_ptr().cast::<u8>();
    // SAFETY: a field of the record; user space compared its place with the kernel's own.
    let family = unsafe { record.add(tracepoint::SEND_FAMILY).cast::<u16>().read_volatile() };
    if family != AF_PACKET && family != AF_XDP {
        return 0;
    }
    // SAFETY: as above.
    let result = unsafe { record.add(tracepoint::SEND_RESULT).cast::<i32>().read_volatile() };
    // A send on an AF_XDP socket only wakes the kernel up, and is told as 0 bytes.
    if result >= 0 {
        count(&LinkSender { bytes: result as u64, sends: 1, ..LinkSender::default() });
    }
    0
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
            packet::add(&raw mut (*sender).bytes, more.bytes);
            packet::add(&raw mut (*sender).sends, more.sends);
            packet::add(&raw mut (*sender).seen_bytes, more.seen_bytes);
            packet::add(&raw mut (*sender).seen_packets, more.seen_packets);
        }
        return;
    }
    let sender = LinkSender { started_ns: kernel::started_ns(tgid), ..*more };
    // LRU: it fails only where another thread of the process was first, by a send.
    let _ = LINK_SENDERS.insert(&tgid, &sender, NOEXIST);
}

//! Every map of the object. Sizes are defaults: user space may set others before load.

use core::arch::asm;

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC},
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf},
};
use monitor_ebpf::{
    ABI_VERSION,
    loss::{HOUSEKEEPING, LOSSES as LOSS_COUNTERS, Loss, WITHOUT_FLOW_BYTES, WITHOUT_FLOW_PACKETS},
    places::{Chunk6, Classes4, Fence6, Index4, V6_CHUNKS, Verdicts},
    sample::{
        FlowCounters, FlowKey, FragmentKey, FragmentPorts, Interface, LinkSender, ProcessStart,
        Runner, SocketOwner, Transit, Unitemised, UnitemisedKey,
    },
    settings,
    share::{ACCOUNTS, Share},
};

/// Samples for user space, in order.
#[map]
pub static SAMPLES: RingBuf = RingBuf::with_byte_size(settings::RING_BYTES, 0);

/// Counters of live flows. Not preallocated: an idle host pays nothing. Not LRU: a full table must
/// be counted, never silently forget.
#[map]
pub static FLOWS: HashMap<FlowKey, FlowCounters> =
    HashMap::with_max_entries(settings::FLOWS, BPF_F_NO_PREALLOC);

/// Bits of `once` of flows that are in no table, so that each is told or counted once. LRU: what is
/// pushed out is told again.
#[map]
pub static ONCE: LruHashMap<FlowKey, u32> = LruHashMap::with_max_entries(settings::ONCE, 0);

/// Shares of users, by `share::slot`, and behind them that of all together.
#[map]
pub static SHARES: Array<Share> = Array::with_max_entries(ACCOUNTS + 1, BPF_F_MMAPABLE);

/// What is not told one by one, added up.
#[map]
pub static UNITEMISED: HashMap<UnitemisedKey, Unitemised> =
    HashMap::with_max_entries(settings::UNITEMISED, BPF_F_NO_PREALLOC);

/// Interfaces that the tc programs are attached to, by index.
#[map]
pub static INTERFACES: HashMap<u32, Interface> =
    HashMap::with_max_entries(settings::INTERFACES, BPF_F_NO_PREALLOC);

/// Packets on their way through this host, by `skb->hash`. LRU: a flow that is pushed out is put in
/// again by its next packet, and is told without its device meanwhile.
#[map]
pub static TRANSITS: LruHashMap<u32, Transit> = LruHashMap::with_max_entries(settings::TRANSITS, 0);

/// Interface of the tunnel that a packet went into, by `skb->hash`.
#[map]
pub static TUNNELS: LruHashMap<u32, u32> = LruHashMap::with_max_entries(settings::TRANSITS, 0);

/// Ports of fragmented packets.
#[map]
pub static FRAGMENTS: LruHashMap<FragmentKey, FragmentPorts> =
    LruHashMap::with_max_entries(settings::FRAGMENTS, 0);

/// When each process was forked, by tgid.
#[map]
pub static STARTS: LruHashMap<u32, ProcessStart> =
    LruHashMap::with_max_entries(settings::STARTS, 0);

/// How often user space forgot flows, by the lowest bits of their cookies: it adds after it removed one.
#[map]
pub static FORGOTTEN: Array<u64> = Array::with_max_entries(settings::FORGOTTEN, BPF_F_MMAPABLE);

/// How often programs were executed, by [`kernel::executions`](super::kernel::executions).
#[map]
pub static EXECUTIONS: Array<u64> = Array::with_max_entries(settings::EXECUTIONS, 0);

/// Processes that send on sockets below IP, by tgid.
#[map]
pub static LINK_SENDERS: LruHashMap<u32, LinkSender> =
    LruHashMap::with_max_entries(settings::LINK_SENDERS, 0);

/// Who sent last on TCP sockets, by cookie. LRU: who is pushed out is told again.
#[map]
pub static SENDERS: LruHashMap<u64, Runner> = LruHashMap::with_max_entries(settings::SENDERS, 0);

/// Loss counters, by [`Loss`], and those of what is no loss.
#[map]
pub static LOSSES: PerCpuArray<u64> = PerCpuArray::with_max_entries(LOSS_COUNTERS, 0);

/// Class tables and verdicts: two generations each, side by side.
#[map]
pub static INDEX4: Array<Index4> = Array::with_max_entries(2, BPF_F_MMAPABLE);
#[map]
pub static CLASSES4: Array<Classes4> = Array::with_max_entries(2, BPF_F_MMAPABLE);
#[map]
pub static FENCE6: Array<Fence6> = Array::with_max_entries(2, BPF_F_MMAPABLE);
#[map]
pub static CHUNKS6: Array<Chunk6> = Array::with_max_entries(2 * V6_CHUNKS as u32, BPF_F_MMAPABLE);
#[map]
pub static VERDICTS: Array<Verdicts> = Array::with_max_entries(2, BPF_F_MMAPABLE);

/// Which of them are in force (`monitor_ebpf::places::active`).
#[map]
pub static ACTIVE: Array<u32> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Whether the ring's reader is awake, one of `settings::awake`. Mapped: the reader says so itself.
#[map]
pub static AWAKE: Array<u32> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// For how long this host was suspended since it booted, in nanoseconds. User space keeps it up to date.
#[map]
pub static SUSPENDED: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Of which `ExecSample::cgroups` user space knows the paths. LRU: what is pushed out is asked again.
#[map]
pub static CGROUPS: LruHashMap<u64, u8> = LruHashMap::with_max_entries(settings::CGROUPS, 0);

/// Its size is the version of the contract: readable in the loaded object, by `bpftool` too.
#[map]
pub static ABI: Array<u32> = Array::with_max_entries(ABI_VERSION, 0);

/// `BPF_MAP_TYPE_SK_STORAGE`, declared by hand since aya's own type lacks `BPF_F_CLONE`, without
/// which accepted sockets would not inherit their listener's owner.
#[repr(C)]
pub struct SocketStorage {
    r#type: *const [i32; 24],
    max_entries: *const [i32; 0],
    map_flags: *const [i32; (BPF_F_NO_PREALLOC | BPF_F_CLONE) as usize],
    key: *const i32,
    value: *const SocketOwner,
}

const BPF_F_CLONE: u32 = 1 << 9;

// SAFETY: the fields carry types for the loader; nobody dereferences them.
unsafe impl Sync for SocketStorage {}

#[unsafe(link_section = ".maps")]
#[unsafe(no_mangle)]
pub static OWNERS: SocketStorage = SocketStorage {
    r#type: core::ptr::null(),
    max_entries: core::ptr::null(),
    map_flags: core::ptr::null(),
    key: core::ptr::null(),
    value: core::ptr::null(),
};

/// Counts one loss.
#[inline(always)]
pub fn count(loss: Loss) {
    count_at(loss as u32, 1);
}

/// Counts a frame that is told to nobody.
#[inline(always)]
pub fn count_housekeeping() {
    count_at(HOUSEKEEPING, 1);
}

/// Counts what came in from where no flow leads.
#[inline(always)]
pub fn count_without_flow(packets: u64, bytes: u64) {
    count_at(WITHOUT_FLOW_PACKETS, packets);
    count_at(WITHOUT_FLOW_BYTES, bytes);
}

#[inline(always)]
fn count_at(index: u32, more: u64) {
    if let Some(counter) = LOSSES.get_ptr_mut(index) {
        // SAFETY: the verifier proved the pointer; the slot belongs to this CPU alone.
        unsafe { *counter += more }
    }
}

/// `BPF_NOEXIST` (`include/uapi/linux/bpf.h`): only if there is none.
pub const NOEXIST: u64 = 1;

/// `BPF_ATOMIC | BPF_ADD` without fetch, which 5.10 has: core offers no such atomic for bpf.
///
/// # Safety
/// `to` points into a map value.
#[inline(always)]
pub unsafe fn add(to: *mut u64, what: u64) {
    // SAFETY: by the caller.
    unsafe { asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) to, in(reg) what) }
}

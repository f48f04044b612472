//! Shares of users in the flow table and the ring: who floods them loses details of its own first, and
//! what is not told one by one is added up. Submits nothing, and reads no packet.
//!
//! Global functions, as `places::look`: the verifier looks at them once.

use aya_ebpf::{
    Global,
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_CONS_POS, BPF_RB_RING_SIZE},
};
use monitor_ebpf::{
    loss::Loss,
    places::{UNASKED, verdict},
    sample::{FlowKey, SocketOwner, Unitemised, UnitemisedKey, once},
    settings,
    share::{self, NOBODY},
};

use super::{
    maps::{self, NOEXIST, ONCE, SAMPLES, SHARES, UNITEMISED, add},
    places::Answer,
};

/// Flows that the table has room for. User space sets it before load.
#[unsafe(no_mangle)]
static CAPACITY: Global<u32> = Global::new(settings::FLOWS);

/// No share: what is new is not told one by one.
pub const REFUSED: u32 = u32::MAX;

/// Whose share a socket's flows are of.
#[inline(always)]
pub fn holder(storage: Option<&SocketOwner>) -> u32 {
    match storage {
        Some(it) if it.user.tgid != 0 => it.user.uid,
        Some(it) if it.creator.tgid != 0 => it.creator.uid,
        _ => NOBODY,
    }
}

/// Takes a place in the flow table, and says at whose expense: [`REFUSED`] where the share is used up.
#[inline(always)]
pub fn take(uid: u32, verdict: u8) -> u32 {
    take_share(uid.into(), verdict.into(), 1) as u32
}

/// Whether there is a place in the flow table.
#[inline(always)]
pub fn has_place(uid: u32, verdict: u8) -> bool {
    take_share(uid.into(), verdict.into(), 0) as u32 != REFUSED
}

#[inline(always)]
pub fn give_back(slot: u32) {
    take_back(slot.into());
}

/// A share of what is free, and never less than a small part of all: so there is room for who comes,
/// and one alone may have most. Flows that are harmless leave more room.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn take_share(uid: u64, verdict: u64, count: u64) -> u64 {
    let slot = share::slot(uid as u32);
    let (Some(own), Some(all)) = (SHARES.get_ptr_mut(slot), SHARES.get_ptr_mut(share::ALL)) else {
        return REFUSED.into();
    };
    let capacity = i64::from(CAPACITY.load());
    // SAFETY: values of the map; the verifier proved the pointers.
    let (own_flows, all_flows) = unsafe { ((*own).flows as i64, (*all).flows as i64) };
    let free = (capacity - capacity / share::KEPT).wrapping_sub(all_flows);
    let times = if verdict == verdict::LOCAL.into() {
        share::LOCAL_TIMES
    } else if verdict == verdict::APPROVED.into() {
        share::APPROVED_TIMES
    } else {
        share::TIMES
    };
    if own_flows >= free.wrapping_mul(times) && own_flows >= capacity / share::LEAST {
        return REFUSED.into();
    }
    // SAFETY: as above.
    unsafe {
        add(&raw mut (*own).flows, count);
        add(&raw mut (*all).flows, count);
    }
    slot.into()
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn take_back(slot: u64) -> u64 {
    let (Some(own), Some(all)) = (SHARES.get_ptr_mut(slot as u32), SHARES.get_ptr_mut(share::ALL))
    else {
        return 0;
    };
    // SAFETY: values of the map; the verifier proved the pointers.
    unsafe {
        add(&raw mut (*own).flows, u64::MAX);
        add(&raw mut (*all).flows, u64::MAX);
    }
    1
}

/// Whether the ring has room for so many bytes of this user: the second half of it is for those who
/// told little since the reader took half a ring.
#[inline(always)]
pub fn has_room(uid: u32, bytes: usize) -> bool {
    take_room(uid.into(), bytes as u64) != 0
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn take_room(uid: u64, bytes: u64) -> u64 {
    let Some(own) = SHARES.get_ptr_mut(share::slot(uid as u32)) else { return 1 };
    let size = SAMPLES.query(BPF_RB_RING_SIZE.into());
    // Division by 0 is a panic, which the verifier refuses.
    let window = SAMPLES.query(BPF_RB_CONS_POS.into()) / (size / 2).max(1);
    // SAFETY: a value of the map, read and written whole. Two CPUs may write over one another: then one
    // sample more fits in.
    unsafe {
        let told = (&raw const (*own).told).read_volatile();
        let used = if told >> 32 == window << 32 >> 32 { told << 32 >> 32 } else { 0 };
        if used > size / share::RING && SAMPLES.query(BPF_RB_AVAIL_DATA.into()) > size / 2 {
            return 0;
        }
        (&raw mut (*own).told).write_volatile(window << 32 | (used + bytes));
    }
    1
}

/// Whether the same was asked of this flow before, as far as is remembered.
#[inline(always)]
pub fn is_known(key: &FlowKey, what: u32) -> bool {
    if let Some(known) = ONCE.get_ptr_mut(key) {
        // SAFETY: a value of the table, read and written whole; two CPUs may both be first.
        unsafe {
            let before = known.read_volatile();
            known.write_volatile(before | what);
            return before & what != 0;
        }
    }
    // LRU: it fails only for want of memory.
    let _ = ONCE.insert(key, &what, 0);
    false
}

/// Whether the socket only named the destination, as far as the table remembers, and its hook saw no packet
/// to it.
#[inline(always)]
pub fn is_only_attempted(key: &FlowKey) -> Option<bool> {
    // SAFETY: a value of the table; the verifier proved the pointer.
    ONCE.get_ptr(key).map(|known| unsafe { *known } == once::ATTEMPT)
}

/// Adds up a packet that is told by nothing else.
#[inline(always)]
pub fn add_up(key: &FlowKey, uid: u32, answer: Answer, bytes: u64, packets: u64) {
    let flows = if is_known(key, once::SENT) { 0 } else { 1 };
    let what = u64::from(answer.class)
        | u64::from(answer.verdict) << 16
        | u64::from(answer.generation) << 32;
    count_unitemised(uid.into(), what, bytes, packets, flows);
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn count_unitemised(
    uid: u64,
    what: u64,
    bytes: u64,
    packets: u64,
    flows: u64,
) -> u64 {
    let verdict = (what >> 16) as u8;
    let mut key = UnitemisedKey {
        uid: uid as u32,
        generation: (what >> 32) as u32,
        class: what as u16,
        verdict,
        reserved: 0,
    };
    let more = Unitemised { flows, packets, bytes };
    if add_to(&key, &more) || UNITEMISED.insert(&key, &more, NOEXIST).is_ok() {
        return 1;
    }
    // Another CPU was first, or the table is full: user space has made these before.
    key = UnitemisedKey { uid: NOBODY, generation: 0, class: UNASKED, verdict, reserved: 0 };
    if add_to(&key, &more) {
        return 1;
    }
    maps::count(Loss::FlowTableFull);
    0
}

#[inline(always)]
fn add_to(key: &UnitemisedKey, more: &Unitemised) -> bool {
    let Some(sum) = UNITEMISED.get_ptr_mut(key) else { return false };
    // SAFETY: a value of the table; the verifier proved the pointer.
    unsafe {
        add(&raw mut (*sum).flows, more.flows);
        add(&raw mut (*sum).packets, more.packets);
        add(&raw mut (*sum).bytes, more.bytes);
    }
    true
}

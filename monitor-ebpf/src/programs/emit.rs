//! The only file that submits to the ring buffer. What can't be submitted is counted by reason.
//! Samples are written in place: most are larger than what is left of the 512-byte stack.

use core::{ffi::c_void, mem::MaybeUninit};

use aya_ebpf::{
    bindings::{
        __sk_buff, BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP, BPF_RB_RING_SIZE,
    },
    helpers::{bpf_get_current_uid_gid, generated::bpf_probe_read_kernel_str},
};
use monitor_ebpf::{
    loss::Loss,
    places::verdict,
    sample::{
        EgressSample, ExecSample, ExitSample, FILENAME_BYTES, FlowKey, ForkSample, NameSample,
        Owner, Runner, SenderSample, SocketEndSample, SocketOwner, kind, ownership, path, path_end,
        phase, told,
    },
    settings::awake,
};

use super::{
    kernel, layout,
    maps::{self, AWAKE, CGROUPS, SAMPLES},
    places::Answer,
    shares,
};

/// What a new flow or attempt is told with.
pub struct Flow<'a> {
    pub key: &'a FlowKey,
    pub phase: u8,
    pub ownership: u8,
    /// The packet, and `Packet::via_at`.
    pub via: (*mut __sk_buff, u32),
    pub socket_type: u8,
    pub icmp_type: u8,
    pub local: &'a [u8; 16],
    pub local_port: u16,
    pub listener_cookie: u64,
    pub sent_bytes: u64,
    pub sent_packets: u64,
    pub at_ns: u64,
    pub netns_inode: u32,
    pub connection_cookie: u64,
    pub way_out: u32,
    pub passage: Passage,
    /// Of the remote address.
    pub answer: Answer,
    /// Whose share it is of.
    pub uid: u32,
    /// Bits of `flags`.
    pub flags: u32,
}

/// By which way, as the tc programs know it.
#[derive(Clone, Copy, Default)]
pub struct Passage {
    pub path: u8,
    pub mac: [u8; 6],
    pub ifindex: u32,
    pub from_ifindex: u32,
    /// Who runs; nobody where the hook can't ask, or it means nothing.
    pub runner: Runner,
}

/// Whether the sample was submitted; if not, it is counted, or its packet added up.
#[inline(always)]
pub fn egress(flow: &Flow<'_>, storage: Option<&SocketOwner>) -> bool {
    let mut answer = flow.answer;
    answer.verdict = unless_loopback(flow.passage.path, answer.verdict);
    // A packet follows most attempts at once, and one that none follows violates nothing.
    let is_attempt = flow.phase == phase::ATTEMPT;
    let verdict = u64::from(if is_attempt { verdict::LOCAL } else { answer.verdict });
    // What is malformed is never approved: no verdict at all wakes.
    let wakeup = wakeup(verdict | u64::from(flow.key.malformed) << 8);
    if !shares::has_room(flow.uid, size_of::<EgressSample>()) {
        if is_attempt {
            maps::count(Loss::AttemptShare);
        } else {
            shares::add_up(flow.key, flow.uid, answer, flow.sent_bytes, flow.sent_packets);
        }
        return false;
    }
    let Some(mut entry) = SAMPLES.reserve::<EgressSample>(0) else {
        maps::count(if flow.phase == phase::SENT {
            Loss::RingFullFlow
        } else {
            Loss::RingFullAttempt
        });
        return false;
    };
    let sample = in_place(&mut entry);
    sample.kind = kind::EGRESS;
    sample.phase = flow.phase;
    sample.ownership = flow.ownership;
    sample.socket_type = flow.socket_type;
    sample.icmp_type = flow.icmp_type;
    sample.at_ns = flow.at_ns;
    sample.flow = *flow.key;
    sample.via = [0; 16];
    let (skb, via_at) = flow.via;
    if via_at != 0 {
        let _ = kernel::load_into(skb, via_at >> 8, via_at & 0xff, &mut sample.via);
    }
    sample.local = *flow.local;
    sample.local_port = flow.local_port;
    sample.mac = flow.passage.mac;
    sample.ifindex = flow.passage.ifindex;
    sample.from_ifindex = flow.passage.from_ifindex;
    sample.path = flow.passage.path;
    sample.verdict = answer.verdict;
    sample.class = answer.class;
    sample.generation = answer.generation;
    sample.netns_inode = flow.netns_inode;
    sample.flags = flow.flags;
    sample.way_out = flow.way_out;
    sample.sent_bytes = flow.sent_bytes;
    sample.sent_packets = flow.sent_packets;
    sample.listener_cookie = flow.listener_cookie;
    sample.connection_cookie = flow.connection_cookie;
    sample.runner = flow.passage.runner;
    if let Some(storage) = storage {
        let user_known = storage.user.tgid != 0 && flow.ownership != ownership::CREATOR;
        copy(&mut sample.owner, if user_known { &storage.user } else { &storage.creator });
        copy(&mut sample.creator, &storage.creator);
        let runner = &flow.passage.runner;
        if runner.tgid != 0 && kernel::is_same(runner, &sample.owner) {
            sample.runner = Runner::default();
        }
    } else {
        sample.owner = Owner::default();
        sample.creator = Owner::default();
    }
    entry.submit(wakeup);
    true
}

/// Without a branch: the verifier would follow both ways from here on.
#[inline(always)]
fn unless_loopback(path: u8, verdict: u8) -> u8 {
    let differs = path ^ path::LOOPBACK;
    let mut is_loopback = (u64::from(differs).wrapping_sub(1)) >> 63;
    // SAFETY: a register to itself, so that LLVM makes no branch of it.
    unsafe {
        core::arch::asm!("{0} = {0}", inout(reg) is_loopback, options(nomem, nostack, preserves_flags));
    }
    let mask = 0_u8.wrapping_sub(is_loopback as u8);
    (verdict & !mask) | (verdict::LOCAL & mask)
}

/// How to submit a flow. A global function, as `places::look`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn wakeup(verdict: u64) -> u64 {
    if verdict == verdict::APPROVED.into() || verdict == verdict::LOCAL.into() {
        quietly()
    } else {
        urgently()
    }
}

/// How to submit what nobody waits for: the reader finds it within a second. It is woken, once, when
/// that fills a part of the ring.
#[inline(always)]
fn quietly() -> u64 {
    if is_filling() && becomes(awake::HURRIED) {
        return BPF_RB_FORCE_WAKEUP.into();
    }
    BPF_RB_NO_WAKEUP.into()
}

/// How to submit what is to be known soon. The first wakes the reader, which then looks every few
/// milliseconds while it finds something: meanwhile it is woken only if the ring fills.
#[inline(always)]
fn urgently() -> u64 {
    if is_filling() {
        return quietly();
    }
    let Some(awake) = AWAKE.get_ptr_mut(0) else { return BPF_RB_FORCE_WAKEUP.into() };
    // SAFETY: a value of the map, read and written whole.
    unsafe {
        let before = awake.read_volatile();
        if before == awake::NO || before == awake::YES {
            awake.write_volatile(awake::WANTED);
        }
        if before == awake::NO { BPF_RB_FORCE_WAKEUP.into() } else { BPF_RB_NO_WAKEUP.into() }
    }
}

/// Long before anything is refused: names are, from a quarter on, and the reader may have to wait for a
/// processor.
#[inline(always)]
fn is_filling() -> bool {
    SAMPLES.query(BPF_RB_AVAIL_DATA.into()) > SAMPLES.query(BPF_RB_RING_SIZE.into()) / 16
}

/// Whether that is new.
#[inline(always)]
fn becomes(state: u32) -> bool {
    let Some(awake) = AWAKE.get_ptr_mut(0) else { return true };
    // SAFETY: a value of the map, read and written whole.
    unsafe {
        let is_new = awake.read_volatile() != state;
        awake.write_volatile(state);
        is_new
    }
}

#[inline(always)]
pub fn socket_end(cookie: u64, tgid: u32, at_ns: u64) {
    submit(SocketEndSample { kind: kind::SOCKET_END, tgid, at_ns, cookie }, Loss::RingFullEnd);
}

#[inline(always)]
pub fn fork(parent_tgid: u32, child_tgid: u32, at_ns: u64) {
    let sample = ForkSample { kind: kind::FORK, parent_tgid, child_tgid, reserved: 0, at_ns };
    submit(sample, Loss::RingFullProcess);
}

#[inline(always)]
pub fn exit(tgid: u32, at_ns: u64) {
    submit(ExitSample { kind: kind::EXIT, tgid, at_ns }, Loss::RingFullProcess);
}

#[inline(always)]
pub fn sender(cookie: u64, owner: &Owner) {
    let sample = SenderSample { kind: kind::SENDER, reserved: 0, cookie, owner: *owner };
    submit(sample, Loss::RingFullSender);
}

/// `filename` points into the tracepoint's record.
#[inline(always)]
pub fn exec(process: &Owner, parent_tgid: u32, filename: *const c_void) {
    if !shares::has_room(process.uid, size_of::<ExecSample>()) {
        maps::count(Loss::RingFullProcess);
        return;
    }
    let Some(mut entry) = SAMPLES.reserve::<ExecSample>(0) else {
        maps::count(Loss::RingFullProcess);
        return;
    };
    let sample = in_place(&mut entry);
    sample.kind = kind::EXEC;
    sample.process = *process;
    sample.parent_tgid = parent_tgid;
    sample.filename = [0; FILENAME_BYTES];
    layout::executable(sample);
    layout::circumstances(sample);
    // SAFETY: writes at most FILENAME_BYTES of the sample; a bad address is an error, not a fault.
    let read = unsafe {
        bpf_probe_read_kernel_str(
            sample.filename.as_mut_ptr().cast(),
            FILENAME_BYTES as u32,
            filename,
        )
    };
    // The result counts the final NUL.
    sample.filename_bytes = if read > 0 { read as u32 - 1 } else { 0 };
    let wakeup = if is_told_whole(sample) { quietly() } else { BPF_RB_FORCE_WAKEUP.into() };
    entry.submit(wakeup);
}

/// Else `/proc` has to be asked, which may soon be too late.
#[inline(always)]
fn is_told_whole(sample: &ExecSample) -> bool {
    let has_file = sample.inode != 0 && sample.path_end != path_end::UNKNOWN;
    has_file
        && sample.argument_bytes != 0
        && sample.netns != 0
        // SAFETY: looked at only for whether it is there.
        && unsafe { CGROUPS.get(sample.cgroups) }.is_some()
}

/// What a packet says that names.
pub struct Name {
    /// [`told`].
    pub what: u8,
    /// Where the payload begins.
    pub at: u32,
    /// Of the payload, all of it.
    pub bytes: u32,
    /// TCP's; else 0.
    pub sequence: u32,
}

/// Three quarters of the ring are left to the rest: whoever answers on port 53 can send as much as it
/// likes, and from half on each user has but a small part.
#[inline(always)]
pub fn name<const N: usize>(
    skb: *mut __sk_buff,
    name: &Name,
    flow: &FlowKey,
    storage: Option<&SocketOwner>,
) {
    let is_taken = SAMPLES.query(u64::from(BPF_RB_AVAIL_DATA))
        > SAMPLES.query(u64::from(BPF_RB_RING_SIZE)) / 4;
    if is_taken {
        maps::count(Loss::RingFullName);
        return;
    }
    let Some(mut entry) = SAMPLES.reserve::<NameSample<N>>(0) else {
        maps::count(Loss::RingFullName);
        return;
    };
    let sample = in_place(&mut entry);
    let head = &mut sample.head;
    head.kind = kind::NAME;
    head.what = name.what;
    head.reserved = [0; 3];
    head.at_ns = kernel::now_ns();
    head.flow = *flow;
    head.sequence = name.sequence;
    head.payload_bytes = name.bytes;
    (head.tgid, head.started_ns, head.netns_cookie) = match storage {
        None => (0, 0, 0),
        Some(storage) => {
            let owner = if storage.user.tgid == 0 { &storage.creator } else { &storage.user };
            // Who made the socket made it in its namespace; the last user may live in another.
            (owner.tgid, owner.started_ns, storage.creator.netns_cookie)
        }
    };
    match kernel::load_into(skb, name.at, name.bytes, &mut sample.payload) {
        Some(bytes) => {
            sample.head.bytes = bytes;
            // A rule for a name may object; what only may lead to one can wait.
            let is_urgent = name.what != told::QUERY && name.what != told::PLAIN;
            let verdict = if is_urgent { verdict::UNAPPROVED } else { verdict::LOCAL };
            entry.submit(wakeup(verdict.into()));
        }
        None => {
            maps::count(Loss::PacketMalformed);
            entry.discard(0);
        }
    }
}

#[inline(always)]
fn submit<T: 'static>(sample: T, loss: Loss) {
    if !shares::has_room(bpf_get_current_uid_gid() as u32, size_of::<T>()) {
        maps::count(loss);
        return;
    }
    match SAMPLES.reserve::<T>(0) {
        Some(mut entry) => {
            entry.write(sample);
            // Nobody waits for what ended, nor for a fork: what needs it comes behind it in the ring.
            entry.submit(quietly());
        }
        None => maps::count(loss),
    }
}

/// The reserved bytes as the sample they will be. Every field is written before `submit`.
#[inline(always)]
fn in_place<T>(entry: &mut MaybeUninit<T>) -> &mut T {
    // SAFETY: samples are plain bytes, of which every pattern is a value.
    unsafe { entry.assume_init_mut() }
}

#[inline(always)]
fn copy(to: &mut Owner, from: &Owner) {
    *to = *from;
}

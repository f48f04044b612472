//! Cgroup socket hooks: who makes a socket, where it is pointed, when it is closed. They always
//! allow, and never touch a packet.

use aya_ebpf::{
    bindings::bpf_sock_addr,
    helpers::{
        bpf_get_current_pid_tgid, bpf_get_current_uid_gid, generated::bpf_get_current_cgroup_id,
    },
    macros::{cgroup_sock, cgroup_sock_addr},
    programs::{SockAddrContext, SockContext},
};
use monitor_ebpf::{
    loss::Loss,
    sample::{FlowKey, SocketOwner, ownership, phase},
};

use super::{
    emit, kernel, known, layout,
    maps::{self, FLOWS, ONCE},
    named::{self, Named},
    places, shares,
};

const ALLOW: i32 = 1;

#[cgroup_sock(sock_create)]
pub fn sock_create(context: SockContext) -> i32 {
    let cookie = kernel::cookie(context.sock);
    match kernel::storage(context.sock, true) {
        Some(storage) => {
            storage.cookie = cookie;
            let mut creator = kernel::current(kernel::now_ns());
            creator.netns_cookie = kernel::netns_cookie(context.sock);
            storage.creator = creator;
        }
        None => maps::count(Loss::OwnerUnstored),
    }
    ALLOW
}

#[cgroup_sock(sock_release)]
pub fn sock_release(context: SockContext) -> i32 {
    if let Some(storage) = kernel::storage(context.sock, false)
        && storage.has_flows != 0
    {
        let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
        emit::socket_end(kernel::cookie(context.sock), tgid, kernel::now_ns());
    }
    ALLOW
}

#[cgroup_sock_addr(connect4)]
pub fn connect4(context: SockAddrContext) -> i32 {
    attempt(context.sock_addr, &named::named4(context.sock_addr));
    ALLOW
}

#[cgroup_sock_addr(connect6)]
pub fn connect6(context: SockAddrContext) -> i32 {
    attempt(context.sock_addr, &named::named6(context.sock_addr));
    ALLOW
}

#[cgroup_sock_addr(sendmsg4)]
pub fn sendmsg4(context: SockAddrContext) -> i32 {
    attempt(context.sock_addr, &named::named4(context.sock_addr));
    ALLOW
}

#[cgroup_sock_addr(sendmsg6)]
pub fn sendmsg6(context: SockAddrContext) -> i32 {
    attempt(context.sock_addr, &named::named6(context.sock_addr));
    ALLOW
}

#[inline(always)]
fn attempt(context: *mut bpf_sock_addr, named: &Named) {
    let cookie = kernel::cookie(context);
    let key = FlowKey {
        cookie,
        remote: named.remote,
        remote_port: named.remote_port,
        local_port: 0,
        transport: named.transport,
        malformed: 0,
        via: 0,
    };
    let (mut is_user, mut is_told) = (false, false);
    if let Some(storage) = kernel::storage(named.socket, false) {
        is_user = is_by_user(storage);
        is_told = known::is_last(storage, &key);
    }
    is_told = is_told || FLOWS.get_ptr(&key).is_some();
    if is_told && is_user {
        return;
    }
    let now = kernel::now_ns();
    let storage = touch(context, named, cookie, now);
    // In a table of its own: what was not sent never takes the place of what was.
    if is_told || ONCE.get_ptr(&key).is_some() {
        return;
    }
    let (answer, uid) = (places::ask(&key.remote), shares::holder(storage.as_deref()));
    // Its packet would be added up.
    if !shares::has_place(uid, answer.verdict) {
        maps::count(Loss::AttemptShare);
        return;
    }
    let ownership = if storage.is_some() { ownership::USER } else { ownership::NONE };
    let mut storage = storage;
    known::attempt(storage.as_deref_mut(), &key);
    let flow = emit::Flow {
        key: &key,
        phase: phase::ATTEMPT,
        ownership,
        via: (core::ptr::null_mut(), 0),
        socket_type: named.socket_type,
        icmp_type: 0,
        local: &[0; 16],
        local_port: 0,
        listener_cookie: 0,
        sent_bytes: 0,
        sent_packets: 0,
        at_ns: now,
        netns_inode: layout::netns_inode(named.socket),
        connection_cookie: layout::connection_cookie(named.socket, named.transport),
        way_out: 0,
        passage: emit::Passage::default(),
        answer,
        uid,
        flags: 0,
    };
    emit::egress(&flow, storage.as_deref());
}

/// Whether the current process, as it is now, is known as the user of the socket, by what is cheap to ask.
#[inline(always)]
fn is_by_user(storage: &SocketOwner) -> bool {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    storage.user.tgid == tgid
        && storage.executions == executions(tgid)
        && storage.user.uid == bpf_get_current_uid_gid() as u32
        // SAFETY: a helper without arguments.
        && storage.user.cgroup_id == unsafe { bpf_get_current_cgroup_id() }
}

#[inline(always)]
fn executions(tgid: u32) -> u32 {
    // SAFETY: a value of the map, read whole.
    kernel::executions(tgid).map_or(0, |count| unsafe { count.read_volatile() } as u32)
}

/// Makes the current process, as it is now, the user of the socket. Written only when it changed: the
/// write is four times as dear as the look.
#[inline(always)]
fn touch(
    context: *mut bpf_sock_addr,
    named: &Named,
    cookie: u64,
    now: u64,
) -> Option<&'static mut SocketOwner> {
    let Some(storage) = kernel::storage(named.socket, true) else {
        maps::count(Loss::OwnerUnstored);
        return None;
    };
    storage.cookie = cookie;
    storage.has_flows = 1;
    // Asked before what it stands for.
    storage.executions = executions((bpf_get_current_pid_tgid() >> 32) as u32);
    let runner = kernel::runner::<true>();
    if !kernel::is_same(&runner, &storage.user) {
        let mut user = kernel::current(now);
        user.netns_cookie = kernel::netns_cookie(context);
        storage.user = user;
    }
    Some(storage)
}

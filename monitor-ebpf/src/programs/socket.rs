//! Cgroup socket hooks: who makes a socket, where it is pointed, when it is closed. They always
//! allow, and never touch a packet.

use aya_ebpf::{
    bindings::bpf_sock_addr,
    macros::{cgroup_sock, cgroup_sock_addr},
    programs::{SockAddrContext, SockContext},
};
use monitor_ebpf::{
    loss::Loss,
    sample::{FlowKey, SocketOwner, once, ownership, phase},
};

use super::{
    emit,
    kernel::{self, Named},
    layout,
    maps::{self, FLOWS, ONCE},
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
        let tgid = (aya_ebpf::helpers::bpf_get_current_pid_tgid() >> 32) as u32;
        emit::socket_end(kernel::cookie(context.sock), tgid, kernel::now_ns());
    }
    ALLOW
}

#[cgroup_sock_addr(connect4)]
pub fn connect4(context: SockAddrContext) -> i32 {
    attempt(context.sock_addr, &kernel::named4(context.sock_addr));
    ALLOW
}

#[cgroup_sock_addr(connect6)]
pub fn connect6(context: SockAddrContext) -> i32 {
    attempt(context.sock_addr, &kernel::named6(context.sock_addr));
    ALLOW
}

#[cgroup_sock_addr(sendmsg4)]
pub fn sendmsg4(context: SockAddrContext) -> i32 {
    attempt(context.sock_addr, &kernel::named4(context.sock_addr));
    ALLOW
}

#[cgroup_sock_addr(sendmsg6)]
pub fn sendmsg6(context: SockAddrContext) -> i32 {
    attempt(context.sock_addr, &kernel::named6(context.sock_addr));
    ALLOW
}

#[inline(always)]
fn attempt(context: *mut bpf_sock_addr, named: &Named) {
    let cookie = kernel::cookie(context);
    let now = kernel::now_ns();
    let storage = touch(context, named, cookie, now);
    let key = FlowKey {
        cookie,
        remote: named.remote,
        remote_port: named.remote_port,
        local_port: 0,
        transport: named.transport,
        malformed: 0,
        via: 0,
    };
    // In a table of its own: what was not sent never takes the place of what was.
    if FLOWS.get_ptr(&key).is_some() || ONCE.get_ptr(&key).is_some() {
        return;
    }
    let (answer, uid) = (places::ask(&key.remote), shares::holder(storage.as_deref()));
    // Its packet would be added up.
    if !shares::has_place(uid, answer.verdict) {
        maps::count(Loss::AttemptShare);
        return;
    }
    // LRU: it fails only for want of memory, and then the attempt is told again.
    let _ = ONCE.insert(&key, &once::ATTEMPT, 0);
    let flow = emit::Flow {
        key: &key,
        phase: phase::ATTEMPT,
        ownership: if storage.is_some() { ownership::USER } else { ownership::NONE },
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
    if !kernel::is_same(&kernel::runner::<true>(), &storage.user) {
        let mut user = kernel::current(now);
        user.netns_cookie = kernel::netns_cookie(context);
        storage.user = user;
    }
    Some(storage)
}

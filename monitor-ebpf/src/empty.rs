//! Programs that do nothing, on the probes' hooks and by their names: what a hook costs by itself, whatever
//! is attached to it. For `cargo xtask bench` alone; no daemon loads them.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![allow(unreachable_pub, reason = "the loader reaches programs by symbol, not by path")]

#[cfg(target_arch = "bpf")]
mod programs {
    use aya_ebpf::{
        macros::{cgroup_skb, cgroup_sock, cgroup_sock_addr, classifier, tracepoint},
        programs::{SkBuffContext, SockAddrContext, SockContext, TcContext, TracePointContext},
    };

    /// It may go on.
    const ALLOW: i32 = 1;
    /// `TC_ACT_UNSPEC`, `TCX_NEXT`: the next program decides.
    const NEXT: i32 = -1;

    #[cgroup_skb(egress)]
    pub fn packet_egress(_: SkBuffContext) -> i32 {
        ALLOW
    }

    #[cgroup_skb(ingress)]
    pub fn packet_ingress(_: SkBuffContext) -> i32 {
        ALLOW
    }

    #[cgroup_sock(sock_create)]
    pub fn sock_create(_: SockContext) -> i32 {
        ALLOW
    }

    #[cgroup_sock(sock_release)]
    pub fn sock_release(_: SockContext) -> i32 {
        ALLOW
    }

    #[cgroup_sock_addr(connect4)]
    pub fn connect4(_: SockAddrContext) -> i32 {
        ALLOW
    }

    #[cgroup_sock_addr(sendmsg4)]
    pub fn sendmsg4(_: SockAddrContext) -> i32 {
        ALLOW
    }

    #[classifier]
    pub fn uplink_egress(_: TcContext) -> i32 {
        NEXT
    }

    #[classifier]
    pub fn device_ingress(_: TcContext) -> i32 {
        NEXT
    }

    #[tracepoint]
    pub fn process_fork(_: TracePointContext) -> u32 {
        0
    }

    #[tracepoint]
    pub fn process_exec(_: TracePointContext) -> u32 {
        0
    }

    #[tracepoint]
    pub fn process_exit(_: TracePointContext) -> u32 {
        0
    }

    #[tracepoint]
    pub fn link_send(_: TracePointContext) -> u32 {
        0
    }
}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier refuses an object in which this can be reached.
    loop {}
}

#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(not(target_arch = "bpf"))]
fn main() {}

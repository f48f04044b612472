//! Programs that do nothing, on the probes' hooks and by their names: what a hook costs by itself, whatever
//! is attached to it. For `cargo xtask bench` alone; no daemon loads them.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod object;

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
    fn packet_egress(_: SkBuffContext) -> i32 {
        ALLOW
    }

    #[cgroup_skb(ingress)]
    fn packet_ingress(_: SkBuffContext) -> i32 {
        ALLOW
    }

    #[cgroup_sock(sock_create)]
    fn sock_create(_: SockContext) -> i32 {
        ALLOW
    }

    #[cgroup_sock(sock_release)]
    fn sock_release(_: SockContext) -> i32 {
        ALLOW
    }

    #[cgroup_sock_addr(connect4)]
    fn connect4(_: SockAddrContext) -> i32 {
        ALLOW
    }

    #[cgroup_sock_addr(sendmsg4)]
    fn sendmsg4(_: SockAddrContext) -> i32 {
        ALLOW
    }

    #[classifier]
    fn uplink_egress(_: TcContext) -> i32 {
        NEXT
    }

    #[classifier]
    fn device_ingress(_: TcContext) -> i32 {
        NEXT
    }

    #[tracepoint]
    fn process_fork(_: TracePointContext) -> u32 {
        0
    }

    #[tracepoint]
    fn process_exec(_: TracePointContext) -> u32 {
        0
    }

    #[tracepoint]
    fn process_exit(_: TracePointContext) -> u32 {
        0
    }

    #[tracepoint]
    fn link_send(_: TracePointContext) -> u32 {
        0
    }
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}

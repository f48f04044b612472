//! The only reader of `bpf_sock_addr`: which destination connect(2) or sendmsg(2) names.

use aya_ebpf::bindings::{bpf_sock, bpf_sock_addr};

use super::kernel::mapped;

/// What `bpf_sock_addr` says of a destination.
pub struct Named {
    pub socket: *mut bpf_sock,
    pub remote: [u8; 16],
    pub remote_port: u16,
    pub transport: u8,
    pub socket_type: u8,
}

/// Destination of connect4 and sendmsg4.
#[inline(always)]
pub fn named4(context: *mut bpf_sock_addr) -> Named {
    // SAFETY: context fields; the verifier rewrites each load.
    let address = unsafe { (*context).user_ip4 };
    named(context, mapped(address.to_ne_bytes()))
}

/// Destination of connect6 and sendmsg6.
#[inline(always)]
pub fn named6(context: *mut bpf_sock_addr) -> Named {
    // SAFETY: as above. Volatile, since the verifier refuses the wide loads LLVM would merge
    // these four into.
    let words = unsafe {
        [
            (&raw const (*context).user_ip6[0]).read_volatile(),
            (&raw const (*context).user_ip6[1]).read_volatile(),
            (&raw const (*context).user_ip6[2]).read_volatile(),
            (&raw const (*context).user_ip6[3]).read_volatile(),
        ]
    };
    let mut remote = [0; 16];
    remote[..4].copy_from_slice(&words[0].to_ne_bytes());
    remote[4..8].copy_from_slice(&words[1].to_ne_bytes());
    remote[8..12].copy_from_slice(&words[2].to_ne_bytes());
    remote[12..].copy_from_slice(&words[3].to_ne_bytes());
    named(context, remote)
}

#[inline(always)]
fn named(context: *mut bpf_sock_addr, remote: [u8; 16]) -> Named {
    // SAFETY: context fields; the verifier rewrites each load.
    let (socket, port, protocol, kind) = unsafe {
        (
            (*context).__bindgen_anon_1.sk,
            (*context).user_port,
            (*context).protocol,
            (*context).type_,
        )
    };
    Named {
        socket,
        remote,
        remote_port: u16::from_be(port as u16),
        // 262 is IPPROTO_MPTCP, which is TCP on the wire.
        transport: if protocol == 262 { 6 } else { protocol as u8 },
        socket_type: kind as u8,
    }
}

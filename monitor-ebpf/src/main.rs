//! The probes. On any other target than bpf this is an empty program, so that the workspace can be
//! checked and tested as a whole.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![allow(unreachable_pub, reason = "the loader reaches programs and maps by symbol, not by path")]
// Inline assembly for bpf is not stable; the atomic add has no stable spelling there.
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

#[cfg(target_arch = "bpf")]
mod programs;

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

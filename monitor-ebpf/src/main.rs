//! The probes. On any other target than bpf this is an empty program, so that the workspace can be
//! checked and tested as a whole.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![warn(clippy::unwrap_used)]
// Inline assembly for bpf is not stable; the atomic add has no stable spelling there.
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

#[cfg(target_arch = "bpf")]
mod object;
#[cfg(target_arch = "bpf")]
mod programs;

#[cfg(not(target_arch = "bpf"))]
fn main() {}

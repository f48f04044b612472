//! The contract between the probes and user space: samples, map layouts, settings, loss reasons.
//!
//! `no_std`, no aya, no features. Sizes and padding are asserted at compile time; a change of any
//! layout here must raise [`ABI_VERSION`], which both sides carry and user space compares at load.
#![cfg_attr(not(test), no_std)]
#![warn(clippy::unwrap_used)]

pub mod layout;
pub mod loss;
pub mod names;
pub mod places;
pub mod sample;
pub mod settings;
pub mod share;
pub mod tracepoint;

/// Raised with every change of a layout in this crate.
pub const ABI_VERSION: u32 = 8;

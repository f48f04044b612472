//! geofenced: names every egress of this host by process, country and operator.
//!
//! One-directional: `probe` -> `decode` -> `attribute` -> `locate` -> `judge` -> `outputs`, wired in
//! `pipeline`. See ARCHITECTURE.md for what each module may and may not touch.
#![warn(clippy::unwrap_used)]

// The modules are nobody's but the crate's, so that the compiler says what none of it uses; `pub`
// in them says what one offers to the others.

mod api;
mod attribute;
mod cli;
mod clock;
mod commands;
mod config;
mod connections;
mod coverage;
mod decode;
mod devices;
mod ecs;
mod event;
mod evidence;
mod export;
mod filter;
#[doc(hidden)]
pub mod fleet;
mod flow;
mod host;
#[doc(hidden)]
pub mod inside;
mod judge;
mod locate;
mod logging;
mod marks;
mod metrics;
mod names;
mod netns;
mod outputs;
mod patterns;
mod pipeline;
mod printable;
mod probe;
mod report;
mod rules;
mod sandbox;
mod select;
mod self_test;
mod shutdown;
mod store;
mod suggest;
mod summary;
mod table;
mod ticks;
mod when;

pub use commands::main;

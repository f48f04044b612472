//! geofenced: names every egress of this host by process, country and operator.
//!
//! One-directional: `probe` -> `decode` -> `attribute` -> `locate` -> `judge` -> `outputs`, wired in
//! `pipeline`. See ARCHITECTURE.md for what each module may and may not touch.

pub mod api;
pub mod attribute;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod config;
pub mod connections;
pub mod coverage;
pub mod decode;
pub mod devices;
pub mod ecs;
pub mod event;
pub mod filter;
pub mod judge;
pub mod locate;
pub mod logging;
pub mod metrics;
pub mod names;
pub mod outputs;
pub mod pipeline;
pub mod printable;
pub mod probe;
pub mod sandbox;
pub mod select;
pub mod shutdown;
pub mod store;
pub mod summary;
pub mod table;
pub mod ticks;
pub mod track;
pub mod when;

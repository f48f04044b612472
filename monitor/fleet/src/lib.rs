//! geofenced-fleet: takes ledgers from stations to the ground, and makes one lake of them that others' engines
//! read. It watches nothing and judges nothing: what a ledger says is the station's, and what is proven of it is
//! said beside it.
#![warn(clippy::unwrap_used)]

mod cli;
mod collect;
mod commands;
mod depot;
mod enrol;
mod lake;
mod object;
mod reference;
mod report;
mod ship;

pub use commands::main;

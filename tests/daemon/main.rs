//! The daemon's parts that need neither root nor a kernel: API, command line, metrics.

mod answers;
mod api;
mod approved;
mod browser;
mod cli;
mod compared;
mod connections;
mod export;
mod learn;
mod log;
mod marks;
mod page;
mod patterns;
mod places;
mod policies;
mod prometheus;
mod provenance;
mod records;
mod rejudge;
mod replay;
mod report;
mod rig;
mod scripts;
mod suggest;
mod taken;
mod top;

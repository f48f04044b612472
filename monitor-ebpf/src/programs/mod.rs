//! One file a family of hooks. `maps` holds every map, `kernel` alone reads kernel structures,
//! `emit` alone submits to the ring buffer.

mod direct;
mod emit;
mod flow;
mod forward;
mod fragments;
mod frame;
mod headers;
mod kernel;
mod known;
mod layout;
mod link;
mod maps;
mod mark;
mod named;
mod names;
mod packet;
mod places;
mod process;
mod route;
mod shares;
mod socket;
mod transit;

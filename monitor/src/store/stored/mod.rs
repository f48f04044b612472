//! Stored forms: how each entry stands in the payload of a block, and back. Serde structs of their own,
//! because domain types are not serializable; `docs/store-format.md` describes them. Nothing here knows of
//! blocks, files or the index, and nothing elsewhere knows these structs.
//!
//! Each file holds one form with both conversions, and imports only what stands before it:
//! `error`, `again`, `words`, `socket`, `text`, then `place`, `executed`, `process`, `host`, `basis`, `timeline`,
//! then `tables`, then `sender`, `flow`, `rollup`, `mark`, `notice`, `lookup`, then `entry`, then `payload`.
//!
//! Fields are in postcard's order, so a form may be extended by new enum variants at the end of
//! an enum, and by nothing else, without a new format version.

mod again;
mod basis;
mod entry;
mod error;
mod executed;
mod flow;
mod host;
mod lookup;
mod mark;
mod notice;
#[cfg(test)]
mod numbers;
mod payload;
mod place;
mod process;
mod rollup;
mod sender;
mod socket;
mod tables;
#[cfg(test)]
mod tests;
mod text;
mod timeline;
mod watching;
mod words;

pub(super) use error::FormError;
pub use payload::Seen;
pub(super) use payload::{FlowState, Payload, Wanted, decode, flows, glances};

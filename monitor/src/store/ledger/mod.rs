//! The ledger: the truth. Append-only segment files of checksummed, chained blocks of entries.
//! It knows nothing of queries and of the index.

pub(super) mod block;
pub(super) mod frame;
mod recover;
pub(super) mod segment;
mod writer;

pub use recover::Recovery;
pub(super) use writer::{Progress, Writer};

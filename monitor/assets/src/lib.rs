//! The file formats of the embedded databases: bytes <-> ranges, both directions. `cargo xtask geodb`
//! writes them and the daemon reads them, so this knows neither; it must not trust a byte of what it
//! decodes. The databases themselves lie beside it.
#![warn(clippy::unwrap_used)]

mod columns;
pub mod country;
pub mod operator;
mod seal;

pub use self::seal::HASH;

/// More ranges than this in one family is no database of ours; bounds what decoding may allocate.
const RANGES_MAX: usize = 1 << 21;

/// Why the bytes are no database.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssetError {
    #[error("too short, or cut off")]
    Truncated,
    #[error("not a database of geofenced of this kind")]
    Foreign,
    #[error("format version {found}, this program reads {known}")]
    Version { found: u16, known: u16 },
    #[error("its SHA-256 does not match: it is damaged")]
    Damaged,
    #[error("inconsistent: {0}")]
    Inconsistent(&'static str),
    #[error("cannot be decompressed: {0}")]
    Compression(String),
}

//! The file formats of the embedded databases: bytes <-> ranges, both directions; and the location database of
//! distributions, which operators are read from. `cargo xtask geodb` writes ours and the daemon reads them, so
//! this knows neither; it must not trust a byte of what it decodes. The databases themselves lie beside it.
#![warn(clippy::unwrap_used)]

mod columns;
pub mod country;
pub mod libloc;
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

/// What `IPFire` and iptoasn write where ISO 3166-1 has no country: regions, dissolved or disputed
/// states.
const NO_COUNTRY: [[u8; 2]; 10] =
    [*b"EU", *b"AP", *b"AB", *b"OS", *b"SU", *b"CS", *b"AN", *b"NT", *b"XD", *b"ZZ"];

/// Whether it is one that ISO 3166-1 may assign, by its letters.
pub fn is_country(code: [u8; 2]) -> bool {
    code.iter().all(u8::is_ascii_uppercase) && !NO_COUNTRY.contains(&code)
}

/// Whether a database's IPv6 range is kept: global unicast, but nothing that carries an IPv4 address,
/// which is looked up instead (Teredo `2001::/32`, 6to4 `2002::/16`). `start`: an upper half.
pub fn is_kept6(start: u64) -> bool {
    start >> 61 == 1 && start >> 48 != 0x2002 && start >> 32 != 0x2001_0000
}

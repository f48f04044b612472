//! What every file has around its columns: magic, version and counts before them, the source's name
//! and the codes of the countries, then one zstd frame, and a SHA-256 of it all.

use sha2::{Digest, Sha256};

use crate::{AssetError, columns::Cursor};

/// Bytes of the hash at a file's end, which stands for the whole.
pub const HASH: usize = 32;
const LEVEL: i32 = 19;

/// A kind of file, as its first ten bytes tell.
pub(crate) struct Kind {
    pub(crate) magic: [u8; 8],
    pub(crate) version: u16,
    /// Bytes before the source's name.
    pub(crate) header: usize,
}

impl Kind {
    /// What comes after the version, if nothing is damaged.
    pub(crate) fn open<'a>(&self, bytes: &'a [u8]) -> Result<Cursor<'a>, AssetError> {
        if bytes.len() < self.header + HASH {
            return Err(AssetError::Truncated);
        }
        let (body, hash) = bytes.split_at(bytes.len() - HASH);
        let mut cursor = Cursor(body);
        if cursor.take(8)? != self.magic {
            return Err(AssetError::Foreign);
        }
        let found = cursor.u16()?;
        if found != self.version {
            return Err(AssetError::Version { found, known: self.version });
        }
        if Sha256::digest(body).as_slice() != hash {
            return Err(AssetError::Damaged);
        }
        Ok(cursor)
    }

    /// Date of the data, seconds since 1970, if nothing is damaged. It stands before the length of the name.
    pub(crate) fn dated(&self, bytes: &[u8]) -> Result<u64, AssetError> {
        self.open(bytes)?;
        Cursor(&bytes[self.header - 10..]).u64()
    }

    /// The file. `counts` and `dated` are what is between the number of countries and the name.
    pub(crate) fn seal(
        &self,
        counts: &[usize],
        dated: u64,
        source: &str,
        codes: &[[u8; 2]],
        columns: &[u8],
    ) -> std::io::Result<Vec<u8>> {
        let source = &source.as_bytes()[..source.len().min(usize::from(u16::MAX))];
        let mut out = self.magic.to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend((codes.len() as u16).to_le_bytes());
        out.extend(counts.iter().flat_map(|count| (*count as u32).to_le_bytes()));
        out.extend(dated.to_le_bytes());
        out.extend((source.len() as u16).to_le_bytes());
        out.extend(source);
        out.extend(codes.as_flattened());
        out.extend(zstd::bulk::compress(columns, LEVEL)?);
        let hash = Sha256::digest(&out);
        out.extend(hash.as_slice());
        Ok(out)
    }
}

/// The columns, which take no more than `at_most`.
pub(crate) fn decompress(frame: &[u8], at_most: usize) -> Result<Vec<u8>, AssetError> {
    zstd::bulk::decompress(frame, at_most)
        .map_err(|error| AssetError::Compression(error.to_string()))
}

/// The file with its hash made right again, so that what is behind the hash is tested.
#[cfg(test)]
pub(crate) fn rehashed(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(bytes.len().saturating_sub(HASH));
    let hash = Sha256::digest(&bytes);
    bytes.extend(hash.as_slice());
    bytes
}

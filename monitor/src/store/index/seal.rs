//! The seal of an index database: what it covers, and length and checksum of each of its files at
//! the moment it was closed. A database whose files don't match its seal is never given to the
//! index crate: it is thrown away and rebuilt. So a crash or bit rot can't make it lie.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::store::{files::FILE_MODE, scan::Contents};

/// Raised with every change of keys, values or the seal: older databases are rebuilt.
pub(super) const VERSION: u32 = 6;
const MAGIC: [u8; 8] = *b"GFINDEX\n";

/// How far a segment is indexed, and what was met on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Covered {
    /// Blocks that begin below this offset are indexed.
    pub end: u64,
    /// Number of the first block that is not.
    pub next_block: u64,
    /// CRC-32 of the head of the last block that is: tells this ledger from another.
    pub last_head: u32,
    /// Offset of that block.
    pub last_at: u64,
    /// A later segment exists and nothing is left to index in this.
    pub complete: bool,
    pub contents: Contents,
}

/// By segment.
pub(super) type Coverage = BTreeMap<u32, Covered>;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seal {
    version: u32,
    pub coverage: Coverage,
    files: Vec<SealedFile>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SealedFile {
    name: String,
    bytes: u64,
    crc: u32,
}

/// What tells cheaply that this process's own files were not touched since it closed them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp(Vec<(String, u64, i64, i64, u64)>);

pub(super) fn path(database: &Path) -> PathBuf {
    database.with_extension("seal")
}

impl Seal {
    /// Reads the database's files and seals them as they are.
    pub(super) fn of(database: &Path, coverage: Coverage) -> io::Result<Self> {
        Ok(Self { version: VERSION, coverage, files: read_files(database)? })
    }

    /// `None` if there is none, or none that this version understands.
    pub(super) fn load(database: &Path) -> Option<Self> {
        let bytes = fs::read(path(database)).ok()?;
        let rest = bytes.strip_prefix(&MAGIC)?;
        let (crc, body) = rest.split_first_chunk::<4>()?;
        if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
            return None;
        }
        let seal: Self = postcard::from_bytes(body).ok()?;
        (seal.version == VERSION).then_some(seal)
    }

    pub(super) fn store(&self, database: &Path) -> io::Result<()> {
        let body = postcard::to_stdvec(self).map_err(io::Error::other)?;
        let path = path(database);
        let temporary = path.with_extension("new");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(FILE_MODE)
            .open(&temporary)?;
        file.write_all(&MAGIC)?;
        file.write_all(&crc32fast::hash(&body).to_le_bytes())?;
        file.write_all(&body)?;
        drop(file);
        fs::rename(&temporary, &path)
    }

    /// Whether every file is as it was when it was sealed.
    pub(super) fn holds(&self, database: &Path) -> bool {
        read_files(database).is_ok_and(|files| files == self.files)
    }
}

fn read_files(database: &Path) -> io::Result<Vec<SealedFile>> {
    let mut files = Vec::new();
    for (name, path) in files_of(database)? {
        let mut hasher = crc32fast::Hasher::new();
        let (mut file, mut bytes) = (File::open(path)?, 0);
        let mut buffer = vec![0; 64 << 10];
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                count => {
                    hasher.update(&buffer[..count]);
                    bytes += count as u64;
                }
            }
        }
        files.push(SealedFile { name, bytes, crc: hasher.finalize() });
    }
    Ok(files)
}

impl Stamp {
    pub(super) fn of(database: &Path) -> io::Result<Self> {
        let mut stamps = Vec::new();
        for (name, path) in files_of(database)? {
            let it = fs::metadata(path)?;
            stamps.push((name, it.len(), it.mtime(), it.mtime_nsec(), it.ino()));
        }
        Ok(Self(stamps))
    }
}

/// All files below the database's directory, by their name in it, sorted.
fn files_of(database: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut files = Vec::new();
    let mut directories = vec![(String::new(), database.to_owned())];
    while let Some((prefix, directory)) = directories.pop() {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if entry.file_type()?.is_dir() {
                directories.push((format!("{name}/"), entry.path()));
            } else {
                files.push((name, entry.path()));
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_holds_until_any_file_changes() {
        let root = tempfile::tempdir().unwrap();
        let database = root.path().join("00000001");
        fs::create_dir_all(database.join("blobs")).unwrap();
        fs::write(database.join("db"), vec![7; 100_000]).unwrap();
        fs::write(database.join("blobs/1"), b"one").unwrap();
        let coverage = Coverage::from([(
            1,
            Covered {
                end: 9,
                next_block: 2,
                last_head: 3,
                last_at: 4,
                complete: true,
                contents: Contents::default(),
            },
        )]);
        Seal::of(&database, coverage.clone()).unwrap().store(&database).unwrap();
        let seal = Seal::load(&database).unwrap();
        assert_eq!(seal.coverage, coverage);
        assert!(seal.holds(&database));
        fs::write(database.join("blobs/2"), b"").unwrap();
        assert!(!seal.holds(&database));
        fs::remove_file(database.join("blobs/2")).unwrap();
        let mut bytes = vec![7; 100_000];
        bytes[77_777] ^= 1;
        fs::write(database.join("db"), bytes).unwrap();
        assert!(!seal.holds(&database));
    }

    #[test]
    fn a_seal_of_another_version_is_none() {
        let root = tempfile::tempdir().unwrap();
        let database = root.path().join("00000001");
        fs::create_dir_all(&database).unwrap();
        let seal = Seal::of(&database, Coverage::new()).unwrap();
        Seal { version: VERSION - 1, ..seal.clone() }.store(&database).unwrap();
        assert_eq!(Seal::load(&database), None);
        seal.store(&database).unwrap();
        assert_eq!(Seal::load(&database), Some(seal));
    }

    #[test]
    fn a_damaged_seal_is_none() {
        let root = tempfile::tempdir().unwrap();
        let database = root.path().join("00000001");
        fs::create_dir_all(&database).unwrap();
        Seal::of(&database, Coverage::new()).unwrap().store(&database).unwrap();
        let mut bytes = fs::read(path(&database)).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(path(&database), bytes).unwrap();
        assert_eq!(Seal::load(&database), None);
    }
}

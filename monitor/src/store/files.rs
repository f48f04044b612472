//! Where the store keeps its files and with what rights: names, sizes, creation, small files as a whole. It
//! understands no content.

use std::{
    fs::{self, DirBuilder},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use super::error::StoreError;

pub(super) const FILE_MODE: u32 = 0o640;
const DIRECTORY_MODE: u32 = 0o750;

/// Where the segments of the store at `root` are.
pub(super) fn ledger(root: &Path) -> PathBuf {
    root.join("ledger")
}

/// Where the databases of its index are.
pub(super) fn index(root: &Path) -> PathBuf {
    root.join("index")
}

/// Where leaves, checkpoints and the key that signs them are.
pub(super) fn evidence(root: &Path) -> PathBuf {
    root.join("evidence")
}

/// Verifier keys for whoever asks, the one in use first.
pub(super) fn public_key(root: &Path) -> PathBuf {
    root.join("key.pub")
}

/// Replaces a file whole: whatever happens, it is the old or the new one.
pub(super) fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let new = path.with_extension("new");
    // One that an earlier try left may have other rights.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    sync_directory(parent(path))
}

/// Writes a file whole that can be made anew: it is not synced.
pub(super) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(FILE_MODE).open(path)?;
    file.write_all(bytes)
}

/// The content; `None` where there is no such file.
pub(super) fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

pub(super) fn segment_path(ledger: &Path, number: u32) -> PathBuf {
    ledger.join(format!("{number:08}.seg"))
}

/// Numbers of the segments there are, ascending. Files of other names are left alone.
pub(super) fn segments(ledger: &Path) -> io::Result<Vec<u32>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(ledger)? {
        let name = entry?.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_suffix(".seg"))
            .filter(|digits| digits.len() >= 8 && digits.bytes().all(|byte| byte.is_ascii_digit()));
        numbers.extend(number.and_then(|digits| digits.parse::<u32>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Makes it, and those above it, and that durable: else a loss of power takes a directory with all that was
/// synced in it.
pub(super) fn make_directory(path: &Path) -> Result<(), StoreError> {
    let missing: Vec<&Path> = path.ancestors().take_while(|it| !it.exists()).collect();
    DirBuilder::new()
        .recursive(true)
        .mode(DIRECTORY_MODE)
        .create(path)
        .map_err(StoreError::io("create", path))?;
    for made in missing {
        sync_directory(parent(made)).map_err(StoreError::io("sync", parent(made)))?;
    }
    // It may have been made just before the power went. Who may not read above it did not make it.
    let _ = sync_directory(parent(path));
    Ok(())
}

fn parent(path: &Path) -> &Path {
    let above = path.parent().filter(|it| !it.as_os_str().is_empty());
    above.unwrap_or(Path::new("."))
}

/// Makes the creation or removal of a file in `directory` durable.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    fs::File::open(directory)?.sync_all()
}

/// Bytes of all files below a directory; 0 where there is none.
pub(super) fn bytes_below(directory: &Path) -> u64 {
    let entries = |directory: &Path| -> io::Result<u64> {
        let mut bytes = 0;
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            // Files come and go while the index works.
            bytes += match entry.metadata() {
                Ok(it) if it.is_dir() => bytes_below(&entry.path()),
                Ok(it) => it.len(),
                Err(_) => 0,
            };
        }
        Ok(bytes)
    };
    entries(directory).unwrap_or(0)
}

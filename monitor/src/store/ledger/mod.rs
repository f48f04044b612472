//! The ledger: the truth. Append-only segment files of checksummed, chained blocks of entries.
//! It knows nothing of queries and of the index.

mod block;
pub(super) mod frame;
mod recover;
pub(super) mod segment;
mod writer;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

pub use recover::Recovery;
pub(super) use writer::{Progress, Writer};

/// Where the segments of the store at `root` are.
pub(super) fn directory(root: &Path) -> PathBuf {
    root.join("ledger")
}

pub(super) fn segment_path(ledger: &Path, number: u32) -> PathBuf {
    ledger.join(format!("{number:08}.seg"))
}

/// Numbers of the segments there are, ascending. Files of other names are left alone.
pub(super) fn list(ledger: &Path) -> io::Result<Vec<u32>> {
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

/// Makes the creation or removal of a file in `directory` durable.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    fs::File::open(directory)?.sync_all()
}

//! One writer at a time: an advisory lock on `<path>/lock`, released by the kernel however the
//! daemon ends. It does not keep readers out.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read as _, Seek as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    thread,
    time::Duration,
};

use super::{error::StoreError, files::FILE_MODE};

/// How long a lock is waited for that somebody has: half a second. A daemon that was killed still ends
/// when the next one starts, and a process that is just being started has a copy of the open file
/// until it is another program.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(10);

/// Held as long as it lives.
#[derive(Debug)]
pub(super) struct Lock {
    /// The lock is on it.
    _file: File,
}

fn lock(file: &File) -> Result<(), TryLockError> {
    for _ in 0..TRIES {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => thread::sleep(PAUSE),
            other => return other,
        }
    }
    Err(TryLockError::WouldBlock)
}

pub(super) fn take(directory: &Path) -> Result<Lock, StoreError> {
    let path = directory.join("lock");
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE_MODE)
        .open(&path);
    let mut writable = opened.map_err(StoreError::io("open", &path))?;
    // One that is held open for writing would keep its file system from being made read-only.
    let mut file = File::open(&path).map_err(StoreError::io("open", &path))?;
    let locked = match lock(&file) {
        // A network file system may want it writable.
        Err(TryLockError::Error(error)) if error.raw_os_error() == Some(libc::EBADF) => {
            file = writable.try_clone().map_err(StoreError::io("open", &path))?;
            lock(&file)
        }
        other => other,
    };
    match locked {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
            return Err(StoreError::Locked { path: directory.to_owned(), pid });
        }
        Err(TryLockError::Error(error)) => return Err(StoreError::io("lock", &path)(error)),
    }
    // The pid is only told to people: a full disk must not keep the daemon from starting.
    let told = writable
        .set_len(0)
        .and_then(|()| writable.rewind())
        .and_then(|()| writeln!(writable, "{}", std::process::id()));
    if let Err(error) = told {
        tracing::debug!(%error, "cannot write the pid into the lock file");
    }
    Ok(Lock { _file: file })
}

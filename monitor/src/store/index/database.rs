//! The border to the index crate, sled: every call into it is made here, and every error and panic
//! of it ends here as a [`Fault`]. It knows nothing of what keys and values mean.

use std::{
    fs::File,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

/// Page cache of one open database.
const CACHE_BYTES: u64 = 1 << 20;
/// Unit of its log, and size of its write buffers.
const SEGMENT_BYTES: usize = 128 << 10;

/// How long a dropped database is waited for: 2 s.
const RELEASE_TRIES: u32 = 1000;
const RELEASE_PAUSE: Duration = Duration::from_millis(2);

/// Why the database did not answer. Whatever it was, it is not asked again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("{0}")]
    Failed(String),
    #[error("panicked: {0}")]
    Panicked(String),
}

/// An open database. A fault makes it refuse everything after.
#[derive(Debug)]
pub(super) struct Database {
    /// Taken only by `drop`.
    sled: Option<sled::Db>,
    failed: AtomicBool,
}

impl Database {
    pub(super) fn open(path: &Path) -> Result<Self, Fault> {
        // If it is never released, the crate says so in its own words; a new one has no file yet.
        let _ = wait_until_released(path);
        let sled = guarded(|| {
            sled::Config::new()
                .path(path)
                .cache_capacity(CACHE_BYTES)
                .segment_size(SEGMENT_BYTES)
                .flush_every_ms(None)
                .mode(sled::Mode::LowSpace)
                .open()
        })?;
        Ok(Self { sled: Some(sled), failed: AtomicBool::new(false) })
    }

    /// Calls `each` with every key that begins with `prefix`, in order, and its value.
    pub(super) fn scan(
        &self,
        prefix: &[u8],
        mut each: impl FnMut(&[u8], &[u8]),
    ) -> Result<(), Fault> {
        self.call(|sled| {
            for item in sled.scan_prefix(prefix) {
                let (key, value) = item?;
                each(&key, &value);
            }
            Ok(())
        })
    }

    /// Writes all of it, then makes it readable for those who open the database later.
    pub(super) fn write(
        &self,
        pairs: impl Iterator<Item = (Vec<u8>, Vec<u8>)>,
    ) -> Result<(), Fault> {
        let mut batch = sled::Batch::default();
        for (key, value) in pairs {
            batch.insert(key, value);
        }
        self.call(|sled| {
            sled.apply_batch(batch)?;
            sled.flush().map(|_| ())
        })
    }

    fn call<T>(&self, call: impl FnOnce(&sled::Db) -> sled::Result<T>) -> Result<T, Fault> {
        let Some(sled) = self.sled.as_ref().filter(|_| !self.failed.load(Ordering::Relaxed)) else {
            return Err(Fault::Failed("failed before".into()));
        };
        guarded(|| call(sled)).inspect_err(|_| self.failed.store(true, Ordering::Relaxed))
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let sled = self.sled.take();
        // What it could not write is missed by the seal, and rebuilt.
        let _ = guarded(|| {
            drop(sled);
            Ok(())
        });
    }
}

/// Waits until a database that was dropped is let go of. The crate's own threads may write to it for
/// a moment longer, and a process that is just being started has a copy of the open file until it is
/// another program. Its file is locked until then.
pub(super) fn wait_until_released(path: &Path) -> io::Result<()> {
    let file = File::open(path.join("db"))?;
    for _ in 0..RELEASE_TRIES {
        if file.try_lock().is_ok() {
            return Ok(());
        }
        std::thread::sleep(RELEASE_PAUSE);
    }
    Err(io::Error::other("the database is still in use after it was closed"))
}

fn guarded<T>(call: impl FnOnce() -> sled::Result<T>) -> Result<T, Fault> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Fault::Failed(error.to_string())),
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied());
            Err(Fault::Panicked(text.unwrap_or("without a message").to_owned()))
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

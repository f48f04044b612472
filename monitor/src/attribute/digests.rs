//! SHA-256 of executed files, each read once, on a thread of its own: a file on a slow disk must keep
//! nobody waiting. Bounded in files, bytes and what waits; what was not read is counted. Judges nothing.

use std::{
    fs::File,
    io::{self, Read as _},
    os::{fd::AsFd as _, unix::fs::MetadataExt as _},
    sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    thread,
};

use rustc_hash::FxHashMap;
use rustix::process::setpriority_process;
use sha2::{Digest as _, Sha256};

use super::{hosts::HostFiles, procfs::Procfs};
use crate::{
    event::{FileId, Process},
    sandbox,
};

/// `stage` of what could not be read.
pub const STAGE: &str = "digest";
/// It was gone, or another file, when its turn came.
pub const GONE: &str = "gone";
/// Larger than [`BYTES_MAX`].
pub const TOO_LARGE: &str = "too-large";
/// As many as [`WAITING_MAX`] waited.
pub const QUEUE_FULL: &str = "queue-full";
pub const REASONS: [&str; 3] = [GONE, TOO_LARGE, QUEUE_FULL];

/// Files that wait to be read.
const WAITING_MAX: usize = 256;
/// Files whose digest is remembered.
const KNOWN_MAX: usize = 4096;
/// Largest file that is read.
const BYTES_MAX: u64 = 512 << 20;
const CHUNK: usize = 128 << 10;
/// It is in no hurry.
const NICE: i32 = 10;

pub type Sha256Digest = [u8; 32];

/// What tells one content of a file from another, as far as the file system says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

#[derive(Debug)]
struct Request {
    id: FileId,
    pid: u32,
    path: Option<Box<str>>,
}

#[derive(Debug)]
struct Answer {
    id: FileId,
    digest: Result<Sha256Digest, &'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Asked,
    Read(Sha256Digest),
    /// Not asked for again while it is remembered.
    Unread,
}

/// Digests by file, and the thread that makes them.
#[derive(Debug, Default)]
pub(super) struct Digests {
    known: FxHashMap<FileId, Known>,
    /// `None`: no file is read, as of a recording.
    reader: Option<(SyncSender<Request>, Receiver<Answer>)>,
    lost: [u64; REASONS.len()],
}

impl Digests {
    /// Starts the thread.
    pub(super) fn start(&mut self, procfs: &Procfs) -> io::Result<()> {
        let (to_reader, requests) = sync_channel::<Request>(WAITING_MAX);
        let (answers, from_reader) = sync_channel::<Answer>(2 * WAITING_MAX);
        let files = Files { procfs: procfs.clone(), hosts: HostFiles::new(procfs), last: None };
        thread::Builder::new()
            .name("digests".into())
            .spawn(move || read(requests, &answers, files))?;
        self.reader = Some((to_reader, from_reader));
        Ok(())
    }

    /// Of the file that a process executed; asks for it where it is not known yet.
    pub(super) fn of(&mut self, process: &Process) -> Option<Sha256Digest> {
        let id = process.file.id?;
        match self.known.get(&id) {
            Some(Known::Read(digest)) => return Some(*digest),
            Some(_) => return None,
            None => {}
        }
        let (to_reader, _) = self.reader.as_ref()?;
        let path = process.executable.as_deref().map(Into::into);
        match to_reader.try_send(Request { id, pid: process.pid, path }) {
            Ok(()) => {
                if self.known.len() >= KNOWN_MAX {
                    self.known.clear();
                }
                self.known.insert(id, Known::Asked);
            }
            Err(TrySendError::Full(_)) => self.lose(QUEUE_FULL),
            Err(TrySendError::Disconnected(_)) => self.reader = None,
        }
        None
    }

    /// Whether a digest is on its way.
    pub(super) fn is_awaited(&self, id: FileId) -> bool {
        self.known.get(&id) == Some(&Known::Asked)
    }

    /// What was read since this was last asked.
    pub(super) fn take(&mut self) -> Vec<(FileId, Sha256Digest)> {
        let Some((_, from_reader)) = &self.reader else { return Vec::new() };
        let answers: Vec<Answer> = from_reader.try_iter().collect();
        let mut read = Vec::new();
        for Answer { id, digest } in answers {
            match digest {
                Ok(digest) => {
                    self.known.insert(id, Known::Read(digest));
                    read.push((id, digest));
                }
                Err(reason) => {
                    self.known.insert(id, Known::Unread);
                    self.lose(reason);
                }
            }
        }
        read
    }

    /// A file was executed: one that was gone when it was asked for may be there again, and one that
    /// was written since has another digest.
    pub(super) fn forget_unread(&mut self, id: FileId) {
        if self.known.get(&id) == Some(&Known::Unread) {
            self.known.remove(&id);
        }
    }

    /// What could not be read so far, by [`REASONS`].
    pub(super) fn lost(&self) -> [u64; REASONS.len()] {
        self.lost
    }

    fn lose(&mut self, reason: &'static str) {
        let at = REASONS.iter().position(|it| *it == reason).unwrap_or(0);
        self.lost[at] += 1;
    }
}

fn read(requests: Receiver<Request>, answers: &SyncSender<Answer>, mut files: Files) {
    // On Linux a nice value is the calling thread's own, as capabilities are.
    if let Err(error) = setpriority_process(None, NICE) {
        tracing::debug!("files are read with as much haste as everything: {error}");
    }
    if let Err(error) = sandbox::confine() {
        tracing::error!("no file is read for its digest: {error}");
        return;
    }
    for request in requests {
        let answer = Answer { id: request.id, digest: files.digest(&request) };
        if answers.send(answer).is_err() {
            return;
        }
    }
}

#[derive(Debug)]
struct Files {
    procfs: Procfs,
    hosts: HostFiles,
    /// A file that is executed by many processes at once is read once.
    last: Option<(FileId, Stamp, Sha256Digest)>,
}

impl Files {
    /// By the process while it lives, which shows also what was removed or is in a namespace of its
    /// own; else by the path.
    fn digest(&mut self, request: &Request) -> Result<Sha256Digest, &'static str> {
        let by_process = || self.procfs.open_executable(request.pid);
        let by_path = || self.hosts.open(request.path.as_deref()?);
        let is_it = |file: &File| self.hosts.is_file(file.as_fd(), request.id);
        let file = by_process().filter(is_it).or_else(|| by_path().filter(is_it)).ok_or(GONE)?;
        let stamp = stamp(&file).map_err(|_| GONE)?;
        if stamp.size > BYTES_MAX {
            return Err(TOO_LARGE);
        }
        if let Some((_, _, digest)) =
            self.last.filter(|last| (last.0, last.1) == (request.id, stamp))
        {
            return Ok(digest);
        }
        let digest = hash(&file).map_err(|_| GONE)?;
        // Written meanwhile: it is of neither.
        if self::stamp(&file).ok() != Some(stamp) {
            return Err(GONE);
        }
        self.last = Some((request.id, stamp, digest));
        Ok(digest)
    }
}

fn stamp(file: &File) -> io::Result<Stamp> {
    let meta = file.metadata()?;
    Ok(Stamp {
        size: meta.size(),
        modified: (meta.mtime(), meta.mtime_nsec()),
        changed: (meta.ctime(), meta.ctime_nsec()),
    })
}

fn hash(mut file: &File) -> io::Result<Sha256Digest> {
    let mut digest = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    let mut rest = BYTES_MAX;
    while rest > 0 {
        let read = file.read(&mut chunk)?;
        if read == 0 {
            return Ok(digest.finalize().into());
        }
        digest.update(&chunk[..read]);
        rest = rest.saturating_sub(read as u64);
    }
    Err(io::ErrorKind::FileTooLarge.into())
}

#[cfg(test)]
mod tests {
    use std::{fs, process::Command, time::Duration};

    use super::*;
    use crate::attribute::fake::process;

    fn id(path: &std::path::Path) -> FileId {
        let meta = fs::metadata(path).unwrap();
        FileId { device: meta.dev(), inode: meta.ino() }
    }

    /// Waits for the next answer.
    fn answer(digests: &mut Digests) -> Vec<(FileId, Sha256Digest)> {
        for _ in 0..6000 {
            let read = digests.take();
            if !read.is_empty() || digests.lost() != [0; 3] {
                return read;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("no answer");
    }

    fn started() -> Digests {
        let mut digests = Digests::default();
        digests.start(&Procfs::host()).unwrap();
        digests
    }

    #[test]
    fn the_file_of_a_living_process_is_read_also_when_it_was_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sleeper");
        fs::copy("/bin/sleep", &path).unwrap();
        let expected: Sha256Digest = Sha256::digest(fs::read(&path).unwrap()).into();
        let mut child = Command::new(&path).arg("60").spawn().unwrap();
        let id = id(&path);
        fs::remove_file(&path).unwrap();
        let mut digests = started();
        let mut process = process(child.id(), "sleeper");
        process.file.id = Some(id);
        assert_eq!(digests.of(&process), None);
        assert!(digests.is_awaited(id));
        let read = answer(&mut digests);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(read, [(id, expected)]);
        assert_eq!(digests.of(&process), Some(expected));
    }

    #[test]
    fn the_file_of_a_process_that_is_gone_is_read_by_its_path_if_it_is_still_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tool");
        fs::write(&path, "content").unwrap();
        let mut process = process(u32::MAX >> 1, "tool");
        process.executable = Some(path.to_str().unwrap().into());
        process.file.id = Some(id(&path));
        let mut digests = started();
        assert_eq!(digests.of(&process), None);
        assert_eq!(answer(&mut digests)[0].1, <Sha256Digest>::from(Sha256::digest("content")));

        fs::write(folder.path().join("new"), "other").unwrap();
        fs::rename(folder.path().join("new"), &path).unwrap();
        let mut digests = started();
        assert_eq!(digests.of(&process), None);
        assert_eq!(answer(&mut digests), []);
        assert_eq!(digests.lost(), [1, 0, 0]);
        assert_eq!(digests.of(&process), None);
    }
}

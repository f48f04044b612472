//! SHA-256 of executed files, on a thread of its own: a file on a slow disk must keep nobody waiting. A
//! digest is of one run of a program, for a file may be written between two; content that did not change
//! is read once. Bounded in files, bytes and what waits; what was not read is counted. Judges nothing.

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
    clock,
    event::{FileId, Process, Timestamp},
    sandbox,
};

/// `stage` of what could not be read.
pub const STAGE: &str = "digest";
/// The process was gone, or another program, and its file may have changed since.
pub const GONE: &str = "gone";
/// Larger than `BYTES_MAX`.
pub const TOO_LARGE: &str = "too-large";
/// As many as `WAITING_MAX` waited.
pub const QUEUE_FULL: &str = "queue-full";
pub const REASONS: [&str; 3] = [GONE, TOO_LARGE, QUEUE_FULL];

/// Runs that wait for their digest.
const WAITING_MAX: usize = 256;
/// Runs whose digest is remembered.
const KNOWN_MAX: usize = 4096;
/// Files whose content is remembered.
const FILES_MAX: usize = 1024;
/// Largest file that is read.
const BYTES_MAX: u64 = 512 << 20;
const CHUNK: usize = 128 << 10;
/// It is in no hurry.
const NICE: i32 = 10;
/// File systems stamp changes by a clock that stands still between two ticks, 10 ms at most: within this
/// time of a change another leaves the same stamp.
const STAMP_SLACK_NS: i128 = 20_000_000;

pub type Sha256Digest = [u8; 32];

/// A process as one of the programs that it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Run {
    pub pid: u32,
    /// As in [`crate::event::ExecutedFile`].
    pub executed_ns: u64,
    pub file: FileId,
}

impl Run {
    /// `None`: which file it executed is not known.
    pub fn of(process: &Process) -> Option<Self> {
        let executed_ns = process.file.executed_ns;
        Some(Self { pid: process.pid, executed_ns, file: process.file.id? })
    }
}

/// What tells one content of a file from another, as far as the file system says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    size: u64,
    /// Nanoseconds since the epoch.
    modified: i128,
    changed: i128,
}

#[derive(Debug)]
struct Request {
    run: Run,
    path: Option<Box<str>>,
    /// When it was executed; `None`: before the probes, or with a fork.
    executed_at: Option<Timestamp>,
}

#[derive(Debug)]
struct Digested {
    run: Run,
    digest: Result<(Sha256Digest, By), &'static str>,
}

/// How the file of a run was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// Of this run if the process had executed nothing else by then.
    Process,
    /// It had not changed since the exec.
    Path,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Asked,
    Read(Sha256Digest),
    /// Not asked for again while it is remembered.
    Unread,
}

/// Digests by run, and the thread that makes them.
#[derive(Debug, Default)]
pub(super) struct Digests {
    known: FxHashMap<Run, Known>,
    /// `None`: no file is read, as of a recording.
    reader: Option<(SyncSender<Request>, Receiver<Digested>)>,
    lost: [u64; REASONS.len()],
}

impl Digests {
    /// Starts the thread.
    pub(super) fn start(&mut self, procfs: &Procfs) -> io::Result<()> {
        let (to_reader, requests) = sync_channel::<Request>(WAITING_MAX);
        let (answers, from_reader) = sync_channel::<Digested>(2 * WAITING_MAX);
        let files = Files {
            procfs: procfs.clone(),
            hosts: HostFiles::new(procfs),
            known: FxHashMap::default(),
        };
        thread::Builder::new()
            .name("digests".into())
            .spawn(move || read(requests, &answers, files))?;
        self.reader = Some((to_reader, from_reader));
        Ok(())
    }

    /// Of the file that a process executed; asks for it where it is not known yet.
    pub(super) fn of(
        &mut self,
        process: &Process,
        executed_at: Option<Timestamp>,
    ) -> Option<Sha256Digest> {
        let run = Run::of(process)?;
        match self.known.get(&run) {
            Some(Known::Read(digest)) => return Some(*digest),
            Some(_) => return None,
            None => {}
        }
        let (to_reader, _) = self.reader.as_ref()?;
        let path = process.executable.as_deref().map(Into::into);
        match to_reader.try_send(Request { run, path, executed_at }) {
            Ok(()) => {
                if self.known.len() >= KNOWN_MAX {
                    self.known.clear();
                }
                self.known.insert(run, Known::Asked);
            }
            Err(TrySendError::Full(_)) => self.lose(QUEUE_FULL),
            Err(TrySendError::Disconnected(_)) => self.reader = None,
        }
        None
    }

    /// Whether a digest is on its way.
    pub(super) fn is_awaited(&self, run: Run) -> bool {
        self.known.get(&run) == Some(&Known::Asked)
    }

    /// What was read since this was last asked. `is_last`: whether the process executed nothing after
    /// that run.
    pub(super) fn take(&mut self, is_last: impl Fn(Run) -> bool) -> Vec<(Run, Sha256Digest)> {
        let Some((_, from_reader)) = &self.reader else { return Vec::new() };
        let answers: Vec<Digested> = from_reader.try_iter().collect();
        let mut read = Vec::new();
        for Digested { run, digest } in answers {
            let digest = digest.and_then(|(digest, by)| {
                let is_its = by == By::Path || is_last(run);
                if is_its { Ok(digest) } else { Err(GONE) }
            });
            let known = match digest {
                Ok(digest) => {
                    read.push((run, digest));
                    Known::Read(digest)
                }
                Err(reason) => {
                    self.lose(reason);
                    Known::Unread
                }
            };
            self.known.insert(run, known);
        }
        read
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

fn read(requests: Receiver<Request>, answers: &SyncSender<Digested>, mut files: Files) {
    // On Linux a nice value is the calling thread's own, as capabilities are.
    if let Err(error) = setpriority_process(None, NICE) {
        tracing::debug!("files are read with as much haste as everything: {error}");
    }
    if let Err(error) = sandbox::confine() {
        tracing::error!("no file is read for its digest: {error}");
        return;
    }
    for request in requests {
        let answer = Digested { run: request.run, digest: files.digest(&request) };
        if answers.send(answer).is_err() {
            return;
        }
    }
}

#[derive(Debug)]
struct Files {
    procfs: Procfs,
    hosts: HostFiles,
    /// Contents that were read.
    known: FxHashMap<FileId, (Stamp, Sha256Digest)>,
}

impl Files {
    /// By the process while it lives, which shows also what was removed or is in a namespace of its
    /// own, and whose file nobody can write; else by the path, if nothing was written since.
    fn digest(&mut self, request: &Request) -> Result<(Sha256Digest, By), &'static str> {
        let Request { run, path, executed_at } = request;
        let is_it = |file: &File| self.hosts.is_file(file.as_fd(), run.file);
        if let Some(file) = self.procfs.open_executable(run.pid).filter(is_it) {
            return self.content(&file, run.file).map(|digest| (digest, By::Process));
        }
        let executed_at = executed_at.ok_or(GONE)?;
        let by_path = || self.hosts.open(path.as_deref()?).filter(is_it);
        let file = by_path().ok_or(GONE)?;
        let changed = stamp(&file).map_err(|_| GONE)?.changed;
        if changed + STAMP_SLACK_NS > i128::from(executed_at.0) {
            return Err(GONE);
        }
        self.content(&file, run.file).map(|digest| (digest, By::Path))
    }

    fn content(&mut self, file: &File, id: FileId) -> Result<Sha256Digest, &'static str> {
        let stamp = stamp(file).map_err(|_| GONE)?;
        if stamp.size > BYTES_MAX {
            return Err(TOO_LARGE);
        }
        if let Some((_, digest)) = self.known.get(&id).filter(|(known, _)| *known == stamp) {
            return Ok(*digest);
        }
        let digest = hash(file).map_err(|_| GONE)?;
        // Written meanwhile: it is of neither.
        if self::stamp(file).ok() != Some(stamp) {
            return Err(GONE);
        }
        // Of one that changed just now a further change may leave the same stamp.
        if stamp.changed + STAMP_SLACK_NS < i128::from(clock::file_ns()) {
            if self.known.len() >= FILES_MAX {
                self.known.clear();
            }
            self.known.insert(id, (stamp, digest));
        }
        Ok(digest)
    }
}

fn stamp(file: &File) -> io::Result<Stamp> {
    let meta = file.metadata()?;
    let ns = |seconds: i64, ns: i64| i128::from(seconds) * 1_000_000_000 + i128::from(ns);
    Ok(Stamp {
        size: meta.size(),
        modified: ns(meta.mtime(), meta.mtime_nsec()),
        changed: ns(meta.ctime(), meta.ctime_nsec()),
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
    use std::{
        fs,
        path::Path,
        process::{Child, Command},
        time::Duration,
    };

    use super::*;
    use crate::attribute::fake::process;

    fn id(path: &Path) -> FileId {
        let meta = fs::metadata(path).unwrap();
        FileId { device: meta.dev(), inode: meta.ino() }
    }

    fn started() -> Digests {
        let mut digests = Digests::default();
        digests.start(&Procfs::host()).unwrap();
        digests
    }

    /// What is said of a run: its digest, or nothing where it is lost.
    fn said(digests: &mut Digests, of: &Process, at: Option<Timestamp>) -> Option<Sha256Digest> {
        let before = digests.lost();
        assert_eq!(digests.of(of, at), None, "it was known already");
        assert!(digests.is_awaited(Run::of(of).unwrap()));
        for _ in 0..6000 {
            let read = digests.take(|_| true);
            if let Some((run, digest)) = read.first() {
                assert_eq!(Some(*run), Run::of(of));
                return Some(*digest);
            }
            if digests.lost() != before {
                return None;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("no answer");
    }

    /// A program that runs long, and its process as it is told; `executed_ns` tells runs apart.
    fn runs(path: &Path, executed_ns: u64) -> (Child, Process) {
        // A fork of another test may hold the descriptor that the file was written by, until its exec.
        let child = loop {
            match Command::new(path).arg("60").spawn() {
                Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {
                    thread::yield_now();
                }
                spawned => break spawned.unwrap(),
            }
        };
        let mut process = process(child.id(), "sleeper");
        process.executable = Some(path.to_str().unwrap().into());
        (process.file.id, process.file.executed_ns) = (Some(id(path)), executed_ns);
        (child, process)
    }

    fn end(mut child: Child) {
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn sleeper(folder: &Path, tail: &str) -> (std::path::PathBuf, Sha256Digest) {
        let path = folder.join("sleeper");
        // In place, if it is there: the same inode.
        let content = [&fs::read("/bin/sleep").unwrap(), tail.as_bytes()].concat();
        fs::write(&path, &content).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        (path, Sha256::digest(&content).into())
    }

    #[test]
    fn the_file_of_a_living_process_is_read_also_when_it_was_removed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, expected) = sleeper(folder.path(), "");
        let (child, process) = runs(&path, 1);
        fs::remove_file(&path).unwrap();
        let mut digests = started();
        let read = said(&mut digests, &process, None);
        end(child);
        assert_eq!(read, Some(expected));
        assert_eq!(digests.of(&process, None), Some(expected));
    }

    #[test]
    fn a_file_that_is_written_between_two_runs_has_a_digest_for_each() {
        let folder = tempfile::tempdir().unwrap();
        let mut digests = started();
        for (run, tail) in [(1, "known"), (2, "other"), (3, "known")] {
            let (path, expected) = sleeper(folder.path(), tail);
            let (child, process) = runs(&path, run);
            let read = said(&mut digests, &process, None);
            end(child);
            assert_eq!(read, Some(expected), "{run}");
        }
    }

    #[test]
    fn the_file_of_a_process_that_is_gone_is_read_by_its_path_if_nothing_was_written_since() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tool");
        fs::write(&path, "content").unwrap();
        let written_ns =
            u64::try_from(stamp(&File::open(&path).unwrap()).unwrap().changed).unwrap();
        let at = |after_ns: u64| Some(Timestamp(written_ns + after_ns));
        let gone = |run| {
            let mut process = process(u32::MAX >> 1, "tool");
            process.executable = Some(path.to_str().unwrap().into());
            (process.file.id, process.file.executed_ns) = (Some(id(&path)), run);
            process
        };
        let mut digests = started();
        let expected: Sha256Digest = Sha256::digest("content").into();
        assert_eq!(said(&mut digests, &gone(1), at(1_000_000_000)), Some(expected));
        // Executed before it was written, or so shortly after that a write could be hidden.
        assert_eq!(said(&mut digests, &gone(2), Some(Timestamp(written_ns - 1))), None);
        assert_eq!(said(&mut digests, &gone(3), at(1_000_000)), None);
        // Nobody knows when it was executed.
        assert_eq!(said(&mut digests, &gone(4), None), None);
        assert_eq!(digests.lost(), [3, 0, 0]);

        let before = gone(5);
        fs::write(folder.path().join("new"), "other").unwrap();
        fs::rename(folder.path().join("new"), &path).unwrap();
        assert_eq!(said(&mut digests, &before, at(1_000_000_000)), None);
    }

    #[test]
    fn what_a_process_shows_after_another_exec_is_not_taken_for_what_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let (path, _) = sleeper(folder.path(), "");
        let (child, process) = runs(&path, 1);
        let mut digests = started();
        assert_eq!(digests.of(&process, None), None);
        while digests.lost() == [0; 3] {
            assert_eq!(digests.take(|_| false), []);
            thread::sleep(Duration::from_millis(10));
        }
        end(child);
        assert_eq!(digests.lost(), [1, 0, 0]);
    }
}

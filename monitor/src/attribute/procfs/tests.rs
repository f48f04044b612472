//! Processes as `/proc` tells of them, a fabricated one and the real one.

use std::{
    io::{ErrorKind, Write},
    os::{fd::AsRawFd, unix::fs::MetadataExt},
    process::{Child, Command, Stdio},
};

use rustix::fs::{MemfdFlags, memfd_create};

use super::*;
use crate::attribute::fake::{FakeProc, Fields};

#[test]
fn a_process_is_read_with_all_that_proc_tells_of_it() {
    let proc = FakeProc::new();
    proc.put(&Fields {
        pid: 42,
        parent: 7,
        start_ticks: 1234,
        comm: "odd) name(",
        uid: 1000,
        executable: Some("/usr/bin/odd"),
        command_line: b"/usr/bin/odd\0--flag\0a b\0",
        cgroup: "0::/system.slice/odd.service\n",
        netns: 4_026_531_840,
        ..Fields::default()
    });
    let reading = proc.procfs().read(42).unwrap();
    assert_eq!(reading.parent, 7);
    assert_eq!(reading.started_ns, 12_340_000_000);
    assert_eq!(reading.comm, "odd) name(");
    assert_eq!(reading.uid, 1000);
    assert_eq!(reading.executable.as_deref(), Some("/usr/bin/odd"));
    assert_eq!(reading.command_line.as_deref(), Some("/usr/bin/odd --flag a b"));
    assert_eq!(reading.netns, Some(4_026_531_840));
    assert_eq!(reading.mount_ns, Some(4_026_531_841));
    assert_eq!(reading.cgroup.unwrap().unit.as_deref(), Some("odd.service"));
    assert!(!reading.is_kernel_thread);
}

#[test]
fn a_kernel_thread_has_neither_executable_nor_command_line() {
    let proc = FakeProc::new();
    let flags = 0x0020_8040;
    proc.put(&Fields { pid: 9, parent: 2, comm: "kworker/0:1", flags, ..Fields::default() });
    let reading = proc.procfs().read(9).unwrap();
    assert!(reading.is_kernel_thread);
    assert_eq!(reading.executable, None);
    assert_eq!(reading.command_line, None);
}

#[test]
fn a_thread_is_not_taken_for_a_process() {
    let proc = FakeProc::new();
    proc.put(&Fields { pid: 43, tgid: Some(42), ..Fields::default() });
    assert_eq!(proc.procfs().read(43), None);
}

#[test]
fn a_long_command_line_is_cut_and_bad_utf8_replaced() {
    let proc = FakeProc::new();
    let mut long = vec![b'x'; 10_000];
    long[0] = 0xff;
    proc.put(&Fields { pid: 5, command_line: &long, ..Fields::default() });
    let line = proc.procfs().read(5).unwrap().command_line.unwrap();
    assert!(line.starts_with('\u{fffd}'));
    assert_eq!(line.chars().count() as u64, COMMAND_LINE_MAX);
}

#[test]
fn malformed_files_are_no_process() {
    let proc = FakeProc::new();
    proc.put(&Fields { pid: 5, ..Fields::default() });
    for (name, bytes) in
        [("stat", &b"5 (x"[..]), ("stat", b""), ("status", b"Uid:\tx\n"), ("status", b"\xff")]
    {
        let path = proc.path().join("5").join(name);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, bytes).unwrap();
        assert_eq!(proc.procfs().read(5), None, "{name}");
        fs::write(&path, whole).unwrap();
    }
    assert!(proc.procfs().read(5).is_some());
}

#[test]
fn a_real_child_is_read_from_the_real_proc() {
    let mut child =
        Command::new("cat").arg("-").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let procfs = Procfs::host();
    // It answers when its exec is over; before, /proc may show it without arguments.
    child.stdin.as_mut().unwrap().write_all(b"?").unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    let reading = procfs.read(child.id()).unwrap();
    let me = procfs.read(std::process::id()).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(reading.comm, "cat");
    assert_eq!(reading.parent, std::process::id());
    assert_eq!(reading.command_line.as_deref(), Some("cat -"));
    assert!(reading.executable.unwrap().starts_with('/'));
    assert!(reading.started_ns >= me.started_ns);
    assert!(reading.netns.is_some());
    assert_eq!(procfs.read(child.id()), None);
}

/// A program that runs until it is dropped.
struct Runs(Child);

impl Runs {
    fn start(path: &Path) -> Self {
        loop {
            // Another test may be forking while its copy is written to.
            match Command::new(path).stdin(Stdio::piped()).spawn() {
                Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => {}
                child => return Self(child.unwrap()),
            }
        }
    }

    fn read(&self) -> Reading {
        Procfs::host().read(self.0.id()).unwrap()
    }
}

impl Drop for Runs {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn id_of(path: &Path) -> FileId {
    let found = fs::metadata(path).unwrap();
    FileId { device: found.dev(), inode: found.ino() }
}

/// A copy of `cat`, which waits for its input.
fn program(directory: &Path, name: &str) -> PathBuf {
    let path = directory.join(name);
    fs::copy("/bin/cat", &path).unwrap();
    path
}

#[test]
fn a_file_whose_name_ends_as_that_of_a_removed_one_is_told_by_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = program(directory.path(), "snd (deleted)");
    let file = id_of(&path);
    let runs = Runs::start(&path);
    let told = |runs: &Runs| {
        let Reading { executable, file, .. } = runs.read();
        (executable.map(PathBuf::from), file)
    };
    assert_eq!(told(&runs), (Some(path.clone()), Some(file)));
    fs::remove_file(&path).unwrap();
    assert_eq!(told(&runs), (Some(path), Some(file)), "removed");
}

#[test]
fn what_ended_before_its_file_was_looked_at_has_no_path_that_may_be_of_a_removed_file() {
    let directory = tempfile::tempdir().unwrap();
    let ended = OwnedFd::from(File::open(directory.path()).unwrap());
    assert_eq!(executed(&ended, Some("/memfd:x (deleted)".into())), (None, None));
    assert_eq!(executed(&ended, Some("/usr/bin/x".into())), (Some("/usr/bin/x".into()), None));
}

#[test]
fn a_removed_file_keeps_its_path_also_where_it_has_another_name_left() {
    let directory = tempfile::tempdir().unwrap();
    let path = program(directory.path(), "snd");
    let file = id_of(&path);
    let runs = Runs::start(&path);
    fs::hard_link(&path, directory.path().join("other")).unwrap();
    fs::remove_file(&path).unwrap();
    // What has the longer name is another file.
    program(directory.path(), "snd (deleted)");
    let reading = runs.read();
    assert_eq!(reading.executable.map(PathBuf::from), Some(path));
    assert_eq!(reading.file, Some(file));
}

#[test]
fn a_program_that_is_in_no_directory_is_told_by_the_name_it_was_given() {
    let memory = memfd_create("odd", MemfdFlags::empty()).unwrap();
    fs::write(format!("/proc/self/fd/{}", memory.as_raw_fd()), fs::read("/bin/cat").unwrap())
        .unwrap();
    let runs = Runs::start(Path::new(&format!("/proc/self/fd/{}", memory.as_raw_fd())));
    let reading = runs.read();
    assert_eq!(reading.executable.as_deref(), Some("/memfd:odd"));
    assert!(reading.file.is_some());
}

//! What `geofenced demo` shows, and what it leaves behind: nothing. Needs root.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::Path,
    process::{Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const GEOFENCED: &str = env!("CARGO_BIN_EXE_geofenced");
/// Who owns nothing.
const NOBODY: u32 = 65534;

fn demo(folder: &Path) -> Command {
    let mut command = Command::new(GEOFENCED);
    command.arg("demo").env("TMPDIR", folder).stdin(Stdio::null());
    command
}

/// Files in the folder, and processes that were started from there.
fn left(folder: &Path) -> Vec<String> {
    let files = fs::read_dir(folder).expect("the folder").flatten().map(|it| it.path());
    let files = files.map(|path| path.display().to_string());
    let name = folder.to_str().expect("UTF-8").as_bytes();
    let processes = fs::read_dir("/proc").expect("/proc").flatten().filter(|entry| {
        let words = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        words.windows(name.len()).any(|part| part == name)
    });
    files.chain(processes.map(|it| it.path().display().to_string())).collect()
}

#[test]
fn the_demo_shows_who_sent_where_and_leaves_nothing() {
    let folder = TempDir::new().expect("a folder");
    let output = demo(folder.path()).output().expect("geofenced");
    let (shown, said) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{shown}\n{said}");
    let has =
        |words: &[&str]| shown.lines().any(|line| words.iter().all(|word| line.contains(word)));
    for words in [
        ["unapproved", "CN", "photo-sync", "203.0.113.10:443", "tcp"],
        ["unapproved", "RU", "chat-client", "[2001:db8:f::5]:443", "tcp"],
        ["approved", "US", "backup", "198.51.100.7:443", "tcp"],
        ["unapproved", "CN", "old-library", "203.0.113.11:443", "tcp"],
        ["unapproved", "CN", "telemetry", "203.0.113.77:8125", "udp"],
        ["unapproved", "CN", "camera", "203.0.113.1", "icmp"],
        ["unapproved", "RU", "tunneller", "2001:db8:f::9", "296 B"],
        ["CN", "resolver", "203.0.113.99:53", "udp", "attempt"],
    ] {
        assert!(has(&words), "{words:?}\n{shown}");
    }
    assert!(has(&["geofenced_violations_total", "country=\"RU\""]), "{shown}");
    assert!(said.contains("the violations were shown"), "{said}");
    assert_eq!(left(folder.path()), Vec::<String>::new());
}

#[test]
fn a_demo_that_is_interrupted_takes_its_daemon_along() {
    let folder = TempDir::new().expect("a folder");
    let mut child = demo(folder.path())
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("geofenced");
    let mut lines =
        BufReader::new(child.stderr.take().expect("piped")).lines().map_while(Result::ok);
    let started = lines.find(|line| line.contains("start the daemon"));
    assert!(started.is_some_and(|line| line.contains("ok")));
    kill_process(Pid::from_child(&child), Signal::TERM).expect("a signal");
    let rest: Vec<String> = lines.collect();
    assert_eq!(child.wait().expect("its end").code(), Some(1), "{rest:?}");
    assert!(rest.iter().any(|line| line.contains("interrupted; cleaned up")), "{rest:?}");
    assert_eq!(left(folder.path()), Vec::<String>::new());
}

#[test]
fn who_is_not_root_is_told_what_to_type() {
    let folder = TempDir::new().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("readable");
    let copy = folder.path().join("geofenced");
    fs::copy(GEOFENCED, &copy).expect("a copy that others may start");
    let output = Command::new(&copy).arg("demo").uid(NOBODY).output().expect("geofenced");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(said.contains("sudo geofenced demo"), "{said}");
}

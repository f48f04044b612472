//! What a station does by itself: urgent things first, a target that is full or gone, a link that is slow, and what
//! it says to who mistypes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

const TRIES: usize = 300;

fn fleet() -> Command {
    Command::new(env!("CARGO_BIN_EXE_geofenced-fleet"))
}

fn made(root: &Path, words: &[&str]) {
    let binary = Path::new(env!("CARGO_BIN_EXE_geofenced-fleet"));
    let mut made = Command::new(binary.parent().unwrap().join("examples/station"));
    made.arg(root.join("store")).arg("uav-1").arg(root.join("truth")).args(words);
    assert!(made.status().unwrap().success());
}

fn ship(root: &Path, to: &Path, words: &[&str]) -> Command {
    let mut ship = fleet();
    ship.arg("ship").arg("--store").arg(root.join("store")).arg("--state").arg(root.join("state"));
    ship.arg("--to").arg(to).args(words);
    ship
}

fn files(root: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(root) else { return Vec::new() };
    let all = entries.flatten().flat_map(|entry| {
        let path = entry.path();
        if path.is_dir() { files(&path) } else { vec![path] }
    });
    all.collect()
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_violation_is_told_of_before_it_is_signed_and_before_anything_else_goes() {
    let root = tempfile::tempdir().unwrap();
    let (root, to) = (root.path(), root.path().join("box"));
    fs::create_dir(&to).unwrap();
    made(root, &["records=4000", "ends=0", "segment=16384"]);
    // So slow that nothing but the first things gets through.
    let running = ship(root, &to, &["--limit", "20k"]).spawn().unwrap();
    let _running = Running(running);
    let began = Instant::now();
    for _ in 0..TRIES {
        let there = files(&to.join("uav-1"));
        if there.iter().any(|it| it.to_string_lossy().contains("/urgent/")) {
            let others = there.iter().filter(|it| it.to_string_lossy().contains("/segments/"));
            assert_eq!(others.count(), 0, "{there:?}");
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
    panic!("nothing urgent after {:?}: {:?}", began.elapsed(), files(&to));
}

#[test]
fn what_was_sent_is_not_sent_again_and_what_breaks_off_goes_on() {
    let root = tempfile::tempdir().unwrap();
    let (root, to) = (root.path(), root.path().join("box"));
    fs::create_dir(&to).unwrap();
    made(root, &["records=3000", "segment=16384"]);
    for _ in 0..8 {
        let child = ship(root, &to, &["--limit", "400k"]).stderr(Stdio::null()).spawn().unwrap();
        let running = Running(child);
        thread::sleep(Duration::from_millis(30));
        drop(running);
    }
    let ended = ship(root, &to, &["--once"]).output().unwrap();
    assert!(ended.status.success(), "{}", said(&ended));
    let segments = fs::read_dir(root.join("store/ledger")).unwrap().count();
    let names: Vec<String> = files(&to)
        .iter()
        .filter(|it| it.to_string_lossy().contains("/segments/"))
        .map(|it| it.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    for segment in 1..segments {
        let begins = format!("{segment:08}-");
        assert!(names.iter().any(|name| name.starts_with(&begins)), "{segment}: {names:?}");
    }
    // Emptied there, and nothing new here: nothing to say.
    fs::remove_dir_all(&to).unwrap();
    fs::create_dir(&to).unwrap();
    let ended = ship(root, &to, &["--once", "-v"]).output().unwrap();
    assert!(ended.status.success() && said(&ended).is_empty(), "{}", said(&ended));
    assert_eq!(files(&to), [] as [PathBuf; 0]);
}

#[test]
fn a_stick_that_is_not_there_is_an_error_that_says_so_and_what_was_to_go_goes_later() {
    let root = tempfile::tempdir().unwrap();
    let (root, to) = (root.path(), root.path().join("stick"));
    made(root, &["records=600"]);
    let ended = ship(root, &to, &["--once"]).output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert!(said(&ended).contains("there is no such directory"), "{}", said(&ended));
    assert!(!to.exists());
    fs::create_dir(&to).unwrap();
    assert!(ship(root, &to, &["--once"]).status().unwrap().success());
    assert!(!files(&to).is_empty());
}

#[test]
fn wrong_words_are_refused_with_what_is_right() {
    for (words, right) in [
        (&["ship", "--to", "ftp://x", "--once"][..], "s3://BUCKET/FOLDER"),
        (&["ship", "--to", "x", "--limit", "fast"], "write 20k, 64KiB or 1MiB"),
        (
            &["collect", "--from", "x", "--lake", "y", "--stations", "z", "--name", "a b"],
            "--name a b",
        ),
        (&["enrol"], "--store"),
    ] {
        let output = fleet().args(words).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(said(&output).contains(right), "{words:?}: {}", said(&output));
    }
    for command in ["ship", "collect", "status", "report", "enrol"] {
        let output = fleet().args([command, "--help"]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("Examples:"), "{command}: {text}");
    }
}

/// Runs within a mount namespace of its own, where a box has little room: it is emptied into another place each time
/// that it is full, as a stick is.
const LITTLE_ROOM: &str = r#"
set -eu
mount -t tmpfs -o size=64k none "$box"
carry() { cp -r "$box/." "$carried/"; find "$box" -type f -delete; }
until_said() { for _ in $(seq 600); do if grep -q "$1" "$log"; then return 0; fi; sleep 0.1; done; cat "$log"; exit 1; }
set -- "$fleet" ship --store "$store" --state "$state" --to "$box"
"$@" 2>"$log" & pid=$!
trap 'kill "$pid" 2>/dev/null || true' EXIT
until_said 'make room there; it is tried again'
carry
until_said 'it goes on'
kill "$pid"
wait "$pid" || true
full=0
for _ in $(seq 100); do
    if "$@" --once 2>"$log"; then carry; echo "$full"; exit 0; fi
    grep -q 'No space left on device' "$log" || { cat "$log"; exit 1; }
    full=$((full + 1))
    carry
done
exit 1
"#;

#[test]
fn a_target_that_is_full_is_told_of_nothing_is_lost_and_it_goes_on_when_there_is_room() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    made(root, &["records=6000", "segment=16384"]);
    let places = ["box", "carried", "stations"].map(|name| root.join(name));
    for place in &places {
        fs::create_dir(place).unwrap();
    }
    let [to, carried, stations] = &places;
    let mut within = Command::new("unshare");
    // Who is not root is so within.
    if !rustix::process::geteuid().is_root() {
        within.args(["--user", "--map-root-user"]);
    }
    within.args(["--mount", "sh", "-c", LITTLE_ROOM]);
    within.env("fleet", env!("CARGO_BIN_EXE_geofenced-fleet")).env("log", root.join("log"));
    within.env("box", to).env("carried", carried);
    within.env("store", root.join("store")).env("state", root.join("state"));
    let output = within.output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{told}{}", said(&output));
    let full: u32 = told.trim().parse().unwrap();
    assert!(full > 1, "it was full {full} times more");

    let enrolled = fleet().arg("enrol").arg("--store").arg(root.join("store")).output().unwrap();
    fs::write(stations.join("uav-1.pub"), enrolled.stdout).unwrap();
    let mut collect = fleet();
    collect.arg("collect").arg("--from").arg(carried).arg("--lake").arg(root.join("lake"));
    let collected = collect.arg("--stations").arg(stations).output().unwrap();
    assert!(collected.status.success(), "{}", said(&collected));
    let mut status = fleet();
    status.arg("status").arg("--lake").arg(root.join("lake")).arg("--stations").arg(stations);
    let status = status.args(["-o", "json"]).output().unwrap();
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["state"], "whole", "{status}");
    let segments = fs::read_dir(root.join("store/ledger")).unwrap().count();
    let held = fs::read_dir(root.join("lake/ledgers/uav-1/ledger")).unwrap().count();
    // The last is still written.
    assert_eq!(held, segments - 1);
}

fn ground(root: &Path, from: &Path, command: &str) -> Output {
    let stations = root.join("stations");
    if !stations.is_dir() {
        fs::create_dir(&stations).unwrap();
        let enrolled = fleet().arg("enrol").arg("--store").arg(root.join("store")).output();
        fs::write(stations.join("uav-1.pub"), enrolled.unwrap().stdout).unwrap();
    }
    let mut ground = fleet();
    ground.arg(command).arg("--lake").arg(root.join("lake")).arg("--stations").arg(stations);
    match command {
        "collect" => ground.arg("--from").arg(from),
        _ => ground.args(["-o", "json"]),
    };
    ground.output().unwrap()
}

#[test]
fn what_was_sent_again_and_lost_again_goes_once_more_and_is_missed_until_then() {
    let root = tempfile::tempdir().unwrap();
    let (root, to) = (root.path(), root.path().join("box"));
    fs::create_dir(&to).unwrap();
    made(root, &["records=600", "segment=16384"]);
    let leaves = to.join("uav-1/leaves");
    for _ in 0..3 {
        assert!(ship(root, &to, &["--once"]).status().unwrap().success());
        assert!(leaves.is_dir(), "they did not go once more");
        fs::remove_dir_all(&leaves).unwrap();
        assert!(ground(root, &to, "collect").status.success());
        let status = ground(root, &to, "status");
        assert_eq!(status.status.code(), Some(4));
        let told: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
        assert_eq!(told["state"], "missing", "{told}");
    }
    assert!(ship(root, &to, &["--once"]).status().unwrap().success());
    assert!(ground(root, &to, "collect").status.success());
    let told = ground(root, &to, "status").stdout;
    let told: serde_json::Value = serde_json::from_slice(&told).unwrap();
    assert_eq!(told["state"], "whole", "{told}");
}

#[test]
fn the_store_is_told_what_is_on_the_ground_and_of_nothing_else() {
    let root = tempfile::tempdir().unwrap();
    let (root, to) = (root.path(), root.path().join("box"));
    fs::create_dir(&to).unwrap();
    made(root, &["records=3000", "segment=16384"]);
    let told = || fs::read_to_string(root.join("state/on-the-ground")).unwrap();
    assert!(ship(root, &to, &["--once"]).status().unwrap().success());
    assert_eq!(told(), "geofenced ground 1\nuav-1\n", "sent is not arrived");
    assert!(ground(root, &to, "collect").status.success());
    assert!(ship(root, &to, &["--once"]).status().unwrap().success());
    let last = fs::read_dir(root.join("store/ledger")).unwrap().count() - 1;
    assert_eq!(told(), format!("geofenced ground 1\nuav-1\n1-{last}\n"));
}

//! Evidence as an auditor meets it: the command line on files, and verifiers that are not ours.

#[path = "records.rs"]
mod records;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use geofenced::inside::{
    config::{RecordMode, StoreConfig},
    event::{Entry, Notice, Timestamp},
    store::{Options, Store},
};
use serde_json::Value;
use tempfile::TempDir;

use records::{START, violation};

const MISSING: &str = "install the Debian packages `golang-go` and `golang-golang-x-mod-dev`; `cargo xtask test` does";

/// A host with a store, and a place for files.
struct Host {
    directory: TempDir,
    written: u64,
}

impl Host {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).display().to_string();
        let (store, socket) = (path("store"), path("none.sock"));
        let config = format!("[store]\npath = \"{store}\"\n[api]\nsocket = \"{socket}\"\n");
        fs::write(path("config.toml"), config).unwrap();
        Self { directory, written: 0 }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A daemon ran here for as many minutes, with a violation in each.
    fn lives(&mut self, minutes: u64) {
        let config = StoreConfig {
            path: self.path("store"),
            record: RecordMode::All,
            retention: Duration::from_hours(24 * 365),
            max_bytes: 64 << 20,
            sync: Duration::from_secs(10),
            shipping: None,
        };
        let options =
            Options { segment_bytes: 4_000, segment_age: Duration::from_hours(24), index: None };
        let mut store = Store::open_with(&config, options).unwrap();
        let at = |minute: u64| Timestamp(START.0 + minute * 60_000_000_000);
        let started =
            Notice::Started { version: "1".into(), probes: vec![], policy_sha256: [0; 32] };
        store.append(&Entry::Notice { at: at(self.written), notice: started }).unwrap();
        for _ in 0..minutes {
            let record = violation(self.written * 60);
            store.append(&Entry::Flow(record)).unwrap();
            let notice = Notice::Alive;
            store.append(&Entry::Notice { at: at(self.written), notice }).unwrap();
            store.sync().unwrap();
            self.written += 1;
        }
        let notice = Notice::Stopped;
        store.append(&Entry::Notice { at: at(self.written), notice }).unwrap();
        store.close().unwrap();
    }

    fn command(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_geofenced"));
        command.arg("--config").arg(self.path("config.toml")).args(words);
        command.current_dir(self.directory.path()).env("TZ", "UTC").output().unwrap()
    }

    /// What a command that succeeds says.
    fn say(&self, words: &[&str]) -> String {
        let output = self.command(words);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{words:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The exit code, and what is said of it.
    fn refuse(&self, words: &[&str]) -> (i32, String) {
        let output = self.command(words);
        let said = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(said).unwrap())
    }

    /// The last checkpoint, as a note.
    fn note(&self) -> String {
        let all = fs::read_to_string(self.path("store/evidence/checkpoints")).unwrap();
        let lines: Vec<&str> = all.lines().collect();
        lines[lines.len() - 5..].join("\n") + "\n"
    }

    fn flip(&self, file: &str, at: usize) {
        let path = self.path(file);
        let mut bytes = fs::read(&path).unwrap();
        bytes[at] ^= 1;
        fs::write(path, bytes).unwrap();
    }
}

const KEY: &str = "store/key.pub";

#[test]
fn a_store_is_intact_until_one_byte_of_it_is_another_and_then_the_block_is_named() {
    let mut host = Host::new();
    host.lives(20);
    let said = host.say(&["verify", "--key", KEY, "--fail-on-gap"]);
    assert!(said.starts_with("intact; ") && said.contains("watched: all of"), "{said}");
    let (exit, warned) = host.refuse(&["verify", "store"]);
    assert!(exit == 0 && warned.contains("WARNING: no --key"), "{warned}");

    let segment = "store/ledger/00000001.seg";
    let at = fs::metadata(host.path(segment)).unwrap().len() as usize - 1;
    host.flip(segment, at);
    let (exit, said) = host.refuse(&["verify", "--key", KEY, "-o", "json"]);
    assert_eq!(exit, 4);
    let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["kind"], "altered-block", "{said}");
    assert_eq!(lines[0]["segment"], 1);
    assert!(lines[0]["from"].is_string() && lines[0]["blocks"][0].is_u64());
    let verdict = lines.last().unwrap();
    assert_eq!((&verdict["intact"], &verdict["findings"]), (&false.into(), &1.into()));
    let (_, table) = host.refuse(&["verify", "--key", KEY]);
    assert!(table.contains("altered-block") && table.contains("NOT INTACT: 1 fault"), "{table}");
}

#[test]
fn a_gap_is_listed_and_counts_where_that_was_asked() {
    let mut host = Host::new();
    host.lives(3);
    host.written += 60;
    host.lives(3);
    let (exit, said) = host.refuse(&["verify", "--key", KEY, "-o", "json"]);
    assert_eq!(exit, 0, "{said}");
    let gap = said.lines().find(|line| line.contains("\"gap\"")).unwrap();
    assert!(gap.contains("stopped"), "{gap}");
    assert_eq!(host.refuse(&["verify", "--key", KEY, "--fail-on-gap"]).0, 4);
}

#[test]
fn nothing_is_believed_of_a_key_that_is_not_given() {
    let mut host = Host::new();
    host.lives(3);
    let other = Host::new();
    fs::write(host.path("empty"), "\n").unwrap();
    assert_eq!(host.refuse(&["verify", "--key", "empty"]).0, 2);
    assert_eq!(host.refuse(&["verify", "--key", "nothing-there"]).0, 2);
    fs::write(host.path("none"), "field+00000000+AAAA\n").unwrap();
    assert_eq!(host.refuse(&["verify", "--key", "none"]).0, 2);
    let stranger = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW\n";
    fs::write(host.path("stranger"), stranger).unwrap();
    let (exit, said) = host.refuse(&["verify", "--key", "stranger"]);
    assert!(exit == 4 && said.contains("unknown-key") && said.contains("no-checkpoint"), "{said}");
    assert_eq!(other.refuse(&["verify", "store", "--key", "x"]).0, 2);
}

#[test]
fn one_record_is_proven_by_two_files_and_the_key_alone() {
    let mut host = Host::new();
    host.lives(12);
    let id = violation(5 * 60).egress.flow.to_string();
    host.say(&["prove", &id, "--write", "case"]);
    let auditor = Host::new();
    for file in ["case.tlog-proof", "case.block"] {
        fs::copy(host.path(file), auditor.path(file)).unwrap();
    }
    fs::copy(host.path(KEY), auditor.path("key")).unwrap();
    let said = auditor.say(&["verify", "case.tlog-proof", "--key", "key", "-o", "json"]);
    let event: Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
    assert_eq!(event["event"]["id"], id);
    for (file, bytes) in [("case.tlog-proof", 60), ("case.block", 5), ("case.block", 140)] {
        auditor.flip(file, bytes);
        let (exit, said) = auditor.refuse(&["verify", "case.tlog-proof", "--key", "key"]);
        assert_eq!(exit, 4, "{file} {said}");
        auditor.flip(file, bytes);
    }
    let (exit, said) = host.refuse(&["prove", &"0".repeat(32)]);
    assert!(exit == 1 && said.contains("no record"), "{said}");
}

#[test]
fn a_witness_signs_what_goes_on_refuses_what_was_cut_and_its_word_shows_the_cut() {
    let mut host = Host::new();
    host.lives(10);
    let before: Vec<(PathBuf, Vec<u8>)> = files(&host.path("store"));
    host.lives(10);
    let station = Host::new();
    fs::copy(host.path(KEY), station.path("log.pub")).unwrap();
    let ask = |host: &Host, old: Option<&str>| {
        let old = old.map_or(vec![], |old| vec!["--old", old]);
        host.say(&[&["witness", "request", "--write", "request"][..], &old].concat());
        fs::copy(host.path("request"), station.path("request")).unwrap();
    };
    let sign = ["witness", "sign", "request", "--key", "s.key", "--state", "s.seen"];
    let named = [&sign[..], &["--name", "station"]].concat();
    ask(&host, None);
    let (exit, said) = station.refuse(&named);
    assert!(exit == 4 && said.contains("--log"), "{said}");
    let first = [&named[..], &["--log", "log.pub", "--write", "cosignature"]].concat();
    station.say(&first);
    let key = fs::read_to_string(station.path("s.pub")).unwrap();
    assert!(key.starts_with("station+"), "{key}");
    fs::copy(station.path("cosignature"), host.path("cosignature")).unwrap();
    let add = ["witness", "add", "cosignature", "--witness", key.trim_end()];
    host.say(&add);
    let verify = ["verify", "--key", KEY, "--witness", key.trim_end()];
    let said = host.say(&verify);
    let size = host.note().lines().nth(1).unwrap().to_owned();
    assert!(said.contains(&format!("witnessed: station saw {size} blocks")), "{said}");

    // It goes on, asked for from where it was seen.
    host.lives(2);
    ask(&host, None);
    let request = fs::read_to_string(host.path("request")).unwrap();
    assert!(request.starts_with(&format!("old {size}\n")), "{request}");
    station.say(&named);
    assert_eq!(host.refuse(&["witness", "add", "request", "--witness", &key]).0, 4);

    // The whole store is put back to what it was; but for what the witness signed, it is right by itself.
    let witnessed = fs::read(host.path("store/evidence/witnessed")).unwrap();
    fs::remove_dir_all(host.path("store")).unwrap();
    for (path, bytes) in before {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    host.say(&verify);
    ask(&host, Some("0"));
    let (exit, said) = station.refuse(&named);
    assert!(exit == 4 && said.contains("its end was cut"), "{said}");
    fs::write(host.path("seen"), &witnessed).unwrap();
    let (exit, said) = host.refuse(&[&verify[..], &["--witness", "seen"]].concat());
    assert!(exit == 4 && said.contains("cut-past-witness") && said.contains("station"), "{said}");
    // As it goes on from there, it is another ledger.
    host.lives(30);
    ask(&host, Some("0"));
    let (exit, said) = station.refuse(&named);
    assert!(exit == 4 && said.contains("ask again with --old"), "{said}");
    let seen = fs::read_to_string(station.path("s.seen")).unwrap();
    ask(&host, seen.split(' ').nth(1));
    let (exit, said) = station.refuse(&named);
    assert!(exit == 4 && said.contains("is not the ledger that was seen"), "{said}");
}

fn files(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let each = entries.flat_map(|path| {
        if path.is_dir() { files(&path) } else { vec![(path.clone(), fs::read(&path).unwrap())] }
    });
    each.collect()
}

#[test]
fn openssl_verifies_the_signature_by_the_lines_of_the_documentation() {
    let mut host = Host::new();
    host.lives(4);
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/evidence.md"));
    let page = page.unwrap();
    let (_, lines) = page.split_once("runs these very lines -->\n```sh\n").unwrap();
    let (lines, _) = lines.split_once("```").unwrap();
    let script = format!("set -e\n{lines}");
    let run = || {
        let mut shell = Command::new("sh");
        shell.args(["-c", &script]).current_dir(host.path("store")).output().unwrap()
    };
    let output = run();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("Verified Successfully"), "{said}");
    let checkpoints = "store/evidence/checkpoints";
    let text = fs::read_to_string(host.path(checkpoints)).unwrap();
    let size = text.lines().rev().nth(3).unwrap().to_owned();
    fs::write(host.path(checkpoints), text.replace(&format!("\n{size}\n"), "\n1\n")).unwrap();
    assert!(!run().status.success(), "an altered checkpoint is refused");
}

/// The reference implementation, built once a test.
fn go(host: &Host) -> PathBuf {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/evidence/verify.go");
    let program = host.path("verify-go");
    let mut build = Command::new("go");
    build.args(["build", "-o"]).arg(&program).arg(source);
    build.env("GO111MODULE", "off").env("GOPATH", "/usr/share/gocode").env("GOFLAGS", "");
    build.env("GOCACHE", host.path("cache")).env("CGO_ENABLED", "0");
    let output = build.output().expect(MISSING);
    assert!(output.status.success(), "{MISSING}: {}", String::from_utf8_lossy(&output.stderr));
    program
}

#[test]
fn the_reference_implementation_accepts_what_we_made_and_refuses_what_was_altered() {
    let mut host = Host::new();
    host.lives(7);
    fs::write(host.path("old"), host.note()).unwrap();
    let old = host.note().lines().nth(1).unwrap().to_owned();
    host.lives(14);
    fs::write(host.path("note"), host.note()).unwrap();
    host.say(&["witness", "request", "--old", &old, "--write", "request"]);
    let id = violation(3 * 60).egress.flow.to_string();
    host.say(&["prove", &id, "--write", "case"]);
    let program = go(&host);
    let is_accepted = |words: &[&str]| {
        let mut command = Command::new(&program);
        command.args(words).current_dir(host.directory.path()).output().unwrap().status.success()
    };
    let cases = [
        (vec!["checkpoint", KEY, "note"], vec!["note"]),
        (
            vec!["inclusion", KEY, "case.tlog-proof", "case.block"],
            vec!["case.tlog-proof", "case.block"],
        ),
        (vec!["consistency", KEY, "old", "request"], vec!["old", "request"]),
    ];
    for (words, inputs) in cases {
        assert!(is_accepted(&words), "{words:?}");
        for input in inputs {
            let text = fs::read(host.path(input)).unwrap();
            // Before the padding of base64 stand bits that say nothing.
            let says_all = |at: &usize| text.get(at + 1) != Some(&b'=');
            let bytes = text.len();
            for at in (0..bytes).step_by(bytes.div_ceil(40)).filter(says_all) {
                host.flip(input, at);
                assert!(!is_accepted(&words), "{words:?}: byte {at} of {input}");
                host.flip(input, at);
            }
        }
        assert!(is_accepted(&words), "put back: {words:?}");
    }
}

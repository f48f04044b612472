//! `verify` of an export that was handed over: each byte, file and signature that is not what it was is named.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use geofenced::inside::{ecs::hex, event::Entry};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{
    approved::approved,
    export::{Stored, paths, rollup, said},
    records::violation,
};

const FORMATS: [&str; 3] = ["ndjson", "ocsf", "parquet"];

fn stored() -> Stored {
    let records = (0..40).map(|it| if it % 3 == 0 { approved(it) } else { violation(it) });
    let sums = [rollup(1, "US", &violation(0)), rollup(2, "DE", &violation(0))];
    Stored::of(records.map(Entry::Flow).chain(sums.map(Entry::Rollup)))
}

/// An export, and the key that was kept elsewhere.
struct Taken {
    stored: Stored,
    folder: PathBuf,
    key: String,
    sha256: String,
}

impl Taken {
    fn new(format: &str) -> Self {
        let stored = stored();
        let folder = stored.export(format, &[]);
        let key = stored.path("kept.pub");
        fs::copy(folder.join("key.pub"), &key).unwrap();
        let manifest = fs::read(folder.join("manifest.json")).unwrap();
        let sha256 = hex(&Sha256::digest(manifest));
        Self { stored, folder, key: key.display().to_string(), sha256 }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Exit code and what was found: kind and file.
    fn verify(&self, more: &[&str]) -> (Option<i32>, Vec<(String, String)>, Value) {
        let words = ["verify", "-o", "json", "--key", &self.key, self.folder.to_str().unwrap()];
        let output = self.stored.run(&[&words, more].concat());
        let text = String::from_utf8(output.stdout.clone()).unwrap();
        let mut found: Vec<Value> =
            text.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
        let verdict = found.pop().unwrap_or_else(|| panic!("{}", said(&output)));
        let word = |it: &Value, name: &str| it[name].as_str().unwrap_or_default().to_owned();
        let found = found.iter().map(|it| (word(it, "kind"), word(it, "file"))).collect();
        (output.status.code(), found, verdict)
    }

    fn assert_found(&self, kind: &str, file: &str, what: &str) {
        let (code, found, verdict) = self.verify(&["--manifest", &self.sha256]);
        assert_eq!((code, &verdict["intact"]), (Some(4), &false.into()), "{what}: {found:?}");
        let is_named = found.iter().any(|it| it.0 == kind && it.1 == file);
        assert!(is_named, "{what} of {file}: {found:?}");
    }

    /// What somebody does who writes the manifest anew, too.
    fn write_manifest_anew(&self, name: &str) {
        let bytes = fs::read(self.path(name)).unwrap();
        let text = fs::read(self.path("manifest.json")).unwrap();
        let mut manifest: Value = serde_json::from_slice(&text).unwrap();
        let files = manifest["files"].as_array_mut().unwrap();
        let file = files.iter_mut().find(|it| it["path"] == name).unwrap();
        file["sha256"] = hex(&Sha256::digest(&bytes)).into();
        file["bytes"] = bytes.len().into();
        fs::write(self.path("manifest.json"), manifest.to_string()).unwrap();
    }
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x01;
    fs::write(path, bytes).unwrap();
}

#[test]
fn an_export_that_nobody_touched_is_intact_in_each_form() {
    for format in FORMATS {
        let taken = Taken::new(format);
        let (code, found, verdict) = taken.verify(&["--manifest", &taken.sha256[..8]]);
        assert_eq!((code, found), (Some(0), vec![]), "{format}");
        assert_eq!((&verdict["intact"], &verdict["records"]), (&true.into(), &40.into()));
        assert_eq!(verdict["rollups"], 2);
        assert_eq!(verdict["manifest_sha256"], taken.sha256.as_str());
        assert!(verdict["leaves"].as_u64() > Some(0), "{verdict}");
        assert!(verdict["signed"]["size"].as_u64() > Some(0), "{verdict}");
        let table = taken.stored.run(&["verify", taken.folder.to_str().unwrap()]);
        let text = String::from_utf8_lossy(&table.stdout).into_owned();
        assert!(text.starts_with("intact; an export of 40 records and 2 sums"), "{text}");
        assert!(said(&table).contains("WARNING: no --key"), "{}", said(&table));
    }
}

#[test]
fn a_byte_that_is_flipped_in_any_file_of_any_form_is_found_and_the_file_named() {
    for format in FORMATS {
        let taken = Taken::new(format);
        let files = paths(&taken.folder);
        assert!(files.len() >= 6, "{files:?}");
        for file in files {
            let path = taken.path(&file);
            let bytes = usize::try_from(fs::metadata(&path).unwrap().len()).unwrap();
            let kind = if file == "manifest.json" { "altered-manifest" } else { "altered-file" };
            for at in [0, bytes / 3, bytes - 1] {
                flip(&path, at);
                taken.assert_found(kind, &file, &format!("{format}: byte {at}"));
                flip(&path, at);
            }
        }
        assert_eq!(taken.verify(&[]).0, Some(0), "put back");
    }
}

#[test]
fn a_file_that_is_gone_or_cut_or_came_to_it_is_named() {
    let taken = Taken::new("ndjson");
    for file in paths(&taken.folder).into_iter().filter(|it| it != "manifest.json") {
        let aside = taken.stored.path("aside");
        fs::rename(taken.path(&file), &aside).unwrap();
        taken.assert_found("missing-file", &file, "removed");
        let bytes = fs::read(&aside).unwrap();
        fs::write(taken.path(&file), &bytes[..bytes.len() / 2]).unwrap();
        taken.assert_found("altered-file", &file, "cut");
        // The same bytes, but elsewhere: who reads it later may be given others.
        fs::remove_file(taken.path(&file)).unwrap();
        symlink(&aside, taken.path(&file)).unwrap();
        taken.assert_found("altered-file", &file, "a link");
        fs::remove_file(taken.path(&file)).unwrap();
        fs::rename(&aside, taken.path(&file)).unwrap();
    }
    let day = paths(&taken.folder).into_iter().find(|it| it.starts_with("day=")).unwrap();
    let beside = Path::new(&day).with_file_name("part-00007.ndjson").display().to_string();
    for extra in ["more", "evidence/leaves.9", beside.as_str()] {
        fs::write(taken.path(extra), "{}\n").unwrap();
        taken.assert_found("extra-file", extra, "added");
        fs::remove_file(taken.path(extra)).unwrap();
    }
    // A pipe is not waited for.
    let made = Command::new("mkfifo").arg(taken.path("pipe")).status().unwrap();
    assert!(made.success());
    taken.assert_found("extra-file", "pipe", "added");
    fs::remove_file(taken.path("pipe")).unwrap();
    assert_eq!(taken.verify(&[]).0, Some(0), "put back");
}

#[test]
fn a_manifest_that_was_written_anew_does_not_hide_what_the_signature_covers() {
    let taken = Taken::new("parquet");
    for file in ["evidence/leaves", "evidence/checkpoints"] {
        let kept = fs::read(taken.path(file)).unwrap();
        let manifest = fs::read(taken.path("manifest.json")).unwrap();
        // Of the first leaf, or of the root, which is the third line.
        let lines = kept.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        let root = lines.map(|(at, _)| at + 4).nth(1);
        flip(&taken.path(file), if file == "evidence/leaves" { 5 } else { root.unwrap() });
        taken.write_manifest_anew(file);
        let (code, found, _) = taken.verify(&[]);
        assert_eq!(code, Some(4), "{file}");
        assert!(found.iter().all(|it| it.0 != "altered-file"), "the manifest fits: {found:?}");
        let kinds: Vec<&str> = found.iter().map(|it| it.0.as_str()).collect();
        // One letter for another may be none of base64.
        let expected: &[&str] = match file {
            "evidence/leaves" => &["wrong-root"],
            _ => &["wrong-signature", "unreadable-checkpoint"],
        };
        assert!(kinds.iter().any(|kind| expected.contains(kind)), "{file}: {found:?}");
        let (code, found, _) = taken.verify(&["--manifest", &taken.sha256]);
        assert_eq!(code, Some(4));
        assert!(found.iter().any(|it| it.0 == "altered-manifest"), "it was noted: {found:?}");
        fs::write(taken.path(file), kept).unwrap();
        fs::write(taken.path("manifest.json"), manifest).unwrap();
    }
    // Leaves cut, and another host's key and checkpoints, of a ledger of its own.
    let leaves = fs::read(taken.path("evidence/leaves")).unwrap();
    fs::write(taken.path("evidence/leaves"), &leaves[..leaves.len() - 32]).unwrap();
    taken.write_manifest_anew("evidence/leaves");
    assert!(taken.verify(&[]).1.iter().any(|it| it.0 == "cut-leaves"));
    let other = Taken::new("parquet");
    for file in ["evidence/leaves", "evidence/checkpoints", "key.pub"] {
        fs::copy(other.path(file), taken.path(file)).unwrap();
        taken.write_manifest_anew(file);
    }
    let (code, found, _) = taken.verify(&[]);
    assert_eq!(code, Some(4));
    assert!(found.iter().any(|it| it.0 == "unknown-key"), "{found:?}");
}

#[test]
fn a_manifest_names_no_file_outside_of_its_export() {
    let taken = Taken::new("ndjson");
    let text = fs::read_to_string(taken.path("manifest.json")).unwrap();
    fs::write(taken.stored.path("outside"), "x").unwrap();
    for path in ["../outside", "/etc/hostname", "day=2027-01-15/../../outside"] {
        let mut manifest: Value = serde_json::from_str(&text).unwrap();
        let files = manifest["files"].as_array_mut().unwrap();
        files.push(serde_json::json!({"path": path, "sha256": "00", "bytes": 1}));
        fs::write(taken.path("manifest.json"), manifest.to_string()).unwrap();
        let (code, found, _) = taken.verify(&[]);
        assert_eq!(code, Some(4));
        assert_eq!(found, [("missing-file".to_owned(), path.to_owned())]);
    }
    fs::write(taken.path("manifest.json"), text).unwrap();
    let store = taken.stored.path("store").display().to_string();
    let no_export = taken.stored.run(&["verify", &store, "--manifest", &taken.sha256]);
    assert_eq!(no_export.status.code(), Some(2), "{}", said(&no_export));
}

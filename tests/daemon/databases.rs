//! `geofenced databases`: what is in force, and newer editions that come as files.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

const OPERATOR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/operator.bin");
/// Where the date of `operator.bin` stands.
const DATE_AT: usize = 28;
const DAY: u64 = 86_400;

/// A configuration whose databases lie in `taken`, and a folder `given` with newer ones.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::create_dir(place.at("given")).unwrap();
        let [taken, given, store] = ["taken", "given", "store"].map(|name| place.at(name));
        let text = format!(
            "[geo]\nfolders = ['{}']\nupdate_from = ['{}']\n[store]\npath = '{}'\n",
            taken.display(),
            given.display(),
            store.display()
        );
        fs::write(place.at("config.toml"), text).unwrap();
        place
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn asked(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_geofenced"));
        command.arg("--config").arg(self.at("config.toml")).args(words).output().unwrap()
    }

    /// The database of operators in force.
    fn operators(&self) -> Value {
        let listed = self.asked(&["databases", "-o", "json"]);
        let lines = String::from_utf8(listed.stdout).unwrap();
        let mut all = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        all.find(|it| it["label"] == "operator").unwrap()
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The date of the one in the program, and the same data `later` seconds later.
fn later(later: u64) -> (u64, Vec<u8>) {
    let mut bytes = fs::read(OPERATOR).unwrap();
    let date = &mut bytes[DATE_AT..DATE_AT + 8];
    let dated = u64::from_le_bytes((&*date).try_into().unwrap());
    date.copy_from_slice(&(dated + later).to_le_bytes());
    let end = bytes.len() - 32;
    let hash = Sha256::digest(&bytes[..end]);
    bytes[end..].copy_from_slice(&hash);
    (dated, bytes)
}

#[test]
fn a_newer_database_takes_the_place_of_the_one_in_the_program_and_is_told_of() {
    let place = Place::new();
    assert_eq!(place.operators()["path"], Value::Null);
    let checked = place.asked(&["databases", "update", "--check"]);
    assert_eq!(checked.status.code(), Some(1), "{checked:?}");
    assert!(said(&checked).contains("there is no database in"), "{checked:?}");

    let (_, newer) = later(DAY);
    fs::write(place.at("given/operator.bin"), &newer).unwrap();
    let checked = place.asked(&["databases", "update", "--check"]);
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
    assert!(!place.at("taken").exists(), "it was only asked");
    let updated = place.asked(&["databases", "update", "-o", "json"]);
    assert_eq!(updated.status.code(), Some(0), "{updated:?}");
    assert!(said(&updated).contains("systemctl reload geofenced"), "{updated:?}");
    let taken = place.at("taken/operator.bin");
    assert_eq!(fs::read(&taken).unwrap(), newer);
    assert_eq!(place.operators()["path"], taken.display().to_string());

    let again = place.asked(&["databases", "update", "--check"]);
    assert_eq!(again.status.code(), Some(1), "{again:?}");
    assert!(said(&again).contains("nothing is newer in"), "{again:?}");
}

#[test]
fn what_is_no_database_or_damaged_changes_nothing_and_the_reason_is_told() {
    let place = Place::new();
    let (_, newer) = later(DAY);
    let given = place.at("given/operator.bin");
    for (bytes, reason) in [
        (&b"no database, but of a length that one might have at the very least"[..], "no database"),
        (&newer[..newer.len() - 1], "SHA-256"),
        (&later(100_000 * DAY).1, "still to come"),
    ] {
        fs::write(&given, bytes).unwrap();
        let updated = place.asked(&["databases", "update"]);
        assert_eq!(updated.status.code(), Some(1), "{updated:?}");
        assert!(said(&updated).contains(reason), "{updated:?}");
        assert!(!place.at("taken").exists());
        // A timer that asks first is not to pass over it in silence.
        let checked = place.asked(&["databases", "update", "--check", "--quiet"]);
        assert_eq!(checked.status.code(), Some(0), "{checked:?}");
    }
    let nowhere = place.asked(&["databases", "update", "/no/such/place"]);
    assert_eq!(nowhere.status.code(), Some(2), "{nowhere:?}");
    assert!(said(&nowhere).contains("nothing at /no/such/place"), "{nowhere:?}");
    fs::write(place.at("config.toml"), "[geo]\nfolders = []\n").unwrap();
    let homeless = place.asked(&["databases", "update", place.at("given").to_str().unwrap()]);
    assert_eq!(homeless.status.code(), Some(2), "{homeless:?}");
    assert!(said(&homeless).contains("geo.folders"), "{homeless:?}");
}

/// A location database of IPv4 in which 0.0.0.0/1 is of AS15169, and in Germany.
fn location(path: &Path, dated: u64) {
    const NONE: u32 = u32::MAX;
    let mut nodes: Vec<[u32; 3]> = (1..=96_u32)
        .map(|next| if next > 80 { [0, next, NONE] } else { [next, 0, NONE] })
        .collect();
    nodes.extend([[97, 0, NONE], [0, 0, 0]]);
    let tree: Vec<u8> = nodes.into_iter().flatten().flat_map(u32::to_be_bytes).collect();
    let network = [&b"DE\0\0"[..], &15_169_u32.to_be_bytes(), &[0; 4]].concat();
    let system = [15_169_u32, 0].map(u32::to_be_bytes).concat();
    let parts: [&[u8]; 5] = [&system, &network, &tree, b"", b"Somebody Ltd.\0"];
    let mut out = b"LOCDBXX\x01".to_vec();
    out.extend(dated.to_be_bytes());
    out.extend([0; 12]);
    let mut at = 28 + 5 * 8;
    for part in parts {
        out.extend([at as u32, part.len() as u32].map(u32::to_be_bytes).concat());
        at += part.len();
    }
    out.extend(parts.concat());
    fs::write(path, out).unwrap();
}

#[test]
fn the_distributions_location_database_is_taken_where_it_is_newer() {
    let place = Place::new();
    let (dated, _) = later(0);
    location(&place.at("given/location.db"), dated);
    let same = place.asked(&["databases", "update"]);
    assert_eq!((same.status.code(), place.at("taken").exists()), (Some(0), false), "{same:?}");

    location(&place.at("given/location.db"), dated + DAY);
    let updated = place.asked(&["databases", "update"]);
    assert_eq!(updated.status.code(), Some(0), "{updated:?}");
    let name = place.operators()["name"].to_string();
    assert!(name.contains("IPFire Location Database") && name.contains("location.db"), "{name}");
    let located = place.asked(&["locate", "66.35.250.1", "-o", "json"]);
    let located: Value = serde_json::from_slice(&located.stdout).unwrap();
    let operator = &located["destination"]["as"];
    assert_eq!(operator["number"], 15_169, "{located}");
    // The registrant's country is the one that is known.
    assert_eq!(located["geofenced"]["operator_country"], "US", "{located}");
}

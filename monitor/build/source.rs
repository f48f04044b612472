//! What the probes are built from, as one hash: whether the committed object is of this source. Shared by
//! the build script of `monitor`, which must not embed another, and by `cargo xtask`, which makes it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

const FOLDER: &str = "monitor-ebpf";
/// Pins the versions of what the probes are made of.
const LOCK: &str = "Cargo.lock";
/// How the names of those packages begin.
const PINNED: [&str; 2] = ["aya-", "zerocopy"];

/// SHA-256 in hexadecimal over the path and the content of each file, in the order of their paths.
pub(crate) fn hash(workspace: &Path) -> io::Result<String> {
    let mut digest = Sha256::new();
    for file in files(workspace)? {
        let content = fs::read(&file)?;
        let path = file.strip_prefix(workspace).unwrap_or(&file).to_string_lossy().into_owned();
        add(&mut digest, path.as_bytes());
        add(&mut digest, &content);
    }
    let lock = fs::read_to_string(workspace.join(LOCK))?;
    for package in lock.split("[[package]]").filter(|package| is_pinned(package)) {
        add(&mut digest, package.trim().as_bytes());
    }
    Ok(hex(&digest.finalize()))
}

fn is_pinned(package: &str) -> bool {
    let name = package.trim_start().strip_prefix("name = \"");
    name.is_some_and(|name| PINNED.iter().any(|pin| name.starts_with(pin)))
}

/// Each part with its length before it, so that no two lists of parts are one text.
fn add(digest: &mut Sha256, part: &[u8]) {
    digest.update((part.len() as u64).to_le_bytes());
    digest.update(part);
}

/// The sources and the manifest of the probes, sorted.
pub(crate) fn files(workspace: &Path) -> io::Result<Vec<PathBuf>> {
    let folder = workspace.join(FOLDER);
    let mut found = vec![folder.join("Cargo.toml")];
    let mut folders = vec![folder.join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |four: u8| char::from_digit(four.into(), 16).unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// What is written beside the object: `name value` a line.
pub(crate) fn recorded<'a>(record: &'a str, name: &str) -> Option<&'a str> {
    record.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
}

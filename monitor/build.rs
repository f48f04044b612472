//! Tells the daemon where the probes' object is, and which commit it is built from.
//! It must build nothing: that is `cargo xtask build`.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// Another object than the one of `cargo xtask build`.
const OBJECT: &str = "GEOFENCED_PROBES";
/// The commit, where there is no repository: a tarball, a package.
const COMMIT: &str = "GEOFENCED_COMMIT";

fn main() {
    let object = object();
    println!("cargo::rerun-if-env-changed={OBJECT}");
    println!("cargo::rerun-if-changed={}", object.display());
    if !object.is_file() {
        println!("cargo::error=no probes at {}; run `cargo xtask build`", object.display());
        return;
    }
    println!("cargo::rustc-env=GEOFENCED_PROBES_OBJECT={}", object.display());

    println!("cargo::rerun-if-env-changed={COMMIT}");
    let commit = env::var(COMMIT).ok().or_else(commit).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env={COMMIT}={commit}");
}

/// An absolute path, because the compiler reads it relative to the file that names it. Of the
/// checkout that is built, not of the one this script was compiled in: a `target/` may be copied.
fn object() -> PathBuf {
    let package = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).unwrap_or_default();
    let workspace = package.parent().unwrap_or(&package);
    match env::var_os(OBJECT) {
        Some(path) => workspace.join(path),
        None => workspace.join("target/bpf/geofenced-probes.o"),
    }
}

/// Twelve digits of the commit, `-dirty` not told: that would build anew at every keystroke.
fn commit() -> Option<String> {
    // HEAD names a branch or a commit; its log grows when what it names moves.
    for name in ["HEAD", "logs/HEAD"] {
        let path = git(&["rev-parse", "--git-path", name])?;
        // Cargo builds anew each time where it is told to watch what is not there.
        if Path::new(&path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

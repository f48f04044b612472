//! Tells the daemon where the probes' object is, and which commit it is built from. It builds nothing, and
//! embeds no object of another source than that which lies here.
#![warn(clippy::unwrap_used)]

mod source;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Another object than the committed one, whatever it is made of.
const OBJECT: &str = "GEOFENCED_PROBES";
/// The commit, where there is no repository: a tarball, a package.
const COMMIT: &str = "GEOFENCED_COMMIT";

fn main() {
    println!("cargo::rerun-if-env-changed={OBJECT}");
    match object() {
        Ok(object) => println!("cargo::rustc-env=GEOFENCED_PROBES_OBJECT={}", object.display()),
        Err(why) => println!("cargo::error={why}"),
    }
    println!("cargo::rerun-if-env-changed={COMMIT}");
    let commit = env::var(COMMIT).ok().or_else(commit).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env={COMMIT}={commit}");
}

/// An absolute path, because the compiler reads it relative to the file that names it. Of the
/// checkout that is built, not of the one this script was compiled in: a `target/` may be copied.
fn object() -> Result<PathBuf, String> {
    let package = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).unwrap_or_default();
    let workspace = package.parent().unwrap_or(&package);
    if let Some(path) = env::var_os(OBJECT) {
        let object = workspace.join(path);
        println!("cargo::rerun-if-changed={}", object.display());
        let is_there = object.is_file();
        return is_there.then_some(object).ok_or_else(|| format!("{OBJECT} is no file"));
    }
    let [object, record] = ["probes.o", "probes.txt"].map(|it| package.join("assets").join(it));
    for path in [&object, &record] {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    let files = source::files(workspace).map_err(|error| format!("monitor-ebpf: {error}"))?;
    for file in &files {
        println!("cargo::rerun-if-changed={}", file.display());
    }
    let made_of = fs::read_to_string(&record).unwrap_or_default();
    let made_of = source::recorded(&made_of, "source");
    let is_here = source::hash(workspace).map_err(|error| format!("monitor-ebpf: {error}"))?;
    if made_of != Some(&is_here) {
        return Err(
            "monitor/assets/probes.o is not of this monitor-ebpf; run `cargo xtask probes`, which \
                    builds it (and installs the compiler that it takes)"
                .to_owned(),
        );
    }
    Ok(object)
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

//! The two builds: the probes for the kernel's machine, then the daemon with them inside.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{
    console::{Console, ask, say},
    host, paths, toolchain,
};

const TARGET: &str = "bpfel-unknown-none";

/// The workspace's release profile is made for the daemon. bpf-linker does its own link-time
/// optimisation over bitcode, wants all of the debug information (BTF is made of it), and there is
/// nothing to unwind in a kernel.
const PROFILE: [(&str, &str); 6] = [
    ("CARGO_PROFILE_RELEASE_LTO", "false"),
    ("CARGO_PROFILE_RELEASE_STRIP", "none"),
    ("CARGO_PROFILE_RELEASE_DEBUG", "2"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1"),
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "3"),
    ("CARGO_PROFILE_RELEASE_PANIC", "abort"),
];

#[derive(Debug, clap::Args)]
pub struct Args {
    /// `target/debug/geofenced` instead of the release
    #[arg(long)]
    debug: bool,
}

impl Args {
    pub fn profile(&self) -> Profile {
        if self.debug { Profile::Debug } else { Profile::Release }
    }
}

/// How the daemon is built. The probes have one profile only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    Debug,
    Release,
}

impl Profile {
    pub fn directory(self) -> PathBuf {
        paths::target().join(match self {
            Profile::Debug => "debug",
            Profile::Release => "release",
        })
    }
}

pub fn run(console: &Console, args: &Args) -> Result<()> {
    let binary = daemon(console, args.profile())?;
    say(format_args!("      {}", binary.display()));
    Ok(())
}

/// Builds everything that `geofenced` is made of; returns where it is.
pub fn daemon(console: &Console, profile: Profile) -> Result<PathBuf> {
    probes(console)?;
    let mut cargo = host::cargo();
    cargo.args(["build", "--locked", "--package", "monitor", "--bin", "geofenced"]);
    compile(console, "build geofenced", cargo, profile)?;
    Ok(profile.directory().join("geofenced"))
}

/// Builds an example of `monitor`; returns where it is.
pub fn example(console: &Console, name: &str, profile: Profile) -> Result<PathBuf> {
    let mut cargo = host::cargo();
    cargo.args(["build", "--locked", "--package", "monitor", "--example", name]);
    compile(console, &format!("build {name}"), cargo, profile)?;
    Ok(profile.directory().join("examples").join(name))
}

/// Builds a test of `monitor`; returns where it is, which only cargo knows.
pub fn test(console: &Console, name: &str, profile: Profile) -> Result<PathBuf> {
    let cargo = || {
        let mut cargo = host::cargo();
        cargo.args(["test", "--no-run", "--locked", "--package", "monitor", "--test", name]);
        cargo
    };
    compile(console, &format!("build the test {name}"), cargo(), profile)?;
    let mut again = cargo();
    again.arg("--message-format=json");
    if profile == Profile::Release {
        again.arg("--release");
    }
    let messages = ask(&mut again).unwrap_or_default();
    executable(&messages, name).with_context(|| format!("cargo does not say where {name} is"))
}

/// Of cargo's messages, one of JSON a line.
fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    messages.lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let is_it = message["target"]["name"] == name && message["profile"]["test"] == true;
        message["executable"].as_str().filter(|_| is_it).map(PathBuf::from)
    })
}

/// Builds the probes into [`paths::probes_object`].
pub fn probes(console: &Console) -> Result<()> {
    let built = object(console, "build the probes", "geofenced-probes").context(
        "the probes were not built (if bpf-linker and rustc differ in their LLVM: \
         GEOFENCED_EBPF_TOOLCHAIN=debian cargo xtask build)",
    )?;
    publish(&built, &paths::probes_object())
}

/// Builds what the probes are measured against; returns where it is.
pub fn empty_programs(console: &Console) -> Result<PathBuf> {
    object(console, "build empty programs", "geofenced-empty")
}

/// Builds a program of `monitor-ebpf` for the kernel's machine.
fn object(console: &Console, step: &str, binary: &str) -> Result<PathBuf> {
    let toolchain = toolchain::find_or_install(console)?;
    let mut cargo = toolchain.cargo(&paths::root().join("monitor-ebpf"));
    cargo
        .args(["build", "--release", "--locked", "-Z", "build-std=core", "--target", TARGET])
        .args(["--package", "monitor-ebpf", "--bin", binary])
        .env("CARGO_TARGET_DIR", paths::target().join("bpf"))
        .env("RUSTFLAGS", rustflags(host::arch()))
        .envs(PROFILE);
    console.step(step, &mut cargo)?;
    Ok(paths::target().join("bpf").join(TARGET).join("release").join(binary))
}

fn compile(console: &Console, name: &str, mut cargo: Command, profile: Profile) -> Result<()> {
    if profile == Profile::Release {
        cargo.arg("--release");
    }
    console.step(name, &mut cargo)
}

/// The linker's own way to copy is for the verifiers before 5.10 and has a price: whatever is set to zero or
/// compared is so byte by byte, in a function that is called.
fn rustflags(arch: &str) -> String {
    let linker = "-Clink-arg=--btf -Clink-arg=--disable-expand-memcpy-in-order";
    format!("--cfg=bpf_target_arch=\"{arch}\" -Cdebuginfo=2 {linker}")
}

/// Copies an object only where it changed: its time of change decides whether cargo builds the
/// daemon anew.
fn publish(built: &Path, published: &Path) -> Result<()> {
    let new = fs::read(built).with_context(|| format!("no probes at {}", built.display()))?;
    if fs::read(published).is_ok_and(|old| old == new) {
        return Ok(());
    }
    fs::write(published, new).with_context(|| format!("cannot write {}", published.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probes_are_told_the_architecture_and_keep_their_types() {
        let flags = rustflags("aarch64");
        assert!(flags.contains("--cfg=bpf_target_arch=\"aarch64\""));
        assert!(flags.contains("-Clink-arg=--btf ") && flags.contains("-Cdebuginfo=2"));
    }

    #[test]
    fn a_test_is_where_cargo_says() {
        let messages = "{\"target\":{\"name\":\"x\"},\"profile\":{\"test\":false},\"executable\":\"/no\"}\n\
                        {\"target\":{\"name\":\"x\"},\"profile\":{\"test\":true},\"executable\":\"/t/x-1\"}\n";
        assert_eq!(executable(messages, "x"), Some("/t/x-1".into()));
        assert_eq!(executable(messages, "y"), None);
    }

    #[test]
    fn an_object_that_did_not_change_keeps_its_time() {
        let directory = tempfile::tempdir().unwrap();
        let (built, published) = (directory.path().join("built"), directory.path().join("out"));
        fs::write(&built, "one").unwrap();
        publish(&built, &published).unwrap();
        let then = std::time::UNIX_EPOCH;
        fs::File::options().write(true).open(&published).unwrap().set_modified(then).unwrap();

        publish(&built, &published).unwrap();
        assert_eq!(fs::metadata(&published).unwrap().modified().unwrap(), then);

        fs::write(&built, "two").unwrap();
        publish(&built, &published).unwrap();
        assert_eq!(fs::read(&published).unwrap(), b"two");
        assert_ne!(fs::metadata(&published).unwrap().modified().unwrap(), then);
    }

    #[test]
    fn a_build_that_left_no_object_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing");
        assert!(publish(&missing, &directory.path().join("out")).is_err());
    }
}

//! bpf-linker, built from source against the LLVM of the compiler whose bitcode it reads.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    apt,
    console::{Console, ask, say},
    paths,
};

pub const VERSION: &str = "0.13.0";

/// The major versions of LLVM that bpf-linker [`VERSION`] can be built with.
const LLVM: std::ops::RangeInclusive<u32> = 21..=23;

/// The directory of a bpf-linker that the user installed.
pub fn in_path() -> Option<PathBuf> {
    let path = paths::which("bpf-linker")?;
    runs(&path).then(|| path.parent().map(PathBuf::from))?
}

/// The directory of one we built earlier, if it still starts: its LLVM may have been removed.
pub fn built(llvm: u32) -> Option<PathBuf> {
    let directory = root(llvm).join("bin");
    runs(&directory.join("bpf-linker")).then_some(directory)
}

/// Builds it with the given compiler, and installs the LLVM it is linked to. Takes minutes, once.
pub fn build(console: &Console, llvm: u32, cargo: &Path, rustc: &Path) -> Result<PathBuf> {
    if let Some(directory) = built(llvm) {
        return Ok(directory);
    }
    if !LLVM.contains(&llvm) {
        bail!("bpf-linker {VERSION} can't be built with LLVM {llvm}: put one that can into PATH");
    }
    let prefix = install_llvm(console, llvm)?;
    let root = root(llvm);
    let scratch = paths::target().join("bpf-linker");
    say(format_args!(
        "      building bpf-linker {VERSION} into {} (some minutes, once)",
        root.display()
    ));
    let mut command = Command::new(cargo);
    command
        .args(["install", &format!("bpf-linker@{VERSION}"), "--locked", "--force"])
        .args(["--no-default-features", "--features", &format!("llvm-{llvm}")])
        .arg("--root")
        .arg(&root)
        .env("RUSTC", rustc)
        .env("CARGO_TARGET_DIR", &scratch)
        .env("LLVM_PREFIX", &prefix)
        .env("PATH", paths::search_path(&[prefix.join("bin")]));
    for leak in ["RUSTUP_TOOLCHAIN", "CARGO", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS"] {
        command.env_remove(leak);
    }
    console.step(&format!("build bpf-linker {VERSION} with LLVM {llvm}"), &mut command)?;
    if scratch.exists() {
        fs::remove_dir_all(&scratch)?;
    }
    built(llvm).with_context(|| format!("{} was built but does not start", root.display()))
}

fn install_llvm(console: &Console, llvm: u32) -> Result<PathBuf> {
    let prefix = PathBuf::from(format!("/usr/lib/llvm-{llvm}"));
    let development = format!("llvm-{llvm}-dev");
    apt::install(
        console,
        &[
            (development.as_str(), "the LLVM that bpf-linker is linked to"),
            ("zlib1g-dev", "wanted by LLVM"),
            ("libzstd-dev", "wanted by LLVM"),
            ("g++", "the C++ library that LLVM is linked to"),
        ],
    )
    .with_context(|| {
        format!("bpf-linker needs LLVM {llvm}; or put a bpf-linker built with it into PATH")
    })?;
    if !prefix.join("bin/llvm-config").is_file() {
        bail!("{development} is installed, yet there is no {}/bin/llvm-config", prefix.display());
    }
    Ok(prefix)
}

fn root(llvm: u32) -> PathBuf {
    paths::tools().join(format!("bpf-linker-{VERSION}-llvm-{llvm}"))
}

fn runs(linker: &Path) -> bool {
    linker.is_file() && ask(Command::new(linker).arg("--version")).is_some()
}

//! Which compiler builds the probes: finds one that is ready, else installs one.
//!
//! Two ways, in this order: a nightly of rustup (aya's ordinary way), or Debian's own recent
//! compiler, which knows the unstable flags when asked to bootstrap. Either needs a `bpf-linker`
//! of its LLVM. See docs/decisions/0001-toolchain.md.

mod debian;
mod linker;
mod nightly;
mod version;

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};

use crate::{
    apt,
    console::{Console, say},
    paths,
};

/// Chooses a way by hand: `debian` or `nightly`.
const CHOICE: &str = "GEOFENCED_EBPF_TOOLCHAIN";

/// A compiler that can build the probes, ready to use.
#[derive(Debug)]
pub struct Toolchain {
    /// What starts its cargo.
    cargo: Vec<OsString>,
    /// Set where cargo would not find its own compiler.
    rustc: Option<PathBuf>,
    /// Where `bpf-linker` is.
    linker: PathBuf,
    /// For people.
    pub name: String,
}

impl Toolchain {
    /// A cargo that builds for `bpfel-unknown-none`, in `directory`.
    ///
    /// Nothing of the cargo that runs us may leak into it: that is another compiler.
    pub fn cargo(&self, directory: &Path) -> Command {
        let mut command = Command::new(&self.cargo[0]);
        command.args(&self.cargo[1..]).current_dir(directory);
        for (key, _) in env::vars_os() {
            if is_leak(&key.to_string_lossy()) {
                command.env_remove(key);
            }
        }
        if let Some(rustc) = &self.rustc {
            command.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1");
        }
        command.env("PATH", self.search_path());
        command
    }

    /// `bpf-linker` first; without rustup's shims where the compiler is not rustup's.
    fn search_path(&self) -> OsString {
        let all = paths::search_path(std::slice::from_ref(&self.linker));
        let kept = env::split_paths(&all)
            .filter(|dir| self.rustc.is_none() || !dir.join("rustup").exists());
        env::join_paths(kept).unwrap_or(all)
    }
}

/// The toolchain for the probes. Says what it installs and what it chose.
pub fn find_or_install(console: &Console) -> Result<Toolchain> {
    let choice = env::var(CHOICE).ok();
    let toolchain = match choice.as_deref() {
        Some("debian") => install_debian(console)?,
        Some("nightly") => install_nightly(console)?,
        Some(other) => bail!("{CHOICE} is {other:?}; it may be \"debian\" or \"nightly\""),
        None => match nightly::ready().or_else(debian::ready) {
            Some(ready) => ready,
            None if apt::exists() => install_debian(console).or_else(|debian| {
                if paths::which("rustup").is_none() {
                    return Err(debian);
                }
                say(format_args!("      {debian:#}"));
                install_nightly(console)
            })?,
            None if paths::which("rustup").is_some() => install_nightly(console)?,
            None => bail!(
                "no compiler for the probes: install rustup (https://rustup.rs), \
                 then run this again"
            ),
        },
    };
    say(format_args!("      probes are built with {}", toolchain.name));
    Ok(toolchain)
}

fn install_debian(console: &Console) -> Result<Toolchain> {
    debian::ready().map_or_else(|| debian::install(console), Ok)
}

fn install_nightly(console: &Console) -> Result<Toolchain> {
    nightly::ready().map_or_else(|| nightly::install(console), Ok)
}

fn is_leak(variable: &str) -> bool {
    const ALONE: [&str; 8] = [
        "CARGO",
        "RUSTUP_TOOLCHAIN",
        "RUSTC",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_TARGET_DIR",
        "LD_LIBRARY_PATH",
    ];
    ALONE.contains(&variable)
        || ["CARGO_BUILD_", "CARGO_PROFILE_", "CARGO_TARGET_", "CARGO_PKG_"]
            .iter()
            .any(|prefix| variable.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outer_cargo_does_not_leak_into_the_build_of_the_probes() {
        for variable in ["CARGO", "RUSTFLAGS", "CARGO_PROFILE_RELEASE_LTO", "RUSTUP_TOOLCHAIN"] {
            assert!(is_leak(variable), "{variable}");
        }
        // Without these it could not download anything.
        for variable in ["CARGO_HOME", "RUSTUP_HOME", "HTTPS_PROXY", "CARGO_NET_OFFLINE"] {
            assert!(!is_leak(variable), "{variable}");
        }
    }

    #[test]
    fn the_linker_comes_first_and_the_shims_of_rustup_are_left_out() {
        let toolchain = Toolchain {
            cargo: vec!["/usr/bin/cargo".into()],
            rustc: Some("/usr/bin/rustc".into()),
            linker: "/linker/bin".into(),
            name: String::new(),
        };
        let path = toolchain.search_path();
        let directories: Vec<PathBuf> = env::split_paths(&path).collect();
        assert_eq!(directories[0], Path::new("/linker/bin"));
        assert!(directories.iter().all(|dir| !dir.join("rustup").exists()));
    }
}

//! Where things are in this checkout, and where built tools are kept between checkouts.

use std::{env, ffi::OsString, path::PathBuf};

/// The root of the checkout. Cargo says where it is; the one this xtask was built from may be another,
/// where a target directory was copied or is shared.
pub fn root() -> PathBuf {
    let here = absolute("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    here.parent().map_or_else(|| here.clone(), PathBuf::from)
}

pub fn target() -> PathBuf {
    root().join("target")
}

/// Folders of who builds that a compiler writes into what it makes, and what is to stand there instead:
/// so that two people make the same of one source.
pub fn builders() -> Vec<(PathBuf, &'static str)> {
    let cargo = absolute("CARGO_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cargo")));
    let sources = cargo.map(|it| it.join("registry/src")).and_then(|it| it.read_dir().ok());
    let registries = sources.into_iter().flatten().flatten().map(|it| (it.path(), "/crates"));
    let rustup = absolute("RUSTUP_HOME").or_else(|| absolute("HOME").map(|it| it.join(".rustup")));
    let library = [(PathBuf::from("/usr/lib/rustlib/src/rust"), "/rust")];
    let ours = [(root(), "/geofenced")].into_iter();
    ours.chain(registries).chain(rustup.map(|it| (it, "/rustup"))).chain(library).collect()
}

/// Tools that take minutes to build, shared by the checkouts of one user:
/// `$XDG_CACHE_HOME/geofenced/tools`, else `~/.cache/geofenced/tools`, else `target/tools`.
pub fn tools() -> PathBuf {
    let cache = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|h| h.join(".cache")));
    cache.map_or_else(|| target().join("tools"), |dir| dir.join("geofenced/tools"))
}

/// `first` before everything in the `PATH` of this process, the system directories after it:
/// a user's `PATH` often lacks `/usr/sbin`, where `ip` and `nft` are.
pub fn search_path(first: &[PathBuf]) -> OsString {
    let inherited = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
    let all = first.iter().cloned().chain(env::split_paths(&inherited)).chain(system);
    // A directory with a colon in its name can't be in a PATH; then the inherited one must do.
    env::join_paths(all).unwrap_or(inherited)
}

/// The first program of this name in `PATH`.
pub fn which(program: &str) -> Option<PathBuf> {
    env::split_paths(&search_path(&[])).map(|dir| dir.join(program)).find(|path| path.is_file())
}

fn absolute(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute())
}

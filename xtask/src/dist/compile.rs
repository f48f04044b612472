//! The binary that is handed out: static, stripped, the same bytes wherever it is built, with the list of its
//! crates inside (`.dep-v0`). Must not depend on where the checkout is.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

use super::{Arch, product::Product};
use crate::{
    apt,
    console::{Console, ask, own, say},
    host, paths, probes,
};

const AUDITABLE: &str = "0.7.7";
const PROFILE: &str = "dist";

/// Builds it in this checkout; returns where it is.
pub fn binary(console: &Console, product: &Product, arch: Arch) -> Result<PathBuf> {
    probes::ensure_built(console)?;
    compile(console, product, arch, &paths::root())
}

/// Builds it again in another folder, of the same sources, and compares.
pub fn again(console: &Console, product: &Product, arch: Arch, first: &Path) -> Result<()> {
    let copy = paths::target().join("again");
    own("copy the sources", || copy_sources(&copy))?;
    let second = compile(console, product, arch, &copy)?;
    let is_same = fs::read(first)? == fs::read(&second)?;
    ensure!(is_same, "{} and {} differ", first.display(), second.display());
    say(format_args!(
        "      built twice in different folders: {} for {arch} is the same",
        product.name
    ));
    fs::remove_dir_all(&copy).with_context(|| format!("remove {}", copy.display()))
}

fn compile(console: &Console, product: &Product, arch: Arch, root: &Path) -> Result<PathBuf> {
    let (target, tools) = (arch.target(), auditable(console)?);
    toolchain(console, arch)?;
    let mut cargo = host::cargo();
    cargo.current_dir(root).env("PATH", paths::search_path(&[tools]));
    let name = product.name;
    cargo.args(["auditable", "build", "--locked", "--package", product.package, "--bin", name]);
    cargo.args(["--profile", PROFILE, "--target", target]);
    cargo.env("CARGO_ENCODED_RUSTFLAGS", remapped(root)?).env("CFLAGS", c_flags(root)?);
    cargo.env("SOURCE_DATE_EPOCH", epoch()?.to_string()).env("GEOFENCED_COMMIT", commit()?);
    if arch.is_foreign() {
        let foreign = target.replace('-', "_");
        let gnu = format!("{}-linux-gnu", arch.name());
        cargo.env(format!("CC_{foreign}"), format!("{gnu}-gcc"));
        cargo.env(format!("AR_{foreign}"), format!("{gnu}-ar"));
        let linker = format!("CARGO_TARGET_{}_LINKER", foreign.to_uppercase());
        cargo.env(linker, format!("{gnu}-gcc"));
    }
    console.step(&format!("build {name} for {arch}"), &mut cargo)?;
    let built = root.join("target").join(target).join(PROFILE).join(name);
    check(product, &built)?;
    if arch.is_foreign() {
        run_emulated(console, product, arch, &built)?;
    }
    Ok(built)
}

/// What would tell of the machine that built it, and what stands there instead.
fn prefixes(root: &Path) -> Result<Vec<(OsString, String)>> {
    let version = ask(Command::new("rustc").arg("-vV")).context("rustc -vV failed")?;
    let hash = version.lines().find_map(|line| line.strip_prefix("commit-hash: "));
    let sysroot = ask(Command::new("rustc").args(["--print", "sysroot"])).context("no sysroot")?;
    let library = Path::new(sysroot.trim()).join("lib/rustlib/src/rust");
    Ok(vec![
        (root.into(), "/geofenced".to_owned()),
        (cargo_home()?.into(), "/cargo".to_owned()),
        (library.into(), format!("/rustc/{}", hash.unwrap_or("unknown"))),
    ])
}

fn cargo_home() -> Result<PathBuf> {
    let set = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let default = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo"));
    set.or_else(default).context("neither CARGO_HOME nor HOME is set")
}

/// With 0x1f between them, so that a folder may have a space in its name.
fn remapped(root: &Path) -> Result<OsString> {
    let flags = prefixes(root)?.into_iter().map(|(from, to)| {
        let mut flag = OsString::from("--remap-path-prefix=");
        flag.push(from);
        flag.push(format!("={to}"));
        flag
    });
    Ok(flags.collect::<Vec<_>>().join(&OsString::from("\u{1f}")))
}

fn c_flags(root: &Path) -> Result<String> {
    let flags = prefixes(root)?.into_iter().map(|(from, to)| {
        let from = from.into_string().ok().context("a path is not UTF-8")?;
        ensure!(!from.contains(' '), "a C compiler can't be told of {from}, which has a space");
        Ok(format!("-ffile-prefix-map={from}={to}"))
    });
    Ok(flags.collect::<Result<Vec<_>>>()?.join(" "))
}

/// Seconds of the last commit: what is made of it has no other time.
pub fn epoch() -> Result<u64> {
    if let Ok(set) = std::env::var("SOURCE_DATE_EPOCH") {
        return set.parse().context("SOURCE_DATE_EPOCH is no number");
    }
    git(&["log", "-1", "--format=%ct"])?.parse().context("git tells no time of the commit")
}

fn commit() -> Result<String> {
    git(&["rev-parse", "--short=12", "HEAD"])
}

fn git(words: &[&str]) -> Result<String> {
    let told = ask(Command::new("git").args(words).current_dir(paths::root()));
    Ok(told.with_context(|| format!("git {} failed", words.join(" ")))?.trim().to_owned())
}

/// Files that git knows, as they are now.
fn copy_sources(copy: &Path) -> Result<()> {
    if copy.exists() {
        fs::remove_dir_all(copy)?;
    }
    let root = paths::root();
    for path in git(&["ls-files"])?.lines().map(Path::new) {
        let to = copy.join(path);
        fs::create_dir_all(to.parent().unwrap_or(copy))?;
        if root.join(path).exists() {
            fs::copy(root.join(path), &to).with_context(|| format!("copy {}", path.display()))?;
        }
    }
    Ok(())
}

/// What is promised of it.
fn check(product: &Product, binary: &Path) -> Result<()> {
    let bytes = fs::read(binary).with_context(|| format!("no binary at {}", binary.display()))?;
    let (size, shown) = (bytes.len() as u64, binary.display());
    ensure!(
        size <= product.bytes_most,
        "{shown} has {size} bytes; {} is the most",
        product.bytes_most
    );
    let told = told_paths(&bytes, &paths_of_builder()?);
    ensure!(told.is_empty(), "{shown} tells where it was built: {}", told.join(", "));
    ensure!(find(&bytes, b".dep-v0"), "{shown} has no list of its crates");
    let needs_loader = [&b"/lib64/ld-linux"[..], b"/lib/ld-linux", b"/lib/ld-musl"];
    ensure!(!needs_loader.iter().any(|it| find(&bytes, it)), "{shown} is not static");
    Ok(())
}

fn paths_of_builder() -> Result<Vec<String>> {
    let home = std::env::var("HOME").unwrap_or_default();
    let all = [paths::root().display().to_string(), cargo_home()?.display().to_string(), home];
    Ok(all.into_iter().filter(|path| path.len() > 1).map(|path| path + "/").collect())
}

fn told_paths(bytes: &[u8], paths: &[String]) -> Vec<String> {
    paths.iter().filter(|path| find(bytes, path.as_bytes())).cloned().collect()
}

fn find(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fn run_emulated(console: &Console, product: &Product, arch: Arch, binary: &Path) -> Result<()> {
    apt::install(console, &[("qemu-user-static", "runs a binary of another architecture once")])?;
    let emulator = format!("qemu-{}-static", arch.name());
    let said = ask(Command::new(emulator).arg(binary).arg("--version"));
    let said = said.with_context(|| format!("{} does not run", binary.display()))?;
    ensure!(said.starts_with(&format!("{} ", product.name)), "{} says {said}", binary.display());
    Ok(())
}

/// The standard library for the target, and a compiler of C for it.
fn toolchain(console: &Console, arch: Arch) -> Result<()> {
    let target = arch.target();
    let gcc = format!("gcc-{}-linux-gnu", arch.name().replace('_', "-"));
    let libc = format!("libc6-dev-{}-cross", arch.debian());
    if arch.is_foreign() {
        apt::install(
            console,
            &[(&gcc, "C of another architecture: zstd"), (&libc, "headers for it")],
        )?;
    } else {
        apt::install(console, &[("musl-tools", "musl-gcc: zstd, for a static binary")])?;
    }
    let libdir = ask(Command::new("rustc").args(["--print", "target-libdir", "--target", target]));
    if libdir.is_some_and(|path| Path::new(path.trim()).is_dir()) {
        return Ok(());
    }
    if paths::which("rustup").is_none() {
        bail!("the standard library for {target} is missing, and there is no rustup to get it");
    }
    let mut rustup = Command::new("rustup");
    console.step(&format!("install {target}"), rustup.args(["target", "add", target]))
}

fn auditable(console: &Console) -> Result<PathBuf> {
    let root = paths::tools().join("cargo-auditable");
    let directory = root.join("bin");
    if directory.join("cargo-auditable").is_file() {
        return Ok(directory);
    }
    let mut cargo = host::cargo();
    cargo.args(["install", "cargo-auditable", "--locked", "--version", AUDITABLE, "--root"]);
    console.step("install cargo-auditable", cargo.arg(&root))?;
    Ok(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_the_builder_is_found_wherever_it_stands() {
        let paths = ["/home/ana/".to_owned(), "/src/geofenced/".to_owned()];
        let bytes = b"\0/cargo/registry\0/home/ana/.cargo\0/src/geofence";
        assert_eq!(told_paths(bytes, &paths), ["/home/ana/"]);
        assert!(told_paths(b"", &paths).is_empty());
    }

    #[test]
    fn each_folder_is_called_the_same_on_every_machine() {
        let flags = remapped(Path::new("/somewhere else")).unwrap().into_string().unwrap();
        let flags: Vec<&str> = flags.split('\u{1f}').collect();
        assert_eq!(flags[0], "--remap-path-prefix=/somewhere else=/geofenced");
        assert!(flags[1].ends_with("=/cargo"), "{flags:?}");
    }
}

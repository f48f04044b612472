//! The probes' object: committed, stripped, with the hash of its source beside it, so that who does not touch
//! the probes needs no compiler for them. Builds it anew where the source is another, and compares.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use sha2::{Digest as _, Sha256};

use crate::{
    console::{Console, say},
    paths, strip, toolchain,
};

#[path = "../../monitor/build/source.rs"]
mod source;

const TARGET: &str = "bpfel-unknown-none";
/// Whose registers a probe on a function of the kernel would read. Ours read none, so one object serves
/// every machine; what it is called with is fixed, because its name is in the object.
const MACHINE: &str = "x86_64";

/// The workspace's release profile is made for the daemon. bpf-linker does its own link-time
/// optimisation over bitcode, wants all of the debug information (BTF is made of it), and there is
/// nothing to unwind in a kernel.
const PROFILE: [(&str, &str); 7] = [
    // Whoever builds incrementally elsewhere would have another object.
    ("CARGO_INCREMENTAL", "0"),
    ("CARGO_PROFILE_RELEASE_LTO", "false"),
    ("CARGO_PROFILE_RELEASE_STRIP", "none"),
    ("CARGO_PROFILE_RELEASE_DEBUG", "2"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1"),
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "3"),
    ("CARGO_PROFILE_RELEASE_PANIC", "abort"),
];

/// `cargo xtask probes`.
pub fn run(console: &Console) -> Result<()> {
    let built = build(console)?;
    built.publish()?;
    say(format_args!("      {}", object_file().display()));
    Ok(())
}

/// Leaves the committed object as it is where it is of this source.
pub fn ensure_built(console: &Console) -> Result<()> {
    let record = Record::read();
    let object = fs::read(object_file()).unwrap_or_default();
    if record.is_some_and(|it| {
        source_hash().is_ok_and(|now| now == it.source) && it.object == hash(&object)
    }) {
        return Ok(());
    }
    say("      monitor-ebpf is not what monitor/assets/probes.o was built from: it is built anew");
    build(console)?.publish()
}

/// Builds it anew, and says whether the committed one is the same to the byte. Two compilers make two
/// objects: where it was made by another than is here, there is nothing to compare.
pub fn compare(console: &Console) -> Result<()> {
    let built = build(console)?;
    let committed = fs::read(object_file()).context("monitor/assets/probes.o")?;
    let record = Record::read().context("monitor/assets/probes.txt can't be read")?;
    ensure!(
        record.source == built.record.source && record.object == hash(&committed),
        "monitor/assets/probes.o is not of this monitor-ebpf; run: cargo xtask probes"
    );
    if record.made_by != built.record.made_by {
        say(format_args!(
            "      the committed probes were made by {}: not compared to what {} makes",
            record.made_by, built.record.made_by
        ));
        return Ok(());
    }
    if committed != built.object {
        let other = paths::target().join("xtask/probes.o");
        fs::write(&other, &built.object).with_context(|| format!("write {}", other.display()))?;
        bail!(
            "monitor/assets/probes.o is not what {} makes of monitor-ebpf, which is {}; run: cargo xtask probes",
            record.made_by,
            other.display()
        );
    }
    say("      the committed probes are what their source makes, to the byte");
    Ok(())
}

/// Builds what the probes are measured against; returns where it is.
pub fn empty_programs(console: &Console) -> Result<PathBuf> {
    Ok(compile(console, "build empty programs", "geofenced-empty")?.0)
}

struct Built {
    object: Vec<u8>,
    record: Record,
}

impl Built {
    fn publish(&self) -> Result<()> {
        // Its time of change decides whether cargo builds the daemon anew.
        if fs::read(object_file()).is_ok_and(|old| old == self.object) {
            return self.record.write();
        }
        fs::write(object_file(), &self.object).context("cannot write monitor/assets/probes.o")?;
        self.record.write()
    }
}

fn build(console: &Console) -> Result<Built> {
    let (file, made_by) = compile(console, "build the probes", "geofenced-probes").context(
        "the probes were not built (if bpf-linker and rustc differ in their LLVM: \
         GEOFENCED_EBPF_TOOLCHAIN=debian cargo xtask probes)",
    )?;
    let linked = fs::read(&file).with_context(|| format!("no probes at {}", file.display()))?;
    let object = strip::debug_information(&linked)?;
    let record = Record { source: source_hash()?, object: hash(&object), made_by };
    Ok(Built { object, record })
}

/// Builds a program of `monitor-ebpf`; returns where it is, and what made it.
fn compile(console: &Console, step: &str, binary: &str) -> Result<(PathBuf, String)> {
    let toolchain = toolchain::find_or_install(console)?;
    let mut cargo = toolchain.cargo(&paths::root().join("monitor-ebpf"));
    cargo
        .args(["build", "--release", "--locked", "-Z", "build-std=core", "--target", TARGET])
        .args(["--package", "monitor-ebpf", "--bin", binary])
        .env("CARGO_TARGET_DIR", paths::target().join("bpf"))
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags(&paths::builders()).join("\x1f"))
        .envs(PROFILE);
    console.step(step, &mut cargo)?;
    let file = paths::target().join("bpf").join(TARGET).join("release").join(binary);
    Ok((file, toolchain.name))
}

/// The linker's own way to copy is for the verifiers before 5.10 and has a price: whatever is set to zero or
/// compared is so byte by byte, in a function that is called.
///
/// `builders`: folders of who builds, and what stands in the object instead of each.
fn rustflags(builders: &[(PathBuf, &str)]) -> Vec<String> {
    let fixed = [
        &format!("--cfg=bpf_target_arch=\"{MACHINE}\""),
        "-Cdebuginfo=2",
        "-Clink-arg=--btf",
        "-Clink-arg=--disable-expand-memcpy-in-order",
    ];
    let remap = |(folder, name): &(PathBuf, &str)| {
        format!("--remap-path-prefix={}={name}", folder.display())
    };
    fixed.into_iter().map(str::to_owned).chain(builders.iter().map(remap)).collect()
}

/// What stands beside the object.
struct Record {
    source: String,
    object: String,
    made_by: String,
}

impl Record {
    fn read() -> Option<Record> {
        let text = fs::read_to_string(record_file()).ok()?;
        let value = |name| source::recorded(&text, name).map(str::to_owned);
        Some(Record {
            source: value("source")?,
            object: value("object")?,
            made_by: value("made-by")?,
        })
    }

    fn write(&self) -> Result<()> {
        let Record { source, object, made_by } = self;
        let text = format!("source {source}\nobject {object}\nmade-by {made_by}\n");
        fs::write(record_file(), text).context("cannot write monitor/assets/probes.txt")
    }
}

fn source_hash() -> Result<String> {
    source::hash(&paths::root()).context("monitor-ebpf can't be read")
}

fn hash(bytes: &[u8]) -> String {
    source::hex(&Sha256::digest(bytes))
}

fn object_file() -> PathBuf {
    paths::root().join("monitor/assets/probes.o")
}

fn record_file() -> PathBuf {
    paths::root().join("monitor/assets/probes.txt")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probes_keep_their_types_and_forget_who_built_them() {
        let flags = rustflags(&[("/home/some one/checkout".into(), "/geofenced")]);
        for flag in ["--cfg=bpf_target_arch=\"x86_64\"", "-Clink-arg=--btf", "-Cdebuginfo=2"] {
            assert!(flags.iter().any(|it| it == flag), "{flag}");
        }
        let remap = "--remap-path-prefix=/home/some one/checkout=/geofenced";
        assert!(flags.iter().any(|it| it == remap));
    }

    #[test]
    fn the_committed_object_is_of_the_source_that_lies_beside_it() {
        let record = Record::read().unwrap();
        assert_eq!(record.source, source_hash().unwrap(), "run: cargo xtask probes");
        assert_eq!(record.object, hash(&fs::read(object_file()).unwrap()));
    }

    #[test]
    fn the_committed_object_names_no_folder_of_who_built_it() {
        let object = fs::read(object_file()).unwrap();
        for (folder, _) in paths::builders() {
            let folder = folder.to_string_lossy().into_owned();
            let is_in = object.windows(folder.len()).any(|part| part == folder.as_bytes());
            assert!(!is_in, "{folder}");
        }
    }

    #[test]
    fn another_source_has_another_hash() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("monitor-ebpf/Cargo.toml", "");
        write("monitor-ebpf/src/main.rs", "one");
        write(
            "Cargo.lock",
            "[[package]]\nname = \"aya-ebpf\"\nversion = \"1\"\n[[package]]\nname = \"x\"\n",
        );
        let hash = || source::hash(root.path()).unwrap();
        let first = hash();
        write("monitor-ebpf/src/main.rs", "two");
        let second = hash();
        write(
            "Cargo.lock",
            "[[package]]\nname = \"aya-ebpf\"\nversion = \"2\"\n[[package]]\nname = \"x\"\n",
        );
        let third = hash();
        assert!(first != second && second != third);
        write(
            "Cargo.lock",
            "[[package]]\nname = \"aya-ebpf\"\nversion = \"2\"\n[[package]]\nname = \"y\"\n",
        );
        assert_eq!(hash(), third, "what is not in the probes is not in their hash");
    }
}

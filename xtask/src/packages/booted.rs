//! The package in an emulated machine whose Debian root systemd boots, on this architecture or another: installed,
//! at work, booted again, its power cut, upgraded, purged. What must hold stands in tests/packages/booted.sh.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use sha2::{Digest as _, Sha256};

use super::{DEBS, SUITE, TOOLS, arch_of, base, debootstrap, put};
use crate::{
    apt,
    console::{Console, own, say},
    dist::Arch,
    host, paths,
    vm::disk::Station,
};

/// It ends by itself after each: of its own accord, or because its power is cut.
const BOOTS: [&str; 3] = ["installs", "is booted again", "lost its power"];
const UNIT: &str = "packages-test.service";
/// On the kernel's command line; what comes after the words that say where its console is.
const WORDS: &str = "systemd.show_status=0 systemd.log_level=notice";

pub(super) fn try_out(console: &Console, deb: &Path, kernel: &str) -> Result<()> {
    ensure!(host::is_root(), "a Debian root is made as root: run this as root");
    apt::install(console, &TOOLS)?;
    apt::install(
        console,
        &[("e2fsprogs", "mkfs.ext4: a disk"), ("kmod", "depmod: the kernel's modules")],
    )?;
    let arch = arch_of(deb)?;
    let folder = paths::target().join("packages").join(format!("machine-{arch}"));
    let station = Station::new(console, &arch, kernel, &folder)?;
    let base = base_disk(console, &station, &arch, &folder)?;
    let tree = folder.join("parcel");
    own("two packages", || parcel(&station, deb, &tree))?;
    let parcel = station.disk(console, "parcel", &tree)?;
    let disk = folder.join("disk.ext4");
    let mut copy = Command::new("cp");
    console.step("copy the disk", copy.arg("--sparse=always").arg(&base).arg(&disk))?;
    for boot in BOOTS {
        let said = station.boot(boot, &[&disk, &parcel], WORDS)?;
        for line in told(&said) {
            say(line);
        }
        ensure!(
            said.lines().any(|line| line == "done"),
            "the package where systemd boots: see above"
        );
    }
    fs::remove_file(&disk).with_context(|| format!("remove {}", disk.display()))
}

/// On one architecture the console of the kernel is on the same line.
fn told(said: &str) -> impl Iterator<Item = &str> {
    said.lines().filter(|line| ["      ", "FAIL", "|"].iter().any(|it| line.starts_with(it)))
}

/// With a root of `arch` that is whole, made once.
fn base_disk(console: &Console, station: &Station, arch: &str, folder: &Path) -> Result<PathBuf> {
    let made = folder.join("base.ext4");
    if made.exists() {
        return Ok(made);
    }
    if arch == Arch::of_host()?.debian() {
        let disk = station.disk(console, "whole", &base(console)?)?;
        fs::rename(disk, &made)?;
        return Ok(made);
    }
    let unpacked = folder.join("unpacked");
    if unpacked.exists() {
        fs::remove_dir_all(&unpacked)?;
    }
    let mut foreign = debootstrap(&unpacked, &["--foreign", &format!("--arch={arch}")]);
    console.step(&format!("debootstrap {SUITE} for {arch}"), &mut foreign)?;
    let disk = station.disk(console, "unpacked", &unpacked)?;
    fs::remove_dir_all(&unpacked)?;
    let said = station.boot("installs Debian", &[&disk], "")?;
    let last = said.lines().last().unwrap_or_default();
    ensure!(said.lines().any(|line| line == "done"), "Debian was not installed: {last}");
    fs::rename(disk, &made)?;
    Ok(made)
}

/// The database in the program, as if its data were a day younger.
fn newer_database() -> Result<Vec<u8>> {
    /// Where its date stands (monitor/assets/src/country.rs), before the hash of all at the end.
    const DATE: std::ops::Range<usize> = 20..28;
    let mut bytes = fs::read(paths::root().join("monitor/assets/country.bin"))?;
    let end = bytes.len().checked_sub(32).context("no database")?;
    let dated = u64::from_le_bytes(bytes[DATE].try_into()?) + 86_400;
    bytes[DATE].copy_from_slice(&dated.to_le_bytes());
    let hash = Sha256::digest(&bytes[..end]);
    bytes[end..].copy_from_slice(&hash);
    Ok(bytes)
}

/// What is put into the root at the first boot.
fn parcel(station: &Station, deb: &Path, tree: &Path) -> Result<()> {
    if tree.exists() {
        fs::remove_dir_all(tree)?;
    }
    put(deb, &tree.join("packages"), &["booted.sh"])?;
    fs::create_dir(tree.join("packages/databases"))?;
    fs::write(tree.join("packages/databases/country.bin"), newer_database()?)?;
    let modules = station.modules()?;
    let target = tree.join("usr/lib/modules");
    fs::create_dir_all(&target)?;
    super::succeed(Command::new("cp").arg("-a").arg(&modules).arg(&target))?;
    let release = modules.file_name().context("modules have no release")?;
    super::succeed(Command::new("depmod").arg("-b").arg(tree.join("usr")).arg(release))?;
    let units = tree.join("etc/systemd/system");
    let wanted = units.join("multi-user.target.wants");
    fs::create_dir_all(&wanted)?;
    let [this, newer] = DEBS;
    let unit = format!(
        "[Service]\nType=simple\n\
         ExecStart=/bin/bash /packages/booted.sh /packages/{this} /packages/{newer}\n\
         Environment=LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive\n"
    );
    fs::write(units.join(UNIT), unit)?;
    std::os::unix::fs::symlink(Path::new("..").join(UNIT), wanted.join(UNIT))?;
    // Where a port is the guest's voice, nobody logs in.
    std::os::unix::fs::symlink("/dev/null", units.join("serial-getty@.service"))?;
    Ok(())
}

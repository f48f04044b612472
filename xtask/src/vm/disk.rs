//! A machine with a disk: a Debian root that systemd boots, and a parcel that is copied into it at the first boot.
//! What is in them and what must hold is the caller's; this makes the disks and boots.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use super::{
    FOREIGN, PACKAGES,
    archive::{Archive, Kernel},
    guest, initramfs,
    machine::Machine,
};
use crate::{
    apt,
    console::{Console, own},
    paths,
};

/// Sparse: only what is written takes place.
const DISK: &str = "3G";
const LIMIT: Duration = Duration::from_mins(45);

#[derive(Debug)]
pub struct Station {
    machine: Machine,
    kernel: Kernel,
    initramfs: PathBuf,
    folder: PathBuf,
}

impl Station {
    /// With Debian's kernel of a version, for `arch` of Debian's; `folder` is where its disks are.
    pub fn new(console: &Console, arch: &str, version: &str, folder: &Path) -> Result<Self> {
        let name = if arch == "amd64" { version.to_owned() } else { format!("{arch}:{version}") };
        let machine: Machine = name.parse().map_err(anyhow::Error::msg)?;
        apt::install(console, &PACKAGES)?;
        if machine.flavour.is_arm64() {
            apt::install(console, &FOREIGN)?;
        }
        let work = super::directory();
        fs::create_dir_all(&work)?;
        let archive = Archive::open(console, &work, machine.flavour)?;
        let kernel = archive.fetch(console, &machine.kernel)?;
        let busybox = if machine.flavour.is_arm64() {
            archive.busybox(console)?
        } else {
            paths::which("busybox").context("busybox is not installed")?
        };
        fs::create_dir_all(folder)?;
        let made = own(&format!("initramfs to a disk, {arch}"), || {
            let plain = initramfs::make_to_disk(folder, &busybox)?;
            initramfs::with_modules(folder, &plain, &kernel)
        });
        Ok(Self { machine, kernel, initramfs: made?, folder: folder.to_owned() })
    }

    /// Where the kernel's modules are, to be put into a root.
    pub fn modules(&self) -> Result<PathBuf> {
        self.kernel.modules().context("the kernel's package holds no modules")
    }

    /// A disk that holds what `tree` holds.
    pub fn disk(&self, console: &Console, name: &str, tree: &Path) -> Result<PathBuf> {
        let disk = self.folder.join(format!("{name}.ext4"));
        let _ = fs::remove_file(&disk);
        let mut make = Command::new("mkfs.ext4");
        make.args(["-q", "-F", "-d"]).arg(tree).arg(&disk).arg(DISK);
        console.step(&format!("disk {name}"), &mut make)?;
        Ok(disk)
    }

    /// Boots, and returns what was written to its transcript, when it has ended.
    pub fn boot(&self, what: &str, disks: &[&Path], words: &str) -> Result<String> {
        let transcript = self.folder.join(format!("{}.transcript", what.replace(' ', "-")));
        own(&format!("{} boots: {what}", self.machine), || {
            let ended = guest::boot_disk(
                &self.machine,
                (&self.kernel, &self.initramfs),
                disks,
                &transcript,
                LIMIT,
                words,
            )?;
            let said = fs::read(&transcript).unwrap_or_default();
            let said = String::from_utf8_lossy(&said).replace('\r', "");
            if !ended {
                let lines: Vec<&str> = said.lines().collect();
                let last = lines[lines.len().saturating_sub(40)..].join("\n      | ");
                bail!("it did not end; the last of what it said:\n      | {last}");
            }
            Ok(said)
        })
    }
}

//! The guest's file system: a shell, the daemon, the generator and the test of every way out with the
//! tools that it wants and the libraries they are linked to, what tests/vm holds, and the kernel's own
//! modules of networks. Only the modules differ from kernel to kernel.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use super::archive::Kernel;
use crate::{console::ask, paths};

/// What the init script uses of busybox, and the kernel itself (`modprobe`).
const APPLETS: [&str; 17] = [
    "cat", "date", "depmod", "dmesg", "grep", "mkdir", "modprobe", "mount", "poweroff", "sed",
    "sh", "sleep", "stty", "sync", "timeout", "uname", "wget",
];
/// What the tests' harness makes networks with.
const TOOLS: [&str; 3] = ["ip", "nft", "ethtool"];
const DIRECTORIES: [&str; 10] = [
    "bin",
    "dev",
    "etc/geofenced",
    "proc",
    "run/geofenced",
    "sbin",
    "sys",
    "tmp",
    "var/lib",
    "var/tmp",
];
/// Below a kernel's `kernel`: where what makes networks is, with what it needs.
const MODULES: [&str; 11] = [
    "net",
    "lib",
    "crypto",
    "arch/x86/crypto",
    "arch/arm64/crypto",
    "drivers/net/vxlan",
    // And a disk.
    "drivers/block",
    "drivers/virtio",
    "fs/ext4",
    "fs/jbd2",
    "fs/netfs",
];
/// The same, without what lies below.
const DEVICES: [&str; 2] = ["drivers/net", "fs"];

/// What is run in a guest, as it was built.
#[derive(Debug)]
pub(super) struct Programs {
    pub(super) geofenced: PathBuf,
    pub(super) egress: PathBuf,
    /// The test of every way out. It looks for the generator as it does here, and for the daemon where it
    /// was when the test was built.
    pub(super) ways: Option<PathBuf>,
}

/// What is run in a guest of another architecture, each linked statically: nothing of this machine's runs there.
#[derive(Debug)]
pub(super) struct Foreign {
    pub(super) geofenced: PathBuf,
    pub(super) egress: PathBuf,
    pub(super) busybox: PathBuf,
}

/// Makes `initramfs-arm64` in `work`, for a short course; returns where it is.
pub(super) fn make_foreign(work: &Path, programs: &Foreign) -> Result<PathBuf> {
    let root = work.join("root-arm64");
    prepare(&root, &programs.busybox)?;
    // The guest needs no more of it than busybox has.
    symlink("busybox", root.join("bin/ip"))?;
    for (name, program) in [("geofenced", &programs.geofenced), ("egress", &programs.egress)] {
        copy(program, &root.join("bin").join(name))?;
    }
    finish(&root, &work.join("initramfs-arm64"))
}

/// Makes `initramfs-disk` in `work`, which finds a disk and goes on there.
pub(super) fn make_to_disk(work: &Path, busybox: &Path) -> Result<PathBuf> {
    let root = work.join("root-disk");
    prepare(&root, busybox)?;
    enter(&root, "disk")?;
    pack(&root, &work.join("initramfs-disk"))
}

/// Makes `initramfs` in `work`; returns where it is.
pub(super) fn make(work: &Path, programs: &Programs) -> Result<PathBuf> {
    let root = work.join("root");
    prepare(&root, &paths::which("busybox").context("busybox is not installed")?)?;
    let daemon = root.join("bin/geofenced");
    // Where that test looks for it; below /tmp, where the guest mounts a file system, nothing else would find it.
    let place = programs.ways.as_ref().map(|_| below(&root, &programs.geofenced));
    let mut installed = vec![
        (programs.geofenced.clone(), place.clone().unwrap_or_else(|| daemon.clone())),
        (programs.egress.clone(), root.join("ways/examples/egress")),
    ];
    let ways = programs.ways.clone();
    installed.extend(ways.map(|it| (it, root.join("ways/deps/coverage"))));
    for name in TOOLS {
        let tool = paths::which(name).with_context(|| format!("{name} is not installed"))?;
        installed.push((tool, root.join("bin").join(name)));
    }
    for (program, target) in installed {
        copy(&program, &target)?;
        for library in libraries(&program)? {
            copy(&library, &below(&root, &library))?;
        }
    }
    if place.is_some() {
        symlink(&programs.geofenced, daemon)?;
    }
    symlink("../ways/examples/egress", root.join("bin/egress"))?;
    finish(&root, &work.join("initramfs"))
}

/// A fresh folder with a shell.
fn prepare(root: &Path, busybox: &Path) -> Result<()> {
    if root.exists() {
        fs::remove_dir_all(root)?;
    }
    for directory in DIRECTORIES {
        fs::create_dir_all(root.join(directory))?;
    }
    copy(busybox, &root.join("bin/busybox"))?;
    for applet in APPLETS {
        symlink("busybox", root.join("bin").join(applet))?;
    }
    symlink("../bin/busybox", root.join("sbin/modprobe"))?;
    Ok(())
}

/// What the guest does, and with which configuration.
fn finish(root: &Path, image: &Path) -> Result<PathBuf> {
    let own = paths::root().join("tests/vm");
    enter(root, "init")?;
    for name in ["config.toml", "egress"] {
        copy(&own.join(name), &root.join("etc/geofenced").join(name))?;
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/:/bin/sh\n")?;
    pack(root, image)
}

/// The script of tests/vm that the kernel starts.
fn enter(root: &Path, script: &str) -> Result<()> {
    let init = root.join("init");
    copy(&paths::root().join("tests/vm").join(script), &init)?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// `image` with the modules of `kernel`, which is where the kernel looks for them.
pub(super) fn with_modules(work: &Path, image: &Path, kernel: &Kernel) -> Result<PathBuf> {
    let modules = kernel.modules().context("the kernel's package holds no modules")?;
    let root = work.join("modules");
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    let release = modules.file_name().context("modules have no release")?;
    let (from, to) =
        (modules.join("kernel"), root.join("lib/modules").join(release).join("kernel"));
    let mut copied = 0;
    for directory in MODULES {
        copied += copy_modules(&from.join(directory), &to.join(directory), true)?;
    }
    for directory in DEVICES {
        copied += copy_modules(&from.join(directory), &to.join(directory), false)?;
    }
    if copied == 0 {
        bail!("no modules below {}", from.display());
    }
    for list in ["modules.builtin", "modules.order"] {
        let (list, target) =
            (modules.join(list), root.join("lib/modules").join(release).join(list));
        // Packages from 7 on come without; then depmod finds nothing built in.
        if list.is_file() {
            copy(&list, &target)?;
        } else {
            fs::write(target, "")?;
        }
    }
    let whole = work.join(format!("{}.initramfs", kernel.version));
    let packed = pack(&root, &work.join("modules.initramfs"))?;
    // The kernel unpacks one archive after the other.
    let mut bytes = fs::read(image)?;
    bytes.extend(fs::read(packed)?);
    fs::write(&whole, bytes)?;
    Ok(whole)
}

/// How many were copied; where there is no such directory, none.
fn copy_modules(from: &Path, to: &Path, is_deep: bool) -> Result<usize> {
    let mut copied = 0;
    for entry in fs::read_dir(from).into_iter().flatten().flatten() {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copied += if is_deep { copy_modules(&path, &target, true)? } else { 0 };
        } else if entry.file_name().to_string_lossy().contains(".ko") {
            copy(&path, &target)?;
            copied += 1;
        }
    }
    Ok(copied)
}

/// Where an absolute path is in the guest.
fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// busybox has a cpio, and the kernel takes an archive that is not compressed.
fn pack(root: &Path, image: &Path) -> Result<PathBuf> {
    let file = fs::File::create(image)?;
    let status = Command::new("busybox")
        .args(["sh", "-c", "find . | cpio -o -H newc"])
        .current_dir(root)
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(Stdio::null())
        .status()
        .context("cannot start busybox")?;
    if !status.success() {
        bail!("busybox cpio failed: {status}");
    }
    Ok(image.to_owned())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    Ok(())
}

fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let listed = ask(Command::new("ldd").arg(program))
        .with_context(|| format!("ldd can't say what {} is linked to", program.display()))?;
    Ok(parse_ldd(&listed))
}

/// Lines are `libc.so.6 => /lib/libc.so.6 (0x..)`, and `/lib64/ld-linux-x86-64.so.2 (0x..)`.
fn parse_ldd(listed: &str) -> Vec<PathBuf> {
    let paths = listed.lines().filter_map(|line| {
        let place = line.split("=> ").last()?;
        place.split_whitespace().next().filter(|path| path.starts_with('/'))
    });
    paths.map(PathBuf::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_those_with_a_path() {
        let listed = "\tlinux-vdso.so.1 (0x00007f5b214b3000)\n\
                      \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f5b20e1e000)\n\
                      \t/lib64/ld-linux-x86-64.so.2 (0x00007f5b214b5000)\n";
        let expected = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"];
        assert_eq!(parse_ldd(listed), expected.map(PathBuf::from));
        assert!(parse_ldd("\tstatically linked\n").is_empty());
    }
}

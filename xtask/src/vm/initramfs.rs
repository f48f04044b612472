//! The guest's file system: a shell, the two programs with the libraries they are linked to, and
//! what tests/vm holds. The same image for every kernel; no modules.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::{console::ask, paths};

/// What the init script uses of busybox.
const APPLETS: [&str; 14] = [
    "cat", "date", "grep", "ip", "mount", "poweroff", "sed", "sh", "sleep", "stty", "sync",
    "timeout", "uname", "wget",
];
const DIRECTORIES: [&str; 9] =
    ["bin", "dev", "etc/geofenced", "proc", "run/geofenced", "sys", "tmp", "var/lib", "var/tmp"];

/// Makes `initramfs` in `work`; returns where it is.
pub(super) fn make(work: &Path, geofenced: &Path, egress: &Path) -> Result<PathBuf> {
    let root = work.join("root");
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    for directory in DIRECTORIES {
        fs::create_dir_all(root.join(directory))?;
    }
    let busybox = paths::which("busybox").context("busybox is not installed")?;
    copy(&busybox, &root.join("bin/busybox"))?;
    for applet in APPLETS {
        symlink("busybox", root.join("bin").join(applet))?;
    }
    for (program, name) in [(geofenced, "geofenced"), (egress, "egress")] {
        copy(program, &root.join("bin").join(name))?;
        for library in libraries(program)? {
            let target = root.join(library.strip_prefix("/").unwrap_or(&library));
            copy(&library, &target)?;
        }
    }
    let own = paths::root().join("tests/vm");
    copy(&own.join("init"), &root.join("init"))?;
    fs::set_permissions(root.join("init"), fs::Permissions::from_mode(0o755))?;
    for name in ["config.toml", "egress"] {
        copy(&own.join(name), &root.join("etc/geofenced").join(name))?;
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/:/bin/sh\n")?;
    pack(&root, &work.join("initramfs"))
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

//! tracefs for the attaching thread: where it is, or a mount of it that only this thread sees.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rustix::{
    mount::{MountFlags, MountPropagationFlags, mount, mount_change},
    thread::{UnshareFlags, unshare_unsafe},
};

const TRACEFS: &str = "/sys/kernel/tracing";
const DEBUGFS: &str = "/sys/kernel/debug/tracing";

fn mounted() -> Option<PathBuf> {
    [TRACEFS, DEBUGFS].into_iter().map(PathBuf::from).find(|path| path.join("events").is_dir())
}

/// Makes tracefs visible to the calling thread, and only to it: where nobody mounted it, the thread
/// leaves for a mount namespace of its own. Call on a thread that ends soon.
pub(super) fn provide() -> io::Result<PathBuf> {
    if let Some(path) = mounted() {
        return Ok(path);
    }
    // SAFETY: the thread gives up sharing its mounts and working directory; no descriptors change.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }?;
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::DOWNSTREAM)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("tracefs", TRACEFS, "tracefs", flags, None)?;
    Ok(TRACEFS.into())
}

/// Offset of a field in a tracepoint's record, from its `format` file.
pub(super) fn field_offset(
    tracefs: &Path,
    category: &str,
    event: &str,
    field: &str,
) -> Option<usize> {
    let format = tracefs.join("events").join(category).join(event).join("format");
    parse_offset(&fs::read_to_string(format).ok()?, field)
}

/// Lines are `field:pid_t pid; offset:8; size:4; signed:1;`, separated by tabs.
fn parse_offset(format: &str, field: &str) -> Option<usize> {
    format.lines().find_map(|line| {
        let mut parts = line.trim().split(';').map(str::trim);
        let declaration = parts.next()?.strip_prefix("field:")?;
        let name = declaration.rsplit([' ', '\t']).next()?.split('[').next()?;
        let offset = parts.next()?.strip_prefix("offset:")?;
        if name == field { offset.parse().ok() } else { None }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_read_from_a_format_file() {
        let format = "name: task_newtask\nformat:\n\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\n\tfield:pid_t pid;\toffset:8;\tsize:4;\tsigned:1;\n\tfield:char comm[16];\toffset:12;\tsize:16;\tsigned:0;\n\tfield:unsigned long clone_flags;\toffset:32;\tsize:8;\tsigned:0;\n";
        assert_eq!(parse_offset(format, "clone_flags"), Some(32));
        assert_eq!(parse_offset(format, "comm"), Some(12));
        assert_eq!(parse_offset(format, "flags"), None);
    }
}

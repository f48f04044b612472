//! What a unit's `SystemCallFilter=` allows, as systemd's own tool expands its groups.

use std::{collections::BTreeSet, process::Command};

/// Whether the numbers of system calls are known for this machine: the header that lists them is
/// plain on x86-64 alone.
pub(crate) const ARE_KNOWN: bool = cfg!(target_arch = "x86_64");

/// Names allowed by these settings, taken in order: a list to allow, then lists to take away.
pub(crate) fn allowed(settings: &[String]) -> BTreeSet<String> {
    // Every allow list contains these (systemd.exec(5)).
    let mut allowed = group("@default");
    for setting in settings {
        let (takes_away, names) = match setting.strip_prefix('~') {
            Some(names) => (true, names),
            None => (false, setting.as_str()),
        };
        for name in names.split(' ') {
            for call in group(name) {
                if takes_away {
                    allowed.remove(&call);
                } else {
                    allowed.insert(call);
                }
            }
        }
    }
    allowed
}

/// A group's system calls, those of the groups it contains among them; a call's own name.
fn group(name: &str) -> BTreeSet<String> {
    if !name.starts_with('@') {
        return BTreeSet::from([name.to_owned()]);
    }
    let output = Command::new("systemd-analyze")
        .args(["syscall-filter", "--no-pager", name])
        .output()
        .expect("systemd-analyze runs; it comes with: apt-get install systemd");
    let text = String::from_utf8(output.stdout).unwrap();
    let members = text.lines().skip(1).map(str::trim);
    members.filter(|line| !line.is_empty() && !line.starts_with('#')).flat_map(group).collect()
}

/// Numbers of these on this machine; names of other architectures have none.
pub(crate) fn numbers(names: &BTreeSet<String>) -> Vec<u32> {
    const HEADER: &str = "/usr/include/x86_64-linux-gnu/asm/unistd_64.h";
    if !ARE_KNOWN {
        return Vec::new();
    }
    let header = std::fs::read_to_string(HEADER)
        .unwrap_or_else(|error| panic!("{HEADER}: {error}; apt-get install linux-libc-dev"));
    let number = |line: &str| {
        let (name, number) = line.strip_prefix("#define __NR_")?.split_once(' ')?;
        names.contains(name).then(|| number.trim().parse().ok())?
    };
    header.lines().filter_map(number).collect()
}

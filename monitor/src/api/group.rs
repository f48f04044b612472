//! The group whose members may ask. It opens no socket.

use std::fs;

use rustix::{
    process::{Gid, getegid, getgroups},
    thread::set_thread_groups,
};

/// Its members may ask.
const NAME: &str = "geofenced";
const FILE: &str = "/etc/group";

/// Makes this thread a member of the socket's group, while it may: the unit's daemon is one, that of whoever
/// starts it by hand is not, and could give the socket to the group no more once its rights are given up.
pub fn join() {
    let Some(group) = id().map(Gid::from_raw) else { return };
    let mut groups = getgroups().unwrap_or_default();
    if getegid() == group || groups.contains(&group) {
        return;
    }
    groups.push(group);
    if let Err(error) = set_thread_groups(&groups) {
        tracing::debug!("not a member of group {NAME}: {error}");
    }
}

pub(super) fn id() -> Option<u32> {
    of(&fs::read_to_string(FILE).unwrap_or_default(), NAME)
}

/// group(5): `name:password:gid:members`.
fn of(file: &str, name: &str) -> Option<u32> {
    let line = file.lines().find(|line| line.split(':').next() == Some(name))?;
    line.split(':').nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_is_found_by_its_whole_name() {
        let file = "root:x:0:\ngeofenced-x:x:5:\ngeofenced:x:998:ana,bo\n";
        assert_eq!(of(file, "geofenced"), Some(998));
        assert_eq!(of(file, "nobody"), None);
    }
}

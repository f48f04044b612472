//! Names of users, from the host's own `/etc/passwd`. Never NSS: it may ask a network.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use rustc_hash::FxHashMap;

use crate::event::User;

/// Larger files are not a passwd file.
const FILE_MAX: u64 = 16 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct Users {
    path: PathBuf,
    /// Modification time and length of the file that `names` is of.
    read: Option<(SystemTime, u64)>,
    names: FxHashMap<u32, Arc<str>>,
    /// It was looked at since [`Users::expire`].
    is_fresh: bool,
}

impl Users {
    pub(super) fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), read: None, names: FxHashMap::default(), is_fresh: false }
    }

    /// With the name that the file has for `id`; without, when it has none or can't be read. Who is new is
    /// found at once, and another name of who was there after [`Users::expire`].
    pub(super) fn user(&mut self, id: u32) -> User {
        if !self.is_fresh || !self.names.contains_key(&id) {
            self.refresh();
            self.is_fresh = true;
        }
        User { id, name: self.names.get(&id).cloned() }
    }

    /// The file may have changed; about every second. To look at each program that starts would cost more
    /// than what else is done for one.
    pub(super) fn expire(&mut self) {
        self.is_fresh = false;
    }

    fn refresh(&mut self) {
        let state = match fs::metadata(&self.path) {
            Ok(meta) => meta.modified().ok().map(|at| (at, meta.len())),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            // It is being replaced, or is not ours to see: what is known stays.
            Err(_) => return,
        };
        if state.is_some() && state == self.read {
            return;
        }
        self.read = state;
        self.names.clear();
        let Some((_, length)) = state else { return };
        if length > FILE_MAX {
            return;
        }
        let Ok(bytes) = fs::read(&self.path) else { return };
        for line in String::from_utf8_lossy(&bytes).lines() {
            if let Some((id, name)) = parse(line) {
                // The first line of an id is the one that getpwuid(3) gives.
                self.names.entry(id).or_insert_with(|| name.into());
            }
        }
    }
}

/// Whoever has this number by a file such as `/etc/passwd`.
pub fn named(path: &Path, id: u32) -> User {
    Users::new(path).user(id)
}

/// `name:password:uid:...`
fn parse(line: &str) -> Option<(u32, &str)> {
    let mut fields = line.split(':');
    let name = fields.next().filter(|name| !name.is_empty() && !name.starts_with('#'))?;
    let id = fields.nth(1)?.parse().ok()?;
    Some((id, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(users: &mut Users, id: u32) -> Option<String> {
        users.user(id).name.map(|name| name.to_string())
    }

    #[test]
    fn a_user_has_the_name_that_the_file_gives() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("passwd");
        fs::write(
            &path,
            "root:x:0:0:root:/root:/bin/bash\n# note:x:7:\ntoor:x:0:0::/:\n\nbad\nx:y:z:\n_chrony:x:107:115:Chrony daemon,,,:/var/lib/chrony:/usr/sbin/nologin\n",
        )
        .unwrap();
        let mut users = Users::new(&path);
        assert_eq!(name(&mut users, 0).as_deref(), Some("root"));
        assert_eq!(name(&mut users, 107).as_deref(), Some("_chrony"));
        assert_eq!(name(&mut users, 7), None);
        assert_eq!(users.user(4711), User { id: 4711, name: None });
    }

    #[test]
    fn a_changed_file_is_read_again_and_a_missing_one_names_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("passwd");
        let mut users = Users::new(&path);
        assert_eq!(name(&mut users, 1000), None);
        fs::write(&path, "ann:x:1000:\n").unwrap();
        assert_eq!(name(&mut users, 1000).as_deref(), Some("ann"));
        fs::write(&path, "belinda:x:1000:\nnew:x:1001:\n").unwrap();
        assert_eq!(name(&mut users, 1000).as_deref(), Some("ann"));
        assert_eq!(name(&mut users, 1001).as_deref(), Some("new"));
        assert_eq!(name(&mut users, 1000).as_deref(), Some("belinda"));
        fs::write(&path, "carla:x:1000:\n").unwrap();
        users.expire();
        assert_eq!(name(&mut users, 1000).as_deref(), Some("carla"));
        fs::remove_file(&path).unwrap();
        users.expire();
        assert_eq!(name(&mut users, 1000), None);
    }
}

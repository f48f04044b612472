//! What the ground has of this ledger, as whoever ships it tells in a file of his own. He may lie: the store takes
//! his word only for what need wait no longer, so a lie keeps records as long as without him, never shorter.

use std::{
    fmt::Write as _,
    fs::OpenOptions,
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use super::{StoreError, replace_file};

/// Within the directory of whoever ships.
const FILE: &str = "on-the-ground";
const FIRST_LINE: &str = "geofenced ground 1";
/// A file of somebody else's is read so far, and not believed if it is longer.
const BYTES_MOST: u64 = 64 << 10;

/// Segments that are on the ground.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ground {
    /// First and last.
    ranges: Vec<(u32, u32)>,
}

impl Ground {
    pub fn has(&self, segment: u32) -> bool {
        self.ranges.iter().any(|(first, last)| (*first..=*last).contains(&segment))
    }

    /// What was told in this directory of the ledger that is signed under this origin. What can't be read, or is of
    /// another, tells of nothing.
    pub fn told(directory: &Path, origin: &str) -> Self {
        let path = directory.join(FILE);
        match read(&path) {
            Ok(text) => Self::parse(&text, origin).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::default(),
            Err(error) => {
                tracing::warn!(
                    "cannot read {}, by which it is known what was shipped: {error}",
                    path.display()
                );
                Self::default()
            }
        }
    }

    fn parse(text: &str, origin: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.lines();
        if lines.next()? != FIRST_LINE || lines.next()? != origin {
            return None;
        }
        let range = |line: &str| {
            let (first, last) = line.split_once('-')?;
            Some((first.parse().ok()?, last.parse().ok()?))
        };
        Some(Self { ranges: lines.map(range).collect::<Option<_>>()? })
    }
}

/// Neither a link nor a pipe makes the daemon read something else, or wait.
fn read(path: &Path) -> io::Result<String> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file"));
    }
    let mut text = String::new();
    let read = file.take(BYTES_MOST + 1).read_to_string(&mut text)?;
    if read as u64 > BYTES_MOST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is too long to be believed"));
    }
    Ok(text)
}

/// Says which segments of this origin are on the ground: ranges, first and last.
pub fn tell(directory: &Path, origin: &str, ranges: &[(u32, u32)]) -> Result<(), StoreError> {
    let mut text = format!("{FIRST_LINE}\n{origin}\n");
    for (first, last) in ranges {
        // Writing to memory does not fail.
        let _ = writeln!(text, "{first}-{last}");
    }
    replace_file(&directory.join(FILE), text.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn what_is_told_of_an_origin_is_known_of_it_and_of_no_other() {
        let directory = tempfile::tempdir().unwrap();
        tell(directory.path(), "uav-7", &[(1, 3), (9, 9)]).unwrap();
        let told = Ground::told(directory.path(), "uav-7");
        let has: Vec<u32> = (0..12).filter(|it| told.has(*it)).collect();
        assert_eq!(has, [1, 2, 3, 9]);
        assert_eq!(Ground::told(directory.path(), "uav-7/2"), Ground::default());
    }

    #[test]
    fn what_is_cut_too_long_a_link_or_a_pipe_tells_of_nothing_and_holds_nobody_up() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        let nothing = |why: &str| {
            assert_eq!(Ground::told(directory.path(), "uav-7"), Ground::default(), "{why}");
            fs::remove_file(&path).unwrap();
        };
        for cut in ["", "geofenced ground 1\n", "geofenced ground 1\nuav-7\n1-3\n4-12"] {
            fs::write(&path, cut).unwrap();
            nothing(cut);
        }
        let long = "1-2\n".repeat(BYTES_MOST as usize / 4);
        fs::write(&path, format!("{FIRST_LINE}\nuav-7\n{long}")).unwrap();
        nothing("too long");
        tell(directory.path(), "uav-7", &[(1, 3)]).unwrap();
        let other = directory.path().join("other");
        fs::rename(&path, &other).unwrap();
        symlink(&other, &path).unwrap();
        nothing("a link");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR).unwrap();
        nothing("a pipe");
    }
}

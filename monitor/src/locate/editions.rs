//! Which edition of our own databases is used: the newest of those inside the program and those that lie in
//! folders as files. A damaged file is passed over and told of: it never keeps a host from being watched.

use std::{
    borrow::Cow,
    fs::File,
    io::{ErrorKind, Read as _},
    path::{Path, PathBuf},
};

use assets::{AssetError, country, operator};
use sha2::{Digest, Sha256};

use super::LocateError;

pub(super) const COUNTRY: &[u8] = include_bytes!("../../assets/country.bin");
pub(super) const OPERATOR: &[u8] = include_bytes!("../../assets/operator.bin");

/// Gives back the memory of the assets' pages, which are in the program's file.
pub(super) fn rest() {
    /// Of any Linux.
    const PAGE_MAX: usize = 64 << 10;
    for asset in [COUNTRY, OPERATOR] {
        let skipped = asset.as_ptr().align_offset(PAGE_MAX);
        let whole = asset.len().saturating_sub(skipped) / PAGE_MAX * PAGE_MAX;
        let begin = asset.as_ptr().wrapping_add(skipped).cast_mut();
        // SAFETY: these are whole pages within a constant, which nobody writes and no relocation
        // changes: the next access reads the same bytes from the program's file.
        unsafe { libc::madvise(begin.cast(), whole, libc::MADV_DONTNEED) };
    }
}

/// What the files in a folder are called.
pub const NAMES: [&str; 2] = ["country.bin", "operator.bin"];
/// Bytes of a file; the largest has two million by now.
const FILE_MAX: u64 = 64 << 20;

/// A database of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Edition {
    pub(super) label: &'static str,
    pub(super) bytes: Cow<'static, [u8]>,
    /// `None`: inside the program.
    pub(super) path: Option<PathBuf>,
    /// Date of the data, seconds since 1970.
    pub(super) dated: u64,
}

/// Those that are used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Editions {
    pub(super) country: Edition,
    pub(super) operator: Edition,
    /// Files that are not used though they may be newer, and why; a line each.
    pub(super) passed_over: Vec<String>,
}

type Dated = fn(&[u8]) -> Result<u64, AssetError>;
const DATED: [Dated; 2] = [country::dated, operator::dated];

impl Editions {
    pub(super) fn embedded() -> Self {
        let edition = |label, bytes: &'static [u8], dated: Dated| {
            // The build checked them; one that is broken all the same is told of when it is opened.
            Edition { label, bytes: bytes.into(), path: None, dated: dated(bytes).unwrap_or(0) }
        };
        Self {
            country: edition("country", COUNTRY, DATED[0]),
            operator: edition("operator", OPERATOR, DATED[1]),
            passed_over: Vec::new(),
        }
    }

    /// The newest: of the same date the one inside the program, then that of the folder named first.
    pub(super) fn newest(folders: &[PathBuf]) -> Self {
        let mut found = Self::embedded();
        for folder in folders {
            let places = [&mut found.country, &mut found.operator];
            for (place, (name, dated)) in places.into_iter().zip(NAMES.into_iter().zip(DATED)) {
                let path = folder.join(name);
                let read = match read(&path) {
                    Ok(None) => continue,
                    Ok(Some(bytes)) => dated(&bytes).map(|dated| (bytes, dated)),
                    Err(error) => {
                        let line = format!("{} can't be read: {error}", path.display());
                        found.passed_over.push(line);
                        continue;
                    }
                };
                match read {
                    Ok((_, dated)) if dated <= place.dated => {}
                    Ok((bytes, dated)) => {
                        let (bytes, path) = (bytes.into(), Some(path));
                        *place = Edition { label: place.label, bytes, path, dated };
                    }
                    Err(error) => {
                        found.passed_over.push(format!("{} is not used: {error}", path.display()));
                    }
                }
            }
        }
        found
    }

    /// Those inside the program, since one of these is broken for all its right hash.
    pub(super) fn without(self, problem: &LocateError) -> Self {
        let mut passed_over = self.passed_over;
        passed_over.push(problem.to_string());
        Self { passed_over, ..Self::embedded() }
    }
}

impl Edition {
    /// The end of the file is a hash of the rest, so it stands for the whole.
    pub(super) fn identity(&self) -> &[u8] {
        &self.bytes[self.bytes.len().saturating_sub(assets::HASH)..]
    }

    pub(super) fn sha256(&self) -> [u8; 32] {
        Sha256::digest(&self.bytes).into()
    }

    pub(super) fn broken(&self, error: &AssetError) -> LocateError {
        match &self.path {
            None => LocateError::Embedded(self.label, error.to_string()),
            Some(path) => LocateError::Edition { path: path.clone(), problem: error.to_string() },
        }
    }
}

/// `None`: there is no such file.
pub(super) fn read(path: &Path) -> std::io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(FILE_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(std::io::Error::other("it is larger than any database of ours"));
    }
    Ok(Some(bytes))
}

/// The edition with another date, and a right hash.
#[cfg(test)]
pub(super) fn dated(mut bytes: Vec<u8>, header: usize, dated: u64) -> Vec<u8> {
    bytes[header - 10..header - 2].copy_from_slice(&dated.to_le_bytes());
    bytes.truncate(bytes.len() - assets::HASH);
    let hash = Sha256::digest(&bytes);
    bytes.extend(hash.as_slice());
    bytes
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{
        config::{Config, Geo},
        event::Timestamp,
        locate::Locator,
    };

    /// Bytes before the name of the source, of `operator.bin`.
    const HEADER: usize = 38;

    fn geo(folders: &[&Path]) -> Geo {
        let folders = folders.iter().map(|it| it.to_path_buf()).collect();
        Geo { folders, ..Config::builtin().geo }
    }

    #[test]
    fn the_newest_edition_is_used_wherever_it_lies() {
        let [one, two] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let inside = Editions::embedded().operator.dated;
        for (folder, date) in [(&one, inside + 1), (&two, inside + 2)] {
            let bytes = dated(OPERATOR.to_vec(), HEADER, date);
            fs::write(folder.path().join("operator.bin"), bytes).unwrap();
        }
        let older = dated(OPERATOR.to_vec(), HEADER, inside - 1);
        let of = |folders: &[&Path]| Locator::open(&geo(folders), &[]).unwrap();
        let built = |locator: &Locator| locator.databases()[1].built_at.secs() - inside;
        let locator = of(&[one.path(), two.path()]);
        assert_eq!(built(&locator), 2);
        assert_eq!(locator.databases()[1].path, Some(two.path().join("operator.bin")));
        assert_eq!(built(&of(&[one.path()])), 1);
        fs::write(one.path().join("operator.bin"), older).unwrap();
        let locator = of(&[one.path()]);
        assert_eq!((built(&locator), &locator.databases()[1].path), (0, &None));
    }

    #[test]
    fn a_damaged_edition_is_passed_over_and_told_of() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("operator.bin");
        let newer = dated(OPERATOR.to_vec(), HEADER, Editions::embedded().operator.dated + 1);
        // Under a right hash: 4294967295 countries that are not there.
        let mut hollow = newer.clone();
        hollow[20..24].copy_from_slice(&[0xff; 4]);
        let hollow = dated(hollow, HEADER, Editions::embedded().operator.dated + 1);
        for bytes in [&newer[..newer.len() - 1], b"", &hollow] {
            fs::write(&path, bytes).unwrap();
            let locator = Locator::open(&geo(&[folder.path()]), &[]).unwrap();
            assert_eq!(locator.databases()[1].path, None);
            let [told] = locator.passed_over() else { panic!("{:?}", locator.passed_over()) };
            assert!(told.contains("operator.bin"), "{told}");
            let warnings: Vec<_> = locator.warnings(Timestamp(0)).collect();
            assert_eq!(&warnings[..], locator.passed_over());
        }
    }
}

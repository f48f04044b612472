//! Newer editions of our own databases: finds them in files, and puts them where they are taken from. It asks no
//! network, and takes nothing that it has not read to its end.

use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use assets::{AssetError, country, libloc, operator};
use rustc_hash::FxHashMap;

use super::editions::{Edition, Editions, NAMES, read};
use crate::event::Timestamp;

/// What the location database is called, by its package and by its own updates.
const LOCATION_NAMES: [&str; 2] = ["location.db", "database.db"];
/// So far ahead of this host's clock a date may be: it is that of another's time zone.
const AHEAD_SECS: u64 = 86_400;
/// And so far ahead of what is known, where the clock is behind even that, as of a board without a battery: it says
/// nothing then.
const BEYOND_KNOWN_SECS: u64 = 366 * 86_400;

/// An edition that a file holds.
#[derive(Debug)]
pub struct Candidate {
    pub label: &'static str,
    /// What it says of where it is from.
    pub source: String,
    /// Date of the data.
    pub dated: Timestamp,
    pub from: PathBuf,
    bytes: Vec<u8>,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// At most one of each kind: the newest.
    pub newer: Vec<Candidate>,
    /// Files that are there and not taken, and why; a line each.
    pub refused: Vec<String>,
    /// Files with nothing newer in them.
    pub known: Vec<PathBuf>,
}

/// Why there is no edition in a file.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("can't be read: {0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Asset(#[from] AssetError),
    #[error(
        "its data is of {0}, which is still to come by this host's clock: set the clock, or get another file"
    )]
    Ahead(String),
    #[error(
        "is no database that is known here: country.bin, operator.bin or IPFire's location database"
    )]
    Foreign,
}

/// Looks into these files and folders for what is newer than all that is in `folders` and in the program.
/// Paths where nothing is are left out.
pub fn newer(paths: &[PathBuf], folders: &[PathBuf], now: Timestamp) -> Found {
    let own = Editions::newest(folders);
    let mut found = Found { refused: own.passed_over.clone(), ..Found::default() };
    for path in paths.iter().flat_map(|path| files(path)) {
        let known = |label: &str| {
            let taken = found.newer.iter().find(|it: &&Candidate| it.label == label);
            let edition = if label == own.country.label { &own.country } else { &own.operator };
            taken.map_or(edition.dated, |it| it.dated.secs())
        };
        match candidate(&path, &own.operator, known, now) {
            Ok(None) => found.known.push(path),
            Ok(Some(candidate)) => {
                found.newer.retain(|it| it.label != candidate.label);
                found.newer.push(candidate);
            }
            Err(Refusal::Io(error)) if error.kind() == io::ErrorKind::NotFound => {}
            Err(refusal) => found.refused.push(format!("{}: {refusal}", path.display())),
        }
    }
    found
}

/// The path itself, or what may be in a folder.
fn files(path: &Path) -> Vec<PathBuf> {
    if !path.is_dir() {
        return vec![path.to_owned()];
    }
    let names = NAMES.into_iter().chain(LOCATION_NAMES).map(|name| path.join(name));
    names.filter(|path| path.exists()).collect()
}

/// `None`: it is no newer than what is known of its kind.
fn candidate(
    path: &Path,
    roster: &Edition,
    known: impl Fn(&str) -> u64,
    now: Timestamp,
) -> Result<Option<Candidate>, Refusal> {
    let bytes = read(path)?.ok_or(io::Error::from(io::ErrorKind::NotFound))?;
    let location = libloc::dated(&bytes);
    let (label, dated) = match (country::dated(&bytes), operator::dated(&bytes), location) {
        (.., Some(dated)) => ("operator", dated),
        (Ok(dated), ..) => ("country", dated),
        (_, Ok(dated), _) => ("operator", dated),
        (Err(AssetError::Foreign), Err(AssetError::Foreign | AssetError::Truncated), _)
        | (Err(AssetError::Truncated), Err(AssetError::Foreign), _) => {
            return Err(Refusal::Foreign);
        }
        (Err(AssetError::Foreign), Err(error), _) | (Err(error), ..) => return Err(error.into()),
    };
    if dated <= known(label) {
        return Ok(None);
    }
    let most = if now.secs() < known(label) {
        known(label).saturating_add(BEYOND_KNOWN_SECS)
    } else {
        now.secs().saturating_add(AHEAD_SECS)
    };
    let dated = Timestamp::from_secs(dated);
    if dated.secs() > most {
        return Err(Refusal::Ahead(crate::when::rfc3339(dated)));
    }
    let (bytes, source) = match (label, location) {
        (_, Some(_)) => of_location(path, &bytes, roster)?,
        ("country", _) => {
            let source = country::decode(&bytes)?.source;
            (bytes, source)
        }
        _ => {
            let source = operator::decode(&bytes)?.source;
            (bytes, source)
        }
    };
    Ok(Some(Candidate { label, source, dated, from: path.to_owned(), bytes }))
}

/// It does not tell where a system is registered: that goes on being what is known already.
fn of_location(path: &Path, bytes: &[u8], roster: &Edition) -> Result<(Vec<u8>, String), Refusal> {
    let roster = operator::decode(&roster.bytes)?;
    let registered: FxHashMap<u32, [u8; 2]> = roster
        .systems()
        .filter_map(|it| {
            Some((it.number, *roster.codes.get(usize::from(it.registered).checked_sub(1)?)?))
        })
        .collect();
    let database = libloc::parse(bytes)?;
    let (v4, v6) = (database.networks4()?, database.networks6()?);
    let source = format!("IPFire Location Database ({})", path.display());
    let of = |system| registered.get(&system).copied();
    let draft = libloc::draft(&database, [&v4, &v6], of, source.clone())?;
    let encoded = operator::encode(&draft)?;
    operator::decode(&encoded)?;
    Ok((encoded, source))
}

impl Candidate {
    /// Puts it into the folder, whole or not at all; gives its path there.
    pub fn install(&self, folder: &Path) -> io::Result<PathBuf> {
        fs::create_dir_all(folder)?;
        let path = folder.join(format!("{}.bin", self.label));
        let new = path.with_extension("new");
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut out = fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(&new)?;
        let written = out.write_all(&self.bytes).and_then(|()| out.sync_all());
        if let Err(error) = written.and_then(|()| fs::rename(&new, &path)) {
            // Half a file is of no use, and the error says why there is none.
            let _ = fs::remove_file(&new);
            return Err(error);
        }
        fs::File::open(folder)?.sync_all()?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::editions::{COUNTRY, OPERATOR, dated},
        *,
    };

    const DAY: u64 = 86_400;
    /// Bytes before the name of the source.
    const HEADERS: [usize; 2] = [30, 38];

    fn inside() -> [u64; 2] {
        let own = Editions::embedded();
        [own.country.dated, own.operator.dated]
    }

    #[test]
    fn of_several_files_the_newest_is_taken_and_put_in_place_whole() {
        let [from, to] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let folders = [to.path().join("databases")];
        let [country, operator] = inside();
        let write = |name: &str, bytes: Vec<u8>| {
            let path = from.path().join(name);
            fs::write(&path, bytes).unwrap();
            path
        };
        let paths = [
            write("country.bin", dated(COUNTRY.to_vec(), HEADERS[0], country + DAY)),
            write("one", dated(OPERATOR.to_vec(), HEADERS[1], operator + DAY)),
            write("two", dated(OPERATOR.to_vec(), HEADERS[1], operator + 2 * DAY)),
            write("old", OPERATOR.to_vec()),
            from.path().join("nothing"),
        ];
        let now = Timestamp::from_secs(country.max(operator) + 2 * DAY);
        let found = newer(&paths, &folders, now);
        assert!(found.refused.is_empty(), "{:?}", found.refused);
        let taken: Vec<_> = found.newer.iter().map(|it| (it.label, it.dated.secs())).collect();
        assert_eq!(taken, [("country", country + DAY), ("operator", operator + 2 * DAY)]);
        for candidate in &found.newer {
            candidate.install(&folders[0]).unwrap();
        }
        let used = Editions::newest(&folders);
        assert_eq!([used.country.dated, used.operator.dated], [country + DAY, operator + 2 * DAY]);
        let again = newer(&paths, &folders, now);
        assert!(again.newer.is_empty() && again.known.len() == 4, "{again:?}");
    }

    #[test]
    fn a_clock_that_is_behind_what_is_known_refuses_nothing_of_the_next_year() {
        let from = tempfile::tempdir().unwrap();
        let [_, operator] = inside();
        let of = |days: u64, now: u64| {
            let path = from.path().join("operator.bin");
            let bytes = dated(OPERATOR.to_vec(), HEADERS[1], operator + days * DAY);
            fs::write(&path, bytes).unwrap();
            newer(&[path], &[], Timestamp::from_secs(now)).newer.len()
        };
        assert_eq!([of(40, 0), of(366, 0), of(367, 0)], [1, 1, 0], "1970");
        assert_eq!([of(1, operator), of(2, operator)], [1, 0]);
    }

    #[test]
    fn what_is_broken_foreign_or_of_tomorrow_is_refused_with_the_reason() {
        let from = tempfile::tempdir().unwrap();
        let [_, operator] = inside();
        let ahead = dated(OPERATOR.to_vec(), HEADERS[1], operator + 3 * DAY);
        let cases: [(&[u8], &str); 4] = [
            (
                b"a letter to my grandmother, which is not short enough to be cut off",
                "is no database",
            ),
            (&ahead, "still to come"),
            (&ahead[..ahead.len() - 1], "SHA-256"),
            (b"LOCDBXX\x01\xff\xff\xff\xff\xff\xff\xff\xff", "still to come"),
        ];
        for (bytes, reason) in cases {
            let path = from.path().join("operator.bin");
            fs::write(&path, bytes).unwrap();
            let found = newer(&[path], &[], Timestamp::from_secs(operator + DAY));
            assert!(found.newer.is_empty());
            let [told] = &found.refused[..] else { panic!("{found:?}") };
            assert!(told.contains(reason), "{told}");
        }
    }
}

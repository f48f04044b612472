//! Whose ledgers the ground takes: public keys, a file a station, as `key.pub` stands in its store. Who puts a file
//! there says that he knows the station; nothing that arrives ever adds one.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use geofenced::fleet::{PublicKey, replace_file};

use crate::object::folder;

#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    #[error("{path} has no verifier key: it should be a station's key.pub, a line NAME+ID+KEY")]
    NoKey { path: PathBuf },
    #[error("{path} has keys of two stations: {one} and {other}")]
    Mixed { path: PathBuf, one: String, other: String },
    #[error(
        "`{name}` is enrolled with another key ({known}); if the station was set up anew, give it another name, or remove {path} first"
    )]
    OtherKey { name: String, known: String, path: PathBuf },
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Store(#[from] geofenced::fleet::StoreError),
}

/// A station and the keys that somebody vouched for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Station {
    pub name: String,
    pub keys: Vec<PublicKey>,
}

impl Station {
    fn parse(path: &Path, text: &str) -> Result<Self, EnrolError> {
        let keys = text.lines().filter_map(|line| PublicKey::parse(line.trim()).ok());
        let keys: Vec<PublicKey> = keys.collect();
        let first = keys.first().ok_or_else(|| EnrolError::NoKey { path: path.to_owned() })?;
        let name = first.name().to_string();
        if let Some(other) = keys.iter().find(|it| it.name().as_str() != name) {
            let (one, other) = (name, other.name().to_string());
            return Err(EnrolError::Mixed { path: path.to_owned(), one, other });
        }
        Ok(Self { name, keys })
    }

    pub fn read(path: &Path) -> Result<Self, EnrolError> {
        let text = fs::read_to_string(path)
            .map_err(|source| EnrolError::Read { path: path.to_owned(), source })?;
        Self::parse(path, &text)
    }

    /// As a file has it.
    pub fn lines(&self) -> String {
        let lines: Vec<String> = self.keys.iter().map(ToString::to_string).collect();
        lines.join("\n") + "\n"
    }
}

/// All that are enrolled, by name.
pub fn all(directory: &Path) -> Result<BTreeMap<String, Station>, EnrolError> {
    let failed = |source| EnrolError::Read { path: directory.to_owned(), source };
    let mut stations = BTreeMap::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|it| it == "pub") {
            let station = Station::read(&path)?;
            stations.insert(station.name.clone(), station);
        }
    }
    Ok(stations)
}

/// Adds a station, or says that it is there with this key already. Gives where it is kept.
pub fn add(directory: &Path, station: &Station) -> Result<PathBuf, EnrolError> {
    fs::create_dir_all(directory)
        .map_err(|source| EnrolError::Read { path: directory.to_owned(), source })?;
    let path = directory.join(format!("{}.pub", folder(&station.name)));
    if path.exists() {
        let known = Station::read(&path)?;
        if !known.keys.iter().any(|key| station.keys.contains(key)) {
            let name = station.name.clone();
            let known = known.keys.first().map(ToString::to_string).unwrap_or_default();
            return Err(EnrolError::OtherKey { name, known, path });
        }
        return Ok(path);
    }
    replace_file(&path, station.lines().as_bytes())?;
    Ok(path)
}

/// A key line as a code that a camera reads off the terminal.
pub fn code(line: &str) -> Option<String> {
    use qrcode::{EcLevel, QrCode, render::unicode::Dense1x2};
    let code = QrCode::with_error_correction_level(line.as_bytes(), EcLevel::M).ok()?;
    Some(code.render::<Dense1x2>().quiet_zone(true).build())
}

#[cfg(test)]
mod tests {
    use geofenced::fleet::{KeyName, Signer};

    use super::*;

    fn station(name: &str, seed: u8) -> Station {
        let key = Signer::new(KeyName::parse(name).unwrap(), &[seed; 32]).public();
        Station { name: name.to_owned(), keys: vec![key] }
    }

    #[test]
    fn a_name_that_is_taken_is_not_given_to_another_key() {
        let root = tempfile::tempdir().unwrap();
        let path = add(root.path(), &station("uav-7", 1)).unwrap();
        assert_eq!(add(root.path(), &station("uav-7", 1)).unwrap(), path);
        let refused = add(root.path(), &station("uav-7", 2)).unwrap_err();
        assert!(matches!(refused, EnrolError::OtherKey { .. }), "{refused}");
        add(root.path(), &station("../uav", 3)).unwrap();
        let names: Vec<String> = all(root.path()).unwrap().into_keys().collect();
        assert_eq!(names, ["../uav", "uav-7"]);
    }

    #[test]
    fn a_file_without_a_key_or_with_those_of_two_stations_is_refused() {
        let path = Path::new("x.pub");
        assert!(matches!(Station::parse(path, "hello\n"), Err(EnrolError::NoKey { .. })));
        let two = station("a", 1).lines() + &station("b", 2).lines();
        assert!(matches!(Station::parse(path, &two), Err(EnrolError::Mixed { .. })));
    }

    #[test]
    fn a_key_line_becomes_a_code() {
        let line = station("uav-7", 1).lines();
        let code = code(line.trim()).unwrap();
        assert!(code.lines().count() > 15, "{code}");
    }
}

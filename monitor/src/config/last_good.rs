//! The configuration as text, kept in one file of the daemon's own for the day when the user's files are
//! broken. Keeps and reads it; when to use it is the daemon's to decide.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{Config, ConfigError, raw::Sources};

/// A configuration with the text that it was read from: what is kept is what was understood, whatever
/// the files say a moment later.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    sources: Sources,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    files: Vec<KeptFile>,
}

#[derive(Serialize, Deserialize)]
struct KeptFile {
    path: PathBuf,
    text: String,
}

impl Loaded {
    /// As [`Config::load_or_builtin`] reads it.
    pub fn read(path: Option<&Path>) -> Result<Self, ConfigError> {
        Self::of(Sources::find(path)?)
    }

    /// What [`Self::keep`] wrote.
    pub fn read_kept(file: &Path) -> Result<Self, ConfigError> {
        let kept: io::Result<Kept> = fs::read(file)
            .and_then(|bytes| serde_json::from_slice(&bytes).map_err(io::Error::from));
        let kept =
            kept.map_err(|error| ConfigError::Unreadable { path: file.to_owned(), error })?;
        let mut sources = Sources::default();
        for KeptFile { path, text } in kept.files {
            sources.push(&path, text);
        }
        Self::of(sources)
    }

    fn of(sources: Sources) -> Result<Self, ConfigError> {
        Ok(Self { config: Config::of(&sources)?, sources })
    }

    /// Replaces `file` whole. What is there already is not written again: the disk may be an SD card.
    pub fn keep(&self, file: &Path) -> io::Result<()> {
        let texts = self.sources.texts();
        let files = texts.map(|(path, text)| KeptFile { path: path.into(), text: text.into() });
        let kept = serde_json::to_vec(&Kept { files: files.collect() })?;
        if fs::read(file).is_ok_and(|old| old == kept) {
            return Ok(());
        }
        let new = file.with_extension("new");
        // One that an earlier try left may have other rights.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut out = fs::OpenOptions::new().write(true).create_new(true).mode(0o640).open(&new)?;
        out.write_all(&kept)?;
        out.sync_all()?;
        fs::rename(&new, file)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn what_was_kept_is_the_same_configuration_whatever_became_of_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("config.d")).unwrap();
        fs::write(at("config.toml"), "[policy]\napproved_countries = [\"US\"]\n").unwrap();
        fs::write(at("config.d/b.toml"), "[policy]\napproved_countries = [\"DE\"]\n").unwrap();
        let loaded = Loaded::read(Some(&at("config.toml"))).unwrap();
        loaded.keep(&at("kept.json")).unwrap();
        fs::remove_dir_all(at("config.d")).unwrap();
        fs::write(at("config.toml"), "no").unwrap();

        assert!(Loaded::read(Some(&at("config.toml"))).is_err());
        assert_eq!(Loaded::read_kept(&at("kept.json")).unwrap().config, loaded.config);
    }

    #[test]
    fn what_is_kept_already_is_not_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("config.toml"), "").unwrap();
        let keep = || Loaded::read(Some(&at("config.toml"))).unwrap().keep(&at("kept.json"));
        let inode = || fs::metadata(at("kept.json")).unwrap().ino();
        keep().unwrap();
        let first = inode();
        keep().unwrap();
        assert_eq!(inode(), first);
        fs::write(at("config.toml"), "# another").unwrap();
        keep().unwrap();
        assert_ne!(inode(), first);
    }

    #[test]
    fn what_was_kept_and_cut_off_is_no_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kept.json");
        for text in ["", "{\"files\":[{\"path\":\"/etc/geofenced/config.toml\"", "[]"] {
            fs::write(&file, text).unwrap();
            assert!(Loaded::read_kept(&file).is_err(), "{text}");
        }
    }
}

//! A directory as a depot: each object a file, whole and on the disk when it has its name.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use super::{Depot, DepotError, Listed};

/// How files that are not whole begin; nobody lists them.
const UNFINISHED: &str = ".part-";

#[derive(Debug)]
pub struct Directory {
    root: PathBuf,
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DepotError {
    move |error| DepotError::Failed {
        action,
        place: path.display().to_string(),
        reason: error.to_string(),
        is_full: matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded),
    }
}

/// What was not found is no error.
fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(it) => Ok(Some(it)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl Directory {
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    fn walk(&self, folder: &str, into: &mut Vec<Listed>) -> io::Result<()> {
        let Some(entries) = found(fs::read_dir(self.root.join(folder)))? else { return Ok(()) };
        for entry in entries {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if name.starts_with('.') {
                continue;
            }
            let key = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            // A link could lead anywhere.
            let Some(about) = found(entry.metadata())? else { continue };
            if about.is_dir() {
                self.walk(&key, into)?;
            } else if about.is_file() {
                into.push(Listed { key, bytes: about.len() });
            }
        }
        Ok(())
    }

    fn write(path: &Path, unfinished: &Path, bytes: &[u8]) -> io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        if !folder.is_dir() {
            let missing: Vec<&Path> = folder.ancestors().take_while(|it| !it.exists()).collect();
            fs::create_dir_all(folder)?;
            for made in missing {
                File::open(made.parent().unwrap_or(Path::new(".")))?.sync_all()?;
            }
        }
        let mut file = File::create(unfinished)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(unfinished, path)?;
        File::open(folder)?.sync_all()
    }
}

impl Depot for Directory {
    fn folders(&self) -> Result<Vec<String>, DepotError> {
        let read = || -> io::Result<Vec<String>> {
            let mut all = Vec::new();
            for entry in found(fs::read_dir(&self.root))?.into_iter().flatten() {
                let entry = entry?;
                let Ok(name) = entry.file_name().into_string() else { continue };
                // A link could lead anywhere.
                if !name.starts_with('.') && entry.file_type()?.is_dir() {
                    all.push(name);
                }
            }
            all.sort();
            Ok(all)
        };
        read().map_err(failed("list", &self.root))
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>, DepotError> {
        let mut all = Vec::new();
        self.walk(folder, &mut all).map_err(failed("list", &self.root.join(folder)))?;
        all.sort();
        Ok(all)
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, DepotError> {
        let path = self.root.join(key);
        found(fs::read(&path)).map_err(failed("read", &path))
    }

    fn put(&self, key: &str, bytes: &[u8]) -> Result<(), DepotError> {
        if !self.root.is_dir() {
            // A stick that is not plugged in must not become a directory of that name.
            let gone = io::Error::new(io::ErrorKind::NotFound, "there is no such directory");
            return Err(failed("write below", &self.root)(gone));
        }
        let path = self.root.join(key);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let unfinished = path.with_file_name(format!("{UNFINISHED}{}-{name}", std::process::id()));
        let written = Self::write(&path, &unfinished, bytes);
        if written.is_err() {
            // It may not have been made; what stays of it takes room.
            let _ = fs::remove_file(&unfinished);
        }
        written.map_err(failed("write", &path))
    }

    fn remove(&self, key: &str) -> Result<(), DepotError> {
        let path = self.root.join(key);
        found(fs::remove_file(&path)).map(|_| ()).map_err(failed("remove", &path))
    }

    fn length(&self, key: &str) -> Result<Option<u64>, DepotError> {
        let path = self.root.join(key);
        let about = found(fs::symlink_metadata(&path)).map_err(failed("look at", &path))?;
        Ok(about.filter(fs::Metadata::is_file).map(|it| it.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_is_listed_and_read_and_what_is_unfinished_is_not() {
        let root = tempfile::tempdir().unwrap();
        let depot = Directory::new(root.path().to_owned());
        depot.put("b/segments/1", b"one").unwrap();
        depot.put("a/answer.json", b"{}").unwrap();
        fs::write(root.path().join("b/segments/.part-9-2"), b"tw").unwrap();
        let keys = |folder: &str| {
            depot.list(folder).unwrap().into_iter().map(|it| it.key).collect::<Vec<_>>()
        };
        assert_eq!(keys(""), ["a/answer.json", "b/segments/1"]);
        assert_eq!(keys("b"), ["b/segments/1"]);
        assert_eq!(keys("nobody"), [] as [&str; 0]);
        assert_eq!(depot.folders().unwrap(), ["a", "b"]);
        assert_eq!(depot.get("b/segments/1").unwrap().as_deref(), Some(&b"one"[..]));
        assert_eq!(depot.length("b/segments/1").unwrap(), Some(3));
        depot.remove("b/segments/1").unwrap();
        depot.remove("b/segments/1").unwrap();
        assert_eq!(depot.get("b/segments/1").unwrap(), None);
    }

    #[test]
    fn a_stick_that_is_not_there_is_an_error_and_not_made() {
        let root = tempfile::tempdir().unwrap();
        let stick = root.path().join("stick");
        let depot = Directory::new(stick.clone());
        assert!(depot.put("a/b", b"x").unwrap_err().to_string().contains("no such directory"));
        assert!(!stick.exists());
    }
}

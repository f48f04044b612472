//! The files of an export: in a directory that was empty, under the names of unfinished ones until all are
//! whole, and gone if they never are. Hashes what it writes; knows no form.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

use super::ExportError;

/// Behind the name of a file that is not whole, or not yet of an export that is.
const UNFINISHED: &str = ".part";
/// Owner and group read it: it says who sent what.
const MODE: u32 = 0o640;
const BUFFER_BYTES: usize = 256 * 1024;

/// A file that is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Within the export, with slashes.
    pub path: String,
    pub sha256: [u8; 32],
    pub bytes: u64,
    /// Rows in it; `None`: it holds none.
    pub records: Option<u64>,
}

/// The directory of an export.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
    /// It was not there before.
    is_made: bool,
    written: Vec<Written>,
    /// All that is in it, in the order it was made.
    unfinished: Vec<PathBuf>,
    is_whole: bool,
}

/// A file that is being written.
#[derive(Debug)]
pub(super) struct PartFile {
    /// As it will be called, within the export.
    name: PathBuf,
    path: PathBuf,
    out: BufWriter<File>,
    hash: Sha256,
    bytes: u64,
    pub(super) records: u64,
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ExportError {
    move |source| ExportError::File { action, path: path.to_owned(), source }
}

fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(UNFINISHED);
    name.into()
}

impl Folder {
    /// Makes it, or takes an empty one.
    pub fn new(root: &Path) -> Result<Self, ExportError> {
        let is_made = match fs::create_dir(root) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let mut inside = fs::read_dir(root).map_err(failed("look into", root))?;
                if inside.next().is_some() {
                    return Err(ExportError::NotEmpty { path: root.to_owned() });
                }
                false
            }
            Err(error) => return Err(failed("make", root)(error)),
        };
        let (written, unfinished) = (Vec::new(), Vec::new());
        Ok(Self { root: root.to_owned(), is_made, written, unfinished, is_whole: false })
    }

    /// `name`: within the export.
    pub(super) fn begin(&mut self, name: &Path) -> Result<PartFile, ExportError> {
        let path = unfinished(&self.root.join(name));
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(failed("make", parent))?;
        }
        let opened = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&path);
        let file = opened.map_err(failed("make", &path))?;
        self.unfinished.push(path.clone());
        Ok(PartFile {
            name: name.to_owned(),
            path,
            out: BufWriter::with_capacity(BUFFER_BYTES, file),
            hash: Sha256::new(),
            bytes: 0,
            records: 0,
        })
    }

    /// It is whole and safe on the disk from here on.
    pub(super) fn end(&mut self, mut file: PartFile) -> Result<(), ExportError> {
        let synced = file.out.flush().and_then(|()| file.out.get_ref().sync_all());
        synced.map_err(failed("write", &file.path))?;
        self.written.push(Written {
            path: file.name.to_string_lossy().into_owned(),
            sha256: file.hash.finalize().into(),
            bytes: file.bytes,
            records: Some(file.records),
        });
        Ok(())
    }

    /// Those that are whole.
    pub fn written(&self) -> &[Written] {
        &self.written
    }

    /// A small file beside the records.
    pub fn add(&mut self, name: &str, content: &[u8]) -> Result<(), ExportError> {
        let mut file = self.begin(Path::new(name))?;
        file.write_all(content).map_err(failed("write", &unfinished(&self.root.join(name))))?;
        self.end(file)?;
        if let Some(written) = self.written.last_mut() {
            written.records = None;
        }
        Ok(())
    }

    /// A file of any length, as it is.
    pub fn copy(&mut self, name: &str, mut from: impl io::Read) -> Result<(), ExportError> {
        let mut file = self.begin(Path::new(name))?;
        let copied = io::copy(&mut from, &mut file);
        copied.map_err(failed("write", &unfinished(&self.root.join(name))))?;
        self.end(file)?;
        if let Some(written) = self.written.last_mut() {
            written.records = None;
        }
        Ok(())
    }

    /// Gives every file its name; `last` gets it when all others have theirs. Then the export is whole.
    pub fn name(mut self, last: &str) -> Result<(), ExportError> {
        self.written.sort_by_key(|it| (it.path == last, it.path.clone()));
        for Written { path, .. } in &self.written {
            let path = self.root.join(path);
            fs::rename(unfinished(&path), &path).map_err(failed("rename", &path))?;
            // What stands under its name goes with the rest, should a later one fail.
            self.unfinished.push(path);
        }
        let synced = File::open(&self.root).and_then(|it| it.sync_all());
        synced.map_err(failed("sync", &self.root))?;
        self.is_whole = true;
        Ok(())
    }
}

/// Leaves nothing that looks like an export.
impl Drop for Folder {
    fn drop(&mut self) {
        if self.is_whole {
            return;
        }
        for path in &self.unfinished {
            // Renamed, or never made.
            let _ = fs::remove_file(path);
            let parents = path.ancestors().skip(1).take_while(|it| *it != self.root);
            for parent in parents {
                // Only those that are empty go.
                let _ = fs::remove_dir(parent);
            }
        }
        if self.is_made {
            let _ = fs::remove_dir(&self.root);
        }
    }
}

impl PartFile {
    /// One row of it.
    pub(super) fn put(&mut self, line: &[u8]) -> Result<(), ExportError> {
        self.records += 1;
        self.write_all(line).map_err(|error| failed("write", &self.path)(error))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Write for PartFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.hash.update(&bytes[..count]);
        self.bytes += count as u64;
        Ok(count)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

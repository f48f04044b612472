//! Whether an export is what its manifest says: each file is hashed again, none is missing and none was added.
//! It reads files alone, follows no link, and knows nothing of who signed what.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Component, Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::manifest::{FORM_VERSION, MANIFEST};
use crate::{coverage::Coverage, ecs::hex};

/// No manifest of ours is larger.
const MANIFEST_MAX: u64 = 256 << 20;
const BUFFER_BYTES: usize = 256 * 1024;

/// What is wrong with a file. Its word is for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileFault {
    AlteredFile,
    MissingFile,
    /// The manifest knows nothing of it.
    ExtraFile,
    AlteredManifest,
}

impl FileFault {
    pub const fn word(self) -> &'static str {
        match self {
            Self::AlteredFile => "altered-file",
            Self::MissingFile => "missing-file",
            Self::ExtraFile => "extra-file",
            Self::AlteredManifest => "altered-manifest",
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Fault {
    pub kind: FileFault,
    /// Within the export.
    pub file: String,
    pub detail: String,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    pub faults: Vec<Fault>,
    /// Of the manifest, to be held against what was noted when the export was made.
    pub sha256: String,
    pub files: u64,
    pub bytes: u64,
    pub records: u64,
    pub rollups: u64,
    /// What the manifest says was watched; absent where it can't be read.
    pub coverage: Option<Coverage>,
}

#[derive(Debug, thiserror::Error)]
#[error("can't read {path}: {source}")]
pub struct CheckError {
    path: PathBuf,
    source: io::Error,
}

#[derive(Deserialize)]
struct Said {
    geofenced_export: u32,
    records: u64,
    rollups: u64,
    coverage: Coverage,
    files: Vec<SaidFile>,
}

#[derive(Deserialize)]
struct SaidFile {
    path: String,
    sha256: String,
    bytes: u64,
    records: Option<u64>,
}

/// Whether a directory is an export.
pub fn is_export(root: &Path) -> bool {
    root.join(MANIFEST).is_file()
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> CheckError {
    move |source| CheckError { path: path.to_owned(), source }
}

/// `noted`: the manifest's hash, or its first digits, as `export` printed it. `each` is told how many bytes
/// were read.
pub fn check(
    root: &Path,
    noted: Option<&str>,
    each: &mut dyn FnMut(u64),
) -> Result<Checked, CheckError> {
    let path = root.join(MANIFEST);
    let mut text = Vec::new();
    let file = File::open(&path).map_err(failed(&path))?;
    file.take(MANIFEST_MAX).read_to_end(&mut text).map_err(failed(&path))?;
    let mut checked = Checked { sha256: hex(&Sha256::digest(&text)), ..Checked::default() };
    if noted.is_some_and(|noted| !checked.sha256.starts_with(noted)) {
        let detail = format!("its SHA-256 is {}, and another was noted", checked.sha256);
        checked.say(FileFault::AlteredManifest, MANIFEST, detail);
    }
    let said: Said = match serde_json::from_slice(&text) {
        Ok(said) => said,
        Err(error) => {
            checked.say(FileFault::AlteredManifest, MANIFEST, format!("it can't be read: {error}"));
            return Ok(checked);
        }
    };
    if said.geofenced_export != FORM_VERSION {
        let detail = format!("it is of form {}, which is not known", said.geofenced_export);
        checked.say(FileFault::AlteredManifest, MANIFEST, detail);
        return Ok(checked);
    }
    let mut found = files(root)?;
    found.remove(MANIFEST);
    let mut told = [0_u64; 2];
    for file in &said.files {
        if let Some(is_file) = found.remove(&file.path) {
            checked.file(root, file, is_file, each)?;
        } else {
            let what = if is_within(&file.path) {
                "the manifest has it, and it is not there"
            } else {
                "the manifest names a file outside of the export, or one twice"
            };
            checked.say(FileFault::MissingFile, &file.path, what.to_owned());
        }
        let rolled_up = usize::from(file.path.starts_with("rollups/"));
        told[rolled_up] = told[rolled_up].saturating_add(file.records.unwrap_or(0));
    }
    for path in found.keys() {
        let detail = "the manifest knows nothing of it".to_owned();
        checked.say(FileFault::ExtraFile, path, detail);
    }
    if told != [said.records, said.rollups] {
        let detail = format!(
            "it tells of {} records and {} sums, and its files of {} and {}",
            said.records, said.rollups, told[0], told[1]
        );
        checked.say(FileFault::AlteredManifest, MANIFEST, detail);
    }
    (checked.records, checked.rollups) = (said.records, said.rollups);
    checked.coverage = Some(said.coverage);
    checked.faults.sort();
    Ok(checked)
}

impl Checked {
    fn say(&mut self, kind: FileFault, file: &str, detail: String) {
        self.faults.push(Fault { kind, file: file.to_owned(), detail });
    }

    /// Hashes it again. What is no plain file is not opened: a pipe would wait for ever.
    fn file(
        &mut self,
        root: &Path,
        said: &SaidFile,
        is_file: bool,
        each: &mut dyn FnMut(u64),
    ) -> Result<(), CheckError> {
        self.files += 1;
        let path = root.join(&said.path);
        if !is_file {
            let detail = "it is no plain file any more".to_owned();
            self.say(FileFault::AlteredFile, &said.path, detail);
            return Ok(());
        }
        let no_link = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0);
        let opened = OpenOptions::new().read(true).custom_flags(no_link).open(&path);
        let mut file = opened.map_err(failed(&path))?;
        let (mut hash, mut bytes, mut lines) = (Sha256::new(), 0_u64, 0_u64);
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let count = file.read(&mut buffer).map_err(failed(&path))?;
            if count == 0 {
                break;
            }
            hash.update(&buffer[..count]);
            let read = &buffer[..count];
            lines += read.split(|byte| *byte == b'\n').count() as u64 - 1;
            bytes += count as u64;
            each(count as u64);
        }
        self.bytes += bytes;
        let is_lines = path.extension().is_some_and(|it| it == "ndjson");
        if hex(&hash.finalize()) != said.sha256 {
            let detail = match bytes {
                bytes if bytes == said.bytes => "its bytes are not those that were exported".into(),
                bytes => format!("{bytes} bytes, and {} were exported", said.bytes),
            };
            self.say(FileFault::AlteredFile, &said.path, detail);
        } else if bytes != said.bytes || is_lines && said.records != Some(lines) {
            let detail = format!("what it says of {} does not fit the file", said.path);
            self.say(FileFault::AlteredManifest, MANIFEST, detail);
        }
        Ok(())
    }
}

/// Whether it leads nowhere but below.
fn is_within(path: &str) -> bool {
    Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
}

/// All that is below, by path, and whether it is a plain file. Links are told, not followed.
fn files(root: &Path) -> Result<BTreeMap<String, bool>, CheckError> {
    let mut found = BTreeMap::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(within) = todo.pop() {
        let directory = root.join(&within);
        for entry in fs::read_dir(&directory).map_err(failed(&directory))? {
            let entry = entry.map_err(failed(&directory))?;
            let kind = entry.file_type().map_err(failed(&entry.path()))?;
            let path = within.join(entry.file_name());
            if kind.is_dir() {
                todo.push(path);
            } else {
                found.insert(path.to_string_lossy().into_owned(), kind.is_file());
            }
        }
    }
    Ok(found)
}

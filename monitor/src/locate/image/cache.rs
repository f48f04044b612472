//! Where the image is kept: beside the store, or in memory where nothing can be written.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, BufWriter, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

use rustix::fs::{MemfdFlags, memfd_create};

use super::{Image, layout};
use crate::locate::{LocateError, build::Built};

const NAME: &str = "geo.img";
/// It is written under this name first.
const UNFINISHED: &str = "geo.img.new";
/// It tells which networks the configuration names.
const MODE: u32 = 0o640;
/// As the store makes it.
const FOLDER_MODE: u32 = 0o750;

/// What may be done with the image on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache<'a> {
    /// Nothing: it is built in memory.
    Off,
    /// Used if it is there and fits: for commands, which change nothing.
    Read(&'a Path),
    /// Written where it does not fit. The folder is made if need be.
    Keep(&'a Path),
}

/// The image on disk if it was built from `inputs` and is whole, else a new one.
pub(in super::super) fn obtain(
    cache: Cache<'_>,
    inputs: &[u8; 32],
    build: impl FnOnce() -> Result<(Built, Vec<u8>), LocateError>,
) -> Result<Image, LocateError> {
    if let Cache::Read(folder) | Cache::Keep(folder) = cache {
        match File::open(folder.join(NAME)).and_then(|file| Image::open(&file, inputs)) {
            Ok(image) => return Ok(image),
            Err(error) => tracing::debug!("the image of addresses is built: {error}"),
        }
    }
    let (built, sources) = build()?;
    if let Cache::Keep(folder) = cache {
        match keep(folder, &built, &sources, *inputs) {
            Ok(file) => {
                // What it was made of takes as much memory again.
                drop((built, sources));
                return Image::open(&file, inputs).map_err(LocateError::Image);
            }
            Err(error) => tracing::warn!(
                "the image of addresses can't be kept in {} ({error}): it takes memory, and is built \
                 again at each start",
                folder.display()
            ),
        }
    }
    let file = in_memory(&built, &sources, *inputs).map_err(LocateError::Image)?;
    drop((built, sources));
    Image::open(&file, inputs).map_err(LocateError::Image)
}

fn keep(folder: &Path, built: &Built, sources: &[u8], inputs: [u8; 32]) -> io::Result<File> {
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder)?;
    let unfinished = folder.join(UNFINISHED);
    // What a crash left there is of no use.
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file =
        OpenOptions::new().read(true).write(true).create_new(true).mode(MODE).open(&unfinished)?;
    let written = write(&file, built, sources, inputs)
        .and_then(|()| fs::rename(&unfinished, folder.join(NAME)));
    if let Err(error) = written {
        // Part of an image would fill a full disk for nothing.
        let _ = fs::remove_file(&unfinished);
        return Err(error);
    }
    // Not synced, which would take longer than to build it: what a power cut leaves of it is found
    // out when it is opened, and built again. Held open for writing it would keep its file system from
    // being made read-only.
    File::open(folder.join(NAME))
}

/// Writes the kept image to the disk. What is not written yet counts as the memory of whoever wrote it, and can't be taken
/// back from him.
pub fn settle(folder: &Path) -> io::Result<()> {
    File::open(folder.join(NAME))?.sync_data()
}

fn in_memory(built: &Built, sources: &[u8], inputs: [u8; 32]) -> io::Result<File> {
    let file = File::from(memfd_create("geofenced-image", MemfdFlags::CLOEXEC)?);
    write(&file, built, sources, inputs)?;
    Ok(file)
}

fn write(file: &File, built: &Built, sources: &[u8], inputs: [u8; 32]) -> io::Result<()> {
    let mut out = BufWriter::new(file);
    layout::write(&mut out, built, sources, inputs)?;
    out.flush()
}

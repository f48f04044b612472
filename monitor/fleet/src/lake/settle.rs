//! Many small files of a day become few large ones: engines take longer to open a file than to read it. Their groups
//! of rows are copied as they are. A day changes in one step, and what became a part of a larger file is known by
//! its name: it is not written a second time.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, BufWriter},
    path::{Path, PathBuf},
    sync::Arc,
};

use parquet::{
    column::writer::ColumnCloseResult,
    errors::ParquetError,
    file::{
        metadata::{KeyValue, ParquetMetaData, ParquetMetaDataReader},
        properties::WriterProperties,
        writer::SerializedFileWriter,
    },
};
use rustix::fs::RenameFlags;

use super::{KINDS, file::LakeError};
use crate::object::Short;

/// Fewer small files of a day than these are left as they are.
const LEAST: usize = 8;
/// So many go into one, so that what describes its groups stays small.
const MOST: usize = 256;
/// One of so many is large enough, and is not copied again.
const FULL: usize = 128;
const SETTLED: &str = "settled-";
/// Beside a large file: the names of what is in it.
const NAMES: &str = "names";

fn io_failed(path: &Path) -> impl FnOnce(io::Error) -> LakeError {
    let path = path.to_owned();
    move |source| LakeError::File { path, source }
}

/// Names in a folder; none where there is no such folder.
fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read?,
    };
    let mut all = Vec::new();
    for entry in entries {
        all.extend(entry?.file_name().into_string());
    }
    all.sort();
    Ok(all)
}

/// What stands in the large files of a day.
fn parts_of(folder: &Path, settled: &str) -> io::Result<Vec<String>> {
    let text = fs::read_to_string(folder.join(settled).with_extension(NAMES))?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// Whether a file, as it would be called, is a part of a large one already.
pub fn is_settled(path: &Path) -> Result<bool, LakeError> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Ok(false) };
    let look = || -> io::Result<bool> {
        for settled in names(folder)?.iter().filter(|it| is_large(it)) {
            if parts_of(folder, settled)?.iter().any(|it| name == it.as_str()) {
                return Ok(true);
            }
        }
        Ok(false)
    };
    look().map_err(io_failed(folder))
}

fn is_large(name: &str) -> bool {
    name.starts_with(SETTLED) && is_table(name)
}

fn is_table(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|it| it == "parquet")
}

/// Settles each day of which there is enough. `is_held`: whether all is known of the segment that a file is of, by
/// the file's name.
pub fn settle(lake: &Path, is_held: impl Fn(&str) -> bool) -> Result<(), LakeError> {
    for (kind, _) in KINDS.into_iter().chain([super::FLOWS]) {
        let folder = lake.join(kind);
        for day in names(&folder).map_err(io_failed(&folder))? {
            if day.starts_with("day=") {
                while settle_day(&folder.join(day.as_str()), &is_held)? {}
            } else if day.starts_with('.') {
                // What a collector that was killed left of one.
                let path = folder.join(&day);
                fs::remove_dir_all(&path).map_err(io_failed(&path))?;
            }
        }
    }
    Ok(())
}

/// Whether there may be more to do.
fn settle_day(folder: &Path, is_held: &impl Fn(&str) -> bool) -> Result<bool, LakeError> {
    let all = names(folder).map_err(io_failed(folder))?;
    let small = all.iter().filter(|it| is_table(it) && !is_large(it) && is_held(it));
    let mut chosen: Vec<String> = small.take(MOST).cloned().collect();
    if chosen.len() < LEAST {
        return Ok(false);
    }
    let is_more = chosen.len() == MOST;
    let mut parts = chosen.clone();
    for settled in all.iter().filter(|it| is_large(it)) {
        let of = parts_of(folder, settled).map_err(io_failed(folder))?;
        if of.len() < FULL && parts.len() + of.len() <= MOST {
            parts.extend(of);
            chosen.push(settled.clone());
        }
    }
    let chosen = alike(folder, chosen)?;
    if chosen.len() < 2 {
        return Ok(false);
    }
    let kept: Vec<&String> =
        all.iter().filter(|it| !chosen.iter().any(|(of, _)| of == *it)).collect();
    let new = folder
        .with_file_name(format!(".{}", folder.file_name().unwrap_or_default().to_string_lossy()));
    join(folder, &new, &chosen)?;
    let swap = || -> io::Result<()> {
        let gone: BTreeSet<String> = chosen.iter().map(|(it, _)| names_of(it)).collect();
        for name in kept.into_iter().filter(|it| !gone.contains(*it)) {
            fs::hard_link(folder.join(name), new.join(name))?;
        }
        rustix::fs::syncfs(File::open(&new)?)?;
        let here = rustix::fs::CWD;
        rustix::fs::renameat_with(here, &new, here, folder, RenameFlags::EXCHANGE)?;
        rustix::fs::syncfs(File::open(folder)?)?;
        fs::remove_dir_all(&new)
    };
    swap().map_err(io_failed(folder))?;
    Ok(is_more)
}

fn names_of(settled: &str) -> String {
    Path::new(settled).with_extension(NAMES).to_string_lossy().into_owned()
}

/// Those of the same columns as the first.
fn alike(folder: &Path, chosen: Vec<String>) -> Result<Vec<(String, ParquetMetaData)>, LakeError> {
    let mut alike: Vec<(String, ParquetMetaData)> = Vec::new();
    for name in chosen {
        let path = folder.join(&name);
        let file = File::open(&path).map_err(io_failed(&path))?;
        let about = ParquetMetaDataReader::new().parse_and_finish(&file);
        let about = about.map_err(|source| LakeError::Table { path, source })?;
        let schema = |it: &ParquetMetaData| it.file_metadata().schema_descr().root_schema_ptr();
        if alike.first().is_none_or(|(_, first)| schema(first) == schema(&about)) {
            alike.push((name, about));
        }
    }
    Ok(alike)
}

/// One file of these in a new folder, with the names of what is in it.
fn join(from: &Path, to: &Path, chosen: &[(String, ParquetMetaData)]) -> Result<(), LakeError> {
    let Some((_, first)) = chosen.first() else { return Ok(()) };
    let (mut parts, mut told) = (Vec::new(), Vec::new());
    for (name, about) in chosen {
        if is_large(name) {
            parts.extend(parts_of(from, name).map_err(io_failed(from))?);
        } else {
            parts.push(name.clone());
        }
        told.extend(said(name, about));
    }
    parts.sort();
    let name = format!("{SETTLED}{}.parquet", Short::of_bytes(parts.concat().as_bytes()));
    let path = to.join(&name);
    let begin = || -> io::Result<File> {
        if to.exists() {
            fs::remove_dir_all(to)?;
        }
        fs::create_dir_all(to)?;
        fs::write(path.with_extension(NAMES), parts.join("\n") + "\n")?;
        File::create(&path)
    };
    let file = begin().map_err(io_failed(&path))?;
    let written = copy(from, file, (first, &told), chosen);
    written.map_err(|source| LakeError::Table { path, source })
}

/// What each part says of itself, under its name; of a large one as it stands there.
fn said(name: &str, about: &ParquetMetaData) -> Vec<KeyValue> {
    let all = about.file_metadata().key_value_metadata().cloned().unwrap_or_default();
    let own = all.into_iter().filter(|it| it.key.starts_with("geofenced."));
    if is_large(name) {
        return own.collect();
    }
    let named = |it: KeyValue| KeyValue { key: format!("{}@{name}", it.key), value: it.value };
    own.map(named).collect()
}

fn copy(
    from: &Path,
    to: File,
    (first, told): (&ParquetMetaData, &[KeyValue]),
    chosen: &[(String, ParquetMetaData)],
) -> Result<(), ParquetError> {
    let properties = WriterProperties::builder()
        .set_created_by(concat!("geofenced-fleet ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_offset_index_disabled(true)
        .set_key_value_metadata(Some(told.to_vec()))
        .build();
    let schema = first.file_metadata().schema_descr().root_schema_ptr();
    let mut out = SerializedFileWriter::new(BufWriter::new(to), schema, Arc::new(properties))?;
    for (name, about) in chosen {
        let path: PathBuf = from.join(name);
        let file = File::open(path)?;
        for group in about.row_groups() {
            let mut copied = out.next_row_group()?;
            for column in group.columns() {
                let close = ColumnCloseResult {
                    bytes_written: column.compressed_size().cast_unsigned(),
                    rows_written: group.num_rows().cast_unsigned(),
                    metadata: column.clone(),
                    bloom_filter: None,
                    column_index: None,
                    offset_index: None,
                };
                copied.append_column(&file, close)?;
            }
            copied.close()?;
        }
    }
    out.into_inner()?.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use parquet::file::reader::{FileReader as _, SerializedFileReader};

    use super::*;
    use crate::lake::Table;

    const DAY: &str = "flows/day=2026-10-01";

    /// A file of so many rows, each with a number of its own.
    fn write(lake: &Path, name: &str, first: u64, rows: u64) {
        let mut table =
            Table::new(lake.join(DAY).join(name), vec![("geofenced.origin", name.into())]);
        for number in first..first + rows {
            table
                .row(|to| {
                    to.count("number", number);
                    to.own("name", Some(&format!("name {}", number % 3)));
                    to.word("none", None);
                    to.name("id", format!("{number:032}").as_bytes());
                })
                .unwrap();
        }
        table.finish(Vec::new()).unwrap().name().unwrap();
    }

    fn rows(lake: &Path) -> Vec<String> {
        let folder = lake.join(DAY);
        let tables = names(&folder).unwrap().into_iter().filter(|it| is_table(it));
        let mut all = Vec::new();
        for name in tables {
            let reader = SerializedFileReader::new(File::open(folder.join(name)).unwrap()).unwrap();
            all.extend(reader.get_row_iter(None).unwrap().map(|row| row.unwrap().to_string()));
        }
        all.sort();
        all
    }

    #[test]
    fn small_files_become_one_in_which_each_row_is_once_and_which_says_of_what_it_is() {
        let lake = tempfile::tempdir().unwrap();
        let lake = lake.path();
        for number in 0..20 {
            write(lake, &format!("abc-{number:08}-00.parquet"), number * 50, 50);
        }
        write(lake, "abc-00000099-00.parquet", 5_000, 3);
        let before = rows(lake);
        assert_eq!(before.len(), 1_003);
        let is_held = |name: &str| !name.contains("-00000099-");
        settle(lake, is_held).unwrap();
        assert_eq!(rows(lake), before);
        let all = names(&lake.join(DAY)).unwrap();
        let tables: Vec<&String> = all.iter().filter(|it| is_table(it)).collect();
        assert!(tables.len() == 2 && is_large(tables[1]), "{all:?}");
        let path = |name: &str| lake.join(DAY).join(name);
        assert!(is_settled(&path("abc-00000007-00.parquet")).unwrap());
        assert!(!is_settled(&path("abc-00000099-00.parquet")).unwrap());
        assert!(!is_settled(&path("abc-00000007-01.parquet")).unwrap());
        let about =
            ParquetMetaDataReader::new().parse_and_finish(&File::open(path(tables[1])).unwrap());
        let about = about.unwrap();
        let told = about.file_metadata().key_value_metadata().unwrap();
        assert_eq!(
            told.iter().filter(|it| it.key.starts_with("geofenced.origin@abc-")).count(),
            20
        );
        // More of that day goes into the same, and what is of a collector that was killed goes.
        for number in 30..40 {
            write(lake, &format!("abc-{number:08}-00.parquet"), 10_000 + number * 50, 50);
        }
        fs::create_dir(lake.join("flows/.day=2026-10-01")).unwrap();
        let before = rows(lake);
        settle(lake, is_held).unwrap();
        assert_eq!(rows(lake), before);
        let tables = names(&lake.join(DAY)).unwrap().into_iter().filter(|it| is_table(it)).count();
        assert_eq!(tables, 2);
        assert_eq!(names(&lake.join("flows")).unwrap(), ["day=2026-10-01"]);
        settle(lake, is_held).unwrap();
        assert_eq!(rows(lake), before);
    }

    #[test]
    fn few_files_and_files_of_other_columns_are_left_as_they_are() {
        let lake = tempfile::tempdir().unwrap();
        let lake = lake.path();
        for number in 0..LEAST - 1 {
            write(lake, &format!("abc-{number:08}-00.parquet"), 0, 5);
        }
        let before = names(&lake.join(DAY)).unwrap();
        settle(lake, |_| true).unwrap();
        assert_eq!(names(&lake.join(DAY)).unwrap(), before);
        let mut other = Table::new(lake.join(DAY).join("zzz-00000001-00.parquet"), Vec::new());
        other.row(|to| to.count("other", 1)).unwrap();
        other.finish(Vec::new()).unwrap().name().unwrap();
        settle(lake, |_| true).unwrap();
        let tables = names(&lake.join(DAY)).unwrap().into_iter().filter(|it| is_table(it));
        let tables: Vec<String> = tables.collect();
        assert!(tables.len() == 2 && tables[1] == "zzz-00000001-00.parquet", "{tables:?}");
    }
}

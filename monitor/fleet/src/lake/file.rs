//! A Parquet file: rows in, whole on the disk under its name or not there at all. Only this file, `columns` and
//! `pages` know the crate.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use parquet::{
    basic::{
        Compression, Encoding, LogicalType, Repetition, TimeUnit, Type as Physical, ZstdLevel,
    },
    column::writer::ColumnWriter,
    errors::ParquetError,
    file::{
        metadata::KeyValue,
        properties::{EnabledStatistics, WriterProperties},
        writer::SerializedFileWriter,
    },
    schema::types::{self, ColumnPath},
};

use super::{
    columns::{Column, Columns, Type, Values},
    pages::Pages,
};

/// Rows of a group: enough to compress and to be skipped by their least and greatest, few enough to wait.
pub const GROUP_ROWS: usize = 32_768;
const PAGE_BYTES: usize = 512 * 1024;
const ZSTD: i32 = 1;
/// So much of a file waits in memory.
const WAITING_BYTES: usize = 1 << 20;
/// Behind the name of a file that is not whole: engines take what ends as tables do.
const UNFINISHED: &str = ".part";

#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    #[error("cannot write {path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("cannot write {path}: {source}")]
    Table { path: PathBuf, source: ParquetError },
}

/// What stands beside the rows, for whoever asks what they rest on.
pub type About = Vec<(&'static str, String)>;

/// The end of a file, opened when there is something to be written: of whatever is told of however many days, few
/// files are open.
#[derive(Debug)]
struct End {
    path: PathBuf,
    waits: Vec<u8>,
}

impl End {
    fn begin(path: &Path) -> io::Result<Self> {
        File::create(path)?;
        Ok(Self { path: path.to_owned(), waits: Vec::new() })
    }

    fn write_out(&mut self) -> io::Result<()> {
        OpenOptions::new().append(true).open(&self.path)?.write_all(&self.waits)?;
        self.waits.clear();
        Ok(())
    }
}

impl io::Write for End {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.waits.extend_from_slice(bytes);
        if self.waits.len() > WAITING_BYTES {
            self.write_out()?;
        }
        Ok(bytes.len())
    }

    /// The crate asks for it behind each group.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file in the making.
#[derive(Debug)]
pub struct Table {
    path: PathBuf,
    unfinished: PathBuf,
    about: About,
    columns: Columns,
    writer: Option<SerializedFileWriter<End>>,
}

fn column_type(column: &Column) -> Result<types::TypePtr, ParquetError> {
    let (physical, logical) = match column.of {
        Type::Text | Type::Name => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        Type::Number | Type::Count => (Physical::INT64, None),
        Type::Time => (Physical::INT64, Some(LogicalType::timestamp(true, TimeUnit::NANOS))),
        Type::Flag => (Physical::BOOLEAN, None),
    };
    let built = types::Type::primitive_type_builder(column.name, physical)
        .with_repetition(Repetition::OPTIONAL)
        .with_logical_type(logical)
        .build()?;
    Ok(Arc::new(built))
}

fn properties(columns: &Columns, about: &About) -> Result<WriterProperties, ParquetError> {
    let about = about.iter().map(|(key, value)| KeyValue::new((*key).to_owned(), value.clone()));
    let mut builder = WriterProperties::builder()
        .set_created_by(concat!("geofenced-fleet ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD)?))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .set_data_page_size_limit(PAGE_BYTES)
        .set_offset_index_disabled(true)
        .set_key_value_metadata(Some(about.collect()));
    for column in &columns.all {
        let path = ColumnPath::from(column.name);
        // Texts are written by `pages`; numbers that are near each other are told as steps.
        builder = match column.of {
            Type::Text | Type::Name | Type::Number | Type::Flag => builder,
            Type::Count | Type::Time => builder
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED),
        };
    }
    Ok(builder.build())
}

fn write_group(
    writer: &mut SerializedFileWriter<End>,
    columns: &Columns,
    pages: &mut Pages,
) -> Result<(), ParquetError> {
    let about: Vec<_> = writer.schema_descr().columns().to_vec();
    let mut group = writer.next_row_group()?;
    for (column, about) in columns.all.iter().zip(about) {
        let chunk = match &column.values {
            Values::Texts(texts) => Some(pages.texts(about, &column.levels, texts)?),
            Values::Names(names) => Some(pages.names(about, &column.levels, names)?),
            Values::Numbers(_) | Values::Flags(_) => None,
        };
        if let Some((bytes, close)) = chunk {
            group.append_column(&bytes, close)?;
            continue;
        }
        let Some(mut out) = group.next_column()? else { break };
        let levels = Some(column.levels.as_slice());
        match (out.untyped(), &column.values) {
            (ColumnWriter::Int64ColumnWriter(out), Values::Numbers(values)) => {
                out.write_batch(values, levels, None)?;
            }
            (ColumnWriter::BoolColumnWriter(out), Values::Flags(values)) => {
                out.write_batch(values, levels, None)?;
            }
            _ => return Err(ParquetError::General(format!("{} has another type", column.name))),
        }
        out.close()?;
    }
    group.close()?;
    Ok(())
}

impl Table {
    /// `path`: as it will be called.
    pub fn new(path: PathBuf, about: About) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let unfinished = path.with_file_name(format!("{name}{UNFINISHED}"));
        Self { path, unfinished, about, columns: Columns::default(), writer: None }
    }

    /// Lets somebody add a row.
    pub fn row(&mut self, fill: impl FnOnce(&mut Columns)) -> Result<(), LakeError> {
        fill(&mut self.columns);
        self.columns.end_row();
        if self.columns.rows() >= GROUP_ROWS { self.write() } else { Ok(()) }
    }

    fn io(&self, source: io::Error) -> LakeError {
        LakeError::File { path: self.path.clone(), source }
    }

    fn table(&self, source: ParquetError) -> LakeError {
        LakeError::Table { path: self.path.clone(), source }
    }

    fn begin(&self) -> Result<SerializedFileWriter<End>, LakeError> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(|error| self.io(error))?;
        let file = End::begin(&self.unfinished).map_err(|error| self.io(error))?;
        let begun = (|| {
            let fields = self.columns.all.iter().map(column_type).collect::<Result<Vec<_>, _>>()?;
            let schema =
                types::Type::group_type_builder("geofenced").with_fields(fields).build()?;
            let properties = Arc::new(properties(&self.columns, &self.about)?);
            SerializedFileWriter::new(file, Arc::new(schema), properties)
        })();
        begun.map_err(|error| self.table(error))
    }

    /// The rows that wait, as a group.
    fn write(&mut self) -> Result<(), LakeError> {
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => self.begin()?,
        };
        let written = Pages::new(ZSTD)
            .and_then(|mut pages| write_group(&mut writer, &self.columns, &mut pages));
        written.map_err(|error| self.table(error))?;
        self.columns.clear();
        self.writer = Some(writer);
        Ok(())
    }

    /// Rows that wait become a group.
    pub fn end_group(&mut self) -> Result<(), LakeError> {
        if self.columns.rows() > 0 { self.write() } else { Ok(()) }
    }

    /// There are no more rows for now.
    pub fn pause(&mut self) -> Result<(), LakeError> {
        self.end_group()?;
        self.columns = Columns::default();
        Ok(())
    }

    /// What waits, and the foot of the file, which says this, too. It is whole then, under another name.
    pub fn finish(mut self, about: About) -> Result<Finished, LakeError> {
        self.pause()?;
        if let Some(mut writer) = self.writer.take() {
            for (key, value) in about {
                writer.append_key_value_metadata(KeyValue::new(key.to_owned(), value));
            }
            let mut end = writer.into_inner().map_err(|error| self.table(error))?;
            end.write_out().map_err(|error| self.io(error))?;
        }
        Ok(Finished { path: self.path, unfinished: self.unfinished })
    }
}

/// A file that is whole and waits for its name.
#[derive(Debug)]
pub struct Finished {
    path: PathBuf,
    unfinished: PathBuf,
}

impl Finished {
    fn failed(&self, source: io::Error) -> LakeError {
        LakeError::File { path: self.path.clone(), source }
    }

    /// From here on it is read. On the disk when this returns `Ok`.
    pub fn name(self) -> Result<(), LakeError> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let named = File::open(&self.unfinished)
            .and_then(|file| file.sync_all())
            .and_then(|()| fs::rename(&self.unfinished, &self.path))
            .and_then(|()| File::open(folder)?.sync_all());
        named.map_err(|error| self.failed(error))
    }
}

/// The same of many that belong together and lie below one folder: to wait for the disk for each would take longer
/// than to write them.
pub fn name_all(below: &Path, files: &[Finished]) -> Result<(), LakeError> {
    let Some(any) = files.first() else { return Ok(()) };
    let sync = || -> io::Result<()> { Ok(rustix::fs::syncfs(File::open(below)?)?) };
    sync().map_err(|error| any.failed(error))?;
    for it in files {
        fs::rename(&it.unfinished, &it.path).map_err(|error| it.failed(error))?;
    }
    sync().map_err(|error| any.failed(error))
}

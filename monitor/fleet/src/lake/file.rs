//! A Parquet file: rows in, whole on the disk under its name or not there at all. Only this file and `columns`
//! know the crate.

use std::{
    fs::{self, File},
    io,
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

use super::columns::{Column, Columns, Type, Values};

/// Rows of a group: enough to compress and to be skipped by their least and greatest, few enough to wait.
pub const GROUP_ROWS: usize = 32_768;
const PAGE_BYTES: usize = 512 * 1024;
const ZSTD: i32 = 1;
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

/// A file in the making.
#[derive(Debug)]
pub struct Table {
    path: PathBuf,
    unfinished: PathBuf,
    about: About,
    columns: Columns,
    writer: Option<SerializedFileWriter<File>>,
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
        .set_key_value_metadata(Some(about.collect()));
    for column in &columns.all {
        let path = ColumnPath::from(column.name);
        // What hardly comes again is no dictionary's; numbers that are near each other are told as steps.
        builder = match column.of {
            Type::Text | Type::Number | Type::Flag => builder,
            Type::Name => builder.set_column_dictionary_enabled(path, false),
            Type::Count | Type::Time => builder
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED),
        };
    }
    Ok(builder.build())
}

fn write_group(
    writer: &mut SerializedFileWriter<File>,
    columns: &Columns,
) -> Result<(), ParquetError> {
    let mut group = writer.next_row_group()?;
    for column in &columns.all {
        let Some(mut out) = group.next_column()? else { break };
        let levels = Some(column.levels.as_slice());
        match (out.untyped(), &column.values) {
            (ColumnWriter::ByteArrayColumnWriter(out), Values::Texts(values)) => {
                out.write_batch(values, levels, None)?;
            }
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

    fn begin(&self) -> Result<SerializedFileWriter<File>, LakeError> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(|error| self.io(error))?;
        let file = File::create(&self.unfinished).map_err(|error| self.io(error))?;
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
        let written = write_group(&mut writer, &self.columns);
        written.map_err(|error| self.table(error))?;
        self.columns.clear();
        self.writer = Some(writer);
        Ok(())
    }

    /// What waits, and the foot of the file. It is whole and on the disk then, under another name.
    pub fn finish(mut self) -> Result<Finished, LakeError> {
        if self.columns.rows() > 0 {
            self.write()?;
        }
        if let Some(writer) = self.writer.take() {
            let file = writer.into_inner().map_err(|error| self.table(error))?;
            file.sync_all().map_err(|error| self.io(error))?;
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
    /// From here on it is read.
    pub fn name(self) -> Result<PathBuf, LakeError> {
        let failed = |source| LakeError::File { path: self.path.clone(), source };
        fs::rename(&self.unfinished, &self.path).map_err(failed)?;
        let folder = self.path.parent().unwrap_or(Path::new("."));
        File::open(folder).and_then(|it| it.sync_all()).map_err(failed)?;
        Ok(self.path)
    }
}

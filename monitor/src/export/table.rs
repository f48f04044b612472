//! A Parquet file that is written: rows gather until they are a group, then each column of it is compressed and
//! written, with its least and greatest value. Only this file and `columns` know the crate.

use std::sync::Arc;

use parquet::{
    basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical, ZstdLevel},
    column::writer::ColumnWriter,
    errors::ParquetError,
    file::{
        properties::{EnabledStatistics, WriterProperties},
        writer::SerializedFileWriter,
    },
    schema::types,
};

use super::{
    ExportError, Row,
    columns::{Column, Columns, Type, Values},
    files::PartFile,
    rows,
};

/// Rows of a group: enough to compress, few enough to wait in memory.
const GROUP_ROWS: usize = 8_192;
const PAGE_BYTES: usize = 128 * 1024;
const ZSTD: i32 = 3;

/// A table in the making. Its columns are those of its first row.
#[derive(Debug)]
pub(super) struct Table {
    columns: Columns,
    state: State,
}

#[derive(Debug)]
enum State {
    /// No group was written yet.
    New(PartFile),
    Begun(SerializedFileWriter<PartFile>),
    /// Writing failed.
    Broken,
}

fn column_type(column: &Column) -> Result<types::TypePtr, ParquetError> {
    let (physical, logical) = match column.of {
        Type::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        Type::Json => (Physical::BYTE_ARRAY, Some(LogicalType::Json)),
        Type::Number => (Physical::INT64, None),
        Type::Time => (Physical::INT64, Some(LogicalType::timestamp(true, TimeUnit::NANOS))),
        Type::Flag => (Physical::BOOLEAN, None),
    };
    let built = types::Type::primitive_type_builder(column.name, physical)
        .with_repetition(Repetition::OPTIONAL)
        .with_logical_type(logical)
        .build()?;
    Ok(Arc::new(built))
}

fn properties() -> Result<WriterProperties, ParquetError> {
    let level = ZstdLevel::try_new(ZSTD)?;
    Ok(WriterProperties::builder()
        .set_created_by(concat!("geofenced ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(level))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_data_page_size_limit(PAGE_BYTES)
        .set_dictionary_page_size_limit(PAGE_BYTES)
        .build())
}

fn begin(
    columns: &Columns,
    file: PartFile,
) -> Result<SerializedFileWriter<PartFile>, ParquetError> {
    let fields = columns.all.iter().map(column_type).collect::<Result<Vec<_>, _>>()?;
    let schema = types::Type::group_type_builder("geofenced").with_fields(fields).build()?;
    SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties()?))
}

fn write_group(
    writer: &mut SerializedFileWriter<PartFile>,
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
    pub(super) fn new(file: PartFile) -> Self {
        Self { columns: Columns::default(), state: State::New(file) }
    }

    pub(super) fn push(&mut self, row: Row<'_, '_>) -> Result<(), ExportError> {
        match row {
            Row::Flow(event) => rows::flow(event, &mut self.columns),
            Row::Rollup(event) => rows::rollup(event, &mut self.columns),
        }
        if self.columns.rows() >= GROUP_ROWS { self.write() } else { Ok(()) }
    }

    /// The rows that wait, as a group.
    fn write(&mut self) -> Result<(), ExportError> {
        let (mut writer, path) = match std::mem::replace(&mut self.state, State::Broken) {
            State::New(file) => {
                let path = file.path().to_owned();
                let failed = |source: ParquetError| ExportError::Table {
                    path: path.clone(),
                    source: source.into(),
                };
                (begin(&self.columns, file).map_err(failed)?, path)
            }
            State::Begun(writer) => {
                let path = writer.inner().path().to_owned();
                (writer, path)
            }
            State::Broken => return Ok(()),
        };
        let written = write_group(&mut writer, &self.columns);
        written.map_err(|source| ExportError::Table { path, source: source.into() })?;
        writer.inner_mut().records += self.columns.rows() as u64;
        self.columns.clear();
        self.state = State::Begun(writer);
        Ok(())
    }

    /// What waits, and the foot of the file, which makes it one.
    pub(super) fn close(mut self) -> Result<PartFile, ExportError> {
        if self.columns.rows() > 0 {
            self.write()?;
        }
        match self.state {
            State::New(file) => Ok(file),
            State::Begun(writer) => {
                let path = writer.inner().path().to_owned();
                let file = writer.into_inner();
                file.map_err(|source| ExportError::Table { path, source: source.into() })
            }
            State::Broken => Err(ExportError::Unfinished),
        }
    }
}

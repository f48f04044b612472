//! Texts as pages of Parquet: a dictionary and the numbers of rows in it, or one behind the other. The crate's own
//! writer would hash each value of each row, which takes longer than all the rest of collecting.

use bytes::Bytes;
use parquet::{
    basic::{Compression, Encoding, ZstdLevel},
    column::{
        page::{CompressedPage, Page, PageWriter as _},
        writer::ColumnCloseResult,
    },
    data_type::ByteArray,
    errors::ParquetError,
    file::{
        metadata::ColumnChunkMetaData,
        statistics::Statistics,
        writer::{SerializedPageWriter, TrackedWrite},
    },
    schema::types::ColumnDescPtr,
};
use zstd::bulk::Compressor;

use super::columns::{Names, Texts};

/// Longer ones are no least and greatest: they would be in each footer.
const ENDS_BYTES: usize = 64;
/// So many of the same one behind the other are told as a run.
const RUN_LEAST: usize = 16;

/// Compresses one page after the other.
pub struct Pages {
    compressor: Compressor<'static>,
    level: i32,
    raw: Vec<u8>,
}

impl std::fmt::Debug for Pages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pages").field("level", &self.level).finish_non_exhaustive()
    }
}

/// A column of a group: its bytes, and what is known of it.
pub type Chunk = (Bytes, ColumnCloseResult);

impl Pages {
    pub fn new(level: i32) -> Result<Self, ParquetError> {
        let compressor = Compressor::new(level).map_err(ParquetError::from)?;
        Ok(Self { compressor, level, raw: Vec::new() })
    }

    pub fn texts(
        &mut self,
        about: ColumnDescPtr,
        levels: &[i16],
        texts: &Texts,
    ) -> Result<Chunk, ParquetError> {
        let mut chunk = Building::new();
        self.raw.clear();
        for text in &texts.dictionary {
            self.raw.extend_from_slice(&(text.len() as u32).to_le_bytes());
            self.raw.extend_from_slice(text.as_bytes());
        }
        let dictionary = self.compressed()?;
        chunk.page(
            self.raw.len(),
            |buf| Page::DictionaryPage {
                buf,
                num_values: texts.dictionary.len() as u32,
                encoding: Encoding::PLAIN,
                is_sorted: false,
            },
            dictionary,
        )?;
        self.begin(levels);
        let width = 32 - (texts.dictionary.len().max(2) as u32 - 1).leading_zeros();
        self.raw.push(width as u8);
        hybrid(&texts.codes, width, &mut self.raw);
        self.data(&mut chunk, levels.len(), Encoding::RLE_DICTIONARY)?;
        let ends = texts.dictionary.iter().min().zip(texts.dictionary.iter().max());
        let nulls = levels.len() - texts.codes.len();
        let ends = ends.map(|(least, greatest)| [least, greatest].map(|it| ByteArray::from(&**it)));
        let encodings = vec![Encoding::PLAIN, Encoding::RLE, Encoding::RLE_DICTIONARY];
        chunk.close(about, self.level, (levels.len(), nulls), (ends, encodings))
    }

    pub fn names(
        &mut self,
        about: ColumnDescPtr,
        levels: &[i16],
        names: &Names,
    ) -> Result<Chunk, ParquetError> {
        let mut chunk = Building::new();
        self.raw.clear();
        self.begin(levels);
        self.raw.extend_from_slice(&names.bytes);
        self.data(&mut chunk, levels.len(), Encoding::PLAIN)?;
        let text = |(from, to): (usize, usize)| ByteArray::from(names.bytes[from..to].to_vec());
        let ends = names.ends.map(|ends| ends.map(text));
        let nulls = levels.iter().filter(|it| **it == 0).count();
        let encodings = vec![Encoding::PLAIN, Encoding::RLE];
        chunk.close(about, self.level, (levels.len(), nulls), (ends, encodings))
    }

    fn compressed(&mut self) -> Result<Vec<u8>, ParquetError> {
        self.compressor.compress(&self.raw).map_err(ParquetError::from)
    }

    /// Which rows have a value, after how many bytes that takes.
    fn begin(&mut self, levels: &[i16]) {
        self.raw.clear();
        self.raw.extend_from_slice(&[0; 4]);
        if levels.iter().all(|it| *it == levels[0]) {
            run(levels.len(), levels.first().map_or(0, |it| u32::from(*it > 0)), 1, &mut self.raw);
        } else {
            let levels: Vec<u32> = levels.iter().map(|it| u32::from(*it > 0)).collect();
            hybrid(&levels, 1, &mut self.raw);
        }
        let bytes = self.raw.len() as u32 - 4;
        self.raw[..4].copy_from_slice(&bytes.to_le_bytes());
    }

    fn data(
        &mut self,
        chunk: &mut Building,
        rows: usize,
        encoding: Encoding,
    ) -> Result<(), ParquetError> {
        let compressed = self.compressed()?;
        chunk.page(
            self.raw.len(),
            |buf| Page::DataPage {
                buf,
                num_values: rows as u32,
                encoding,
                def_level_encoding: Encoding::RLE,
                rep_level_encoding: Encoding::RLE,
                statistics: None,
            },
            compressed,
        )
    }
}

/// Pages that are there, in their order.
struct Building {
    out: TrackedWrite<Vec<u8>>,
    uncompressed: usize,
    /// Where data begin.
    data_at: i64,
    has_dictionary: bool,
}

impl Building {
    fn new() -> Self {
        let out = TrackedWrite::new(Vec::new());
        Self { out, uncompressed: 0, data_at: 0, has_dictionary: false }
    }

    fn page(
        &mut self,
        raw_bytes: usize,
        page: impl FnOnce(Bytes) -> Page,
        compressed: Vec<u8>,
    ) -> Result<(), ParquetError> {
        let page = CompressedPage::new(page(compressed.into()), raw_bytes);
        let is_dictionary = matches!(page.compressed_page(), Page::DictionaryPage { .. });
        let told = SerializedPageWriter::new(&mut self.out).write_page(page)?;
        self.uncompressed += told.uncompressed_size;
        if is_dictionary {
            self.has_dictionary = true;
            self.data_at = told.bytes_written.cast_signed();
        }
        Ok(())
    }

    fn close(
        self,
        about: ColumnDescPtr,
        level: i32,
        (rows, nulls): (usize, usize),
        (ends, encodings): (Option<[ByteArray; 2]>, Vec<Encoding>),
    ) -> Result<Chunk, ParquetError> {
        let bytes: Bytes = self.out.into_inner()?.into();
        let ends = ends.filter(|ends| ends.iter().all(|it| it.len() <= ENDS_BYTES));
        let (least, greatest) = ends.map_or((None, None), |[a, b]| (Some(a), Some(b)));
        let nulls = Some(nulls as u64);
        let metadata = ColumnChunkMetaData::builder(about)
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(level)?))
            .set_encodings(encodings)
            .set_total_compressed_size(bytes.len().cast_signed() as i64)
            .set_total_uncompressed_size(self.uncompressed.cast_signed() as i64)
            .set_num_values(rows.cast_signed() as i64)
            .set_data_page_offset(self.data_at)
            .set_dictionary_page_offset(self.has_dictionary.then_some(0))
            .set_statistics(Statistics::byte_array(least, greatest, None, nulls, false))
            .build()?;
        let close = ColumnCloseResult {
            bytes_written: bytes.len() as u64,
            rows_written: rows as u64,
            metadata,
            bloom_filter: None,
            column_index: None,
            offset_index: None,
        };
        Ok((bytes, close))
    }
}

fn varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn run(length: usize, value: u32, width: u32, out: &mut Vec<u8>) {
    varint((length as u64) << 1, out);
    out.extend_from_slice(&value.to_le_bytes()[..width.div_ceil(8) as usize]);
}

/// Eight by eight, the last filled up with zeros.
fn packed(values: &[u32], width: u32, out: &mut Vec<u8>) {
    if values.is_empty() {
        return;
    }
    varint((values.len().div_ceil(8) as u64) << 1 | 1, out);
    let (mut bits, mut held) = (0_u64, 0);
    let zeros = values.len().next_multiple_of(8) - values.len();
    for value in values.iter().copied().chain(std::iter::repeat_n(0, zeros)) {
        bits |= u64::from(value) << held;
        held += width;
        while held >= 8 {
            out.push(bits as u8);
            bits >>= 8;
            held -= 8;
        }
    }
}

/// Parquet's hybrid of runs and packed bits, for values of so many bits.
fn hybrid(values: &[u32], width: u32, out: &mut Vec<u8>) {
    let (mut at, mut waits) = (0, 0);
    while at < values.len() {
        let same = |count: usize| {
            values[at..].iter().take(count).take_while(|it| **it == values[at]).count()
        };
        if same(RUN_LEAST) == RUN_LEAST {
            packed(&values[waits..at], width, out);
            let length = same(usize::MAX);
            run(length, values[at], width, out);
            at += length;
            waits = at;
        } else {
            at = (at + 8).min(values.len());
        }
    }
    packed(&values[waits..], width, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By the words of the format's description alone.
    fn unpacked(mut bytes: &[u8], width: u32, count: usize) -> Vec<u32> {
        let mut values = Vec::new();
        while values.len() < count {
            let (mut head, mut shift) = (0_u64, 0);
            loop {
                let byte = bytes[0];
                bytes = &bytes[1..];
                head |= u64::from(byte & 0x7f) << shift;
                shift += 7;
                if byte < 0x80 {
                    break;
                }
            }
            if head & 1 == 0 {
                let mut value = [0; 4];
                let length = width.div_ceil(8) as usize;
                value[..length].copy_from_slice(&bytes[..length]);
                bytes = &bytes[length..];
                values.extend(std::iter::repeat_n(u32::from_le_bytes(value), (head >> 1) as usize));
            } else {
                let count = (head >> 1) as usize * 8;
                let bit = |at: usize| u32::from(bytes[at / 8] >> (at % 8) & 1);
                for at in 0..count {
                    let from = at * width as usize;
                    values.push((0..width).map(|it| bit(from + it as usize) << it).sum());
                }
                bytes = &bytes[count * width as usize / 8..];
            }
        }
        assert!(bytes.is_empty());
        values.truncate(count);
        values
    }

    #[test]
    fn codes_of_any_length_and_width_in_and_out_of_runs_come_back() {
        let mut rng = fastrand::Rng::with_seed(3);
        for width in [1, 2, 3, 7, 8, 9, 15, 17] {
            for length in [1, 7, 8, 9, 15, 16, 17, 100, 1_003] {
                for changes in [1, 3, 20, 60] {
                    let mut value = 0;
                    let values: Vec<u32> = (0..length)
                        .map(|_| {
                            if rng.u32(..changes) == 0 {
                                value = rng.u32(..1 << width);
                            }
                            value
                        })
                        .collect();
                    let mut out = Vec::new();
                    hybrid(&values, width, &mut out);
                    assert_eq!(unpacked(&out, width, length), values, "{width} {length} {changes}");
                }
            }
        }
    }
}

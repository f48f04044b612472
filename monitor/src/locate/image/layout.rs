//! The bytes of an image: a header, then sections, each an array that is read where it lies. Checks
//! everything once; trusts nothing before.
//!
//! ```text
//!   0  8  magic "GEOFIMG\0"
//!   8  4  0x01020304 in the byte order of the machine that wrote it
//!  12  4  format version, 1
//!  16 32  SHA-256 of what it was built from
//!  48  8  bytes of the whole file
//!  56  4  systems of the embedded operator database among the operators
//!  60  4  CRC-32 of the header, this field taken as 0
//!  64 16n for each section: offset 8, bytes 4, CRC-32 4
//! ```
//! Sections begin at multiples of 8, in this order: the five columns of `tables`; classes
//! (`ClassRow`); first addresses of IPv4 ranges with one operator (u32), and that operator's place
//! (u32); the same of IPv6 (upper halves, u64); upper halves of which more is known (u64), and the
//! class of the rest (u16); operators (`OperatorRow`); their names, UTF-8; the sources, JSON.

use std::ops::Range;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::super::{
    build::Built,
    rows::{ClassRow, OperatorRow},
    tables::{Columns, TablesRef},
};

const MAGIC: [u8; 8] = *b"GEOFIMG\0";
const BYTE_ORDER: u32 = 0x0102_0304;
const VERSION: u32 = 1;
const SECTIONS: usize = 15;
const ALIGNMENT: usize = 8;
const HEADER: usize = size_of::<Header>();

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Header {
    magic: [u8; 8],
    byte_order: u32,
    version: u32,
    inputs: [u8; 32],
    bytes: u64,
    systems: u32,
    crc: u32,
    sections: [Section; SECTIONS],
}

#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Section {
    offset: u64,
    bytes: u32,
    crc: u32,
}

/// Why the bytes are no image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in super::super) enum ImageError {
    #[error("it is no image, or of another version or machine")]
    Foreign,
    #[error("it was built from something else")]
    Other,
    #[error("it is cut off")]
    Truncated,
    #[error("its {0} are damaged")]
    Damaged(&'static str),
}

/// Where everything lies in an image that was checked.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    sections: [Range<usize>; SECTIONS],
    systems: usize,
}

/// An image's arrays.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts<'a> {
    pub(super) columns: Columns<'a>,
    pub(super) classes: &'a [ClassRow],
    pub(super) runs4: (&'a [u32], &'a [u32]),
    pub(super) runs6: (&'a [u64], &'a [u32]),
    pub(super) finer: (&'a [u64], &'a [u16]),
    pub(super) operators: &'a [OperatorRow],
    pub(super) names: &'a [u8],
    pub(super) sources: &'a [u8],
    pub(super) systems: usize,
}

/// Writes header and sections, in order.
pub(super) fn write(
    out: &mut impl std::io::Write,
    built: &Built,
    sources: &[u8],
    inputs: [u8; 32],
) -> std::io::Result<()> {
    let Columns { index, starts, classes4, keys, classes6 } = built.tables.borrow().columns();
    let sections: [&[u8]; SECTIONS] = [
        index.as_bytes(),
        starts.as_bytes(),
        classes4.as_bytes(),
        keys.as_bytes(),
        classes6.as_bytes(),
        built.classes.as_bytes(),
        built.runs4.0.as_bytes(),
        built.runs4.1.as_bytes(),
        built.runs6.0.as_bytes(),
        built.runs6.1.as_bytes(),
        built.finer.0.as_bytes(),
        built.finer.1.as_bytes(),
        built.operators.as_bytes(),
        built.names.as_bytes(),
        sources,
    ];
    let mut end = HEADER;
    let table = sections.map(|section| {
        let offset = end.next_multiple_of(ALIGNMENT);
        end = offset + section.len();
        let crc = crc32fast::hash(section);
        // Every bound of the builder lies far below 4 GiB.
        Section { offset: offset as u64, bytes: section.len() as u32, crc }
    });
    let mut header = Header {
        magic: MAGIC,
        byte_order: BYTE_ORDER,
        version: VERSION,
        inputs,
        bytes: end as u64,
        systems: built.systems as u32,
        crc: 0,
        sections: table,
    };
    header.crc = crc32fast::hash(header.as_bytes());
    out.write_all(header.as_bytes())?;
    let mut at = HEADER;
    for section in sections {
        let offset = at.next_multiple_of(ALIGNMENT);
        out.write_all(&[0; ALIGNMENT][..offset - at])?;
        out.write_all(section)?;
        at = offset + section.len();
    }
    Ok(())
}

/// Reads everything once.
pub(super) fn check(bytes: &[u8], inputs: &[u8; 32]) -> Result<Layout, ImageError> {
    let (header, _) = Header::read_from_prefix(bytes).map_err(|_| ImageError::Truncated)?;
    let known = (header.magic, header.byte_order, header.version);
    if known != (MAGIC, BYTE_ORDER, VERSION) {
        return Err(ImageError::Foreign);
    }
    let crc = Header { crc: 0, ..header };
    if crc32fast::hash(crc.as_bytes()) != header.crc {
        return Err(ImageError::Damaged("first bytes"));
    }
    if header.inputs != *inputs {
        return Err(ImageError::Other);
    }
    if header.bytes != bytes.len() as u64 {
        return Err(ImageError::Truncated);
    }
    let mut sections = [const { 0..0 }; SECTIONS];
    for (section, place) in header.sections.iter().zip(&mut sections) {
        let start = usize::try_from(section.offset).map_err(|_| ImageError::Truncated)?;
        let end = start.checked_add(section.bytes as usize).ok_or(ImageError::Truncated)?;
        let its = bytes.get(start..end).ok_or(ImageError::Truncated)?;
        if start % ALIGNMENT != 0 || crc32fast::hash(its) != section.crc {
            return Err(ImageError::Damaged("sections"));
        }
        *place = start..end;
    }
    let layout = Layout { sections, systems: header.systems as usize };
    layout.parts(bytes).and_then(|parts| parts.check())?;
    Ok(layout)
}

impl Layout {
    /// `bytes` are those that were checked.
    pub(super) fn parts<'a>(&self, bytes: &'a [u8]) -> Result<Parts<'a>, ImageError> {
        let columns = self.columns(bytes)?;
        Ok(Parts {
            columns,
            classes: self.array(bytes, 5)?,
            runs4: (self.array(bytes, 6)?, self.array(bytes, 7)?),
            runs6: (self.array(bytes, 8)?, self.array(bytes, 9)?),
            finer: (self.array(bytes, 10)?, self.array(bytes, 11)?),
            operators: self.array(bytes, 12)?,
            names: self.array(bytes, 13)?,
            sources: self.array(bytes, 14)?,
            systems: self.systems,
        })
    }

    /// The first five sections alone, for the lookup.
    pub(super) fn columns<'a>(&self, bytes: &'a [u8]) -> Result<Columns<'a>, ImageError> {
        Ok(Columns {
            index: self.array(bytes, 0)?,
            starts: self.array(bytes, 1)?,
            classes4: self.array(bytes, 2)?,
            keys: self.array(bytes, 3)?,
            classes6: self.array(bytes, 4)?,
        })
    }

    fn array<'a, T: FromBytes + Immutable + KnownLayout>(
        &self,
        bytes: &'a [u8],
        section: usize,
    ) -> Result<&'a [T], ImageError> {
        let range = self.sections[section].clone();
        let its = bytes.get(range).ok_or(ImageError::Truncated)?;
        <[T]>::ref_from_bytes(its).map_err(|_| ImageError::Damaged("sections"))
    }
}

impl Parts<'_> {
    /// Everything that a lookup relies on.
    fn check(&self) -> Result<(), ImageError> {
        let damaged = ImageError::Damaged;
        TablesRef::check(self.columns).map_err(|_| damaged("tables"))?;
        let classes = self.classes.len();
        let columns = [self.columns.classes4, self.columns.classes6, self.finer.1];
        let known = |class: &u16| usize::from(*class) < classes;
        let whole = self.columns.index.iter().filter(|word| **word >> 31 == 1);
        if !columns.into_iter().flatten().all(known)
            || !whole.map(|word| *word as u16).all(|it| known(&it))
        {
            return Err(damaged("classes"));
        }
        if !self.classes.iter().copied().all(ClassRow::is_sound) {
            return Err(damaged("classes"));
        }
        let operators = self.operators.len();
        let sound = is_map(self.runs4.0, self.runs4.1, operators)
            && is_map(self.runs6.0, self.runs6.1, operators)
            && self.finer.0.is_sorted_by(|a, b| a < b)
            && self.finer.0.len() == self.finer.1.len();
        if !sound {
            return Err(damaged("ranges"));
        }
        let names = str::from_utf8(self.names).map_err(|_| damaged("names"))?;
        let systems = self.operators.get(1..=self.systems).ok_or(damaged("operators"))?;
        let sorted = systems.is_sorted_by(|a, b| a.asn < b.asn);
        if !sorted || !self.operators.iter().all(|row| row.is_sound(names)) {
            return Err(damaged("operators"));
        }
        Ok(())
    }
}

/// Whether each start, from 0, has an operator of the table.
fn is_map<K: Copy + Ord + Default>(starts: &[K], operators: &[u32], known: usize) -> bool {
    starts.first() == Some(&K::default())
        && starts.is_sorted_by(|a, b| a < b)
        && starts.len() == operators.len()
        && operators.iter().all(|operator| (*operator as usize) < known)
}

//! Columns of a table that is being filled, as its first row names them. A text is held once where whoever fills
//! says that it comes again. It writes nothing.

use bytes::Bytes;
use parquet::data_type::ByteArray;

/// A text that rows share.
pub type Shared = ByteArray;

pub fn shared(text: &str) -> Shared {
    ByteArray::from(Bytes::copy_from_slice(text.as_bytes()))
}

pub fn stated(text: &'static str) -> Shared {
    ByteArray::from(Bytes::from_static(text.as_bytes()))
}

/// What is in a column. None needs to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Text,
    /// A text of which hardly one comes again.
    Name,
    /// A number of which many are the same,
    Number,
    /// or hardly any.
    Count,
    /// Nanoseconds since 1970, UTC.
    Time,
    Flag,
}

#[derive(Debug)]
pub enum Values {
    Texts(Vec<ByteArray>),
    Numbers(Vec<i64>),
    Flags(Vec<bool>),
}

#[derive(Debug)]
pub struct Column {
    pub name: &'static str,
    pub of: Type,
    /// 1 for each row that has a value, else 0.
    pub levels: Vec<i16>,
    pub values: Values,
}

/// Rows that wait. Each tells all columns, in the same order.
#[derive(Debug, Default)]
pub struct Columns {
    pub all: Vec<Column>,
    at: usize,
    rows: usize,
}

impl Columns {
    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn end_row(&mut self) {
        debug_assert_eq!(self.at, self.all.len(), "a row with other columns");
        self.at = 0;
        self.rows += 1;
    }

    pub fn clear(&mut self) {
        for column in &mut self.all {
            column.levels.clear();
            match &mut column.values {
                Values::Texts(values) => values.clear(),
                Values::Numbers(values) => values.clear(),
                Values::Flags(values) => values.clear(),
            }
        }
        self.rows = 0;
    }

    #[inline]
    fn next(&mut self, name: &'static str, of: Type, is_there: bool) -> &mut Values {
        if self.at == self.all.len() {
            let values = match of {
                Type::Text | Type::Name => Values::Texts(Vec::new()),
                Type::Number | Type::Count | Type::Time => Values::Numbers(Vec::new()),
                Type::Flag => Values::Flags(Vec::new()),
            };
            self.all.push(Column { name, of, levels: Vec::new(), values });
        }
        let column = &mut self.all[self.at];
        debug_assert_eq!((column.name, column.of), (name, of), "a row with other columns");
        column.levels.push(is_there.into());
        self.at += 1;
        &mut column.values
    }

    #[inline]
    fn put_text(&mut self, name: &'static str, of: Type, text: Option<Shared>) {
        let values = self.next(name, of, text.is_some());
        if let (Values::Texts(values), Some(text)) = (values, text) {
            values.push(text);
        }
    }

    #[inline]
    fn put_number(&mut self, name: &'static str, of: Type, number: Option<u64>) {
        let values = self.next(name, of, number.is_some());
        if let (Values::Numbers(values), Some(number)) = (values, number) {
            values.push(i64::try_from(number).unwrap_or(i64::MAX));
        }
    }

    #[inline]
    pub fn text(&mut self, name: &'static str, text: Option<&Shared>) {
        self.put_text(name, Type::Text, text.cloned());
    }

    pub fn word(&mut self, name: &'static str, word: Option<&'static str>) {
        self.put_text(name, Type::Text, word.map(stated));
    }

    pub fn own(&mut self, name: &'static str, text: Option<&str>) {
        self.put_text(name, Type::Text, text.map(shared));
    }

    pub fn name(&mut self, name: &'static str, text: Shared) {
        self.put_text(name, Type::Name, Some(text));
    }

    pub fn number(&mut self, name: &'static str, number: Option<impl Into<u64>>) {
        self.put_number(name, Type::Number, number.map(Into::into));
    }

    pub fn count(&mut self, name: &'static str, count: u64) {
        self.put_number(name, Type::Count, Some(count));
    }

    pub fn time(&mut self, name: &'static str, at_ns: Option<u64>) {
        self.put_number(name, Type::Time, at_ns);
    }

    pub fn flag(&mut self, name: &'static str, flag: Option<bool>) {
        let values = self.next(name, Type::Flag, flag.is_some());
        if let (Values::Flags(values), Some(flag)) = (values, flag) {
            values.push(flag);
        }
    }
}

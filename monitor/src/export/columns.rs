//! The columns of a table, as the first row names them: typed, and of a few thousand rows at a time. A text that
//! comes again is held once. It writes nothing.

use std::{borrow::Cow, collections::HashMap};

use parquet::data_type::ByteArray;
use rustc_hash::FxBuildHasher;

use crate::ecs::Time;

/// So many different texts in a few more are a column in which hardly one comes again.
const VARIED: usize = 1_024;

/// What is in a column. None needs to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Text,
    /// A text that is JSON.
    Json,
    Number,
    /// Nanoseconds since 1970, UTC.
    Time,
    Flag,
}

#[derive(Debug)]
pub(super) enum Values {
    Texts(Vec<ByteArray>),
    Numbers(Vec<i64>),
    Flags(Vec<bool>),
}

#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) of: Type,
    /// 1 for each row that has a value, else 0.
    pub(super) levels: Vec<i16>,
    pub(super) values: Values,
    known: HashMap<Box<[u8]>, ByteArray, FxBuildHasher>,
    /// Looking for what is known is in vain.
    is_varied: bool,
}

impl Column {
    fn new(name: &'static str, of: Type) -> Self {
        let values = match of {
            Type::Text | Type::Json => Values::Texts(Vec::new()),
            Type::Number | Type::Time => Values::Numbers(Vec::new()),
            Type::Flag => Values::Flags(Vec::new()),
        };
        Self { name, of, levels: Vec::new(), values, known: HashMap::default(), is_varied: false }
    }

    fn clear(&mut self) {
        self.levels.clear();
        self.known.clear();
        match &mut self.values {
            Values::Texts(values) => values.clear(),
            Values::Numbers(values) => values.clear(),
            Values::Flags(values) => values.clear(),
        }
    }

    fn text(&mut self, text: &str) {
        let Values::Texts(values) = &mut self.values else { return };
        if self.is_varied {
            values.push(ByteArray::from(text.as_bytes().to_vec()));
            return;
        }
        if let Some(known) = self.known.get(text.as_bytes()) {
            values.push(known.clone());
            return;
        }
        let value = ByteArray::from(text.as_bytes().to_vec());
        self.known.insert(text.as_bytes().into(), value.clone());
        values.push(value);
        if self.known.len() == VARIED && values.len() < VARIED + VARIED / 4 {
            self.is_varied = true;
            self.known.clear();
        }
    }
}

/// Rows that wait to be written. Each row tells all columns, in the same order.
#[derive(Debug, Default)]
pub(super) struct Columns {
    pub(super) all: Vec<Column>,
    at: usize,
    rows: usize,
}

impl Columns {
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn end_row(&mut self) {
        debug_assert_eq!(self.at, self.all.len(), "a row with other columns");
        self.at = 0;
        self.rows += 1;
    }

    pub(super) fn clear(&mut self) {
        self.all.iter_mut().for_each(Column::clear);
        self.rows = 0;
    }

    fn next(&mut self, name: &'static str, of: Type, is_there: bool) -> &mut Column {
        if self.at == self.all.len() {
            self.all.push(Column::new(name, of));
        }
        let column = &mut self.all[self.at];
        debug_assert_eq!((column.name, column.of), (name, of), "a row with other columns");
        column.levels.push(is_there.into());
        self.at += 1;
        column
    }

    pub(super) fn text(&mut self, name: &'static str, text: Option<&str>) {
        let column = self.next(name, Type::Text, text.is_some());
        if let Some(text) = text {
            column.text(text);
        }
    }

    pub(super) fn cow(&mut self, name: &'static str, text: Option<&Cow<'_, str>>) {
        self.text(name, text.map(AsRef::as_ref));
    }

    pub(super) fn shown(&mut self, name: &'static str, value: Option<impl ToString>) {
        self.text(name, value.map(|it| it.to_string()).as_deref());
    }

    /// A list; nothing where it is empty.
    pub(super) fn json<T: serde::Serialize>(&mut self, name: &'static str, list: &[T]) {
        // What was written as JSON once can be again.
        let text = (!list.is_empty()).then(|| serde_json::to_string(list).unwrap_or_default());
        let column = self.next(name, Type::Json, text.is_some());
        if let Some(text) = text {
            column.text(&text);
        }
    }

    pub(super) fn number(&mut self, name: &'static str, number: Option<impl Into<u64>>) {
        let number: Option<u64> = number.map(Into::into);
        self.push(name, Type::Number, number);
    }

    pub(super) fn time(&mut self, name: &'static str, time: Option<Time>) {
        self.push(name, Type::Time, time.map(|it| it.0.0));
    }

    fn push(&mut self, name: &'static str, of: Type, number: Option<u64>) {
        let column = self.next(name, of, number.is_some());
        if let (Values::Numbers(values), Some(number)) = (&mut column.values, number) {
            values.push(i64::try_from(number).unwrap_or(i64::MAX));
        }
    }

    pub(super) fn flag(&mut self, name: &'static str, flag: Option<bool>) {
        let column = self.next(name, Type::Flag, flag.is_some());
        if let (Values::Flags(values), Some(flag)) = (&mut column.values, flag) {
            values.push(flag);
        }
    }
}

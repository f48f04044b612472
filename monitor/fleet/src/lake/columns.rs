//! Columns of a table that is being filled, as its first row names them. A text that comes again is held once, and
//! rows have its number: nobody hashes it for each row. It writes nothing.

use std::sync::Arc;

use rustc_hash::FxHashMap;

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

/// A text that many rows have, by its place among the texts of whoever fills a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shared(u32);

/// Texts that rows share.
#[derive(Debug, Default)]
pub struct Known(Vec<Arc<str>>);

impl Known {
    pub fn add(&mut self, text: &str) -> Shared {
        self.0.push(Arc::<str>::from(text));
        Shared((self.0.len() - 1) as u32)
    }

    fn text(&self, shared: Shared) -> Arc<str> {
        self.0[shared.0 as usize].clone()
    }
}

const NONE: u32 = u32::MAX;

/// Texts of a column, each once, and which of them rows have.
#[derive(Debug, Default)]
pub struct Texts {
    pub codes: Vec<u32>,
    pub dictionary: Vec<Arc<str>>,
    /// Codes of what is shared, by its place.
    of_shared: Vec<u32>,
    shared: Vec<Shared>,
    /// Words of the program, told apart by where they stand in it: one that stands there twice has two codes.
    words: Vec<(&'static str, u32)>,
    others: FxHashMap<Arc<str>, u32>,
}

impl Texts {
    fn add(&mut self, text: Arc<str>) -> u32 {
        self.dictionary.push(text);
        (self.dictionary.len() - 1) as u32
    }

    #[inline]
    fn put_shared(&mut self, it: Shared, known: &Known) {
        let at = it.0 as usize;
        let code = self.of_shared.get(at).copied().unwrap_or(NONE);
        let code = if code == NONE { self.first(it, known) } else { code };
        self.codes.push(code);
    }

    fn first(&mut self, it: Shared, known: &Known) -> u32 {
        let code = self.add(known.text(it));
        if self.of_shared.len() <= it.0 as usize {
            self.of_shared.resize(known.0.len(), NONE);
        }
        self.of_shared[it.0 as usize] = code;
        self.shared.push(it);
        code
    }

    #[inline]
    fn put_word(&mut self, word: &'static str) {
        let known = self.words.iter().find(|(it, _)| std::ptr::eq(*it, word));
        let code = known.map(|(_, code)| *code);
        let code = code.unwrap_or_else(|| {
            let code = self.add(Arc::<str>::from(word));
            self.words.push((word, code));
            code
        });
        self.codes.push(code);
    }

    fn put_own(&mut self, text: &str) {
        let code = if let Some(code) = self.others.get(text) {
            *code
        } else {
            let text = Arc::<str>::from(text);
            let code = self.add(Arc::clone(&text));
            self.others.insert(text, code);
            code
        };
        self.codes.push(code);
    }

    fn clear(&mut self) {
        self.codes.clear();
        self.dictionary.clear();
        for it in self.shared.drain(..) {
            self.of_shared[it.0 as usize] = NONE;
        }
        self.words.clear();
        self.others.clear();
    }
}

/// Texts one behind the other, each after its length.
#[derive(Debug, Default)]
pub struct Names {
    pub bytes: Vec<u8>,
    /// Where the least and the greatest stand.
    pub ends: Option<[(usize, usize); 2]>,
}

impl Names {
    #[inline]
    fn put(&mut self, name: &[u8]) {
        self.bytes.extend_from_slice(&(name.len() as u32).to_le_bytes());
        let stands = (self.bytes.len(), self.bytes.len() + name.len());
        self.bytes.extend_from_slice(name);
        match &mut self.ends {
            None => self.ends = Some([stands, stands]),
            Some([least, greatest]) => {
                if *name < self.bytes[least.0..least.1] {
                    *least = stands;
                } else if *name > self.bytes[greatest.0..greatest.1] {
                    *greatest = stands;
                }
            }
        }
    }
}

#[derive(Debug)]
pub enum Values {
    Texts(Texts),
    Names(Names),
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
                Values::Names(values) => {
                    values.bytes.clear();
                    values.ends = None;
                }
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
                Type::Text => Values::Texts(Texts::default()),
                Type::Name => Values::Names(Names::default()),
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
    fn put_number(&mut self, name: &'static str, of: Type, number: Option<u64>) {
        let values = self.next(name, of, number.is_some());
        if let (Values::Numbers(values), Some(number)) = (values, number) {
            values.push(i64::try_from(number).unwrap_or(i64::MAX));
        }
    }

    /// `known`: where it is shared, the same for all rows.
    #[inline]
    pub fn text(&mut self, name: &'static str, text: Option<Shared>, known: &Known) {
        let values = self.next(name, Type::Text, text.is_some());
        if let (Values::Texts(values), Some(text)) = (values, text) {
            values.put_shared(text, known);
        }
    }

    #[inline]
    pub fn word(&mut self, name: &'static str, word: Option<&'static str>) {
        let values = self.next(name, Type::Text, word.is_some());
        if let (Values::Texts(values), Some(word)) = (values, word) {
            values.put_word(word);
        }
    }

    pub fn own(&mut self, name: &'static str, text: Option<&str>) {
        let values = self.next(name, Type::Text, text.is_some());
        if let (Values::Texts(values), Some(text)) = (values, text) {
            values.put_own(text);
        }
    }

    #[inline]
    pub fn name(&mut self, name: &'static str, text: &[u8]) {
        if let Values::Names(values) = self.next(name, Type::Name, true) {
            values.put(text);
        }
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

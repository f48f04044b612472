//! Text that others chose, made harmless for who reads it: terminals obey no escape sequence in it,
//! and spreadsheets no formula. Knows no form but that of characters.

use std::{borrow::Cow, fmt::Write as _, io};

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};

/// What a spreadsheet takes for the beginning of a formula, or passes over before one.
const FORMULA: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// Control characters (C0, DEL, C1) and those that format: bidirectional, invisible, separating. They
/// change what is seen of others, or what a terminal does.
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}' | '\u{891}'
                | '\u{8e2}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}'
                | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}'
                | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

/// Whether it is of letters, digits, signs and spaces of ASCII alone, as most is: quicker to see than that
/// nothing in it is unsafe.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|it| matches!(it, b' '..=b'~'))
}

/// With what is unsafe as visible escapes.
pub fn printable(text: &str) -> Cow<'_, str> {
    if is_plain(text) { Cow::Borrowed(text) } else { escaped(text, is_unsafe) }
}

/// With these as visible escapes.
pub(crate) fn escaped(text: &str, is_meant: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_meant) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_meant(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    Cow::Owned(out)
}

/// A cell of CSV: printable, and behind a quote (`'`) where a spreadsheet would calculate it.
pub fn cell(text: &str) -> Cow<'_, str> {
    let plain = printable(text);
    if text.starts_with(FORMULA) { Cow::Owned(format!("'{plain}")) } else { plain }
}

/// JSON in which what is unsafe is escaped (`\u001b`): the same document to who reads it as JSON.
pub fn to_json(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut json = Vec::with_capacity(512);
    push_json(&mut json, value)?;
    Ok(json)
}

/// The same behind what is there already; after an error some of it may be.
pub fn push_json(json: &mut Vec<u8>, value: &impl Serialize) -> serde_json::Result<()> {
    value.serialize(&mut Serializer::with_formatter(json, Harmless(CompactFormatter)))
}

struct Harmless(CompactFormatter);

impl Formatter for Harmless {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        if is_plain(fragment) || !fragment.contains(is_unsafe) {
            return self.0.write_string_fragment(writer, fragment);
        }
        let mut out = String::with_capacity(fragment.len() + 8);
        for c in fragment.chars() {
            if is_unsafe(c) {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Writing to a String cannot fail.
                    let _ = write!(out, "\\u{unit:04x}");
                }
            } else {
                out.push(c);
            }
        }
        self.0.write_string_fragment(writer, &out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name as somebody without good will chooses it.
    const EVIL: &str =
        "a\u{1b}]52;c;ZXZpbA==\u{7}\u{9b}2J\u{7f}\n\u{61c}\u{202e}\u{2066}\u{200b}\u{e0041}b";

    #[test]
    fn no_text_of_others_reaches_a_terminal_as_a_command() {
        for text in [EVIL.to_owned(), EVIL.repeat(3), format!("={EVIL}")] {
            assert!(!printable(&text).contains(is_unsafe));
            assert!(!cell(&text).contains(is_unsafe));
            let json = String::from_utf8(to_json(&text).unwrap()).unwrap();
            assert!(!json.contains(is_unsafe), "{json:?}");
            assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text, "it is the same text");
        }
        assert_eq!(printable("a\u{1b}[2Jb\n\u{202e}c"), "a\\u{1b}[2Jb\\n\\u{202e}c");
    }

    #[test]
    fn a_key_is_as_harmless_as_a_value() {
        let map = std::collections::BTreeMap::from([(EVIL, 1)]);
        assert!(!String::from_utf8(to_json(&map).unwrap()).unwrap().contains(is_unsafe));
    }

    #[test]
    fn what_people_write_stays_as_it_is() {
        for text in ["plain", "é 界 مرحبا שלום", "a\\b \"c\"", "100%", "🙂"] {
            assert!(matches!(printable(text), Cow::Borrowed(_)), "{text}");
            assert_eq!(to_json(&text).unwrap(), serde_json::to_vec(&text).unwrap());
        }
    }

    #[test]
    fn a_spreadsheet_calculates_nothing() {
        for text in ["=HYPERLINK(\"http://x\")", "+1", "-bash", "@SUM(A1)", "\t=1", "\r=1"] {
            assert!(cell(text).starts_with('\''), "{text}");
        }
        assert_eq!(cell("a=b"), "a=b");
        assert_eq!(cell(""), "");
        assert_eq!(cell("\n=1"), "\\n=1", "it begins with a backslash");
    }
}

//! The table of texts of a block: each is stored once, and read once into an `Arc` that all share.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::error::FormError;

/// Position in the table of texts.
pub(super) type Text = u32;

/// Longest text that is stored; the kernel's longest path is 4096.
const TEXT_MAX: usize = 32 << 10;

/// Of a block that is being filled.
#[derive(Debug, Default)]
pub(super) struct TextInterner {
    texts: Vec<Arc<str>>,
    at: FxHashMap<Arc<str>, Text>,
    bytes: usize,
    cut: u64,
}

impl TextInterner {
    pub(super) fn text(&mut self, text: &Arc<str>) -> Text {
        if text.len() > TEXT_MAX {
            self.cut += 1;
            let mut end = TEXT_MAX;
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            return self.text(&text[..end].into());
        }
        if let Some(at) = self.at.get(text) {
            return *at;
        }
        let at = self.texts.len() as Text;
        self.bytes += text.len() + 1;
        self.texts.push(Arc::clone(text));
        self.at.insert(Arc::clone(text), at);
        at
    }

    pub(super) fn maybe(&mut self, text: Option<&Arc<str>>) -> Option<Text> {
        text.map(|text| self.text(text))
    }

    pub(super) fn stored(&self) -> Vec<&str> {
        self.texts.iter().map(AsRef::as_ref).collect()
    }

    /// What the table adds to the payload before compression.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Texts that were cut to the longest that is stored.
    pub(super) fn cut(&self) -> u64 {
        self.cut
    }
}

/// Of a block that was read.
#[derive(Debug, Default)]
pub(super) struct Texts(Vec<Arc<str>>);

impl Texts {
    pub(super) fn from_stored(stored: &[&str]) -> Self {
        Self(stored.iter().map(|text| Arc::from(*text)).collect())
    }

    pub(super) fn text(&self, at: Text) -> Result<Arc<str>, FormError> {
        self.0.get(at as usize).cloned().ok_or(FormError::Dangling)
    }

    pub(super) fn maybe(&self, at: Option<Text>) -> Result<Option<Arc<str>>, FormError> {
        at.map(|at| self.text(at)).transpose()
    }
}

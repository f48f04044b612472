//! Reads a value of the configuration once, with its key and place in the error. What values mean is
//! `validate`'s.

use std::ops::Range;

use toml::Spanned;

use super::{
    ConfigError,
    raw::{Sources, Text},
    values,
};

/// Reads values of the sources.
pub(super) struct Check<'a> {
    pub(super) sources: &'a Sources,
}

impl Check<'_> {
    pub(super) fn wrong(&self, key: &str, span: &Range<usize>, problem: &str) -> ConfigError {
        self.sources.wrong(span, format!("{key}: {problem}"))
    }

    pub(super) fn text<T>(
        &self,
        key: &str,
        text: &Text,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, ConfigError> {
        parse(text.get_ref()).map_err(|problem| self.wrong(key, &text.span(), &problem))
    }

    pub(super) fn optional<T>(
        &self,
        key: &str,
        text: Option<&Text>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, ConfigError> {
        text.map(|text| self.text(key, text, parse)).transpose()
    }

    pub(super) fn number(
        &self,
        key: &str,
        number: Option<&Spanned<i64>>,
        least: u32,
        most: u32,
    ) -> Result<Option<u32>, ConfigError> {
        let within = |number: &Spanned<i64>| {
            values::within(*number.get_ref(), least, most)
                .map_err(|problem| self.wrong(key, &number.span(), &problem))
        };
        number.map(within).transpose()
    }

    /// Sorted, without repetition.
    pub(super) fn set<T: Ord>(
        &self,
        key: &str,
        texts: &[Text],
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Vec<T>, ConfigError> {
        let mut set: Vec<T> =
            texts.iter().map(|text| self.text(key, text, &parse)).collect::<Result<_, _>>()?;
        set.sort();
        set.dedup();
        Ok(set)
    }
}

//! `[log]`: which violations have a line, and how lines are written. Settings and the words for them.

use super::{ConfigError, check::Check, raw::RawLog, values};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogConfig {
    pub violations: Violations,
    pub format: LogFormat,
}

/// Which of them have a line of the log; the ledger has all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Violations {
    /// The first of each program and destination.
    #[default]
    First,
    All,
    Off,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    #[default]
    Text,
    /// An object a line, with the names of the Elastic Common Schema.
    Json,
}

impl Violations {
    pub(super) const WORDS: [(&str, Self); 3] =
        [("first", Self::First), ("all", Self::All), ("off", Self::Off)];
}

impl LogFormat {
    pub(super) const WORDS: [(&str, Self); 2] = [("text", Self::Text), ("json", Self::Json)];
}

impl Check<'_> {
    pub(super) fn log(&self, raw: &RawLog) -> Result<LogConfig, ConfigError> {
        let violations = self.optional("log.violations", raw.violations.as_ref(), |text| {
            values::choice(text, &Violations::WORDS)
        })?;
        let format = self.optional("log.format", raw.format.as_ref(), |text| {
            values::choice(text, &LogFormat::WORDS)
        })?;
        let defaults = LogConfig::default();
        Ok(LogConfig {
            violations: violations.unwrap_or(defaults.violations),
            format: format.unwrap_or(defaults.format),
        })
    }
}

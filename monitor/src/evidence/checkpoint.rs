//! The text of a checkpoint (C2SP tlog-checkpoint): which log, how many leaves, which root.

use data_encoding::BASE64;

use super::{Fault, tree::Hash};

/// What a log says of itself. Not signed: that is a note's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    pub origin: String,
    pub size: u64,
    pub root: Hash,
}

impl Checkpoint {
    /// The text of a note. Further lines are others' extensions, and are passed over.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let mut lines = text.strip_suffix('\n').ok_or(Fault::Checkpoint)?.split('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next())
        else {
            return Err(Fault::Checkpoint);
        };
        if origin.is_empty() || lines.any(str::is_empty) {
            return Err(Fault::Checkpoint);
        }
        let root = hash(root).ok_or(Fault::Checkpoint)?;
        Ok(Self { origin: origin.to_owned(), size: number(size).ok_or(Fault::Checkpoint)?, root })
    }

    /// In base64, as it stands in the text.
    pub fn root_text(&self) -> String {
        BASE64.encode(&self.root)
    }

    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, self.root_text())
    }
}

/// Decimal, without leading zeroes: one form a number.
pub(super) fn number(digits: &str) -> Option<u64> {
    let is_plain = digits.bytes().all(|it| it.is_ascii_digit());
    let is_short = digits == "0" || !digits.starts_with('0');
    (is_plain && is_short).then(|| digits.parse().ok()).flatten()
}

pub(super) fn hash(encoded: &str) -> Option<Hash> {
    BASE64.decode(encoded.as_bytes()).ok()?.try_into().ok()
}

//! What a witness is asked (the body of C2SP tlog-witness's add-checkpoint): the size that it should hold,
//! why the new tree goes on from there, and the signed checkpoint.

use data_encoding::BASE64;

use super::{
    Fault,
    checkpoint::{hash, number},
    tree::Hash,
};

/// More no such body may have.
const HASHES_MAX: usize = 63;

/// As it was read: nothing of it is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub old: u64,
    /// Consistency from there.
    pub hashes: Vec<Hash>,
    /// The signed checkpoint.
    pub note: String,
}

impl Request {
    pub fn text(&self) -> String {
        let hashes = self.hashes.iter().map(|it| BASE64.encode(it) + "\n").collect::<String>();
        format!("old {}\n{hashes}\n{}", self.old, self.note)
    }

    pub fn parse(text: &str) -> Result<Self, Fault> {
        let (before, note) = text.split_once("\n\n").ok_or(Fault::Request)?;
        let mut lines = before.split('\n');
        let old = lines.next().and_then(|line| number(line.strip_prefix("old ")?));
        let hashes = lines.take(HASHES_MAX + 1).map(hash).collect::<Option<Vec<_>>>();
        let (old, hashes) = old.zip(hashes).ok_or(Fault::Request)?;
        if hashes.len() > HASHES_MAX {
            return Err(Fault::Request);
        }
        Ok(Self { old, hashes, note: note.to_owned() })
    }
}

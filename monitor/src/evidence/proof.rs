//! A `.tlog-proof` (C2SP): that one leaf is in the tree of a signed checkpoint, in one file.

use data_encoding::BASE64;

use super::{
    Fault, Note,
    checkpoint::{Checkpoint, hash, number},
    note::PublicKey,
    tree::{self, Hash, PROOF_MAX},
};

const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";

/// As it was read: nothing of it is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Of the leaf.
    pub index: u64,
    /// From the leaf to the root.
    pub hashes: Vec<Hash>,
    /// The signed checkpoint.
    pub note: String,
}

impl Proof {
    pub fn text(&self) -> String {
        let hashes = self.hashes.iter().map(|it| BASE64.encode(it) + "\n").collect::<String>();
        format!("{FIRST_LINE}\nindex {}\n{hashes}\n{}", self.index, self.note)
    }

    pub fn parse(text: &str) -> Result<Self, Fault> {
        let (before, note) = text.split_once("\n\n").ok_or(Fault::Proof)?;
        let mut lines = before.split('\n').peekable();
        if lines.next() != Some(FIRST_LINE) {
            return Err(Fault::Proof);
        }
        lines.next_if(|line| line.starts_with("extra "));
        let index = lines.next().and_then(|line| number(line.strip_prefix("index ")?));
        let hashes = lines.take(PROOF_MAX + 1).map(hash).collect::<Option<Vec<_>>>();
        let (index, hashes) = index.zip(hashes).ok_or(Fault::Proof)?;
        if hashes.len() > PROOF_MAX {
            return Err(Fault::Proof);
        }
        Ok(Self { index, hashes, note: note.to_owned() })
    }

    /// The checkpoint of which it is, if the leaf is in its tree and one of the keys signed it.
    pub fn verify<'k>(
        &self,
        leaf: &Hash,
        keys: &'k [PublicKey],
    ) -> Result<(Checkpoint, &'k PublicKey), Fault> {
        let note = Note::parse(self.note.as_bytes())?;
        let key = note.verify(keys)?;
        let checkpoint = Checkpoint::parse(note.text())?;
        let tree = (checkpoint.size, &checkpoint.root);
        tree::check_inclusion(leaf, self.index, tree, &self.hashes)?;
        Ok((checkpoint, key))
    }
}

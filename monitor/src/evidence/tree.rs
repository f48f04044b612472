//! The tree of hashes of RFC 6962 over leaves of 32 bytes: its root at any size, proofs that a leaf is in
//! it and that a smaller one is its beginning, and what checks them. Pure.

use sha2::{Digest as _, Sha256};

use super::Fault;

/// Of SHA-256.
pub type Hash = [u8; 32];

const LEAF: [u8; 1] = [0];
const NODE: [u8; 1] = [1];
/// Hashes of the longest proof: of a tree of 2^64 leaves.
pub const PROOF_MAX: usize = 64;

pub fn leaf_hash(entry: &[u8]) -> Hash {
    Sha256::new().chain_update(LEAF).chain_update(entry).finalize().into()
}

fn node(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update(NODE).chain_update(left).chain_update(right).finalize().into()
}

pub fn empty_root() -> Hash {
    Sha256::digest([]).into()
}

/// What must be kept of the leaves to go on with the tree: the roots of its full parts, largest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    parts: Vec<Hash>,
}

impl Frontier {
    pub fn of(leaves: &[Hash]) -> Self {
        let mut frontier = Self::default();
        for leaf in leaves {
            frontier.push(*leaf);
        }
        frontier
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    pub fn push(&mut self, leaf: Hash) {
        let mut hash = leaf;
        // A part for each bit of the size that is set: as many as end now are joined.
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.parts.pop() {
                hash = node(&left, &hash);
            }
        }
        self.parts.push(hash);
        self.size += 1;
    }

    pub fn root(&self) -> Hash {
        let mut parts = self.parts.iter().rev();
        let Some(last) = parts.next() else { return empty_root() };
        parts.fold(*last, |right, left| node(left, &right))
    }
}

pub fn root(leaves: &[Hash]) -> Hash {
    Frontier::of(leaves).root()
}

/// Where a tree of so many leaves is split: the largest power of two below. At least two leaves.
fn split(leaves: usize) -> usize {
    leaves.next_power_of_two() / 2
}

/// From the leaf up to the root. `None`: there is no such leaf.
pub fn inclusion(leaves: &[Hash], index: usize) -> Option<Vec<Hash>> {
    (index < leaves.len()).then(|| {
        let (mut hashes, mut part, mut index) = (Vec::new(), leaves, index);
        while part.len() > 1 {
            let (left, right) = part.split_at(split(part.len()));
            if index < left.len() {
                hashes.push(root(right));
                part = left;
            } else {
                hashes.push(root(left));
                index -= left.len();
                part = right;
            }
        }
        hashes.reverse();
        hashes
    })
}

/// Whether a leaf is in the tree of this size and root, at this place.
pub fn check_inclusion(
    leaf: &Hash,
    index: u64,
    (size, root): (u64, &Hash),
    hashes: &[Hash],
) -> Result<(), Fault> {
    if index >= size {
        return Err(Fault::NotProven);
    }
    let (mut at, mut last, mut hash) = (index, size - 1, *leaf);
    for other in hashes {
        if last == 0 {
            return Err(Fault::NotProven);
        }
        if at & 1 == 1 || at == last {
            hash = node(other, &hash);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            hash = node(&hash, other);
        }
        at >>= 1;
        last >>= 1;
    }
    if last == 0 && hash == *root { Ok(()) } else { Err(Fault::NotProven) }
}

/// That the first `old` leaves were all. Empty where that is nothing or everything; `None`: there are not
/// so many.
pub fn consistency(leaves: &[Hash], old: usize) -> Option<Vec<Hash>> {
    (old <= leaves.len()).then(|| {
        if old == 0 || old == leaves.len() {
            return Vec::new();
        }
        let (mut hashes, mut part, mut old, mut is_whole) = (Vec::new(), leaves, old, true);
        while old < part.len() {
            let (left, right) = part.split_at(split(part.len()));
            if old <= left.len() {
                hashes.push(root(right));
                part = left;
            } else {
                hashes.push(root(left));
                old -= left.len();
                part = right;
                is_whole = false;
            }
        }
        if !is_whole {
            hashes.push(root(part));
        }
        hashes.reverse();
        hashes
    })
}

/// Whether the smaller tree is the beginning of the larger.
pub fn check_consistency(
    (old, old_root): (u64, &Hash),
    (size, root): (u64, &Hash),
    hashes: &[Hash],
) -> Result<(), Fault> {
    let proven = |is_so: bool| if is_so { Ok(()) } else { Err(Fault::NotProven) };
    if old > size {
        return Err(Fault::NotProven);
    }
    if old == 0 {
        return proven(hashes.is_empty() && *old_root == empty_root());
    }
    if old == size {
        return proven(hashes.is_empty() && old_root == root);
    }
    let (mut at, mut last) = (old - 1, size - 1);
    while at & 1 == 1 {
        at >>= 1;
        last >>= 1;
    }
    let mut hashes = hashes.iter();
    // A full part at the left is its own first hash.
    let first = if at == 0 { old_root } else { hashes.next().ok_or(Fault::NotProven)? };
    let (mut before, mut now) = (*first, *first);
    for other in hashes {
        if last == 0 {
            return Err(Fault::NotProven);
        }
        if at & 1 == 1 || at == last {
            before = node(other, &before);
            now = node(other, &now);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            now = node(&now, other);
        }
        at >>= 1;
        last >>= 1;
    }
    proven(last == 0 && before == *old_root && now == *root)
}

//! Evidence that others can check: a tree of hashes over the blocks of the ledger (RFC 6962), and what is
//! signed and witnessed of it, in the forms of C2SP. Bytes in, types out that can't lie; it knows no store,
//! reads no file and no clock.

pub mod checkpoint;
pub mod cosignature;
pub mod note;
pub mod proof;
pub mod request;
pub mod tree;
pub mod witness;

pub use checkpoint::Checkpoint;
pub use cosignature::{Cosignature, WitnessKey, WitnessSigner};
pub use note::{KeyName, Note, PublicKey, Signer};
pub use proof::Proof;
pub use request::Request;
pub use tree::{Frontier, Hash};
pub use witness::Memory;

/// Bytes of a block's head in its entry.
pub const HEAD_BYTES: usize = 128;

/// Why bytes are not what they should be, in a few words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("no key name: empty, or with a space or a plus")]
    KeyName,
    #[error("no verifier key: NAME+8 hexadecimal digits+base64 of an Ed25519 key")]
    Key,
    #[error("no signed note: text, an empty line, and signatures")]
    Note,
    #[error("no checkpoint: origin, size and root, a line each")]
    Checkpoint,
    #[error("signed by nobody of whom the key is known")]
    UnknownKey,
    #[error("the signature is wrong")]
    Signature,
    #[error("no proof of C2SP's tlog-proof")]
    Proof,
    #[error("no request of C2SP's add-checkpoint")]
    Request,
    #[error("the proof does not lead to the root")]
    NotProven,
}

/// Hash of the leaf that stands for a block: of its head, and of the hash of its payload.
pub fn leaf(head: &[u8; HEAD_BYTES], payload: &[u8]) -> Hash {
    use sha2::Digest as _;
    let payload: Hash = sha2::Sha256::digest(payload).into();
    let mut entry = [0; HEAD_BYTES + 32];
    entry[..HEAD_BYTES].copy_from_slice(head);
    entry[HEAD_BYTES..].copy_from_slice(&payload);
    tree::leaf_hash(&entry)
}

#[cfg(test)]
mod tests;

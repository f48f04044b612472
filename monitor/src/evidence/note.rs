//! Signed notes of C2SP: a text, and lines of signatures over it; and the keys that sign and verify them, as
//! one line of text (`NAME+ID+KEY`). Which text is signed is its caller's.

use std::fmt;

use data_encoding::BASE64;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};

use super::Fault;

/// Signature type of Ed25519 in key ids and verifier keys.
const ED25519: u8 = 1;
/// How a signature line begins.
pub(super) const DASH: &str = "\u{2014} ";
/// Longest note, and most signatures, that are looked at.
const NOTE_MAX: usize = 1 << 20;
const SIGNATURES_MAX: usize = 64;

/// The name of a key: not empty, without spaces and plus.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName(String);

impl KeyName {
    pub fn parse(name: &str) -> Result<Self, Fault> {
        let is_wrong = |it: char| it.is_whitespace() || it.is_control() || it == '+';
        if name.is_empty() || name.contains(is_wrong) {
            return Err(Fault::KeyName);
        }
        Ok(Self(name.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

pub(super) type KeyId = [u8; 4];

pub(super) fn key_id(name: &KeyName, kind: u8, key: &[u8; 32]) -> KeyId {
    let hash = Sha256::new().chain_update(&name.0).chain_update([b'\n', kind]).chain_update(key);
    let hash = hash.finalize();
    [hash[0], hash[1], hash[2], hash[3]]
}

/// The line of a key of some kind.
pub(super) fn key_line(name: &KeyName, kind: u8, key: &[u8; 32]) -> String {
    let id = u32::from_be_bytes(key_id(name, kind, key));
    let mut bytes = vec![kind];
    bytes.extend_from_slice(key);
    format!("{name}+{id:08x}+{}", BASE64.encode(&bytes))
}

/// Name and key of a line of that kind.
pub(super) fn parse_key(line: &str, kind: u8) -> Result<(KeyName, VerifyingKey), Fault> {
    let mut parts = line.trim_end().splitn(3, '+');
    let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(Fault::Key);
    };
    let name = KeyName::parse(name)?;
    let bytes = BASE64.decode(key.as_bytes()).map_err(|_| Fault::Key)?;
    let key: [u8; 32] = match bytes.split_first() {
        Some((first, key)) if *first == kind => key.try_into().map_err(|_| Fault::Key)?,
        _ => return Err(Fault::Key),
    };
    if id != format!("{:08x}", u32::from_be_bytes(key_id(&name, kind, &key))) {
        return Err(Fault::Key);
    }
    let key = VerifyingKey::from_bytes(&key).map_err(|_| Fault::Key)?;
    if key.is_weak() { Err(Fault::Key) } else { Ok((name, key)) }
}

/// What verifies notes of one signer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    name: KeyName,
    key: VerifyingKey,
}

impl PublicKey {
    /// A line `NAME+ID+KEY`.
    pub fn parse(line: &str) -> Result<Self, Fault> {
        let (name, key) = parse_key(line, ED25519)?;
        Ok(Self { name, key })
    }

    pub fn name(&self) -> &KeyName {
        &self.name
    }

    fn id(&self) -> KeyId {
        key_id(&self.name, ED25519, self.key.as_bytes())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&key_line(&self.name, ED25519, self.key.as_bytes()))
    }
}

/// What signs notes; its seed is overwritten when it is dropped.
#[derive(Clone)]
pub struct Signer {
    name: KeyName,
    key: SigningKey,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.public())
    }
}

impl Signer {
    pub fn new(name: KeyName, seed: &[u8; 32]) -> Self {
        Self { name, key: SigningKey::from_bytes(seed) }
    }

    pub fn public(&self) -> PublicKey {
        PublicKey { name: self.name.clone(), key: self.key.verifying_key() }
    }

    /// The line of its signature, with its end. `text` ends with a line feed.
    pub fn line(&self, text: &str) -> String {
        let signature = self.key.sign(text.as_bytes()).to_bytes();
        signature_line(&self.name, self.public().id(), &signature)
    }

    /// The whole note.
    pub fn sign(&self, text: &str) -> String {
        format!("{text}\n{}", self.line(text))
    }
}

pub(super) fn signature_line(name: &KeyName, id: KeyId, signature: &[u8]) -> String {
    let bytes = [&id[..], signature].concat();
    format!("{DASH}{name} {}\n", BASE64.encode(&bytes))
}

/// A line of a signature, whoever it is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureLine {
    pub name: KeyName,
    pub(super) id: KeyId,
    pub(super) bytes: Vec<u8>,
}

impl SignatureLine {
    /// Without its line feed.
    pub fn parse(line: &str) -> Result<Self, Fault> {
        let rest = line.strip_prefix(DASH).ok_or(Fault::Note)?;
        let (name, encoded) = rest.split_once(' ').ok_or(Fault::Note)?;
        let name = KeyName::parse(name).map_err(|_| Fault::Note)?;
        let all = BASE64.decode(encoded.as_bytes()).map_err(|_| Fault::Note)?;
        let (id, bytes) = all.split_first_chunk::<4>().ok_or(Fault::Note)?;
        if bytes.is_empty() {
            return Err(Fault::Note);
        }
        Ok(Self { name, id: *id, bytes: bytes.to_vec() })
    }
}

/// A note as it was read: nothing of it is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<SignatureLine>,
}

impl Note {
    pub fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        let text = std::str::from_utf8(bytes).map_err(|_| Fault::Note)?;
        let is_wrong = |it: char| it < ' ' && it != '\n';
        if text.len() > NOTE_MAX || text.contains(is_wrong) {
            return Err(Fault::Note);
        }
        let at = text.rfind("\n\n").ok_or(Fault::Note)?;
        let (text, lines) = (&text[..=at], &text[at + 2..]);
        let lines = lines.strip_suffix('\n').ok_or(Fault::Note)?;
        let signatures = lines.split('\n').take(SIGNATURES_MAX + 1).map(SignatureLine::parse);
        let signatures = signatures.collect::<Result<Vec<_>, _>>()?;
        if signatures.len() > SIGNATURES_MAX {
            return Err(Fault::Note);
        }
        Ok(Self { text: text.to_owned(), signatures })
    }

    /// What is signed, with its last line feed.
    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn signatures(&self) -> &[SignatureLine] {
        &self.signatures
    }

    /// The key of these by which it is signed. A wrong signature of a known key spoils the whole note.
    pub fn verify<'k>(&self, keys: &'k [PublicKey]) -> Result<&'k PublicKey, Fault> {
        let mut signer = None;
        for line in &self.signatures {
            let known = keys.iter().find(|key| key.name == line.name && key.id() == line.id);
            let Some(key) = known else { continue };
            let bytes = line.bytes.as_slice().try_into().map_err(|_| Fault::Signature)?;
            let signature = Signature::from_bytes(bytes);
            let verified = key.key.verify_strict(self.text.as_bytes(), &signature);
            verified.map_err(|_| Fault::Signature)?;
            signer.get_or_insert(key);
        }
        signer.ok_or(Fault::UnknownKey)
    }
}

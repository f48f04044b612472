//! What a witness says of a checkpoint (C2SP tlog-cosignature): that it saw it at a time, after all that it
//! saw before. Whether it saw is the witness's.

use std::fmt;

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};

use super::{
    Fault,
    note::{KeyId, KeyName, SignatureLine, key_id, key_line, parse_key, signature_line},
};

/// Signature type of timestamped Ed25519 cosignatures.
const COSIGNATURE: u8 = 4;

/// The signed bytes.
fn message(seconds: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {seconds}\n{text}")
}

/// What verifies cosignatures of one witness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessKey {
    name: KeyName,
    key: VerifyingKey,
}

impl WitnessKey {
    pub fn parse(line: &str) -> Result<Self, Fault> {
        let (name, key) = parse_key(line, COSIGNATURE)?;
        Ok(Self { name, key })
    }

    fn id(&self) -> KeyId {
        key_id(&self.name, COSIGNATURE, self.key.as_bytes())
    }
}

impl fmt::Display for WitnessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&key_line(&self.name, COSIGNATURE, self.key.as_bytes()))
    }
}

/// What makes them.
#[derive(Clone)]
pub struct WitnessSigner {
    name: KeyName,
    key: SigningKey,
}

impl fmt::Debug for WitnessSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WitnessSigner({})", self.public())
    }
}

impl WitnessSigner {
    pub fn new(name: KeyName, seed: &[u8; 32]) -> Self {
        Self { name, key: SigningKey::from_bytes(seed) }
    }

    pub fn public(&self) -> WitnessKey {
        WitnessKey { name: self.name.clone(), key: self.key.verifying_key() }
    }

    /// The line, with its end. `text`: of the checkpoint; `seconds` since the epoch.
    pub fn line(&self, text: &str, seconds: u64) -> String {
        let signature = self.key.sign(message(seconds, text).as_bytes()).to_bytes();
        let bytes = [&seconds.to_be_bytes()[..], &signature].concat();
        signature_line(&self.name, self.public().id(), &bytes)
    }
}

/// One that was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosignature {
    pub witness: KeyName,
    /// When the witness saw it, in seconds since the epoch.
    pub seconds: u64,
}

impl Cosignature {
    /// Of this witness over this checkpoint's text. `None`: the line is of somebody else.
    pub fn verify(
        line: &SignatureLine,
        text: &str,
        key: &WitnessKey,
    ) -> Result<Option<Self>, Fault> {
        if line.name != key.name || line.id != key.id() {
            return Ok(None);
        }
        let (seconds, signature) = line.bytes.split_first_chunk::<8>().ok_or(Fault::Signature)?;
        let seconds = u64::from_be_bytes(*seconds);
        let signature = signature.try_into().map_err(|_| Fault::Signature)?;
        let signature = Signature::from_bytes(signature);
        let verified = key.key.verify_strict(message(seconds, text).as_bytes(), &signature);
        verified.map_err(|_| Fault::Signature)?;
        Ok(Some(Self { witness: key.name.clone(), seconds }))
    }
}

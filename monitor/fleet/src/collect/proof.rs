//! Objects of leaves and of keys, as they arrive: bytes in, what is signed in them out. It keeps nothing.

use geofenced::fleet::{Fault, PublicKey, shipped};

use super::branch::Proof;
use crate::ship::PROOF;

/// Why an object is none of ours.
pub fn read(bytes: &[u8], origin: &str, keys: &[PublicKey]) -> Result<Proof, String> {
    let mut lines = bytes.splitn(5, |byte| *byte == b'\n');
    let mut line = || lines.next().and_then(|it| std::str::from_utf8(it).ok());
    let no_proof = || "it is no object of leaves".to_owned();
    if line() != Some(PROOF) {
        return Err(no_proof());
    }
    let mut number = || line().and_then(|it| it.parse::<u64>().ok()).ok_or_else(no_proof);
    let (from, count, notes_bytes) = (number()?, number()?, number()?);
    let rest = lines.next().unwrap_or_default();
    let split = rest.split_at_checked(notes_bytes as usize);
    let (notes, leaves) = split.ok_or_else(no_proof)?;
    let (leaves, others) = leaves.as_chunks::<32>();
    let end = from.checked_add(count).ok_or_else(no_proof)?;
    if leaves.len() as u64 != count || !others.is_empty() {
        return Err(no_proof());
    }
    let (mut roots, mut begin, mut last) = (Vec::new(), 0, (0, String::new()));
    for (note_end, note) in shipped::stretches(notes) {
        let text = String::from_utf8_lossy(&notes[begin..note_end]).into_owned();
        begin = note_end;
        let (note, checkpoint) = note.map_err(|fault| fault.to_string())?;
        if checkpoint.origin != origin {
            return Err(format!("a checkpoint in it is of `{}`", checkpoint.origin));
        }
        if let Err(fault) = note.verify(keys) {
            let word = match fault {
                Fault::UnknownKey => "unknown-key",
                _ => "wrong-signature",
            };
            return Err(format!("{word}: {fault}"));
        }
        if checkpoint.size > end {
            return Err(no_proof());
        }
        if checkpoint.size >= last.0 {
            last = (checkpoint.size, text);
        }
        roots.push((checkpoint.size, checkpoint.root));
    }
    roots.sort_unstable();
    if roots.last().is_none_or(|it| it.0 != end) {
        return Err("its leaves go beyond what is signed in it".to_owned());
    }
    let (leaves, notes) = (leaves.to_vec(), notes.to_vec());
    Ok(Proof { from, leaves, roots, notes, last_note: last.1 })
}

/// The key that follows on one of these, where that one signed for it.
pub fn successor(bytes: &[u8], keys: &[PublicKey]) -> Result<PublicKey, String> {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let mut lines = text.lines();
    let mut key = || lines.next().and_then(|line| PublicKey::parse(line).ok());
    let (Some(before), Some(after)) = (key(), key()) else {
        return Err("it is no succession of keys".to_owned());
    };
    let signature = lines.next().unwrap_or_default().to_owned();
    if !keys.contains(&before) {
        return Err("unknown-key: the key that it follows on is not known".to_owned());
    }
    let succession = shipped::Succession { before, after, signature };
    if !succession.is_right() {
        return Err("wrong-signature: the key before did not sign for it".to_owned());
    }
    Ok(succession.after)
}

//! What a witness remembers, and whether it signs: only what goes on from all that it saw before. Text in,
//! text out; it holds no key and reads no file.

use std::fmt::Write as _;

use data_encoding::BASE64;

use super::{
    Checkpoint, Note, PublicKey, Request,
    checkpoint::{hash, number},
    tree::{self, Hash},
};

/// The last that was seen of each log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory(Vec<Remembered>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Remembered {
    origin: String,
    size: u64,
    root: Hash,
    key: PublicKey,
}

/// Why a witness does not sign.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("no request for a witness, or its checkpoint can't be read")]
    Unreadable,
    #[error(
        "`{0}` was never seen here: say whose signatures it has (--log KEY.PUB). If it was seen under another number, the ledger of that host is not what it signed before"
    )]
    NewOrigin(String),
    #[error("the checkpoint of `{0}` is not signed by the key that is known of it")]
    Signature(String),
    #[error("the key given is not the one that was remembered of `{0}`: it was {1}")]
    OtherKey(String, String),
    #[error("`{origin}` was seen with {seen} blocks: ask again with --old {seen}")]
    Stale { origin: String, seen: u64 },
    #[error("`{origin}` was seen with {seen} blocks and now has {size}: its end was cut")]
    Shorter { origin: String, seen: u64, size: u64 },
    #[error("`{origin}` with {size} blocks is not the ledger that was seen here with {seen}")]
    Different { origin: String, seen: u64, size: u64 },
}

impl Memory {
    /// A line a log: origin, size, root, key. `None`: it is none of this.
    pub fn parse(text: &str) -> Option<Self> {
        let line = |line: &str| {
            let mut words = line.rsplitn(4, ' ');
            let (key, root, size) = (words.next()?, words.next()?, words.next()?);
            Some(Remembered {
                origin: words.next()?.to_owned(),
                size: number(size)?,
                root: hash(root)?,
                key: PublicKey::parse(key).ok()?,
            })
        };
        text.lines().map(line).collect::<Option<Vec<_>>>().map(Self)
    }

    pub fn text(&self) -> String {
        let mut text = String::new();
        for Remembered { origin, size, root, key } in &self.0 {
            // Writing to memory does not fail.
            let _ = writeln!(text, "{origin} {size} {} {key}", BASE64.encode(root));
        }
        text
    }

    /// What to sign, remembered from here on. `log`: the key that is said to be this log's.
    pub fn accept(
        &mut self,
        request: &Request,
        log: Option<&PublicKey>,
    ) -> Result<String, Refusal> {
        let note = Note::parse(request.note.as_bytes()).map_err(|_| Refusal::Unreadable)?;
        let checkpoint = Checkpoint::parse(note.text()).map_err(|_| Refusal::Unreadable)?;
        let Checkpoint { origin, size, root } = &checkpoint;
        let at = self.0.iter().position(|it| it.origin == *origin);
        let before = at.map(|at| &self.0[at]);
        let key = match (before.map(|it| &it.key), log) {
            (Some(known), Some(given)) if known != given => {
                return Err(Refusal::OtherKey(origin.clone(), known.to_string()));
            }
            (Some(known), _) => known.clone(),
            (None, Some(given)) => given.clone(),
            (None, None) => return Err(Refusal::NewOrigin(origin.clone())),
        };
        let verified = note.verify(std::slice::from_ref(&key));
        verified.map_err(|_| Refusal::Signature(origin.clone()))?;
        let (seen, seen_root) = before.map_or((0, tree::empty_root()), |it| (it.size, it.root));
        if *size < seen {
            return Err(Refusal::Shorter { origin: origin.clone(), seen, size: *size });
        }
        if request.old != seen {
            return Err(Refusal::Stale { origin: origin.clone(), seen });
        }
        let goes_on = tree::check_consistency((seen, &seen_root), (*size, root), &request.hashes);
        goes_on.map_err(|_| Refusal::Different { origin: origin.clone(), seen, size: *size })?;
        let remembered = Remembered { origin: origin.clone(), size: *size, root: *root, key };
        match at {
            Some(at) => self.0[at] = remembered,
            None => self.0.push(remembered),
        }
        Ok(note.text().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::{KeyName, Signer};

    fn signer(seed: u8) -> Signer {
        Signer::new(KeyName::parse("field").unwrap(), &[seed; 32])
    }

    fn leaves(count: u8, differs_at: u8) -> Vec<Hash> {
        (0..count).map(|number| [if number == differs_at { 99 } else { number }; 32]).collect()
    }

    fn request(old: u64, leaves: &[Hash], signer: &Signer) -> Request {
        let (size, root) = (leaves.len() as u64, tree::root(leaves));
        let note = signer.sign(&Checkpoint { origin: "field".into(), size, root }.text());
        let hashes = tree::consistency(leaves, old as usize).unwrap_or_default();
        Request { old, hashes, note }
    }

    #[test]
    fn what_goes_on_is_signed_and_what_does_not_is_refused_with_the_reason() {
        let (log, mut memory) = (signer(1), Memory::default());
        let key = log.public();
        let first = request(0, &leaves(5, 255), &log);
        assert_eq!(memory.accept(&first, None), Err(Refusal::NewOrigin("field".into())));
        memory.accept(&first, Some(&key)).unwrap();
        assert_eq!(Memory::parse(&memory.text()), Some(memory.clone()));
        memory.accept(&request(5, &leaves(9, 255), &log), None).unwrap();
        // Once more, as after a lost answer.
        memory.accept(&request(9, &leaves(9, 255), &log), None).unwrap();

        let before = memory.clone();
        let mut refused = |request: Request, log: Option<&PublicKey>| {
            let refusal = memory.accept(&request, log).unwrap_err();
            assert_eq!(memory, before);
            refusal
        };
        let stale = refused(request(5, &leaves(12, 255), &log), None);
        assert!(matches!(stale, Refusal::Stale { seen: 9, .. }));
        let shorter = refused(request(0, &leaves(8, 255), &log), None);
        assert!(matches!(shorter, Refusal::Shorter { seen: 9, size: 8, .. }));
        for altered in [request(9, &leaves(12, 3), &log), request(9, &leaves(9, 3), &log)] {
            assert!(matches!(refused(altered, None), Refusal::Different { seen: 9, .. }));
        }
        let forged = refused(request(9, &leaves(12, 255), &signer(2)), None);
        assert_eq!(forged, Refusal::Signature("field".into()));
        let other = signer(2).public();
        let other = refused(request(9, &leaves(12, 255), &signer(2)), Some(&other));
        assert!(matches!(other, Refusal::OtherKey(..)));
        let unsigned = Request { note: "field\n".into(), ..request(9, &leaves(12, 255), &log) };
        assert_eq!(refused(unsigned, None), Refusal::Unreadable);
    }

    #[test]
    fn a_memory_that_can_not_be_read_is_not_an_empty_one() {
        assert_eq!(Memory::parse(""), Some(Memory::default()));
        assert_eq!(Memory::parse("field 9\n"), None);
    }
}

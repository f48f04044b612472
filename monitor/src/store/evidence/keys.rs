//! The key that signs checkpoints: made at the first start, or given by the service manager; and how one
//! follows on another. It signs nothing but that one key follows on another.

use std::{env, fs, io, path::Path};

use data_encoding::BASE64;

use crate::{
    event::Notice,
    evidence::{KeyName, Note, PublicKey, Signer},
    store::{
        error::StoreError,
        files::{self, FILE_MODE},
    },
};

const SECRET_MODE: u32 = 0o600;
/// Where the service manager puts what it was given in trust; and its name there.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";
const CREDENTIAL: &str = "geofenced.key";

/// Who signs, and who did before.
#[derive(Debug)]
pub(super) struct Keys {
    pub signer: Signer,
    /// Another key signed until now.
    pub succeeds: Option<Succession>,
    /// It is told in the file of public keys.
    is_published: bool,
    /// The store's own key is another than the one that signs.
    is_own_left: bool,
}

/// A key follows on another.
#[derive(Debug)]
pub(super) struct Succession {
    pub before: PublicKey,
    /// Where its secret is still there: it signs once more, beside the new one.
    pub signer: Option<Signer>,
}

/// What the key before signs, for the one that follows.
pub(in crate::store) fn succession_text(before: &PublicKey, after: &PublicKey) -> String {
    format!("geofenced key succession\n{before}\n{after}\n")
}

/// Whether the key before signed for the one that follows.
pub(in crate::store) fn is_succession(before: &PublicKey, after: &PublicKey, line: &str) -> bool {
    let note = format!("{}\n{}\n", succession_text(before, after), line.trim_end());
    let note = Note::parse(note.as_bytes());
    note.is_ok_and(|note| note.verify(std::slice::from_ref(before)).is_ok())
}

impl Keys {
    /// The credential, if there is one; else the store's own key, which is made where there is none.
    pub(super) fn open(root: &Path, name: &KeyName) -> Result<Self, StoreError> {
        Self::open_with(root, name, env::var_os(CREDENTIALS).as_deref().map(Path::new))
    }

    pub(super) fn open_with(
        root: &Path,
        name: &KeyName,
        credentials: Option<&Path>,
    ) -> Result<Self, StoreError> {
        let path = secret_path(root);
        let own = read_seed(&path)?;
        let given = match credentials {
            Some(directory) => read_seed(&directory.join(CREDENTIAL))?,
            None => None,
        };
        let seed = match given.or(own) {
            Some(seed) => seed,
            None => make_seed(&path)?,
        };
        let signer = Signer::new(name.clone(), &seed);
        let last = published(root)?.into_iter().next();
        let is_published = last.as_ref() == Some(&signer.public());
        let succeeds = last.filter(|_| !is_published).map(|before| {
            let old = own.map(|seed| Signer::new(before.name().clone(), &seed));
            let signer = old.filter(|old| old.public() == before);
            Succession { before, signer }
        });
        let is_own_left = own.is_some_and(|own| own != seed);
        Ok(Self { signer, succeeds, is_published, is_own_left })
    }

    /// What the ledger must tell of the key, if it is new.
    pub(super) fn notice(&self) -> Option<Notice> {
        let public = self.signer.public();
        let before = self.succeeds.as_ref().map(|it| it.before.to_string().into());
        let signature = self.succeeds.as_ref().and_then(|it| {
            let signer = it.signer.as_ref()?;
            Some(signer.line(&succession_text(&it.before, &public)).trim_end().into())
        });
        let line = public.to_string().into();
        (!self.is_published).then_some(Notice::Key { line, before, signature })
    }

    /// Says which key signs from here on, before those that did; the one before is gone then.
    pub(super) fn publish(&mut self, root: &Path) -> Result<(), StoreError> {
        if self.is_published {
            return Ok(());
        }
        let mut keys = published(root)?;
        let public = self.signer.public();
        keys.retain(|key| *key != public);
        keys.insert(0, public);
        let lines: Vec<String> = keys.iter().map(ToString::to_string).collect();
        let lines = lines.join("\n") + "\n";
        let path = files::public_key(root);
        files::replace(&path, lines.as_bytes(), FILE_MODE)
            .map_err(StoreError::io("write", &path))?;
        self.is_published = true;
        self.succeeds = None;
        if std::mem::take(&mut self.is_own_left) {
            let path = secret_path(root);
            erase(&path).map_err(StoreError::io("erase", &path))?;
        }
        Ok(())
    }
}

/// A disk may keep what is overwritten.
fn erase(path: &Path) -> io::Result<()> {
    let seed = fs::read(path)?;
    fs::write(path, vec![b'\n'; seed.len()])?;
    fs::File::open(path)?.sync_all()?;
    fs::remove_file(path)
}

fn secret_path(root: &Path) -> std::path::PathBuf {
    files::evidence(root).join("key")
}

/// The keys told of before.
pub(in crate::store) fn published(root: &Path) -> Result<Vec<PublicKey>, StoreError> {
    let path = files::public_key(root);
    let bytes = files::read(&path).map_err(StoreError::io("read", &path))?.unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.lines().filter_map(|line| PublicKey::parse(line).ok()).collect())
}

/// 32 bytes, or their base64 in a line.
pub(in crate::store) fn read_seed(path: &Path) -> Result<Option<[u8; 32]>, StoreError> {
    let bytes = files::read(path).map_err(StoreError::io("read", path))?;
    let Some(bytes) = bytes else { return Ok(None) };
    if let Ok(seed) = <[u8; 32]>::try_from(&bytes[..]) {
        return Ok(Some(seed));
    }
    let decoded = BASE64.decode(bytes.trim_ascii()).ok().and_then(|seed| seed.try_into().ok());
    let wrong =
        || io::Error::new(io::ErrorKind::InvalidData, "no key of 32 bytes, or their base64");
    decoded.map(Some).ok_or_else(|| StoreError::io("read", path)(wrong()))
}

/// A new secret, in a file for its owner alone.
pub(in crate::store) fn make_seed(path: &Path) -> Result<[u8; 32], StoreError> {
    let mut seed = [0; 32];
    let mut filled = 0;
    while filled < seed.len() {
        let flags = rustix::rand::GetRandomFlags::empty();
        let random = rustix::rand::getrandom(&mut seed[filled..], flags);
        filled += random.map_err(|error| StoreError::io("make", path)(error.into()))?;
    }
    let line = BASE64.encode(&seed) + "\n";
    files::replace(path, line.as_bytes(), SECRET_MODE).map_err(StoreError::io("write", path))?;
    Ok(seed)
}

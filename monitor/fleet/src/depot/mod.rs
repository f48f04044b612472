//! Where stations put and the ground takes: a directory (a stick, a mounted share, what rsync brought) or a bucket.
//! It knows names and bytes, and nothing of what is in them.

mod bucket;
mod directory;

use std::path::PathBuf;

pub use bucket::Bucket;
pub use directory::Directory;

#[derive(Debug, thiserror::Error)]
pub enum DepotError {
    #[error("cannot {action} {place}: {reason}")]
    Failed { action: &'static str, place: String, reason: String, is_full: bool },
}

impl DepotError {
    /// There is no room there.
    pub const fn is_full(&self) -> bool {
        matches!(self, Self::Failed { is_full: true, .. })
    }
}

/// An object that is there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    pub key: String,
    pub bytes: u64,
}

/// What any such place can do. A key is folders and a name, with slashes.
pub trait Depot: std::fmt::Debug {
    /// Names of the folders right in it, in order.
    fn folders(&self) -> Result<Vec<String>, DepotError>;

    /// All whose key begins with this folder (empty: all), in the order of their keys.
    fn list(&self, folder: &str) -> Result<Vec<Listed>, DepotError>;

    /// `None`: there is none.
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, DepotError>;

    /// It is there whole, and stays, when this returns `Ok`; else it is not there, or as it was.
    fn put(&self, key: &str, bytes: &[u8]) -> Result<(), DepotError>;

    /// Gone, if it was there.
    fn remove(&self, key: &str) -> Result<(), DepotError>;

    /// How many bytes an object has; `None`: there is none.
    fn length(&self, key: &str) -> Result<Option<u64>, DepotError>;
}

/// The place that somebody named.
pub fn open(place: &str) -> Result<Box<dyn Depot>, String> {
    match place.split_once("://") {
        Some(("s3", rest)) => Ok(Box::new(Bucket::open(rest)?)),
        Some((scheme, _)) => Err(format!(
            "`{scheme}://` is no place that is known: write a directory, or s3://BUCKET/FOLDER"
        )),
        None => Ok(Box::new(Directory::new(PathBuf::from(place)))),
    }
}

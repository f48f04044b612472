//! A bucket of S3, or of what speaks as it does, as a depot. Who may and where it is the environment says
//! (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT`, ...). The only code that uses a network.

use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::{
    Error, ObjectStore as _, ObjectStoreExt as _, PutPayload,
    aws::{AmazonS3, AmazonS3Builder},
    path::Path,
};
use tokio::runtime::{Builder, Runtime};

use super::{Depot, DepotError, Listed};

/// A link that says nothing for so long is gone; what was asked is asked again later.
const TIMEOUT: Duration = Duration::from_mins(1);

#[derive(Debug)]
pub struct Bucket {
    store: AmazonS3,
    name: String,
    /// Before each key; empty, or ending with a slash.
    folder: String,
    runtime: Runtime,
}

impl Bucket {
    /// `BUCKET`, or `BUCKET/FOLDER`.
    pub fn open(place: &str) -> Result<Self, String> {
        let (name, folder) = place.split_once('/').unwrap_or((place, ""));
        if name.is_empty() {
            return Err("s3:// wants the name of a bucket: s3://BUCKET/FOLDER".to_owned());
        }
        // An earlier one stays as it is.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let options = object_store::ClientOptions::new().with_timeout(TIMEOUT);
        let is_plain = std::env::var("AWS_ENDPOINT").is_ok_and(|it| it.starts_with("http://"));
        let built = AmazonS3Builder::from_env()
            .with_bucket_name(name)
            .with_client_options(options.with_allow_http(is_plain))
            .build();
        let store = built.map_err(|error| format!("s3://{place}: {error}"))?;
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("no runtime for s3://{place}: {error}"))?;
        let folder = folder.trim_matches('/');
        let folder = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        Ok(Self { store, name: name.to_owned(), folder, runtime })
    }

    fn path(&self, key: &str) -> Result<Path, DepotError> {
        let key = format!("{}{key}", self.folder);
        Path::parse(&key).map_err(|error| self.failed("name", &key, &error))
    }

    fn failed(&self, action: &'static str, key: &str, error: &dyn std::fmt::Display) -> DepotError {
        let place = format!("s3://{}/{key}", self.name);
        DepotError::Failed { action, place, reason: error.to_string(), is_full: false }
    }
}

/// What was not found is no error.
fn found<T>(result: object_store::Result<T>) -> object_store::Result<Option<T>> {
    match result {
        Ok(it) => Ok(Some(it)),
        Err(Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Depot for Bucket {
    fn folders(&self) -> Result<Vec<String>, DepotError> {
        let prefix = self.folder.trim_end_matches('/');
        let path = Path::parse(prefix).map_err(|error| self.failed("name", prefix, &error))?;
        let listed = self.runtime.block_on(self.store.list_with_delimiter(Some(&path)));
        let listed = listed.map_err(|error| self.failed("list", prefix, &error))?;
        let names = listed.common_prefixes.iter().filter_map(|it| it.filename());
        let mut all: Vec<String> = names.map(str::to_owned).collect();
        all.sort();
        Ok(all)
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>, DepotError> {
        let prefix = format!("{}{folder}", self.folder);
        let prefix = prefix.trim_end_matches('/');
        let path = Path::parse(prefix).map_err(|error| self.failed("name", prefix, &error))?;
        let listed = self.store.list(Some(&path)).map_ok(|it| Listed {
            key: it.location.as_ref().strip_prefix(&self.folder).unwrap_or_default().to_owned(),
            bytes: it.size,
        });
        let mut all: Vec<Listed> = self
            .runtime
            .block_on(listed.boxed().try_collect())
            .map_err(|error| self.failed("list", prefix, &error))?;
        all.sort();
        Ok(all)
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, DepotError> {
        let path = self.path(key)?;
        let got = self.runtime.block_on(async {
            match found(self.store.get(&path).await)? {
                Some(it) => found(it.bytes().await),
                None => Ok(None),
            }
        });
        let got = got.map_err(|error| self.failed("read", key, &error))?;
        Ok(got.map(|bytes| bytes.to_vec()))
    }

    fn put(&self, key: &str, bytes: &[u8]) -> Result<(), DepotError> {
        let payload = PutPayload::from(bytes.to_vec());
        let put = self.runtime.block_on(self.store.put(&self.path(key)?, payload));
        put.map(|_| ()).map_err(|error| self.failed("write", key, &error))
    }

    fn remove(&self, key: &str) -> Result<(), DepotError> {
        let removed = self.runtime.block_on(self.store.delete(&self.path(key)?));
        found(removed).map(|_| ()).map_err(|error| self.failed("remove", key, &error))
    }

    fn length(&self, key: &str) -> Result<Option<u64>, DepotError> {
        let about = self.runtime.block_on(self.store.head(&self.path(key)?));
        let about = found(about).map_err(|error| self.failed("look at", key, &error))?;
        Ok(about.map(|it| it.size))
    }
}

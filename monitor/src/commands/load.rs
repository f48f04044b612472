//! What commands work on: configuration, the daemon's socket, the ledger itself.

use std::path::PathBuf;

use super::Failure;
use crate::{
    api::{EventSource, client::ClientError},
    cli::Global,
    clock,
    config::Config,
    event::Timestamp,
    filter::RawFilter,
    locate::{Cache, LocateError, Locator},
    store::{Reader, StoreError},
    table,
};

pub(super) fn now() -> Timestamp {
    clock::wall()
}

/// As typed here, for a daemon or a ledger anywhere.
pub(super) fn filter(typed: &RawFilter, utc: bool) -> Result<RawFilter, Failure> {
    typed.resolve(now(), &table::zone(utc)).map_err(Failure::usage)
}

pub(super) fn config(global: &Global) -> Result<Config, Failure> {
    Config::load_or_builtin(global.config.as_deref()).map_err(Failure::usage)
}

/// The databases that the configuration names. A command changes nothing: it uses the daemon's image
/// of them if it may and it fits.
pub(super) fn locator(config: &Config) -> Result<Locator, Failure> {
    open(config, Cache::Read(&config.store.path))
}

/// The same for the daemon, which keeps the image.
pub(super) fn kept_locator(config: &Config) -> Result<Locator, Failure> {
    open(config, Cache::Keep(&config.store.path))
}

/// Says on standard error which databases are old.
pub(super) fn warn_of_age(locator: &Locator) {
    for warning in locator.databases().iter().filter_map(|database| database.warning(now())) {
        eprintln!("{warning}");
    }
}

fn open(config: &Config, cache: Cache<'_>) -> Result<Locator, Failure> {
    let local = &config.policy.local_networks;
    Locator::open_with(&config.geo, local, cache).map_err(|error| match error {
        LocateError::Image(_) | LocateError::Embedded(..) => error.into(),
        _ => Failure::usage(error),
    })
}

/// Where the daemon answers. A configuration that is wrong by now is no reason not to ask it: it goes
/// on with the former one.
pub(super) fn socket(global: &Global) -> Result<PathBuf, Failure> {
    if let Some(path) = &global.socket {
        return Ok(path.clone());
    }
    match config(global) {
        Ok(config) => Ok(config.api.socket),
        Err(Failure { error, .. }) if Config::builtin().api.socket.exists() => {
            eprintln!("{error}; asking the daemon at its default socket");
            Ok(Config::builtin().api.socket)
        }
        Err(Failure { exit, error }) => Err(Failure {
            exit,
            error: anyhow::anyhow!(
                "{error}; a running daemon can be asked all the same: --socket PATH"
            ),
        }),
    }
}

/// The ledger, read-only, since nobody answers; says so.
pub(super) fn ledger_instead(
    global: &Global,
    absent: &ClientError,
) -> Result<Box<dyn EventSource>, Failure> {
    let reader = ledger_alone(global, absent)?;
    eprintln!("no daemon answers: reading the ledger at {}", reader.path().display());
    Ok(Box::new(reader))
}

/// The same without a word.
pub(super) fn ledger_alone(global: &Global, absent: &ClientError) -> Result<Reader, Failure> {
    let path = config(global)?.store.path;
    Reader::open(&path).map_err(|error| match error {
        StoreError::Missing { .. } => {
            anyhow::anyhow!("{absent}; and there is no store at {}", path.display()).into()
        }
        error => error.into(),
    })
}

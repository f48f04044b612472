//! What commands work on: configuration, the daemon's socket, the ledger itself.

use std::{ops::ControlFlow, path::PathBuf};

use super::Failure;
use crate::{
    api::{
        EventSource,
        client::{Client, ClientError},
    },
    attribute::{Procfs, memory},
    cli::Global,
    clock,
    config::Config,
    ecs::MarkEvent,
    event::{Mark, Timestamp},
    filter::{Query, RawFilter},
    locate::{Cache, LocateError, Locator},
    marks::Intervals,
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

/// What is asked for; where it is of an interval, the daemon says when that was, else the ledger.
pub(super) fn query(global: &Global, typed: &RawFilter) -> Result<Query, Failure> {
    let intervals = match typed.interval {
        Some(_) => intervals(global)?,
        None => Intervals::default(),
    };
    typed.parse_among(now(), &intervals).map_err(Failure::usage)
}

/// That were marked.
pub(super) fn intervals(global: &Global) -> Result<Intervals, Failure> {
    Ok(Intervals::of(&marks(global)?))
}

/// In the order of the ledger.
pub(super) fn marks(global: &Global) -> Result<Vec<Mark>, Failure> {
    let mut marks = Vec::new();
    let nothing: [(&str, &str); 0] = [];
    let asked = Client::new(&socket(global)?)?.lines("/v1/marks", &nothing, |line| {
        let event: Result<MarkEvent<'_>, _> = serde_json::from_slice(line);
        let mark = event.map_err(|error| error.to_string()).and_then(|it| it.mark());
        marks.push(mark.map_err(ClientError::NotUnderstood)?);
        Ok::<_, ClientError>(ControlFlow::Continue(()))
    });
    match asked {
        Ok(()) => Ok(marks),
        Err(error) if error.is_absent() => {
            let read = ledger_alone(global, &error)?.marks()?;
            Ok(read.iter().map(|mark| Mark::clone(mark)).collect())
        }
        Err(error) => Err(error.into()),
    }
}

/// Where `--store` says which store is meant, it is that one.
pub(super) fn config(global: &Global) -> Result<Config, Failure> {
    let config = Config::load_or_builtin(global.config.as_deref()).map(fitted);
    let mut config = config.map_err(Failure::usage)?;
    if let Some(store) = &global.store {
        config.store.path.clone_from(store);
    }
    Ok(config)
}

/// With what follows from the memory that this process may take.
pub(super) fn fitted(config: Config) -> Config {
    config.fitted(memory::of(&Procfs::host()))
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

/// Says on standard error which databases are old, or not used.
pub(super) fn warn_of_age(locator: &Locator) {
    for warning in locator.warnings(now()) {
        eprintln!("{}", table::printable(&warning));
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
    if let Some(store) = &global.store {
        // Nobody answers there, so that the ledger is read.
        return Ok(store.join("no-daemon"));
    }
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
    say_ledger(global, &reader);
    Ok(Box::new(reader))
}

/// Unless it was asked for.
pub(super) fn say_ledger(global: &Global, reader: &Reader) {
    if global.store.is_none() {
        eprintln!("no daemon answers: reading the ledger at {}", reader.path().display());
    }
}

/// The same without a word.
pub(super) fn ledger_alone(global: &Global, absent: &ClientError) -> Result<Reader, Failure> {
    let path = match &global.store {
        Some(path) => path.clone(),
        None => config(global)?.store.path,
    };
    let opened = Reader::open(&path).map(|reader| match &global.store {
        Some(_) => reader.elsewhere(),
        None => reader,
    });
    opened.map_err(|error| match error {
        StoreError::Missing { .. } if global.store.is_some() => {
            Failure::usage(anyhow::anyhow!("--store: there is no store at {}", path.display()))
        }
        StoreError::Missing { .. } => {
            anyhow::anyhow!("{absent}; and there is no store at {}", path.display()).into()
        }
        error => error.into(),
    })
}

/// Until when a window without an end goes: now; of a store that was named by its path, the last that it tells of.
pub(super) fn end(global: &Global) -> Result<Timestamp, Failure> {
    let Some(path) = &global.store else { return Ok(now()) };
    let missing =
        |_| Failure::usage(anyhow::anyhow!("--store: there is no store at {}", path.display()));
    let newest = Reader::open(path).map_err(missing)?.stats()?.newest;
    Ok(newest.unwrap_or_else(now))
}

/// What can end the asking.
pub(super) enum Asked {
    Client(ClientError),
    Other(Failure),
}

impl From<ClientError> for Asked {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl From<Asked> for Failure {
    fn from(asked: Asked) -> Self {
        match asked {
            Asked::Client(error) => error.into(),
            Asked::Other(failure) => failure,
        }
    }
}
